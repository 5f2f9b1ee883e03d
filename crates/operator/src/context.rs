//! What an operator is told when it is opened and when it snapshots.

use std::sync::Arc;

use millpond_snapshot::{KeyedHandle, LoadedSnapshot, OperatorStateHandle};
use millpond_types::{CheckpointId, Clock, JobId, KeyGroupRange, OperatorId};

/// Which subtask of which operator this is.
#[derive(Clone, Debug)]
pub struct SubtaskInfo {
    /// The job.
    pub job: JobId,
    /// The try to run it: counts from 1 over all starts that share `job`.
    pub attempt: u32,
    /// The operator.
    pub operator: OperatorId,
    /// Its name.
    pub name: String,
    /// The subtask, counted from 0.
    pub subtask: u32,
    /// Number of subtasks.
    pub parallelism: u32,
    /// Number of key groups.
    pub max_parallelism: u32,
    /// Whether the job takes checkpoints, so that transactions can wait for them.
    pub checkpointing: bool,
}

impl SubtaskInfo {
    /// The key groups that this subtask owns.
    pub fn key_groups(&self) -> KeyGroupRange {
        KeyGroupRange::of_subtask(self.subtask, self.parallelism, self.max_parallelism)
    }
}

/// The state that one subtask of one operator is restored from.
#[derive(Clone)]
pub struct RestoredState {
    /// The snapshot that the handles point into.
    pub snapshot: Arc<LoadedSnapshot>,
    /// The snapshot's number.
    pub checkpoint: CheckpointId,
    /// Keyed state handles that hold some of this subtask's key groups.
    pub keyed: Vec<KeyedHandle>,
    /// Operator state, already redistributed: all that is listed belongs to this subtask.
    pub operator: Vec<OperatorStateHandle>,
}

/// Wakes the task of an operator from another thread.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// What an operator gets when it is opened.
pub struct OpenContext {
    /// Which subtask this is.
    pub info: SubtaskInfo,
    /// What to restore from; `None` starts empty.
    pub restored: Option<RestoredState>,
    /// Source only: splits that the enumerator has assigned to this subtask, serialized.
    pub assigned_splits: Vec<Vec<u8>>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Wakes this task: for sources and sinks with threads of their own.
    pub wake: Wake,
}

/// Which snapshot is being taken.
#[derive(Clone, Copy, Debug)]
pub struct SnapshotContext {
    /// Its number.
    pub id: CheckpointId,
    /// Whether the user asked for it.
    pub is_savepoint: bool,
}
