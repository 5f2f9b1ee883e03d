//! RocksDB as the store of a state backend.
//!
//! A store is one RocksDB with a column family per state, in a directory of its own. It has no log
//! of writes: after a failure it is made anew from a snapshot, as in Flink.
//!
//! ```text
//! <directory>/rocksdb-<operator>-<subtask>-.../db             what the store works on
//!                                             /checkpoint-7   an image: links to its tables
//! ```
//!
//! A checkpoint flushes what is in memory and links all tables; a table never changes, and its
//! number is used once in the life of the store and those restored from it. So what a later image
//! has in common with an earlier one has the same name in both. The directory goes with the last
//! of the store and its images.

mod backend;
mod database;
mod image;
mod memory;
mod resumption;
mod sorted_run;
mod tuning;

pub use backend::RocksDbBackend;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use millpond_fs::ScratchDirectory;
use millpond_snapshot::StateMeta;
use millpond_state::store::{
    ColumnId, KeyValueStore, Keys, NextBatch, StoreChange, StoreImage, StoreStatistics,
    StoredFilter, Visit, WriteBatch,
};
use millpond_state::{Error, Result};
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{ReadOptions, WriteOptions, properties};

use database::{Database, FilterSlot};
use image::RocksDbImage;
use resumption::Resumption;

/// How many values are read at once.
const READ_KEYS: usize = 256;

/// A RocksDB of one subtask.
pub struct RocksDbStore {
    // In this order: the database is closed before its files are deleted.
    database: Database,
    working: Deleted,
    home: Arc<ScratchDirectory>,
    columns: RwLock<Vec<Column>>,
    checkpoints: AtomicU64,
    runs: AtomicU64,
    resumption: Resumption,
}

struct Column {
    meta: StateMeta,
    /// The name of the column family, shared so that the list is not locked while it is used.
    name: Arc<str>,
    filter: Arc<FilterSlot>,
}

/// A directory that is deleted when this is dropped.
struct Deleted(PathBuf);

impl Drop for Deleted {
    fn drop(&mut self) {
        // What cannot be deleted goes with the directory around it, or with the process's.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl RocksDbStore {
    fn columns(&self) -> RwLockReadGuard<'_, Vec<Column>> {
        // Nothing panics while it holds the lock; the content is whole in any case.
        self.columns.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn columns_mut(&self) -> RwLockWriteGuard<'_, Vec<Column>> {
        self.columns.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The column family of a column.
    ///
    /// # Panics
    ///
    /// If the id is not of this store.
    fn name(&self, column: ColumnId) -> Arc<str> {
        Arc::clone(&self.columns()[column.0 as usize].name)
    }

    /// Sums a property over all column families.
    fn sum_of(&self, property: &properties::PropName) -> u64 {
        let names: Vec<Arc<str>> = self.columns().iter().map(|one| one.name.clone()).collect();
        let of_family = |name: &Arc<str>| {
            let family = self.database.db.cf_handle(name)?;
            let value = self.database.db.property_int_value_cf(&family, property);
            value.ok().flatten()
        };
        names.iter().filter_map(of_family).sum()
    }
}

/// An error of RocksDB while it did something with a state.
#[cold]
fn failed(what: &str, name: &str, error: rocksdb::Error) -> Error {
    Error::storage(format!("{what} state \"{name}\" in RocksDB"), error)
}

impl KeyValueStore for RocksDbStore {
    fn open_column(&self, meta: &StateMeta, filter: Option<StoredFilter>) -> Result<ColumnId> {
        let mut columns = self.columns_mut();
        let known = columns
            .iter()
            .position(|known| known.meta.name == meta.name);
        if let Some(at) = known {
            columns[at].meta = meta.clone();
            columns[at].filter.set(filter);
            return Ok(ColumnId(at as u32));
        }
        let slot = self.database.create(&meta.name)?;
        slot.set(filter);
        columns.push(Column {
            name: meta.name.as_str().into(),
            meta: meta.clone(),
            filter: slot,
        });
        Ok(ColumnId((columns.len() - 1) as u32))
    }

    fn columns(&self) -> Vec<StateMeta> {
        let columns = RocksDbStore::columns(self);
        columns.iter().map(|column| column.meta.clone()).collect()
    }

    fn get(&self, column: ColumnId, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let name = self.name(column);
        let family = self.database.family(&name);
        let found = self.database.db.get_cf(&family, key);
        found.map_err(|error| failed("reading", &name, error))
    }

