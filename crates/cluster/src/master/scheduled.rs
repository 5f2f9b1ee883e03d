//! Savepoints by the clock: operations that nobody has started but the job master itself.

use millpond_checkpoint::TakenSavepoint;
use millpond_job::dispatcher::{
    AfterSavepoint, OperationFailure, SavepointFormat, SavepointRequest,
};
use millpond_types::TriggerId;

use super::{Master, Phase};

impl Master {
    /// Whether the clock alone decides when the next one begins.
    pub(super) fn may_take_scheduled(&self) -> bool {
        matches!(self.phase, Phase::Running) && self.scheduled.is_none()
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
        let trigger = TriggerId(crate::random::bytes());
        self.scheduled = Some(trigger);
        self.on_savepoint(
            trigger,
            SavepointRequest {
                target_directory: None,
                then: AfterSavepoint::Continue,
                format: SavepointFormat::Canonical,
            },
        );
        if self.coordinator.savepoint_status(trigger).is_none() {
            // It did not come as far as the coordinator.
            self.scheduled = None;
        }
    }

    /// The savepoint of the schedule has ended: what it makes superfluous goes.
    pub(super) fn scheduled_ended(&mut self, result: Result<String, OperationFailure>) {
        self.scheduled = None;
        let now_ms = self.clock.now_ms();
        let directory = match result {
            Ok(directory) => directory,
            Err(failure) => {
                tracing::warn!("a scheduled savepoint has failed: {}", failure.message);
                return;
            }
        };
        let Some(schedule) = &mut self.savepoint_schedule else {
            return;
        };
        schedule.taken(directory.clone(), now_ms);
        if let Some(history) = &mut self.savepoint_history {
            let at_ms = now_ms;
            let (file, bytes) = history.add(TakenSavepoint { directory, at_ms });
            self.io.note(file, bytes);
        }
        for directory in schedule.superfluous(now_ms) {
            tracing::info!("the scheduled savepoint \"{directory}\" is superfluous and deleted");
            self.io.dispose(directory);
        }
    }

    /// A savepoint is deleted; it may be one of the schedule.
    pub(super) fn note_disposed(&mut self, directory: &str) {
        let history = self.savepoint_history.as_mut();
        if let Some((file, bytes)) = history.and_then(|history| history.remove(directory)) {
            self.io.note(file, bytes);
        }
    }
}
