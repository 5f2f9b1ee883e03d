//! What all files of changes together say about one key group.
//!
//! It is held in memory while the base goes by: the bytes as they lie in the files, and a sorted list
//! of where each key is. A filter of bits spares the search for most keys that have not changed.

use std::ops::Range;

use millpond_types::KeyGroup;
use xxhash_rust::xxh3::xxh3_64;

use super::changes_reader::{Change, ChangesReader};
use crate::keyed::LIST_DELIMITER;
use crate::{Error, KeyedHeader};

/// So many bits of the filter there are per key: one key in 16 that has not changed is searched for.
const BITS_PER_KEY: usize = 16;

/// What is to become of the value of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Put,
    Remove,
    Append,
}

/// The newest word on a key.
#[derive(Debug)]
struct Record {
    state: u16,
    /// The file that says it; files count from 0, the oldest.
    file: u16,
    kind: Kind,
    key: Range<usize>,
    value: Range<usize>,
    /// Whether it needs no more attention.
    done: bool,
}

/// The changes of one key group.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    bytes: Vec<u8>,
    /// Sorted by state and key, each once.
    records: Vec<Record>,
    filter: Vec<u64>,
    /// By state: what is older than this file is void, the base too.
    all_since: Vec<Option<u16>>,
}

/// A file of changes, and which state of the newest header each of its states is.
pub(super) struct Changes {
    pub(super) reader: ChangesReader,
    pub(super) states: Vec<KnownState>,
}

/// A state of an older header in the newest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KnownState {
    pub(super) state: u16,
    /// Whether both describe it alike; else its entries must be void.
    pub(super) is_same: bool,
}

impl KnownState {
    /// Finds the states of `older` in `newest`.
    ///
    /// # Errors
    ///
    /// Corrupt, if one is missing, or if keys differ.
    pub(super) fn all(older: &KeyedHeader, newest: &KeyedHeader) -> Result<Vec<Self>, Error> {
        if older.key_serializer != newest.key_serializer {
            let expected = newest.key_serializer.describe();
            let found = older.key_serializer.describe();
            return Err(Error::corrupt(0, format!("keys of {expected}"), found));
        }
        let known = |meta: &crate::StateMeta| {
            let mut states = newest.states.iter();
            let found = states.position(|new| new.name == meta.name);
            let state = found.ok_or_else(|| {
                let expected = "states that the newest file has too";
                Error::corrupt(0, expected, format!("state \"{}\"", meta.name))
            })?;
            Ok(KnownState {
                state: state as u16,
                is_same: newest.states[state].describes_same(meta),
            })
        };
        older.states.iter().map(known).collect()
    }
}

/// The error for entries that are described in another way than newer ones, and not void.
pub(super) fn described_differently(header: &KeyedHeader, state: u16) -> Error {
    let name = &header.states[usize::from(state)].name;
    let expected = format!("all entries of state \"{name}\", which newer files describe anew");
    Error::corrupt(0, expected, "changes of older ones")
}

impl Overlay {
    /// Reads the changes of `group` from all files, oldest first.
    ///
    /// # Errors
    ///
    /// Corrupt or Io, if they cannot be read.
    pub(super) fn load(
        &mut self,
        group: KeyGroup,
        files: &mut [Changes],
        header: &KeyedHeader,
    ) -> Result<(), Error> {
        self.bytes.clear();
        self.records.clear();
        self.all_since.clear();
        self.all_since.resize(header.states.len(), None);
        for (file, changes) in files.iter_mut().enumerate() {
            // No more than the file holds of this group.
            let bytes = usize::try_from(changes.reader.bytes_of(group)).unwrap_or(usize::MAX);
            self.bytes.reserve(bytes);
            let (overlay, states) = (&mut *self, &changes.states);
            changes.reader.read_group(group, &mut |state, change| {
                overlay.add(file as u16, states[state].state, change);
                Ok(())
            })?;
        }
        let all_since = &self.all_since;
        self.records.retain(|record| {
            all_since[usize::from(record.state)].is_none_or(|since| record.file >= since)
        });
        for record in &self.records {
            let known = files[usize::from(record.file)].states.iter();
            let mut known = known.filter(|known| known.state == record.state);
            if known.any(|known| !known.is_same) {
                return Err(described_differently(header, record.state));
            }
        }
        self.merge();
        self.fill_filter();
        Ok(())
    }

    fn add(&mut self, file: u16, state: u16, change: Change<'_>) {
        let (kind, key, value): (_, _, &[u8]) = match change {
            Change::All => {
                self.all_since[usize::from(state)] = Some(file);
                return;
            }
            Change::Put { key, value } => (Kind::Put, key, value),
            Change::Remove { key } => (Kind::Remove, key, &[]),
            Change::Append { key, elements } => (Kind::Append, key, elements),
        };
        let (key, value) = (self.push(key), self.push(value));
        self.records.push(Record {
            state,
            file,
            kind,
            key,
            value,
            done: false,
        });
    }

