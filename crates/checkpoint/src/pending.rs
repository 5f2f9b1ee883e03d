//! A checkpoint in progress: who has acknowledged and who has not.

use std::collections::{BTreeMap, BTreeSet};

use millpond_job::dispatcher::AfterSavepoint;
use millpond_job::gateway::{Attempt, SnapshotOptions};
use millpond_job::{SubtaskAcknowledgement, VertexIndex};
use millpond_types::TriggerId;

use crate::snapshot_files::file_of;

/// Why a checkpoint was triggered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The interval has passed.
    Periodic,
    /// The user wanted a checkpoint.
    Manual(TriggerId),
    /// The user wanted a savepoint.
    Savepoint(TriggerId, AfterSavepoint),
    /// All sources have ended.
    EndOfInput,
}

impl Origin {
    pub(crate) fn trigger(self) -> Option<TriggerId> {
        match self {
            Origin::Manual(trigger) | Origin::Savepoint(trigger, _) => Some(trigger),
            Origin::Periodic | Origin::EndOfInput => None,
        }
    }
}

/// How far a checkpoint in progress is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Subtasks are writing their parts.
    Collecting,
    /// All parts are written; the metadata is being written. Only its outcome ends this phase.
    Finalizing,
    /// As before, but the job has gone on without it: it is discarded whatever the outcome.
    Abandoned,
}

/// A checkpoint or savepoint in progress.
#[derive(Debug)]
pub(crate) struct PendingCheckpoint {
    pub(crate) attempt: Attempt,
    pub(crate) options: SnapshotOptions,
    pub(crate) origin: Origin,
    pub(crate) deadline_ms: u64,
    pub(crate) phase: Phase,
    /// Known from the moment at which all parts are in.
    pub(crate) pending_transactions: bool,
    pub(crate) state_bytes: u64,
    /// The files that its parts refer to, as URIs.
    pub(crate) files: BTreeSet<String>,
    missing: BTreeSet<(VertexIndex, u32)>,
    acknowledgements: BTreeMap<(VertexIndex, u32), SubtaskAcknowledgement>,
}

impl PendingCheckpoint {
    /// Returns a checkpoint that waits for all of `subtasks`.
    pub(crate) fn new(
        attempt: Attempt,
        options: SnapshotOptions,
        origin: Origin,
        deadline_ms: u64,
        subtasks: impl Iterator<Item = (VertexIndex, u32)>,
    ) -> Self {
        PendingCheckpoint {
            attempt,
            options,
            origin,
            deadline_ms,
            phase: Phase::Collecting,
            pending_transactions: false,
            state_bytes: 0,
            files: BTreeSet::new(),
            missing: subtasks.collect(),
            acknowledgements: BTreeMap::new(),
        }
    }

    /// Whether the job ends behind it.
    pub(crate) fn is_synchronous(&self) -> bool {
        self.options.stop.is_some()
    }

    /// Whether this part has not come yet. False for a subtask that is none of the job's.
    pub(crate) fn is_missing(&self, part: &SubtaskAcknowledgement) -> bool {
        self.missing.contains(&(part.vertex, part.subtask))
    }

    /// Takes the part of one subtask; whether it was the last one missing.
    pub(crate) fn acknowledge(&mut self, part: SubtaskAcknowledgement) -> bool {
        let subtask = (part.vertex, part.subtask);
        if !self.missing.remove(&subtask) {
            return false;
        }
        self.pending_transactions |= part.operators.iter().any(|o| o.pending_transactions);
        self.state_bytes += part.state_bytes();
        self.files.extend(files_of(&part, &self.options.directory));
        self.acknowledgements.insert(subtask, part);
        self.missing.is_empty()
    }

    /// Gives out all parts, in order of vertex and subtask.
    pub(crate) fn take_acknowledgements(&mut self) -> Vec<SubtaskAcknowledgement> {
        std::mem::take(&mut self.acknowledgements)
            .into_values()
            .collect()
    }
}

/// The files that a part of the snapshot in `directory` refers to, as URIs.
pub(crate) fn files_of(part: &SubtaskAcknowledgement, directory: &str) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    for operator in &part.operators {
        operator
            .state
            .streams(&mut |stream| files.extend(file_of(stream, directory)));
    }
    files
}
