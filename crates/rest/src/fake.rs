//! A cluster for tests: an implementation of [`Dispatcher`] that holds what a test puts in.
//!
//! Operations are done after being asked for a number of times that the test chooses, so that no
//! test has to wait for a clock. A savepoint writes nothing; its path has Flink's form.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use millpond_job::dispatcher::{
    AfterSavepoint, CheckpointConfig, CheckpointKind, CheckpointStatistics, ClusterOverview,
    DispatchError, Dispatcher, ExceptionEntry, JobDetails, JobOverview, Operation,
    OperationFailure, SavepointRequest, SubtaskDetails, TaskManagerOverview, VertexDetails,
    VertexInput,
};
use millpond_job::metrics::{OperatorMetrics, SubtaskMetrics, TimeSpent};
use millpond_job::{ExecutionState, JobRequirements, JobStatus, VertexIndex};
use millpond_types::{CheckpointId, JobId, OperatorId, TriggerId};

/// What a test makes of the cluster; see the fields' setters.
#[derive(Default)]
pub struct FakeDispatcher {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    jobs: BTreeMap<JobId, FakeJob>,
    default_directory: Option<String>,
    polls: u32,
    failure: Option<OperationFailure>,
    savepoints: BTreeMap<(JobId, TriggerId), Running<String>>,
    checkpoints: BTreeMap<(JobId, TriggerId), Running<CheckpointId>>,
    disposals: BTreeMap<TriggerId, Running<()>>,
    existing: BTreeSet<String>,
    settings: Vec<(String, String)>,
    requests: Vec<SavepointRequest>,
    kinds: Vec<CheckpointKind>,
    next_checkpoint: CheckpointId,
}

struct FakeJob {
    details: JobDetails,
    statistics: CheckpointStatistics,
    config: CheckpointConfig,
    exceptions: Vec<ExceptionEntry>,
    requirements: Option<JobRequirements>,
}

/// Counters of both subtasks of a vertex after two seconds: a source is held back for half of the time,
/// other vertices are busy for three quarters. The first subtask has taken 900 of 1000 records.
fn subtasks(status: JobStatus, chain: &str, is_source: bool) -> Vec<SubtaskDetails> {
    let operators = chain.split(" -> ").count();
    let subtask = |(subtask, records): (u32, u64)| {
        let half_second_ns = 500_000_000;
        let time = match is_source {
            true => TimeSpent {
                busy_ns: half_second_ns,
                soft_back_pressured_ns: 2 * half_second_ns,
                idle_ns: half_second_ns,
                ..TimeSpent::default()
            },
            false => TimeSpent {
                busy_ns: 3 * half_second_ns,
                idle_ns: half_second_ns,
                waiting_ns: half_second_ns / 5,
                ..TimeSpent::default()
            },
        };
        let metrics = SubtaskMetrics {
            vertex: VertexIndex(u32::from(!is_source)),
            subtask,
            process: 0,
            records_in: if is_source { 0 } else { records },
            records_out: records,
            watermark: 7,
            pending_records: is_source.then_some(30),
            time,
            operators: vec![
                OperatorMetrics {
                    records_in: records,
                    records_out: records,
                    busy_ns: time.busy_ns / operators as u64,
                };
                operators
            ],
        };
        let rates = metrics.rates_since(&metrics.at_the_begin());
        SubtaskDetails {
            rates: rates.filter(|_| status == JobStatus::Running),
            metrics,
        }
    };
    [(0, 900), (1, 100)].map(subtask).into()
}

/// An operation that is done after some more questions.
struct Running<T> {
    polls_left: u32,
    result: Result<T, OperationFailure>,
}

impl<T: Clone> Running<T> {
    fn poll(&mut self) -> Operation<T> {
        match self.polls_left.checked_sub(1) {
            Some(left) => {
                self.polls_left = left;
                Operation::InProgress
            }
            None => Operation::Completed(self.result.clone()),
        }
    }
}

impl FakeDispatcher {
    /// Returns a cluster without jobs, whose operations are done at the first question.
    pub fn new() -> Self {
        FakeDispatcher::default()
    }

