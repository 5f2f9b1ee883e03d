//! A cluster of one job: what a job executable that is run by hand offers to the REST API.

use std::collections::HashMap;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use millpond_job::dispatcher::{
    CheckpointConfig, CheckpointKind, CheckpointStatistics, ClusterOverview, DispatchError,
    Dispatcher, ExceptionEntry, JobDetails, JobOverview, Operation, OperationFailure,
    SavepointRequest, TaskManagerOverview, may_be_cancelled,
};
use millpond_job::{JobReport, JobRequirements, JobStatus};
use millpond_runtime::Program;
use millpond_types::{CheckpointId, Clock, JobId, SystemClock, TriggerId};

use crate::disposal::Disposals;
use crate::event::MasterEvent;
use crate::job_manager::JobManager;
use crate::lock::lock;
use crate::master::{self, JobResult};
use crate::options::JobOptions;
use crate::storage::Storage;
use crate::view::{State, View};

/// A job that runs, or has run, in this process.
pub struct JobHandle {
    dispatcher: Arc<LocalDispatcher>,
    thread: JoinHandle<JobResult>,
    job_manager: Option<JobManager>,
}

impl JobHandle {
    /// For the REST API.
    pub fn dispatcher(&self) -> Arc<dyn Dispatcher> {
        Arc::clone(&self.dispatcher) as Arc<dyn Dispatcher>
    }

    /// Waits for the end of the job.
    ///
    /// # Errors
    ///
    /// The job master itself has died, which is a bug; its message.
    pub fn join(self) -> Result<JobResult, String> {
        let result = self.thread.join().map_err(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            format!("the job master died: {}", text.unwrap_or_default())
        });
        if let Some(job_manager) = &self.job_manager {
            job_manager.finish(&self.dispatcher.report());
        }
        result
    }
}

/// Starts a job.
///
/// # Errors
///
/// Threads or sockets cannot be had.
pub fn start_job(program: Program, options: JobOptions) -> std::io::Result<JobHandle> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let graph = program.graph.clone();
    let view = Arc::new(View::new(
        options.job,
        options.name.clone(),
        graph,
        clock.now_ms(),
    ));
    let config = options.checkpoint_config.clone();
    let (processes, job) = (options.processes, options.job);
    let configuration = options.configuration.clone();
    let savepoint_directory = options.savepoint_directory.clone();
    let storage = Storage::default().with_copies(options.local_recovery.to_read(options.job));
    let checkpoint_directory = options.coordinator.checkpoint_directory.clone();
    let mut job_manager = match &options.cluster {
        Some(cluster) => {
            let (heartbeat, security) = (options.heartbeat, &options.security);
            let connected = JobManager::connect(&cluster.job_manager, job, heartbeat, security);
            Some(connected.map_err(|error| {
                let address = &cluster.job_manager.rpc;
                std::io::Error::new(error.kind(), format!("job manager at {address}: {error}"))
            })?)
        }
        None => None,
    };
    let storage = match &job_manager {
        Some(job_manager) => storage.fenced_by(&job_manager.term()),
        None => storage,
    };
    let slots = job_manager.as_ref().map(JobManager::slots);
    let cluster = slots.zip(options.cluster.as_ref().map(|cluster| cluster.host.clone()));
    let (events, thread) = master::start(
        program,
        options,
        Arc::clone(&view),
        clock,
        storage.clone(),
        cluster,
    )?;
    let dispatcher = Arc::new(LocalDispatcher {
        job,
        view,
        events: Mutex::new(events.clone()),
        config: Mutex::new(config),
        configuration,
        checkpoint_directory,
        savepoint_directory,
        processes,
        strangers: Mutex::default(),
        disposals: Disposals::new(storage),
    });
    if let Some(job_manager) = &mut job_manager {
        job_manager.attend(&dispatcher, events)?;
    }
    Ok(JobHandle {
        dispatcher,
        thread,
        job_manager,
    })
}

pub(crate) struct LocalDispatcher {
    job: JobId,
    view: Arc<View>,
    events: Mutex<Sender<MasterEvent>>,
    config: Mutex<CheckpointConfig>,
    configuration: Vec<(String, String)>,
    checkpoint_directory: String,
    savepoint_directory: Option<String>,
    processes: u32,
    /// Triggers for jobs that are not here: their failure is the operation's result.
    strangers: Mutex<HashMap<(JobId, TriggerId), OperationFailure>>,
    disposals: Disposals,
}

impl LocalDispatcher {
    /// Everything that is known of the job.
    pub(crate) fn report(&self) -> JobReport {
        let view = self.view.lock();
        JobReport {
            details: view.details(),
            statistics: view.statistics.clone(),
            exceptions: view.exceptions.clone(),
            savepoints: view.savepoints.clone().into_iter().collect(),
            checkpoints: view.checkpoints.clone().into_iter().collect(),
            checkpoint_directory: self.checkpoint_directory.clone(),
            savepoint_directory: self.savepoint_directory.clone(),
            requirements: view.requirements.clone(),
            checkpoint_config: lock(&self.config).clone(),
        }
    }

    fn send(&self, event: MasterEvent) {
        // The job has ended: whoever asks later sees that in the view.
        let _ = lock(&self.events).send(event);
    }

    fn is_here(&self, job: JobId) -> bool {
        job == self.job
    }

    /// Whether triggers for this job can only fail.
    fn is_gone(&self, job: JobId, view: &State) -> bool {
        !self.is_here(job) || view.status.is_globally_terminal()
    }

    fn stranger<T>(&self, job: JobId, trigger: TriggerId) -> Option<Operation<T>> {
        let failure = lock(&self.strangers).get(&(job, trigger)).cloned()?;
        Some(Operation::Completed(Err(failure)))
    }
}

