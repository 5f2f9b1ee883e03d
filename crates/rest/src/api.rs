//! What every endpoint needs: the cluster that it asks and how REST behaves.

use std::net::SocketAddr;
use std::sync::Arc;

use millpond_job::dispatcher::{Dispatcher, JobDetails};
use millpond_job::programs::Programs;
use millpond_types::JobId;

use crate::answer::Refusal;
use crate::results::Results;
use crate::server::RestOptions;

/// What every endpoint needs.
pub(crate) struct Api {
    pub(crate) dispatcher: Arc<dyn Dispatcher>,
    /// What can be run; `None` where the only job is there already.
    pub(crate) programs: Option<Arc<dyn Programs>>,
    pub(crate) options: RestOptions,
    pub(crate) results: Arc<Results>,
    pub(crate) local_addr: SocketAddr,
}

impl Api {
    pub(crate) fn now_ms(&self) -> u64 {
        self.options.clock.now_ms()
    }

    pub(crate) fn job(&self, job: JobId) -> Result<JobDetails, Refusal> {
        self.dispatcher
            .job(job)
            .ok_or_else(|| Refusal::unknown_job(job))
    }
}
