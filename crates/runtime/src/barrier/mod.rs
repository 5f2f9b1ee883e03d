//! Barriers: when a task may snapshot an epoch.
//!
//! `align` says when: aligned (exactly-once), relaxed (at-least-once) or unaligned. `overtaken` keeps
//! what an unaligned barrier has overtaken until the last of it has arrived.

mod align;
mod overtaken;

pub use align::{Alignment, Arrival, Mode, Passed};
pub use overtaken::Overtaken;
