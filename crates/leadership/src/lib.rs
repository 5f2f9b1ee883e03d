//! Who leads a cluster with several job managers.
//!
//! ```text
//! Election ──campaign──> Leadership ──publish──> where the leader is
//!    │                       │
//!  leader()                 Term: until when this process is known to lead
//!    ▼                       ▼
//! task managers, clients   the job manager, and the masters of its jobs
//! ```
//!
//! Existing services elect: the kernel's lock on a file (`file_lock`) or Apache ZooKeeper
//! (`zookeeper`, behind the feature of that name). Nothing here is a consensus of its own.

mod election;
mod file_lock;
#[cfg(feature = "zookeeper")]
mod leading;
mod term;
#[cfg(feature = "zookeeper")]
mod zookeeper;

pub use election::{Election, Leader, Leadership, election, storage_directory};
pub use term::{Term, now_ms};
