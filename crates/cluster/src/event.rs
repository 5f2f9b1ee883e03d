//! What the job master hears.

use millpond_job::dispatcher::{CheckpointKind, SavepointRequest};
use millpond_job::{FromWorker, JobRequirements};
use millpond_types::{CheckpointId, TriggerId};

use crate::launcher::Room;

/// Something that happened to a job.
pub(crate) enum MasterEvent {
    /// A worker process says something.
    Worker {
        /// The process.
        process: u32,
        /// What it says.
        message: FromWorker,
    },
    /// The connection to a worker process has ended, or it was silent for too long.
    ProcessLost {
        /// The process.
        process: u32,
        /// Which of its connections.
        generation: u64,
        /// What it has done, for people: "died".
        what: String,
    },
    /// There are slots for worker processes.
    Allocated(Room),
    /// So many slots the job could have, those that it has included.
    Slots(u32),
    /// Between which bounds the parallelism of the job may be from now on.
    Require(JobRequirements),
    /// There are no slots, for this reason.
    NoSlots(String),
    /// The metadata of a checkpoint is written, or cannot be.
    MetadataWritten {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// The error, for people.
        result: Result<(), String>,
    },
    /// A savepoint was asked for.
    Savepoint {
        /// The operation.
        trigger: TriggerId,
        /// What was asked for.
        request: SavepointRequest,
    },
    /// A checkpoint was asked for.
    Checkpoint {
        /// The operation.
        trigger: TriggerId,
        /// Whether it must not refer to files of earlier ones.
        kind: CheckpointKind,
    },
    /// From now on periodic checkpoints are taken at this interval.
    CheckpointInterval {
        /// In milliseconds.
        interval_ms: u64,
    },
    /// A savepoint was removed.
    Disposed {
        /// Its directory.
        directory: String,
    },
    /// The job is to be cancelled.
    Cancel,
}
