//! Acknowledging and completing, up to the moment of truth and what follows from it.

use millpond_job::SubtaskAcknowledgement;
use millpond_job::dispatcher::AfterSavepoint;
use millpond_job::gateway::{Attempt, ToWorker};
use millpond_types::CheckpointId;

use super::Coordinator;
use crate::action::{Action, Completion, DiscardReason};
use crate::completed::CompletedSnapshot;
use crate::failure::FailureReason;
use crate::pending::{Origin, PendingCheckpoint, Phase, files_of};
use crate::shared_registry::{Released, SnapshotFiles};
use crate::snapshot_files::file_of;

impl Coordinator {
    pub(super) fn acknowledged(
        &mut self,
        attempt: Attempt,
        id: CheckpointId,
        part: SubtaskAcknowledgement,
    ) {
        let now_ms = self.now_ms;
        let pending = self
            .pending
            .get_mut(&id)
            .filter(|pending| pending.attempt == attempt);
        let Some(pending) = pending.filter(|pending| pending.phase == Phase::Collecting) else {
            self.answered_late(id, Some(&part));
            return;
        };
        // A part that is not new must not be counted twice.
        if !pending.is_missing(&part) {
            return;
        }
        let mut reused_bytes = 0;
        let directory = &pending.options.directory;
        for operator in &part.operators {
            operator.state.streams(&mut |stream| {
                let file = file_of(stream, directory);
                if file.is_some_and(|file| self.registry.is_known(&file)) {
                    reused_bytes += stream.size();
                }
            });
        }
        self.statistics
            .acknowledged(id, &part, reused_bytes, now_ms);
        if pending.acknowledge(part) {
            pending.phase = Phase::Finalizing;
            let completion = Completion {
                attempt,
                options: pending.options.clone(),
                acknowledgements: pending.take_acknowledgements(),
                started_from: self.started_from.clone(),
            };
            self.actions.push(Action::Complete(Box::new(completion)));
        }
    }

    pub(super) fn declined(&mut self, attempt: Attempt, id: CheckpointId, why: &str) {
        if !self.pending.contains_key(&id) {
            self.answered_late(id, None);
        } else if self.is_current(attempt) {
            self.give_up(id, FailureReason::Declined, why);
        }
    }

    /// A subtask may have written files for a checkpoint that has been given up: they go too.
    fn answered_late(&mut self, id: CheckpointId, part: Option<&SubtaskAcknowledgement>) {
        if let Some((_, directory)) = self.aborted.iter().find(|(aborted, _)| *aborted == id) {
            let directory = directory.clone();
            let files = part.map(|part| files_of(part, &directory));
            let files = files.unwrap_or_default();
            self.discard_parts(id, directory, &files, DiscardReason::Late);
        }
    }

    pub(super) fn metadata_written(&mut self, id: CheckpointId, result: Result<(), String>) {
        let Some(pending) = self.pending.get(&id) else {
            return;
        };
        match (pending.phase, result) {
            // No answer was asked for.
            (Phase::Collecting, _) => {}
            (Phase::Finalizing, Ok(())) => self.complete(id),
            (Phase::Finalizing, Err(why)) => self.fail(id, FailureReason::Finalize, &why),
            (Phase::Abandoned, _) => {
                // Its failure was told when it was abandoned.
                if let Some(pending) = self.pending.remove(&id) {
                    let directory = pending.options.directory;
                    self.remember_aborted(id, directory.clone());
                    self.discard_parts(id, directory, &pending.files, DiscardReason::Aborted);
                }
            }
        }
    }

    fn complete(&mut self, id: CheckpointId) {
        let is_savepoint = self
            .pending
            .get(&id)
            .is_some_and(|p| p.options.is_savepoint);
        if !is_savepoint
            && self
                .completed
                .newest_checkpoint()
                .is_some_and(|newest| newest > id)
        {
            self.fail(
                id,
                FailureReason::Subsumed,
                "a newer checkpoint was complete first",
            );
            return;
        }
        let Some(mut pending) = self.pending.remove(&id) else {
            return;
        };
        let directory = pending.options.directory.clone();
        if !is_savepoint {
            let files = SnapshotFiles {
                directory: directory.clone(),
                claimed: false,
                files: std::mem::take(&mut pending.files),
            };
            self.registry.add(id, files);
            // Tasks hear of its completion before they hear of a checkpoint that builds on it.
            self.base = Some(id);
        }
        let released = self.registry.end_lease(id);
        self.statistics.completed(id, &directory, self.now_ms);
        self.schedule.ended(self.now_ms);
        self.failures.succeeded(id);
        let snapshot = CompletedSnapshot {
            checkpoint: id,
            directory: directory.clone(),
            is_savepoint,
            state_bytes: pending.state_bytes,
            pending_transactions: pending.pending_transactions,
        };
        if !is_savepoint || pending.is_synchronous() {
            self.give_up_older_checkpoints(id);
            self.notify_complete(id, &pending);
        }
        if is_savepoint {
            self.completed.add_savepoint(snapshot);
        } else {
            for (old, reason) in self.completed.add_checkpoint(snapshot) {
                self.discard(old.checkpoint, old.directory, reason);
            }
        }
        if released != Released::default() {
            self.actions.push(Action::Release(released));
        }
        self.completed_for_its_origin(id, &pending, directory);
    }

    /// Checkpoints in progress that are older than a complete one are of no use any more.
    fn give_up_older_checkpoints(&mut self, id: CheckpointId) {
        let older = self.pending.range(..id).filter(|(_, pending)| {
            pending.phase == Phase::Collecting && !pending.options.is_savepoint
        });
        let older: Vec<CheckpointId> = older.map(|(older, _)| *older).collect();
        for older in older {
            self.give_up(
                older,
                FailureReason::Subsumed,
                &format!("checkpoint {id} is complete"),
            );
        }
    }

    fn notify_complete(&mut self, id: CheckpointId, pending: &PendingCheckpoint) {
        if !self.is_current(pending.attempt) {
            return;
        }
        self.send(|attempt| ToWorker::NotifyComplete {
            attempt,
            checkpoint: id,
        });
        if pending.pending_transactions {
            self.newest_committed = self.newest_committed.max(Some(id));
        }
    }

    fn completed_for_its_origin(
        &mut self,
        id: CheckpointId,
        pending: &PendingCheckpoint,
        path: String,
    ) {
        let goes_on = self.is_current(pending.attempt);
        match pending.origin {
            Origin::Periodic => {}
            Origin::EndOfInput => self.ending = true,
            Origin::Manual(trigger) | Origin::Savepoint(trigger, AfterSavepoint::Continue) => {
                self.finish(trigger, Ok((id, path)));
            }
            Origin::Savepoint(trigger, AfterSavepoint::Cancel) => {
                self.finish(trigger, Ok((id, path)));
                if !self.ended && !self.ending {
                    self.ending = true;
                    self.actions.push(Action::CancelJob);
                }
            }
            Origin::Savepoint(trigger, AfterSavepoint::Stop | AfterSavepoint::Drain) => {
                if goes_on {
                    self.ending = true;
                    self.stopping = Some((trigger, id, path));
                } else {
                    let failure = self.failed_while_stopping(&path);
                    self.finish(trigger, Err(failure));
                }
            }
        }
        if self.ending {
            self.drop_requests(FailureReason::Suspended, "the job ends");
        }
    }
}
