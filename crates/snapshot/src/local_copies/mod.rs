//! Second copies of state files, on the disk of the machine whose tasks wrote them.
//!
//! A restart on the same machine reads them in place of the checkpoint storage. They are never needed:
//! what is gone, cut or damaged is read from the storage. So nothing here fails a checkpoint or a
//! restore, and copies are not synced: they survive the death of every process, not that of the machine.
//!
//! ```text
//! <a directory>/localState/jid_<job id>/owner                  the job master that made it, as JSON
//! <a directory>/localState/jid_<job id>/<process>/<hash of the file's URI>.<bytes>.<XXH3-64 of them>
//! <a directory>/localState/jid_<job id>/<process>/.<hash of the file's URI>.inprogress
//! <a directory>/localState/jid_<job id>_<task manager>/        the same of the workers of a task manager
//! <a directory>/localState/jid_<job id>_<task manager>/<process>.owner     that process, as JSON
//! ```
//!
//! The hash is MurmurHash3 of 128 bits, in hex. A copy gets its name when it is whole. It is found by
//! the URI of the file that it is a copy of, whichever process of whichever job wrote it, and used only if
//! its bytes have the size and the checksum that the trailer of the snapshot gives that file; so a file
//! that the trailer does not know has no copy. Each process deletes its own copies only: all that its
//! newest complete checkpoint, a newer savepoint and what is in progress do not refer to.
//!
//! | module | what is in it |
//! | --- | --- |
//! | `copying` | a file system that makes copies of what is written through it |
//! | `restoring` | a file system that reads copies in place of files, and counts |
//! | `job_directories` | where the copies of one job lie; what jobs that were killed have left |
//!
//! Model: Flink 2.3.0, class `TaskLocalStateStoreImpl`. It keeps state by subtask and checkpoint, so that
//! a subtask that comes back on another worker finds nothing; by file, it does not matter which
//! subtask a file was written by.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millpond_fs::FileSystem;
use millpond_types::{CheckpointId, murmur3_128};

use crate::checksum::ChecksumWriter;

mod copying;
mod job_directories;
mod restoring;

pub use job_directories::JobDirectories;
pub(crate) use restoring::CopiesFirst;
pub use restoring::{ReadBytes, StateRead};

use copying::CopyingFileSystem;

/// How much of a copy is read at once when its checksum is checked.
const CHECK_BYTES: usize = 1 << 20;

/// Where copies lie, and which of them this process still wants.
#[derive(Debug)]
pub struct LocalCopies {
    directories: JobDirectories,
    /// The name of the directory of this process; `None` if it only reads.
    process: Option<String>,
    wanted: Mutex<BTreeMap<CheckpointId, Part>>,
    /// Whether it was told that copies cannot be written, and none was written since.
    told: AtomicBool,
}

/// The files that this process's part of a snapshot refers to.
#[derive(Debug, Default)]
struct Part {
    is_savepoint: bool,
    /// As URIs.
    files: BTreeSet<String>,
}

/// A whole copy.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Copy {
    path: PathBuf,
    size: u64,
    checksum: u64,
}

/// The name of a file's copies up to the first dot.
fn hash_of(file: &str) -> String {
    let hash = murmur3_128(file.as_bytes());
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the name of a copy says: hash, size and checksum.
fn parsed(name: &str) -> Option<(&str, u64, u64)> {
    let mut parts = name.split('.');
    let (hash, size, checksum) = (parts.next()?, parts.next()?, parts.next()?);
    let is_all = parts.next().is_none() && hash.len() == 32;
    let checksum = u64::from_str_radix(checksum, 16).ok()?;
    is_all.then_some((hash, size.parse().ok()?, checksum))
}

/// Names and paths in a directory; nothing if it cannot be listed.
fn entries(directory: &Path) -> Vec<(String, PathBuf)> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
        .collect()
}

impl LocalCopies {
    /// Copies of the process number `process` of a job.
    pub fn of_process(directories: JobDirectories, process: u32) -> Self {
        LocalCopies {
            process: Some(process.to_string()),
            ..Self::to_read(directories)
        }
    }

    /// For somebody who has no copies of its own, and reads those of others.
    pub fn to_read(directories: JobDirectories) -> Self {
        LocalCopies {
            directories,
            process: None,
            wanted: Mutex::default(),
            told: AtomicBool::new(false),
        }
    }

    /// A file system in front of `storage` that copies what is written through it for a snapshot.
    pub fn of_snapshot(
        self: &Arc<Self>,
        storage: Arc<dyn FileSystem>,
        checkpoint: CheckpointId,
        is_savepoint: bool,
    ) -> Arc<dyn FileSystem> {
        self.part(checkpoint, is_savepoint, []);
        Arc::new(CopyingFileSystem {
            storage,
            copies: Arc::clone(self),
            checkpoint,
        })
    }

    /// A task's part of a snapshot refers to these files, as URIs, whoever has written them.
    pub fn part(
        &self,
        checkpoint: CheckpointId,
        is_savepoint: bool,
        files: impl IntoIterator<Item = String>,
    ) {
        let mut wanted = self.wanted();
        let part = wanted.entry(checkpoint).or_default();
        part.is_savepoint = is_savepoint;
        part.files.extend(files);
    }

