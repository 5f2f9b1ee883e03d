//! Attempts begin and fail, and what their workers say.

use millpond_job::VertexIndex;
use millpond_job::dispatcher::RestoredCheckpoint;
use millpond_job::gateway::{Attempt, Epoch, FromWorker, ToWorker};
use millpond_snapshot::StateRead;
use millpond_types::CheckpointId;

use super::{Coordinator, LastCheckpoint};
use crate::action::Action;
use crate::failure::FailureReason;
use crate::pending::{PendingCheckpoint, Phase};

impl Coordinator {
    pub(super) fn attempt_started(&mut self, attempt: Attempt, processes: u32) {
        self.alive = false;
        self.give_up_everything(FailureReason::JobFailure, "a new attempt has begun");
        self.abandon_finalizing(FailureReason::JobFailure, "a new attempt has begun");
        self.attempt = attempt;
        self.processes = processes;
        self.alive = !self.ended;
        self.running.clear();
        self.epoch = 0;
        self.epoch_began_ms = self.now_ms;
        self.announcement = None;
        self.base = None;
        self.ending = false;
        self.sources_ended.clear();
        self.last_checkpoint = LastCheckpoint::NotDue;
        self.schedule.stop();
    }

    pub(super) fn restored(
        &mut self,
        id: CheckpointId,
        directory: String,
        is_savepoint: bool,
        skipped: &[(CheckpointId, String)],
    ) {
        skipped
            .iter()
            .for_each(|(damaged, _)| self.completed.mark_damaged(*damaged));
        // Its files are known to the tasks, and kept; those of a savepoint are the user's.
        let may_build_on = self.registry.has(id) || self.legacy == Some(id);
        self.base = may_build_on.then_some(id);
        // Restoring commits the transactions that a snapshot holds.
        if self.completed.has_pending_transactions(id) {
            self.newest_committed = self.newest_committed.max(Some(id));
        }
        self.statistics.restored(RestoredCheckpoint {
            id,
            restore_timestamp_ms: self.now_ms,
            is_savepoint,
            external_path: directory,
            damaged: skipped.iter().map(|(_, damage)| damage.clone()).collect(),
            read: StateRead::default(),
        });
    }

    pub(super) fn attempt_failed(&mut self, reason: &str) {
        self.alive = false;
        self.schedule.stop();
        self.announcement = None;
        self.give_up_everything(FailureReason::JobFailure, reason);
    }

    /// Gives up all that is in progress or waits, and settles a stop that did not come to its end.
    pub(super) fn give_up_everything(&mut self, reason: FailureReason, why: &str) {
        for id in self.ids_in(Phase::Collecting) {
            self.give_up(id, reason, why);
        }
        self.drop_requests(reason, why);
        if let Some((trigger, _, path)) = self.stopping.take() {
            let failure = self.failed_while_stopping(&path);
            self.finish(trigger, Err(failure));
        }
    }

    pub(super) fn fail_attempt(&mut self, reason: String) {
        if !self.alive {
            return;
        }
        self.alive = false;
        self.give_up_everything(FailureReason::JobFailure, &reason);
        self.actions.push(Action::FailAttempt { reason });
    }

    pub(super) fn worker_says(&mut self, message: FromWorker) {
        match message {
            FromWorker::Running {
                attempt,
                process,
                read,
            } => {
                if self.is_current(attempt) && process < self.processes {
                    if self.running.insert(process) {
                        self.statistics.restore_read(read);
                    }
                    if self.all_running() {
                        self.schedule.start(self.now_ms);
                        self.epoch_began_ms = self.now_ms;
                    }
                }
            }
            FromWorker::Announced {
                attempt,
                process,
                epoch,
            } => {
                if self.is_current(attempt) {
                    self.announced(process, epoch);
                }
            }
            FromWorker::Acknowledge {
                attempt,
                checkpoint,
                acknowledgement,
            } => {
                self.acknowledged(attempt, checkpoint, acknowledgement);
            }
            FromWorker::Decline {
                attempt,
                checkpoint,
                vertex,
                subtask,
                reason,
            } => {
                let task = self.task_name(vertex, subtask);
                self.declined(attempt, checkpoint, &format!("{task}: {reason}"));
            }
            FromWorker::SourceEnded {
                attempt,
                vertex,
                subtask,
            } => {
                if self.is_current(attempt) {
                    self.source_ended(vertex, subtask);
                }
            }
            FromWorker::Failed { .. } | FromWorker::Ended { .. } | FromWorker::Metrics { .. } => {}
        }
    }

    pub(super) fn is_current(&self, attempt: Attempt) -> bool {
        self.alive && attempt == self.attempt
    }

    fn announced(&mut self, process: u32, epoch: Epoch) {
        let Some(announcement) = &mut self.announcement else {
            return;
        };
        if announcement.confirm(process, epoch) {
            self.announcement = None;
            self.epoch = epoch + 1;
            self.epoch_began_ms = self.now_ms;
            self.send(|attempt| ToWorker::Advance { attempt, epoch });
        }
    }

    fn source_ended(&mut self, vertex: VertexIndex, subtask: u32) {
        let is_new = self.source_subtasks.contains(&(vertex, subtask))
            && self.sources_ended.insert((vertex, subtask));
        if is_new {
            self.end_if_sources_have();
        }
    }

    /// Has the job end if all of its sources have, by a last checkpoint if it takes any.
    pub(super) fn end_if_sources_have(&mut self) {
        if self.sources_ended.len() < self.source_subtasks.len() {
            return;
        }
        if self.schedule.is_periodic() && self.config.checkpoints_after_tasks_finish {
            self.last_checkpoint = LastCheckpoint::Due {
                not_before_ms: self.now_ms,
            };
        } else if self.pending.values().any(PendingCheckpoint::is_synchronous) {
            // The job stops behind this savepoint; should it fail, this is asked again.
        } else {
            self.ending = true;
            self.drop_requests(FailureReason::Suspended, "the job has reached its end");
            self.actions.push(Action::EndOfInput);
        }
    }
}
