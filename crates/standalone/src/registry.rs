//! What the REST API sees of a cluster: kept up to date by the job manager, read by everybody.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use millpond_job::dispatcher::TaskManagerOverview;
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
    /// Whether a job runs, or is about to.
    pub(crate) fn is_alive(&self, job: JobId) -> bool {
        let report = self.jobs.get(&job);
        report.is_some_and(|report| !report.details.overview.status.is_globally_terminal())
    }
}
