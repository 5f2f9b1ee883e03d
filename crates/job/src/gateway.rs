//! The messages between a job master and the worker processes of one attempt.
//!
//! They are data that serializes, whether master and workers share a process or not. Every
//! message names its attempt; one of an older attempt is dropped by whoever receives it.
//!
//! A barrier is a frontier advance. The master first *announces* what the end of an epoch is; when
//! every process has confirmed, it lets the sources *advance*. An epoch cannot be taken back: a
//! checkpoint that is aborted consumes its epoch.

use millpond_snapshot::StateRead;
use millpond_types::CheckpointId;
use serde::{Deserialize, Serialize};

use crate::acknowledgement::SubtaskAcknowledgement;
use crate::dispatcher::SavepointFormat;
use crate::job_graph::VertexIndex;
use crate::metrics::SubtaskMetrics;

/// One try to run a job: counts from 1.
pub type Attempt = u32;

/// The part of an attempt between two barriers: counts from 0 in each attempt.
pub type Epoch = u32;

/// How a job ends behind a synchronous snapshot.
///
/// Tasks that have taken their part make nothing more until they hear its fate, and keep the next
/// epoch open: behind [`ToWorker::NotifyComplete`] they end, behind [`ToWorker::NotifyAborted`] they
/// go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopMode {
    /// Sources stop; timers and windows stay in the savepoint.
    Suspend,
    /// Sources send the maximum watermark first, so that all event-time timers fire.
    Drain,
    /// All sources have ended by themselves; this is the last checkpoint.
    EndOfInput,
}

/// How the small state files of a checkpoint are merged (`execution.checkpointing.file-merging.*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMerging {
    /// No file gets larger by merging.
    pub max_file_bytes: u64,
    /// How many subtasks of one process have their state in one file, at least 1.
    pub max_subtasks_per_file: u32,
    /// How many per cent of what a checkpoint needs of a file that file may have: 200 is two bytes
    /// for each that is needed. Below 100 there is no limit.
    pub max_space_percent: u32,
}

/// What a snapshot is to be written like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotOptions {
    /// Its number.
    pub id: CheckpointId,
    /// Whether the user asked for it, as opposed to a checkpoint.
    pub is_savepoint: bool,
    /// The format of keyed state.
    pub format: SavepointFormat,
    /// Keyed state goes as the files that it lies in, whatever the format, if it lies in files.
    /// Those that later checkpoints may share go into `shared_directory`, and what `base` has of
    /// them is not written again. Never for a savepoint.
    pub incremental: bool,
    /// The directory that its files go to, as a URI.
    pub directory: String,
    /// The directory for files that later checkpoints may share, as a URI; of a savepoint its own,
    /// as a savepoint stands alone.
    pub shared_directory: String,
    /// The complete checkpoint whose files this one may refer to instead of writing them again.
    /// `None`: it must be full, as the first one after a restore with `NO_CLAIM`, a savepoint, or
    /// one that the user wants to be.
    ///
    /// A reference to a file of any other checkpoint may dangle: nobody keeps it.
    pub base: Option<CheckpointId>,
    /// All state goes into the metadata, and an operator's state of more than this many bytes is
    /// declined (checkpoint storage `jobmanager`). `None`: what is larger than the threshold goes
    /// into a file.
    pub metadata_only_bytes: Option<u64>,
    /// State of at most this many bytes goes inline into the metadata.
    pub inline_threshold_bytes: u32,
    /// How what is larger than that, and small still, is merged into few files; `None`: each state is
    /// a file of its own. Never for a savepoint.
    pub file_merging: Option<FileMerging>,
    /// The snapshot of an operator is given up when more bytes of its state change meanwhile.
    pub changes_limit_bytes: u64,
    /// Milliseconds since 1970 at which the master triggered it.
    pub triggered_at_ms: u64,
    /// Milliseconds after the trigger at which a task that is still aligning overtakes what is in
    /// flight; 0 is at once, `None` never.
    pub aligned_timeout_ms: Option<u64>,
    /// Whether and how the job ends behind it.
    pub stop: Option<StopMode>,
}

