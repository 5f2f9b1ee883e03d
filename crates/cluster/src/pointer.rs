//! A snapshot that somebody named: a directory or its metadata file.

use std::sync::Arc;

use millpond_checkpoint::is_in_memory;
use millpond_fs::{FileSystem, Location};
use millpond_snapshot::{ErrorKind, LoadedSnapshot, METADATA_FILE, RocksDb};

use crate::storage::Storage;

/// Why a pointer leads nowhere.
pub(crate) struct PointerError {
    /// For people; Flink's text where it has one.
    pub(crate) message: String,
    /// Whether trying again may help.
    pub(crate) is_transient: bool,
}

impl PointerError {
    fn permanent(message: impl Into<String>) -> Self {
        PointerError {
            message: message.into(),
            is_transient: false,
        }
    }
}

/// Loads the metadata that `pointer` means.
///
/// Source of the texts: Flink 2.3.0, class `AbstractFsCheckpointStorageAccess`.
pub(crate) fn load(storage: &Storage, pointer: &str) -> Result<LoadedSnapshot, PointerError> {
    let of_fs = |error: millpond_fs::Error| PointerError::permanent(error.to_string());
    let location = Location::parse(pointer).map_err(of_fs)?;
    let fs = storage.file_system(&location).map_err(of_fs)?;
    if let Some(missing) = missing(&*fs, pointer, &location) {
        return Err(PointerError::permanent(missing));
    }
    let loaded = millpond_snapshot::load(Arc::clone(&fs), &location)
        .and_then(|snapshot| storage.with_state_of(snapshot));
    let loaded = loaded.map_err(|error| PointerError {
        // Whatever the file system refuses now says nothing about the snapshot.
        is_transient: matches!(error.kind(), ErrorKind::Io(_)),
        message: error.to_string(),
    })?;
    Ok(loaded.with_rocksdb(rocksdb()))
}

/// What reads state in files of RocksDB, with its working directories in the place for temporary
/// files.
#[cfg(feature = "rocksdb")]
fn rocksdb() -> Option<Arc<dyn RocksDb>> {
    let files = millpond_state_rocksdb::NativeFiles::new(std::env::temp_dir());
    Some(Arc::new(files))
}

/// Nothing: the program was built without the feature `rocksdb`, and such state is refused by name.
#[cfg(not(feature = "rocksdb"))]
fn rocksdb() -> Option<Arc<dyn RocksDb>> {
    None
}

/// Says what is not there; an error on the way is left to whoever loads.
fn missing(fs: &dyn FileSystem, pointer: &str, location: &Location) -> Option<String> {
    let is_missing = |location: &Location| matches!(fs.exists(location), Ok(false));
    if is_in_memory(&location.to_string()) && is_missing(location) {
        return Some(format!(
            "Cannot find checkpoint or savepoint '{pointer}': it was kept in the memory of its job \
             master, and is lost since that has ended."
        ));
    }
    if is_missing(location) {
        return Some(format!(
            "Cannot find checkpoint or savepoint file/directory '{pointer}' on file system '{}'.",
            location.scheme()
        ));
    }
    let is_directory = fs.list(location).is_ok();
    (is_directory && is_missing(&location.join(METADATA_FILE))).then(|| {
        format!(
            "Cannot find meta data file '{METADATA_FILE}' in directory '{pointer}'. Please try to \
             load the checkpoint/savepoint directly from the metadata file instead of the directory."
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_told_in_flinks_words() {
        let directory =
            std::env::temp_dir().join(format!("millpond-pointer-{}", std::process::id()));
        let path = directory.display().to_string();
        let error = load(&Storage::default(), &path).expect_err("nothing there");
        assert!(
            error
                .message
                .starts_with("Cannot find checkpoint or savepoint"),
            "{}",
            error.message
        );
        std::fs::create_dir_all(&directory).expect("made");
        let error = load(&Storage::default(), &path).expect_err("no metadata");
        assert!(
            error.message.starts_with("Cannot find meta data file"),
            "{}",
            error.message
        );
        std::fs::remove_dir_all(&directory).expect("removed");
    }
}
