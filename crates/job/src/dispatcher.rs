//! What the REST API may ask of a running cluster, and the answers as data.
//!
//! Every call returns at once. Operations that take time are started under a [`TriggerId`] and
//! asked for later, as in Flink's REST API: the same id twice starts one operation.

use std::collections::BTreeMap;
use std::fmt;

pub use millpond_snapshot::StateRead;
use millpond_types::{CheckpointId, JobId, OperatorId, TriggerId};
use serde::{Deserialize, Serialize};

use crate::metrics::{SubtaskMetrics, SubtaskRates};
use crate::requirements::JobRequirements;
use crate::status::{ExecutionState, JobStatus};

/// A running cluster, as seen from outside.
pub trait Dispatcher: Send + Sync {
    /// Slots and numbers of jobs.
    fn overview(&self) -> ClusterOverview;

    /// Every task manager: the worker processes of a job that runs by itself, or the task managers of
    /// a cluster.
    fn task_managers(&self) -> Vec<TaskManagerOverview>;

    /// Every job, running or ended.
    fn jobs(&self) -> Vec<JobOverview>;

    /// One job with its vertices; `None` if it is not known.
    fn job(&self, job: JobId) -> Option<JobDetails>;

    /// Cancels a job.
    ///
    /// # Errors
    ///
    /// The job is not known, or has already ended by itself.
    fn cancel(&self, job: JobId) -> Result<(), DispatchError>;

    /// Starts a savepoint, possibly followed by a stop or a cancellation.
    ///
    /// A job that is unknown or has ended is no error here: the failure is the operation's result.
    ///
    /// # Errors
    ///
    /// Neither a target directory nor a default one.
    fn trigger_savepoint(
        &self,
        job: JobId,
        trigger: TriggerId,
        request: SavepointRequest,
    ) -> Result<(), DispatchError>;

    /// The state of a savepoint; `None` if no such trigger is known for this job.
    fn savepoint_status(&self, job: JobId, trigger: TriggerId) -> Option<Operation<String>>;

    /// Starts a checkpoint.
    ///
    /// # Errors
    ///
    /// None at present; a failure is the operation's result.
    fn trigger_checkpoint(
        &self,
        job: JobId,
        trigger: TriggerId,
        kind: CheckpointKind,
    ) -> Result<(), DispatchError>;

    /// The state of a checkpoint; `None` if no such trigger is known for this job.
    fn checkpoint_status(&self, job: JobId, trigger: TriggerId) -> Option<Operation<CheckpointId>>;

    /// Starts the removal of a savepoint.
    ///
    /// # Errors
    ///
    /// None at present; a failure is the operation's result.
    fn dispose_savepoint(&self, trigger: TriggerId, path: String) -> Result<(), DispatchError>;

    /// The state of a removal; `None` if no such trigger is known.
    fn disposal_status(&self, trigger: TriggerId) -> Option<Operation<()>>;

    /// Counts, sizes, durations and history of a job's checkpoints; `None` if the job is unknown.
    fn checkpoints(&self, job: JobId) -> Option<CheckpointStatistics>;

    /// How a job's checkpoints are configured; `None` if the job is unknown.
    fn checkpoint_config(&self, job: JobId) -> Option<CheckpointConfig>;

    /// Changes the interval of a job's periodic checkpoints, in milliseconds; at least 1. The next one is due an
    /// interval from now.
    ///
    /// # Errors
    ///
    /// The job is not known, has ended, or has no periodic checkpoints.
    fn set_checkpoint_interval(&self, job: JobId, interval_ms: u64) -> Result<(), DispatchError>;

    /// Between which bounds the parallelism of a job may be.
    ///
    /// # Errors
    ///
    /// The job is not known, or not in elastic mode.
    fn requirements(&self, job: JobId) -> Result<JobRequirements, DispatchError>;

    /// Changes these bounds; the job follows while it runs.
    ///
    /// # Errors
    ///
    /// The job is not known, has ended, or is not in elastic mode; it cannot have such bounds.
    fn require(&self, job: JobId, requirements: JobRequirements) -> Result<(), DispatchError>;

    /// What made a job fail, newest first; `None` if the job is unknown.
    fn exceptions(&self, job: JobId) -> Option<Vec<ExceptionEntry>>;

    /// The options that the cluster runs with, as configured, secrets hidden.
    fn configuration(&self) -> Vec<(String, String)>;
}

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DispatchError {
    /// No such job.
    UnknownJob(JobId),
    /// The job has ended in this state and can no longer be cancelled.
    AlreadyEnded(JobId, JobStatus),
    /// Neither a target directory nor a configured default one.
    NoTargetDirectory,
    /// The request cannot be carried out; the text says why.
    Refused(String),
    /// No such program was uploaded.
    UnknownProgram(String),
    /// The job is not in elastic mode.
    NotElastic,
}

