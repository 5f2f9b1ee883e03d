//! Heap state that knows what has changed since earlier checkpoints, for incremental ones.
//!
//! The tables are those of the heap, [`KeyedTable`](crate::keyed_table::KeyedTable), untouched; a
//! [`TrackedTable`] puts a [`ChangeLog`] beside one and notes each key that changes, of a map each
//! user key, of a list how much of it was there before. A backend that is not asked for incremental
//! checkpoints has none of this.
//!
//! Each checkpoint ends an interval of the log. What has changed since a base is what the intervals
//! behind it have, whichever checkpoints between have failed; its value is looked up in the frozen
//! tables. What is not there was removed, so that no tombstones have to be kept.
//!
//! Rejected: a generation beside each value (8 bytes per key, and a scan of all keys per checkpoint),
//! and keeping the deltas of [`Layered`](crate::layered::Layered) unmerged (two versions of all that
//! has changed, and one more lookup per read).

mod change_log;
mod change_mark;
mod tracked_table;

pub(crate) use change_mark::{ChangedUserKeys, ChangedValue};
pub(crate) use tracked_table::TrackedTable;

/// So many intervals are kept: checkpoints that have failed since the base, and one. The base is lost
/// behind more of them, and the next checkpoint writes everything.
pub(crate) const MAX_INTERVALS: usize = 8;
