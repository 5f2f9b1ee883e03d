//! What an operator is told when it is opened and when it snapshots.

use std::sync::Arc;

use millpond_snapshot::{ChannelHandle, KeyedHandle, LoadedSnapshot, OperatorStateHandle};
use millpond_state::{BackendChoice, StateDescription, UnclaimedState};
use millpond_types::{CheckpointId, Clock, JobId, KeyGroupRange, OperatorId};

use crate::error::{FunctionError, Result};

/// Which subtask of which operator this is.
#[derive(Clone, Debug)]
pub struct SubtaskInfo {
    /// The job.
    pub job: JobId,
    /// The try to run it: counts from 1 in each start of the program.
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
    /// Whether the operator is opened only to learn which state it has, to plan a restore: it will
    /// process nothing, and must leave the outside world alone.
    pub describing: bool,
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
    /// Records that were in flight to the operator, of all its subtasks.
    pub in_flight: Vec<ChannelHandle>,
    /// The operator had ended in the snapshot: a source has nothing to read any more.
    pub finished: bool,
    /// The end of its input had been processed: [`Operator::finish`](crate::Operator::finish) has
    /// been called.
    pub ended: bool,
    /// Whether state that the operator has no place for may be dropped.
    pub allow_non_restored_state: bool,
    /// Whether state that the operator could take and does not register is carried on unread,
    /// rather than refused.
    pub carries_unregistered_state: bool,
}

/// Which kinds of state an operator can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restores {
    /// None: it is stateless.
    Nothing,
    /// Operator state.
    OperatorState,
    /// Keyed state.
    KeyedState,
    /// Both.
    Both,
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
    /// What its keyed state stands on.
    pub backend: BackendChoice,
}

impl OpenContext {
    /// For an operator that is only to say which state it has.
    pub fn to_describe(mut info: SubtaskInfo, clock: Arc<dyn Clock>) -> Self {
        info.describing = true;
        OpenContext {
            info,
            restored: None,
            assigned_splits: Vec::new(),
            clock,
            wake: Arc::new(|| ()),
            // Nothing will be kept.
            backend: BackendChoice::Heap,
        }
    }

    /// Refuses a snapshot with state that the operator has no place for: it would be lost.
    ///
    /// # Errors
    ///
    /// There is such state, and the user has not allowed to drop it.
    pub fn check_restored(&self, takes: Restores) -> Result<()> {
        let Some(restored) = &self.restored else {
            return Ok(());
        };
        let takes_keyed = matches!(takes, Restores::KeyedState | Restores::Both);
        let takes_operator = matches!(takes, Restores::OperatorState | Restores::Both);
        let lost = match () {
            () if !takes_keyed && !restored.keyed.is_empty() => "keyed",
            () if !takes_operator && !restored.operator.is_empty() => "operator",
            () => return Ok(()),
        };
        if restored.allow_non_restored_state {
            return Ok(());
        }
        Err(FunctionError::refused_state(format!(
            "snapshot \"{}\" holds {lost} state for operator {} (\"{}\"), which has no {lost} state \
             any more; give the operator another uid, or pass --allowNonRestoredState to drop the state",
            restored.snapshot.directory, self.info.operator, self.info.name
        )))
    }
}

impl SubtaskInfo {
    /// Refuses restored state that the operator has not registered: it would be lost unseen.
    ///
    /// # Errors
    ///
    /// There is such state in `state`, in the words of the snapshot that lies in `directory`.
    pub fn check_claimed(&self, state: &StateDescription, directory: &str) -> Result<()> {
        let Some(UnclaimedState { meta, entries }) = state.unclaimed().next() else {
            return Ok(());
        };
        Err(FunctionError::refused_state(format!(
            "snapshot \"{directory}\" holds state \"{}\" ({entries} entries in this subtask) of \
             operator {} (\"{}\"), which has registered no state of this name; pass \
             --allowNonRestoredState to carry it on unread",
            meta.name, self.operator, self.name
        )))
    }
}

/// Which snapshot is being taken.
#[derive(Clone, Copy, Debug)]
pub struct SnapshotContext {
    /// Its number.
    pub id: CheckpointId,
    /// Whether the user asked for it.
    pub is_savepoint: bool,
    /// Whether it may consist of what has changed, and later ones build on it.
    pub incremental: bool,
    /// The complete checkpoint that it may build on.
    pub base: Option<CheckpointId>,
}
