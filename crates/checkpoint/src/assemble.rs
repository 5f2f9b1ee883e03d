//! A snapshot's metadata from the acknowledgements of its subtasks.

use std::collections::{BTreeMap, BTreeSet};

use millpond_job::{JobGraph, JobVertex, OperatorAcknowledgement, SubtaskAcknowledgement};
use millpond_snapshot::{
    Metadata, OperatorRecord, OperatorSnapshot, SubtaskRecord, SubtaskSnapshot, Trailer,
};
use millpond_types::{JobId, OperatorId};

use crate::action::Completion;
use crate::error::{Error, ErrorKind};

/// What a snapshot says about the job that took it.
#[derive(Clone, Copy, Debug)]
pub struct JobFacts<'a> {
    /// The job.
    pub job: JobId,
    /// Its name.
    pub name: &'a str,
    /// The version of Millpond.
    pub millpond_version: &'a str,
}

/// Returns the metadata of a snapshot whose parts are all written.
///
/// It lists every operator of the job with one entry per subtask, also those without state, as
/// Flink does. What its format cannot say goes into the trailer.
///
/// # Errors
///
/// An acknowledgement names a vertex, operator or subtask that the job does not have, or one is
/// missing.
pub fn assemble(
    completion: &Completion,
    graph: &JobGraph,
    facts: JobFacts<'_>,
) -> Result<Metadata, Error> {
    let parts = parts_by_subtask(completion, graph)?;
    let mut metadata = Metadata::new(completion.options.id);
    let mut records = Vec::new();
    for vertex in &graph.vertices {
        for operator in &vertex.operators {
            let part = |subtask| parts.get(&(operator.id, subtask)).copied();
            metadata
                .operators
                .push(operator_snapshot(operator.id, vertex, part));
            records.push(OperatorRecord {
                id: operator.id,
                name: operator.name.clone(),
                uid: operator.uid.clone(),
                subtasks: (0..vertex.parallelism)
                    .map(|i| subtask_record(i, part(i)))
                    .collect(),
            });
        }
    }
    let files = completion
        .acknowledgements
        .iter()
        .flat_map(|part| &part.operators);
    let files = files.flat_map(|operator| operator.files.iter());
    // Several subtasks may refer to parts of one file.
    let mut named = BTreeSet::new();
    let files = files
        .filter(|file| named.insert(file.name.as_str()))
        .cloned();
    metadata.trailer = Some(Trailer {
        millpond_version: facts.millpond_version.to_owned(),
        job_id: facts.job,
        job_name: facts.name.to_owned(),
        savepoint: completion.options.is_savepoint,
        parent: completion.started_from.clone(),
        files: files.collect(),
        operators: records,
    });
    Ok(metadata)
}

type Parts<'a> = BTreeMap<(OperatorId, u32), &'a OperatorAcknowledgement>;

/// Finds each operator's part, and that all subtasks and no others have acknowledged.
fn parts_by_subtask<'a>(completion: &'a Completion, graph: &JobGraph) -> Result<Parts<'a>, Error> {
    let wrong = |what: String| {
        let id = completion.options.id;
        Err(Error::new(
            ErrorKind::Inconsistent,
            format!("checkpoint {id} has {what}"),
        ))
    };
    let mut parts = Parts::new();
    for part in &completion.acknowledgements {
        let SubtaskAcknowledgement {
            vertex, subtask, ..
        } = part;
        let found = graph
            .vertices
            .get(vertex.0 as usize)
            .filter(|v| *subtask < v.parallelism);
        let Some(found) = found else {
            return wrong(format!(
                "a part of subtask {subtask} of vertex {}, which is none",
                vertex.0
            ));
        };
        for operator in &part.operators {
            if !found
                .operators
                .iter()
                .any(|known| known.id == operator.operator)
            {
                return wrong(format!(
                    "state of operator {}, which is none",
                    operator.operator
                ));
            }
            parts.insert((operator.operator, *subtask), operator);
        }
    }
    match completion.acknowledgements.len() == graph.subtasks() as usize {
        true => Ok(parts),
        false => wrong(format!(
            "{} parts, but the job has {} subtasks",
            completion.acknowledgements.len(),
            graph.subtasks()
        )),
    }
}

fn operator_snapshot<'a>(
    id: OperatorId,
    vertex: &JobVertex,
    part: impl Fn(u32) -> Option<&'a OperatorAcknowledgement>,
) -> OperatorSnapshot {
    let mut snapshot = OperatorSnapshot::new(id, vertex.parallelism, vertex.max_parallelism);
    snapshot.subtasks = (0..vertex.parallelism)
        .map(|index| {
            (
                index,
                part(index)
                    .map(|part| part.state.clone())
                    .unwrap_or_default(),
            )
        })
        .collect();
    let has_finished = |(_, subtask): &(u32, SubtaskSnapshot)| subtask.finished;
    if snapshot.subtasks.iter().all(has_finished) {
        snapshot.finished = true;
        snapshot.subtasks.clear();
    }
    snapshot
}

fn subtask_record(index: u32, part: Option<&OperatorAcknowledgement>) -> SubtaskRecord {
    let Some(part) = part else {
        return SubtaskRecord {
            index,
            pending_transactions: false,
            ended: false,
            positions: Vec::new(),
            states: Vec::new(),
        };
    };
    SubtaskRecord {
        index,
        pending_transactions: part.pending_transactions,
        ended: part.ended,
        positions: part.positions.clone(),
        states: part.states.clone(),
    }
}

#[cfg(test)]
mod tests;
