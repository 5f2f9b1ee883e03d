//! What the REST API sees of a cluster: kept up to date by the job manager, read by everybody.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use millpond_job::dispatcher::{Operation, OperationFailure, TaskManagerOverview};
use millpond_job::report::JobReport;
use millpond_types::{JobId, TriggerId};

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
    /// Operations that were handed on, and that the master may not have told of yet.
    pub(crate) triggered: BTreeSet<(JobId, TriggerId)>,
    /// One row each, by name.
    pub(crate) task_managers: BTreeMap<String, TaskManagerOverview>,
}

impl Registry {
    /// Looks at it or changes it; never held over anything slow.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
        self.jobs.insert(job, report);
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

    /// Whether a job runs, or is about to.
    pub(crate) fn is_alive(&self, job: JobId) -> bool {
        let report = self.jobs.get(&job);
        report.is_some_and(|report| !report.details.overview.status.is_globally_terminal())
    }
}
