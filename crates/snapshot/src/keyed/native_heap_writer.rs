//! Writing keyed state in the native format of the heap backend; the layout stands at
//! [`NativeHeapReader`](crate::NativeHeapReader).
//!
//! Entries come in canonical form, as every reader yields them and every backend writes them, and
//! are recoded one by one: key and namespace change places, the elements of a list are counted
//! instead of delimited, and the entries of one key of a map become one map.
//!
//! The number of entries stands in front of them and is known only behind them. So the bytes of
//! one state in one key group stay in memory until the state ends: that, and a mebibyte, is what
//! the writer needs. Rejected: two passes over the entries (a running job lets go of each key
//! group as it is written), and patching the file (object stores cannot).

use std::collections::HashSet;
use std::io::Write;

use millpond_serializer::{ByteReader, ByteWriter, SerializerSnapshot, skip_value};
use millpond_types::{KeyGroup, KeyGroupRange};
use xxhash_rust::xxh3::xxh3_128;

use crate::compression::compress;
use crate::keyed::{LIST_DELIMITER, is_ambiguous, read_length};
use crate::{
    Error, KeyGroupOffsets, KeyedHeader, KeyedStateType, StateKind, StateMeta, WrittenKeyed,
    WrittenState,
};

/// The buffer is written when it holds as much, at the end of a state.
const BUFFER_BYTES: usize = 1 << 20;

/// Writes keyed state as Flink's hashmap backend does, key group by key group.
///
/// The key groups come in ascending order. Those that are left out, and states that are, are
/// written as empty ones, because this format lists them all.
///
/// # Examples
///
/// ```
/// use millpond_serializer::{FlinkType, VoidNamespace};
/// use millpond_snapshot::{KeyedHeader, KeyedStateType, NativeHeapWriter, StateMeta};
/// use millpond_types::{KeyGroup, KeyGroupRange};
///
/// let (long, void) = (i64::serializer_snapshot(), VoidNamespace::serializer_snapshot());
/// let count = StateMeta::key_value("count", KeyedStateType::Value, void, long.clone());
/// let header = KeyedHeader { compressed: false, key_serializer: long, states: vec![count] };
/// let groups = KeyGroupRange::of_subtask(0, 1, 128);
/// let mut writer = NativeHeapWriter::new(Vec::new(), &header, groups)?;
/// writer.begin_state(KeyGroup(29), 0)?;
/// // The parts of a canonical entry; the writer recodes them.
/// writer.entry(
///     |key| {
///         42i64.write(key);
///         VoidNamespace.write(key);
///     },
///     |value| 7i64.write(value),
/// )?;
/// let written = writer.finish()?;
/// assert_eq!(written.states[0].entries(), 1);
/// assert!(written.groups.offsets.iter().all(|offset| *offset > 0));
/// # Ok::<(), millpond_snapshot::Error>(())
/// ```
pub struct NativeHeapWriter<W> {
    out: W,
    compressed: bool,
    key_serializer: SerializerSnapshot,
    layouts: Vec<Layout>,
    groups: KeyGroupRange,
    /// Where each group begins, for those that were begun.
    offsets: Vec<i64>,
    /// What was not written yet.
    buffer: Vec<u8>,
    /// Where the buffer begins in the stream.
    flushed: u64,
    /// The states that the group being written has already.
    begun: Vec<bool>,
    current: Option<CurrentState>,
    /// A canonical key and a canonical value, on their way.
    key: Vec<u8>,
    value: Vec<u8>,
    states: Vec<WrittenState>,
}

/// How the entries of one state are recoded.
struct Layout {
    /// What the state is called in errors.
    name: String,
    /// Nothing for timers.
    namespace: Option<SerializerSnapshot>,
    ambiguous: bool,
    value: ValueLayout,
}

enum ValueLayout {
    /// The element of a timer; there is no value.
    Timer,
    /// The same bytes in both formats.
    Value,
    /// Elements of this serializer.
    List(SerializerSnapshot),
    /// One entry per user key.
    Map,
}

/// The state that is being written.
struct CurrentState {
    group: KeyGroup,
    state: usize,
    /// Where it begins in the buffer; the count lies two bytes behind.
    start: usize,
    /// Entries in the sense of this format: one per key and namespace.
    count: usize,
    /// Entries in the canonical sense: one per user key of a map.
    canonical_entries: u64,
    map: MapRun,
}

