//! Directories of snapshots: their names, finding one, loading and checking it.
//!
//! ```text
//! <checkpoints>/<job id>/chk-<n>/_metadata and the files of that checkpoint
//! <checkpoints>/<job id>/shared, taskowned
//! <target>/savepoint-<first 6 digits of the job id>-<12 random digits>/_metadata and files
//! <target>/.scheduled-<job id>: savepoints there that the job has taken by the clock (Millpond only)
//! <parent>/.<name of a snapshot's directory>.claim beside it, see `claim`
//! ```
//!
//! A directory without `_metadata` is no snapshot. Files beside it are named relative to it, so
//! that the directory can be moved.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::Path;
use std::sync::Arc;

use millpond_fs::{FileSystem, Location};
use millpond_types::{CheckpointId, JobId, KeyGroupRange};
use xxhash_rust::xxh3::Xxh3;

use crate::local_copies::CopiesFirst;
use crate::rocksdb::WITHOUT_ROCKSDB;
use crate::trailer::STATE_FILE_PREFIX;
use crate::{
    Error, ErrorKind, FileRecord, HeapIncrements, IncrementalHandle, KeyGroupOffsets, KeyedHandle,
    KeyedHeader, KeyedReader, LocalCopies, MergedReader, Metadata, OperatorStateHandle,
    OperatorStateReader, RangedReads, ReadBytes, RocksDb, StateSource, StreamHandle,
};

/// The name of the file that makes a directory a snapshot.
pub const METADATA_FILE: &str = "_metadata";
/// How the name of the file begins that lists the savepoints that a job has taken by the clock.
const SCHEDULED_PREFIX: &str = ".scheduled-";
/// How much of a file is read at once when its checksum is checked.
const CHECK_BYTES: u64 = 1 << 20;

/// Returns the directory of all checkpoints of a job.
pub fn job_directory(checkpoints: &Location, job: JobId) -> Location {
    checkpoints.join(&job.to_string())
}

/// Returns the directory of one checkpoint.
pub fn checkpoint_directory(checkpoints: &Location, job: JobId, id: CheckpointId) -> Location {
    job_directory(checkpoints, job).join(&format!("chk-{id}"))
}

/// Returns the directory of a savepoint; `random` is new for each.
pub fn savepoint_directory(target: &Location, job: JobId, random: [u8; 6]) -> Location {
    let random: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    target.join(&format!("savepoint-{}-{random}", &job.to_string()[..6]))
}

/// Returns where it is noted which savepoints in `target` a job has taken by the clock.
pub fn scheduled_savepoints(target: &Location, job: JobId) -> Location {
    target.join(&format!("{SCHEDULED_PREFIX}{job}"))
}

