//! Reading a base and the changes on top of it as if they were one file.
//!
//! Key group by key group: the changes of a group are held in memory (see `Overlay`), its entries in
//! the base go by. What has changed is replaced, what was removed passed over, and what the base has
//! not is yielded behind the entries of its state; user keys of a map that the base has, behind those
//! of that map, so that the entries of one key lie one behind the other.

use std::ops::Range;

use millpond_types::{KeyGroup, KeyGroupRange};

use super::HeapIncrements;
use super::changes_reader::ChangesReader;
use super::overlay::{Changes, Kind, KnownState, Overlay, described_differently};
use crate::keyed::canonical_reader::EntryPlace;
use crate::keyed::{Entry, LIST_DELIMITER, split_key};
use crate::{CanonicalReader, Error, KeyedHeader, KeyedStateType, StateSource};

/// Reads the entries of some key groups.
pub struct MergedReader {
    /// That of the newest file.
    header: KeyedHeader,
    is_map: Vec<bool>,
    base: CanonicalReader,
    base_states: Vec<KnownState>,
    changes: Vec<Changes>,
    /// The groups still to be read, the next one last.
    todo: Vec<KeyGroup>,
    group: Option<KeyGroup>,
    overlay: Overlay,
    /// An entry of the base that was read and is still to be looked at.
    ahead: Option<EntryPlace>,
    /// The state whose entries in the base go by.
    state: Option<u16>,
    /// Key and namespace of the map whose entries in the base go by.
    head: Vec<u8>,
    /// What is to be yielded before the base goes on.
    pending: Range<usize>,
    /// Whether the base has no more of this group.
    is_base_over: bool,
    /// A list that was appended to.
    value: Vec<u8>,
}

/// Where the next entry is.
enum Found {
    Base(EntryPlace),
    /// Key in the base, value in the reader.
    Longer(EntryPlace),
    Changed(usize),
}

impl MergedReader {
    /// Gets ready to read those key groups that `wanted` has; `sources` are the streams of
    /// `increments`, in the same order.
    ///
    /// # Errors
    ///
    /// Corrupt, unsupported or Io: a header cannot be read or does not fit the others, or an offset
    /// lies outside.
    ///
    /// # Panics
    ///
    /// If there are not as many sources as files.
    pub fn open(
        increments: &HeapIncrements,
        sources: Vec<StateSource>,
        wanted: KeyGroupRange,
        max_parallelism: u32,
    ) -> Result<Self, Error> {
        let files = increments.files();
        assert_eq!(files.len(), sources.len());
        let mut opened = files.iter().zip(sources);
        let Some((base, source)) = opened.next() else {
            return Err(Error::corrupt(0, "a base of heap state", "no file"));
        };
        let range = base.groups.range();
        let base = CanonicalReader::open(source, &base.groups, wanted, max_parallelism)?;
        let readers = opened
            .map(|(file, source)| ChangesReader::open(source, &file.groups, wanted))
            .collect::<Result<Vec<_>, _>>()?;
        let newest = readers.last().map_or(base.header(), ChangesReader::header);
        let header = newest.clone();
        let known = |older: &KeyedHeader, name: &str| {
            KnownState::all(older, &header).map_err(|error| error.in_file(name))
        };
        let base_states = known(base.header(), base.source_name())?;
        let mut changes = Vec::with_capacity(readers.len());
        for reader in readers {
            let states = known(reader.header(), reader.source_name())?;
            changes.push(Changes { reader, states });
        }
        let groups = range.and_then(|range| range.intersection(wanted));
        let mut todo: Vec<KeyGroup> = groups.iter().flat_map(|range| range.iter()).collect();
        todo.reverse();
        let is_map = |meta: &crate::StateMeta| meta.keyed_state_type() == Some(KeyedStateType::Map);
        Ok(MergedReader {
            is_map: header.states.iter().map(is_map).collect(),
            header,
            base,
            base_states,
            changes,
            todo,
            group: None,
            overlay: Overlay::default(),
            ahead: None,
            state: None,
            head: Vec::new(),
            pending: 0..0,
            is_base_over: false,
            value: Vec::new(),
        })
    }

    /// The header of the newest file.
    pub fn header(&self) -> &KeyedHeader {
        &self.header
    }

    /// Where the next entry of the base lies in it.
    pub fn offset(&self) -> u64 {
        self.base.offset()
    }

    /// What the base is called in errors.
    pub fn source_name(&self) -> &str {
        self.base.source_name()
    }

