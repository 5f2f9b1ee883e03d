//! What a cluster with several jobs offers to the REST API.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use millpond_cluster::Disposals;
use millpond_job::dispatcher::{
    CheckpointConfig, CheckpointKind, CheckpointStatistics, ClusterOverview, DispatchError,
    Dispatcher, ExceptionEntry, JobDetails, JobOverview, Operation, OperationFailure,
    SavepointRequest, TaskManagerOverview, may_be_cancelled,
};
use millpond_job::programs::{ProgramInfo, Programs, RunRequest, Upload};
use millpond_job::report::JobReport;
use millpond_job::resources::ToJobMaster;
use millpond_job::{JobRequirements, JobStatus};
use millpond_types::config::{Configuration, options};
use millpond_types::{CheckpointId, JobId, TriggerId};

use crate::job_manager::{Event, Mode};
use crate::job_process::Program;
use crate::program_store::ProgramStore;
use crate::registry::{Registry, State};

/// Answers from the registry; hands everything else to the job manager.
pub(crate) struct SessionDispatcher {
    pub(crate) registry: Arc<Registry>,
    pub(crate) events: Mutex<Sender<Event>>,
    pub(crate) configuration: Configuration,
    pub(crate) programs: ProgramStore,
    pub(crate) max_program_bytes: u64,
    pub(crate) disposals: Disposals,
    pub(crate) mode: Mode,
}

impl SessionDispatcher {
    fn tell(&self, event: Event) -> bool {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.send(event).is_ok()
    }

    fn of<T>(&self, job: JobId, part: impl FnOnce(&JobReport) -> T) -> Option<T> {
        self.registry.lock().jobs.get(&job).map(part)
    }

    /// Hands an operation on, once; for a job that is not there its failure is the result.
    fn trigger(&self, job: JobId, trigger: TriggerId, message: ToJobMaster) {
        let is_new = {
            let mut state = self.registry.lock();
            state.trigger(job, trigger) && state.is_alive(job)
        };
        if is_new {
            self.tell(Event::ForJobMaster { job, message });
        }
    }

    /// What became of an operation, of which the job's master may not have told yet.
    fn status<T>(
        &self,
        job: JobId,
        trigger: TriggerId,
        find: impl FnOnce(&JobReport) -> Option<Operation<T>>,
    ) -> Option<Operation<T>> {
        let state: &State = &self.registry.lock();
        if let Some(operation) = state.jobs.get(&job).and_then(find) {
            return Some(operation);
        }
        if !state.was_triggered(job, trigger) {
            return None;
        }
        Some(match state.is_alive(job) {
            true => Operation::InProgress,
            false => Operation::Completed(Err(OperationFailure::job_not_found(job))),
        })
    }

    fn program(
        &self,
        id: &str,
        request: RunRequest,
    ) -> Result<(Program, Option<JobId>), DispatchError> {
        let mut configuration = self.configuration.clone();
        configuration.override_with(Configuration::from_pairs(request.configuration));
        let usable = configuration.check();
        let usable = match self.mode {
            Mode::Session => usable.and_then(|()| configuration.check_not_reactive()),
            Mode::Application => usable,
        };
        usable.map_err(|error| DispatchError::Refused(error.to_string()))?;
        let program = Program {
            id: id.to_owned(),
            path: self.programs.path(id)?,
            arguments: request.arguments,
            configuration,
        };
        Ok((program, request.job))
    }

    /// Has a job changed; the event carries where the answer goes.
    fn change(
        &self,
        event: impl FnOnce(Sender<Result<(), String>>) -> Event,
    ) -> Result<(), DispatchError> {
        self.ask(event)?.map_err(DispatchError::Refused)
    }

    /// What the job manager says to an event, which carries where the answer goes.
    fn ask<T>(&self, event: impl FnOnce(Sender<T>) -> Event) -> Result<T, DispatchError> {
        let (reply, answer) = channel();
        let ended = || DispatchError::Refused("The job manager ends.".to_owned());
        if !self.tell(event(reply)) {
            return Err(ended());
        }
        answer.recv().map_err(|_| ended())
    }
}

impl Dispatcher for SessionDispatcher {
    fn overview(&self) -> ClusterOverview {
        let state = self.registry.lock();
        let with = |wanted: fn(JobStatus) -> bool| {
            let statuses = state.jobs.values();
            let statuses = statuses.map(|report| report.details.overview.status);
            statuses.filter(|status| wanted(*status)).count() as u32
        };
        let sum =
            |slots: fn(&TaskManagerOverview) -> u32| state.task_managers.values().map(slots).sum();
        ClusterOverview {
            task_managers: state.task_managers.len() as u32,
            slots_total: sum(|one| one.slots),
            slots_available: sum(|one| one.free_slots),
            jobs_running: with(|status| !status.is_globally_terminal()),
            jobs_finished: with(|status| status == JobStatus::Finished),
            jobs_cancelled: with(|status| status == JobStatus::Canceled),
            jobs_failed: with(|status| status == JobStatus::Failed),
        }
    }

    fn task_managers(&self) -> Vec<TaskManagerOverview> {
        self.registry
            .lock()
            .task_managers
            .values()
            .cloned()
            .collect()
    }