/// Whether a file of this name is one of [`scheduled_savepoints`].
pub fn is_scheduled_savepoints(name: &str) -> bool {
    let job = name.strip_prefix(SCHEDULED_PREFIX).unwrap_or_default();
    job.len() == 32 && job.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Returns the directory of the files that checkpoints of a job share.
pub fn shared_directory(job_directory: &Location) -> Location {
    job_directory.join("shared")
}

/// Returns the directory of the files that tasks of a job own. Millpond writes none; Flink makes it.
pub fn task_owned_directory(job_directory: &Location) -> Location {
    job_directory.join("taskowned")
}

/// Returns the name of a state file; `random` is new for each.
pub fn state_file_name(random: [u8; 16]) -> String {
    let random: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{STATE_FILE_PREFIX}{random}")
}

/// Writes the metadata of a snapshot: from then on the directory is one.
///
/// All files beside it must be closed and synced before. Returns where it lies.
///
/// # Errors
///
/// Unsupported, if the metadata cannot be said in its version; Io, if it cannot be written.
pub fn write_metadata(
    fs: &dyn FileSystem,
    directory: &Location,
    metadata: &Metadata,
) -> Result<Location, Error> {
    let file = directory.join(METADATA_FILE);
    fs.write_atomic(&file, &metadata.write()?)?;
    Ok(file)
}

/// Returns where the metadata lies that `pointer`, a directory or the file itself, means.
///
/// # Errors
///
/// Io: not found, if there is neither.
pub fn metadata_location(fs: &dyn FileSystem, pointer: &Location) -> Result<Location, Error> {
    let inside = pointer.join(METADATA_FILE);
    if fs.exists(&inside)? {
        return Ok(inside);
    }
    match fs.list(pointer) {
        // A directory, and no metadata in it.
        Ok(_) => {
            let missing = io::ErrorKind::NotFound.into();
            Err(
                millpond_fs::Error::io("find the metadata of a snapshot at", &inside, missing)
                    .into(),
            )
        }
        Err(_) => {
            fs.open(pointer)?;
            Ok(pointer.clone())
        }
    }
}

/// Loads the metadata of a snapshot; `pointer` is its directory or its metadata file.
///
/// # Errors
///
/// Corrupt, if the metadata is damaged (its checksum is checked if it has one); unsupported, if
/// its version is unknown; Io, if it cannot be read.
pub fn load(fs: Arc<dyn FileSystem>, pointer: &Location) -> Result<LoadedSnapshot, Error> {
    let file = metadata_location(&*fs, pointer)?;
    let bytes = fs.read(&file)?;
    let metadata = Metadata::read(&bytes).map_err(|error| error.in_file(&file))?;
    let directory = file.parent().unwrap_or_else(|| file.clone());
    Ok(LoadedSnapshot {
        fs,
        copies: None,
        rocksdb: None,
        reads: None,
        directory,
        metadata_file: file,
        metadata,
    })
}

/// A snapshot whose metadata is in memory.
pub struct LoadedSnapshot {
    fs: Arc<dyn FileSystem>,
    /// The same, if it knows of local copies.
    copies: Option<Arc<CopiesFirst>>,
    rocksdb: Option<Arc<dyn RocksDb>>,
    reads: Option<Arc<RangedReads>>,
    /// The directory that the metadata lies in.
    pub directory: Location,
    /// The metadata file.
    pub metadata_file: Location,
    /// What it says.
    pub metadata: Metadata,
}

/// What is wrong with a file of a snapshot.
#[derive(Debug)]
pub struct Damage {
    /// The file.
    pub file: String,
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub found: String,
    /// Whether trying again cannot help.
    pub permanent: bool,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Damage {
            file,
            expected,
            found,
            ..
        } = self;
        write!(f, "\"{file}\": expected {expected}, found {found}")
    }
}

impl std::fmt::Debug for LoadedSnapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoadedSnapshot")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

impl LoadedSnapshot {
    /// The file system that the snapshot was loaded from.
    pub fn file_system(&self) -> &Arc<dyn FileSystem> {
        &self.fs
    }

    /// Reads local copies in place of files where there are sound ones, if `copies` are handed in, and
    /// counts in `read` what is read of files, or copies of them, from now on.
    ///
    /// # Errors
    ///
    /// Io, if a path cannot be understood.
    pub fn with_copies(
        self,
        copies: Option<Arc<LocalCopies>>,
        read: Arc<ReadBytes>,
    ) -> Result<Self, Error> {
        let trailer = self.metadata.trailer.as_ref();
        let mut files: HashMap<_, _> = self.files()?.into_iter().map(|file| (file, None)).collect();
        for record in trailer.map_or(&[][..], |trailer| &trailer.files) {
            if let Some(file) = self.file_of(&record.stream())? {
                files.insert(file.to_string(), Some(record.clone()));
            }
        }
        let copies = CopiesFirst::new(Arc::clone(&self.fs), copies, files, read);
        let copies = Arc::new(copies);
        Ok(LoadedSnapshot {
            fs: Arc::clone(&copies) as Arc<dyn FileSystem>,
            copies: Some(copies),
            ..self
        })
    }

    /// The files whose checksums are known, as URIs.
    ///
    /// # Errors
    ///
    /// Io, if a path cannot be understood.
    pub fn files_with_checksum(&self) -> Result<Vec<String>, Error> {
        let trailer = self.metadata.trailer.as_ref();
        let records = trailer.map_or(&[][..], |trailer| &trailer.files).iter();
        let files = records.map(|record| self.file_of(&record.stream()));
        let files = files.filter_map(Result::transpose);
        files.map(|file| Ok(file?.to_string())).collect()
    }

