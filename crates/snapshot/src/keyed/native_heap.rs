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
//! Groups are read through a window, as those of the canonical format are: where an entry ends is
//! known once it has been read, so that one that lies over the end of the window is read again.
//!
//! Source: Flink 2.3.0, class `HeapSnapshotStrategy`.

use millpond_serializer::{ByteReader, ValueCodec};
use millpond_types::{KeyGroup, KeyGroupRange};

use crate::keyed::window::Window;
use crate::keyed::{Entry, LIST_DELIMITER, extents, is_ambiguous, put_length};
use crate::{
    Error, ErrorKind, KeyGroupOffsets, KeyedHeader, KeyedStateType, StateKind, StateMeta,
    StateSource,
};

/// Reads the entries of some key groups.
pub struct NativeHeapReader {
    source: StateSource,
    header: KeyedHeader,
    /// By state.
    layouts: Vec<Option<Layout>>,
    /// The groups still to be read, the next one last.
    todo: Vec<(KeyGroup, u64, u64)>,
    /// The group being read; `None` in front of the first.
    group: Option<KeyGroup>,
    window: Window,
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
        // What cannot be read is told when there is an entry of it.
        let layouts = header
            .states
            .iter()
            .map(|meta| Layout::of(&header, meta).ok());
        let layouts = layouts.collect();
        let mut todo = extents(groups, wanted, &source, header_bytes)?;
        let source = source.read_ahead(todo.iter().map(|(_, start, end)| *start..*end));
        todo.reverse();
        let ahead = todo.iter().map(|(_, _, end)| *end).max().unwrap_or(0);
        Ok(NativeHeapReader {
            source,
            header,
            layouts,
            todo,
            group: None,
            window: Window::new(ahead),
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
        self.window.offset()
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
                key_group: self.group.unwrap_or(KeyGroup(0)),
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
                match self.read_with(read_entry)? {
                    Read::Entry => return Ok(true),
                    Read::Nothing => {}
                    Read::Map => self.user_keys_left = self.window.count(2, &self.source)?,
                }
            } else if self.states_left > 0 {
                self.states_left -= 1;
                self.next_state()?;
            } else if !self.next_group()? {
                return Ok(false);
            }
        }
    }

    /// Reads something of which it is not known how long it is: more comes into memory until it
    /// can be read, or there is no more.
    fn read_with<T>(
        &mut self,
        read: fn(&mut Parts<'_>, &mut ByteReader<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        loop {
            let mut input = ByteReader::at_offset(self.window.ready(), self.window.offset());
            let layout = match &self.layouts[self.state] {
                Some(layout) => layout,
                // Says why there is none.
                None => {
                    let meta = &self.header.states[self.state];
                    self.layouts[self.state].insert(Layout::of(&self.header, meta)?)
                }
            };
            let mut parts = Parts {
                layout,
                key: &mut self.key,
                key_bytes: &mut self.key_bytes,
                value: &mut self.value,
            };
            let result = read(&mut parts, &mut input);
            let position = input.position();
            match result {
                Ok(read) => {
                    self.window.at += position;
                    return Ok(read);
                }
                Err(error) => {
                    let may_be_cut = matches!(error.kind(), ErrorKind::Corrupt { .. });
                    if !may_be_cut || !self.window.grow(&self.source)? {
                        return Err(error);
                    }
                }
            }
        }
    }

    fn next_state(&mut self) -> Result<(), Error> {
        let at = self.window.offset();
        let state = self.window.u16(&self.source)?;
        self.state = usize::from(state);
        if self.state >= self.header.states.len() {
            let expected = format!("one of {} states", self.header.states.len());
            return Err(Error::corrupt(at, expected, format!("state {state}")));
        }
        self.entries_left = self.window.count(1, &self.source)?;
        Ok(())
    }

    fn next_group(&mut self) -> Result<bool, Error> {
        if let Some(group) = self.group
            && !self.window.is_at_end()?
        {
            let expected = format!("the end of key group {}", group.0);
            return Err(Error::corrupt(self.window.offset(), expected, "more bytes"));
        }
        let Some((group, start, end)) = self.todo.pop() else {
            return Ok(false);
        };
        // The number is never compressed.
        self.window.turn_to(start, end);
        if self.header.compressed {
            let mut number = [0; 4];
            self.source.read_at(start, &mut number)?;
            ByteReader::at_offset(&number, start).expect_i32(i32::from(group.0), "key group")?;
            self.window.turn_to_framed(&self.source, start + 4, end);
        } else {
            let number = self.window.i32(&self.source)?;
            if number != i32::from(group.0) {
                let expected = format!("key group {:#x}", group.0);
                return Err(Error::corrupt(start, expected, format!("{number:#x}")));
            }
        }
        self.group = Some(group);
        self.states_left = self.header.states.len();
        Ok(true)
    }
}

