//! Flink's native snapshots of RocksDB, read and written.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millpond_snapshot::{
    Error, IncrementalHandle, KeyedEntries, KeyedHeader, LoadedSnapshot, RocksDb, RocksDbWriter,
};
use millpond_types::KeyGroupRange;
use rocksdb::Cache;

use crate::native_entries::{NativeEntries, OpenFiles};
use crate::native_writer::NativeWriter;

/// Blocks of files that are read, in memory at most.
const BLOCK_CACHE_BYTES: usize = 32 << 20;
/// How many handles stay open behind their last reader: one that comes again need not bring its
/// files together once more.
const KEPT_HANDLES: usize = 4;

/// Reads and writes the files of native snapshots, through working directories below one place.
///
/// Memory: the blocks of all files that are read share 32 MiB; a writer has 64 MiB of write
/// buffers.
pub struct NativeFiles {
    parent: PathBuf,
    cache: Cache,
    /// The last ones, oldest first.
    open: Mutex<VecDeque<Kept>>,
}

struct Kept {
    /// The snapshot and the handle: what the files are.
    metadata_file: String,
    handle: IncrementalHandle,
    files: Arc<OpenFiles>,
}

impl NativeFiles {
    /// Returns a reader and writer whose working directories lie below `parent`, which is there.
    pub fn new(parent: impl Into<PathBuf>) -> Self {
        NativeFiles {
            parent: parent.into(),
            cache: Cache::new_lru_cache(BLOCK_CACHE_BYTES),
            open: Mutex::default(),
        }
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Kept>> {
        // Nothing panics while it holds the lock; the content is whole in any case.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn files_of(
        &self,
        snapshot: &LoadedSnapshot,
        handle: &IncrementalHandle,
    ) -> Result<Arc<OpenFiles>, Error> {
        let metadata_file = snapshot.metadata_file.to_string();
        let is_it = |kept: &&Kept| kept.metadata_file == metadata_file && kept.handle == *handle;
        if let Some(kept) = self.kept().iter().find(is_it) {
            return Ok(Arc::clone(&kept.files));
        }
        let files = Arc::new(OpenFiles::open(
            &self.parent,
            &self.cache,
            snapshot,
            handle,
        )?);
        // Dropped without the lock: closing takes a while.
        let oldest = {
            let mut kept = self.kept();
            kept.push_back(Kept {
                metadata_file,
                handle: handle.clone(),
                files: Arc::clone(&files),
            });
            (kept.len() > KEPT_HANDLES).then(|| kept.pop_front())
        };
        drop(oldest);
        Ok(files)
    }
}

impl RocksDb for NativeFiles {
    fn open(
        &self,
        snapshot: &LoadedSnapshot,
        handle: &IncrementalHandle,
        wanted: KeyGroupRange,
        max_parallelism: u32,
    ) -> Result<Box<dyn KeyedEntries>, Error> {
        let files = self.files_of(snapshot, handle)?;
        let entries = NativeEntries::new(files, handle, wanted, max_parallelism);
        Ok(Box::new(entries))
    }

    fn create(
        &self,
        header: &KeyedHeader,
        max_parallelism: u32,
    ) -> Result<Box<dyn RocksDbWriter>, Error> {
        let writer = NativeWriter::new(&self.parent, &self.cache, header, max_parallelism)?;
        Ok(Box::new(writer))
    }
}
