//! A new snapshot: its directory, its state files, and at last its metadata.
//!
//! As with every snapshot, the data comes first and `_metadata` last and atomically: until then
//! the directory is none. If the work is given up, what was written is deleted.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millpond_fs::{Durability, FileSystem, Location};
use millpond_snapshot::{
    ChecksumWriter, Error, FileRecord, LoadedSnapshot, Metadata, RocksDb, StateStream,
    StreamHandle, WrittenStream, state_file_name, write_metadata,
};

/// States of up to this many bytes lie inside `_metadata`: Flink's default.
const INLINE_BYTES: usize = 20 << 10;
/// How much of a file is copied at once.
const COPY_BYTES: u64 = 1 << 20;

/// Writes a new snapshot into a directory of its own.
///
/// Streams may be written from several threads at once.
pub struct SnapshotWriter {
    fs: Arc<dyn FileSystem>,
    directory: Location,
    /// What makes files of a RocksDB.
    rocksdb: Option<Arc<dyn RocksDb>>,
    /// Whether the directory was made here, and is to be removed again if the work is given up.
    made_directory: bool,
    files: Mutex<Files>,
    /// What the files that were copied have become: path and offset to handle.
    copies: HashMap<(Location, i64), StreamHandle>,
    finished: bool,
}

#[derive(Default)]
struct Files {
    /// Names that are taken.
    names: HashSet<String>,
    /// What is complete.
    records: Vec<FileRecord>,
}

impl SnapshotWriter {
    /// Makes the directory of a new snapshot.
    ///
    /// # Errors
    ///
    /// A request that makes no sense, if there is something at `directory` that is not an empty directory; Io, if
    /// it cannot be made.
    pub fn create(fs: Arc<dyn FileSystem>, directory: &Location) -> Result<Self, crate::Error> {
        let there = fs.exists(directory)?;
        if there {
            let taken = match fs.list(directory) {
                Ok(entries) => !entries.is_empty(),
                Err(_) => true,
            };
            if taken {
                let reason = format!(
                    "\"{directory}\" is there already; a new snapshot needs a directory that is \
                     missing or empty"
                );
                return Err(crate::Error::request(reason));
            }
        } else {
            fs.create_dir_all(directory)?;
        }
        Ok(SnapshotWriter {
            fs,
            directory: directory.clone(),
            rocksdb: None,
            made_directory: !there,
            files: Mutex::default(),
            copies: HashMap::new(),
            finished: false,
        })
    }

    /// Hands in what makes files of a RocksDB; without it that format is refused.
    #[must_use]
    pub fn with_rocksdb(mut self, rocksdb: Option<Arc<dyn RocksDb>>) -> Self {
        self.rocksdb = rocksdb;
        self
    }

    pub(crate) fn rocksdb(&self) -> Option<&Arc<dyn RocksDb>> {
        self.rocksdb.as_ref()
    }

    /// The directory.
    pub fn directory(&self) -> &Location {
        &self.directory
    }

    pub(crate) fn file_system(&self) -> &Arc<dyn FileSystem> {
        &self.fs
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        // Nothing panics while it holds the lock; the content is whole in any case.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a name that no other file of the snapshot has.
    fn take_name(&self) -> String {
        let mut files = self.files();
        loop {
            let name = state_file_name(random());
            if files.names.insert(name.clone()) {
                return name;
            }
        }
    }

    /// Begins a state; small ones end inside of `_metadata`.
    pub fn stream(&self) -> StateStream<'_> {
        StateStream::new(&*self.fs, &self.directory, &self.take_name(), INLINE_BYTES)
    }

    /// Ends a state and returns the handle of its bytes.
    ///
    /// # Errors
    ///
    /// Io, if the file cannot be written.
    pub fn finish_stream(&self, stream: StateStream<'_>) -> Result<StreamHandle, Error> {
        let WrittenStream { handle, file, .. } = stream.finish(Durability::Synced)?;
        self.files().records.extend(file);
        Ok(handle)
    }

