//! Snapshots as data: listed, read, converted, rehashed, edited, and made from rows, without the
//! program that made them.
//!
//! | file | what |
//! | --- | --- |
//! | `open_snapshot`, `path_map` | opening a savepoint or a retained checkpoint, moved or not |
//! | `kept_checkpoint` | finding one of those that a job has kept |
//! | `operator` | its operators, and where their state lies |
//! | `entry_codec`, `row_reader` | entries of keyed state as rows of values |
//! | `scan` | reading key groups and files on several threads, in order, in bounded memory |
//! | `operator_state`, `source_state`, `channel_state` | what is not keyed |
//! | `listing` | what there is, in numbers |
//! | `read` | the content as text: JSON, lines, CSV, a table |
//! | `text_table` | rows of text for people and for other programs |
//! | `verify` | whether it is sound |
//! | `difference` | what two snapshots do not have in common |
//! | `usage`, `garbage` | where the bytes are, and files that nobody needs |
//! | `bootstrap/` | savepoints made from rows of Rust values |
//! | `convert` | the same state for another release, in another format, for other subtasks |
//! | `rehash` | the same state with another maximum parallelism |
//! | `edit/` | the same state but for edits that a user writes |
//! | `rewrite` | what all of these share |
//! | `snapshot_writer` | a new snapshot: its directory, its files, and its metadata at last |
//! | `keyed_input`, `entry_writer`, `sorter` | keyed state on its way: read as one, written, sorted |
//! | `operator_input` | lists and broadcast maps on their way |
//! | `parallel` | the same work on all cores |
//!
//! Keyed state streams: what is in memory does not grow with the snapshot, but for the largest
//! value, and for one key group where the native format of the heap backend is written. A new
//! snapshot is never made in the place of an old one.
//!
//! # Examples
//!
//! ```no_run
//! use millpond_state_processor::{OpenSnapshot, PathMap};
//!
//! let snapshot = OpenSnapshot::open("/data/savepoints/savepoint-1", &PathMap::default())?;
//! let counter = snapshot.find_operator("counter")?;
//! counter.for_each_row(Some("count"), |state, row| {
//!     println!("{}: {:?}", state.name, row.key);
//!     Ok(())
//! })?;
//! # Ok::<(), millpond_state_processor::Error>(())
//! ```

mod bootstrap;
mod channel_state;
mod convert;
mod difference;
mod edit;
mod entry_codec;
mod entry_writer;
mod error;
mod garbage;
mod kept_checkpoint;
mod keyed_input;
mod listing;
mod newest;
mod open_snapshot;
mod operator;
mod operator_input;
mod operator_state;
mod parallel;
mod path_map;
mod read;
mod rehash;
mod rewrite;
mod row_reader;
mod scan;
mod snapshot_writer;
mod sorter;
mod source_state;
mod text_table;
mod usage;
mod verify;

pub use bootstrap::{
    KeyedRows, ListOf, MapOf, NewSavepoint, OperatorRows, SavepointOptions, TimersOf, ValueOf,
};
pub use channel_state::{Channel, ChannelDirection};
pub use convert::{ConvertOptions, convert};
pub use difference::{Difference, OperatorDifference, SAMPLES, StateDifference, diff};
pub use edit::{Edit, EditOptions, EditReport, ParseEditError, edit};
pub use entry_codec::{Content, EntryCodec, KeyedState, Parts, Row, StateType};
pub use error::{Error, ErrorKind};
pub use garbage::{Garbage, GarbageFile, delete_garbage, find_garbage};
pub use kept_checkpoint::{KeptCheckpoint, find_checkpoint, kept_checkpoints};
pub use listing::{
    Counting, Listing, OperatorListing, OperatorStateListing, SourceListing, StateListing,
    TimerListing, list,
};
pub use newest::{FoundSnapshot, Newest, newest_snapshot};
pub use open_snapshot::{OpenSnapshot, Writer};
pub use operator::{KeyedPart, Operator, Unreadable};
pub use operator_state::{OperatorStateContent, OperatorStateMode};
pub use path_map::PathMap;
pub use read::{Format, ReadOptions, RowFilter, Selection, read};
pub use rehash::{RehashOptions, rehash};
pub use rewrite::Target;
pub use row_reader::RowReader;
pub use scan::{Piece, Progress, Threads, scan};
pub use snapshot_writer::SnapshotWriter;
pub use source_state::{SimpleVersioned, SourcePosition, coordinator_state};
pub use text_table::{EmptyColumns, TextTable, put_csv, put_plain};
pub use usage::{KeyGroupUsage, KeyUsage, OperatorUsage, StateUsage, Usage, usage};
pub use verify::{Checked, Problem, Verification, verify};
