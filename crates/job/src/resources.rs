//! The contract between a job manager, its task managers, and the masters of its jobs.
//!
//! A job manager has slots, which its task managers bring along, and jobs. The master of each job is
//! a process of its own: the job's executable, started by the job manager. It asks the job manager for
//! worker processes, which task managers start: the same executable once more.
//!
//! The three may be of different builds: the first message of a connection carries [`PROTOCOL`].

use millpond_types::{JobId, TriggerId};
use serde::{Deserialize, Serialize};

use crate::dispatcher::{CheckpointKind, SavepointRequest, WorkerPlace};
use crate::report::JobReport;
use crate::requirements::JobRequirements;

/// The version of these messages; both ends of a connection must have the same.
pub const PROTOCOL: u32 = 6;

/// The first message to a job manager.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`] of whoever connects.
    pub protocol: u32,
    /// Who that is.
    pub who: Peer,
}

/// Whoever connects to a job manager.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Peer {
    /// A task manager.
    TaskManager(TaskManagerInfo),
    /// The master of a job that the job manager has started.
    JobMaster {
        /// The job.
        job: JobId,
        /// Proves that the job manager has started it.
        token: String,
    },
    /// Somebody who wants the bytes of a program: they follow as u64 length (little-endian) and
    /// that many bytes; a length of `u64::MAX` means that there is none.
    Program {
        /// Which.
        program: String,
    },
}

/// What a task manager says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskManagerInfo {
    /// Its name, unique in the cluster (`taskmanager.resource-id`).
    pub id: String,
    /// The host of its worker processes, for others.
    pub host: String,
    /// Its slots, at least 1.
    pub slots: u32,
}

/// The answer to a [`Hello`] of a task manager or job master.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Welcome {
    /// Go on.
    Accepted,
    /// Why not, for people.
    Refused(String),
}

/// One worker process in a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WorkerId {
    /// Its job.
    pub job: JobId,
    /// The allocation of slots that it belongs to, unique for its job.
    pub allocation: u64,
    /// The process, counted from 0.
    pub process: u32,
}

/// What a task manager needs to start a worker process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartWorker {
    /// Its name.
    pub worker: WorkerId,
    /// Which program.
    pub program: String,
    /// The program's arguments.
    pub arguments: Vec<String>,
    /// Its options, as [`to_environment`](millpond_types::config::Configuration::to_environment)
    /// writes them.
    pub configuration: String,
    /// What its job master tells it, for `MILLPOND_WORKER`.
    pub orders: String,
}

/// From the job manager to a task manager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToTaskManager {
    /// Start a worker process.
    Start(Box<StartWorker>),
    /// Kill one, if it lives.
    Kill(WorkerId),
    /// This job has ended: what is kept of it goes.
    JobEnded(JobId),
    /// There was nothing else to say for the interval of heartbeats.
    Alive,
}

/// From a task manager to the job manager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromTaskManager {
    /// A worker process has ended, or could not be started.
    Ended {
        /// Which.
        worker: WorkerId,
        /// How, for people.
        how: String,
    },
    /// There was nothing else to say for the interval of heartbeats.
    Alive,
}

/// For how many subtasks of each vertex a job wants slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotRequest {
    /// Comes back in the answer; a job heeds the answer to its newest request.
    pub number: u64,
    /// Fewer are of no use.
    pub minimum: u32,
    /// So many are taken at once.
    pub enough: u32,
    /// More are not used.
    pub most: u32,
    /// How to wait for more; `None`: the job takes all or nothing, and waits as the cluster is
    /// configured.
    pub elastic: Option<ElasticWait>,
}

impl SlotRequest {
    /// All or nothing.
    pub fn exactly(parallelism: u32) -> Self {
        SlotRequest {
            number: 0,
            minimum: parallelism,
            enough: parallelism,
            most: parallelism,
            elastic: None,
        }
    }
}

/// How a job in elastic mode waits for slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElasticWait {
    /// For the minimum, in milliseconds.
    pub resource_wait_ms: u64,
    /// For more than the minimum, once that is there, in milliseconds.
    pub stabilization_ms: u64,
}

/// From the job manager to the master of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToJobMaster {
    /// The slots that were asked for.
    Allocated {
        /// Of the request.
        number: u64,
        /// The allocation.
        allocation: u64,
        /// Subtasks of each vertex that they are for, at most as many as there are slots.
        parallelism: u32,
        /// Worker threads, and slots, of each process; at least 1.
        workers: u32,
        /// Where each process is to run.
        places: Vec<WorkerPlace>,
    },
    /// They could not be had in time.
    NoSlots {
        /// Of the request.
        number: u64,
        /// Why, for people.
        reason: String,
    },
    /// A worker process of this job has ended, or could not be started.
    WorkerEnded {
        /// Which.
        worker: WorkerId,
        /// How, for people.
        how: String,
    },
    /// As many slots the job could have, those that it has included; told to jobs in elastic mode.
    Slots {
        /// How many.
        available: u32,
    },
    /// Between which bounds the parallelism of the job may be from now on.
    Require(JobRequirements),
    /// From now on periodic checkpoints are taken at this interval.
    CheckpointInterval {
        /// In milliseconds; at least 1.
        interval_ms: u64,
    },
    /// Cancel the job.
    Cancel,
    /// Take a savepoint.
    Savepoint {
        /// The operation.
        trigger: TriggerId,
        /// What is wanted.
        request: SavepointRequest,
    },
    /// Take a checkpoint.
    Checkpoint {
        /// The operation.
        trigger: TriggerId,
        /// Of which kind.
        kind: CheckpointKind,
    },
    /// A savepoint was deleted; it may be one of this job.
    Disposed {
        /// Its directory.
        directory: String,
    },
    /// It lives; said again and again.
    Alive {
        /// Until when it leads, in milliseconds since the start of the machine, which is that of the
        /// master as well.
        leads_until_ms: u64,
    },
}

/// From the master of a job to the job manager.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FromJobMaster {
    /// How the job is doing.
    Report(Box<JobReport>),
    /// Slots are wanted. What the job had before is released.
    Allocate(SlotRequest),
    /// Start a worker process in a slot of the current allocation.
    Start {
        /// The process, counted from 0.
        process: u32,
        /// What it is to be told, for `MILLPOND_WORKER`.
        orders: String,
    },
    /// Kill one, if it lives.
    Kill {
        /// Which.
        worker: WorkerId,
    },
    /// There was nothing else to say for the interval of heartbeats.
    Alive,
}
