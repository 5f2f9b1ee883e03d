//! A cluster of its own: a job manager with the jobs, and task managers that bring slots.
//!
//! ```text
//! job manager ──starts──> job master (the job's executable)      one process per job
//!      │  ▲                    │
//!      │  └── slots, reports ──┤
//!      ▼                       ▼
//! task manager ──starts──> worker process (the same executable)   one or more per task manager and job
//! ```
//!
//! Every job is isolated: it shares no process with another one. A task manager or job manager runs no
//! user code. What dies takes along what it has started, and nothing else: a job whose worker is gone
//! restarts in other slots, a job master that is gone fails its job.
//!
//! Deciding who gets which slots is `slot_pool` alone; `job_manager` and `task_manager` do.

mod application;
mod connections;
mod job_manager;
mod job_process;
mod job_recovery;
mod job_store;
mod offers;
mod program_cache;
mod program_store;
mod registry;
mod service;
mod session_dispatcher;
mod slot_pool;
mod task_manager;
mod worker_child;

pub use application::{Application, Begun, Preparation};
pub use job_manager::Mode;
pub use service::{JobManagerService, Outcome, TaskManagerService, is_loopback};