impl fmt::Display for DispatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DispatchError::UnknownJob(job) => write!(f, "Job {job} not found"),
            DispatchError::AlreadyEnded(job, status) => {
                write!(
                    f,
                    "Job cancellation failed because job {job} has already reached another terminal state ({status})."
                )
            }
            DispatchError::NoTargetDirectory => f.write_str(
                "Config key [execution.checkpointing.savepoint-dir] is not set. \
                 Property [target-directory] must be provided.",
            ),
            DispatchError::Refused(why) => f.write_str(why),
            DispatchError::UnknownProgram(id) => write!(f, "Program {id} does not exist"),
            DispatchError::NotElastic => f.write_str(
                "The DefaultScheduler does not support changing the parallelism without a job restart. \
                 This feature is currently only expected to work with the AdaptiveScheduler.",
            ),
        }
    }
}

impl std::error::Error for DispatchError {}

/// An asynchronous operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation<T> {
    /// Not yet done.
    InProgress,
    /// Done.
    Completed(Result<T, OperationFailure>),
}

/// Why an asynchronous operation failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationFailure {
    /// Flink's exception class, which its client shows.
    pub class: String,
    /// For people.
    pub message: String,
}

impl OperationFailure {
    /// The job is not known, or has ended.
    pub fn job_not_found(job: JobId) -> Self {
        OperationFailure {
            class: "org.apache.flink.runtime.messages.FlinkJobNotFoundException".to_owned(),
            message: format!("Could not find Flink job ({job})"),
        }
    }
}

/// Whether a job in this state is to be told that it is cancelled; false if it is cancelled already.
///
/// # Errors
///
/// It has ended by itself.
pub fn may_be_cancelled(job: JobId, status: JobStatus) -> Result<bool, DispatchError> {
    match status {
        JobStatus::Finished | JobStatus::Failed => Err(DispatchError::AlreadyEnded(job, status)),
        JobStatus::Canceled => Ok(false),
        JobStatus::Initializing
        | JobStatus::Created
        | JobStatus::Running
        | JobStatus::Failing
        | JobStatus::Cancelling
        | JobStatus::Restarting
        | JobStatus::Suspended
        | JobStatus::Reconciling => Ok(true),
    }
}

/// A savepoint that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavepointRequest {
    /// The directory below which it is made; `None` is the configured default.
    pub target_directory: Option<String>,
    /// What happens behind it.
    pub then: AfterSavepoint,
    /// Its format.
    pub format: SavepointFormat,
}

/// What happens behind a savepoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AfterSavepoint {
    /// The job goes on.
    Continue,
    /// The job is cancelled; if the savepoint fails it goes on.
    Cancel,
    /// The job is stopped without maximum watermark and ends FINISHED.
    Stop,
    /// The job is stopped after the maximum watermark and ends FINISHED.
    Drain,
}

/// The format of keyed state in a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SavepointFormat {
    /// One format for all state backends.
    Canonical,
    /// The state backend's own.
    Native,
}

/// What kind of checkpoint was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CheckpointKind {
    /// As the job is configured.
    Configured,
    /// Independent of earlier ones.
    Full,
    /// On top of earlier ones.
    Incremental,
}

/// Slots and numbers of jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterOverview {
    /// Worker processes.
    pub task_managers: u32,
    /// Workers in them.
    pub slots_total: u32,
    /// Workers without a task.
    pub slots_available: u32,
    /// Jobs that have not ended.
    pub jobs_running: u32,
    /// Jobs by how they ended.
    pub jobs_finished: u32,
    /// Cancelled jobs.
    pub jobs_cancelled: u32,
    /// Failed jobs.
    pub jobs_failed: u32,
}

/// One task manager in a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskManagerOverview {
    /// Its name.
    pub id: String,
    /// Where it is, for people.
    pub path: String,
    /// Its slots.
    pub slots: u32,
    /// Those of them that nobody uses.
    pub free_slots: u32,
    /// When it was last heard of, in milliseconds since 1970.
    pub last_heartbeat_ms: u64,
}

impl ClusterOverview {
    /// One row for each worker process, slots spread evenly, all heard of at `now_ms`.
    pub fn spread(&self, now_ms: u64) -> Vec<TaskManagerOverview> {
        let count = self.task_managers;
        let share = |total: u32, index: u32| total / count + u32::from(index < total % count);
        let row = |index: u32| {
            let slots = share(self.slots_total, index);
            TaskManagerOverview {
                id: format!("worker-{index}"),
                path: format!("millpond://worker-{index}"),
                slots,
                free_slots: share(self.slots_available, index).min(slots),
                last_heartbeat_ms: now_ms,
            }
        };
        (0..count).map(row).collect()
    }
}