/// How the entries of a state lie, its serializers looked up once.
struct Layout {
    content: Content,
    /// Whether keys and namespaces are followed by their lengths in canonical entries.
    ambiguous: bool,
    key: ValueCodec,
    namespace: ValueCodec,
}

/// What follows namespace and key; of timers all there is.
enum Content {
    Timer(ValueCodec),
    Value(ValueCodec),
    List(ValueCodec),
    Map(ValueCodec, ValueCodec),
}

impl Layout {
    fn of(header: &KeyedHeader, meta: &StateMeta) -> Result<Self, Error> {
        let value = meta.value_serializer()?;
        let codec = ValueCodec::new;
        let key = &header.key_serializer;
        let (content, namespace) = match meta.kind {
            StateKind::PriorityQueue => (Content::Timer(codec(value)), key),
            StateKind::KeyValue | StateKind::KeyValueV2 => {
                let content = match (meta.keyed_state_type(), value.nested()) {
                    (Some(KeyedStateType::List), [element]) => Content::List(codec(element)),
                    (Some(KeyedStateType::Map), [key, value]) => {
                        Content::Map(codec(key), codec(value))
                    }
                    (Some(KeyedStateType::List | KeyedStateType::Map), _) => {
                        let (name, found) = (&meta.name, value.describe());
                        let what = format!("state \"{name}\" with values of {found}");
                        return Err(Error::unsupported(what));
                    }
                    _ => Content::Value(codec(value)),
                };
                (content, meta.namespace_serializer()?)
            }
            StateKind::Operator | StateKind::Broadcast => {
                let what = format!("operator state \"{}\" among keyed state", meta.name);
                return Err(Error::unsupported(what));
            }
        };
        Ok(Layout {
            content,
            ambiguous: is_ambiguous(key, namespace),
            key: codec(key),
            namespace: codec(namespace),
        })
    }
}

/// What reading an entry needs of the reader, apart from the bytes.
struct Parts<'a> {
    layout: &'a Layout,
    key: &'a mut Vec<u8>,
    key_bytes: &'a mut usize,
    value: &'a mut Vec<u8>,
}

/// What was read of an entry.
enum Read {
    /// A canonical entry.
    Entry,
    /// What has none: an empty list.
    Nothing,
    /// Key and namespace of a map; its user keys follow.
    Map,
}

/// Reads an entry; of a map key and namespace alone.
fn read_entry(parts: &mut Parts<'_>, input: &mut ByteReader<'_>) -> Result<Read, Error> {
    let layout = parts.layout;
    parts.key.clear();
    parts.value.clear();
    if let Content::Timer(element) = &layout.content {
        parts.key.extend_from_slice(value_bytes(element, input)?);
        return Ok(Read::Entry);
    }
    let namespace = value_bytes(&layout.namespace, input)?;
    let key = value_bytes(&layout.key, input)?;
    for part in [key, namespace] {
        parts.key.extend_from_slice(part);
        if layout.ambiguous {
            put_length(part.len(), parts.key);
        }
    }
    *parts.key_bytes = parts.key.len();
    match &layout.content {
        Content::List(element) => {
            for index in 0..input.count(1)? {
                if index > 0 {
                    parts.value.push(LIST_DELIMITER);
                }
                parts.value.extend_from_slice(value_bytes(element, input)?);
            }
            Ok(match parts.value.is_empty() {
                true => Read::Nothing,
                false => Read::Entry,
            })
        }
        Content::Map(..) => Ok(Read::Map),
        Content::Value(value) | Content::Timer(value) => {
            parts.value.extend_from_slice(value_bytes(value, input)?);
            Ok(Read::Entry)
        }
    }
}

/// Reads a user key and its value; key and namespace are there already.
fn read_user_key(parts: &mut Parts<'_>, input: &mut ByteReader<'_>) -> Result<(), Error> {
    let Content::Map(user_key, user_value) = &parts.layout.content else {
        return Err(Error::unsupported("user keys of what is no map"));
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

#[inline]
fn value_bytes<'a>(codec: &ValueCodec, input: &mut ByteReader<'a>) -> Result<&'a [u8], Error> {
    let start = input.position();
    codec.skip(input)?;
    Ok(input.since(start))
}
