//! A snapshot in another form, holding the same: for another release of Flink, in another format
//! of keyed state, for another number of subtasks.

use std::sync::Arc;

use millpond_fs::{FileSystem, Location};
use millpond_snapshot::{
    Error as SnapshotError, KeyGroupsKind, KeyedFormat, KeyedHandle, LoadedSnapshot,
    OperatorSnapshot,
};

use crate::Error;
use crate::keyed_input::KeyedInput;
use crate::operator_input::OperatorStates;
use crate::rewrite::{NewOperator, Target, check_movable, check_shape, new_metadata, write_keyed};
use crate::snapshot_writer::SnapshotWriter;

/// How a snapshot is converted. What is not said stays as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConvertOptions {
    /// The versions to be written.
    pub target: Target,
    /// The format of keyed state.
    pub format: Option<KeyedFormat>,
    /// The number of subtasks of every operator; of one whose maximum parallelism is lower, that.
    pub parallelism: Option<u32>,
}

/// Writes `from` in another form into the directory `to`; returns where its metadata lies.
///
/// Keyed state is read and written again entry by entry where its format or the number of
/// subtasks changes, and copied byte by byte where neither does. Memory: about a mebibyte per
/// thread, for the native format of the heap the largest key group, and for files of a RocksDB
/// what it needs to sort them.
///
/// # Errors
///
/// Incompatible, if `to` is not missing or empty; unsupported, if state cannot be brought into
/// the form: other state backends, records in flight, raw state, serializers whose values cannot
/// be told apart; corrupt, if the snapshot is damaged; Io, if it cannot be read or written.
pub fn convert(
    from: &LoadedSnapshot,
    fs: Arc<dyn FileSystem>,
    to: &Location,
    options: &ConvertOptions,
) -> Result<Location, Error> {
    let mut writer = SnapshotWriter::create(fs, to)?.with_rocksdb(from.rocksdb().cloned());
    let mut operators = Vec::new();
    for operator in &from.metadata.operators {
        operators.push(convert_operator(&mut writer, from, operator, options)?);
    }
    let metadata = new_metadata(from, options.target.metadata_version, operators)?;
    Ok(writer.finish(metadata)?)
}

fn convert_operator(
    writer: &mut SnapshotWriter,
    from: &LoadedSnapshot,
    operator: &OperatorSnapshot,
    options: &ConvertOptions,
) -> Result<NewOperator, SnapshotError> {
    let parallelism = options.parallelism.map_or(operator.parallelism, |wanted| {
        wanted.clamp(1, operator.max_parallelism)
    });
    let moves = parallelism != operator.parallelism;
    let mut new = NewOperator::like(from, operator);
    if operator.finished {
        new.snapshot.parallelism = parallelism;
        return Ok(new);
    }
    check_shape(from, operator)?;
    if moves {
        check_movable(from, operator)?;
        new.set_parallelism(parallelism);
    }
    let keyed = keyed_to_rewrite(from, operator, options.format, moves)?;
    let states = operator_states_to_rewrite(from, operator, options.target, moves)?;
    if !moves {
        for (index, subtask) in &operator.subtasks {
            let mut rest = subtask.clone();
            if keyed.is_some() {
                rest.managed_keyed = None;
            }
            if states.is_some() {
                rest.managed_operator = None;
            }
            let copy = crate::rewrite::copy_subtask(writer, from, &rest)?;
            new.snapshot.subtasks.push((*index, copy));
        }
    }
    if let Some(input) = keyed {
        let format = options.format.unwrap_or(input.format());
        let max = operator.max_parallelism;
        let written = write_keyed(writer, &input, format, parallelism, max)?;
        for (index, written) in (0..).zip(written) {
            new.set_keyed(index, written);
        }
    }
    if let Some(mut states) = states {
        if moves {
            states.deal(parallelism);
        }
        let version = states.version.min(options.target.operator_state_version);
        new.write_operator_states(writer, &states, version)?;
    }
    Ok(new)
}

/// The keyed state of an operator, unless its files can pass as they are.
fn keyed_to_rewrite<'a>(
    from: &'a LoadedSnapshot,
    operator: &'a OperatorSnapshot,
    format: Option<KeyedFormat>,
    moves: bool,
) -> Result<Option<KeyedInput<'a>>, SnapshotError> {
    if !moves && format.is_none() {
        return Ok(None);
    }
    let Some(input) = KeyedInput::open(from, operator)? else {
        return Ok(None);
    };
    let handles = operator
        .subtasks
        .iter()
        .filter_map(|(_, subtask)| subtask.managed_keyed.as_ref());
    let is_savepoint = |handle: &KeyedHandle| {
        matches!(
            handle,
            KeyedHandle::KeyGroups {
                kind: KeyGroupsKind::Savepoint,
                ..
            }
        )
    };
    let already = match format {
        None => true,
        Some(KeyedFormat::Canonical) => handles.into_iter().all(is_savepoint),
        Some(KeyedFormat::NativeHeap) => input.format() == KeyedFormat::NativeHeap,
        // Tables of Flink 2 have checksums that RocksDB of Flink 1 does not know.
        Some(KeyedFormat::NativeRocksDb) => false,
    };
    Ok((moves || !already).then_some(input))
}

/// The operator state of an operator, unless its files can pass as they are.
fn operator_states_to_rewrite(
    from: &LoadedSnapshot,
    operator: &OperatorSnapshot,
    target: Target,
    moves: bool,
) -> Result<Option<OperatorStates>, SnapshotError> {
    let states = OperatorStates::open(from, operator)?;
    Ok(states.filter(|states| moves || states.version > target.operator_state_version))
}
