//! Snapshots as data: read, converted, rehashed, edited, and made from rows.
//!
//! | file | what |
//! | --- | --- |
//! | `convert` | the same state for another release, in another format, for other subtasks |
//! | `rehash` | the same state with another maximum parallelism |
//! | `rewrite` | what all of these share |
//! | `snapshot_writer` | a new snapshot: its directory, its files, and its metadata at last |
//! | `keyed_input`, `entry_writer`, `sorter` | keyed state on its way: read as one, written, sorted |
//! | `operator_input` | lists and broadcast maps on their way |
//! | `parallel` | the same work on all cores |
//!
//! Keyed state streams: what is in memory does not grow with the snapshot, but for one key group
//! where the native format of the heap backend is read or written. A new snapshot is never made
//! in the place of an old one.

mod convert;
mod entry_writer;
mod keyed_input;
mod operator_input;
mod parallel;
mod rehash;
mod rewrite;
mod snapshot_writer;
mod sorter;

pub use convert::{ConvertOptions, convert};
pub use rehash::{RehashOptions, rehash};
pub use rewrite::Target;
pub use snapshot_writer::SnapshotWriter;
