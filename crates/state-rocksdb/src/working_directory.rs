//! The files of a snapshot under their local names in one directory, as RocksDB wants them.
//!
//! | file | brought by |
//! | --- | --- |
//! | local, a file of its own | symbolic link: nothing is copied, and nothing is written through it |
//! | remote, inline, a part of a merged file | copy, parts of a mebibyte, several at the same time |
//!
//! Names come from the snapshot, so none may lead out of the directory, and `CURRENT` must name a
//! manifest that is among the files.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use millpond_fs::ScratchDirectory;
use millpond_snapshot::{
    CopyError, Error, IncrementalHandle, LoadedSnapshot, NamedStream, StateSource, StreamHandle,
    copy_files,
};

use crate::manifest::{self, UnknownRecord};

/// The longest content of `CURRENT` that makes sense: a name, and an end of line.
const MAX_CURRENT_BYTES: u64 = 256;

/// The file that names the manifest.
const CURRENT: &str = "CURRENT";
const MANIFEST_PREFIX: &str = "MANIFEST-";

/// A directory with the files of one handle; deleted when it is dropped.
pub(crate) struct WorkingDirectory {
    directory: ScratchDirectory,
    /// Where each file came from, by its local name.
    origins: BTreeMap<String, String>,
    /// The snapshot, for errors about no file or a file that is not there.
    snapshot: String,
}

impl WorkingDirectory {
    /// Brings the files of `handle` together in a new directory below `parent`.
    ///
    /// # Errors
    ///
    /// Corrupt: a file has not the size that the handle says, a name makes no sense, or `CURRENT`
    /// does not name a manifest of the handle; Io: a file cannot be read or the directory not be
    /// written.
    pub(crate) fn of_handle(
        parent: &Path,
        snapshot: &LoadedSnapshot,
        handle: &IncrementalHandle,
    ) -> Result<Self, Error> {
        let made = ScratchDirectory::new_in(parent, "rocksdb");
        let directory = made.map_err(|error| {
            millpond_fs::Error::io("make a working directory in", parent.display(), error)
        })?;
        let mut made = WorkingDirectory {
            directory,
            origins: BTreeMap::new(),
            snapshot: snapshot.metadata_file.to_string(),
        };
        let mut to_copy = Vec::new();
        for file in handle.shared.iter().chain(&handle.private) {
            to_copy.extend(made.bring(snapshot, file)?);
        }
        copy_files(snapshot.reads(), &to_copy).map_err(|error| match error {
            CopyError::Read(error) => error,
            CopyError::Write(to, error) => not_written(&to, error),
        })?;
        made.check_current(snapshot, handle)?;
        Ok(made)
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Where a file came from, by its local name.
    pub(crate) fn origin(&self, name: &str) -> Option<&str> {
        self.origins.get(name).map(String::as_str)
    }

    /// The metadata of the snapshot.
    pub(crate) fn snapshot(&self) -> &str {
        &self.snapshot
    }

    /// Brings a file, or says what is to be copied to where.
    fn bring(
        &mut self,
        snapshot: &LoadedSnapshot,
        file: &NamedStream,
    ) -> Result<Option<(StateSource, PathBuf)>, Error> {
        let name = &file.name;
        if !is_plain(name) {
            let error = Error::corrupt(0, "the local name of a file of a RocksDB", quoted(name));
            return Err(error.in_file(&self.snapshot));
        }
        let source = snapshot.open(&file.stream)?;
        if self.origins.contains_key(name) {
            let error = Error::corrupt(0, "each file of a RocksDB once", format!("{name} twice"));
            return Err(error.in_file(&self.snapshot));
        }
        let to = self.path().join(name);
        self.origins.insert(name.clone(), source.name().to_owned());
        match whole_local_file(snapshot, &file.stream)? {
            Some(from) => {
                let linked = std::os::unix::fs::symlink(from, &to);
                linked.map_err(|error| not_written(&to, error))?;
                Ok(None)
            }
            None => Ok(Some((source, to))),
        }
    }

    /// Checks that `CURRENT` names a manifest that is there.
    fn check_current(
        &self,
        snapshot: &LoadedSnapshot,
        handle: &IncrementalHandle,
    ) -> Result<(), Error> {
        let mut files = handle.shared.iter().chain(&handle.private);
        let Some(current) = files.find(|file| file.name == CURRENT) else {
            let found = match self.origins.is_empty() {
                true => "no file at all".to_owned(),
                false => self.origins.keys().cloned().collect::<Vec<_>>().join(", "),
            };
            let error = Error::corrupt(0, "the files of a RocksDB with CURRENT", found);
            return Err(error.in_file(&self.snapshot));
        };
        let source = snapshot.open(&current.stream)?;
        let bytes = source.read_range(0, source.len().min(MAX_CURRENT_BYTES))?;
        let text = String::from_utf8_lossy(&bytes);
        let manifest = text.strip_suffix('\n').unwrap_or_default();
        let is_there = manifest.starts_with(MANIFEST_PREFIX) && self.origins.contains_key(manifest);
        if is_there && source.len() <= MAX_CURRENT_BYTES {
            return self.check_manifest(manifest);
        }
        let known: Vec<&str> = self
            .origins
            .keys()
            .map(String::as_str)
            .filter(|name| name.starts_with(MANIFEST_PREFIX))
            .collect();
        let expected = match known.as_slice() {
            [] => "the name of a manifest, of which the snapshot has none".to_owned(),
            known => format!("{} and an end of line", known.join(" or ")),
        };
        let error = Error::corrupt(0, expected, quoted(&text));
        Err(error.in_file(source.name()))
    }

    fn check_manifest(&self, name: &str) -> Result<(), Error> {
        let path = self.path().join(name);
        let origin = self.origin(name).unwrap_or(name);
        let unknown = manifest::unknown_record(&path)
            .map_err(|error| millpond_fs::Error::io("read", origin, error))?;
        let Some(UnknownRecord { at, kind }) = unknown else {
            return Ok(());
        };
        let expected = "a record of a manifest, of type 0 to 4";
        Err(Error::corrupt(at, expected, format!("type {kind}")).in_file(origin))
    }
}

/// Whether a name is one of a file in the directory itself.
fn is_plain(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && name.len() <= 128 && !name.starts_with('.') && name.chars().all(allowed)
}

fn quoted(text: &str) -> String {
    let short: String = text.chars().take(80).collect();
    format!("{short:?}")
}

/// The path of a file on this machine that is the whole stream.
fn whole_local_file(
    snapshot: &LoadedSnapshot,
    stream: &StreamHandle,
) -> Result<Option<PathBuf>, Error> {
    match stream {
        StreamHandle::File { .. } | StreamHandle::Relative { .. } => {}
        StreamHandle::Bytes { .. }
        | StreamHandle::KeyGroups { .. }
        | StreamHandle::Segment { .. }
        | StreamHandle::EmptySegment => return Ok(None),
    }
    let Some(location) = snapshot.file_of(stream)? else {
        return Ok(None);
    };
    Ok(snapshot.file_system().local_path(&location))
}

fn not_written(to: &Path, error: io::Error) -> Error {
    millpond_fs::Error::io("write", to.display(), error).into()
}