    fn multi_get(
        &self,
        column: ColumnId,
        keys: &Keys,
        found: &mut dyn FnMut(usize, Option<&[u8]>),
    ) -> Result<()> {
        let name = self.name(column);
        let family = self.database.family(&name);
        // In parts, so that few values are held at once.
        for first in (0..keys.len()).step_by(READ_KEYS) {
            let part = first..keys.len().min(first + READ_KEYS);
            let part = part.map(|at| keys.get(at));
            let values = self.database.db.batched_multi_get_cf(&family, part, true);
            for (at, value) in values.into_iter().enumerate() {
                let value = value.map_err(|error| failed("reading", &name, error))?;
                found(first + at, value.as_deref());
            }
        }
        Ok(())
    }

    fn write(&self, column: ColumnId, batch: &WriteBatch) -> Result<()> {
        write_batch(&self.database, &self.name(column), batch)
    }

    fn write_run(&self, column: ColumnId, next: NextBatch<'_>) -> Result<()> {
        let number = self.runs.fetch_add(1, Ordering::Relaxed);
        let path = self.home.path().join(format!("run-{number}.sst"));
        sorted_run::write(&self.database, &self.name(column), &path, next)
    }

    fn scan(
        &self,
        column: ColumnId,
        from: &[u8],
        to: Option<&[u8]>,
        visit: Visit<'_>,
    ) -> Result<()> {
        scan(&self.database, &self.name(column), from, to, visit)
    }

    fn checkpoint(&self) -> Result<Arc<dyn StoreImage>> {
        let number = self.checkpoints.fetch_add(1, Ordering::Relaxed);
        let path = self.home.path().join(format!("checkpoint-{number}"));
        let columns = self.columns();
        let made = Checkpoint::new(&self.database.db).and_then(|to| to.create_checkpoint(&path));
        if let Err(error) = made {
            let error = Error::storage("linking the files of RocksDB", error);
            return Err(self.resumption.failed(error, self.home.path()));
        }
        self.resumption.succeeded();
        let names = columns.iter().map(|column| column.name.clone());
        let image = RocksDbImage::new(
            Deleted(path),
            Arc::clone(&self.home),
            names.collect(),
            self.database.memory.clone(),
        );
        Ok(Arc::new(image))
    }

    /// Blocks that are cached are those of all stores of the process, and so counted in none.
    fn statistics(&self) -> StoreStatistics {
        StoreStatistics {
            disk_bytes: self.sum_of(properties::TOTAL_SST_FILES_SIZE),
            memory_bytes: self.sum_of(properties::CUR_SIZE_ALL_MEM_TABLES)
                + self.sum_of(properties::ESTIMATE_TABLE_READERS_MEM),
        }
    }
}

/// Writes changes into a column family.
fn write_batch(database: &Database, name: &str, batch: &WriteBatch) -> Result<()> {
    let family = database.family(name);
    let limit = database.tuning.write_batch_bytes;
    let mut options = WriteOptions::default();
    options.disable_wal(true);
    // They are sorted: each belongs close to the one before it.
    options.set_memtable_insert_hint_per_batch(true);
    let write = |batch: rocksdb::WriteBatch| {
        let written = database.db.write_opt(batch, &options);
        written.map_err(|error| failed("writing", name, error))
    };
    let mut changes = rocksdb::WriteBatch::default();
    for change in batch.iter() {
        match change {
            StoreChange::Put { key, value } => changes.put_cf(&family, key, value),
            StoreChange::Append { key, value } => changes.merge_cf(&family, key, value),
            StoreChange::Delete { key } => changes.delete_cf(&family, key),
        }
        if changes.size_in_bytes() >= limit {
            write(std::mem::take(&mut changes))?;
        }
    }
    match changes.is_empty() {
        true => Ok(()),
        false => write(changes),
    }
}

/// Visits the entries of a column family in a range.
fn scan(
    database: &Database,
    name: &str,
    from: &[u8],
    to: Option<&[u8]>,
    visit: Visit<'_>,
) -> Result<()> {
    let family = database.family(name);
    let mut options = ReadOptions::default();
    if let Some(to) = to {
        if to <= from {
            return Ok(());
        }
        options.set_iterate_upper_bound(to);
    }
    let mut entries = database.db.raw_iterator_cf_opt(&family, options);
    entries.seek(from);
    while let Some((key, value)) = entries.item() {
        if visit(key, value) == ControlFlow::Break(()) {
            return Ok(());
        }
        entries.next();
    }
    let ended = entries.status();
    ended.map_err(|error| failed("reading", name, error))
}

impl std::fmt::Debug for RocksDbStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RocksDbStore")
            .field("directory", &self.working.0)
            .finish_non_exhaustive()
    }
}
