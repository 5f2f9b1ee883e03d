//! A file system that reads copies in place of files, and counts what is read from where.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use millpond_fs::{Entry, Error, FileReader, FileSystem, FileWriter, LocalFileSystem, Location};
use serde::{Deserialize, Serialize};

use super::{Copy, LocalCopies, hash_of};
use crate::FileRecord;

/// What was read of the state of snapshots; shared with whoever tells of it.
#[derive(Debug, Default)]
pub struct ReadBytes {
    local: AtomicU64,
    remote: AtomicU64,
    unusable: AtomicU64,
}

/// What a restore has read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateRead {
    /// Bytes of state from copies on the disk of the machine.
    pub local_bytes: u64,
    /// Bytes of state from the storage of checkpoints.
    pub remote_bytes: u64,
    /// Copies that were there and could not be used, so that the file itself was read.
    pub unusable_copies: u64,
}

impl std::ops::AddAssign for StateRead {
    fn add_assign(&mut self, other: StateRead) {
        self.local_bytes += other.local_bytes;
        self.remote_bytes += other.remote_bytes;
        self.unusable_copies += other.unusable_copies;
    }
}

impl ReadBytes {
    /// What was read since it was asked for the last time in this way.
    pub fn take(&self) -> StateRead {
        StateRead {
            local_bytes: self.local.swap(0, Ordering::Relaxed),
            remote_bytes: self.remote.swap(0, Ordering::Relaxed),
            unusable_copies: self.unusable.swap(0, Ordering::Relaxed),
        }
    }

    /// What was read so far.
    pub fn so_far(&self) -> StateRead {
        StateRead {
            local_bytes: self.local.load(Ordering::Relaxed),
            remote_bytes: self.remote.load(Ordering::Relaxed),
            unusable_copies: self.unusable.load(Ordering::Relaxed),
        }
    }
}

/// The storage of one snapshot, with local copies in front of it if there are any.
pub(crate) struct CopiesFirst {
    storage: Arc<dyn FileSystem>,
    copies: Option<Arc<LocalCopies>>,
    /// The state files by their URIs, and what each should be, if that is known: else it has no copy.
    files: HashMap<String, Option<FileRecord>>,
    read: Arc<ReadBytes>,
    /// What was there when the first file was opened.
    found: OnceLock<HashMap<String, Vec<Copy>>>,
    /// By the URI of the file, its copy if it has one that is sound.
    checked: Mutex<HashMap<String, Option<Copy>>>,
    /// By their URIs, files that nobody has read yet: they were found whole by their copies.
    unread: Mutex<BTreeSet<String>>,
}

impl CopiesFirst {
    /// Reads copies in place of those of `files`, by their URIs, of which is known what they should be,
    /// and counts in `read` what is read of all of them.
    pub(crate) fn new(
        storage: Arc<dyn FileSystem>,
        copies: Option<Arc<LocalCopies>>,
        files: HashMap<String, Option<FileRecord>>,
        read: Arc<ReadBytes>,
    ) -> Self {
        CopiesFirst {
            storage,
            copies,
            files,
            read,
            found: OnceLock::new(),
            checked: Mutex::default(),
            unread: Mutex::default(),
        }
    }

    fn record(&self, file: &str) -> Option<&FileRecord> {
        self.files.get(file)?.as_ref()
    }

    fn checked(&self) -> MutexGuard<'_, HashMap<String, Option<Copy>>> {
        // Nothing panics while it holds the lock; the content is whole in any case.
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The copy of a file that the storage still has, if it is sound.
    ///
    /// # Errors
    ///
    /// What the storage says about the file.
    fn copy_of(&self, file: &Location) -> Result<Option<Copy>, Error> {
        let name = file.to_string();
        if let Some(known) = self.checked().get(&name) {
            return Ok(known.clone());
        }
        let (Some(copies), Some(record)) = (&self.copies, self.record(&name)) else {
            return Ok(None);
        };
        let found = self.found.get_or_init(|| copies.found());
        let of_file = found.get(&hash_of(&name)).map_or(&[][..], Vec::as_slice);
        // Of a file of the same name that was there before, for example.
        let fitting = |copy: &&Copy| (copy.size, copy.checksum) == (record.size, record.checksum);
        let mut of_file: Vec<&Copy> = of_file.iter().filter(fitting).collect();
        of_file.sort_by_key(|copy| !copies.has(copy));
        // A copy of what is gone is none: whether a snapshot is whole is the storage's to say.
        if of_file.is_empty() || self.storage.len(file)? != record.size {
            return Ok(None);
        }
        let sound = of_file.into_iter().find(|copy| match copy.damage() {
            None => true,
            Some(damage) => {
                self.read.unusable.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(
                    "the local copy \"{}\" of \"{file}\" is of no use: {damage}",
                    copy.path.display()
                );
                false
            }
        });
        if let Some(copy) = sound {
            copies.adopt(copy);
        }
        self.checked().insert(name, sound.cloned());
        Ok(sound.cloned())
    }

