//! What a state backend has to do that keeps its state as bytes: the traits to implement.
//!
//! State handles, serializers, time-to-live, timers, snapshots and restores are the same for every
//! backend. Below them is either the heap, or a [`KeyValueStore`]: bytes under byte keys, in
//! columns, one column per state. Above the store lies a cache of decoded values; what changed in it
//! is written back in batches, in the order of the keys, by one thread per store.
//!
//! Keys and values are those of Flink's RocksDB backend, so that a store's own files can be Flink's:
//!
//! | state | key | value |
//! | --- | --- | --- |
//! | value, reducing, aggregating | key group (1 byte up to 128 of them, else 2, big-endian), key, namespace | serializer bytes |
//! | list | as above | elements joined by `2C` |
//! | map | as above, then the user key | bool isNull, value |
//! | timers | key group, timestamp with its sign flipped, key, namespace | empty |
//!
//! A key and a namespace that both have a variable length are followed by their lengths; see
//! `millpond_snapshot`. The order of keys is that of their bytes, so a key group is one range.
//!
//! ```text
//!   worker thread     handles -> cache -> get, multi_get, scan ----.
//!   writer thread     frozen changes -> write_run; then checkpoint ----+-> KeyValueStore
//!   snapshot thread   StoreImage: scan (canonical), files (native) |
//! ```
//!
//! Source: Flink 2.3.0, classes `RocksDBKeyedStateBackend`, `SerializedCompositeKeyBuilder`.

mod batch;
pub mod conformance;
mod memory;

pub use batch::{Keys, StoreChange, WriteBatch};
pub use memory::{MemoryBackend, MemoryStore};

pub use millpond_snapshot::StateMeta;

use crate::Result;
use millpond_types::config::{ConfigError, Configuration};
use millpond_types::{KeyGroupRange, OperatorId};
use std::fmt;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A column of a store, counted from 0 in the order in which columns were opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ColumnId(pub u32);

/// What a store may do with a stored value that nobody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filtered {
    /// It stays.
    Keep,
    /// It has expired.
    Remove,
    /// This is what is left of it.
    Replace(Vec<u8>),
}

/// Says what is left of a value; cheap to call, from any thread.
pub type StoredFilter = Arc<dyn Fn(&[u8]) -> Filtered + Send + Sync>;

/// Sees one entry of a scan, key and value, and says whether to go on.
pub type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// Fills an empty batch with the next changes, and says whether there are more behind them.
pub type NextBatch<'a> = &'a mut dyn FnMut(&mut WriteBatch) -> Result<bool>;

/// How large a store is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStatistics {
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// Bytes in memory: write buffers, block cache, indexes.
    pub memory_bytes: u64,
}

/// Bytes under byte keys, in columns: what a state backend keeps below the cache.
///
/// A store belongs to one subtask of one operator. It is read by the worker thread and written by
/// one other thread, at the same time; no two threads write. It need not keep a log of its own:
/// after a failure it is made anew from a snapshot. Dropping it deletes what it has on disk.
pub trait KeyValueStore: Send + Sync {
    /// Returns the column of the state that `meta` describes, made if there is none of its name.
    ///
    /// Called once per state before anything else is done with it, and again when the job registers
    /// a state that was restored before. `filter` takes the place of an earlier one: the store may
    /// drop what it says, at compaction for example, and need not.
    ///
    /// # Errors
    ///
    /// Storage, as all methods here.
    fn open_column(&self, meta: &StateMeta, filter: Option<StoredFilter>) -> Result<ColumnId>;

    /// The states whose columns there are, by their ids; also those that came with native files.
    fn columns(&self) -> Vec<StateMeta>;