    /// The files that were found whole by a local copy alone, as URIs.
    pub fn read_by_copy(&self) -> Vec<String> {
        let copies = self.copies.iter();
        copies.flat_map(|copies| copies.with_copy()).collect()
    }

    /// Nobody has read these files yet, because they were found whole [by their copies](Self::read_by_copy)
    /// or are known by [their sizes](Self::verify_sizes) alone: those that have no copy are checked before
    /// they are read.
    #[must_use]
    pub fn with_unread(self, files: impl IntoIterator<Item = String>) -> Self {
        if let Some(copies) = &self.copies {
            copies.take_as_unread(files);
        }
        self
    }

    /// Hands in what reads state in files of a RocksDB; without it such state is refused.
    #[must_use]
    pub fn with_rocksdb(self, rocksdb: Option<Arc<dyn RocksDb>>) -> Self {
        LoadedSnapshot { rocksdb, ..self }
    }

    /// Hands in what reads parts of files at the same time; without it one is read behind the other.
    #[must_use]
    pub fn with_reads(self, reads: Arc<RangedReads>) -> Self {
        LoadedSnapshot {
            reads: Some(reads),
            ..self
        }
    }

    /// What reads parts of files at the same time, if it was handed in.
    pub fn reads(&self) -> Option<&Arc<RangedReads>> {
        self.reads.as_ref()
    }

    /// What reads state in files of a RocksDB, if it was handed in.
    pub fn rocksdb(&self) -> Option<&Arc<dyn RocksDb>> {
        self.rocksdb.as_ref()
    }

    /// Returns the file that a handle points at; `None` if its bytes are inline.
    ///
    /// # Errors
    ///
    /// Io, if its path cannot be understood.
    pub fn file_of(&self, stream: &StreamHandle) -> Result<Option<Location>, Error> {
        Ok(match stream {
            StreamHandle::Bytes { .. } | StreamHandle::EmptySegment => None,
            StreamHandle::File { path, .. } | StreamHandle::Segment { path, .. } => {
                Some(Location::parse(path)?)
            }
            StreamHandle::Relative { name, .. } => Some(self.directory.join(name)),
            StreamHandle::KeyGroups { stream, .. } => self.file_of(stream)?,
        })
    }

    /// Returns the files that the snapshot refers to beside its metadata, as URIs.
    ///
    /// # Errors
    ///
    /// Io, if a path cannot be understood.
    pub fn files(&self) -> Result<BTreeSet<String>, Error> {
        let mut files = BTreeSet::new();
        let mut problem = None;
        self.metadata
            .streams(&mut |stream| match self.file_of(stream) {
                Ok(file) => files.extend(file.map(|file| file.to_string())),
                Err(error) => problem = Some(error),
            });
        match problem {
            Some(error) => Err(error),
            None => Ok(files),
        }
    }

    /// What the trailer knows of the file that a stream lies in, whole or as a part of it.
    pub fn record_of(&self, stream: &StreamHandle) -> Option<&FileRecord> {
        let trailer = self.metadata.trailer.as_ref()?;
        let file = self.file_of(stream).ok()??;
        // The records of files beside the metadata are relative.
        let is_beside = file.parent().is_some_and(|parent| parent == self.directory);
        let beside = is_beside.then(|| trailer.file(file.file_name()));
        beside.flatten().or_else(|| trailer.file(&file.to_string()))
    }

    /// Opens a stream.
    ///
    /// # Errors
    ///
    /// Corrupt, if a file has not the size that the handle says; Io, if it cannot be opened.
    pub fn open(&self, stream: &StreamHandle) -> Result<StateSource, Error> {
        let file = match (stream, self.file_of(stream)?) {
            (StreamHandle::Bytes { name, data }, _) => {
                let name = format!("{} (inline: {name})", self.metadata_file);
                return Ok(StateSource::of_bytes(&name, data.as_slice()));
            }
            (StreamHandle::KeyGroups { stream, .. }, _) => return self.open(stream),
            (_, None) => return Ok(StateSource::of_bytes("an empty segment", Vec::new())),
            (_, Some(file)) => file,
        };
        if let Some(copies) = &self.copies
            && let Some(record) = copies.to_check(&file)?
        {
            let source = StateSource::of_file(&record.name, self.fs.open(&file)?, 0, record.size)?;
            checked_sum(&source.with_reads(self.reads.clone()), record)?;
        }
        let (name, reader) = (file.to_string(), self.fs.open(&file)?);
        let reads = self.reads.clone();
        if let StreamHandle::Segment { start, .. } = stream {
            let start = u64::try_from(*start).unwrap_or(u64::MAX);
            let source = StateSource::of_file(&name, reader, start, stream.size())?;
            return Ok(source.with_reads(reads));
        }
        if reader.len() != stream.size() {
            let (size, found) = (stream.size(), reader.len());
            let offset = size.min(found);
            let error = Error::corrupt(offset, format!("{size} bytes"), format!("{found} bytes"));
            return Err(error.in_file(&name));
        }
        let len = reader.len();
        Ok(StateSource::of_file(&name, reader, 0, len)?.with_reads(reads))
    }