    /// Returns the next entry, or `None` after the last.
    ///
    /// # Errors
    ///
    /// Corrupt, if the bytes are damaged; Io, if they cannot be read. After an error the reader
    /// is of no use.
    #[inline]
    pub fn next_entry(&mut self) -> Result<Option<Entry<'_>>, Error> {
        let Some(found) = self.advance()? else {
            return Ok(None);
        };
        Ok(Some(match found {
            Found::Base(place) => {
                let entry = self.base.entry_at(&place);
                let state = usize::from(self.base_states[entry.state].state);
                Entry { state, ..entry }
            }
            Found::Longer(place) => {
                let entry = self.base.entry_at(&place);
                Entry {
                    state: usize::from(self.base_states[entry.state].state),
                    value: &self.value,
                    ..entry
                }
            }
            Found::Changed(at) => Entry {
                key_group: self.group.expect("a record is of the group being read"),
                state: usize::from(self.overlay.state(at)),
                key: self.overlay.key(at),
                value: self.overlay.value(at),
            },
        }))
    }

    fn advance(&mut self) -> Result<Option<Found>, Error> {
        loop {
            if let Some(at) = self.overlay.take_next(&mut self.pending) {
                return Ok(Some(Found::Changed(at)));
            }
            let Some(group) = self.group else {
                if !self.begin_group()? {
                    return Ok(None);
                }
                continue;
            };
            if self.is_base_over {
                // States that the base has nothing of in this group.
                let mut all = self.overlay.all();
                match self.overlay.take_next(&mut all) {
                    Some(at) => {
                        self.pending = all;
                        return Ok(Some(Found::Changed(at)));
                    }
                    None => self.group = None,
                }
                continue;
            }
            if self.ahead.is_none() {
                self.ahead = self.base.advance_place()?;
            }
            match self.ahead.take_if(|place| place.group == group) {
                Some(place) => {
                    if let Some(found) = self.look_at(place)? {
                        return Ok(Some(found));
                    }
                }
                None => {
                    self.is_base_over = true;
                    self.end_state();
                }
            }
        }
    }

    /// Begins the next group; returns whether there is one.
    fn begin_group(&mut self) -> Result<bool, Error> {
        let Some(group) = self.todo.pop() else {
            return Ok(false);
        };
        self.overlay.load(group, &mut self.changes, &self.header)?;
        self.group = Some(group);
        self.state = None;
        self.head.clear();
        self.is_base_over = false;
        Ok(true)
    }

    /// The base has no more of the state that went by.
    fn end_state(&mut self) {
        if let Some(state) = self.state.take() {
            self.pending = self.overlay.of_state(state);
        }
        self.head.clear();
    }

    /// Looks at an entry of the base; puts it back if something else comes first.
    fn look_at(&mut self, place: EntryPlace) -> Result<Option<Found>, Error> {
        let known = self.base_states[usize::from(place.state)];
        let state = known.state;
        if self.state.is_some_and(|before| before != state) {
            self.end_state();
            self.ahead = Some(place);
            return Ok(None);
        }
        self.state = Some(state);
        if self.overlay.is_void(state) {
            return Ok(None);
        }
        if !known.is_same {
            let error = described_differently(&self.header, state);
            return Err(error.in_file(self.base.source_name()));
        }
        if self.is_map[usize::from(state)] && self.turns_to_another_map(&place) {
            self.ahead = Some(place);
            return Ok(None);
        }
        let entry = self.base.entry_at(&place);
        let Some(at) = self.overlay.find(state, entry.key) else {
            return Ok(Some(Found::Base(place)));
        };
        Ok(match self.overlay.take(at) {
            Kind::Put => Some(Found::Changed(at)),
            Kind::Remove => None,
            Kind::Append => {
                self.value.clear();
                self.value.extend_from_slice(entry.value);
                self.value.push(LIST_DELIMITER);
                self.value.extend_from_slice(self.overlay.value(at));
                Some(Found::Longer(place))
            }
        })
    }

    /// Notes the map that an entry of the base is of; returns whether something of the map before
    /// may be left to yield.
    fn turns_to_another_map(&mut self, place: &EntryPlace) -> bool {
        let entry = self.base.entry_at(place);
        if !self.head.is_empty() && entry.key.starts_with(&self.head) {
            return false;
        }
        let state = usize::from(self.base_states[entry.state].state);
        let before = std::mem::take(&mut self.head);
        // Entries of unknown classes cannot be told apart: what is new comes behind all of them.
        let user_key = split_key(&self.header, state, entry.key).map(|parts| parts.user_key.len());
        let head = entry.key.len() - user_key.unwrap_or(0);
        self.head.extend_from_slice(&entry.key[..head]);
        if before.is_empty() {
            return false;
        }
        self.pending = self.overlay.of_head(state as u16, &before);
        !self.pending.is_empty()
    }
}
