//! An operator of a snapshot, and where its keyed state lies.

use millpond_serializer::{ByteReader, FlinkType, Incompatibility};
use millpond_snapshot::{
    HeapIncrements, KeyGroupsKind, KeyedHandle, KeyedHeader, KeyedReader, OperatorRecord,
    OperatorSnapshot, StateMeta, StreamHandle,
};
use millpond_types::{KeyGroup, KeyGroupRange, OperatorId};
use serde::Serialize;

use crate::{EntryCodec, Error, KeyedState, OpenSnapshot, Piece, Row, RowReader, StateType};

/// An operator of a snapshot.
#[derive(Clone, Copy, Debug)]
pub struct Operator<'a> {
    snapshot: &'a OpenSnapshot,
    state: &'a OperatorSnapshot,
}

/// The keyed state of one subtask.
#[derive(Clone, Copy, Debug)]
pub struct KeyedPart<'a> {
    operator: Operator<'a>,
    subtask: u32,
    handle: &'a KeyedHandle,
}

/// State that Millpond cannot read, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unreadable {
    /// The subtask.
    pub subtask: u32,
    /// What it is: "keyed state in files of a RocksDB".
    pub what: String,
    /// Its bytes.
    pub bytes: u64,
}

impl<'a> Operator<'a> {
    pub(crate) fn new(snapshot: &'a OpenSnapshot, state: &'a OperatorSnapshot) -> Self {
        Operator { snapshot, state }
    }

