//! The operator state of an operator in memory: its lists and broadcast maps.
//!
//! Operator state is small: whoever restores it holds all of it in memory, and so does this.

use millpond_snapshot::{
    DistributionMode, Error, KeyGroupRecord, LoadedSnapshot, OperatorSnapshot, OperatorStateHandle,
    OperatorStateHeader, OperatorStateWriter, StateMeta, StateRecord,
};
use std::io::Write;

use crate::keyed_input::same_meta;
use crate::snapshot_writer::SnapshotWriter;

/// All states of an operator, of all subtasks.
#[derive(Default)]
pub(crate) struct OperatorStates {
    pub(crate) states: Vec<ListOrMap>,
    /// The newest version that one of the files had.
    pub(crate) version: i32,
}

/// One list, or one broadcast map.
pub(crate) struct ListOrMap {
    pub(crate) meta: StateMeta,
    pub(crate) mode: DistributionMode,
    /// Subtask and bytes of each element; for a broadcast map the whole map of each subtask.
    pub(crate) elements: Vec<(u32, Vec<u8>)>,
}

/// The operator state of one subtask in the new snapshot.
pub(crate) struct WrittenOperatorState {
    pub(crate) handle: OperatorStateHandle,
    pub(crate) states: Vec<StateRecord>,
}

impl OperatorStates {
    /// Reads the operator state of all subtasks; `None`, if there is none.
    ///
    /// # Errors
    ///
    /// Incompatible, if subtasks disagree about a state; else as reading operator state may fail.
    pub(crate) fn open(
        snapshot: &LoadedSnapshot,
        operator: &OperatorSnapshot,
    ) -> Result<Option<Self>, Error> {
        let mut all = OperatorStates::default();
        for (index, subtask) in &operator.subtasks {
            let Some(handle) = &subtask.managed_operator else {
                continue;
            };
            let reader = snapshot.open_operator(handle)?;
            all.version = all.version.max(reader.header().version);
            for meta in reader.header().states() {
                let at = all.place_of(meta).ok_or_else(|| {
                    let reason = format!(
                        "operator {}: state \"{}\" is of another type in subtask {index} than in \
                         another one",
                        operator.id, meta.name
                    );
                    Error::incompatible(reason).in_file(&snapshot.metadata_file)
                })?;
                let state = &mut all.states[at];
                let listed = handle.states.iter().find(|state| state.name == meta.name);
                let Some(listed) = listed else { continue };
                state.mode = listed.mode;
                for offset in &listed.offsets {
                    let bytes = reader.element(*offset)?.into_owned();
                    state.elements.push((*index, bytes));
                }
            }
        }
        Ok((all.version > 0).then_some(all))
    }

    /// Where a state stands; `None`, if it stands there with another type.
    fn place_of(&mut self, meta: &StateMeta) -> Option<usize> {
        let known = self
            .states
            .iter()
            .position(|state| state.meta.name == meta.name);
        match known {
            Some(at) => same_meta(&self.states[at].meta, meta).then_some(at),
            None => {
                self.states.push(ListOrMap {
                    meta: meta.clone(),
                    mode: mode_of(meta),
                    elements: Vec::new(),
                });
                Some(self.states.len() - 1)
            }
        }
    }

    /// Deals all states out to another number of subtasks, as Flink does: the elements of lists
    /// one after the other, of broadcast maps a copy for each.
    pub(crate) fn deal(&mut self, parallelism: u32) {
        for state in &mut self.states {
            if state.mode == DistributionMode::Broadcast {
                let maps = std::mem::take(&mut state.elements);
                let copies = (0..parallelism).zip(maps.iter().cycle());
                state.elements = copies.map(|(to, (_, map))| (to, map.clone())).collect();
                continue;
            }
            for (element, (subtask, _)) in state.elements.iter_mut().enumerate() {
                *subtask = (element % parallelism as usize) as u32;
            }
        }
    }

    /// Writes the states of each of `parallelism` subtasks, in order.
    ///
    /// # Errors
    ///
    /// Unsupported, if a header cannot be written; Io, if a file cannot.
    pub(crate) fn write(
        &self,
        snapshot: &SnapshotWriter,
        parallelism: u32,
        version: i32,
    ) -> Result<Vec<WrittenOperatorState>, Error> {
        let (broadcasts, lists): (Vec<_>, Vec<_>) = self
            .states
            .iter()
            .partition(|state| state.mode == DistributionMode::Broadcast);
        let metas = |states: &[&ListOrMap]| states.iter().map(|state| state.meta.clone()).collect();
        let header = OperatorStateHeader {
            version,
            ..OperatorStateHeader::new(metas(&lists), metas(&broadcasts))
        };
        let states: Vec<_> = lists.into_iter().chain(broadcasts).collect();
        let subtasks = (0..parallelism).map(|subtask| {
            let mut writer = OperatorStateWriter::new(&header)?;
            let mut records = Vec::new();
            for (index, state) in states.iter().enumerate() {
                let mine = state.elements.iter().filter(|(to, _)| *to == subtask);
                let mut record = KeyGroupRecord::default();
                for (_, element) in mine {
                    writer.element(index, |out| out.extend_from_slice(element));
                    record.entries += 1;
                    record.bytes += element.len() as u64;
                }
                records.push(StateRecord {
                    name: state.meta.name.clone(),
                    key_groups: vec![record],
                });
            }
            let (bytes, offsets) = writer.finish();
            let mut stream = snapshot.stream();
            stream.write_all(&bytes).map_err(|error| {
                Error::from(millpond_fs::Error::io("write", snapshot.directory(), error))
            })?;
            let handle = OperatorStateHandle {
                states: offsets,
                stream: snapshot.finish_stream(stream)?,
                merged: None,
            };
            Ok(WrittenOperatorState {
                handle,
                states: records,
            })
        });
        subtasks.collect()
    }
}

/// How the elements of a state are dealt out, by the words in its meta.
fn mode_of(meta: &StateMeta) -> DistributionMode {
    let words = meta.options.iter().map(|(_, word)| word.as_str());
    for word in words {
        match word {
            "UNION" => return DistributionMode::Union,
            "BROADCAST" => return DistributionMode::Broadcast,
            _ => {}
        }
    }
    DistributionMode::SplitDistribute
}
