//! Slots for jobs: who gets some now, and who has waited for too long.

use std::time::Duration;

use millpond_job::JobReport;
use millpond_job::dispatcher::WorkerPlace;
use millpond_job::resources::{SlotRequest, ToJobMaster};
use millpond_types::config::{format_duration, options};

use super::Manager;
use crate::slot_pool::Want;

/// What a job would change its parallelism for while it runs.
fn want(report: &JobReport) -> Want {
    let takes_checkpoints = report.checkpoint_config.interval_ms.is_some();
    let requirements = report.requirements.as_ref();
    match requirements.filter(|_| takes_checkpoints) {
        Some(requirements) => Want {
            least: requirements.minimum(),
            most: requirements.most(),
        },
        // It stays as it is.
        None => Want::default(),
    }
}

impl Manager {
    /// Gives slots to jobs that wait for them, if there are any now.
    pub(super) fn give_slots(&mut self) {
        let place = |id: String| WorkerPlace {
            // Those of the pool are there.
            host: match self.task_managers.get(&id) {
                Some(known) => known.info.host.clone(),
                None => id.clone(),
            },
            task_manager: id,
        };
        for (job, allocation) in self.pool.grant(self.clock.now_ms()) {
            let message = ToJobMaster::Allocated {
                number: allocation.number,
                allocation: allocation.id,
                parallelism: allocation.parallelism,
                workers: allocation.workers,
                places: allocation.task_managers.into_iter().map(place).collect(),
            };
            self.tell_job_master(job, message);
        }
        let wants = |job| {
            let state = self.registry.lock();
            let report = state.jobs.get(&job);
            report.map_or_else(Want::default, want)
        };
        for (job, available) in self.offers.changed(&self.pool, wants) {
            self.tell_job_master(job, ToJobMaster::Slots { available });
        }
        self.count_slots();
    }

    pub(super) fn count_slots(&self) {
        for row in self.registry.lock().task_managers.values_mut() {
            row.free_slots = self.pool.free(&row.id);
        }
    }

    /// Tells those who have waited for too long.
    pub(super) fn give_up(&mut self) {
        let now_ms = self.clock.now_ms();
        for expired in self.pool.expire(now_ms) {
            let SlotRequest {
                number,
                minimum,
                elastic,
                ..
            } = expired.request;
            let (all, free) = self.pool.totals();
            let (option, waited) = match elastic {
                Some(wait) => (
                    options::ADAPTIVE_RESOURCE_WAIT_TIMEOUT.key(),
                    Duration::from_millis(wait.resource_wait_ms),
                ),
                None => (
                    options::SLOT_REQUEST_TIMEOUT.key(),
                    self.options.slot_timeout,
                ),
            };
            let reason = format!(
                "Could not acquire the minimum required resources: {minimum} slots are wanted, {free} of \
                 {all} in the cluster are free, and none came within {option} ({})",
                format_duration(waited)
            );
            self.tell_job_master(expired.job, ToJobMaster::NoSlots { number, reason });
        }
    }
}