    /// The snapshot.
    pub fn snapshot(&self) -> &'a OpenSnapshot {
        self.snapshot
    }

    /// What the metadata says of the operator.
    pub fn metadata(&self) -> &'a OperatorSnapshot {
        self.state
    }

    /// The id.
    pub fn id(&self) -> OperatorId {
        self.state.id
    }

    /// What Millpond added.
    pub fn record(&self) -> Option<&'a OperatorRecord> {
        let trailer = self.snapshot.trailer()?;
        trailer.operator(self.state.id)
    }

    /// Whether the trailer says how much all of the keyed state is: where state was copied byte by
    /// byte, or is in files of a store or in changes, it does not.
    pub fn has_counts(&self) -> bool {
        let Some(record) = self.record() else {
            return false;
        };
        self.keyed_parts().all(|part| {
            let mut subtasks = record.subtasks.iter();
            let subtask = subtasks.find(|one| one.index == part.subtask());
            subtask.is_some_and(|subtask| {
                // State in key groups that is not named is empty.
                matches!(part.handle, KeyedHandle::KeyGroups { .. })
                    || subtask
                        .states
                        .iter()
                        .any(|state| self.is_keyed(&state.name))
            })
        })
    }

    /// Whether a state of this name is none of the operator itself.
    fn is_keyed(&self, name: &str) -> bool {
        let handles = self.state.subtasks.iter();
        let mut handles = handles.filter_map(|(_, subtask)| subtask.managed_operator.as_ref());
        !handles.any(|handle| handle.states.iter().any(|state| state.name == name))
    }

    /// The uid, if the snapshot holds it: Flink's do since 2.0.
    pub fn uid(&self) -> Option<&'a str> {
        let of_record = || self.record().and_then(|record| record.uid.as_deref());
        self.state.uid.as_deref().or_else(of_record)
    }

    /// The name, if the snapshot holds it: Flink's do since 2.0.
    pub fn name(&self) -> Option<&'a str> {
        let of_record = || self.record().map(|record| record.name.as_str());
        self.state
            .name
            .as_deref()
            .or_else(of_record)
            .filter(|name| !name.is_empty())
    }

    /// The operator for people: uid, else name, and the id.
    pub fn label(&self) -> String {
        match (self.uid(), self.name()) {
            (Some(uid), _) => format!("\"{uid}\" ({})", self.id()),
            (None, Some(name)) => format!("\"{name}\" ({})", self.id()),
            (None, None) => self.id().to_string(),
        }
    }

    /// Whether there is no state.
    pub fn is_empty(&self) -> bool {
        self.state.is_empty()
    }

    /// The keyed state, by subtask.
    pub fn keyed_parts(&self) -> impl Iterator<Item = KeyedPart<'a>> {
        let operator = *self;
        self.state
            .subtasks
            .iter()
            .filter_map(move |(index, subtask)| {
                Some(KeyedPart {
                    operator,
                    subtask: *index,
                    handle: subtask.managed_keyed.as_ref()?,
                })
            })
    }

    /// Returns the keyed states and timer queues, in the order of the headers; each name once.
    ///
    /// # Errors
    ///
    /// Snapshot: a header cannot be read.
    pub fn keyed_states(&self) -> Result<Vec<KeyedState>, Error> {
        let mut states: Vec<KeyedState> = Vec::new();
        for part in self.keyed_parts() {
            let Some(header) = part.header()? else {
                continue;
            };
            for state in KeyedState::all_of(&header)? {
                if !states.iter().any(|known| known.name == state.name) {
                    states.push(state);
                }
            }
        }
        Ok(states)
    }

    /// What of the keyed state cannot be read.
    pub fn unreadable(&self) -> Vec<Unreadable> {
        self.keyed_parts()
            .filter_map(|part| {
                let what = part.unreadable_because()?;
                let mut bytes = 0;
                part.handle.streams(&mut |stream| bytes += stream.size());
                Some(Unreadable {
                    subtask: part.subtask,
                    what: what.to_owned(),
                    bytes,
                })
            })
            .collect()
    }

    /// Calls `visit` for every row of keyed state, or of the one state named; map entries come one
    /// by one, those of one key together.
    ///
    /// On one thread, in the order of the files. For more, see [`scan`](crate::scan).
    ///
    /// # Errors
    ///
    /// Snapshot: state is damaged or cannot be read; else what `visit` returns.
    pub fn for_each_row(
        &self,
        state: Option<&str>,
        mut visit: impl FnMut(&KeyedState, Row) -> Result<(), Error>,
    ) -> Result<(), Error> {
        for part in self.keyed_parts() {
            let Some(reader) = part.open(None)? else {
                continue;
            };
            let mut reader = RowReader::new(reader)?;
            let is_it = |codec: &EntryCodec| state.is_none_or(|name| codec.state().name == name);
            let wanted: Vec<bool> = reader.codecs().iter().map(is_it).collect();
            while let Some((_, codec, row)) = reader.next_row_of(|state, _| wanted[state])? {
                visit(codec.state(), row)?;
            }
        }
        Ok(())
    }

    /// Calls `visit` for key and value of every entry of a state without windows that is one value
    /// per key, as Rust values.
    ///
    /// # Errors
    ///
    /// Request: there is no such state, or it is of another kind or type. Snapshot: it is damaged
    /// or cannot be read; else what `visit` returns.
    pub fn for_each_value<K: FlinkType, V: FlinkType>(
        &self,
        state: &str,
        mut visit: impl FnMut(K, V) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let states = self.keyed_states()?;
        let known = states.iter().find(|known| known.name == state);
        let known = known.ok_or_else(|| {
            let names: Vec<&str> = states.iter().map(|state| state.name.as_str()).collect();
            let names = names.join(", ");
            Error::request(format!("there is no state \"{state}\"; there are: {names}"))
        })?;
        let is_value = matches!(
            known.kind,
            StateType::Value | StateType::Reducing | StateType::Aggregating
        );
        if !is_value || !known.has_void_namespace() {
            let (kind, namespace) = (known.kind.name(), known.namespace_words());
            let reason = format!("state \"{state}\" is a {kind} state with namespace {namespace}");
            return Err(Error::request(reason));
        }
        let wrong = |what: &str, why: Incompatibility| {
            Error::request(format!("{what} of state \"{state}\": {why}"))
        };
        let keys = K::reader(&known.key).map_err(|why| wrong("the key", why))?;
        let values = V::reader(&known.value).map_err(|why| wrong("the value", why))?;
        for part in self.keyed_parts() {
            let Some(mut reader) = part.open(None)? else {
                continue;
            };
            let header = reader.header().clone();
            let is_it = |meta: &StateMeta| meta.name == state;
            while let Some(entry) = reader.next_entry()? {
                if header.states.get(entry.state).is_some_and(is_it) {
                    let key = keys.read(&mut ByteReader::new(entry.key))?;
                    visit(key, values.read(&mut ByteReader::new(entry.value))?)?;
                }
            }
        }
        Ok(())
    }
}

