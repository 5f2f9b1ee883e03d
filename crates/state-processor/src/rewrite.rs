//! What all ways of making a new snapshot out of another one share: parts that pass as bytes, and
//! what the metadata says.

use std::sync::Arc;

use millpond_snapshot::{
    ChangelogHandle, ChannelHandle, CheckpointProperties, Error, FlinkRelease, IncrementalHandle,
    KeyedFormat, KeyedHandle, KeyedHeader, LoadedSnapshot, Metadata, NamedStream, OperatorRecord,
    OperatorSnapshot, OperatorStateHandle, StreamHandle, SubtaskRecord, SubtaskSnapshot, Trailer,
};
use millpond_types::{JobId, KeyGroupRange};

use crate::entry_writer::{EntryWriter, WrittenSubtask};
use crate::keyed_input::KeyedInput;
use crate::operator_input::{OperatorStates, WrittenOperatorState};
use crate::parallel::in_parallel;
use crate::snapshot_writer::SnapshotWriter;

/// The versions that a snapshot is written in.
///
/// The default is what every Flink from 1.15 on reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The version of `_metadata`: 3 to 6.
    pub metadata_version: i32,
    /// The newest version of operator state: 5 or 6.
    pub operator_state_version: i32,
}

impl Default for Target {
    fn default() -> Self {
        Target {
            metadata_version: 3,
            operator_state_version: 5,
        }
    }
}

impl From<FlinkRelease> for Target {
    fn from(release: FlinkRelease) -> Self {
        Target {
            metadata_version: release.metadata_version(),
            operator_state_version: release.operator_state_version(),
        }
    }
}

/// An operator of the new snapshot, and what its trailer says of it.
pub(crate) struct NewOperator {
    pub(crate) snapshot: OperatorSnapshot,
    pub(crate) record: OperatorRecord,
}

impl NewOperator {
    /// Returns an operator of `from` without its subtasks; its record is complete.
    pub(crate) fn like(from: &LoadedSnapshot, operator: &OperatorSnapshot) -> Self {
        let known = from.metadata.trailer.as_ref();
        let record = known
            .and_then(|trailer| trailer.operator(operator.id))
            .cloned()
            .unwrap_or_else(|| OperatorRecord {
                id: operator.id,
                name: operator.name.clone().unwrap_or_default(),
                uid: operator.uid.clone(),
                subtasks: Vec::new(),
            });
        let snapshot = OperatorSnapshot {
            name: operator
                .name
                .clone()
                .or_else(|| Some(record.name.clone()).filter(|name| !name.is_empty())),
            uid: operator.uid.clone().or_else(|| record.uid.clone()),
            subtasks: Vec::new(),
            ..operator.clone()
        };
        NewOperator { snapshot, record }
    }

    /// Returns an operator of `from` as it is, with its streams copied.
    ///
    /// # Errors
    ///
    /// As [`SnapshotWriter::copy`].
    pub(crate) fn copy(
        writer: &mut SnapshotWriter,
        from: &LoadedSnapshot,
        operator: &OperatorSnapshot,
    ) -> Result<Self, Error> {
        let mut new = Self::like(from, operator);
        for (index, subtask) in &operator.subtasks {
            let subtask = copy_subtask(writer, from, subtask)?;
            new.snapshot.subtasks.push((*index, subtask));
        }
        Ok(new)
    }

    /// Changes the parallelism; subtasks that there will be no more are forgotten.
    pub(crate) fn set_parallelism(&mut self, parallelism: u32) {
        if self.snapshot.parallelism == parallelism {
            return;
        }
        let pending = self
            .record
            .subtasks
            .iter()
            .any(|subtask| subtask.pending_transactions);
        // One mark does not say whose state it is; that of all does.
        let ended = self.record.subtasks.len() == self.snapshot.parallelism as usize
            && self.record.subtasks.iter().all(|subtask| subtask.ended);
        self.snapshot.parallelism = parallelism;
        self.snapshot.subtasks = (0..parallelism)
            .map(|index| (index, SubtaskSnapshot::default()))
            .collect();
        self.record.subtasks.clear();
        if pending {
            self.subtask_record(0).pending_transactions = true;
        }
        if ended {
            (0..parallelism).for_each(|index| self.subtask_record(index).ended = true);
        }
    }

