//! What the REST API sees of a cluster: kept up to date by the job manager, read by everybody.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use millpond_job::JobStatus;
use millpond_job::dispatcher::{Operation, OperationFailure, TaskManagerOverview};
use millpond_job::report::JobReport;
use millpond_types::{JobId, TriggerId};

/// How many jobs that have ended are remembered.
const MAX_ENDED_JOBS: usize = 1000;

/// From how many operations on those are forgotten that were asked of jobs which are not there.
const MANY_TRIGGERED: usize = 10_000;

/// All that is known.
#[derive(Default)]
pub(crate) struct Registry {
    state: Mutex<State>,
}

/// What changes of it.
#[derive(Default)]
pub(crate) struct State {
    /// What the master of each job has told last.
    pub(crate) jobs: BTreeMap<JobId, JobReport>,
    /// The jobs whose program runs.
    pub(crate) masters: BTreeSet<JobId>,
    /// How jobs have ended of which no master has told this job manager.
    pub(crate) ended: BTreeMap<JobId, JobStatus>,
    /// Operations that were handed on, and that the master may not have told of yet.
    triggered: BTreeSet<(JobId, TriggerId)>,
    /// One row each, by name.
    pub(crate) task_managers: BTreeMap<String, TaskManagerOverview>,
}

impl Registry {
    /// Looks at it or changes it; never held over anything slow.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ended_ms(report: &JobReport) -> Option<u64> {
    report.details.overview.end_time_ms
}

impl State {
    /// What the master of a job tells. What an earlier master of it has told of operations stays.
    pub(crate) fn put(&mut self, job: JobId, mut report: JobReport) {
        if let Some(earlier) = self.jobs.remove(&job) {
            for (trigger, operation) in earlier.savepoints {
                report.savepoints.entry(trigger).or_insert(operation);
            }
            for (trigger, operation) in earlier.checkpoints {
                report.checkpoints.entry(trigger).or_insert(operation);
            }
        }
        let has_ended = ended_ms(&report).is_some();
        self.jobs.insert(job, report);
        if has_ended {
            self.forget_the_oldest();
        }
    }

    /// Notes that an operation was asked for; whether it is a new one.
    pub(crate) fn trigger(&mut self, job: JobId, trigger: TriggerId) -> bool {
        if self.triggered.len() >= MANY_TRIGGERED {
            self.triggered.retain(|(of, _)| self.jobs.contains_key(of));
        }
        self.triggered.insert((job, trigger))
    }

    /// Of jobs that have ended the newest are remembered.
    fn forget_the_oldest(&mut self) {
        let mut all: Vec<(u64, JobId)> = self
            .jobs
            .iter()
            .filter_map(|(job, report)| Some((ended_ms(report)?, *job)))
            .collect();
        let surplus = all.len().saturating_sub(MAX_ENDED_JOBS);
        if surplus == 0 {
            return;
        }
        all.sort_unstable();
        for (_, job) in &all[..surplus] {
            self.jobs.remove(job);
            self.triggered.retain(|(of, _)| of != job);
        }
    }

    /// The master of a job is gone, and with it what it was asked to do.
    pub(crate) fn lose_operations(&mut self, job: JobId) {
        let Some(report) = self.jobs.get_mut(&job) else {
            return;
        };
        let failure = || OperationFailure {
            class: "org.apache.flink.util.FlinkException".to_owned(),
            message: format!("The master of job {job} was gone before this was done; ask again"),
        };
        // Of which kind those are that it has told nothing of is not known.
        let range = (job, TriggerId([0; 16]))..=(job, TriggerId([0xff; 16]));
        for (_, trigger) in self.triggered.range(range) {
            let is_told =
                report.savepoints.contains_key(trigger) || report.checkpoints.contains_key(trigger);
            if !is_told {
                report.savepoints.insert(*trigger, Operation::InProgress);
                report.checkpoints.insert(*trigger, Operation::InProgress);
            }
        }
        for operation in report.savepoints.values_mut() {
            if *operation == Operation::InProgress {
                *operation = Operation::Completed(Err(failure()));
            }
        }
        for operation in report.checkpoints.values_mut() {
            if *operation == Operation::InProgress {
                *operation = Operation::Completed(Err(failure()));
            }
        }
    }

    /// Whether an operation was asked for, as far as is remembered.
    pub(crate) fn was_triggered(&self, job: JobId, trigger: TriggerId) -> bool {
        self.triggered.contains(&(job, trigger))
    }