    /// Puts in a job of two vertices, `source` and `counter -> out`, that entered `status` at
    /// 2 seconds after its start.
    pub fn put_job(&self, id: JobId, name: &str, status: JobStatus) {
        let start_time_ms = 1_795_246_810_436;
        let ended = status.is_globally_terminal();
        let state = match status {
            JobStatus::Finished => ExecutionState::Finished,
            JobStatus::Canceled => ExecutionState::Canceled,
            JobStatus::Failed => ExecutionState::Failed,
            JobStatus::Initializing
            | JobStatus::Created
            | JobStatus::Running
            | JobStatus::Failing
            | JobStatus::Cancelling
            | JobStatus::Restarting
            | JobStatus::Suspended
            | JobStatus::Reconciling => ExecutionState::Running,
        };
        let vertex = |uid: &str, name: &str, inputs: Vec<VertexInput>| VertexDetails {
            id: OperatorId::of_uid(uid),
            name: name.to_owned(),
            operators: name.split(" -> ").map(str::to_owned).collect(),
            parallelism: 2,
            max_parallelism: 128,
            status: state,
            tasks: BTreeMap::from([(state, 2)]),
            records_in: if inputs.is_empty() { 0 } else { 1000 },
            records_out: 1000,
            pending_records: None,
            start_time_ms: Some(start_time_ms + 100),
            end_time_ms: ended.then_some(start_time_ms + 2000),
            subtasks: subtasks(status, name, inputs.is_empty()),
            inputs,
        };
        let from_source = VertexInput {
            from: OperatorId::of_uid("source"),
            ship_strategy: "HASH".to_owned(),
        };
        let overview = JobOverview {
            id,
            name: name.to_owned(),
            status,
            is_elastic: false,
            start_time_ms,
            end_time_ms: ended.then_some(start_time_ms + 2000),
            last_modification_ms: start_time_ms + 2000,
            tasks: BTreeMap::from([(state, 4)]),
        };
        let details = JobDetails {
            overview,
            timestamps: BTreeMap::from([
                (JobStatus::Initializing, start_time_ms),
                (status, start_time_ms + 2000),
            ]),
            vertices: vec![
                vertex("source", "source", Vec::new()),
                vertex("counter", "counter -> out", vec![from_source]),
            ],
            restarts: 0,
            restored_from: None,
            parallelism: 2,
            restart_strategy: "Cluster level default restart strategy".to_owned(),
            counted_at_ms: Some(start_time_ms + 2000),
            places: Vec::new(),
        };
        let config = CheckpointConfig {
            exactly_once: true,
            interval_ms: Some(2000),
            timeout_ms: 600_000,
            min_pause_ms: 0,
            max_concurrent: 1,
            aligned_timeout_ms: None,
            tolerable_failed: 0,
            after_tasks_finish: true,
            externalized: false,
            delete_on_cancellation: true,
            state_backend: "HashMapStateBackend".to_owned(),
            checkpoint_storage: "FileSystemCheckpointStorage".to_owned(),
        };
        let job = FakeJob {
            details,
            statistics: CheckpointStatistics::default(),
            config,
            exceptions: Vec::new(),
            requirements: None,
        };
        self.lock().jobs.insert(id, job);
    }

    /// Sets the directory for savepoints that name none.
    pub fn set_default_directory(&self, directory: &str) {
        self.lock().default_directory = Some(directory.to_owned());
    }

    /// Sets how often an operation that is triggered from now on is asked for in vain.
    pub fn set_polls(&self, polls: u32) {
        self.lock().polls = polls;
    }

    /// Makes every operation that is triggered from now on fail.
    pub fn fail_operations(&self, class: &str, message: &str) {
        self.lock().failure = Some(OperationFailure {
            class: class.to_owned(),
            message: message.to_owned(),
        });
    }

    /// Sets what is told about a job's checkpoints.
    ///
    /// # Panics
    ///
    /// If the job was not put in.
    pub fn set_checkpoints(&self, job: JobId, statistics: CheckpointStatistics) {
        self.lock()
            .jobs
            .get_mut(&job)
            .expect("the test put it in")
            .statistics = statistics;
    }

    /// Sets what a job's failures are, newest first.
    ///
    /// # Panics
    ///
    /// If the job was not put in.
    pub fn set_exceptions(&self, job: JobId, exceptions: Vec<ExceptionEntry>) {
        self.lock()
            .jobs
            .get_mut(&job)
            .expect("the test put it in")
            .exceptions = exceptions;
    }