    /// The subtask of an index, made if need be.
    pub(crate) fn subtask(&mut self, index: u32) -> &mut SubtaskSnapshot {
        let subtasks = &mut self.snapshot.subtasks;
        let at = match subtasks.iter().position(|(known, _)| *known == index) {
            Some(at) => at,
            None => {
                subtasks.push((index, SubtaskSnapshot::default()));
                subtasks.len() - 1
            }
        };
        &mut subtasks[at].1
    }

    fn subtask_record(&mut self, index: u32) -> &mut SubtaskRecord {
        let subtasks = &mut self.record.subtasks;
        let at = match subtasks.iter().position(|known| known.index == index) {
            Some(at) => at,
            None => {
                subtasks.push(SubtaskRecord {
                    index,
                    pending_transactions: false,
                    ended: false,
                    positions: Vec::new(),
                    states: Vec::new(),
                });
                subtasks.len() - 1
            }
        };
        &mut subtasks[at]
    }

    /// Puts keyed state into a subtask.
    pub(crate) fn set_keyed(&mut self, index: u32, written: WrittenSubtask) {
        self.subtask(index).managed_keyed = Some(written.handle);
        self.set_records(index, written.states);
    }

    /// Puts operator state into a subtask.
    pub(crate) fn set_operator_state(&mut self, index: u32, written: WrittenOperatorState) {
        self.subtask(index).managed_operator = Some(written.handle);
        self.set_records(index, written.states);
    }

    /// Writes lists and broadcast maps, and puts them into the subtasks.
    pub(crate) fn write_operator_states(
        &mut self,
        writer: &SnapshotWriter,
        states: &OperatorStates,
        version: i32,
    ) -> Result<(), Error> {
        let written = states.write(writer, self.snapshot.parallelism, version)?;
        for (index, written) in (0..).zip(written) {
            self.set_operator_state(index, written);
        }
        Ok(())
    }

    fn set_records(&mut self, index: u32, states: Vec<millpond_snapshot::StateRecord>) {
        let record = self.subtask_record(index);
        let is_new = |name: &str| states.iter().any(|state| state.name == name);
        record.states.retain(|known| !is_new(&known.name));
        record.states.extend(states);
    }

    /// Forgets what the trailer says of some states.
    pub(crate) fn forget_states(&mut self, is_gone: impl Fn(&str) -> bool) {
        for subtask in &mut self.record.subtasks {
            subtask.states.retain(|state| !is_gone(&state.name));
        }
    }
}

/// Copies all streams of a subtask.
pub(crate) fn copy_subtask(
    writer: &mut SnapshotWriter,
    from: &LoadedSnapshot,
    subtask: &SubtaskSnapshot,
) -> Result<SubtaskSnapshot, Error> {
    let mut copy = Copier { writer, from };
    let channels = |channels: &[ChannelHandle], copy: &mut Copier<'_>| {
        let channels = channels.iter().map(|channel| copy.channel(channel));
        channels.collect::<Result<Vec<_>, _>>()
    };
    Ok(SubtaskSnapshot {
        finished: subtask.finished,
        managed_operator: copy.optional_operator(subtask.managed_operator.as_ref())?,
        raw_operator: copy.optional_operator(subtask.raw_operator.as_ref())?,
        managed_keyed: copy.optional_keyed(subtask.managed_keyed.as_ref())?,
        raw_keyed: copy.optional_keyed(subtask.raw_keyed.as_ref())?,
        input_channels: channels(&subtask.input_channels, &mut copy)?,
        result_subpartitions: channels(&subtask.result_subpartitions, &mut copy)?,
    })
}

/// Copies handles with all that they point at.
pub(crate) struct Copier<'a> {
    pub(crate) writer: &'a mut SnapshotWriter,
    pub(crate) from: &'a LoadedSnapshot,
}

