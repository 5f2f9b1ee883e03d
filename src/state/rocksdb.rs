//! What reads and writes state in files of RocksDB, if the command was built with it.

use std::sync::Arc;

use millpond_snapshot::RocksDb;

/// Returns it, with its working directories in the place for temporary files (`TMPDIR`).
#[cfg(feature = "rocksdb")]
pub(super) fn files() -> Option<Arc<dyn RocksDb>> {
    let files = millpond_state_rocksdb::NativeFiles::new(std::env::temp_dir());
    Some(Arc::new(files))
}

/// Nothing: the command was built without the feature `rocksdb`, and says so where it matters.
#[cfg(not(feature = "rocksdb"))]
pub(super) fn files() -> Option<Arc<dyn RocksDb>> {
    None
}