    fn jobs(&self) -> Vec<JobOverview> {
        let state = self.registry.lock();
        let jobs = state.jobs.values();
        jobs.map(|report| report.details.overview.clone()).collect()
    }

    fn job(&self, job: JobId) -> Option<JobDetails> {
        self.of(job, |report| report.details.clone())
    }

    fn cancel(&self, job: JobId) -> Result<(), DispatchError> {
        let status = self.of(job, |report| report.details.overview.status);
        let status = status.ok_or(DispatchError::UnknownJob(job))?;
        if may_be_cancelled(job, status)? {
            let message = ToJobMaster::Cancel;
            self.tell(Event::ForJobMaster { job, message });
        }
        Ok(())
    }

    fn trigger_savepoint(
        &self,
        job: JobId,
        trigger: TriggerId,
        request: SavepointRequest,
    ) -> Result<(), DispatchError> {
        let has_default = self.of(job, |report| report.savepoint_directory.is_some());
        if request.target_directory.is_none() && has_default == Some(false) {
            return Err(DispatchError::NoTargetDirectory);
        }
        self.trigger(job, trigger, ToJobMaster::Savepoint { trigger, request });
        Ok(())
    }

    fn savepoint_status(&self, job: JobId, trigger: TriggerId) -> Option<Operation<String>> {
        self.status(job, trigger, |report| {
            report.savepoints.get(&trigger).cloned()
        })
    }

    fn trigger_checkpoint(
        &self,
        job: JobId,
        trigger: TriggerId,
        kind: CheckpointKind,
    ) -> Result<(), DispatchError> {
        self.trigger(job, trigger, ToJobMaster::Checkpoint { trigger, kind });
        Ok(())
    }

    fn checkpoint_status(&self, job: JobId, trigger: TriggerId) -> Option<Operation<CheckpointId>> {
        self.status(job, trigger, |report| {
            report.checkpoints.get(&trigger).cloned()
        })
    }

    fn dispose_savepoint(&self, trigger: TriggerId, path: String) -> Result<(), DispatchError> {
        let events = self
            .events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        self.disposals.start(trigger, path, move |directory| {
            // The job manager has ended: nobody is left to be told.
            let _ = events.send(Event::Disposed { directory });
        });
        Ok(())
    }

    fn disposal_status(&self, trigger: TriggerId) -> Option<Operation<()>> {
        self.disposals.status(trigger)
    }

    fn checkpoints(&self, job: JobId) -> Option<CheckpointStatistics> {
        self.of(job, |report| report.statistics.clone())
    }

    fn checkpoint_config(&self, job: JobId) -> Option<CheckpointConfig> {
        self.of(job, |report| report.checkpoint_config.clone())
    }

    fn requirements(&self, job: JobId) -> Result<JobRequirements, DispatchError> {
        self.of(job, |report| report.bounds().cloned())
            .ok_or(DispatchError::UnknownJob(job))?
    }

    fn require(&self, job: JobId, requirements: JobRequirements) -> Result<(), DispatchError> {
        self.of(job, |report| report.may_require(&requirements))
            .ok_or(DispatchError::UnknownJob(job))??;
        if self.configuration.contains(&options::SCHEDULER_MODE) {
            return Err(DispatchError::Refused(
                "Cannot change the parallelism of a job running in reactive mode.".to_owned(),
            ));
        }
        self.change(|reply| Event::Require {
            job,
            requirements,
            reply,
        })
    }

    fn set_checkpoint_interval(&self, job: JobId, interval_ms: u64) -> Result<(), DispatchError> {
        self.of(job, JobReport::may_change_checkpoint_interval)
            .ok_or(DispatchError::UnknownJob(job))??;
        self.change(|reply| Event::SetCheckpointInterval {
            job,
            interval_ms,
            reply,
        })
    }

    fn exceptions(&self, job: JobId) -> Option<Vec<ExceptionEntry>> {
        self.of(job, |report| report.exceptions.clone())
    }

    fn configuration(&self) -> Vec<(String, String)> {
        self.configuration.shown()
    }
}

impl Programs for SessionDispatcher {
    fn list(&self) -> Vec<ProgramInfo> {
        self.programs.list()
    }

    fn upload(&self, name: &str) -> Result<Box<dyn Upload>, DispatchError> {
        let upload = self.programs.upload(name).map_err(|error| {
            DispatchError::Refused(format!("Could not keep the program \"{name}\": {error}"))
        })?;
        Ok(Box::new(upload))
    }

    fn max_bytes(&self) -> u64 {
        self.max_program_bytes
    }

    fn delete(&self, id: &str) -> Result<(), DispatchError> {
        let program = id.to_owned();
        self.ask(|reply| Event::DeleteProgram { program, reply })?
    }

    fn run(&self, id: &str, request: RunRequest) -> Result<JobId, DispatchError> {
        let (program, job) = self.program(id, request)?;
        let program = Box::new(program);
        let accepted = self.ask(|reply| Event::Submit {
            program,
            job,
            reply,
        })?;
        accepted
            .map_err(|why| DispatchError::Refused(format!("Could not execute application: {why}")))
    }

    fn plan(&self, id: &str, request: RunRequest) -> Result<String, DispatchError> {
        let (program, _) = self.program(id, request)?;
        program
            .plan()
            .map_err(|why| DispatchError::Refused(format!("The program has no plan: {why}")))
    }
}
