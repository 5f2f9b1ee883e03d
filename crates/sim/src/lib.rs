//! One seed, one history: jobs, workers and masters that fail, in simulated time, against a sequential
//! oracle.
//!
//! A small world is played from one number: a job that counts, exactly once, from split sources into a
//! sink with two-phase commit; its worker processes, which die, stand still and wake up; its job masters,
//! which do the same; a network and a storage that are slow and fail; users who take savepoints, stop,
//! cancel, and start the job again at another parallelism. The product's own code decides: coordinator,
//! registry of shared files, choice of a recovery, restore plan, life of a job with its attempts, restart
//! strategy, elastic mode, fencing, schedule of savepoints, barriers, aligned
//! and not. What carries the decisions out is a model. See `docs/internals.md` for what is
//! modelled and what is not.
//!
//! After each event the laws are checked ([`play`]); at the end of a history faults cease, and the job has
//! to come to its end with every record committed once. [`Bug`]s can be planted, which the laws have to
//! find.

// Laws and faults look at a few of many events and actions.
#![allow(clippy::wildcard_enum_match_arm)]

mod bug;
mod disk;
mod in_flight;
mod job;
mod laws;
mod lineage;
mod master;
mod output;
mod random;
mod state;
mod takeover;
mod user;
mod worker;
mod world;

pub use bug::Bug;
pub use world::{History, play};
