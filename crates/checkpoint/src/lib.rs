//! When a checkpoint begins, completes, fails, is kept, subsumed or disposed; restore and restart
//! decisions.
//!
//! Everything here decides and nothing acts: no I/O, no threads, no clock. Time comes in as
//! `now_ms`, what happened as an [`Event`], and what is to be done goes out as [`Action`]s that the
//! job master carries out.
//!
//! - [`Coordinator`]: the life of every checkpoint and savepoint of one job.
//! - [`SharedStateRegistry`]: which files checkpoints need, and which may be deleted.
//! - [`SavepointSchedule`]: savepoints by the clock, and their history.
//! - [`choose_recovery`]: which snapshot an attempt is restored from.
//! - [`RestorePlan`]: which state goes to which subtask.
//! - [`plan`]: what a restore makes of every named state.
//! - [`assemble`]: a snapshot's metadata from the acknowledgements.
//! - [`RestartStrategy`]: whether and when a failed job runs again.
//! - [`Lifecycle`]: attempts begin, end and follow each other, until the job ends.
//! - [`Fencing`]: what a master may still do when there may be another one.
//! - [`Elastic`]: when a job changes its parallelism, as slots come and go.

mod action;
mod announcement;
mod assemble;
mod assignment;
mod completed;
mod config;
mod coordinator;
mod elastic;
mod error;
mod event;
mod failure;
mod fencing;
mod lifecycle;
mod operations;
mod pending;
pub mod plan;
mod recovery;
mod redistribution;
mod restart;
mod savepoint_schedule;
mod schedule;
mod shared_registry;
mod snapshot_files;
mod statistics;

pub use action::{Action, Completion, DiscardReason, Outcome};
pub use assemble::{JobFacts, assemble};
pub use assignment::{OperatorRestore, RestorePlan, RestoreRequest};
pub use completed::CompletedSnapshot;
pub use config::{
    CoordinatorConfig, JOB_MANAGER_SCHEME, MAX_STATE_BYTES_IN_MEMORY, Retention, is_in_memory,
};
pub use coordinator::Coordinator;
pub use elastic::{Decision, Elastic, ElasticOptions};
pub use error::{Error, ErrorKind};
pub use event::{Event, StartedFrom};
pub use failure::FailureReason;
pub use fencing::{Barred, Entry, Fencing, Look};
pub use lifecycle::{Cancellation, Due, Lifecycle};
pub use recovery::{RecoveryChoice, RecoveryPolicy, Verification, choose_recovery};
pub use restart::{Restart, RestartConfig, RestartStrategy};
pub use savepoint_schedule::{SavepointSchedule, SavepointScheduleConfig, TakenSavepoint};
pub use shared_registry::{Released, Scope, SharedStateRegistry, SnapshotFiles};