impl Dispatcher for LocalDispatcher {
    fn overview(&self) -> ClusterOverview {
        let view = self.view.lock();
        let slots = view.graph.max_vertex_parallelism();
        let is = |status: JobStatus| u32::from(view.status == status);
        let running = u32::from(!view.status.is_globally_terminal());
        ClusterOverview {
            task_managers: self.processes.max(1),
            slots_total: slots,
            slots_available: slots * (1 - running),
            jobs_running: running,
            jobs_finished: is(JobStatus::Finished),
            jobs_cancelled: is(JobStatus::Canceled),
            jobs_failed: is(JobStatus::Failed),
        }
    }

    fn task_managers(&self) -> Vec<TaskManagerOverview> {
        self.overview().spread(SystemClock.now_ms())
    }

    fn jobs(&self) -> Vec<JobOverview> {
        vec![self.view.lock().overview()]
    }

    fn job(&self, job: JobId) -> Option<JobDetails> {
        self.is_here(job).then(|| self.view.lock().details())
    }

    fn cancel(&self, job: JobId) -> Result<(), DispatchError> {
        if !self.is_here(job) {
            return Err(DispatchError::UnknownJob(job));
        }
        let status = self.view.lock().status;
        if may_be_cancelled(job, status)? {
            self.send(MasterEvent::Cancel);
        }
        Ok(())
    }

    fn trigger_savepoint(
        &self,
        job: JobId,
        trigger: TriggerId,
        request: SavepointRequest,
    ) -> Result<(), DispatchError> {
        if request.target_directory.is_none() && self.savepoint_directory.is_none() {
            return Err(DispatchError::NoTargetDirectory);
        }
        let known = {
            let mut view = self.view.lock();
            if self.is_gone(job, &view) {
                lock(&self.strangers).insert((job, trigger), OperationFailure::job_not_found(job));
                return Ok(());
            }
            let known = view.savepoints.contains_key(&trigger);
            view.savepoints
                .entry(trigger)
                .or_insert(Operation::InProgress);
            known
        };
        if !known {
            self.send(MasterEvent::Savepoint { trigger, request });
        }
        Ok(())
    }

    fn savepoint_status(&self, job: JobId, trigger: TriggerId) -> Option<Operation<String>> {
        if let Some(operation) = self.stranger(job, trigger) {
            return Some(operation);
        }
        if !self.is_here(job) {
            return None;
        }
        self.view.lock().savepoints.get(&trigger).cloned()
    }

    fn trigger_checkpoint(
        &self,
        job: JobId,
        trigger: TriggerId,
        kind: CheckpointKind,
    ) -> Result<(), DispatchError> {
        let known = {
            let mut view = self.view.lock();
            if self.is_gone(job, &view) {
                lock(&self.strangers).insert((job, trigger), OperationFailure::job_not_found(job));
                return Ok(());
            }
            let known = view.checkpoints.contains_key(&trigger);
            view.checkpoints
                .entry(trigger)
                .or_insert(Operation::InProgress);
            known
        };
        if !known {
            self.send(MasterEvent::Checkpoint { trigger, kind });
        }
        Ok(())
    }

    fn checkpoint_status(&self, job: JobId, trigger: TriggerId) -> Option<Operation<CheckpointId>> {
        if let Some(operation) = self.stranger(job, trigger) {
            return Some(operation);
        }
        if !self.is_here(job) {
            return None;
        }
        self.view.lock().checkpoints.get(&trigger).cloned()
    }

    fn dispose_savepoint(&self, trigger: TriggerId, path: String) -> Result<(), DispatchError> {
        let events = lock(&self.events).clone();
        self.disposals.start(trigger, path, move |directory| {
            // The job has ended: it has no recovery points any more.
            let _ = events.send(MasterEvent::Disposed { directory });
        });
        Ok(())
    }

    fn disposal_status(&self, trigger: TriggerId) -> Option<Operation<()>> {
        self.disposals.status(trigger)
    }

    fn checkpoints(&self, job: JobId) -> Option<CheckpointStatistics> {
        self.is_here(job)
            .then(|| self.view.lock().statistics.clone())
    }

    fn checkpoint_config(&self, job: JobId) -> Option<CheckpointConfig> {
        self.is_here(job).then(|| lock(&self.config).clone())
    }

    fn set_checkpoint_interval(&self, job: JobId, interval_ms: u64) -> Result<(), DispatchError> {
        if !self.is_here(job) {
            return Err(DispatchError::UnknownJob(job));
        }
        self.report().may_change_checkpoint_interval()?;
        lock(&self.config).interval_ms = Some(interval_ms);
        self.send(MasterEvent::CheckpointInterval { interval_ms });
        Ok(())
    }

    fn requirements(&self, job: JobId) -> Result<JobRequirements, DispatchError> {
        if !self.is_here(job) {
            return Err(DispatchError::UnknownJob(job));
        }
        self.report().bounds().cloned()
    }

    fn require(&self, job: JobId, requirements: JobRequirements) -> Result<(), DispatchError> {
        if !self.is_here(job) {
            return Err(DispatchError::UnknownJob(job));
        }
        self.report().may_require(&requirements)?;
        self.send(MasterEvent::Require(requirements));
        Ok(())
    }

    fn exceptions(&self, job: JobId) -> Option<Vec<ExceptionEntry>> {
        self.is_here(job)
            .then(|| self.view.lock().exceptions.clone())
    }

    fn configuration(&self) -> Vec<(String, String)> {
        self.configuration.clone()
    }
}