impl Copier<'_> {
    fn stream(&mut self, stream: &StreamHandle) -> Result<StreamHandle, Error> {
        self.writer.copy(self.from, stream)
    }

    fn named(&mut self, named: &[NamedStream]) -> Result<Vec<NamedStream>, Error> {
        let copies = named.iter().map(|named| {
            Ok(NamedStream {
                name: named.name.clone(),
                stream: self.stream(&named.stream)?,
            })
        });
        copies.collect()
    }

    pub(crate) fn optional_operator(
        &mut self,
        handle: Option<&OperatorStateHandle>,
    ) -> Result<Option<OperatorStateHandle>, Error> {
        let copy = handle.map(|handle| {
            Ok(OperatorStateHandle {
                states: handle.states.clone(),
                stream: self.stream(&handle.stream)?,
                // The copy is a file of its own.
                merged: None,
            })
        });
        copy.transpose()
    }

    pub(crate) fn optional_keyed(
        &mut self,
        handle: Option<&KeyedHandle>,
    ) -> Result<Option<KeyedHandle>, Error> {
        handle.map(|handle| self.keyed(handle)).transpose()
    }

    fn keyed(&mut self, handle: &KeyedHandle) -> Result<KeyedHandle, Error> {
        Ok(match handle {
            KeyedHandle::KeyGroups {
                kind,
                groups,
                stream,
            } => KeyedHandle::KeyGroups {
                kind: kind.clone(),
                groups: groups.clone(),
                stream: self.stream(stream)?,
            },
            KeyedHandle::Incremental(handle) => KeyedHandle::Incremental(IncrementalHandle {
                meta: self.stream(&handle.meta)?,
                shared: self.named(&handle.shared)?,
                private: self.named(&handle.private)?,
                ..handle.clone()
            }),
            KeyedHandle::Changelog(handle) => {
                let all = |parts: &[KeyedHandle], copy: &mut Self| {
                    let parts = parts.iter().map(|part| copy.keyed(part));
                    parts.collect::<Result<Vec<_>, _>>()
                };
                KeyedHandle::Changelog(ChangelogHandle {
                    materialized: all(&handle.materialized, self)?,
                    changes: all(&handle.changes, self)?,
                    ..handle.clone()
                })
            }
            KeyedHandle::InMemoryChanges { .. } => handle.clone(),
            KeyedHandle::ChangeFiles {
                range,
                files,
                size,
                checkpointed_size,
                id,
                storage,
            } => KeyedHandle::ChangeFiles {
                range: *range,
                files: files
                    .iter()
                    .map(|(offset, file)| Ok((*offset, self.stream(file)?)))
                    .collect::<Result<_, Error>>()?,
                size: *size,
                checkpointed_size: *checkpointed_size,
                id: id.clone(),
                storage: storage.clone(),
            },
        })
    }

    fn channel(&mut self, channel: &ChannelHandle) -> Result<ChannelHandle, Error> {
        let mut copy = channel.clone();
        match &mut copy {
            ChannelHandle::Single { stream, .. } | ChannelHandle::Merged { stream, .. } => {
                *stream = self.writer.copy(self.from, stream)?;
            }
        }
        Ok(copy)
    }
}

/// Refuses numbers of subtasks and key groups that no operator has.
pub(crate) fn check_shape(
    snapshot: &LoadedSnapshot,
    operator: &OperatorSnapshot,
) -> Result<(), Error> {
    let (parallelism, max) = (operator.parallelism, operator.max_parallelism);
    if (1..=max).contains(&parallelism) {
        return Ok(());
    }
    let reason = format!(
        "operator {} has the parallelism {parallelism} with the maximum parallelism {max}",
        operator.id
    );
    Err(Error::incompatible(reason).in_file(&snapshot.metadata_file))
}

/// Refuses what cannot be dealt out to other subtasks or into other key groups.
pub(crate) fn check_movable(
    snapshot: &LoadedSnapshot,
    operator: &OperatorSnapshot,
) -> Result<(), Error> {
    check_shape(snapshot, operator)?;
    let what = operator.subtasks.iter().find_map(|(index, subtask)| {
        let what = if subtask.finished {
            "has finished alone, while other subtasks go on"
        } else if subtask.raw_operator.is_some() {
            "has raw operator state, which only its operator understands"
        } else if !subtask.input_channels.is_empty() || !subtask.result_subpartitions.is_empty() {
            "has records in flight, because the checkpoint is unaligned"
        } else {
            return None;
        };
        Some(format!(
            "subtask {index} of operator {} {what}",
            operator.id
        ))
    });
    match what {
        None => Ok(()),
        Some(what) => {
            let what = format!("{what}; take a canonical savepoint instead");
            Err(Error::unsupported(what).in_file(&snapshot.metadata_file))
        }
    }
}

