//! Reading keyed state in the native format of the heap backend, as canonical entries.
//!
//! After the [`KeyedHeader`], for every key group of the handle, empty ones too:
//!
//! | order | type | meaning |
//! | --- | --- | --- |
//! | 1 | i32 | key group |
//! | 2 | i16 | state: an index into the header; all states come, in some order |
//! | 3 | i32 n | entries |
//! | 4 | n | KEY_VALUE: namespace, key, value; PRIORITY_QUEUE: element |
//!
//! If compressed, each state is a framed Snappy stream of its own. Entries have no lengths: a
//! serializer that is not known ends the reading of a group. Lists lie as i32 n and elements,
//! maps as i32 n and (key, bool is-null, value).
//!
//! Source: Flink 2.3.0, class `HeapSnapshotStrategy`.

use millpond_serializer::{ByteReader, SerializerSnapshot, skip_value};
use millpond_types::{KeyGroup, KeyGroupRange};

use crate::compression::decompress;
use crate::keyed::{Entry, LIST_DELIMITER, extents, is_ambiguous, put_length};
use crate::{
    Error, KeyGroupOffsets, KeyedHeader, KeyedStateType, StateKind, StateMeta, StateSource,
};

/// Reads the entries of some key groups.
pub struct NativeHeapReader {
    source: StateSource,
    header: KeyedHeader,
    /// The groups still to be read, the next one last.
    todo: Vec<(KeyGroup, u64, u64)>,
    /// The group being read.
    group: KeyGroup,
    /// Its bytes, from `start` in the stream on.
    bytes: Vec<u8>,
    start: u64,
    at: usize,
    /// How many states of the group are still to come.
    states_left: usize,
    /// The state being read, and its entries still to come.
    state: usize,
    entries_left: usize,
    /// The user keys still to come of the map being read; its key and namespace are in `key`.
    user_keys_left: usize,
    key: Vec<u8>,
    /// How many bytes of `key` are key and namespace.
    key_bytes: usize,
    value: Vec<u8>,
}

/// Whether the groups begin as those of the native format do: with their number.
///
/// The canonical format begins with a state and a length: as i32 a small number too, so that one
/// group is no proof. But native groups are never absent, and none but the first is number 0.
pub(crate) fn looks_native(source: &StateSource, groups: &KeyGroupOffsets) -> Result<bool, Error> {
    let mut checked = 0;
    for (group, offset) in groups.iter() {
        let Ok(offset @ 1..) = u64::try_from(offset) else {
            return Ok(false);
        };
        // Outside of the stream: reading will say so.
        if offset.saturating_add(4) > source.len() {
            return Ok(true);
        }
        let mut number = [0; 4];
        source.read_at(offset, &mut number)?;
        if u32::from_be_bytes(number) != u32::from(group.0) {
            return Ok(false);
        }
        checked += 1;
        if checked == 3 {
            break;
        }
    }
    Ok(true)
}

impl NativeHeapReader {
    /// Reads the header and gets ready for those of `groups` that `wanted` has.
    ///
    /// # Errors
    ///
    /// Corrupt, unsupported or Io: the header cannot be read, or an offset lies outside.
    pub fn open(
        source: StateSource,
        groups: &KeyGroupOffsets,
        wanted: KeyGroupRange,
    ) -> Result<Self, Error> {
        let (header, header_bytes) = KeyedHeader::read_from(&source, groups)?;
        let mut todo = extents(groups, wanted, &source, header_bytes)?;
        todo.reverse();
        Ok(NativeHeapReader {
            source,
            header,
            todo,
            group: KeyGroup(0),
            bytes: Vec::new(),
            start: 0,
            at: 0,
            states_left: 0,
            state: 0,
            entries_left: 0,
            user_keys_left: 0,
            key: Vec::new(),
            key_bytes: 0,
            value: Vec::new(),
        })
    }

    /// The header.
    pub fn header(&self) -> &KeyedHeader {
        &self.header
    }

    /// Where the next entry lies in the stream: exactly, unless its key group is compressed.
    pub fn offset(&self) -> u64 {
        self.start + self.at as u64
    }

    /// What the stream is called in errors.
    pub fn source_name(&self) -> &str {
        self.source.name()
    }