    /// Gives the local copy of a file that is the whole stream a second name, if there is one on the same
    /// disk; whether it has that name then.
    ///
    /// # Errors
    ///
    /// Io, if the path of the file cannot be understood.
    pub fn link(&self, stream: &StreamHandle, to: &Path) -> Result<bool, Error> {
        let file = match stream {
            StreamHandle::File { .. } | StreamHandle::Relative { .. } => self.file_of(stream)?,
            StreamHandle::Bytes { .. }
            | StreamHandle::KeyGroups { .. }
            | StreamHandle::Segment { .. }
            | StreamHandle::EmptySegment => None,
        };
        Ok(file.is_some_and(|file| self.fs.link(&file, to)))
    }

    /// Opens those key groups of a handle that `wanted` has; `None` if it has none of them.
    ///
    /// # Errors
    ///
    /// Unsupported, if the handle holds a changelog, or files of a RocksDB and nothing that reads
    /// them [was handed in](Self::with_rocksdb); else as [`open`](Self::open),
    /// [`KeyedReader::open`] and [`RocksDb::open`].
    pub fn open_keyed(
        &self,
        handle: &KeyedHandle,
        wanted: KeyGroupRange,
        max_parallelism: u32,
    ) -> Result<Option<KeyedReader>, Error> {
        if handle
            .key_groups()
            .and_then(|groups| groups.intersection(wanted))
            .is_none()
        {
            return Ok(None);
        }
        match (handle, &self.rocksdb) {
            (
                KeyedHandle::KeyGroups {
                    kind,
                    groups,
                    stream,
                },
                _,
            ) => {
                let source = self.open(stream)?;
                KeyedReader::open(source, kind, groups, wanted, max_parallelism).map(Some)
            }
            (KeyedHandle::Incremental(handle), _) if HeapIncrements::are_in(handle) => {
                let increments = self.heap_increments(handle)?;
                let files = increments.files().iter();
                // All headers are on their way before the first is needed.
                let sources = files.map(|file| self.open(&file.stream).map(KeyedHeader::ask_for));
                let sources = sources.collect::<Result<_, _>>()?;
                let reader = MergedReader::open(&increments, sources, wanted, max_parallelism)?;
                Ok(Some(KeyedReader::HeapIncrements(Box::new(reader))))
            }
            (KeyedHandle::Incremental(handle), Some(rocksdb)) => {
                let entries = rocksdb.open(self, handle, wanted, max_parallelism)?;
                Ok(Some(KeyedReader::RocksDb(entries)))
            }
            _ => Err(self.unsupported_keyed(handle)),
        }
    }

    /// Reads the header of the keyed state of a handle.
    ///
    /// # Errors
    ///
    /// As [`open_keyed`](Self::open_keyed).
    pub fn keyed_header(&self, handle: &KeyedHandle) -> Result<KeyedHeader, Error> {
        match (handle, &self.rocksdb) {
            (KeyedHandle::KeyGroups { groups, stream, .. }, _) => {
                let source = self.open(stream)?;
                KeyedHeader::read_from(&source, groups).map(|(header, _)| header)
            }
            (KeyedHandle::Incremental(handle), _) if HeapIncrements::are_in(handle) => {
                let increments = self.heap_increments(handle)?;
                let newest = increments.files().last().expect("there is a base");
                let source = self.open(&newest.stream)?;
                KeyedHeader::read_from(&source, &newest.groups).map(|(header, _)| header)
            }
            (KeyedHandle::Incremental(handle), Some(_)) => self.rocksdb_header(handle),
            _ => Err(self.unsupported_keyed(handle)),
        }
    }

