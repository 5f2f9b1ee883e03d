//! Jobs whose master is gone: they are started again, or end.

use std::time::Duration;

use millpond_cluster::{await_master_end, job_end};
use millpond_job::dispatcher::ExceptionEntry;
use millpond_job::resources::ToTaskManager;
use millpond_job::{JobReport, JobStatus};
use millpond_types::JobId;
use millpond_types::config::{Configuration, options};

use super::{Event, Manager, Mode, RETRY};
use crate::job_process::Program;
use crate::job_recovery::{self, RecoveryError};
use crate::job_store::StoredJob;

impl Manager {
    /// Finds out what a job is to begin from, and starts it then.
    pub(super) fn recover(&mut self, job: JobId, stored: StoredJob, delay: Duration) {
        self.recovering.insert(job, stored.clone());
        let events = self.events.clone();
        let lock = self.store.as_ref().map(|store| store.lock(job));
        let patience = self.options.heartbeat.timeout;
        std::thread::spawn(move || {
            std::thread::sleep(delay);
            // First of all: an earlier master could complete one more checkpoint.
            let alone = lock.as_deref().map(|lock| await_master_end(lock, patience));
            let configuration = match (alone, lock.as_deref().and_then(job_end)) {
                (Some(Err(error)), _) => Err(RecoveryError::Unreadable(error.to_string())),
                (_, Some(status)) => Err(RecoveryError::Ended(status)),
                (_, None) => job_recovery::configuration(&stored),
            };
            // The job manager has ended.
            let _ = events.send(Event::Recovered { job, configuration });
        });
    }

    pub(super) fn recovered(
        &mut self,
        job: JobId,
        configuration: Result<Configuration, RecoveryError>,
    ) {
        // It may have been cancelled meanwhile.
        let Some(stored) = self.recovering.remove(&job) else {
            return;
        };
        let mut configuration = match configuration {
            Ok(configuration) => configuration,
            Err(RecoveryError::Unreadable(why)) => {
                tracing::warn!("job {job} cannot be started again now: {why}");
                self.recover(job, stored, RETRY);
                return;
            }
            Err(RecoveryError::Ended(status)) => {
                self.end_without_master(job, status, None);
                return;
            }
            Err(RecoveryError::Damaged(why)) => {
                self.end_without_master(job, JobStatus::Failed, Some(why));
                return;
            }
        };
        job_recovery::come_to(&self.options.configuration, &mut configuration);
        configuration.set(options::FIXED_JOB_ID.key(), job.to_string());
        if let Some(requirements) = &stored.requirements {
            let text = serde_json::to_string(requirements).expect("its keys are texts");
            configuration.set(options::RESOURCE_REQUIREMENTS.key(), text);
        }
        match self.programs.path(&stored.program) {
            Ok(path) => {
                let program = Program {
                    id: stored.program.clone(),
                    path,
                    arguments: stored.arguments.clone(),
                    configuration,
                };
                let mut stored = stored;
                stored.earlier_masters += 1;
                match self.store.as_ref().map(|store| store.put(job, &stored)) {
                    Some(Err(error)) => {
                        tracing::warn!("job {job} cannot be started again now: {error}");
                        self.recover(job, stored, RETRY);
                    }
                    Some(Ok(())) | None => self.start_master(job, stored, program, None),
                }
            }
            Err(error) if self.programs.is_gone(&stored.program) => {
                self.end_without_master(job, JobStatus::Failed, Some(error.to_string()));
            }
            Err(error) => {
                tracing::warn!("job {job} cannot be started again now: {error}");
                self.recover(job, stored, RETRY);
            }
        }
    }

    /// A job that has no master ends.
    pub(super) fn end_without_master(
        &mut self,
        job: JobId,
        status: JobStatus,
        why: Option<String>,
    ) {
        self.recovering.remove(&job);
        self.forget(job, Some(status));
        if let Some(why) = &why {
            tracing::error!("job {job} has failed: {why}");
        }
        let now_ms = self.clock.now_ms();
        let mut state = self.registry.lock();
        match state.jobs.get_mut(&job) {
            Some(report) => enter(report, status, why, now_ms),
            None => {
                state.ended.insert(job, status);
            }
        }
    }

    /// Nobody is to go on with a job; it has ended so, if its program got as far as it.
    pub(super) fn forget(&mut self, job: JobId, end: Option<JobStatus>) {
        self.deaths.remove(&job);
        self.kill_workers(job);
        for task_manager in self.task_managers.values() {
            task_manager.outbox.send(ToTaskManager::JobEnded(job));
        }
        let Some(store) = &self.store else {
            return;
        };
        let noted = match end.filter(|_| self.options.mode == Mode::Application) {
            Some(end) => store.note_end(job, end),
            None => Ok(()),
        };
        if let Err(error) = noted.and_then(|()| store.remove(job)) {
            tracing::error!(
                "job {job} has ended and will be run again, as it stays noted: {error}"
            );
        }
    }
}

/// The master can tell no more.
pub(super) fn enter(report: &mut JobReport, status: JobStatus, why: Option<String>, now_ms: u64) {
    let overview = &mut report.details.overview;
    overview.status = status;
    overview.end_time_ms = status.is_globally_terminal().then_some(now_ms);
    overview.last_modification_ms = now_ms;
    report.details.timestamps.insert(status, now_ms);
    if let Some(message) = why {
        let entry = ExceptionEntry {
            timestamp_ms: now_ms,
            task: None,
            message,
        };
        report.exceptions.insert(0, entry);
    }
}