    /// The files that have a copy, as far as that was looked for, as URIs.
    pub(crate) fn with_copy(&self) -> Vec<String> {
        let checked = self.checked();
        let with_copy = checked.iter().filter(|(_, copy)| copy.is_some());
        with_copy.map(|(file, _)| file.clone()).collect()
    }

    /// Somebody has found these files whole by their copies: they themselves are checked when they have to
    /// be read after all.
    pub(crate) fn take_as_unread(&self, files: impl IntoIterator<Item = String>) {
        let mut unread = self.unread.lock().unwrap_or_else(PoisonError::into_inner);
        unread.extend(files);
    }

    /// The record of a file that has to be checked, as it is about to be read for the first time.
    ///
    /// # Errors
    ///
    /// What the storage says about the file.
    pub(crate) fn to_check(&self, file: &Location) -> Result<Option<&FileRecord>, Error> {
        let name = file.to_string();
        {
            let mut unread = self.unread.lock().unwrap_or_else(PoisonError::into_inner);
            if !unread.remove(&name) {
                return Ok(None);
            }
        }
        let has_copy = self.has_copy(file)?;
        Ok(self.record(&name).filter(|_| !has_copy))
    }

    /// Whether a file has a copy with the checksum that the file should have.
    ///
    /// # Errors
    ///
    /// What the storage says about the file.
    pub(crate) fn has_copy(&self, file: &Location) -> Result<bool, Error> {
        self.copy_of(file).map(|copy| copy.is_some())
    }
}

struct CountedReader {
    behind: Box<dyn FileReader>,
    read: Arc<ReadBytes>,
    is_copy: bool,
}

impl FileReader for CountedReader {
    fn len(&self) -> u64 {
        self.behind.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        self.behind.read_at(offset, buffer)?;
        let counter = match self.is_copy {
            true => &self.read.local,
            false => &self.read.remote,
        };
        counter.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        Ok(())
    }
}

impl FileSystem for CopiesFirst {
    fn create(&self, file: &Location) -> Result<Box<dyn FileWriter>, Error> {
        self.storage.create(file)
    }

    fn open(&self, file: &Location) -> Result<Box<dyn FileReader>, Error> {
        if !self.files.contains_key(&file.to_string()) {
            // Something beside the state: the marker of a claim, or the metadata of another snapshot.
            return self.storage.open(file);
        }
        let local = self.copy_of(file)?.and_then(|copy| {
            let location = Location::of_path(&copy.path).ok()?;
            // Gone since it was checked: the file itself is there.
            LocalFileSystem.open(&location).ok()
        });
        let is_copy = local.is_some();
        let behind = match local {
            Some(local) => local,
            None => self.storage.open(file)?,
        };
        Ok(Box::new(CountedReader {
            behind,
            read: Arc::clone(&self.read),
            is_copy,
        }))
    }

    fn write_atomic(&self, file: &Location, bytes: &[u8]) -> Result<(), Error> {
        self.storage.write_atomic(file, bytes)
    }

    fn exists(&self, location: &Location) -> Result<bool, Error> {
        self.storage.exists(location)
    }

    fn len(&self, file: &Location) -> Result<u64, Error> {
        self.storage.len(file)
    }

    fn list(&self, directory: &Location) -> Result<Vec<Entry>, Error> {
        self.storage.list(directory)
    }

    fn delete_file(&self, file: &Location) -> Result<(), Error> {
        self.storage.delete_file(file)
    }

    fn delete_dir(&self, directory: &Location) -> Result<(), Error> {
        self.storage.delete_dir(directory)
    }

    fn delete_empty_dir(&self, directory: &Location) -> Result<bool, Error> {
        self.storage.delete_empty_dir(directory)
    }

    fn create_dir_all(&self, directory: &Location) -> Result<(), Error> {
        self.storage.create_dir_all(directory)
    }

    fn sync_dir(&self, directory: &Location) -> Result<(), Error> {
        self.storage.sync_dir(directory)
    }

    /// Nothing where there is a copy: that goes with the next checkpoint, and can be linked. What others
    /// read by the path of the file counts as a whole.
    fn local_path(&self, file: &Location) -> Option<PathBuf> {
        if matches!(self.copy_of(file), Ok(Some(_))) {
            return None;
        }
        let path = self.storage.local_path(file)?;
        let size = self.storage.len(file).unwrap_or_default();
        self.read.remote.fetch_add(size, Ordering::Relaxed);
        Some(path)
    }

    /// Of copies on the disk that `to` is on. Counts as a whole as well.
    fn link(&self, file: &Location, to: &Path) -> bool {
        let Ok(Some(copy)) = self.copy_of(file) else {
            return false;
        };
        let is_linked = fs::hard_link(&copy.path, to).is_ok();
        if is_linked {
            self.read.local.fetch_add(copy.size, Ordering::Relaxed);
        }
        is_linked
    }
}
