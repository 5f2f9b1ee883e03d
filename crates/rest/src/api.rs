//! What every endpoint needs: the cluster that it asks and how REST behaves.

use std::net::SocketAddr;
use std::sync::Arc;

use millpond_job::dispatcher::{Dispatcher, JobDetails, VertexDetails};
use millpond_job::programs::Programs;
use millpond_types::{JobId, OperatorId};

use crate::answer::Refusal;
use crate::request::PathIds;
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

    /// The vertex that a path names.
    pub(crate) fn vertex(&self, ids: &PathIds) -> Result<VertexDetails, Refusal> {
        let job = self.job(ids.job()?)?;
        Api::vertex_of(&job, ids.vertex()?).cloned()
    }

    /// A vertex of a job.
    pub(crate) fn vertex_of(job: &JobDetails, id: OperatorId) -> Result<&VertexDetails, Refusal> {
        let found = job.vertices.iter().find(|vertex| vertex.id == id);
        found.ok_or_else(|| Refusal::not_found(format!("JobVertex {id} not found")))
    }
}
