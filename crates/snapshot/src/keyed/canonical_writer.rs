//! Writing keyed state in the canonical format.
//!
//! After the [`KeyedHeader`], for every key group that is not empty:
//!
//! | order | type | meaning |
//! | --- | --- | --- |
//! | 1 | u16 | the first state in this group: an index into the header |
//! | 2 | BYTES, BYTES | key and value of an entry; the top bit of the key's first byte says: last entry before a u16 |
//! | 3 | u16 | after such an entry: the next state, or FFFF at the end of the group |
//!
//! The handle holds where each group begins, 0 for an empty one.
//!
//! Whether an entry is the last one is known only when the next one comes. So the writer keeps
//! the place of the last key in its buffer and patches the bit there; a full buffer is written
//! but for its last entry. Keys and values go straight into that one buffer: the bench of 1e7
//! entries allows no copy in between.
//!
//! Source: Flink 2.3.0, class `FullSnapshotAsyncWriter`.

use std::io::Write;

use millpond_serializer::ByteWriter;
use millpond_types::{KeyGroup, KeyGroupRange};

use crate::keyed::key_group_prefix_bytes;
use crate::{Error, KeyGroupOffsets, KeyedHeader};

const LAST_ENTRY: u8 = 0x80;
const END_OF_GROUP: u16 = 0xffff;
/// The buffer is written when it holds as much.
const BUFFER_BYTES: usize = 1 << 20;

/// Writes keyed state, key group by key group and state by state.
///
/// # Examples
///
/// ```
/// use millpond_serializer::{FlinkType, VoidNamespace};
/// use millpond_snapshot::{CanonicalWriter, KeyedHeader, KeyedStateType, StateMeta};
/// use millpond_types::{KeyGroup, KeyGroupRange};
///
/// let (long, void) = (i64::serializer_snapshot(), VoidNamespace::serializer_snapshot());
/// let count = StateMeta::key_value("count", KeyedStateType::Value, void, long.clone());
/// let header = KeyedHeader { compressed: false, key_serializer: long, states: vec![count] };
/// let groups = KeyGroupRange::of_subtask(0, 1, 128);
/// let mut writer = CanonicalWriter::new(Vec::new(), &header, groups, 128)?;
/// writer.begin_state(KeyGroup(29), 0)?;
/// writer.entry(
///     |key| {
///         42i64.write(key);
///         VoidNamespace.write(key);
///     },
///     |value| 7i64.write(value),
/// )?;
/// let written = writer.finish()?;
/// assert_eq!(written.states[0].entries(), 1);
/// # Ok::<(), millpond_snapshot::Error>(())
/// ```
pub struct CanonicalWriter<W> {
    out: W,
    /// What was not written yet.
    buffer: Vec<u8>,
    /// Where the buffer begins in the stream.
    flushed: u64,
    /// Where the first byte of the last key lies in the buffer, if the group has an entry.
    last_key: Option<usize>,
    groups: KeyGroupRange,
    /// The group being written; `None` before the first.
    group: Option<KeyGroup>,
    /// The state being written, and whether its number is in the stream already.
    state: u16,
    marked: bool,
    /// How every entry of the group begins: room for the length of the key, and the key group.
    head: [u8; 6],
    head_bytes: usize,
    offsets: Vec<i64>,
    states: Vec<WrittenState>,
    entries: u64,
    entry_bytes: u64,
}

/// What was written.
#[derive(Debug)]
pub struct WrittenKeyed<W> {
    /// The writer behind.
    pub out: W,
    /// The bytes that went there.
    pub bytes: u64,
    /// Where each key group begins.
    pub groups: KeyGroupOffsets,
    /// How much each state of the header holds.
    pub states: Vec<WrittenState>,
}

/// How much was written of one state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WrittenState {
    /// Key group, entries and bytes (of keys and values with their lengths) of each group that
    /// is not empty, in the order of writing.
    pub key_groups: Vec<(KeyGroup, u64, u64)>,
}

impl WrittenState {
    /// The entries in all key groups.
    pub fn entries(&self) -> u64 {
        self.key_groups.iter().map(|(_, entries, _)| entries).sum()
    }

    /// The bytes in all key groups.
    pub fn bytes(&self) -> u64 {
        self.key_groups.iter().map(|(_, _, bytes)| bytes).sum()
    }
}

impl<W: Write> CanonicalWriter<W> {
    /// Writes the header to `out` and returns a writer of the key groups `groups`.
    ///
    /// # Errors
    ///
    /// Unsupported, if the header asks for compression; Io, if `out` fails.
    pub fn new(
        out: W,
        header: &KeyedHeader,
        groups: KeyGroupRange,
        max_parallelism: u32,
    ) -> Result<Self, Error> {
        if header.compressed {
            return Err(Error::unsupported("writing compressed keyed state"));
        }
        let mut buffer = Vec::with_capacity(BUFFER_BYTES + BUFFER_BYTES / 16);
        header.write(&mut buffer)?;
        Ok(CanonicalWriter {
            out,
            buffer,
            flushed: 0,
            last_key: None,
            groups,
            group: None,
            state: 0,
            marked: false,
            head: [0; 6],
            head_bytes: 4 + key_group_prefix_bytes(max_parallelism),
            offsets: vec![0; groups.len()],
            states: vec![WrittenState::default(); header.states.len()],
            entries: 0,
            entry_bytes: 0,
        })
    }