    /// Puts a job into elastic mode.
    ///
    /// # Panics
    ///
    /// If the job was not put in.
    pub fn make_elastic(&self, job: JobId, requirements: JobRequirements) {
        let mut state = self.lock();
        let job = state.jobs.get_mut(&job).expect("the test put it in");
        job.details.overview.is_elastic = true;
        job.requirements = Some(requirements);
    }

    /// Sets what the cluster is configured with.
    pub fn set_configuration(&self, settings: Vec<(String, String)>) {
        self.lock().settings = settings;
    }

    /// The savepoints that were asked for, in order; a trigger id that was there before not
    /// counted.
    pub fn savepoint_requests(&self) -> Vec<SavepointRequest> {
        self.lock().requests.clone()
    }

    /// The checkpoints that were asked for, in order.
    pub fn checkpoint_requests(&self) -> Vec<CheckpointKind> {
        self.lock().kinds.clone()
    }

    /// The paths of the savepoints that were made and not disposed of.
    pub fn savepoints(&self) -> Vec<String> {
        self.lock().existing.iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn job_not_found(job: JobId) -> OperationFailure {
    OperationFailure {
        class: "org.apache.flink.runtime.messages.FlinkJobNotFoundException".to_owned(),
        message: format!("Could not find Flink job ({job})"),
    }
}

impl State {
    fn end(&mut self, job: JobId, status: JobStatus) {
        if let Some(job) = self.jobs.get_mut(&job) {
            let overview = &mut job.details.overview;
            overview.status = status;
            overview.end_time_ms = Some(overview.last_modification_ms);
        }
    }

    fn savepoint(
        &mut self,
        job: JobId,
        directory: &str,
        then: AfterSavepoint,
    ) -> Result<String, OperationFailure> {
        let running = self
            .jobs
            .get(&job)
            .is_some_and(|job| !job.details.overview.status.is_globally_terminal());
        if !running {
            return Err(job_not_found(job));
        }
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let id = job.to_string();
        let directory = directory.trim_start_matches("file://");
        let path = format!(
            "file:{directory}/savepoint-{}-{:012x}",
            &id[..6],
            self.existing.len()
        );
        self.existing.insert(path.clone());
        match then {
            AfterSavepoint::Continue => {}
            AfterSavepoint::Cancel => self.end(job, JobStatus::Canceled),
            AfterSavepoint::Stop | AfterSavepoint::Drain => self.end(job, JobStatus::Finished),
        }
        Ok(path)
    }
}

impl Dispatcher for FakeDispatcher {
    fn overview(&self) -> ClusterOverview {
        let state = self.lock();
        let count = |status: JobStatus| {
            state
                .jobs
                .values()
                .filter(|job| job.details.overview.status == status)
                .count() as u32
        };
        let ended = [JobStatus::Finished, JobStatus::Canceled, JobStatus::Failed].map(count);
        ClusterOverview {
            task_managers: 1,
            slots_total: 2,
            slots_available: 0,
            jobs_running: state.jobs.len() as u32 - ended.iter().sum::<u32>(),
            jobs_finished: ended[0],
            jobs_cancelled: ended[1],
            jobs_failed: ended[2],
        }
    }

    fn task_managers(&self) -> Vec<TaskManagerOverview> {
        self.overview().spread(0)
    }

    fn jobs(&self) -> Vec<JobOverview> {
        self.lock()
            .jobs
            .values()
            .map(|job| job.details.overview.clone())
            .collect()
    }

    fn job(&self, job: JobId) -> Option<JobDetails> {
        self.lock().jobs.get(&job).map(|job| job.details.clone())
    }

    fn cancel(&self, job: JobId) -> Result<(), DispatchError> {
        let mut state = self.lock();
        let known = state.jobs.get(&job).ok_or(DispatchError::UnknownJob(job))?;
        let status = known.details.overview.status;
        if status.is_globally_terminal() {
            return Err(DispatchError::AlreadyEnded(job, status));
        }
        state.end(job, JobStatus::Canceled);
        Ok(())
    }

    fn trigger_savepoint(
        &self,
        job: JobId,
        trigger: TriggerId,
        request: SavepointRequest,
    ) -> Result<(), DispatchError> {
        let mut state = self.lock();
        let directory = request
            .target_directory
            .clone()
            .or_else(|| state.default_directory.clone())
            .ok_or(DispatchError::NoTargetDirectory)?;
        if state.savepoints.contains_key(&(job, trigger)) {
            return Ok(());
        }
        let then = request.then;
        state.requests.push(request);
        let result = state.savepoint(job, &directory, then);
        let running = Running {
            polls_left: state.polls,
            result,
        };
        state.savepoints.insert((job, trigger), running);
        Ok(())
    }

    fn savepoint_status(&self, job: JobId, trigger: TriggerId) -> Option<Operation<String>> {
        self.lock()
            .savepoints
            .get_mut(&(job, trigger))
            .map(Running::poll)
    }

    fn trigger_checkpoint(
        &self,
        job: JobId,
        trigger: TriggerId,
        kind: CheckpointKind,
    ) -> Result<(), DispatchError> {
        let mut state = self.lock();
        if state.checkpoints.contains_key(&(job, trigger)) {
            return Ok(());
        }
        state.kinds.push(kind);
        state.next_checkpoint += 1;
        let result = match &state.failure {
            Some(failure) => Err(failure.clone()),
            None if !state.jobs.contains_key(&job) => Err(job_not_found(job)),
            None => Ok(state.next_checkpoint),
        };
        let running = Running {
            polls_left: state.polls,
            result,
        };
        state.checkpoints.insert((job, trigger), running);
        Ok(())
    }

    fn checkpoint_status(&self, job: JobId, trigger: TriggerId) -> Option<Operation<CheckpointId>> {
        self.lock()
            .checkpoints
            .get_mut(&(job, trigger))
            .map(Running::poll)
    }

    fn dispose_savepoint(&self, trigger: TriggerId, path: String) -> Result<(), DispatchError> {
        let mut state = self.lock();
        let result = if state.existing.remove(&path) {
            Ok(())
        } else {
            Err(OperationFailure {
                class: "java.io.FileNotFoundException".to_owned(),
                message: format!(
                    "Cannot find checkpoint or savepoint file/directory '{path}' on file system \
                     'file'."
                ),
            })
        };
        let running = Running {
            polls_left: state.polls,
            result,
        };
        state.disposals.insert(trigger, running);
        Ok(())
    }

    fn disposal_status(&self, trigger: TriggerId) -> Option<Operation<()>> {
        self.lock().disposals.get_mut(&trigger).map(Running::poll)
    }

    fn checkpoints(&self, job: JobId) -> Option<CheckpointStatistics> {
        self.lock().jobs.get(&job).map(|job| job.statistics.clone())
    }

    fn checkpoint_config(&self, job: JobId) -> Option<CheckpointConfig> {
        self.lock().jobs.get(&job).map(|job| job.config.clone())
    }

    fn set_checkpoint_interval(&self, job: JobId, interval_ms: u64) -> Result<(), DispatchError> {
        let mut state = self.lock();
        let known = state.jobs.get_mut(&job);
        let known = known.ok_or(DispatchError::UnknownJob(job))?;
        known.config.interval_ms = Some(interval_ms);
        Ok(())
    }

    fn requirements(&self, job: JobId) -> Result<JobRequirements, DispatchError> {
        let state = self.lock();
        let known = state.jobs.get(&job).ok_or(DispatchError::UnknownJob(job))?;
        known.requirements.clone().ok_or(DispatchError::NotElastic)
    }

    fn require(&self, job: JobId, requirements: JobRequirements) -> Result<(), DispatchError> {
        self.requirements(job)?;
        let mut state = self.lock();
        let known = state.jobs.get_mut(&job);
        let known = known.ok_or(DispatchError::UnknownJob(job))?;
        requirements
            .check(&known.details.vertices)
            .map_err(|error| DispatchError::Refused(error.to_string()))?;
        known.requirements = Some(requirements);
        Ok(())
    }

    fn exceptions(&self, job: JobId) -> Option<Vec<ExceptionEntry>> {
        self.lock().jobs.get(&job).map(|job| job.exceptions.clone())
    }

    fn configuration(&self) -> Vec<(String, String)> {
        self.lock().settings.clone()
    }
}