/// One job in a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobOverview {
    /// Its id.
    pub id: JobId,
    /// Its name.
    pub name: String,
    /// Its state.
    pub status: JobStatus,
    /// Whether its parallelism follows the slots that there are.
    pub is_elastic: bool,
    /// Milliseconds since 1970.
    pub start_time_ms: u64,
    /// Milliseconds since 1970; `None` while it runs.
    pub end_time_ms: Option<u64>,
    /// Milliseconds since 1970 of the last change of its state.
    pub last_modification_ms: u64,
    /// Subtasks by state.
    pub tasks: BTreeMap<ExecutionState, u32>,
}

/// One job with its vertices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobDetails {
    /// The line.
    pub overview: JobOverview,
    /// When each state was last entered, in milliseconds since 1970.
    pub timestamps: BTreeMap<JobStatus, u64>,
    /// The vertices in topological order.
    pub vertices: Vec<VertexDetails>,
    /// How often the job was restarted.
    pub restarts: u32,
    /// The snapshot that the current attempt was restored from, as a URI.
    pub restored_from: Option<String>,
    /// Parallelism of the job as a whole.
    pub parallelism: u32,
    /// The restart strategy in words.
    pub restart_strategy: String,
    /// Milliseconds since 1970 at which counters of subtasks last came; `None` before the first.
    pub counted_at_ms: Option<u64>,
    /// Where each worker process runs, or has run; none if the job has started these by itself.
    pub places: Vec<WorkerPlace>,
}

/// Where a worker process runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerPlace {
    /// The id of the task manager.
    pub task_manager: String,
    /// Its host.
    pub host: String,
}

/// One vertex of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VertexDetails {
    /// The id of the chain's head.
    pub id: OperatorId,
    /// The operators' names, joined by ` -> `.
    pub name: String,
    /// The names one by one, in the order of the chain.
    pub operators: Vec<String>,
    /// Number of subtasks.
    pub parallelism: u32,
    /// Number of key groups.
    pub max_parallelism: u32,
    /// Its state: the lowest of its subtasks'.
    pub status: ExecutionState,
    /// Subtasks by state.
    pub tasks: BTreeMap<ExecutionState, u32>,
    /// Records taken by all subtasks.
    pub records_in: u64,
    /// Records given by all subtasks.
    pub records_out: u64,
    /// Records that its sources could emit and have not (Flink's `pendingRecords`); `None` until
    /// every subtask has told.
    pub pending_records: Option<u64>,
    /// Milliseconds since 1970 at which it began to run.
    pub start_time_ms: Option<u64>,
    /// Milliseconds since 1970 at which it ended.
    pub end_time_ms: Option<u64>,
    /// Where its records come from.
    pub inputs: Vec<VertexInput>,
    /// Counters of the subtasks that have told any, ascending.
    pub subtasks: Vec<SubtaskDetails>,
}

/// Counters of one subtask.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubtaskDetails {
    /// Since the attempt began.
    pub metrics: SubtaskMetrics,
    /// Per second over the last 5 seconds, or what there is of them. `None` unless the job is RUNNING.
    pub rates: Option<SubtaskRates>,
}

/// One input of a vertex.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VertexInput {
    /// The id of the sending vertex.
    pub from: OperatorId,
    /// `HASH`, `FORWARD`, `REBALANCE`, ...
    pub ship_strategy: String,
}

/// How a job's checkpoints are configured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointConfig {
    /// Whether records are held during alignment.
    pub exactly_once: bool,
    /// Milliseconds between triggers; `None` is off.
    pub interval_ms: Option<u64>,
    /// Milliseconds after which a checkpoint is given up.
    pub timeout_ms: u64,
    /// Milliseconds between the end of one and the begin of the next.
    pub min_pause_ms: u64,
    /// How many may be in progress at once.
    pub max_concurrent: u32,
    /// Milliseconds after which a checkpoint overtakes what is in flight; `None` is never.
    pub aligned_timeout_ms: Option<u64>,
    /// How many may fail in a row.
    pub tolerable_failed: u32,
    /// Whether there are checkpoints when some sources have ended.
    pub after_tasks_finish: bool,
    /// Whether completed checkpoints outlive the job.
    pub externalized: bool,
    /// Whether they are deleted when the job is cancelled.
    pub delete_on_cancellation: bool,
    /// `HashMapStateBackend`, ...
    pub state_backend: String,
    /// `FileSystemCheckpointStorage`, ...
    pub checkpoint_storage: String,
}