/// The map whose entries are coming in.
#[derive(Default)]
struct MapRun {
    /// Its namespace and key, as they lie in the file; empty before the first.
    head: Vec<u8>,
    /// Where its count lies in the buffer.
    count_at: usize,
    count: usize,
    /// What maps there were in this state and group: a key that came twice would lose its first
    /// map on restore. 128 bits of hash, so that two of them do not meet by chance.
    seen: HashSet<u128>,
}

impl Layout {
    fn of(key: &SerializerSnapshot, meta: &StateMeta) -> Result<Self, Error> {
        let value = meta.value_serializer()?;
        let (namespace, value) = match meta.kind {
            StateKind::PriorityQueue => (None, ValueLayout::Timer),
            StateKind::KeyValue | StateKind::KeyValueV2 => {
                let layout = match (meta.keyed_state_type(), value.nested()) {
                    (Some(KeyedStateType::List), [element]) => ValueLayout::List(element.clone()),
                    (Some(KeyedStateType::Map), [_, _]) => ValueLayout::Map,
                    (Some(KeyedStateType::List | KeyedStateType::Map), _) => {
                        let found = value.describe();
                        let what = format!("state \"{}\" with values of {found}", meta.name);
                        return Err(Error::unsupported(what));
                    }
                    (_, _) => ValueLayout::Value,
                };
                (Some(meta.namespace_serializer()?.clone()), layout)
            }
            StateKind::Operator | StateKind::Broadcast => {
                let what = format!("operator state \"{}\" among keyed state", meta.name);
                return Err(Error::unsupported(what));
            }
        };
        let ambiguous = namespace
            .as_ref()
            .is_some_and(|namespace| is_ambiguous(key, namespace));
        Ok(Layout {
            name: meta.name.clone(),
            namespace,
            ambiguous,
            value,
        })
    }
}

impl<W: Write> NativeHeapWriter<W> {
    /// Writes the header to `out` and returns a writer of the key groups `groups`.
    ///
    /// If the header asks for compression, each state of each group becomes a framed Snappy
    /// stream.
    ///
    /// # Errors
    ///
    /// Unsupported, if a list or map state has values that are none; incompatible, if the header
    /// lacks a serializer.
    pub fn new(out: W, header: &KeyedHeader, groups: KeyGroupRange) -> Result<Self, Error> {
        let layouts = header
            .states
            .iter()
            .map(|meta| Layout::of(&header.key_serializer, meta));
        let layouts = layouts.collect::<Result<Vec<_>, _>>()?;
        let mut buffer = Vec::new();
        header.write(&mut buffer)?;
        Ok(NativeHeapWriter {
            out,
            compressed: header.compressed,
            key_serializer: header.key_serializer.clone(),
            groups,
            offsets: Vec::with_capacity(groups.len()),
            buffer,
            flushed: 0,
            begun: vec![true; layouts.len()],
            current: None,
            key: Vec::new(),
            value: Vec::new(),
            states: vec![WrittenState::default(); layouts.len()],
            layouts,
        })
    }

    /// Says that the entries from here on are of `state` (an index into the header) in `group`.
    ///
    /// The states of a group may come in any order, each once.
    ///
    /// # Errors
    ///
    /// Incompatible, if the state came before in this group; Io, if the writer behind fails.
    ///
    /// # Panics
    ///
    /// If the group is not of this writer or comes after a later one, or if there is no such
    /// state.
    pub fn begin_state(&mut self, group: KeyGroup, state: usize) -> Result<(), Error> {
        let states = self.layouts.len();
        assert!(state < states, "state {state} of {states}");
        assert!(
            self.groups.contains(group),
            "key group {} of {}",
            group.0,
            self.groups
        );
        self.end_state()?;
        let position = usize::from(group.0 - self.groups.first().0);
        assert!(
            position + 1 >= self.offsets.len(),
            "key group {} after key group {}",
            group.0,
            usize::from(self.groups.first().0) + self.offsets.len() - 1
        );
        while self.offsets.len() <= position {
            self.next_group()?;
        }
        if self.begun[state] {
            let name = &self.layouts[state].name;
            return Err(Error::incompatible(format!(
                "state \"{name}\" lies in two parts in key group {}; write the canonical format \
                 instead",
                group.0
            )));
        }
        self.open_state(group, state);
        Ok(())
    }