    /// Returns the value of a key.
    fn get(&self, column: ColumnId, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// Calls `found` once for each of `keys`, with its position among them and its value, in any
    /// order.
    ///
    /// Keys are in ascending order, each at most once.
    fn multi_get(
        &self,
        column: ColumnId,
        keys: &Keys,
        found: &mut dyn FnMut(usize, Option<&[u8]>),
    ) -> Result<()>;

    /// Applies changes, which are in ascending order of their keys, each key at most once.
    ///
    /// # Errors
    ///
    /// Storage, which fails the attempt: the changes are lost.
    fn write(&self, column: ColumnId, batch: &WriteBatch) -> Result<()>;

    /// Applies changes that come in batches, each as [`KeyValueStore::write`] has it, in ascending
    /// order of keys over all of them.
    ///
    /// They are there when this returns, some of them maybe earlier.
    fn write_run(&self, column: ColumnId, next: NextBatch<'_>) -> Result<()> {
        let mut batch = WriteBatch::new();
        loop {
            batch.clear();
            let more = next(&mut batch)?;
            if !batch.is_empty() {
                self.write(column, &batch)?;
            }
            if !more {
                return Ok(());
            }
        }
    }

    /// Visits the entries with `from <= key`, and `key < to` if that is given, in ascending order.
    ///
    /// What is written meanwhile may be seen or not.
    fn scan(
        &self,
        column: ColumnId,
        from: &[u8],
        to: Option<&[u8]>,
        visit: Visit<'_>,
    ) -> Result<()>;

    /// Returns what is stored now; later writes do not change it.
    ///
    /// Called by the thread that writes. Should cost little more than what was written since the
    /// last one.
    ///
    /// # Errors
    ///
    /// Storage, which fails the checkpoint; broken, if a later one cannot do better, which fails the
    /// attempt.
    fn checkpoint(&self) -> Result<Arc<dyn StoreImage>>;

    /// How large it is.
    fn statistics(&self) -> StoreStatistics {
        StoreStatistics::default()
    }
}

/// What a store held at one moment.
///
/// Used on other threads than the store, and maybe after the store is gone. Dropping it frees what
/// only it needs.
pub trait StoreImage: Send + Sync {
    /// As [`KeyValueStore::scan`].
    ///
    /// # Errors
    ///
    /// Storage.
    fn scan(
        &self,
        column: ColumnId,
        from: &[u8],
        to: Option<&[u8]>,
        visit: Visit<'_>,
    ) -> Result<()>;

    /// The files that [`StateBackend::open`] makes the same store of, if there are such.
    fn files(&self) -> Option<Vec<StoreFile>> {
        None
    }

    /// How many of its files are to be uploaded at the same time.
    fn transfer_threads(&self) -> usize {
        1
    }
}

/// A file of an image; its bytes never change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreFile {
    /// The name that it must have where the store is opened: no directory in front.
    pub name: String,
    /// Where it lies, as long as the image lives.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Whether other images may hold it too.
    pub sharing: Sharing,
}

/// Whether a file is part of more than one image of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// All images in which the name appears have the same bytes under it.
    Shared,
    /// It belongs to this image alone.
    Private,
}

/// For whom a store is made.
#[derive(Clone, Debug)]
pub struct StoreContext {
    /// The operator.
    pub operator: OperatorId,
    /// Its name, for people.
    pub operator_name: String,
    /// The subtask, counted from 0.
    pub subtask: u32,
    /// The key groups of the subtask.
    pub range: KeyGroupRange,
    /// Number of key groups of the operator.
    pub max_parallelism: u32,
    /// Where the store may make a directory of its own, of a name that nothing else has.
    pub directory: PathBuf,
    /// The configuration of the job: key and value, as the user has written them.
    pub configuration: Arc<std::collections::BTreeMap<String, String>>,
}

/// Makes the stores of a job.
///
/// # Examples
///
/// See `docs/backends.md`, and [`MemoryBackend`] for the smallest one.
pub trait StateBackend: Send + Sync {
    /// The name, as it stands behind `state.backend.type`.
    fn name(&self) -> &str;

    /// The memory that all stores of a process and the caches above them take together, in bytes;
    /// `None` if memory of the stores is not bounded so.
    ///
    /// Of it the caches have what [`CacheMemory`](crate::CacheMemory) says, stores the rest.
    ///
    /// # Errors
    ///
    /// The configuration has a value that is none.
    fn memory_bytes(
        &self,
        _configuration: &Configuration,
    ) -> std::result::Result<Option<u64>, ConfigError> {
        Ok(None)
    }

    /// Whether [`open`](Self::open) makes a store of files with these names.
    fn opens(&self, _names: &[&str]) -> bool {
        false
    }

    /// Returns an empty store, or the one whose files lie in `files`, under their names.
    ///
    /// The files may be symbolic links, and snapshots need what they lead to: the store copies it, or
    /// links it if it never writes into such a file. Their directory goes when this returns. What they
    /// hold of other key groups than those of the subtask is not to be seen in the store.
    /// `states` are those of the files in the order of their ids, empty without files.
    ///
    /// # Errors
    ///
    /// Storage; corrupt, if the files are damaged; unsupported, if it has no files of its own.
    fn open(
        &self,
        context: &StoreContext,
        files: Option<&Path>,
        states: &[StateMeta],
    ) -> Result<Arc<dyn KeyValueStore>>;
}

impl fmt::Debug for dyn StateBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StateBackend").field(&self.name()).finish()
    }
}

/// Returns the end of the range of keys that begin with `prefix`; `None` if there is no end.
pub fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_one() {
        assert_eq!(prefix_end(&[1, 2]), Some(vec![1, 3]));
        assert_eq!(prefix_end(&[1, 0xff, 0xff]), Some(vec![2]));
        assert_eq!(prefix_end(&[0xff]), None);
        assert_eq!(prefix_end(&[]), None);
    }
}