impl SnapshotOptions {
    /// When a task stops aligning, in milliseconds since 1970; `None` if never. Savepoints and
    /// whatever the job ends behind are always aligned.
    pub fn overtakes_at_ms(&self) -> Option<u64> {
        let may = !self.is_savepoint && self.stop.is_none();
        match self.aligned_timeout_ms.filter(|_| may)? {
            // Whatever the clock of another machine says.
            0 => Some(0),
            timeout_ms => Some(self.triggered_at_ms.saturating_add(timeout_ms)),
        }
    }
}

/// What the end of an epoch is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EpochEnd {
    /// Nothing happens: ticks begin anew.
    Nothing,
    /// Every operator snapshots.
    Snapshot(SnapshotOptions),
}

/// From the job master to a worker process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToWorker {
    /// What the end of `epoch` is; to be confirmed by [`FromWorker::Announced`].
    Announce {
        /// The attempt.
        attempt: Attempt,
        /// The epoch that will end.
        epoch: Epoch,
        /// What its end is.
        end: EpochEnd,
    },
    /// All processes know the end of `epoch`: sources advance.
    Advance {
        /// The attempt.
        attempt: Attempt,
        /// The epoch that ends.
        epoch: Epoch,
    },
    /// The checkpoint is complete and durable: commit.
    NotifyComplete {
        /// The attempt.
        attempt: Attempt,
        /// Its number.
        checkpoint: CheckpointId,
    },
    /// The checkpoint will never complete: forget it and drop its files.
    NotifyAborted {
        /// The attempt.
        attempt: Attempt,
        /// Its number.
        checkpoint: CheckpointId,
    },
    /// All sources have ended and no last checkpoint will be taken: the job ends.
    EndOfInput {
        /// The attempt.
        attempt: Attempt,
    },
    /// End the attempt now.
    Cancel {
        /// The attempt.
        attempt: Attempt,
    },
}

/// From a worker process to the job master.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FromWorker {
    /// All subtasks of this process have their state and run.
    Running {
        /// The attempt.
        attempt: Attempt,
        /// The process, counted from 0.
        process: u32,
        /// What was read of the snapshot that they were restored from.
        read: StateRead,
    },
    /// The process knows the end of `epoch`.
    Announced {
        /// The attempt.
        attempt: Attempt,
        /// The process.
        process: u32,
        /// The epoch.
        epoch: Epoch,
    },
    /// A subtask's part of a checkpoint is written.
    Acknowledge {
        /// The attempt.
        attempt: Attempt,
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// The subtask's part.
        acknowledgement: SubtaskAcknowledgement,
    },
    /// A subtask could not write its part of a checkpoint.
    Decline {
        /// The attempt.
        attempt: Attempt,
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// The vertex.
        vertex: VertexIndex,
        /// The subtask.
        subtask: u32,
        /// Why, for people.
        reason: String,
    },
    /// A source subtask has made its last record.
    SourceEnded {
        /// The attempt.
        attempt: Attempt,
        /// The vertex.
        vertex: VertexIndex,
        /// The subtask.
        subtask: u32,
    },
    /// The attempt has failed in this process.
    Failed {
        /// The attempt.
        attempt: Attempt,
        /// The process.
        process: u32,
        /// Name and subtask of the failed task, if it was one: `counter (1/2)`.
        task: Option<String>,
        /// What happened, for people.
        message: String,
        /// Whether another attempt may help.
        kind: FailureKind,
    },
    /// All subtasks of this process have ended, after completion or [`ToWorker::Cancel`].
    Ended {
        /// The attempt.
        attempt: Attempt,
        /// The process.
        process: u32,
    },
    /// Counters of this process's subtasks, now and then.
    Metrics {
        /// The attempt.
        attempt: Attempt,
        /// One row per subtask.
        subtasks: Vec<SubtaskMetrics>,
    },
}

/// Whether another attempt may help against a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureKind {
    /// It may.
    Retryable,
    /// It cannot: the restored state does not fit an operator, or an operator has no place for it.
    RefusedState,
    /// Restored state whose files are sound could not be read. Another attempt may find other
    /// damage, and an older snapshot; from the same snapshot it will end likewise.
    DamagedState,
}