    /// Whether a job runs, or is about to.
    pub(crate) fn is_alive(&self, job: JobId) -> bool {
        let report = self.jobs.get(&job);
        report.is_some_and(|report| !report.details.overview.status.is_globally_terminal())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use millpond_job::JobStatus;
    use millpond_job::dispatcher::{CheckpointConfig, JobDetails, JobOverview};

    use super::*;

    /// Of a job that runs or has finished.
    pub(crate) fn report(n: u64, end_time_ms: Option<u64>) -> (JobId, JobReport) {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&n.to_be_bytes());
        let status = match end_time_ms {
            Some(_) => JobStatus::Finished,
            None => JobStatus::Running,
        };
        let overview = JobOverview {
            id: JobId(id),
            name: "job".to_owned(),
            status,
            is_elastic: false,
            start_time_ms: 0,
            end_time_ms,
            last_modification_ms: 0,
            tasks: BTreeMap::new(),
        };
        let report = JobReport {
            details: JobDetails {
                overview,
                timestamps: BTreeMap::new(),
                vertices: Vec::new(),
                restarts: 0,
                restored_from: None,
                parallelism: 1,
                restart_strategy: String::new(),
                counted_at_ms: None,
                places: Vec::new(),
            },
            statistics: Default::default(),
            exceptions: Vec::new(),
            savepoints: BTreeMap::new(),
            checkpoints: BTreeMap::new(),
            checkpoint_directory: "file:/c".to_owned(),
            savepoint_directory: None,
            requirements: None,
            checkpoint_config: CheckpointConfig {
                exactly_once: true,
                interval_ms: None,
                timeout_ms: 0,
                min_pause_ms: 0,
                max_concurrent: 1,
                aligned_timeout_ms: None,
                tolerable_failed: 0,
                after_tasks_finish: true,
                externalized: false,
                delete_on_cancellation: true,
                state_backend: String::new(),
                checkpoint_storage: String::new(),
            },
        };
        (JobId(id), report)
    }

    #[test]
    fn of_jobs_that_have_ended_the_newest_are_remembered_and_none_that_runs_is_forgotten() {
        let registry = Registry::default();
        let mut state = registry.lock();
        let (running, old) = report(0, None);
        state.put(running, old);
        for n in 1..=MAX_ENDED_JOBS as u64 + 5 {
            let (job, ended) = report(n, Some(n));
            state.put(job, ended);
        }
        assert_eq!(state.jobs.len(), MAX_ENDED_JOBS + 1);
        assert!(state.is_alive(running));
        assert!(!state.jobs.contains_key(&report(5, None).0));
        assert!(state.jobs.contains_key(&report(6, None).0));
    }

    #[test]
    fn operations_of_jobs_that_are_not_there_are_forgotten_when_they_are_many() {
        let registry = Registry::default();
        let mut state = registry.lock();
        let (running, there) = report(0, None);
        state.put(running, there);
        let trigger = |n: usize| TriggerId((n as u128).to_be_bytes());
        assert!(state.trigger(running, trigger(1)) && !state.trigger(running, trigger(1)));
        let nobody = report(1, None).0;
        for n in 0..3 * MANY_TRIGGERED {
            assert!(state.trigger(nobody, trigger(n)));
            assert!(state.triggered.len() <= MANY_TRIGGERED);
        }
        assert!(state.was_triggered(running, trigger(1)));
    }

    #[test]
    fn what_a_master_has_not_done_fails_with_it_and_what_it_has_done_stays() {
        let registry = Registry::default();
        let mut state = registry.lock();
        let (job, mut first) = report(1, None);
        let trigger = |n| TriggerId([n; 16]);
        let done = Operation::Completed(Ok("file:/s".to_owned()));
        first.savepoints.insert(trigger(1), done.clone());
        first.savepoints.insert(trigger(2), Operation::InProgress);
        state.triggered.insert((job, trigger(3)));
        state.put(job, first);
        state.lose_operations(job);
        state.put(job, report(1, None).1);
        let savepoints = &state.jobs[&job].savepoints;
        assert_eq!(savepoints[&trigger(1)], done);
        for lost in [2, 3] {
            let operation = &savepoints[&trigger(lost)];
            assert!(matches!(operation, Operation::Completed(Err(_))), "{lost}");
        }
    }
}