    fn push(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }

    /// Sorts, and makes one of several records of a key.
    fn merge(&mut self) {
        let mut records = std::mem::take(&mut self.records);
        let bytes = &self.bytes;
        // Stable, and records come file by file: of one key the newest is last.
        records.sort_by(|a, b| {
            let key = |record: &Record| (record.state, &bytes[record.key.clone()]);
            key(a).cmp(&key(b))
        });
        let mut merged: Vec<Record> = Vec::with_capacity(records.len());
        for record in records {
            match merged.last() {
                Some(last) if self.is_same_key(last, &record) => {
                    let older = merged.pop().expect("one was there");
                    merged.push(self.on_top(older, record));
                }
                Some(_) | None => merged.push(record),
            }
        }
        self.records = merged;
    }

    fn is_same_key(&self, a: &Record, b: &Record) -> bool {
        a.state == b.state && self.bytes[a.key.clone()] == self.bytes[b.key.clone()]
    }

    fn on_top(&mut self, older: Record, newer: Record) -> Record {
        match (newer.kind, older.kind) {
            (Kind::Put | Kind::Remove, _) => newer,
            // There was nothing that it could be appended to.
            (Kind::Append, Kind::Remove) => Record {
                kind: Kind::Put,
                ..newer
            },
            (Kind::Append, kind @ (Kind::Put | Kind::Append)) => {
                let start = self.bytes.len();
                self.bytes.extend_from_within(older.value);
                self.bytes.push(LIST_DELIMITER);
                self.bytes.extend_from_within(newer.value.clone());
                let value = start..self.bytes.len();
                Record {
                    kind,
                    value,
                    ..newer
                }
            }
        }
    }

    fn fill_filter(&mut self) {
        let bits = (self.records.len() * BITS_PER_KEY).next_power_of_two();
        self.filter.clear();
        self.filter.resize(bits.div_ceil(64), 0);
        for record in &self.records {
            let bit = bit_of(&self.bytes[record.key.clone()], self.filter.len());
            self.filter[bit / 64] |= 1 << (bit % 64);
        }
    }

    /// Whether entries of older files, the base too, are void.
    pub(super) fn is_void(&self, state: u16) -> bool {
        self.all_since[usize::from(state)].is_some()
    }

    /// Finds the word on a key.
    pub(super) fn find(&self, state: u16, key: &[u8]) -> Option<usize> {
        if self.records.is_empty() {
            return None;
        }
        let bit = bit_of(key, self.filter.len());
        if self.filter[bit / 64] & (1 << (bit % 64)) == 0 {
            return None;
        }
        let is_less =
            |record: &Record| (record.state, &self.bytes[record.key.clone()]).cmp(&(state, key));
        self.records.binary_search_by(is_less).ok()
    }

    /// The records of a state.
    pub(super) fn of_state(&self, state: u16) -> Range<usize> {
        let start = self.records.partition_point(|record| record.state < state);
        let end = self.records.partition_point(|record| record.state <= state);
        start..end
    }

    /// The records of a state whose keys begin with `head`.
    pub(super) fn of_head(&self, state: u16, head: &[u8]) -> Range<usize> {
        let Range { start, end } = self.of_state(state);
        let records = &self.records[start..end];
        let key = |record: &Record| &self.bytes[record.key.clone()];
        let first = records.partition_point(|record| key(record) < head);
        let count = records[first..].partition_point(|record| key(record).starts_with(head));
        start + first..start + first + count
    }

    /// All records.
    pub(super) fn all(&self) -> Range<usize> {
        0..self.records.len()
    }

    /// Takes the next record of `range` that is to be yielded and was not yet; shortens the range.
    pub(super) fn take_next(&mut self, range: &mut Range<usize>) -> Option<usize> {
        for at in range.by_ref() {
            let record = &mut self.records[at];
            if !std::mem::replace(&mut record.done, true) && record.kind != Kind::Remove {
                return Some(at);
            }
        }
        None
    }

    /// Notes that the base has the key.
    pub(super) fn take(&mut self, at: usize) -> Kind {
        self.records[at].done = true;
        self.records[at].kind
    }

    pub(super) fn state(&self, at: usize) -> u16 {
        self.records[at].state
    }

    pub(super) fn key(&self, at: usize) -> &[u8] {
        &self.bytes[self.records[at].key.clone()]
    }

    pub(super) fn value(&self, at: usize) -> &[u8] {
        &self.bytes[self.records[at].value.clone()]
    }
}

/// The bit of a key in a filter of `words` words, a power of two.
fn bit_of(key: &[u8], words: usize) -> usize {
    xxh3_64(key) as usize & (words * 64 - 1)
}