/// Counts, sizes, durations and history of a job's checkpoints.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CheckpointStatistics {
    /// Restores.
    pub restored: u64,
    /// Restores from an older snapshot than the newest, as that was damaged.
    pub fallbacks: u64,
    /// Everything that was triggered.
    pub total: u64,
    /// Under way.
    pub in_progress: u64,
    /// Completed.
    pub completed: u64,
    /// Failed.
    pub failed: u64,
    /// The newest first, at most `web.checkpoints.history`.
    pub history: Vec<CheckpointRecord>,
    /// The newest completed checkpoint, savepoints not included.
    pub latest_completed: Option<CheckpointRecord>,
    /// The newest completed savepoint.
    pub latest_savepoint: Option<CheckpointRecord>,
    /// The newest failure.
    pub latest_failed: Option<CheckpointRecord>,
    /// What the current attempt was restored from.
    pub latest_restored: Option<RestoredCheckpoint>,
}

/// A snapshot that an attempt was restored from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoredCheckpoint {
    /// Its number.
    pub id: CheckpointId,
    /// Milliseconds since 1970 of the restore.
    pub restore_timestamp_ms: u64,
    /// Whether it is a savepoint.
    pub is_savepoint: bool,
    /// Where it lies.
    pub external_path: String,
    /// What is wrong with each newer snapshot, which was passed over; for people.
    pub damaged: Vec<String>,
    /// What was read for it so far, by the job master to check it and by its tasks.
    pub read: StateRead,
}

/// What is known about one checkpoint or savepoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckpointRecord {
    /// Its number.
    pub id: CheckpointId,
    /// Where it is.
    pub status: CheckpointStatus,
    /// Whether the user asked for it.
    pub is_savepoint: bool,
    /// The format of its keyed state.
    pub format: SavepointFormat,
    /// Whether the job stops behind it.
    pub is_synchronous: bool,
    /// Milliseconds since 1970.
    pub trigger_timestamp_ms: u64,
    /// Milliseconds since 1970 of the newest acknowledgement.
    pub latest_ack_timestamp_ms: Option<u64>,
    /// Milliseconds from trigger to completion, failure or the newest acknowledgement.
    pub end_to_end_duration_ms: u64,
    /// Bytes of state.
    pub state_bytes: u64,
    /// Bytes written for it.
    pub checkpointed_bytes: u64,
    /// Bytes processed during alignment.
    pub processed_bytes: u64,
    /// Subtasks that take part.
    pub num_subtasks: u32,
    /// Subtasks that have acknowledged.
    pub num_acknowledged: u32,
    /// Where it lies, once complete.
    pub external_path: Option<String>,
    /// Whether it has been deleted since.
    pub discarded: bool,
    /// Milliseconds since 1970 of the failure.
    pub failure_timestamp_ms: Option<u64>,
    /// Why it failed.
    pub failure_message: Option<String>,
    /// Files made for it so far, with the metadata: what an object store counts as PUT requests.
    pub created_files: u64,
    /// Records per second that all sources together made in the 10 s before its trigger.
    pub records_per_second_before: Option<f64>,
    /// The same from its trigger to its end; known shortly behind it.
    pub records_per_second_during: Option<f64>,
    /// By vertex.
    pub vertices: Vec<VertexCheckpoint>,
}

/// Where a checkpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CheckpointStatus {
    /// Under way.
    InProgress,
    /// Complete.
    Completed,
    /// Failed, declined, expired or aborted.
    Failed,
}

/// One vertex's part of a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VertexCheckpoint {
    /// The vertex.
    pub id: OperatorId,
    /// Number of subtasks.
    pub num_subtasks: u32,
    /// One row per subtask that has acknowledged.
    pub subtasks: Vec<SubtaskCheckpoint>,
}

/// One subtask's part of a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubtaskCheckpoint {
    /// The subtask, counted from 0.
    pub index: u32,
    /// Milliseconds since 1970.
    pub ack_timestamp_ms: u64,
    /// Milliseconds from the trigger.
    pub end_to_end_duration_ms: u64,
    /// Bytes of state.
    pub state_bytes: u64,
    /// Those of them that were written for this checkpoint.
    pub checkpointed_bytes: u64,
    /// Times and sizes.
    pub metrics: crate::acknowledgement::AcknowledgeMetrics,
}

/// Something that made a job fail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExceptionEntry {
    /// Milliseconds since 1970.
    pub timestamp_ms: u64,
    /// The task, if it was one: `counter (1/2)`.
    pub task: Option<String>,
    /// For people, with all causes.
    pub message: String,
}
