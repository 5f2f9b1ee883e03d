//! The keyed state of all subtasks of an operator, read as one.
//!
//! Each subtask has a header of its own, and those may list other states, or the same ones in
//! another order. Here they are one header, and entries name their state by its index in that.

use std::collections::VecDeque;
use std::sync::Arc;

use millpond_snapshot::{
    Entry, Error, KeyedFormat, KeyedHandle, KeyedHeader, KeyedReader, LoadedSnapshot,
    OperatorSnapshot, StateMeta,
};
use millpond_types::{KeyGroup, KeyGroupRange};

/// The keyed state of an operator.
pub(crate) struct KeyedInput<'a> {
    snapshot: &'a LoadedSnapshot,
    max_parallelism: u32,
    header: KeyedHeader,
    format: KeyedFormat,
    /// In ascending order of their key groups.
    parts: Vec<Part<'a>>,
}

struct Part<'a> {
    handle: &'a KeyedHandle,
    range: KeyGroupRange,
    /// The index in the common header of each state in its own one.
    states: Arc<[usize]>,
}

impl<'a> KeyedInput<'a> {
    /// Reads the headers; `None`, if the operator has no keyed state.
    ///
    /// # Errors
    ///
    /// Unsupported, if the state has a changelog, or lies in files of a RocksDB and nothing that
    /// reads them is at hand; incompatible, if subtasks disagree about a state, or have the same key groups;
    /// else as reading a header may fail.
    pub(crate) fn open(
        snapshot: &'a LoadedSnapshot,
        operator: &'a OperatorSnapshot,
    ) -> Result<Option<Self>, Error> {
        let mut parts = Vec::new();
        let mut header: Option<KeyedHeader> = None;
        let mut format = None;
        for (index, subtask) in &operator.subtasks {
            if subtask.raw_keyed.is_some() {
                let what = format!(
                    "raw keyed state (timers on the heap beside RocksDB) of operator {}; take a \
                     canonical savepoint instead",
                    operator.id
                );
                return Err(Error::unsupported(what).in_file(&snapshot.metadata_file));
            }
            let Some(handle) = &subtask.managed_keyed else {
                continue;
            };
            let Some(range) = handle.key_groups() else {
                continue;
            };
            let Some(reader) = snapshot.open_keyed(handle, range, operator.max_parallelism)? else {
                continue;
            };
            let of_part = match &reader {
                // Entries and base are canonical, and no format of savepoints is incremental.
                KeyedReader::Canonical(_) | KeyedReader::HeapIncrements(_) => {
                    KeyedFormat::Canonical
                }
                KeyedReader::NativeHeap(_) => KeyedFormat::NativeHeap,
                KeyedReader::RocksDb(_) => KeyedFormat::NativeRocksDb,
            };
            format = match format {
                Some(known) if known != of_part => Some(KeyedFormat::Canonical),
                Some(_) | None => Some(of_part),
            };
            let own = reader.header();
            let common = header.get_or_insert_with(|| KeyedHeader {
                compressed: false,
                key_serializer: own.key_serializer.clone(),
                states: Vec::new(),
            });
            let states = merge(common, own).map_err(|what| {
                let reason = format!("operator {}, subtask {index}: {what}", operator.id);
                Error::incompatible(reason).in_file(&snapshot.metadata_file)
            })?;
            parts.push(Part {
                handle,
                range,
                states,
            });
        }
        let Some(header) = header else {
            return Ok(None);
        };
        parts.sort_by_key(|part| part.range.first());
        let overlap = parts
            .windows(2)
            .find(|pair| pair[0].range.last() >= pair[1].range.first());
        if let Some(pair) = overlap {
            let reason = format!(
                "two subtasks of operator {} have the key groups {} and {}",
                operator.id, pair[0].range, pair[1].range
            );
            return Err(Error::incompatible(reason).in_file(&snapshot.metadata_file));
        }
        Ok(Some(KeyedInput {
            snapshot,
            max_parallelism: operator.max_parallelism,
            header,
            format: format.unwrap_or_default(),
            parts,
        }))
    }

    /// The header of all subtasks together.
    pub(crate) fn header(&self) -> &KeyedHeader {
        &self.header
    }

    /// What the state is written in; canonical, if its parts differ in that.
    pub(crate) fn format(&self) -> KeyedFormat {
        self.format
    }

    /// Reads the entries of some key groups, in ascending order of the groups.
    pub(crate) fn read(&self, wanted: KeyGroupRange) -> Entries<'_> {
        let parts = self.parts.iter();
        Entries {
            snapshot: self.snapshot,
            max_parallelism: self.max_parallelism,
            wanted,
            todo: parts
                .filter(|part| part.range.intersection(wanted).is_some())
                .map(|part| (part.handle, part.states.clone()))
                .collect(),
            reader: None,
        }
    }

    /// All key groups that there are.
    pub(crate) fn all_groups(&self) -> KeyGroupRange {
        KeyGroupRange::new(KeyGroup(0), KeyGroup((self.max_parallelism - 1) as u16))
    }
}

/// Adds the states of a header to the common one; returns where they stand there.
fn merge(common: &mut KeyedHeader, own: &KeyedHeader) -> Result<Arc<[usize]>, String> {
    if common.key_serializer != own.key_serializer {
        return Err(format!(
            "keys are {}, those of another subtask {}",
            own.key_serializer.describe(),
            common.key_serializer.describe()
        ));
    }
    let states = own.states.iter().map(|meta| {
        let known = common
            .states
            .iter()
            .position(|other| other.name == meta.name);
        let Some(known) = known else {
            common.states.push(meta.clone());
            return Ok(common.states.len() - 1);
        };
        if !same_meta(&common.states[known], meta) {
            return Err(format!(
                "state \"{}\" is of another type than in another subtask",
                meta.name
            ));
        }
        Ok(known)
    });
    states.collect()
}

/// Whether two metas say the same; the order of options and serializers means nothing.
pub(crate) fn same_meta(a: &StateMeta, b: &StateMeta) -> bool {
    let within = |a: &StateMeta, b: &StateMeta| {
        a.options.iter().all(|option| b.options.contains(option))
            && a.serializers
                .iter()
                .all(|serializer| b.serializers.contains(serializer))
    };
    a.kind == b.kind && within(a, b) && within(b, a)
}

/// The entries of some key groups.
pub(crate) struct Entries<'a> {
    snapshot: &'a LoadedSnapshot,
    max_parallelism: u32,
    wanted: KeyGroupRange,
    todo: VecDeque<(&'a KeyedHandle, Arc<[usize]>)>,
    reader: Option<(KeyedReader, Arc<[usize]>)>,
}

impl Entries<'_> {
    /// Calls `visit` for every entry.
    ///
    /// # Errors
    ///
    /// What `visit` returns, and as [`KeyedReader::next_entry`].
    pub(crate) fn try_for_each(
        &mut self,
        mut visit: impl FnMut(Entry<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        loop {
            if let Some((reader, states)) = &mut self.reader {
                while let Some(entry) = reader.next_entry()? {
                    visit(Entry {
                        state: states[entry.state],
                        ..entry
                    })?;
                }
            }
            let Some((handle, states)) = self.todo.pop_front() else {
                return Ok(());
            };
            let opened = self
                .snapshot
                .open_keyed(handle, self.wanted, self.max_parallelism)?;
            self.reader = opened.map(|reader| (reader, states));
        }
    }
}
