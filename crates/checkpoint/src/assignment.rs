//! Which state of a snapshot goes to which subtask of a job.
//!
//! Operators are matched by their ids. Keyed state is not looked into: each subtask gets every handle
//! that holds any of its key groups, and reads only those. Operator state is dealt out by the rules
//! of its mode.
//!
//! Source: Flink 2.3.0, classes `Checkpoints`, `StateAssignmentOperation` and
//! `VertexFinishedStateChecker`.

use std::collections::{BTreeMap, BTreeSet};

use millpond_job::{JobGraph, JobVertex, VertexIndex};
use millpond_snapshot::{
    ChannelHandle, KeyedHandle, Metadata, OperatorSnapshot, OperatorStateHandle, StreamHandle,
    SubtaskSnapshot,
};
use millpond_types::{CheckpointId, KeyGroupRange, OperatorId};
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};
use crate::redistribution::{redistribute, state_names};

/// What one operator of one subtask restores.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorRestore {
    /// Handles that hold some of the subtask's key groups, and maybe others: only the subtask's own
    /// are to be read.
    pub keyed: Vec<KeyedHandle>,
    /// Operator state, with the offsets of this subtask only. A stream may come more than once.
    pub operator: Vec<OperatorStateHandle>,
    /// Records that were in flight to the operator, of all its subtasks: only the subtask's own are to
    /// be processed.
    pub in_flight: Vec<ChannelHandle>,
    /// The state of the operator's coordinator; every subtask gets it.
    pub coordinator: Option<Vec<u8>>,
    /// All subtasks of the operator had finished: it has nothing to do any more.
    pub finished: bool,
    /// The end of the input had been processed by those whose state this is: by this subtask if the
    /// parallelism is that of the snapshot, else by all.
    pub ended: bool,
}

impl OperatorRestore {
    /// Whether there is nothing to restore.
    pub fn is_empty(&self) -> bool {
        *self
            == OperatorRestore {
                finished: self.finished,
                ended: self.ended,
                ..OperatorRestore::default()
            }
    }
}

/// What a job restores from a snapshot. It serializes, to be sent to worker processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestorePlan {
    /// The number of the snapshot.
    pub checkpoint: CheckpointId,
    /// Its directory as a URI: the base of relative handles.
    pub directory: String,
    /// The number of key groups of each vertex, by [`VertexIndex`]: the snapshot's where the job
    /// has set none.
    pub max_parallelism: Vec<u32>,
    /// What was left out, for people.
    pub warnings: Vec<String>,
    /// Ascending by operator, then by subtask. Only operators that the snapshot knows. A list, not
    /// a map: not every format has maps with keys that are no text.
    operators: Vec<(OperatorId, Vec<OperatorRestore>)>,
}

/// How a snapshot is to be restored.
#[derive(Clone, Copy, Debug)]
pub struct RestoreRequest<'a> {
    /// What the user named: a directory or metadata file; for messages.
    pub pointer: &'a str,
    /// The directory of the metadata, as a URI.
    pub directory: &'a str,
    /// Whether state that fits no operator is dropped rather than refused.
    pub allow_non_restored_state: bool,
}

impl RestorePlan {
    /// Decides which state of `metadata` goes to which subtask of `graph`.
    ///
    /// # Errors
    ///
    /// State of an operator that the job does not have, unless that is allowed; a maximum parallelism
    /// that was set and differs; a parallelism above the maximum; operators that had finished behind
    /// others that had not; in-flight data; raw state, unless dropping state is allowed.
    pub fn new(
        metadata: &Metadata,
        graph: &JobGraph,
        request: RestoreRequest<'_>,
    ) -> Result<RestorePlan, Error> {
        let mut warnings = non_restored(metadata, graph, request)?;
        check_finished(metadata, graph)?;
        let mut max_parallelism = Vec::new();
        let mut operators = BTreeMap::new();
        for vertex in &graph.vertices {
            let max = max_parallelism_of(vertex, metadata, request.pointer)?;
            max_parallelism.push(max);
            for (position, operator) in vertex.operators.iter().enumerate() {
                if let Some(snapshot) = metadata.operator(operator.id) {
                    let (is_head, is_own) = (position == 0, metadata.trailer.is_some());
                    let kinds = check_kinds(snapshot, &operator.name, is_head, is_own, request)?;
                    warnings.extend(kinds);
                    let mut subtasks = assign(snapshot, vertex.parallelism, max);
                    mark_ended(&mut subtasks, ended(metadata, snapshot));
                    operators.insert(operator.id, subtasks);
                }
            }
        }
        Ok(RestorePlan {
            checkpoint: metadata.checkpoint_id,
            directory: request.directory.to_owned(),
            max_parallelism,
            warnings,
            operators: operators.into_iter().collect(),
        })
    }

