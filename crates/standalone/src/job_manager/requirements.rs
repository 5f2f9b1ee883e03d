//! Other bounds for the parallelism of a job in elastic mode.

use millpond_job::JobRequirements;
use millpond_job::requirements::RequirementsBody;
use millpond_job::resources::ToJobMaster;
use millpond_types::JobId;

use super::{Connection, Manager};
use crate::job_store::StoredJob;

impl Manager {
    /// Notes the bounds, so that they hold for all masters of the job to come, and tells its master.
    pub(super) fn require(
        &mut self,
        job: JobId,
        requirements: JobRequirements,
    ) -> Result<(), String> {
        let stored = match (self.jobs.get_mut(&job), self.recovering.get_mut(&job)) {
            (Some(known), _) => &mut known.stored,
            (None, Some(stored)) => stored,
            (None, None) => return Err(format!("Could not find Flink job ({job})")),
        };
        let noted = StoredJob {
            requirements: Some(RequirementsBody::from(&requirements)),
            ..stored.clone()
        };
        if let Some(store) = &self.store {
            store
                .put(job, &noted)
                .map_err(|error| format!("the requirements cannot be kept: {error}"))?;
        }
        *stored = noted;
        if let Some(report) = self.registry.lock().jobs.get_mut(&job) {
            report.requirements = Some(requirements.clone());
        }
        // Without a master the next one will be told.
        if let Some(known) = self.jobs.get(&job)
            && let Connection::Open(outbox) = &known.connection
        {
            outbox.send(ToJobMaster::Require(requirements));
        }
        Ok(())
    }
}
