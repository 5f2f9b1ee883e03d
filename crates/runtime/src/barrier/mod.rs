//! Barriers: when a task may snapshot an epoch.
//!
//! `align` is the aligned barrier (exactly-once) and its relaxed form (at-least-once).

mod align;

pub use align::{Alignment, Arrival, Mode};