    /// What a subtask of an operator restores; `None` if the snapshot does not know the operator.
    pub fn operator(&self, operator: OperatorId, subtask: u32) -> Option<&OperatorRestore> {
        let found = self
            .operators
            .binary_search_by_key(&operator, |(id, _)| *id)
            .ok()?;
        self.operators[found].1.get(subtask as usize)
    }

    /// Sets the number of key groups of each vertex to that of the plan.
    ///
    /// # Panics
    ///
    /// If `graph` has other vertices than the graph that the plan was made for.
    pub fn adopt_max_parallelism(&self, graph: &mut JobGraph) {
        assert_eq!(graph.vertices.len(), self.max_parallelism.len());
        for (vertex, max) in graph.vertices.iter_mut().zip(&self.max_parallelism) {
            vertex.max_parallelism = *max;
        }
    }
}

/// Refuses state of operators that the job does not have, or says in words what is dropped.
fn non_restored(
    metadata: &Metadata,
    graph: &JobGraph,
    request: RestoreRequest<'_>,
) -> Result<Vec<String>, Error> {
    let operators = graph.vertices.iter().flat_map(|vertex| &vertex.operators);
    let known: BTreeSet<OperatorId> = operators.map(|operator| operator.id).collect();
    let mut dropped = Vec::new();
    for operator in metadata
        .operators
        .iter()
        .filter(|o| !known.contains(&o.id) && !o.is_empty())
    {
        if !request.allow_non_restored_state {
            let message = format!(
                "Failed to rollback to checkpoint/savepoint {}. Cannot map checkpoint/savepoint \
                 state for operator {} to the new program, because the operator is not available in \
                 the new program. If you want to allow to skip this, you can set the \
                 --allowNonRestoredState option on the CLI.",
                request.pointer, operator.id
            );
            return Err(Error::new(ErrorKind::NonRestoredState, message));
        }
        let uid = uid_of(metadata, operator).map(|uid| format!(" (uid \"{uid}\")"));
        dropped.push(format!(
            "state of operator {}{} is dropped: the job has no such operator",
            operator.id,
            uid.unwrap_or_default()
        ));
    }
    Ok(dropped)
}

fn uid_of<'a>(metadata: &'a Metadata, operator: &'a OperatorSnapshot) -> Option<&'a str> {
    let trailer = metadata
        .trailer
        .as_ref()
        .and_then(|trailer| trailer.operator(operator.id));
    operator.uid.as_deref().or_else(|| trailer?.uid.as_deref())
}

/// How much of an operator or vertex had finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Finished {
    None,
    Partly,
    Fully,
}

/// Refuses a graph in which what had finished stands behind what goes on.
fn check_finished(metadata: &Metadata, graph: &JobGraph) -> Result<(), Error> {
    let refuse = |message: String| Err(Error::new(ErrorKind::FinishedOperators, message));
    let mut states = Vec::new();
    for vertex in &graph.vertices {
        let operators: BTreeSet<Finished> = vertex
            .operators
            .iter()
            .map(|operator| finished(metadata.operator(operator.id)))
            .collect();
        match (operators.first(), operators.len()) {
            (Some(state), 1) => states.push(*state),
            _ => {
                return refuse(format!(
                    "Can not restore vertex {}({}) which contain mixed operator finished state: \
                     {operators:?}",
                    vertex.name, vertex.id
                ));
            }
        }
    }
    let state = |index: VertexIndex| states[index.0 as usize];
    for edge in &graph.edges {
        let pointwise = edge.edge.partitioner.is_pointwise();
        let illegal = match (state(edge.from), state(edge.to)) {
            (from, Finished::Fully) => from != Finished::Fully,
            (from, Finished::Partly) if pointwise => from == Finished::None,
            (from, Finished::Partly) => from != Finished::Fully,
            (_, Finished::None) => false,
        };
        if illegal {
            let (from, to) = (graph.vertex(edge.from), graph.vertex(edge.to));
            let how = if state(edge.to) == Finished::Fully {
                "fully"
            } else {
                "partially"
            };
            return refuse(format!(
                "Illegal JobGraph modification. Cannot run a program with {how} finished vertices \
                 predeceased with the ones not fully finished. Task vertex {}({}) has a predecessor \
                 not fully finished: {}({})",
                to.name, to.id, from.name, from.id
            ));
        }
    }
    Ok(())
}