impl<'a> KeyedPart<'a> {
    /// The operator.
    pub fn operator(&self) -> Operator<'a> {
        self.operator
    }

    /// The subtask, from 0.
    pub fn subtask(&self) -> u32 {
        self.subtask
    }

    /// Where the state lies.
    pub fn handle(&self) -> &'a KeyedHandle {
        self.handle
    }

    /// The key groups.
    pub fn key_groups(&self) -> Option<KeyGroupRange> {
        self.handle.key_groups()
    }

    /// Bytes on the disk.
    pub fn bytes(&self) -> u64 {
        let mut bytes = 0;
        self.handle.streams(&mut |stream| bytes += stream.size());
        bytes
    }

    /// Why the state cannot be read; `None` if it can.
    pub fn unreadable_because(&self) -> Option<&'static str> {
        let loaded = self.operator.snapshot.loaded();
        loaded.unreadable_because(self.handle)
    }

    /// Whether the trailer says how many entries there are; who refers to files of earlier
    /// checkpoints does not know.
    pub(crate) fn is_counted(&self) -> bool {
        !matches!(self.handle, KeyedHandle::Incremental(_))
    }

    /// The format, in words.
    pub fn format(&self) -> &'static str {
        match self.handle {
            KeyedHandle::KeyGroups { kind, .. } => match kind {
                KeyGroupsKind::Savepoint => "canonical",
                KeyGroupsKind::V1 | KeyGroupsKind::V2 { .. } => "native heap",
            },
            KeyedHandle::Incremental(handle) if HeapIncrements::are_in(handle) => {
                "incremental heap"
            }
            KeyedHandle::Incremental(_) => "RocksDB",
            KeyedHandle::Changelog(_)
            | KeyedHandle::InMemoryChanges { .. }
            | KeyedHandle::ChangeFiles { .. } => "changelog",
        }
    }

    /// Opens the key groups of `wanted`, or all; `None` if the part has none of them.
    ///
    /// # Errors
    ///
    /// Snapshot: not covered, damaged, or not to be read.
    pub fn open(&self, wanted: Option<KeyGroupRange>) -> Result<Option<KeyedReader>, Error> {
        let loaded = self.operator.snapshot.loaded();
        if let Some(what) = self.unreadable_because() {
            let error = millpond_snapshot::Error::unsupported(what);
            return Err(error.in_file(&loaded.metadata_file).into());
        }
        let Some(wanted) = wanted.or_else(|| self.key_groups()) else {
            return Ok(None);
        };
        let max_parallelism = self.operator.state.max_parallelism;
        Ok(loaded.open_keyed(self.handle, wanted, max_parallelism)?)
    }

    /// Returns the header: also of files of a RocksDB whose entries cannot be read.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open); `None` if there is no header to be read.
    pub fn header(&self) -> Result<Option<KeyedHeader>, Error> {
        let loaded = self.operator.snapshot.loaded();
        match self.handle {
            KeyedHandle::KeyGroups { .. } => {
                Ok(self.open(None)?.map(|reader| reader.header().clone()))
            }
            KeyedHandle::Incremental(handle) if HeapIncrements::are_in(handle) => {
                Ok(Some(loaded.keyed_header(self.handle)?))
            }
            KeyedHandle::Incremental(handle) => Ok(Some(loaded.rocksdb_header(handle)?)),
            KeyedHandle::Changelog(_)
            | KeyedHandle::InMemoryChanges { .. }
            | KeyedHandle::ChangeFiles { .. } => Ok(None),
        }
    }

    /// Cuts the part into pieces of whole key groups, about `piece_bytes` each.
    ///
    /// Files of a RocksDB are one piece, and so is a part that cannot be read: opening it says why.
    pub fn pieces(&self, piece_bytes: u64) -> Vec<Piece<'a>> {
        let whole = |range| vec![Piece::new(*self, range, self.bytes())];
        let (KeyedHandle::KeyGroups { groups, stream, .. }, Some(range)) =
            (self.handle, self.key_groups())
        else {
            return self.key_groups().map(whole).unwrap_or_default();
        };
        let mut sizes = sizes_of(&groups.offsets, stream);
        sizes.truncate(range.len());
        let mut pieces = Vec::new();
        let (mut first, mut bytes) = (range.first(), 0);
        for (group, size) in range.iter().zip(sizes) {
            bytes += size;
            if bytes >= piece_bytes || group == range.last() {
                let range = KeyGroupRange::new(first, group);
                pieces.push(Piece::new(*self, range, bytes));
                (first, bytes) = (KeyGroup(group.0.saturating_add(1)), 0);
            }
        }
        pieces
    }
}

/// The bytes of each key group, as far as the offsets tell; 0 for those that are empty or wrong.
pub(crate) fn sizes_of(offsets: &[i64], stream: &StreamHandle) -> Vec<u64> {
    let end = stream.size();
    let mut starts: Vec<u64> = offsets
        .iter()
        .filter_map(|offset| u64::try_from(*offset).ok())
        .filter(|offset| (1..end).contains(offset))
        .collect();
    starts.sort_unstable();
    let size = |offset: i64| {
        let start = u64::try_from(offset).ok().filter(|start| *start > 0)?;
        let behind = starts.partition_point(|other| *other <= start);
        let next = starts.get(behind).copied().unwrap_or(end);
        Some(next.saturating_sub(start))
    };
    offsets
        .iter()
        .map(|offset| size(*offset).unwrap_or(0))
        .collect()
}
