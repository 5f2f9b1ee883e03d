//! Savepoints: of users, and by the clock.

use millpond_checkpoint::Event;
use millpond_job::dispatcher::{AfterSavepoint, SavepointFormat};
use millpond_types::TriggerId;

use crate::world::World;

impl World {
    pub(super) fn may_take_scheduled(&self, m: usize) -> bool {
        let master = &self.masters[m];
        master.lifecycle.is_running() && master.scheduled.is_none()
    }

    pub(super) fn take_scheduled(&mut self, m: usize) {
        let may = self.may_take_scheduled(m);
        let now_ms = self.now_ms;
        let Some(schedule) = self.masters[m].schedule.as_mut().filter(|_| may) else {
            return;
        };
        if schedule.next_ms() > now_ms {
            return;
        }
        schedule.began(now_ms);
        let trigger = self.new_trigger();
        self.masters[m].scheduled = Some(trigger);
        self.trigger_savepoint(m, trigger, AfterSavepoint::Continue);
    }

    pub(crate) fn new_trigger(&mut self) -> TriggerId {
        let mut trigger = [0; 16];
        trigger[..8].copy_from_slice(&self.next_trigger.to_le_bytes());
        self.next_trigger += 1;
        TriggerId(trigger)
    }

    pub(crate) fn trigger_savepoint(&mut self, m: usize, trigger: TriggerId, then: AfterSavepoint) {
        let directory = format!("file:/s/savepoint-{}", self.next_trigger);
        self.next_trigger += 1;
        self.masters[m].laws.wanted(trigger, then);
        self.tell(
            m,
            Event::TriggerSavepoint {
                trigger,
                directory,
                then,
                format: SavepointFormat::Canonical,
            },
        );
    }

    pub(super) fn scheduled_ended(&mut self, m: usize, directory: Option<String>) {
        let now_ms = self.now_ms;
        self.masters[m].scheduled = None;
        let (Some(directory), Some(schedule)) = (directory, &mut self.masters[m].schedule) else {
            return;
        };
        schedule.taken(directory, now_ms);
        for old in schedule.superfluous(now_ms) {
            self.see("a superfluous savepoint");
            self.dispose(m, &old);
        }
    }

    /// Deletes a savepoint, and tells its master.
    fn dispose(&mut self, m: usize, directory: &str) {
        if self.claims.contains_key(directory) || self.may_delete(m).is_err() {
            return;
        }
        self.note(|| format!("\"{directory}\" is disposed of"));
        self.disk.delete_metadata(directory);
        let outcome = self.disk.delete_directory(directory);
        self.law_of(outcome);
        let directory = directory.to_owned();
        self.tell(m, Event::SavepointDisposed { directory });
    }
}