    /// A snapshot is complete: what only older ones refer to goes. A savepoint leaves the checkpoint
    /// before it alone, whose files the next one may refer to.
    pub fn complete(&self, checkpoint: CheckpointId) {
        {
            let mut wanted = self.wanted();
            let part = wanted.get(&checkpoint);
            let is_savepoint = part.is_some_and(|part| part.is_savepoint);
            wanted.retain(|id, part| *id >= checkpoint || (is_savepoint && !part.is_savepoint));
        }
        self.sweep();
    }

    /// A snapshot will not be complete: what only it refers to goes.
    pub fn aborted(&self, checkpoint: CheckpointId) {
        if self.wanted().remove(&checkpoint).is_some() {
            self.sweep();
        }
    }

    /// Tasks are to be restored from a snapshot that refers to these files: nothing else that this
    /// process has copied is wanted any more.
    pub fn restored(&self, checkpoint: CheckpointId, files: BTreeSet<String>) {
        let part = Part {
            is_savepoint: false,
            files,
        };
        *self.wanted() = BTreeMap::from([(checkpoint, part)]);
        self.sweep();
    }

    fn wanted(&self) -> MutexGuard<'_, BTreeMap<CheckpointId, Part>> {
        // Nothing panics while it holds the lock; the content is whole in any case.
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The directories of this process, one below each root.
    fn own(&self) -> Vec<PathBuf> {
        let Some(process) = &self.process else {
            return Vec::new();
        };
        let of_job = self.directories.of_job().into_iter();
        of_job.map(|directory| directory.join(process)).collect()
    }

    /// Deletes this process's copies of all that is not wanted.
    fn sweep(&self) {
        // What begins behind this is not looked at, and what began before is wanted.
        let there: Vec<_> = self.own().iter().flat_map(|own| entries(own)).collect();
        if there.is_empty() {
            return;
        }
        let hashes: BTreeSet<String> = {
            let wanted = self.wanted();
            let files = wanted.values().flat_map(|part| &part.files);
            files.map(|file| hash_of(file)).collect()
        };
        for (name, path) in there {
            let hash = name.strip_prefix('.').unwrap_or(&name);
            let hash = hash.split('.').next().unwrap_or_default();
            if !hashes.contains(hash) {
                // It is looked at again with the next checkpoint.
                let _ = fs::remove_file(path);
            }
        }
    }

    /// All whole copies, of whatever job and process, by the hash of their file.
    fn found(&self) -> HashMap<String, Vec<Copy>> {
        let jobs = self.directories.of_all_jobs().into_iter();
        let processes = jobs.flat_map(|(_, job)| entries(&job));
        let files = processes.flat_map(|(_, process)| entries(&process));
        let mut found: HashMap<String, Vec<Copy>> = HashMap::new();
        for (name, path) in files {
            if let Some((hash, size, checksum)) = parsed(&name) {
                let copy = Copy {
                    path,
                    size,
                    checksum,
                };
                found.entry(hash.to_owned()).or_default().push(copy);
            }
        }
        found
    }

    /// Where the copy of a file is to lie; `None` if this process has none.
    fn place_of(&self, hash: &str) -> Option<PathBuf> {
        let own = self.own();
        let number = hash.bytes().map(usize::from).sum::<usize>();
        own.get(number.checked_rem(own.len())?).cloned()
    }

    /// Has this process a copy of its own that another one made, so that it does not depend on how long
    /// that one is kept; costs no room.
    fn adopt(&self, copy: &Copy) {
        let (Some(name), false) = (copy.path.file_name(), self.has(copy)) else {
            return;
        };
        for own in self.own() {
            // Whatever stands in the way: the copy can be read where it is, and the file itself later.
            let made = fs::create_dir(&own);
            let is_there = made.is_ok() || own.is_dir();
            if is_there && fs::hard_link(&copy.path, own.join(name)).is_ok() {
                return;
            }
        }
    }

    /// Whether a copy is this process's own.
    fn has(&self, copy: &Copy) -> bool {
        self.own().iter().any(|own| copy.path.starts_with(own))
    }

    /// Deletes this process's copies of a file.
    fn remove(&self, file: &str) {
        let hash = hash_of(file);
        for (name, path) in self.own().iter().flat_map(|own| entries(own)) {
            if parsed(&name).is_some_and(|(of, _, _)| of == hash) {
                // Whatever is left goes with the next checkpoint.
                let _ = fs::remove_file(path);
            }
        }
    }
}

impl Copy {
    /// Why the copy is not what its name says; `None` if it is.
    fn damage(&self) -> Option<String> {
        let check = || -> io::Result<(u64, u64)> {
            let mut file = fs::File::open(&self.path)?;
            let mut checked = ChecksumWriter::new(io::sink());
            let mut buffer = vec![0; CHECK_BYTES];
            loop {
                let read = io::Read::read(&mut file, &mut buffer)?;
                if read == 0 {
                    let (_, size, checksum) = checked.finish();
                    return Ok((size, checksum));
                }
                checked.write_all(&buffer[..read])?;
            }
        };
        match check() {
            Err(error) => Some(error.to_string()),
            Ok((size, _)) if size != self.size => {
                Some(format!("expected {} bytes, found {size}", self.size))
            }
            Ok((_, checksum)) if checksum != self.checksum => Some(format!(
                "expected the checksum {:016x}, found {checksum:016x}",
                self.checksum
            )),
            Ok(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
