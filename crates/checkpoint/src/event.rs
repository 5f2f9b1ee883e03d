//! What the coordinator is told.

use millpond_job::JobStatus;
use millpond_job::dispatcher::{AfterSavepoint, CheckpointKind, SavepointFormat};
use millpond_job::gateway::{Attempt, FromWorker};
use millpond_types::config::ClaimMode;
use millpond_types::{CheckpointId, TriggerId};

/// Something that happened, told to the [`Coordinator`](crate::Coordinator).
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A deadline may have passed; see [`Coordinator::next_deadline`](crate::Coordinator::next_deadline).
    Timer,
    /// A new attempt is being deployed on `processes` processes: epochs begin anew at 0. What the
    /// attempt before had in progress is given up.
    AttemptStarted {
        /// Its number.
        attempt: Attempt,
        /// How many processes confirm an announcement; they count from 0.
        processes: u32,
    },
    /// The current attempt is over by failure or cancellation. Its checkpoints in progress are
    /// given up, except one whose metadata is being written: its outcome is awaited.
    AttemptFailed {
        /// Why, for people.
        reason: String,
    },
    /// A worker process says something. `Failed`, `Ended` and `Metrics` change nothing here.
    Worker(FromWorker),
    /// The user wants a savepoint.
    TriggerSavepoint {
        /// The operation; the same id twice starts one.
        trigger: TriggerId,
        /// The directory of this savepoint itself, as a URI; it belongs to the savepoint alone.
        directory: String,
        /// What happens behind it.
        then: AfterSavepoint,
        /// The format of its keyed state.
        format: SavepointFormat,
    },
    /// The user wants a checkpoint now.
    TriggerCheckpoint {
        /// The operation; the same id twice starts one.
        trigger: TriggerId,
        /// Whether it must not refer to files of earlier ones.
        kind: CheckpointKind,
    },
    /// The user wants periodic checkpoints at another interval, if there are any.
    CheckpointInterval {
        /// In milliseconds; the next one is due so long from now.
        interval_ms: u64,
    },
    /// The answer to [`Action::Complete`](crate::Action::Complete): `_metadata` is durable, or why
    /// it is not. This is the moment of truth.
    MetadataWritten {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// The text of the error, for people.
        result: Result<(), String>,
    },
    /// How fast the job read before and during a snapshot that is complete, for the statistics.
    Measured {
        /// The snapshot.
        checkpoint: CheckpointId,
        /// Records per second of all sources before its trigger, if that is known.
        records_per_second_before: Option<f64>,
        /// Records per second of all sources from its trigger to its end.
        records_per_second_during: f64,
    },
    /// The attempt that is being deployed restores this snapshot.
    Restored {
        /// Its number.
        checkpoint: CheckpointId,
        /// Where it lies.
        directory: String,
        /// Whether the statistics call it a savepoint.
        is_savepoint: bool,
        /// Newer snapshots that were passed over because they are damaged, each with what is wrong.
        skipped: Vec<(CheckpointId, String)>,
    },
    /// A savepoint was removed by its owner: it is no recovery point any more.
    SavepointDisposed {
        /// Its directory.
        directory: String,
    },
    /// The job has ended for good. Everything in progress is given up, and what the retention rules
    /// do not keep is discarded.
    JobEnded {
        /// FINISHED, CANCELED, FAILED or SUSPENDED.
        status: JobStatus,
    },
}

/// The snapshot that a job was started from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartedFrom {
    /// Its number; the job's own checkpoints continue from it.
    pub checkpoint: CheckpointId,
    /// Where it lies.
    pub directory: String,
    /// Whether it is a savepoint.
    pub is_savepoint: bool,
    /// `CLAIM`: it now belongs to this job, counts as one of the retained checkpoints and is deleted
    /// when subsumed. Otherwise it is never touched; with `NO_CLAIM` the first checkpoint refers to no
    /// file of it, with `LEGACY` checkpoints may.
    pub mode: ClaimMode,
    /// Every file that it refers to beside its metadata, as URIs.
    pub files: Vec<String>,
    /// Those of its files that other snapshots, which are not claimed, refer to as well: they are
    /// never deleted.
    pub files_of_others: Vec<String>,
    /// Bytes of state in it.
    pub state_bytes: u64,
    /// Whether a sink has transactions in it, which are committed when it is restored; see its
    /// trailer.
    pub pending_transactions: bool,
}