    /// Adds an entry in canonical form. `key` appends key, namespace and user key, `value` the
    /// value; for timers `key` appends the element and `value` nothing.
    ///
    /// # Errors
    ///
    /// Corrupt, if the parts are no canonical entry of this state; unsupported, if the key, or an
    /// element of a list, has a serializer whose values Millpond cannot tell apart; incompatible,
    /// if the user keys of one key do not come one behind the other.
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
        self.key.clear();
        key(&mut self.key);
        self.value.clear();
        value(&mut self.value);
        let (key, value) = (
            std::mem::take(&mut self.key),
            std::mem::take(&mut self.value),
        );
        let added = self.raw_entry(&key, &value);
        (self.key, self.value) = (key, value);
        added
    }

    /// Adds an entry whose canonical bytes are at hand; `key` is without the key group.
    ///
    /// # Errors
    ///
    /// As [`entry`](Self::entry).
    pub fn raw_entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        let current = self
            .current
            .as_mut()
            .expect("a state is begun before its first entry");
        let layout = &self.layouts[current.state];
        let buffer = &mut self.buffer;
        current.canonical_entries += 1;
        let Some(namespace) = &layout.namespace else {
            buffer.extend_from_slice(key);
            current.count += 1;
            return Ok(());
        };
        let mut input = ByteReader::new(key);
        let key = part(&self.key_serializer, layout.ambiguous, &mut input)?;
        let namespace = part(namespace, layout.ambiguous, &mut input)?;
        let user_key = input.rest();
        if !matches!(layout.value, ValueLayout::Map) {
            if !user_key.is_empty() {
                let found = format!("{} bytes more in \"{}\"", user_key.len(), layout.name);
                return Err(Error::corrupt(input.offset(), "the end of the key", found));
            }
            buffer.extend_from_slice(namespace);
            buffer.extend_from_slice(key);
            current.count += 1;
        }
        match &layout.value {
            ValueLayout::Timer => {}
            ValueLayout::Value => buffer.extend_from_slice(value),
            ValueLayout::List(element) => put_list(element, value, buffer)?,
            ValueLayout::Map => {
                if current.map.turn_to(namespace, key, &layout.name, buffer)? {
                    current.count += 1;
                }
                put_map_entry(user_key, value, buffer)?;
                current.map.count += 1;
            }
        }
        Ok(())
    }

    /// The bytes so far, those still in the buffer (and not yet compressed) included.
    pub fn bytes(&self) -> u64 {
        self.flushed + self.buffer.len() as u64
    }

    /// Writes what is left.
    ///
    /// # Errors
    ///
    /// Io, if the writer behind fails.
    pub fn finish(mut self) -> Result<WrittenKeyed<W>, Error> {
        self.end_state()?;
        while self.offsets.len() < self.groups.len() {
            self.next_group()?;
        }
        self.fill_group()?;
        self.write_buffer()?;
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

    /// Ends the group being written and begins the next one.
    fn next_group(&mut self) -> Result<(), Error> {
        self.fill_group()?;
        let offset = self.flushed + self.buffer.len() as u64;
        let group = usize::from(self.groups.first().0) + self.offsets.len();
        self.offsets.push(offset as i64);
        self.buffer.put_count(group);
        self.begun.fill(false);
        Ok(())
    }

    /// Writes the states that the group being written lacks as empty ones.
    fn fill_group(&mut self) -> Result<(), Error> {
        for state in 0..self.begun.len() {
            if !self.begun[state] {
                let group = usize::from(self.groups.first().0) + self.offsets.len() - 1;
                self.open_state(KeyGroup(group as u16), state);
                self.end_state()?;
            }
        }
        Ok(())
    }

    fn open_state(&mut self, group: KeyGroup, state: usize) {
        self.begun[state] = true;
        self.current = Some(CurrentState {
            group,
            state,
            start: self.buffer.len(),
            count: 0,
            canonical_entries: 0,
            map: MapRun::default(),
        });
        // A header has at most 32767 states.
        self.buffer.put_i16(state as i16);
        self.buffer.put_i32(0);
    }

    fn end_state(&mut self) -> Result<(), Error> {
        let Some(mut current) = self.current.take() else {
            return Ok(());
        };
        current.map.end(&mut self.buffer)?;
        let count_at = current.start + 2;
        patch_count(&mut self.buffer, count_at, current.count)?;
        if current.canonical_entries > 0 {
            let bytes = self.buffer.len() - count_at - 4;
            self.states[current.state].key_groups.push((
                current.group,
                current.canonical_entries,
                bytes as u64,
            ));
        }
        if self.compressed {
            let framed = compress(&self.buffer[current.start..]);
            self.buffer.truncate(current.start);
            self.buffer.extend_from_slice(&framed);
        }
        if self.buffer.len() >= BUFFER_BYTES {
            self.write_buffer()?;
        }
        Ok(())
    }

    fn write_buffer(&mut self) -> Result<(), Error> {
        self.out.write_all(&self.buffer).map_err(Error::write)?;
        self.flushed += self.buffer.len() as u64;
        self.buffer.clear();
        // A single large state does not keep its memory for the rest of the file.
        self.buffer.shrink_to(2 * BUFFER_BYTES);
        Ok(())
    }
}

