//! What users change while jobs run. What is changed of a job holds for all its masters to come.

use millpond_job::dispatcher::DispatchError;
use millpond_job::requirements::RequirementsBody;
use millpond_job::resources::ToJobMaster;
use millpond_job::{JobReport, JobRequirements};
use millpond_types::JobId;

use super::{Connection, Manager};
use crate::job_store::StoredJob;

impl Manager {
    /// Changes the bounds of the parallelism.
    pub(super) fn require(
        &mut self,
        job: JobId,
        requirements: JobRequirements,
    ) -> Result<(), String> {
        self.change(
            job,
            |stored| stored.requirements = Some(RequirementsBody::from(&requirements)),
            |report| report.requirements = Some(requirements.clone()),
        )?;
        self.tell_if_there(job, ToJobMaster::Require(requirements));
        Ok(())
    }

    /// Changes the interval of periodic checkpoints.
    pub(super) fn set_checkpoint_interval(
        &mut self,
        job: JobId,
        interval_ms: u64,
    ) -> Result<(), String> {
        self.change(
            job,
            |stored| stored.checkpoint_interval_ms = Some(interval_ms),
            |report| report.checkpoint_config.interval_ms = Some(interval_ms),
        )?;
        self.tell_if_there(job, ToJobMaster::CheckpointInterval { interval_ms });
        Ok(())
    }

    /// Deletes a program that no job needs.
    pub(super) fn delete_program(&self, program: &str) -> Result<(), DispatchError> {
        let state = self.registry.lock();
        let running = self.jobs.iter();
        // A master may stay for a while behind the end of its job.
        let running = running.filter(|(job, known)| !known.has_reported || state.is_alive(**job));
        let user = running
            .map(|(job, known)| (job, &known.stored))
            .chain(&self.recovering)
            .find(|(_, stored)| stored.program == program);
        if let Some((job, _)) = user {
            return Err(DispatchError::Refused(format!(
                "Could not delete the program {program}: job {job} runs it, and needs it when it starts again. \
                 Stop or cancel the job first"
            )));
        }
        drop(state);
        self.programs.delete(program)
    }

    /// Notes a change, and shows it.
    fn change(
        &mut self,
        job: JobId,
        note: impl FnOnce(&mut StoredJob),
        show: impl FnOnce(&mut JobReport),
    ) -> Result<(), String> {
        let stored = match (self.jobs.get_mut(&job), self.recovering.get_mut(&job)) {
            (Some(known), _) => &mut known.stored,
            (None, Some(stored)) => stored,
            (None, None) => return Err(format!("Could not find Flink job ({job})")),
        };
        let mut noted = stored.clone();
        note(&mut noted);
        if let Some(store) = &self.store {
            store
                .put(job, &noted)
                .map_err(|error| format!("the change cannot be kept: {error}"))?;
        }
        *stored = noted;
        if let Some(report) = self.registry.lock().jobs.get_mut(&job) {
            show(report);
        }
        Ok(())
    }

    /// Without a master the next one will be told.
    fn tell_if_there(&self, job: JobId, message: ToJobMaster) {
        if let Some(known) = self.jobs.get(&job)
            && let Connection::Open(outbox) = &known.connection
        {
            outbox.send(message);
        }
    }
}
