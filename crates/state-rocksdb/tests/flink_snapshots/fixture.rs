//! Snapshots of Flink, opened with what reads files of RocksDB.

use std::path::Path;
use std::sync::Arc;

use millpond_golden::{Golden, rocksdb_directory};
use millpond_snapshot::{KeyedHandle, Metadata, RocksDb};
use millpond_state_processor::{
    Format, OpenSnapshot, PathMap, Progress, ReadOptions, Selection, Threads, read,
};
use millpond_state_rocksdb::NativeFiles;
use serde_json::Value;

/// How a golden snapshot is opened.
pub(crate) trait Open {
    /// With what reads files of RocksDB.
    fn open(&self) -> OpenSnapshot;
    /// Without it.
    fn try_open(&self) -> Result<OpenSnapshot, millpond_state_processor::Error>;
    fn paths(&self) -> PathMap;
}

impl Open for Golden {
    fn open(&self) -> OpenSnapshot {
        self.try_open()
            .unwrap_or_else(|error| panic!("{}: {error}", self.name))
            .with_rocksdb(Some(rocksdb()))
    }

    fn try_open(&self) -> Result<OpenSnapshot, millpond_state_processor::Error> {
        OpenSnapshot::open(self.directory.to_str().expect("a text"), &self.paths())
    }

    fn paths(&self) -> PathMap {
        let mut paths = PathMap::default();
        if let Some((from, to)) = &self.moved {
            paths.add(from, to).expect("locations");
        }
        paths
    }
}

/// What reads files of RocksDB, with working directories in the place for temporary files.
pub(crate) fn rocksdb() -> Arc<dyn RocksDb> {
    Arc::new(NativeFiles::new(std::env::temp_dir()))
}

/// The snapshots with files of RocksDB.
pub(crate) fn items() -> Vec<Golden> {
    let mut items = millpond_golden::all(&rocksdb_directory());
    items.retain(|item| holds_rocksdb(item.open().metadata()));
    assert!(!items.is_empty(), "no files of RocksDB");
    items
}

pub(crate) fn item_named(name: &str) -> Golden {
    millpond_golden::named(&rocksdb_directory(), name)
}

fn holds_rocksdb(metadata: &Metadata) -> bool {
    let subtasks = metadata
        .operators
        .iter()
        .flat_map(|operator| &operator.subtasks);
    subtasks
        .filter_map(|(_, subtask)| subtask.managed_keyed.as_ref())
        .any(|handle| matches!(handle, KeyedHandle::Incremental(_)))
}

/// The content of a snapshot as `millpond state read --format json` shows it.
pub(crate) fn document(snapshot: &OpenSnapshot) -> Result<Value, String> {
    let mut out = Vec::new();
    let options = ReadOptions {
        selection: Selection::default(),
        format: Format::Json,
        ttl: false,
        limit: None,
    };
    let threads = Threads::default();
    read(snapshot, &options, threads, &Progress::default(), &mut out)
        .map_err(|error| error.to_string())?;
    Ok(serde_json::from_slice(&out).expect("JSON"))
}

/// Copies a directory with all that is in it.
pub(crate) fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("room");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_directory(&entry.path(), &to);
        } else {
            std::fs::write(to, std::fs::read(entry.path()).expect("there")).expect("room");
        }
    }
}