impl MapRun {
    /// Begins the map of another key, unless it is the one that is being written; returns whether
    /// it began one.
    fn turn_to(
        &mut self,
        namespace: &[u8],
        key: &[u8],
        name: &str,
        buffer: &mut Vec<u8>,
    ) -> Result<bool, Error> {
        let same = self.head.len() == namespace.len() + key.len()
            && self.head.starts_with(namespace)
            && self.head.ends_with(key);
        if same && self.count > 0 {
            return Ok(false);
        }
        self.end(buffer)?;
        self.head.clear();
        self.head.extend_from_slice(namespace);
        self.head.extend_from_slice(key);
        if !self.seen.insert(xxh3_128(&self.head)) {
            return Err(Error::incompatible(format!(
                "the entries of one key of map state \"{name}\" do not lie one behind the other; \
                 write the canonical format instead"
            )));
        }
        buffer.extend_from_slice(&self.head);
        self.count_at = buffer.len();
        buffer.put_i32(0);
        Ok(true)
    }

    fn end(&mut self, buffer: &mut [u8]) -> Result<(), Error> {
        if self.count > 0 {
            patch_count(buffer, self.count_at, self.count)?;
            self.count = 0;
        }
        Ok(())
    }
}

fn patch_count(buffer: &mut [u8], at: usize, count: usize) -> Result<(), Error> {
    let count = i32::try_from(count)
        .map_err(|_| Error::unsupported(format!("{count} entries in one key group")))?;
    buffer[at..at + 4].copy_from_slice(&count.to_be_bytes());
    Ok(())
}

/// Cuts the next part off a canonical key.
fn part<'a>(
    serializer: &SerializerSnapshot,
    ambiguous: bool,
    input: &mut ByteReader<'a>,
) -> Result<&'a [u8], Error> {
    let start = input.position();
    skip_value(serializer, input)?;
    let part = input.since(start);
    if ambiguous {
        read_length(part.len(), input)?;
    }
    Ok(part)
}

/// Appends the elements of a delimited list as a counted one.
fn put_list(
    element: &SerializerSnapshot,
    delimited: &[u8],
    buffer: &mut Vec<u8>,
) -> Result<(), Error> {
    let count_at = buffer.len();
    buffer.put_i32(0);
    let mut input = ByteReader::new(delimited);
    let mut count = 0;
    while !input.is_empty() {
        if count > 0 {
            let at = input.offset();
            match input.u8()? {
                LIST_DELIMITER => {}
                other => {
                    let found = format!("{other:#04x}");
                    return Err(Error::corrupt(at, "',' between list elements", found));
                }
            }
        }
        let start = input.position();
        skip_value(element, &mut input)?;
        buffer.extend_from_slice(input.since(start));
        count += 1;
    }
    patch_count(buffer, count_at, count)
}

/// Appends a user key and its value; what follows a null means nothing and is left out.
fn put_map_entry(user_key: &[u8], value: &[u8], buffer: &mut Vec<u8>) -> Result<(), Error> {
    let mut input = ByteReader::new(value);
    let is_null = input.bool()?;
    buffer.extend_from_slice(user_key);
    buffer.put_bool(is_null);
    if !is_null {
        buffer.extend_from_slice(input.rest());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
