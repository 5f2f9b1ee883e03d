//! Carries out what the coordinator wants.

use millpond_checkpoint::{Action, Event, Outcome, Released};
use millpond_job::ToWorker;
use millpond_job::dispatcher::Operation;

use super::Master;
use crate::cleaner::Deletion;

impl Master {
    /// Tells the coordinator and carries out what it wants.
    pub(super) fn tell(&mut self, event: Event) {
        let actions = self.coordinator.handle(self.clock.now_ms(), event);
        for action in actions {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Send(message) => self.processes.send(&message),
            Action::Complete(completion) => {
                self.io
                    .complete(*completion, &self.program.graph, &self.coordinator_bytes);
            }
            Action::Discard {
                directory,
                scope,
                released,
                ..
            } => self.io.delete(Deletion {
                snapshot: Some((directory, scope)),
                released,
            }),
            Action::Release(released) => self.io.delete(Deletion {
                snapshot: None,
                released,
            }),
            Action::EndClaim { directory } => self.io.delete(Deletion {
                snapshot: None,
                released: Released {
                    files: Vec::new(),
                    claims_ended: vec![directory],
                },
            }),
            Action::Finish { trigger, outcome } => {
                let mut view = self.view.lock();
                match outcome {
                    Outcome::Savepoint(result) if self.is_scheduled(trigger) => {
                        drop(view);
                        self.scheduled_ended(result);
                    }
                    Outcome::Savepoint(result) => {
                        view.savepoints
                            .insert(trigger, Operation::Completed(result));
                    }
                    Outcome::Checkpoint(result) if self.is_of_elastic(trigger) => {
                        drop(view);
                        let result = result.map(drop).map_err(|failure| failure.message);
                        self.elastic_checkpoint_ended(result);
                    }
                    Outcome::Checkpoint(result) => {
                        view.checkpoints
                            .insert(trigger, Operation::Completed(result));
                    }
                }
            }
            Action::FailAttempt { reason } => self.fail_attempt(None, reason),
            Action::CancelJob => self.cancel(),
            Action::EndOfInput => {
                self.processes.send(&ToWorker::EndOfInput {
                    attempt: self.lifecycle.attempt(),
                });
            }
        }
    }
}
