//! Ids, key groups, options and the clock: what every other crate may know.

pub mod clock;
pub mod config;
pub mod ids;
pub mod key_group;
mod murmur;

pub use clock::{Clock, ManualClock, SystemClock};
pub use ids::{ATTEMPTS_PER_MASTER, CheckpointId, JobId, OperatorId, TriggerId};
pub use key_group::{KeyGroup, KeyGroupRange};
pub use murmur::murmur3_128;
