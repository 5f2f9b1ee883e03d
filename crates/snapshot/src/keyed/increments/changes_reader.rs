//! Reading changes of keyed state; the layout stands at [`ChangesWriter`](super::ChangesWriter).

use std::collections::VecDeque;

use millpond_types::{KeyGroup, KeyGroupRange};

use super::changes_writer::{ALL, APPEND, END_OF_GROUP, END_OF_STATE, PUT, REMOVE, SOME};
use crate::keyed::extents;
use crate::keyed::window::Window;
use crate::{Error, KeyGroupOffsets, KeyedHeader, StateSource};

/// What has become of a state, or of one key of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change<'a> {
    /// Only what follows is there of the state.
    All,
    Put {
        key: &'a [u8],
        value: &'a [u8],
    },
    Remove {
        key: &'a [u8],
    },
    Append {
        key: &'a [u8],
        elements: &'a [u8],
    },
}

/// Reads one file of changes, key group by key group.
pub(super) struct ChangesReader {
    source: StateSource,
    header: KeyedHeader,
    /// The groups still to be read, in ascending order.
    todo: VecDeque<(KeyGroup, u64, u64)>,
    window: Window,
}

impl ChangesReader {
    /// Reads the header and gets ready for those of `groups` that `wanted` has.
    ///
    /// # Errors
    ///
    /// Corrupt, unsupported or Io: the header cannot be read, or an offset lies outside.
    pub(super) fn open(
        source: StateSource,
        groups: &KeyGroupOffsets,
        wanted: KeyGroupRange,
    ) -> Result<Self, Error> {
        let (header, header_bytes) = KeyedHeader::read_from(&source, groups)?;
        if header.compressed {
            let error = Error::unsupported("compressed changes of state");
            return Err(error.in_file(source.name()));
        }
        let todo = extents(groups, wanted, &source, header_bytes)?;
        let source = source.read_ahead(todo.iter().map(|(_, start, end)| *start..*end));
        let ahead = todo.iter().map(|(_, _, end)| *end).max().unwrap_or(0);
        Ok(ChangesReader {
            source,
            header,
            todo: todo.into(),
            window: Window::new(ahead),
        })
    }

    pub(super) fn header(&self) -> &KeyedHeader {
        &self.header
    }

    pub(super) fn source_name(&self) -> &str {
        self.source.name()
    }

    /// How many bytes the changes of `group` take, if it is the next one with any.
    pub(super) fn bytes_of(&self, group: KeyGroup) -> u64 {
        match self.todo.front() {
            Some((next, start, end)) if *next == group => end - start,
            Some(_) | None => 0,
        }
    }

    /// Calls `visit` with each change of `group` and its state. Groups are asked for in ascending
    /// order.
    ///
    /// # Errors
    ///
    /// Corrupt, if the bytes are damaged; Io, if they cannot be read; else what `visit` returns.
    pub(super) fn read_group(
        &mut self,
        group: KeyGroup,
        visit: &mut dyn FnMut(usize, Change<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        while let Some(&(next, start, end)) = self.todo.front()
            && next <= group
        {
            self.todo.pop_front();
            if next == group {
                let read = self.read(start, end, visit);
                return read.map_err(|error| error.in_file(self.source.name()));
            }
        }
        Ok(())
    }

    fn read(
        &mut self,
        start: u64,
        end: u64,
        visit: &mut dyn FnMut(usize, Change<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.window.turn_to(start, end);
        loop {
            let at = self.window.offset();
            let state = match self.window.u16(&self.source)? {
                END_OF_GROUP => break,
                state => usize::from(state),
            };
            let states = self.header.states.len();
            if state >= states {
                let expected = format!("one of {states} states");
                return Err(Error::corrupt(at, expected, format!("state {state}")));
            }
            match self.u8()? {
                SOME => {}
                ALL => visit(state, Change::All)?,
                other => return Err(self.wrong("0 or 1 behind a state", other)),
            }
            self.read_state(state, visit)?;
        }
        match self.window.is_at_end()? {
            true => Ok(()),
            false => {
                let expected = "the end of the key group further on";
                Err(Error::corrupt(
                    self.window.offset(),
                    expected,
                    "it here already",
                ))
            }
        }
    }

    fn read_state(
        &mut self,
        state: usize,
        visit: &mut dyn FnMut(usize, Change<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        loop {
            let kind = self.u8()?;
            match kind {
                END_OF_STATE => return Ok(()),
                PUT | REMOVE | APPEND => {}
                other => return Err(self.wrong("a change of kind 0 to 3", other)),
            }
            // Key and value must be in memory together: first both lengths are.
            let window = &mut self.window;
            let key_bytes = window.length(&self.source)?;
            let mut value_bytes = 0;
            let mut head = 0;
            if kind != REMOVE {
                window.need(key_bytes + 4, &self.source)?;
                let length_at = window.at + key_bytes;
                let bytes = window.bytes[length_at..]
                    .first_chunk()
                    .expect("needed before");
                let length = i32::from_be_bytes(*bytes);
                value_bytes = usize::try_from(length).map_err(|_| {
                    let at = window.start + length_at as u64;
                    Error::corrupt(at, "a length", length.to_string())
                })?;
                head = 4;
            }
            window.need(key_bytes + head + value_bytes, &self.source)?;
            let bytes = &window.bytes[window.at..][..key_bytes + head + value_bytes];
            let (key, value) = (&bytes[..key_bytes], &bytes[key_bytes + head..]);
            let change = match kind {
                PUT => Change::Put { key, value },
                REMOVE => Change::Remove { key },
                _ => Change::Append {
                    key,
                    elements: value,
                },
            };
            visit(state, change)?;
            window.at += key_bytes + head + value_bytes;
        }
    }

    fn u8(&mut self) -> Result<u8, Error> {
        self.window.need(1, &self.source)?;
        let byte = self.window.bytes[self.window.at];
        self.window.at += 1;
        Ok(byte)
    }

    fn wrong(&self, expected: &str, found: u8) -> Error {
        let at = self.window.offset() - 1;
        Error::corrupt(at, expected, format!("{found:#04x}"))
    }
}