    /// Copies a stream of another snapshot byte by byte. Inline bytes stay inline; a file beside
    /// the other `_metadata` keeps its name; every other place becomes a file in this directory.
    /// A file that several handles share is copied once.
    ///
    /// # Errors
    ///
    /// Corrupt, if the file has not the size or the checksum that its snapshot says; Io, if it
    /// cannot be read or written.
    pub fn copy(
        &mut self,
        from: &LoadedSnapshot,
        stream: &StreamHandle,
    ) -> Result<StreamHandle, Error> {
        let start = match stream {
            StreamHandle::Bytes { .. } | StreamHandle::EmptySegment => return Ok(stream.clone()),
            StreamHandle::KeyGroups { groups, stream } => {
                return Ok(StreamHandle::KeyGroups {
                    groups: groups.clone(),
                    stream: Box::new(self.copy(from, stream)?),
                });
            }
            StreamHandle::Segment { start, .. } => *start,
            StreamHandle::File { .. } | StreamHandle::Relative { .. } => 0,
        };
        let Some(file) = from.file_of(stream)? else {
            return Ok(stream.clone());
        };
        let place = (file, start);
        if let Some(copy) = self.copies.get(&place) {
            return Ok(copy.clone());
        }
        let own = match stream {
            StreamHandle::Relative { name, .. } => Some(name),
            StreamHandle::Bytes { .. }
            | StreamHandle::File { .. }
            | StreamHandle::KeyGroups { .. }
            | StreamHandle::Segment { .. }
            | StreamHandle::EmptySegment => None,
        };
        // A name that others wrote must stay off the metadata of the new directory.
        let plain = own.filter(|name| !name.starts_with(['.', '_']));
        let free = plain.filter(|name| self.files().names.insert((*name).clone()));
        let name = free.cloned().unwrap_or_else(|| self.take_name());
        let record = self.copy_bytes(from, stream, &name)?;
        let trailer = from.metadata.trailer.as_ref();
        if let (StreamHandle::Relative { name, .. }, Some(trailer)) = (stream, trailer)
            && let Some(known) = trailer.file(name)
            && known.checksum != record.checksum
        {
            let expected = format!("a file with the checksum {:016x}", known.checksum);
            let error = Error::corrupt(0, expected, format!("{:016x}", record.checksum));
            return Err(error.in_file(&place.0));
        }
        let copy = StreamHandle::Relative {
            name,
            size: record.size as i64,
        };
        self.files().records.push(record);
        self.copies.insert(place, copy.clone());
        Ok(copy)
    }

    fn copy_bytes(
        &self,
        from: &LoadedSnapshot,
        stream: &StreamHandle,
        name: &str,
    ) -> Result<FileRecord, Error> {
        let source = from.open(stream)?;
        let mut out = ChecksumWriter::new(self.fs.create(&self.directory.join(name))?);
        let mut at = 0;
        while at < source.len() {
            let end = source.len().min(at + COPY_BYTES);
            let part = source.read_range(at, end)?;
            out.write_all(&part).map_err(|error| {
                Error::from(millpond_fs::Error::io(
                    "write",
                    self.directory.join(name),
                    error,
                ))
            })?;
            at = end;
        }
        let (file, size, checksum) = out.finish();
        file.close(Durability::Synced)?;
        Ok(FileRecord {
            name: name.to_owned(),
            size,
            checksum,
        })
    }

    /// Writes the metadata, with the files of this snapshot in its trailer. From then on the
    /// directory is a snapshot. Returns where the metadata lies.
    ///
    /// # Errors
    ///
    /// Unsupported, if the metadata cannot be said in its version; Io, if it cannot be written.
    ///
    /// # Panics
    ///
    /// If the metadata has no trailer.
    pub fn finish(mut self, mut metadata: Metadata) -> Result<Location, Error> {
        let mut records = std::mem::take(&mut self.files().records);
        records.sort_by(|a, b| a.name.cmp(&b.name));
        metadata
            .trailer
            .as_mut()
            .expect("a new snapshot has a trailer")
            .files = records;
        self.fs.sync_dir(&self.directory)?;
        let location = write_metadata(&*self.fs, &self.directory, &metadata)?;
        self.finished = true;
        Ok(location)
    }
}

impl Drop for SnapshotWriter {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        // Given up: the reason has been told by whoever gave up, and what cannot be deleted is no
        // snapshot, because it has no metadata.
        if self.made_directory {
            let _ = self.fs.delete_dir(&self.directory);
            return;
        }
        let names = std::mem::take(&mut self.files().names);
        for name in names {
            let _ = self.fs.delete_file(&self.directory.join(&name));
        }
    }
}

impl std::fmt::Debug for SnapshotWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotWriter")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

/// Random bytes for a name: nothing of what is written depends on them.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    for (index, chunk) in out.chunks_mut(8).enumerate() {
        let bits = RandomState::new().hash_one(index);
        chunk.copy_from_slice(&bits.to_le_bytes()[..chunk.len()]);
    }
    out
}

/// A random UUID as text, as handles of native state have it.
pub(crate) fn random_uuid() -> String {
    let mut bytes: [u8; 16] = random();
    // Version 4, variant 1: RFC 9562.
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if [4, 6, 8, 10].contains(&index) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}