fn finished(operator: Option<&OperatorSnapshot>) -> Finished {
    match operator {
        Some(operator) if operator.finished => Finished::Fully,
        Some(operator)
            if operator
                .subtasks
                .iter()
                .any(|(_, subtask)| subtask.finished) =>
        {
            Finished::Partly
        }
        Some(_) | None => Finished::None,
    }
}

/// The number of key groups that a vertex must have.
fn max_parallelism_of(
    vertex: &JobVertex,
    metadata: &Metadata,
    pointer: &str,
) -> Result<u32, Error> {
    let snapshots: Vec<&OperatorSnapshot> = vertex
        .operators
        .iter()
        .filter_map(|operator| metadata.operator(operator.id))
        .collect();
    let mismatch = |operator: &OperatorSnapshot, max: u32| {
        let message = format!(
            "Failed to rollback to checkpoint/savepoint {pointer}. Max parallelism mismatch between \
             checkpoint/savepoint state and new program. Cannot map operator {} with max \
             parallelism {} to new program with max parallelism {max}. This indicates that the \
             program has been changed in a non-compatible way after the checkpoint/savepoint.",
            operator.id, operator.max_parallelism
        );
        Err(Error::new(ErrorKind::MaxParallelism, message))
    };
    if vertex.max_parallelism_is_explicit {
        let other = snapshots
            .iter()
            .find(|o| o.max_parallelism != vertex.max_parallelism);
        return other.map_or(Ok(vertex.max_parallelism), |o| {
            mismatch(o, vertex.max_parallelism)
        });
    }
    let mut keyed = snapshots.iter().filter(|operator| is_keyed(operator));
    let Some(first) = keyed.next() else {
        // Nothing is bound to key groups: the snapshot's number is taken if it is large enough.
        let adopted = snapshots.first().map(|operator| operator.max_parallelism);
        return Ok(adopted
            .filter(|max| *max >= vertex.parallelism)
            .unwrap_or(vertex.max_parallelism));
    };
    if let Some(other) = keyed.find(|operator| operator.max_parallelism != first.max_parallelism) {
        return mismatch(other, first.max_parallelism);
    }
    if vertex.parallelism > first.max_parallelism {
        let message = format!(
            "The state for task {} can not be restored. The maximum parallelism ({}) of the restored \
             state is lower than the configured parallelism ({}). Please reduce the parallelism of \
             the task to be lower or equal to the maximum parallelism.",
            vertex.name, first.max_parallelism, vertex.parallelism
        );
        return Err(Error::new(ErrorKind::Parallelism, message));
    }
    Ok(first.max_parallelism)
}

fn is_keyed(operator: &OperatorSnapshot) -> bool {
    let has_keys =
        |subtask: &SubtaskSnapshot| subtask.managed_keyed.is_some() || subtask.raw_keyed.is_some();
    operator
        .subtasks
        .iter()
        .any(|(_, subtask)| has_keys(subtask))
}

