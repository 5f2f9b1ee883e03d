//! Savepoints by the clock: operations that nobody has started but the job master itself.

use millpond_checkpoint::{Event, TakenSavepoint};
use millpond_job::dispatcher::{AfterSavepoint, OperationFailure, SavepointFormat};
use millpond_types::TriggerId;

use super::Master;

/// A savepoint that the clock has begun.
#[derive(Debug)]
pub(super) struct Scheduled {
    trigger: TriggerId,
    /// Where it will lie, as a URI.
    directory: String,
}

impl Master {
    /// Whether the clock alone decides when the next one begins.
    pub(super) fn may_take_scheduled(&self) -> bool {
        self.lifecycle.is_running() && self.scheduled.is_none()
    }

    /// Takes a savepoint if it is time.
    pub(super) fn take_scheduled(&mut self, now_ms: u64) {
        let may = self.may_take_scheduled();
        let Some(schedule) = self.savepoint_schedule.as_mut().filter(|_| may) else {
            return;
        };
        if schedule.next_ms() > now_ms {
            return;
        }
        schedule.began(now_ms);
        let directory = match self.directory_of_savepoint(None) {
            Ok(directory) => directory,
            Err(why) => return tracing::warn!("a scheduled savepoint cannot be taken: {why}"),
        };
        // On its way before anything can write the metadata: what is complete is always noted.
        if let Some(history) = &mut self.savepoint_history {
            let (file, bytes) = history.add(TakenSavepoint {
                directory: directory.clone(),
                at_ms: now_ms,
            });
            self.io.note(file, bytes);
        }
        let trigger = TriggerId(crate::random::bytes());
        self.scheduled = Some(Scheduled {
            trigger,
            directory: directory.clone(),
        });
        self.tell(Event::TriggerSavepoint {
            trigger,
            directory,
            then: AfterSavepoint::Continue,
            format: SavepointFormat::Canonical,
        });
    }

    /// Whether `trigger` is the savepoint of the schedule that is under way.
    pub(super) fn is_scheduled(&self, trigger: TriggerId) -> bool {
        let scheduled = self.scheduled.as_ref();
        scheduled.is_some_and(|scheduled| scheduled.trigger == trigger)
    }

    /// The savepoint of the schedule has ended: what it makes superfluous goes.
    pub(super) fn scheduled_ended(&mut self, result: Result<String, OperationFailure>) {
        let begun = self.scheduled.take();
        let now_ms = self.clock.now_ms();
        let directory = match result {
            Ok(directory) => directory,
            Err(failure) => {
                tracing::warn!("a scheduled savepoint has failed: {}", failure.message);
                if let Some(begun) = begun {
                    self.note_disposed(&begun.directory);
                }
                return;
            }
        };
        let Some(schedule) = &mut self.savepoint_schedule else {
            return;
        };
        schedule.taken(directory, now_ms);
        for directory in schedule.superfluous(now_ms) {
            tracing::info!("the scheduled savepoint \"{directory}\" is superfluous and deleted");
            self.io.dispose(directory);
        }
    }

    /// A savepoint is deleted, or was never completed; it may be one of the schedule.
    pub(super) fn note_disposed(&mut self, directory: &str) {
        let history = self.savepoint_history.as_mut();
        if let Some((file, bytes)) = history.and_then(|history| history.remove(directory)) {
            self.io.note(file, bytes);
        }
    }
}
