//! A file system in memory, with faults on demand; for tests.
//!
//! It keeps what a real one may lose: [`MemoryFileSystem::crash`] forgets the bytes of files that
//! were not synced.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::ErrorKind;
use crate::{Durability, Entry, Error, FileReader, FileSystem, FileWriter, Location};

/// What shall go wrong. Calls count from 1, from the time the faults are set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// These calls of `write` fail; nothing of them is written.
    pub failing_writes: BTreeSet<u64>,
    /// These calls of `write` keep only so many bytes, and fail.
    pub torn_writes: BTreeMap<u64, usize>,
    /// These calls of `read_at` fail, and would succeed when tried again.
    pub failing_reads: BTreeSet<u64>,
    /// The bytes that all files together may have.
    pub capacity_bytes: Option<u64>,
    /// How long each call of `read_at` takes.
    pub read_delay: Duration,
}

/// What was read since the faults were set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// Calls of `read_at`.
    pub calls: u64,
    /// The bytes of those that have succeeded.
    pub bytes: u64,
    /// How many calls there were at most at the same time.
    pub most_at_once: u64,
    /// The largest number of bytes that calls had room for at the same time.
    pub most_bytes_at_once: u64,
    at_once: u64,
    bytes_at_once: u64,
}

/// Files in memory. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct MemoryFileSystem(Arc<Mutex<Store>>);

#[derive(Debug, Default)]
struct Store {
    files: BTreeMap<Location, FileState>,
    directories: BTreeSet<Location>,
    faults: Faults,
    writes: u64,
    reads: Reads,
}

#[derive(Clone, Debug, Default)]
struct FileState {
    bytes: Vec<u8>,
    synced: bool,
}

struct MemoryWriter {
    store: MemoryFileSystem,
    file: Location,
}

struct MemoryReader {
    store: MemoryFileSystem,
    file: Location,
    bytes: Vec<u8>,
}

impl MemoryFileSystem {
    /// Returns an empty file system without faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets what shall go wrong from now on, and starts counting calls anew.
    pub fn set_faults(&self, faults: Faults) {
        let mut store = self.store();
        let reads = Reads {
            at_once: store.reads.at_once,
            bytes_at_once: store.reads.bytes_at_once,
            ..Reads::default()
        };
        (store.faults, store.writes, store.reads) = (faults, 0, reads);
    }

    /// What was read since the faults were set.
    pub fn reads(&self) -> Reads {
        self.store().reads
    }

    /// Loses what a crash of the machine may lose: the bytes of files that were not synced.
    pub fn crash(&self) {
        for file in self.store().files.values_mut().filter(|file| !file.synced) {
            file.bytes.clear();
        }
    }

    /// Changes one file in place, as damage does.
    ///
    /// # Panics
    ///
    /// If there is no such file.
    pub fn damage(&self, file: &Location, change: impl FnOnce(&mut Vec<u8>)) {
        let mut store = self.store();
        change(
            &mut store
                .files
                .get_mut(file)
                .expect("the file to damage is there")
                .bytes,
        );
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        // A test that panicked while it held the lock leaves the files as they were.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    fn make_dirs(&mut self, directory: Option<Location>) {
        let mut next = directory;
        while let Some(directory) = next {
            next = directory.parent();
            self.directories.insert(directory);
        }
    }

    fn used_bytes(&self) -> u64 {
        self.files
            .values()
            .map(|file| file.bytes.len() as u64)
            .sum()
    }

    /// Returns how many of `length` bytes get through, and what the writer is told.
    fn admit(&mut self, length: usize) -> (usize, io::Result<usize>) {
        self.writes += 1;
        if self.faults.failing_writes.contains(&self.writes) {
            return (0, Err(io::Error::other("injected fault")));
        }
        if let Some(kept) = self.faults.torn_writes.get(&self.writes) {
            return (
                (*kept).min(length),
                Err(io::Error::other("injected torn write")),
            );
        }
        let room = self
            .faults
            .capacity_bytes
            .map(|most| most.saturating_sub(self.used_bytes()));
        match room {
            Some(room) if room < length as u64 => {
                (room as usize, Err(io::ErrorKind::StorageFull.into()))
            }
            Some(_) | None => (length, Ok(length)),
        }
    }

    fn append(&mut self, file: &Location, bytes: &[u8]) -> io::Result<usize> {
        let (kept, told) = self.admit(bytes.len());
        match self.files.get_mut(file) {
            Some(state) => state.bytes.extend_from_slice(&bytes[..kept]),
            None => return Err(io::ErrorKind::NotFound.into()),
        }
        told
    }
}

impl FileSystem for MemoryFileSystem {
    fn create(&self, file: &Location) -> Result<Box<dyn FileWriter>, Error> {
        let mut store = self.store();
        if store.files.contains_key(file) {
            return Err(Error::plain(ErrorKind::AlreadyExists, "create", file));
        }
        store.make_dirs(file.parent());
        store.files.insert(file.clone(), FileState::default());
        Ok(Box::new(MemoryWriter {
            store: self.clone(),
            file: file.clone(),
        }))
    }

