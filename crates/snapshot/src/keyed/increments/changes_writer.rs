//! Writing what has changed of keyed state.
//!
//! After the [`KeyedHeader`], for every key group with changes:
//!
//! | order | type | meaning |
//! | --- | --- | --- |
//! | 1 | u16 | a state: an index into the header; FFFF ends the group |
//! | 2 | u8 | 0: what has changed follows; 1: all entries follow, those of older files are void |
//! | 3 | u8, ... | 1 put: BYTES key, BYTES value; 2 remove: BYTES key; 3 append: BYTES key, BYTES elements; 0 ends the state |
//!
//! A key is that of the canonical format without the key group. Each comes once in a state. What is
//! removed need not be there. Elements are appended to the value behind a comma, as the canonical
//! format has lists.

use std::io::Write;

use millpond_serializer::ByteWriter;
use millpond_types::{KeyGroup, KeyGroupRange};

use crate::{Error, KeyGroupOffsets, KeyedHeader, WrittenKeyed, WrittenState};

pub(super) const END_OF_GROUP: u16 = 0xffff;
pub(super) const END_OF_STATE: u8 = 0;
pub(super) const PUT: u8 = 1;
pub(super) const REMOVE: u8 = 2;
pub(super) const APPEND: u8 = 3;
pub(super) const SOME: u8 = 0;
pub(super) const ALL: u8 = 1;

/// The buffer is written when it holds as much.
const BUFFER_BYTES: usize = 1 << 20;

/// How what follows relates to older files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangesBlock {
    /// Changes on top of them.
    Some,
    /// All entries of the state in the key group.
    All,
}

/// Writes changes of keyed state, key group by key group and state by state.
pub struct ChangesWriter<W> {
    out: W,
    buffer: Vec<u8>,
    flushed: u64,
    groups: KeyGroupRange,
    group: Option<KeyGroup>,
    /// The state that may be begun, and whether it is.
    state: u16,
    block: ChangesBlock,
    marked: bool,
    offsets: Vec<i64>,
    states: Vec<WrittenState>,
}

impl<W: Write> ChangesWriter<W> {
    /// Writes the header to `out` and returns a writer of changes in the key groups `groups`.
    ///
    /// # Errors
    ///
    /// Unsupported, if the header asks for compression or has too many states.
    pub fn new(out: W, header: &KeyedHeader, groups: KeyGroupRange) -> Result<Self, Error> {
        if header.compressed {
            return Err(Error::unsupported("writing compressed changes of state"));
        }
        let mut buffer = Vec::with_capacity(BUFFER_BYTES + BUFFER_BYTES / 16);
        header.write(&mut buffer)?;
        Ok(ChangesWriter {
            out,
            buffer,
            flushed: 0,
            groups,
            group: None,
            state: 0,
            block: ChangesBlock::Some,
            marked: false,
            offsets: vec![0; groups.len()],
            states: vec![WrittenState::default(); header.states.len()],
        })
    }

    /// Says that what comes from here on is of `state` (an index into the header) in `group`.
    ///
    /// All states of a group come before the next group; each group comes once. Without changes it
    /// leaves no trace; [`ChangesBlock::All`] does also without entries.
    ///
    /// # Errors
    ///
    /// Io, if the writer behind fails.
    ///
    /// # Panics
    ///
    /// If the group is not of this writer or came before, or if there is no such state.
    pub fn begin_state(
        &mut self,
        group: KeyGroup,
        state: usize,
        block: ChangesBlock,
    ) -> Result<(), Error> {
        assert!(state < self.states.len(), "no state {state}");
        self.end_state();
        if self.group != Some(group) {
            self.end_group()?;
            assert!(self.groups.contains(group), "key group {}", group.0);
            let offset = self.offsets[self.position(group)];
            assert!(offset == 0, "key group {} comes twice", group.0);
            self.group = Some(group);
        }
        (self.state, self.block) = (state as u16, block);
        if block == ChangesBlock::All {
            self.mark_state();
        }
        Ok(())
    }

    /// The key has this value. `key` appends key, namespace and user key, `value` the value.
    ///
    /// # Errors
    ///
    /// Unsupported, if key or value has 2^31 bytes or more; Io, if the writer behind fails.
    ///
    /// # Panics
    ///
    /// If no state was begun.
    #[inline]
    pub fn put(
        &mut self,
        key: impl FnOnce(&mut Vec<u8>),
        value: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), Error> {
        self.begin_change(PUT);
        self.bytes(key)?;
        self.bytes(value)?;
        self.flush_full()
    }

    /// The key has no value.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    ///
    /// # Panics
    ///
    /// As [`put`](Self::put).
    #[inline]
    pub fn remove(&mut self, key: impl FnOnce(&mut Vec<u8>)) -> Result<(), Error> {
        self.begin_change(REMOVE);
        self.bytes(key)?;
        self.flush_full()
    }

    /// The list of the key has these elements more; `elements` appends them with commas between.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    ///
    /// # Panics
    ///
    /// As [`put`](Self::put).
    #[inline]
    pub fn append(
        &mut self,
        key: impl FnOnce(&mut Vec<u8>),
        elements: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), Error> {
        self.begin_change(APPEND);
        self.bytes(key)?;
        self.bytes(elements)?;
        self.flush_full()
    }

    /// Writes what is left.
    ///
    /// How many entries states have is not known here: that of the result is empty.
    ///
    /// # Errors
    ///
    /// Io, if the writer behind fails.
    pub fn finish(mut self) -> Result<WrittenKeyed<W>, Error> {
        self.end_state();
        self.end_group()?;
        self.flush()?;
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

    fn position(&self, group: KeyGroup) -> usize {
        usize::from(group.0 - self.groups.first().0)
    }

    #[inline]
    fn begin_change(&mut self, kind: u8) {
        if !self.marked {
            self.mark_state();
        }
        self.buffer.put_u8(kind);
    }

    #[inline]
    fn bytes(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), Error> {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&[0; 4]);
        write(&mut self.buffer);
        let length = self.buffer.len() - start - 4;
        let length = i32::try_from(length)
            .map_err(|_| Error::unsupported(format!("a key or value of {length} bytes")))?;
        self.buffer[start..start + 4].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    /// Puts the number of the state in front of its first change.
    #[cold]
    fn mark_state(&mut self) {
        let group = self.group.expect("a state is begun before its changes");
        let position = self.position(group);
        if self.offsets[position] == 0 {
            self.offsets[position] = (self.flushed + self.buffer.len() as u64) as i64;
        }
        self.buffer.put_u16(self.state);
        self.buffer.put_u8(match self.block {
            ChangesBlock::Some => SOME,
            ChangesBlock::All => ALL,
        });
        self.marked = true;
    }

    fn end_state(&mut self) {
        if std::mem::replace(&mut self.marked, false) {
            self.buffer.put_u8(END_OF_STATE);
        }
    }

    fn end_group(&mut self) -> Result<(), Error> {
        if let Some(group) = self.group.take()
            && self.offsets[self.position(group)] > 0
        {
            self.buffer.put_u16(END_OF_GROUP);
        }
        self.flush_full()
    }

    #[inline]
    fn flush_full(&mut self) -> Result<(), Error> {
        match self.buffer.len() >= BUFFER_BYTES {
            true => self.flush(),
            false => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.out.write_all(&self.buffer).map_err(Error::write)?;
        self.flushed += self.buffer.len() as u64;
        self.buffer.clear();
        // One large value does not keep its memory for the rest of the file.
        self.buffer.shrink_to(2 * BUFFER_BYTES);
        Ok(())
    }
}
