//! What the coordinator wants done.

use millpond_checkpoint::{
    Action, Completion, DiscardReason, Event, JobFacts, Outcome, Released, Scope, assemble,
};
use millpond_job::gateway::ToWorker;

use crate::bug::Bug;
use crate::world::World;

impl World {
    /// Tells the coordinator and carries out what it wants.
    pub(crate) fn tell(&mut self, m: usize, event: Event) {
        let written = match &event {
            Event::MetadataWritten {
                checkpoint,
                result: Ok(()),
            } => Some(*checkpoint),
            _ => None,
        };
        let was_over = self.masters[m].laws.is_over();
        let actions = self.masters[m].coordinator.handle(self.now_ms, event);
        if let Some(checkpoint) = written {
            self.laws_of_written(m, checkpoint, &actions);
        }
        for action in actions {
            if let Action::Send(message) = &action {
                // What one of these actions ends is sent what follows; it does not listen any more.
                self.law(!was_over, || {
                    format!("master {m} sends to an attempt that is over: {message:?}")
                });
            }
            self.act(m, action);
        }
        if written.is_some() {
            self.check_store(m);
        }
    }

    fn act(&mut self, m: usize, action: Action) {
        self.laws_of_action(m, &action);
        match action {
            Action::Send(message) => {
                self.note(|| format!("master {m} sends {message:?}"));
                self.send(m, &message);
            }
            Action::Complete(completion) => self.complete(m, &completion),
            Action::Discard {
                directory,
                scope,
                released,
                reason,
                checkpoint,
            } => {
                self.note(|| format!("master {m} discards {checkpoint} ({reason:?}, {scope:?})"));
                if reason == DiscardReason::Subsumed && scope == Scope::Named {
                    self.see("a directory that outlives its checkpoint");
                }
                self.delete(m, Some((directory, scope)), released);
            }
            Action::Release(released) => {
                self.see("a file that a checkpoint in progress held");
                self.delete(m, None, released);
            }
            Action::EndClaim { directory } => {
                let claims_ended = vec![directory];
                let files = Vec::new();
                self.delete(
                    m,
                    None,
                    Released {
                        files,
                        claims_ended,
                    },
                );
            }
            Action::Finish { trigger, outcome } => {
                self.note(|| format!("master {m} answers {outcome:?}"));
                let elastic = self.masters[m].elastic.as_mut();
                if let Some(elastic) = elastic.filter(|elastic| elastic.is_taking(trigger)) {
                    elastic.taken(matches!(&outcome, Outcome::Checkpoint(Ok(_))));
                }
                if self.masters[m].scheduled == Some(trigger) {
                    let directory = match outcome {
                        Outcome::Savepoint(result) => result.ok(),
                        Outcome::Checkpoint(_) => None,
                    };
                    self.scheduled_ended(m, directory);
                }
            }
            Action::FailAttempt { reason } => self.fail_attempt(m, &reason),
            Action::CancelJob => {
                self.see("a cancellation with savepoint");
                self.cancel(m);
            }
            Action::EndOfInput => {
                let attempt = self.masters[m].lifecycle.attempt();
                self.send(m, &ToWorker::EndOfInput { attempt });
            }
        }
    }

    fn complete(&mut self, m: usize, completion: &Completion) {
        let facts = JobFacts {
            job: self.setting.config.job,
            name: "job",
            millpond_version: "0",
        };
        let metadata = match assemble(completion, &self.masters[m].graph, facts) {
            Ok(metadata) => metadata,
            Err(error) => return self.law(false, || error.to_string()),
        };
        let options = &completion.options;
        if self.bug == Some(Bug::EarlyCommit) && options.stop.is_none() && !options.is_savepoint {
            let message = ToWorker::NotifyComplete {
                attempt: completion.attempt,
                checkpoint: options.id,
            };
            self.send(m, &message);
        }
        let directory = options.directory.clone();
        let is_savepoint = options.is_savepoint;
        let is_idle = self.masters[m].writing.is_empty();
        self.masters[m]
            .writing
            .push_back((options.id, directory, is_savepoint, metadata));
        if is_idle {
            self.writer_goes_on(m);
        }
    }
}
