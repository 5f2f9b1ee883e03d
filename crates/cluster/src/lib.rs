//! Job master, worker processes, supervision and restart.
//!
//! A job is an executable. Started by hand it becomes its own job master, with worker threads in
//! the same process, or worker processes as children or in the slots of a cluster
//! ([`run_worker_process`]). The master decides nothing itself: see `checkpoint`.

mod alignment;
mod claim;
mod cleaner;
mod counters;
mod data_connections;
mod deployment;
mod disposal;
pub mod door;
mod event;
mod fence;
#[cfg(fuzzing)]
pub mod fuzzing;
mod job_manager;
mod launcher;
mod leftovers;
mod local_dispatcher;
mod local_recovery;
mod lock;
mod master;
mod master_lock;
mod options;
mod plan;
mod pointer;
mod process;
mod processes;
pub mod random;
mod recovery;
mod savepoint_history;
mod siblings;
mod snapshot_io;
mod storage;
mod throughput;
mod transport;
mod view;
mod worker_process;

pub use disposal::Disposals;
pub use job_manager::JobManagerAddress;
pub use local_dispatcher::{JobHandle, start_job};
pub use local_recovery::{LocalRecovery, TaskManagerCopies};
pub use master::JobResult;
pub use master_lock::{await_master_end, job_end};
pub use options::{ClusterOptions, Heartbeat, JobOptions, RestoreOptions};
pub use plan::{Count, plan_restore};
pub use processes::Host;
pub use transport::{Outbox, receive, send, silence};
pub use worker_process::{is_worker_process, run_worker_process};
