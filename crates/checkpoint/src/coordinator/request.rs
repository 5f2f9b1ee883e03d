//! What users want: savepoints, checkpoints by hand, stops and cancellations.

use millpond_job::VertexIndex;
use millpond_job::dispatcher::{AfterSavepoint, CheckpointKind, OperationFailure};
use millpond_types::TriggerId;

use super::{Coordinator, SavepointRequest, failure, stop_mode};
use crate::failure::FailureReason;
use crate::operations::Kind;
use crate::pending::Origin;

/// How many triggers of users may wait (Flink's bound).
const MAX_QUEUED_REQUESTS: usize = 1000;

impl Coordinator {
    pub(super) fn savepoint_wanted(&mut self, request: SavepointRequest) {
        if !self.operations.begin(request.trigger, Kind::Savepoint) {
            return;
        }
        match self.refusal(self.savepoint_requests.len()) {
            Some(failure) => self.refuse(request.trigger, failure),
            None => self.savepoint_requests.push_back(request),
        }
    }

    pub(super) fn checkpoint_wanted(&mut self, trigger: TriggerId, kind: CheckpointKind) {
        if !self.operations.begin(trigger, Kind::Checkpoint) {
            return;
        }
        match self.refusal(self.checkpoint_requests.len()) {
            Some(failure) => self.refuse(trigger, failure),
            None => self.checkpoint_requests.push_back((trigger, kind)),
        }
    }

    /// Why a trigger cannot even wait; `None` if it can.
    fn refusal(&self, waiting: usize) -> Option<OperationFailure> {
        if self.ended {
            return Some(OperationFailure {
                class: "org.apache.flink.runtime.messages.FlinkJobNotFoundException".to_owned(),
                message: format!("Could not find Flink job ({})", self.config.job),
            });
        }
        if !self.all_running() {
            let task = self.task_name(VertexIndex(0), 0);
            return Some(failure(format!(
                "Checkpoint triggering task {task} of job {} is not being executed at the moment. \
                 Aborting checkpoint. Failure reason: {}",
                self.config.job,
                FailureReason::NotAllTasksRunning
            )));
        }
        if self.is_behind_finished_tasks() {
            return Some(failure(format!(
                "{} Cause: some tasks of job {} have already finished and \
                 execution.checkpointing.checkpoints-after-tasks-finish is false",
                FailureReason::NotAllTasksRunning,
                self.config.job
            )));
        }
        if self.ending || self.stop_is_wanted() {
            let why = "the job is already being stopped or cancelled";
            return Some(failure(format!("{} {why}", FailureReason::Suspended)));
        }
        let full = waiting >= MAX_QUEUED_REQUESTS;
        full.then(|| failure(FailureReason::TooManyRequests.to_string()))
    }

    pub(super) fn refuse(&mut self, trigger: TriggerId, failure: OperationFailure) {
        self.statistics.refused();
        self.finish(trigger, Err(failure));
    }

    /// Whether a synchronous savepoint waits or is in progress.
    fn stop_is_wanted(&self) -> bool {
        let stops = |then: AfterSavepoint| stop_mode(then).is_some();
        self.savepoint_requests
            .iter()
            .any(|request| stops(request.then))
            || self.pending.values().any(|pending| match pending.origin {
                Origin::Savepoint(_, then) => stops(then),
                Origin::Periodic | Origin::Manual(_) | Origin::EndOfInput => false,
            })
    }

    /// Whether periodic checkpoints wait for a stop or a cancellation.
    pub(super) fn is_paused(&self) -> bool {
        let ends = |then: AfterSavepoint| then != AfterSavepoint::Continue;
        self.savepoint_requests
            .iter()
            .any(|request| ends(request.then))
            || self.pending.values().any(|pending| match pending.origin {
                Origin::Savepoint(_, then) => ends(then),
                Origin::Periodic | Origin::Manual(_) | Origin::EndOfInput => false,
            })
    }

    /// Whether sources have ended and checkpoints are not to go on without them.
    pub(super) fn is_behind_finished_tasks(&self) -> bool {
        !self.config.checkpoints_after_tasks_finish && !self.sources_ended.is_empty()
    }
}