/// The operator state of an operator, if a file of it has a version above `newest`.
pub(crate) fn states_above(
    from: &LoadedSnapshot,
    operator: &OperatorSnapshot,
    newest: Option<i32>,
) -> Result<Option<OperatorStates>, Error> {
    let Some(newest) = newest else {
        return Ok(None);
    };
    let states = OperatorStates::open(from, operator)?;
    let states = states.filter(|states| states.version > newest);
    if states.is_some() {
        check_shape(from, operator)?;
    }
    Ok(states)
}

/// Writes the keyed state of an operator again, entry by entry, for another number of subtasks or
/// in another format; returns it in the order of the subtasks.
pub(crate) fn write_keyed(
    writer: &SnapshotWriter,
    input: &KeyedInput<'_>,
    format: KeyedFormat,
    parallelism: u32,
    max_parallelism: u32,
) -> Result<Vec<WrittenSubtask>, Error> {
    let header: Arc<KeyedHeader> = Arc::new(input.header().clone());
    let subtasks: Vec<u32> = (0..parallelism).collect();
    in_parallel(&subtasks, |index| {
        let range = KeyGroupRange::of_subtask(*index, parallelism, max_parallelism);
        let mut out = EntryWriter::new(writer, header.clone(), format, range, max_parallelism)?;
        input
            .read(range)
            .try_for_each(|entry| out.put(entry.key_group, entry.state, entry.key, entry.value))?;
        out.finish()
    })
}

/// Composes the metadata of a new snapshot that came of `from`.
///
/// # Errors
///
/// None in fact: the properties have short names.
pub(crate) fn new_metadata(
    from: &LoadedSnapshot,
    version: i32,
    operators: Vec<NewOperator>,
) -> Result<Metadata, Error> {
    let old = from.metadata.trailer.as_ref();
    let trailer = Trailer {
        millpond_version: env!("CARGO_PKG_VERSION").to_owned(),
        job_id: old.map_or(JobId([0; 16]), |trailer| trailer.job_id),
        job_name: old.map_or_else(String::new, |trailer| trailer.job_name.clone()),
        savepoint: true,
        parent: Some(from.directory.to_string()),
        files: Vec::new(),
        operators: Vec::new(),
    };
    let metadata = Metadata {
        version,
        master_states: from.metadata.master_states.clone(),
        ..Metadata::new(from.metadata.checkpoint_id)
    };
    metadata_of(metadata, trailer, operators)
}

/// Puts operators, properties and trailer into metadata.
///
/// # Errors
///
/// None in fact: the properties have short names.
pub(crate) fn metadata_of(
    mut metadata: Metadata,
    mut trailer: Trailer,
    operators: Vec<NewOperator>,
) -> Result<Metadata, Error> {
    let properties = CheckpointProperties::Savepoint(format_of(&operators)).to_bytes()?;
    metadata.properties = (metadata.version >= 4).then_some(properties);
    (metadata.operators, trailer.operators) = operators
        .into_iter()
        .map(|operator| (operator.snapshot, operator.record))
        .unzip();
    metadata.trailer = Some(trailer);
    Ok(metadata)
}

/// What the snapshot is called in its properties: native, if any keyed state is.
fn format_of(operators: &[NewOperator]) -> KeyedFormat {
    let handles = operators
        .iter()
        .flat_map(|operator| &operator.snapshot.subtasks)
        .filter_map(|(_, subtask)| subtask.managed_keyed.as_ref());
    let is_canonical = |handle: &KeyedHandle| {
        matches!(
            handle,
            KeyedHandle::KeyGroups {
                kind: millpond_snapshot::KeyGroupsKind::Savepoint,
                ..
            }
        )
    };
    match handles.into_iter().all(is_canonical) {
        true => KeyedFormat::Canonical,
        false => KeyedFormat::NativeHeap,
    }
}