    /// Reads which files the state of an incremental checkpoint of the heap backend consists of.
    ///
    /// # Errors
    ///
    /// Corrupt, unsupported or Io, as reading the list may fail.
    pub fn heap_increments(&self, handle: &IncrementalHandle) -> Result<HeapIncrements, Error> {
        let source = self.open(&handle.meta)?;
        let list = source.read_all()?;
        HeapIncrements::read(handle, &list).map_err(|error| error.in_file(source.name()))
    }

    /// Reads the header of state in files of a RocksDB, which lies in a stream of its own.
    ///
    /// # Errors
    ///
    /// Corrupt, unsupported or Io, as reading it may fail.
    pub fn rocksdb_header(&self, handle: &IncrementalHandle) -> Result<KeyedHeader, Error> {
        // No key group begins in this stream: the header goes to its end.
        let groups = KeyGroupOffsets {
            first: 0,
            offsets: Vec::new(),
        };
        let source = self.open(&handle.meta)?;
        KeyedHeader::read_from(&source, &groups).map(|(header, _)| header)
    }

    /// Why keyed state cannot be read, and what can be done about it; `None` if it can.
    pub fn unreadable_because(&self, handle: &KeyedHandle) -> Option<&'static str> {
        match handle {
            KeyedHandle::KeyGroups { .. } => None,
            KeyedHandle::Incremental(handle) if HeapIncrements::are_in(handle) => None,
            KeyedHandle::Incremental(_) => self.rocksdb.is_none().then_some(WITHOUT_ROCKSDB),
            KeyedHandle::Changelog(_)
            | KeyedHandle::InMemoryChanges { .. }
            | KeyedHandle::ChangeFiles { .. } => Some(
                "keyed state with a changelog, which Millpond cannot read; take a canonical \
                 savepoint instead",
            ),
        }
    }

    fn unsupported_keyed(&self, handle: &KeyedHandle) -> Error {
        let what = self.unreadable_because(handle).unwrap_or(WITHOUT_ROCKSDB);
        Error::unsupported(what).in_file(&self.metadata_file)
    }

    /// Reads the operator state of a handle.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open) and [`OperatorStateReader::new`].
    pub fn open_operator(
        &self,
        handle: &OperatorStateHandle,
    ) -> Result<OperatorStateReader, Error> {
        let source = self.open(&handle.stream)?;
        OperatorStateReader::new(source.read_all()?, handle)
            .map_err(|error| error.in_file(source.name()))
    }

    /// Checks that every file is there, has its size and, if there is a trailer, its checksum.
    ///
    /// Without a trailer (Flink wrote the snapshot) only presence and sizes can be checked.
    /// Returns all that is wrong; nothing if all is well.
    pub fn verify(&self) -> Vec<Damage> {
        self.verify_as(Thoroughness::Checksums)
    }

    /// As [`verify`](Self::verify), without reading [files with a checksum](Self::files_with_checksum), which
    /// whoever reads them is to [check](Self::with_unread).
    pub fn verify_sizes(&self) -> Vec<Damage> {
        self.verify_as(Thoroughness::Sizes)
    }

    fn verify_as(&self, thoroughness: Thoroughness) -> Vec<Damage> {
        let mut damages = Vec::new();
        let records = self
            .metadata
            .trailer
            .as_ref()
            .map_or(&[][..], |trailer| &trailer.files);
        for record in records {
            damages.extend(self.check_record(record, thoroughness));
        }
        let names = records.iter().map(|record| record.name.as_str());
        let mut seen: BTreeSet<&str> = names.collect();
        let mut referenced = Vec::new();
        self.metadata.streams(&mut |stream| referenced.push(stream));
        for stream in referenced {
            match stream {
                StreamHandle::Relative { name: file, .. }
                | StreamHandle::File { path: file, .. }
                    if seen.contains(file.as_str()) => {}
                StreamHandle::Segment { start, size, .. } if self.record_of(stream).is_some() => {
                    // The file was checked as a whole: once, however many parts it has.
                    let len = self.record_of(stream).map_or(0, |record| record.size);
                    let end = u64::try_from(start.saturating_add(*size)).unwrap_or(u64::MAX);
                    if end > len {
                        let expected = format!("{size} bytes from offset {start} on");
                        let error = Error::corrupt(len, expected, format!("{len} bytes"));
                        damages.push(self.damage(stream, &error));
                    }
                }
                StreamHandle::Relative { name, .. } => {
                    seen.insert(name);
                    damages.extend(self.check_unrecorded(stream));
                }
                StreamHandle::File { .. }
                | StreamHandle::Segment { .. }
                | StreamHandle::KeyGroups { .. } => damages.extend(self.check_unrecorded(stream)),
                StreamHandle::Bytes { .. } | StreamHandle::EmptySegment => {}
            }
        }
        damages
    }

    fn check_record(&self, record: &FileRecord, thoroughness: Thoroughness) -> Option<Damage> {
        let stream = record.stream();
        let checked = self.open(&stream).and_then(|source| {
            if thoroughness == Thoroughness::Sizes {
                return Ok(());
            }
            if let (Some(copies), Some(file)) = (&self.copies, self.file_of(&stream)?)
                && copies.has_copy(&file)?
            {
                // That has been checked, and is what a restore on this machine reads.
                return Ok(());
            }
            checked_sum(&source, record)
        });
        checked.err().map(|error| self.damage(&stream, &error))
    }

    /// Checks a file that the trailer does not know.
    fn check_unrecorded(&self, stream: &StreamHandle) -> Option<Damage> {
        let damage = self
            .open(stream)
            .err()
            .map(|error| self.damage(stream, &error));
        let is_own = match stream {
            StreamHandle::Relative { .. } => true,
            StreamHandle::Segment { scope, .. } => *scope == StreamHandle::EXCLUSIVE,
            StreamHandle::Bytes { .. }
            | StreamHandle::File { .. }
            | StreamHandle::KeyGroups { .. }
            | StreamHandle::EmptySegment => false,
        };
        if damage.is_some() || self.metadata.trailer.is_none() || !is_own {
            return damage;
        }
        let error = Error::corrupt(0, "a checksum of this file in the trailer", "none");
        Some(self.damage(stream, &error))
    }

    fn damage(&self, stream: &StreamHandle, error: &Error) -> Damage {
        let file = match self.file_of(stream) {
            Ok(Some(file)) => file.to_string(),
            Ok(None) | Err(_) => self.metadata_file.to_string(),
        };
        let permanent = match error.kind() {
            ErrorKind::Io(io) => io.kind() == millpond_fs::ErrorKind::NotFound,
            ErrorKind::Corrupt { .. } => true,
            ErrorKind::Incompatible { .. } | ErrorKind::Unsupported { .. } => true,
        };
        match error.kind() {
            ErrorKind::Corrupt {
                expected, found, ..
            } => Damage {
                file,
                expected: expected.clone(),
                found: found.clone(),
                permanent,
            },
            ErrorKind::Incompatible { .. } | ErrorKind::Unsupported { .. } | ErrorKind::Io(_) => {
                let expected = format!("{} bytes", stream.size());
                Damage {
                    file,
                    expected,
                    found: error.to_string(),
                    permanent,
                }
            }
        }
    }
}

/// How files with a checksum are verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thoroughness {
    /// They are read.
    Checksums,
    /// They are there, and have their sizes.
    Sizes,
}

/// Checks that the bytes are those of a file.
fn checked_sum(source: &StateSource, record: &FileRecord) -> Result<(), Error> {
    let found = checksum_of(source)?;
    if found == record.checksum {
        return Ok(());
    }
    let expected = format!("a file with the checksum {:016x}", record.checksum);
    Err(Error::corrupt(0, expected, format!("{found:016x}")).in_file(source.name()))
}

fn checksum_of(source: &StateSource) -> Result<u64, Error> {
    let mut hash = Xxh3::new();
    let source = source.read_ahead(std::iter::once(0..source.len()));
    let mut at = 0;
    while at < source.len() {
        let end = source.len().min(at + CHECK_BYTES);
        hash.update(&source.read_range(at, end)?);
        at = end;
    }
    Ok(hash.digest())
}

#[cfg(test)]
mod tests;
