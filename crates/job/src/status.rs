//! The states of a job and of a subtask, with Flink's names.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The state of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum JobStatus {
    /// The job master is being set up; the snapshot to restore from is read.
    Initializing,
    /// Set up, not yet started.
    Created,
    /// All subtasks have been started.
    Running,
    /// A failure is being handled; the job will end.
    Failing,
    /// Ended by a failure.
    Failed,
    /// Being cancelled.
    Cancelling,
    /// Ended by its owner.
    Canceled,
    /// Ended by itself, or stopped with a savepoint.
    Finished,
    /// Between two attempts.
    Restarting,
    /// Ended here, to be taken over elsewhere.
    Suspended,
    /// Waiting for the reports of task managers after a take-over.
    Reconciling,
}

impl JobStatus {
    /// Every status, in the order of Flink's enum.
    pub const ALL: [JobStatus; 11] = [
        JobStatus::Initializing,
        JobStatus::Created,
        JobStatus::Running,
        JobStatus::Failing,
        JobStatus::Failed,
        JobStatus::Cancelling,
        JobStatus::Canceled,
        JobStatus::Finished,
        JobStatus::Restarting,
        JobStatus::Suspended,
        JobStatus::Reconciling,
    ];

    /// Whether the job has ended and will never run again.
    pub fn is_globally_terminal(self) -> bool {
        matches!(
            self,
            JobStatus::Failed | JobStatus::Canceled | JobStatus::Finished
        )
    }

    /// Flink's spelling, as in the REST API.
    pub fn as_str(self) -> &'static str {
        match self {
            JobStatus::Initializing => "INITIALIZING",
            JobStatus::Created => "CREATED",
            JobStatus::Running => "RUNNING",
            JobStatus::Failing => "FAILING",
            JobStatus::Failed => "FAILED",
            JobStatus::Cancelling => "CANCELLING",
            JobStatus::Canceled => "CANCELED",
            JobStatus::Finished => "FINISHED",
            JobStatus::Restarting => "RESTARTING",
            JobStatus::Suspended => "SUSPENDED",
            JobStatus::Reconciling => "RECONCILING",
        }
    }
}

impl fmt::Display for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The state of one subtask of a vertex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ExecutionState {
    /// Known, nothing has happened.
    Created,
    /// Waiting for a slot.
    Scheduled,
    /// Being sent to its worker.
    Deploying,
    /// Restoring its state.
    Initializing,
    /// Processing records.
    Running,
    /// All its work is done.
    Finished,
    /// Being ended.
    Canceling,
    /// Ended from outside.
    Canceled,
    /// Ended by a failure.
    Failed,
    /// Waiting to be found again.
    Reconciling,
}

impl ExecutionState {
    /// Every state, in the order of Flink's enum.
    pub const ALL: [ExecutionState; 10] = [
        ExecutionState::Created,
        ExecutionState::Scheduled,
        ExecutionState::Deploying,
        ExecutionState::Initializing,
        ExecutionState::Running,
        ExecutionState::Finished,
        ExecutionState::Canceling,
        ExecutionState::Canceled,
        ExecutionState::Failed,
        ExecutionState::Reconciling,
    ];

    /// Flink's spelling, as in the REST API.
    pub fn as_str(self) -> &'static str {
        match self {
            ExecutionState::Created => "CREATED",
            ExecutionState::Scheduled => "SCHEDULED",
            ExecutionState::Deploying => "DEPLOYING",
            ExecutionState::Initializing => "INITIALIZING",
            ExecutionState::Running => "RUNNING",
            ExecutionState::Finished => "FINISHED",
            ExecutionState::Canceling => "CANCELING",
            ExecutionState::Canceled => "CANCELED",
            ExecutionState::Failed => "FAILED",
            ExecutionState::Reconciling => "RECONCILING",
        }
    }
}

impl fmt::Display for ExecutionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
