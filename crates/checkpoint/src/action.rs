//! What the coordinator wants done.

use millpond_job::SubtaskAcknowledgement;
use millpond_job::dispatcher::OperationFailure;
use millpond_job::gateway::{Attempt, SnapshotOptions, ToWorker};
use millpond_types::{CheckpointId, TriggerId};

use crate::shared_registry::{Released, Scope};

/// Something that the job master is to do, in the order given.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Send to every process of the attempt that the message names.
    Send(ToWorker),
    /// All subtasks have acknowledged: assemble and write `_metadata`, then answer with
    /// [`Event::MetadataWritten`](crate::Event::MetadataWritten).
    Complete(Box<Completion>),
    /// Delete a snapshot: its metadata first, then its directory as far as `scope` says, then what
    /// else is released. It may not exist, and may be named more than once. A failure is logged and
    /// leaves garbage, no more.
    Discard {
        /// The snapshot.
        checkpoint: CheckpointId,
        /// Its directory, as a URI.
        directory: String,
        /// Why.
        reason: DiscardReason,
        /// How much of the directory goes.
        scope: Scope,
        /// What else goes with it.
        released: Released,
    },
    /// Delete files that nobody needs any more, and end claims.
    Release(Released),
    /// The job ends, and keeps a snapshot that it had claimed: others may claim it from now on.
    EndClaim {
        /// The directory of the snapshot, as a URI.
        directory: String,
    },
    /// An operation that the user started has ended.
    Finish {
        /// The operation.
        trigger: TriggerId,
        /// How.
        outcome: Outcome,
    },
    /// Fail the current attempt; the restart strategy decides what follows. Answer with
    /// [`Event::AttemptFailed`](crate::Event::AttemptFailed).
    FailAttempt {
        /// Why, for people.
        reason: String,
    },
    /// The savepoint of a cancellation is complete: cancel the job.
    CancelJob,
    /// All source subtasks have ended and no last checkpoint will be taken: the job may end.
    EndOfInput,
}

/// Why a snapshot is discarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiscardReason {
    /// It failed, expired or was given up.
    Aborted,
    /// A subtask acknowledged or declined it after it had been given up.
    Late,
    /// Enough newer checkpoints are complete.
    Subsumed,
    /// It was found damaged and a newer checkpoint is complete.
    Damaged,
    /// The job has ended and does not keep it.
    JobEnded,
}

/// How an operation that the user started has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A savepoint: its path.
    Savepoint(Result<String, OperationFailure>),
    /// A checkpoint: its number.
    Checkpoint(Result<CheckpointId, OperationFailure>),
}

/// A snapshot whose parts are all written.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// The attempt that took it.
    pub attempt: Attempt,
    /// Its number, directory and kind.
    pub options: SnapshotOptions,
    /// One for each subtask of each vertex, in order of vertex and subtask.
    pub acknowledgements: Vec<SubtaskAcknowledgement>,
    /// The snapshot that the job was started from, as a URI.
    pub started_from: Option<String>,
}