/// Refuses kinds of state that cannot be restored, or says in words what is dropped.
///
/// `is_head`: whether the operator gets its records from other tasks; `is_own`: whether Millpond took
/// the snapshot.
fn check_kinds(
    operator: &OperatorSnapshot,
    name: &str,
    is_head: bool,
    is_own: bool,
    request: RestoreRequest<'_>,
) -> Result<Vec<String>, Error> {
    let any = |has: fn(&SubtaskSnapshot) -> bool| operator.subtasks.iter().any(|(_, s)| has(s));
    let of_flink = |s: &SubtaskSnapshot| {
        let is_merged = |channel: &ChannelHandle| matches!(channel, ChannelHandle::Merged { .. });
        !s.result_subpartitions.is_empty() || s.input_channels.iter().any(is_merged)
    };
    if any(of_flink) || (!is_own && any(|s| !s.input_channels.is_empty())) {
        let message = format!(
            "snapshot \"{}\" holds in-flight data of operator \"{name}\" ({}) in Flink's form, which \
             cannot be restored; use an aligned checkpoint or a savepoint",
            request.pointer, operator.id
        );
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    if !is_head && any(|s| !s.input_channels.is_empty()) {
        let message = format!(
            "Cannot recover from unaligned checkpoint when topology changes such that data exchanges \
             with persisted data are now chained: snapshot \"{}\" holds records in flight to operator \
             \"{name}\" ({}). Restore it with the program that took it, take a savepoint, and start \
             from that",
            request.pointer, operator.id
        );
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    let raw_operator = operator
        .subtasks
        .iter()
        .filter_map(|(_, s)| s.raw_operator.as_ref());
    let kinds = [
        (any(|s| s.raw_keyed.is_some()), "raw keyed state".to_owned()),
        (
            any(|s| s.raw_operator.is_some()),
            format!("raw operator state {}", state_names(raw_operator)),
        ),
    ];
    let mut dropped = Vec::new();
    for (_, kind) in kinds.into_iter().filter(|(is_there, _)| *is_there) {
        if !request.allow_non_restored_state {
            let message = format!(
                "snapshot \"{}\" holds {kind} of operator \"{name}\" ({}), which cannot be restored; \
                 pass --allowNonRestoredState to drop it",
                request.pointer, operator.id
            );
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        dropped.push(format!(
            "{kind} of operator \"{name}\" ({}) is dropped",
            operator.id
        ));
    }
    Ok(dropped)
}

/// Deals out the state of one operator.
fn assign(
    snapshot: &OperatorSnapshot,
    parallelism: u32,
    max_parallelism: u32,
) -> Vec<OperatorRestore> {
    let coordinator = match &snapshot.coordinator {
        Some(StreamHandle::Bytes { data, .. }) => Some(data.clone()),
        // Metadata with any other kind of handle here is not read at all.
        Some(_) | None => None,
    };
    let mut by_index: BTreeMap<u32, &SubtaskSnapshot> = BTreeMap::new();
    by_index.extend(
        snapshot
            .subtasks
            .iter()
            .map(|(index, subtask)| (*index, subtask)),
    );
    let old: Vec<Vec<&OperatorStateHandle>> = (0..snapshot.parallelism)
        .map(|index| {
            by_index
                .get(&index)
                .and_then(|s| s.managed_operator.as_ref())
                .into_iter()
                .collect()
        })
        .collect();
    let keyed: Vec<&KeyedHandle> = by_index
        .values()
        .filter_map(|subtask| subtask.managed_keyed.as_ref())
        .collect();
    let in_flight = by_index.values().flat_map(|s| s.input_channels.iter());
    let in_flight: Vec<ChannelHandle> = in_flight.cloned().collect();
    let operator = redistribute(&old, parallelism);
    let subtasks = (0..parallelism).zip(operator).map(|(index, operator)| {
        // Without keyed state the number of key groups may be smaller than the parallelism.
        let own = (!keyed.is_empty())
            .then(|| KeyGroupRange::of_subtask(index, parallelism, max_parallelism));
        let holds = |handle: &KeyedHandle| {
            handle
                .key_groups()
                .zip(own)
                .is_some_and(|(groups, own)| groups.intersection(own).is_some())
        };
        OperatorRestore {
            keyed: keyed
                .iter()
                .filter(|handle| holds(handle))
                .map(|h| (*h).clone())
                .collect(),
            operator,
            in_flight: in_flight.clone(),
            coordinator: coordinator.clone(),
            finished: snapshot.finished,
            ended: false,
        }
    });
    subtasks.collect()
}

/// Which subtasks of an operator had processed the end of their input, by their index. Snapshots of
/// Flink do not say so.
fn ended(metadata: &Metadata, snapshot: &OperatorSnapshot) -> Vec<bool> {
    let mut ended = vec![false; snapshot.parallelism as usize];
    let trailer = metadata.trailer.as_ref();
    let record = trailer.and_then(|trailer| trailer.operator(snapshot.id));
    for subtask in record.iter().flat_map(|record| &record.subtasks) {
        if let Some(ended) = ended.get_mut(subtask.index as usize) {
            *ended = subtask.ended;
        }
    }
    ended
}

/// Hands the marks on. After rescaling a subtask has the state of several others, so a mark counts
/// only if all had it.
fn mark_ended(subtasks: &mut [OperatorRestore], ended: Vec<bool>) {
    if subtasks.len() == ended.len() {
        for (subtask, ended) in subtasks.iter_mut().zip(ended) {
            subtask.ended = ended;
        }
    } else {
        let all = !ended.is_empty() && ended.iter().all(|ended| *ended);
        subtasks.iter_mut().for_each(|subtask| subtask.ended = all);
    }
}

#[cfg(test)]
mod tests;
