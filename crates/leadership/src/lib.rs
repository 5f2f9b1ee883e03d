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
//! Existing services elect: the kernel's lock on a file (`file_lock`), Apache ZooKeeper (`zookeeper`) or a
//! Lease of Kubernetes (`kubernetes`), the latter two behind features of these names. Nothing here is a
//! consensus of its own.

mod election;
mod file_lock;
#[cfg(feature = "kubernetes")]
mod kubernetes;
#[cfg(any(feature = "kubernetes", feature = "zookeeper"))]
mod leading;
mod term;
#[cfg(feature = "zookeeper")]
mod zookeeper;

pub use election::{Election, Leader, Leadership, election, storage_directory};
pub use term::{Term, now_ms};
