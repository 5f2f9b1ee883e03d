//! Reading keyed state in the canonical format; the layout stands at
//! [`CanonicalWriter`](crate::CanonicalWriter).
//!
//! Only the key groups that are asked for are read, through a window of about a mebibyte: a key
//! group may be larger than the memory, compressed or not.

use millpond_types::{KeyGroup, KeyGroupRange};

use crate::keyed::window::Window;
use crate::keyed::{Entry, extents, key_group_prefix_bytes};
use crate::{Error, KeyGroupOffsets, KeyedHeader, StateSource};

const END_OF_GROUP: u16 = 0xffff;

/// Reads the entries of some key groups.
pub struct CanonicalReader {
    source: StateSource,
    header: KeyedHeader,
    prefix_bytes: usize,
    /// The groups still to be read, the next one last.
    todo: Vec<(KeyGroup, u64, u64)>,
    /// The group being read and the state in it.
    current: Option<(KeyGroup, u16)>,
    window: Window,
}

/// Where an entry lies in the window of its reader.
pub(super) struct EntryPlace {
    pub(super) group: KeyGroup,
    pub(super) state: u16,
    key: usize,
    value: usize,
    end: usize,
}

impl CanonicalReader {
    /// Reads the header and gets ready for those of `groups` that `wanted` has.
    ///
    /// # Errors
    ///
    /// Corrupt, unsupported or Io: the header cannot be read, or an offset lies outside.
    pub fn open(
        source: StateSource,
        groups: &KeyGroupOffsets,
        wanted: KeyGroupRange,
        max_parallelism: u32,
    ) -> Result<Self, Error> {
        let (header, header_bytes) = KeyedHeader::read_from(&source, groups)?;
        let mut todo = extents(groups, wanted, &source, header_bytes)?;
        let source = source.read_ahead(todo.iter().map(|(_, start, end)| *start..*end));
        todo.reverse();
        let ahead = todo.iter().map(|(_, _, end)| *end).max().unwrap_or(0);
        Ok(CanonicalReader {
            source,
            header,
            prefix_bytes: key_group_prefix_bytes(max_parallelism),
            todo,
            current: None,
            window: Window::new(ahead),
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
    /// Corrupt, if the bytes are damaged; Io, if they cannot be read. After an error the reader
    /// is of no use.
    #[inline]
    pub fn next_entry(&mut self) -> Result<Option<Entry<'_>>, Error> {
        Ok(self.advance_place()?.map(|place| self.entry_at(&place)))
    }

    /// Moves on to the next entry and says where it lies; valid until the next call.
    #[inline]
    pub(super) fn advance_place(&mut self) -> Result<Option<EntryPlace>, Error> {
        self.advance()
            .map_err(|error| error.in_file(self.source.name()))
    }

    /// The entry that the last call of [`advance_place`](Self::advance_place) has found.
    #[inline]
    pub(super) fn entry_at(&self, place: &EntryPlace) -> Entry<'_> {
        let bytes = &self.window.bytes;
        Entry {
            key_group: place.group,
            state: usize::from(place.state),
            key: &bytes[place.key + self.prefix_bytes..place.value - 4],
            value: &bytes[place.value..place.end],
        }
    }

    /// Finds where the key, the value and the end of the next entry lie in the window.
    #[inline]
    fn advance(&mut self) -> Result<Option<EntryPlace>, Error> {
        let (group, state) = match self.current {
            Some(current) => current,
            None => match self.next_group()? {
                Some(current) => current,
                None => return Ok(None),
            },
        };
        let window = &mut self.window;
        let key_length = window.length(&self.source)?;
        self.check_prefix(group, key_length)?;
        // Key and value must be in memory together: first both lengths are.
        let window = &mut self.window;
        window.need(key_length + 4, &self.source)?;
        let length_at = window.at + key_length;
        let bytes = window.bytes[length_at..]
            .first_chunk()
            .expect("needed before");
        let value_length = i32::from_be_bytes(*bytes);
        let Ok(value_length) = usize::try_from(value_length) else {
            let at = window.start + length_at as u64;
            return Err(Error::corrupt(at, "a length", value_length.to_string()));
        };
        let entry_length = key_length + 4 + value_length;
        let last = window.bytes[window.at] & 0x80 != 0;
        window.need(entry_length + if last { 2 } else { 0 }, &self.source)?;
        let key = window.at;
        window.at += entry_length;
        self.current = Some((group, state));
        if last {
            self.end_state(group)?;
        }
        let value = key + key_length + 4;
        Ok(Some(EntryPlace {
            group,
            state,
            key,
            value,
            end: value + value_length,
        }))
    }

    /// Checks that the key begins with the key group.
    #[inline]
    fn check_prefix(&self, group: KeyGroup, key_length: usize) -> Result<(), Error> {
        let key = &self.window.bytes[self.window.at..self.window.at + key_length];
        let found = match (self.prefix_bytes, key) {
            (1, [first, ..]) => Some(u16::from(first & 0x7f)),
            (2, [first, second, ..]) => Some(u16::from_be_bytes([first & 0x7f, *second])),
            _ => None,
        };
        if found == Some(group.0) {
            return Ok(());
        }
        let found = found.map_or("a shorter key".to_owned(), |found| {
            format!("key group {found}")
        });
        let expected = format!("a key of key group {}", group.0);
        Err(Error::corrupt(self.window.offset(), expected, found))
    }

    /// Reads what follows the last entry of a state; it is in memory, behind that entry.
    fn end_state(&mut self, group: KeyGroup) -> Result<(), Error> {
        let at = self.window.offset();
        self.current = match self.window.u16(&self.source)? {
            END_OF_GROUP if self.window.is_at_end()? => None,
            END_OF_GROUP => {
                let expected = format!("the end of key group {} further on", group.0);
                return Err(Error::corrupt(at, expected, "it here already"));
            }
            state => Some((group, self.known_state(state, at)?)),
        };
        Ok(())
    }

    fn known_state(&self, state: u16, at: u64) -> Result<u16, Error> {
        let states = self.header.states.len();
        if usize::from(state) < states {
            return Ok(state);
        }
        Err(Error::corrupt(
            at,
            format!("one of {states} states"),
            format!("state {state}"),
        ))
    }

    fn next_group(&mut self) -> Result<Option<(KeyGroup, u16)>, Error> {
        let Some((group, start, end)) = self.todo.pop() else {
            return Ok(None);
        };
        let window = &mut self.window;
        if self.header.compressed {
            window.turn_to_framed(&self.source, start, end);
        } else {
            window.turn_to(start, end);
        }
        let at = window.offset();
        let state = window.u16(&self.source)?;
        self.known_state(state, at)
            .map(|state| Some((group, state)))
    }
}