    /// Says that the entries from here on are of `state` (an index into the header) in `group`.
    ///
    /// All states of a group come before the next group; each group comes once. States without
    /// entries leave no trace.
    ///
    /// # Errors
    ///
    /// Io, if the writer behind fails.
    ///
    /// # Panics
    ///
    /// If the group is not of this writer or came before, or if there is no such state.
    pub fn begin_state(&mut self, group: KeyGroup, state: usize) -> Result<(), Error> {
        assert!(
            state < self.states.len(),
            "state {state} of {}",
            self.states.len()
        );
        if self.group != Some(group) {
            self.end_group()?;
            assert!(
                self.groups.contains(group),
                "key group {} of {}",
                group.0,
                self.groups
            );
            let offset = self.offsets[usize::from(group.0 - self.groups.first().0)];
            assert!(offset == 0, "key group {} comes twice", group.0);
            self.group = Some(group);
            let prefix = match self.head_bytes {
                5 => [group.0 as u8, 0],
                _ => group.0.to_be_bytes(),
            };
            self.head[4..].copy_from_slice(&prefix);
        }
        self.count_state();
        self.state = state as u16;
        self.marked = false;
        Ok(())
    }

    /// Adds an entry. `key` appends key, namespace and user key (the key group is there already),
    /// `value` the value; for timers `key` appends the element and `value` nothing.
    ///
    /// # Errors
    ///
    /// Unsupported, if key or value has 2^31 bytes or more; Io, if the writer behind fails.
    ///
    /// # Panics
    ///
    /// If no state was begun.
    #[inline]
    pub fn entry(
        &mut self,
        key: impl FnOnce(&mut Vec<u8>),
        value: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), Error> {
        if !self.marked {
            self.mark_state();
        }
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&self.head[..self.head_bytes]);
        key(&mut self.buffer);
        let value_start = self.buffer.len();
        self.patch_length(start, value_start)?;
        self.buffer.extend_from_slice(&[0; 4]);
        value(&mut self.buffer);
        let end = self.buffer.len();
        self.patch_length(value_start, end)?;
        self.last_key = Some(start + 4);
        self.entries += 1;
        self.entry_bytes += (end - start) as u64;
        if end >= BUFFER_BYTES {
            self.write_up_to(start)?;
        }
        Ok(())
    }

    /// Adds an entry whose bytes are at hand; `key` is without the key group.
    ///
    /// # Errors
    ///
    /// As [`entry`](Self::entry).
    #[inline]
    pub fn raw_entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.entry(
            |out| out.extend_from_slice(key),
            |out| out.extend_from_slice(value),
        )
    }

    /// The bytes so far, those still in the buffer included.
    pub fn bytes(&self) -> u64 {
        self.flushed + self.buffer.len() as u64
    }

    /// Writes what is left.
    ///
    /// # Errors
    ///
    /// Io, if the writer behind fails.
    pub fn finish(mut self) -> Result<WrittenKeyed<W>, Error> {
        self.end_group()?;
        self.write_up_to(self.buffer.len())?;
        self.out.flush().map_err(Error::write)?;
        let groups = KeyGroupOffsets {
            first: self.groups.first().0,
            offsets: self.offsets,
        };
        Ok(WrittenKeyed {
            out: self.out,
            bytes: self.flushed,
            groups,
            states: self.states,
        })
    }

    #[inline]
    fn patch_length(&mut self, start: usize, end: usize) -> Result<(), Error> {
        let length = i32::try_from(end - start - 4).map_err(|_| {
            Error::unsupported(format!("a key or value of {} bytes", end - start - 4))
        })?;
        self.buffer[start..start + 4].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    /// Puts the number of the state in front of its first entry.
    #[cold]
    fn mark_state(&mut self) {
        let group = self.group.expect("a state is begun before its first entry");
        match self.last_key {
            Some(at) => self.buffer[at] |= LAST_ENTRY,
            None => {
                let offset = self.flushed + self.buffer.len() as u64;
                self.offsets[usize::from(group.0 - self.groups.first().0)] = offset as i64;
            }
        }
        self.buffer.put_u16(self.state);
        self.marked = true;
    }

    fn end_group(&mut self) -> Result<(), Error> {
        self.count_state();
        if let Some(at) = self.last_key.take() {
            self.buffer[at] |= LAST_ENTRY;
            self.buffer.put_u16(END_OF_GROUP);
        }
        if self.buffer.len() >= BUFFER_BYTES {
            self.write_up_to(self.buffer.len())?;
        }
        Ok(())
    }

    /// Books the entries since the last call on their state and group.
    fn count_state(&mut self) {
        if let (Some(group), 1..) = (self.group, self.entries) {
            let state = &mut self.states[usize::from(self.state)];
            state
                .key_groups
                .push((group, self.entries, self.entry_bytes));
        }
        (self.entries, self.entry_bytes) = (0, 0);
    }

    /// Writes the first `end` bytes of the buffer and moves the rest to its front.
    fn write_up_to(&mut self, end: usize) -> Result<(), Error> {
        self.out
            .write_all(&self.buffer[..end])
            .map_err(Error::write)?;
        self.buffer.drain(..end);
        self.flushed += end as u64;
        self.last_key = self.last_key.map(|at| at - end);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