    fn open(&self, file: &Location) -> Result<Box<dyn FileReader>, Error> {
        match self.store().files.get(file) {
            Some(state) => {
                let bytes = state.bytes.clone();
                Ok(Box::new(MemoryReader {
                    store: self.clone(),
                    file: file.clone(),
                    bytes,
                }))
            }
            None => Err(Error::plain(ErrorKind::NotFound, "open", file)),
        }
    }

    fn write_atomic(&self, file: &Location, bytes: &[u8]) -> Result<(), Error> {
        let mut store = self.store();
        store.make_dirs(file.parent());
        let (_, told) = store.admit(bytes.len());
        told.map_err(|error| Error::io("write", file, error))?;
        store.files.insert(
            file.clone(),
            FileState {
                bytes: bytes.to_vec(),
                synced: true,
            },
        );
        Ok(())
    }

    fn exists(&self, location: &Location) -> Result<bool, Error> {
        let store = self.store();
        Ok(store.files.contains_key(location) || store.directories.contains(location))
    }

    fn len(&self, file: &Location) -> Result<u64, Error> {
        self.open(file).map(|opened| opened.len())
    }

    fn list(&self, directory: &Location) -> Result<Vec<Entry>, Error> {
        let store = self.store();
        if !store.directories.contains(directory) {
            return Err(Error::plain(ErrorKind::NotFound, "list", directory));
        }
        let inside = |location: &Location| location.parent().as_ref() == Some(directory);
        let name = |location: &Location| location.file_name().to_owned();
        let files = store
            .files
            .iter()
            .filter(|(location, _)| inside(location))
            .map(|(location, state)| Entry {
                name: name(location),
                is_dir: false,
                len: state.bytes.len() as u64,
            });
        let directories = store
            .directories
            .iter()
            .filter(|location| inside(location))
            .map(|location| Entry {
                name: name(location),
                is_dir: true,
                len: 0,
            });
        let mut entries: Vec<_> = files.chain(directories).collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn delete_file(&self, file: &Location) -> Result<(), Error> {
        match self.store().files.remove(file) {
            Some(_) => Ok(()),
            None => Err(Error::plain(ErrorKind::NotFound, "delete", file)),
        }
    }

    fn delete_dir(&self, directory: &Location) -> Result<(), Error> {
        let mut store = self.store();
        if !store.directories.contains(directory) {
            return Err(Error::plain(ErrorKind::NotFound, "delete", directory));
        }
        store
            .files
            .retain(|location, _| !location.starts_with(directory));
        store
            .directories
            .retain(|location| !location.starts_with(directory));
        Ok(())
    }

    fn create_dir_all(&self, directory: &Location) -> Result<(), Error> {
        self.store().make_dirs(Some(directory.clone()));
        Ok(())
    }

    fn sync_dir(&self, directory: &Location) -> Result<(), Error> {
        if self.store().directories.contains(directory) {
            return Ok(());
        }
        Err(Error::plain(ErrorKind::NotFound, "sync", directory))
    }
}

impl Write for MemoryWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.store.store().append(&self.file, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl FileWriter for MemoryWriter {
    fn close(self: Box<Self>, durability: Durability) -> Result<Duration, Error> {
        match self.store.store().files.get_mut(&self.file) {
            Some(state) => state.synced = durability == Durability::Synced,
            None => return Err(Error::plain(ErrorKind::NotFound, "close", &self.file)),
        }
        Ok(Duration::ZERO)
    }
}

impl FileReader for MemoryReader {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        let length = buffer.len() as u64;
        let mut store = self.store.store();
        let reads = &mut store.reads;
        reads.calls += 1;
        reads.at_once += 1;
        reads.bytes_at_once += length;
        reads.most_at_once = reads.most_at_once.max(reads.at_once);
        reads.most_bytes_at_once = reads.most_bytes_at_once.max(reads.bytes_at_once);
        let calls = reads.calls;
        let injected = store.faults.failing_reads.contains(&calls);
        let delay = store.faults.read_delay;
        drop(store);
        std::thread::sleep(delay);
        let mut store = self.store.store();
        store.reads.at_once -= 1;
        store.reads.bytes_at_once -= length;
        drop(store);
        let failed = |kind: io::ErrorKind| Error::io("read", &self.file, kind.into());
        if injected {
            return Err(failed(io::ErrorKind::TimedOut));
        }
        let start = usize::try_from(offset).ok();
        let found = start
            .and_then(|start| self.bytes.get(start..)?.get(..buffer.len()))
            .ok_or_else(|| failed(io::ErrorKind::UnexpectedEof))?;
        buffer.copy_from_slice(found);
        self.store.store().reads.bytes += length;
        Ok(())
    }
}
