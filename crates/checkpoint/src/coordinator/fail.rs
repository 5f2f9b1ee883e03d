//! Failing: by a timeout, a decline, the end of the attempt or of the job.

use millpond_job::JobStatus;
use millpond_job::dispatcher::AfterSavepoint;
use millpond_job::gateway::ToWorker;
use millpond_types::CheckpointId;

use super::{Coordinator, LastCheckpoint, failure};
use crate::action::{Action, DiscardReason};
use crate::failure::FailureReason;
use crate::pending::{Origin, PendingCheckpoint, Phase};

impl Coordinator {
    pub(super) fn expire(&mut self) {
        let now_ms = self.now_ms;
        let late = self.pending.iter().filter(|(_, pending)| {
            pending.phase == Phase::Collecting && pending.deadline_ms <= now_ms
        });
        let late: Vec<CheckpointId> = late.map(|(id, _)| *id).collect();
        for id in late {
            self.give_up(id, FailureReason::Expired, "");
        }
        // An epoch cannot be taken back, so without this answer no checkpoint can ever follow.
        let silent = self
            .announcement
            .as_ref()
            .filter(|a| self.alive && a.deadline_ms <= now_ms);
        if let Some(announcement) = silent {
            let missing: Vec<String> = announcement.missing().map(|p| p.to_string()).collect();
            let reason = format!(
                "process {} did not confirm the end of epoch {} in time",
                missing.join(", "),
                announcement.epoch
            );
            self.fail_attempt(reason);
        }
    }

    /// Fails a checkpoint whose parts are not all in; any other is left alone.
    pub(super) fn give_up(&mut self, id: CheckpointId, reason: FailureReason, why: &str) {
        if self
            .pending
            .get(&id)
            .is_some_and(|pending| pending.phase == Phase::Collecting)
        {
            self.fail(id, reason, why);
        }
    }

    /// Fails a checkpoint in progress, with all that follows from it.
    pub(super) fn fail(&mut self, id: CheckpointId, reason: FailureReason, why: &str) {
        let Some(pending) = self.pending.remove(&id) else {
            return;
        };
        let message = self.tell_failure(id, &pending, reason, why);
        self.remember_aborted(id, pending.options.directory.clone());
        if self.is_current(pending.attempt) {
            self.send(|attempt| ToWorker::NotifyAborted {
                attempt,
                checkpoint: id,
            });
        }
        let directory = pending.options.directory.clone();
        self.discard_parts(id, directory, &pending.files, DiscardReason::Aborted);
        self.schedule.ended(self.now_ms);
        self.failed_for_its_origin(id, &pending, reason, &message);
    }

    /// The job goes on without the checkpoints whose metadata is being written.
    pub(super) fn abandon_finalizing(&mut self, reason: FailureReason, why: &str) {
        for id in self.ids_in(Phase::Finalizing) {
            if let Some(mut pending) = self.pending.remove(&id) {
                self.tell_failure(id, &pending, reason, why);
                pending.phase = Phase::Abandoned;
                self.pending.insert(id, pending);
                self.schedule.ended(self.now_ms);
            }
        }
    }

    /// Tells statistics and user that a checkpoint has failed.
    fn tell_failure(
        &mut self,
        id: CheckpointId,
        pending: &PendingCheckpoint,
        reason: FailureReason,
        why: &str,
    ) -> String {
        let message = if why.is_empty() {
            reason.to_string()
        } else {
            format!("{reason} Cause: {why}")
        };
        self.statistics.failed(id, &message, self.now_ms);
        if let Some(trigger) = pending.origin.trigger() {
            self.finish(trigger, Err(failure(message.clone())));
        }
        message
    }

    fn failed_for_its_origin(
        &mut self,
        id: CheckpointId,
        pending: &PendingCheckpoint,
        reason: FailureReason,
        message: &str,
    ) {
        let counts = match pending.origin {
            // Sources have sent the end of their data already: only a new attempt starts them again.
            Origin::Savepoint(_, AfterSavepoint::Drain) => {
                let job = self.config.job;
                self.fail_attempt(format!(
                    "Could not stop with a savepoint job \"{job}\". {message}"
                ));
                false
            }
            // Tasks that have stopped for it go on as they hear that it was given up.
            Origin::Savepoint(
                _,
                AfterSavepoint::Stop | AfterSavepoint::Continue | AfterSavepoint::Cancel,
            ) => reason.is_of_task(),
            Origin::EndOfInput | Origin::Periodic | Origin::Manual(_) => true,
        };
        if counts && self.failures.failed(id, reason) {
            self.fail_attempt(format!(
                "Exceeded checkpoint tolerable failure threshold. The latest checkpoint failed due \
                 to {message}"
            ));
        }
        if pending.attempt == self.attempt && pending.is_synchronous() {
            self.go_on_behind_a_failed_end(pending);
        }
    }

    /// The job did not end behind this snapshot. If its sources have ended, it has to end behind
    /// another one, which comes as late as a periodic checkpoint would.
    fn go_on_behind_a_failed_end(&mut self, pending: &PendingCheckpoint) {
        if !self.alive {
            return;
        }
        if self.last_checkpoint == LastCheckpoint::NotDue {
            self.end_if_sources_have();
        } else if pending.origin == Origin::EndOfInput {
            let interval_ms = self.config.interval_ms.unwrap_or(0);
            let on_time = pending.options.triggered_at_ms.saturating_add(interval_ms);
            let pause_over = self.now_ms.saturating_add(self.config.min_pause_ms.max(1));
            self.last_checkpoint = LastCheckpoint::Due {
                not_before_ms: on_time.max(pause_over),
            };
        }
    }

    pub(super) fn drop_requests(&mut self, reason: FailureReason, why: &str) {
        let savepoints = std::mem::take(&mut self.savepoint_requests);
        let checkpoints = std::mem::take(&mut self.checkpoint_requests);
        let triggers = savepoints
            .into_iter()
            .map(|request| request.trigger)
            .chain(checkpoints.into_iter().map(|(trigger, _)| trigger));
        for trigger in triggers {
            self.refuse(trigger, failure(format!("{reason} Cause: {why}")));
        }
    }

    pub(super) fn job_ended(&mut self, status: JobStatus) {
        self.alive = false;
        self.announcement = None;
        self.schedule.stop();
        if status == JobStatus::Finished
            && let Some((trigger, id, path)) = self.stopping.take()
        {
            self.finish(trigger, Ok((id, path)));
        }
        let why = format!("the job has ended as {status}");
        self.give_up_everything(FailureReason::Shutdown, &why);
        self.abandon_finalizing(FailureReason::Shutdown, &why);
        self.ended = true;
        for (old, reason) in self.completed.end(status) {
            self.discard(old.checkpoint, old.directory, reason);
        }
        for directory in self.registry.leave() {
            self.actions.push(Action::EndClaim { directory });
        }
    }
}