    /// Returns the next entry, or `None` after the last.
    ///
    /// # Errors
    ///
    /// Corrupt, if the bytes are damaged; unsupported, if a serializer is not known; Io, if they
    /// cannot be read. After an error the reader is of no use.
    pub fn next_entry(&mut self) -> Result<Option<Entry<'_>>, Error> {
        match self.advance() {
            Ok(false) => Ok(None),
            Ok(true) => Ok(Some(Entry {
                key_group: self.group,
                state: self.state,
                key: &self.key,
                value: &self.value,
            })),
            Err(error) => Err(error.in_file(self.source.name())),
        }
    }

    /// Puts the next entry into `key` and `value`.
    fn advance(&mut self) -> Result<bool, Error> {
        loop {
            if self.user_keys_left > 0 {
                self.user_keys_left -= 1;
                self.read_with(read_user_key)?;
                return Ok(true);
            }
            if self.entries_left > 0 {
                self.entries_left -= 1;
                if self.read_with(read_entry)? {
                    return Ok(true);
                }
            } else if self.states_left > 0 {
                self.states_left -= 1;
                self.next_state()?;
            } else if !self.next_group()? {
                return Ok(false);
            }
        }
    }

    fn read_with<T>(
        &mut self,
        read: fn(&mut Parts<'_>, &mut ByteReader<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut input = ByteReader::at_offset(&self.bytes[self.at..], self.start + self.at as u64);
        let mut parts = Parts {
            key_serializer: &self.header.key_serializer,
            meta: &self.header.states[self.state],
            key: &mut self.key,
            key_bytes: &mut self.key_bytes,
            value: &mut self.value,
            user_keys_left: &mut self.user_keys_left,
        };
        let read = read(&mut parts, &mut input)?;
        self.at += input.position();
        Ok(read)
    }

    fn next_state(&mut self) -> Result<(), Error> {
        let mut input = ByteReader::at_offset(&self.bytes[self.at..], self.start + self.at as u64);
        let at = input.offset();
        let state = input.i16()?;
        self.state = usize::try_from(state)
            .ok()
            .filter(|state| *state < self.header.states.len())
            .ok_or_else(|| {
                let expected = format!("one of {} states", self.header.states.len());
                Error::corrupt(at, expected, format!("state {state}"))
            })?;
        self.entries_left = input.count(1)?;
        self.at += input.position();
        Ok(())
    }

    fn next_group(&mut self) -> Result<bool, Error> {
        if self.at != self.bytes.len() {
            let found = format!("{} more bytes", self.bytes.len() - self.at);
            let expected = format!("the end of key group {}", self.group.0);
            return Err(Error::corrupt(self.start + self.at as u64, expected, found));
        }
        let Some((group, start, end)) = self.todo.pop() else {
            return Ok(false);
        };
        let bytes = self.source.read_range(start, end)?;
        let mut input = ByteReader::at_offset(&bytes, start);
        input.expect_i32(i32::from(group.0), "key group")?;
        self.bytes = match self.header.compressed {
            true => decompress(input.rest(), start + 4)?,
            false => input.rest().to_vec(),
        };
        (self.group, self.start, self.at) = (group, start + 4, 0);
        self.states_left = self.header.states.len();
        Ok(true)
    }
}

/// What reading an entry needs of the reader, apart from the bytes.
struct Parts<'a> {
    key_serializer: &'a SerializerSnapshot,
    meta: &'a StateMeta,
    key: &'a mut Vec<u8>,
    key_bytes: &'a mut usize,
    value: &'a mut Vec<u8>,
    user_keys_left: &'a mut usize,
}

/// Reads an entry; returns whether there is a canonical one: not for empty lists and for maps.
fn read_entry(parts: &mut Parts<'_>, input: &mut ByteReader<'_>) -> Result<bool, Error> {
    let meta = parts.meta;
    parts.key.clear();
    parts.value.clear();
    match meta.kind {
        StateKind::PriorityQueue => {
            parts
                .key
                .extend_from_slice(value_bytes(meta.value_serializer()?, input)?);
            return Ok(true);
        }
        StateKind::KeyValue | StateKind::KeyValueV2 => {}
        StateKind::Operator | StateKind::Broadcast => {
            let what = format!("operator state \"{}\" among keyed state", meta.name);
            return Err(Error::unsupported(what));
        }
    }
    let namespace_serializer = meta.namespace_serializer()?;
    let ambiguous = is_ambiguous(parts.key_serializer, namespace_serializer);
    let namespace = value_bytes(namespace_serializer, input)?;
    let key = value_bytes(parts.key_serializer, input)?;
    for part in [key, namespace] {
        parts.key.extend_from_slice(part);
        if ambiguous {
            put_length(part.len(), parts.key);
        }
    }
    *parts.key_bytes = parts.key.len();
    match (meta.keyed_state_type(), meta.value_serializer()?.nested()) {
        (Some(KeyedStateType::List), [element]) => {
            for index in 0..input.count(1)? {
                if index > 0 {
                    parts.value.push(LIST_DELIMITER);
                }
                parts.value.extend_from_slice(value_bytes(element, input)?);
            }
            Ok(!parts.value.is_empty())
        }
        (Some(KeyedStateType::Map), [_, _]) => {
            *parts.user_keys_left = input.count(2)?;
            Ok(false)
        }
        (Some(KeyedStateType::List | KeyedStateType::Map), _) => {
            let found = meta.value_serializer()?.describe();
            Err(Error::unsupported(format!(
                "state \"{}\" with values of {found}",
                meta.name
            )))
        }
        _ => {
            parts
                .value
                .extend_from_slice(value_bytes(meta.value_serializer()?, input)?);
            Ok(true)
        }
    }
}

/// Reads a user key and its value; key and namespace are there already.
fn read_user_key(parts: &mut Parts<'_>, input: &mut ByteReader<'_>) -> Result<(), Error> {
    let [user_key, user_value] = parts.meta.value_serializer()?.nested() else {
        return Err(Error::unsupported(format!(
            "map state \"{}\" without map",
            parts.meta.name
        )));
    };
    parts.key.truncate(*parts.key_bytes);
    parts.key.extend_from_slice(value_bytes(user_key, input)?);
    parts.value.clear();
    let is_null = input.bool()?;
    parts.value.push(u8::from(is_null));
    if !is_null {
        parts
            .value
            .extend_from_slice(value_bytes(user_value, input)?);
    }
    Ok(())
}

fn value_bytes<'a>(
    serializer: &SerializerSnapshot,
    input: &mut ByteReader<'a>,
) -> Result<&'a [u8], Error> {
    let start = input.position();
    skip_value(serializer, input)?;
    Ok(input.since(start))
}
