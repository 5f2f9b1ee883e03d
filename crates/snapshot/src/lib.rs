//! Flink's snapshot format: metadata, handles, keyed and operator state files.
//!
//! A snapshot is a directory with a file [`_metadata`](Metadata) and state files beside it. The
//! metadata lists operators; each has, per subtask, handles that say where its state lies.
//!
//! | file | what |
//! | --- | --- |
//! | `directory` | names, finding and loading a snapshot, checking all its files |
//! | `claim` | the marker beside a snapshot that a job has claimed |
//! | `local_copies` | second copies of state files on the disk of the machine that wrote them |
//! | `metadata`, `handle`, `properties`, `trailer` | `_metadata` |
//! | `flink_release` | which versions of all this a release of Flink reads |
//! | `state_stream` | a state on its way to a file, or into the metadata if it is small |
//! | `keyed/` | the content of keyed state |
//! | `operator_state` | the content of operator state |
//! | `channel_state` | records that were in flight |
//! | `inventory` | which states a snapshot holds, from the headers of its files |
//! | `rocksdb` | the seam to a crate above that reads and writes files of RocksDB |
//!
//! All that is read was written by others and may be damaged: every length is checked against
//! what is left, and damage is an [`Error`] that says where.

mod channel_state;
mod checksum;
mod claim;
mod compression;
mod directory;
mod error;
mod flink_release;
mod handle;
mod inventory;
mod keyed;
mod local_copies;
mod metadata;
mod operator_state;
mod properties;
mod ranged_reads;
mod rocksdb;
mod source;
mod state_meta;
mod state_stream;
mod trailer;

pub use channel_state::{ChannelOffsets, ChannelStateReader, ChannelStateWriter};
pub use checksum::{ChecksumWriter, checksum};
pub use claim::{Claim, OwnerProcess, claim_marker, claimed_name};
pub use directory::{
    Damage, LoadedSnapshot, METADATA_FILE, checkpoint_directory, is_scheduled_savepoints,
    job_directory, load, metadata_location, savepoint_directory, scheduled_savepoints,
    shared_directory, state_file_name, task_owned_directory, write_metadata,
};
pub use error::{Error, ErrorKind};
pub use flink_release::FlinkRelease;
pub use handle::{
    ChangelogHandle, ChannelHandle, DistributionMode, IncrementalHandle, KeyGroupOffsets,
    KeyGroupsKind, KeyedHandle, MergedOperatorState, NamedStream, OperatorStateHandle,
    OperatorStateOffsets, StreamHandle,
};
pub use inventory::{OperatorInventory, StateInventory};
pub use keyed::{
    CanonicalReader, CanonicalWriter, ChangesBlock, ChangesWriter, Entry, HeapIncrement,
    HeapIncrements, KeyParts, KeyedFormat, KeyedHeader, KeyedReader, KeyedWriter, LIST_DELIMITER,
    MergedReader, NativeHeapReader, NativeHeapWriter, WrittenKeyed, WrittenState, is_ambiguous,
    key_group_prefix_bytes, put_length, read_length, split_key,
};
pub use local_copies::{JobDirectories, LocalCopies, ReadBytes, StateRead};
pub use metadata::{MasterState, Metadata, OperatorSnapshot, SubtaskSnapshot};
pub use operator_state::{OperatorStateHeader, OperatorStateReader, OperatorStateWriter};
pub use properties::CheckpointProperties;
pub use ranged_reads::{CopyError, RangedReads, copy_files};
pub use rocksdb::{KeyedEntries, RocksDb, RocksDbWriter, TakeFile};
pub use source::StateSource;
pub use state_meta::{KeyedStateType, StateKind, StateMeta};
pub use state_stream::{StateStream, WrittenStream};
pub use trailer::{
    FileRecord, KeyGroupRecord, OperatorRecord, STATE_FILE_PREFIX, StateRecord, SubtaskRecord,
    Trailer,
};
