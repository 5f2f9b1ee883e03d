//! The files of a snapshot that a store is opened on, instead of writing all entries anew.
//!
//! Of the handles that hold key groups of a subtask, the one with most of them is opened as it is,
//! and what it holds of others is cut off by the store. The entries of the other handles are read
//! and written, only those of the subtask:
//!
//! ```text
//!   handles   0 ........ 41   42 ........ 84   85 ...... 127
//!   subtask          30 ============================= 127
//!                    entries   files           files or entries: the larger part is opened
//! ```
//!
//! The files are brought under their local names into a directory: local ones by symbolic links,
//! which cost nothing on any file system, those with a copy on the same disk by hard links, the rest by
//! copy, several parts at the same time. What the store has taken over is remembered, so that the next checkpoint may refer to it.
//!
//! Source of the choice: Flink 2.3.0, class `RocksDBIncrementalCheckpointUtils`.

use crate::restored_key::KeyConverter;
use crate::store::{StateBackend, StateMeta};
use crate::{BackendOwner, Error, Result};
use millpond_fs::ScratchDirectory;
use millpond_serializer::FlinkKey;
use millpond_snapshot::{
    CopyError, FileRecord, IncrementalHandle, KeyedHandle, LoadedSnapshot, NamedStream,
    StateSource, StreamHandle, copy_files,
};
use millpond_types::CheckpointId;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// A file of a snapshot that a store was opened on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoredFile {
    /// Where it lies; nothing relative.
    pub stream: StreamHandle,
    /// Its checksum, if it is known.
    pub record: Option<FileRecord>,
}

/// The files of a snapshot that a store was opened on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoredFiles {
    /// The snapshot.
    pub checkpoint: CheckpointId,
    /// By their names, those that are files of their own.
    pub files: BTreeMap<String, RestoredFile>,
}

/// Files for a store, in a directory that goes with this.
pub(crate) struct BroughtFiles {
    /// Which of the handles they are.
    pub(crate) handle: usize,
    pub(crate) directory: ScratchDirectory,
    /// The states in them.
    pub(crate) states: Vec<StateMeta>,
    pub(crate) restored: RestoredFiles,
}

impl BroughtFiles {
    /// Chooses the handle whose files `backend` is to be opened on, and brings them together below
    /// `parent`; `None` if there is none that it could open.
    ///
    /// # Errors
    ///
    /// Corrupt or storage, if files are damaged or cannot be read; incompatible, if keys are.
    pub(crate) fn of<K: FlinkKey>(
        backend: &dyn StateBackend,
        owner: &BackendOwner,
        parent: &Path,
        snapshot: &LoadedSnapshot,
        handles: &[KeyedHandle],
    ) -> Result<Option<Self>> {
        let mut found: Option<((usize, usize), usize, &IncrementalHandle)> = None;
        for (index, handle) in handles.iter().enumerate() {
            let KeyedHandle::Incremental(files) = handle else {
                continue;
            };
            let range = handle.key_groups();
            let common = range.and_then(|range| range.intersection(owner.range));
            let (Some(range), Some(common)) = (range, common) else {
                continue;
            };
            let names: Vec<&str> = named(files).map(|file| file.name.as_str()).collect();
            if !names.iter().all(|name| is_plain(name)) || !backend.opens(&names) {
                continue;
            }
            // Of two that hold as much, the one with less of others.
            let worth = (common.len(), usize::MAX - range.len());
            if found.is_none_or(|(best, ..)| worth > best) {
                found = Some((worth, index, files));
            }
        }
        let Some((_, handle, files)) = found else {
            return Ok(None);
        };
        let header = snapshot.rocksdb_header(files).map_err(Error::restoring)?;
        // Keys that lie differently now have to be written anew.
        if !KeyConverter::<K>::new(&header)?.is_as_is() {
            return Ok(None);
        }
        let prefix = format!("restore-{}-{}", owner.operator, owner.subtask);
        let directory = ScratchDirectory::new_in(parent, &prefix).map_err(|error| {
            Error::storage(format!("making a directory in {}", parent.display()), error)
        })?;
        let mut restored = RestoredFiles {
            checkpoint: snapshot.metadata.checkpoint_id,
            files: BTreeMap::new(),
        };
        let mut to_copy = Vec::new();
        for file in named(files) {
            to_copy.extend(bring(snapshot, file, directory.path())?);
            if let Some(found) = restored_file(snapshot, &file.stream)? {
                restored.files.insert(file.name.clone(), found);
            }
        }
        copy_files(snapshot.reads(), &to_copy).map_err(|error| match error {
            CopyError::Read(error) => Error::restoring(error),
            CopyError::Write(to, error) => not_written(snapshot, &to, error),
        })?;
        Ok(Some(BroughtFiles {
            handle,
            directory,
            states: header.states,
            restored,
        }))
    }
}

fn named(handle: &IncrementalHandle) -> impl Iterator<Item = &NamedStream> {
    handle.shared.iter().chain(&handle.private)
}

/// Whether a name is one of a file in the directory itself: it comes from the snapshot.
fn is_plain(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && name.len() <= 128 && !name.starts_with('.') && name.chars().all(allowed)
}

/// How a file, or its part of one, is called by every checkpoint, wherever that lies; `None` if it is
/// in the metadata.
fn restored_file(snapshot: &LoadedSnapshot, stream: &StreamHandle) -> Result<Option<RestoredFile>> {
    let location = snapshot.file_of(stream).map_err(Error::restoring)?;
    let (stream, name) = match (stream, location) {
        (StreamHandle::File { path, .. }, Some(_)) => (stream.clone(), path.clone()),
        (StreamHandle::Relative { size, .. }, Some(location)) => {
            let (path, size) = (location.to_string(), *size);
            (StreamHandle::File { path, size }, location.to_string())
        }
        (StreamHandle::Segment { .. }, Some(location)) => (
            shared_segment(stream, location.to_string()),
            location.to_string(),
        ),
        _ => return Ok(None),
    };
    let record = snapshot.record_of(&stream);
    Ok(Some(RestoredFile {
        record: record.map(|record| FileRecord {
            name,
            ..record.clone()
        }),
        stream,
    }))
}

/// The same part of the file at `location`, for several checkpoints to refer to.
fn shared_segment(stream: &StreamHandle, location: String) -> StreamHandle {
    let mut shared = stream.clone();
    if let StreamHandle::Segment { scope, path, .. } = &mut shared {
        (*scope, *path) = (StreamHandle::SHARED, location);
    }
    shared
}

/// Brings a file under its local name into `directory`, or says what is to be copied to where.
fn bring(
    snapshot: &LoadedSnapshot,
    file: &NamedStream,
    directory: &Path,
) -> Result<Option<(StateSource, PathBuf)>> {
    let to = directory.join(&file.name);
    // Checks its size.
    let source = snapshot.open(&file.stream).map_err(Error::restoring)?;
    if let Some(from) = local_path(snapshot, &file.stream)? {
        let linked = std::os::unix::fs::symlink(from, &to);
        return linked
            .map(|()| None)
            .map_err(|error| not_written(snapshot, &to, error));
    }
    let is_linked = snapshot.link(&file.stream, &to).map_err(Error::restoring)?;
    Ok((!is_linked).then_some((source, to)))
}

fn not_written(snapshot: &LoadedSnapshot, to: &Path, error: io::Error) -> Error {
    if error.kind() != io::ErrorKind::AlreadyExists {
        return Error::storage(format!("writing {}", to.display()), error);
    }
    let what = format!("the files of {}", snapshot.metadata_file);
    let name = to.file_name().unwrap_or_default().to_string_lossy();
    Error::corrupt(what, format!("{name} is there twice"))
}

/// The path of a file on this machine that is the whole stream.
fn local_path(snapshot: &LoadedSnapshot, stream: &StreamHandle) -> Result<Option<PathBuf>> {
    if !matches!(
        stream,
        StreamHandle::File { .. } | StreamHandle::Relative { .. }
    ) {
        return Ok(None);
    }
    let location = snapshot.file_of(stream).map_err(Error::restoring)?;
    Ok(location.and_then(|location| snapshot.file_system().local_path(&location)))
}
