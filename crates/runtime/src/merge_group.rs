//! The merged files of a few subtasks: where their small states are appended.
//!
//! A group has one file at a time for what goes with the checkpoint and one for what others may share;
//! when a state does not fit any more, a new one is begun. Appending is one subtask after the other, as
//! a file has one end. States come as a whole, so nobody waits for a subtask to make them.
//!
//! What has failed once stays failed: bytes of others may be lost with it, so nothing in the group is
//! acknowledged. Dropped before [`close`](MergeGroup::close), it deletes its files.

use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millpond_fs::{Durability, FileSystem, FileWriter, Location};
use millpond_operator::FunctionError;
use millpond_snapshot::{ChecksumWriter, FileRecord, StreamHandle, state_file_name};
use millpond_types::murmur3_128;

use crate::merged_file::MergedFile;

/// Where a file goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Into the directory of the snapshot, and away with it.
    Exclusive,
    /// Into the one that checkpoints share; its handle holds for all of them.
    Shared,
}

/// Where the files of a group go, and how large they get.
#[derive(Clone, Debug)]
pub(crate) struct GroupPlace {
    pub(crate) directory: Location,
    pub(crate) shared_directory: Location,
    /// No other group has it, of this start of the job or another one.
    pub(crate) seed: String,
    pub(crate) max_file_bytes: u64,
}

/// What became of a group's files.
#[derive(Debug, Default)]
pub(crate) struct ClosedGroup {
    pub(crate) records: Vec<FileRecord>,
    pub(crate) synced: Duration,
}

/// The merged files of a few subtasks.
pub(crate) struct MergeGroup {
    fs: Arc<dyn FileSystem>,
    place: GroupPlace,
    exclusive: Mutex<Lane>,
    shared: Mutex<Lane>,
}

/// The files of one scope.
#[derive(Default)]
struct Lane {
    open: Option<OpenFile>,
    closed: Vec<(Location, FileRecord)>,
    synced: Duration,
    begun: u32,
    failed: Option<String>,
}

struct OpenFile {
    location: Location,
    out: ChecksumWriter<Box<dyn FileWriter>>,
    file: Arc<MergedFile>,
}

fn lock(lane: &Mutex<Lane>) -> MutexGuard<'_, Lane> {
    // A panic in here leaves an open file of unknown content, whose lane is not closed then.
    lane.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MergeGroup {
    /// A group without a file.
    pub(crate) fn new(fs: Arc<dyn FileSystem>, place: GroupPlace) -> Self {
        MergeGroup {
            fs,
            place,
            exclusive: Mutex::default(),
            shared: Mutex::default(),
        }
    }

    /// Appends a state, which would have been the file `name`; returns where it lies.
    ///
    /// # Errors
    ///
    /// It cannot be written, or something before it could not.
    pub(crate) fn append(
        &self,
        scope: Scope,
        name: &str,
        bytes: &[u8],
    ) -> Result<(StreamHandle, Arc<MergedFile>), FunctionError> {
        let mut lane = lock(self.lane(scope));
        if let Some(why) = &lane.failed {
            return Err(FunctionError::new(format!(
                "a file that holds states of several subtasks could not be written: {why}"
            )));
        }
        let appended = self.append_to(&mut lane, scope, name, bytes);
        if let Err(error) = &appended {
            lane.failed = Some(error.chain());
        }
        appended
    }

    fn append_to(
        &self,
        lane: &mut Lane,
        scope: Scope,
        name: &str,
        bytes: &[u8],
    ) -> Result<(StreamHandle, Arc<MergedFile>), FunctionError> {
        let fits = |open: &OpenFile| {
            open.out.bytes().saturating_add(bytes.len() as u64) <= self.place.max_file_bytes
        };
        if !lane.open.as_ref().is_some_and(fits) {
            self.close_file(lane, scope)?;
            let location = self.location(scope, lane.begun);
            lane.begun += 1;
            let out = ChecksumWriter::new(self.fs.create(&location)?);
            lane.open = Some(OpenFile {
                location,
                out,
                file: Arc::default(),
            });
        }
        let open = lane.open.as_mut().expect("it was just opened");
        let start = open.out.bytes() as i64;
        open.out
            .write_all(bytes)
            .map_err(|error| millpond_fs::Error::io("write", &open.location, error))?;
        let handle = StreamHandle::Segment {
            start,
            size: bytes.len() as i64,
            scope: match scope {
                Scope::Exclusive => StreamHandle::EXCLUSIVE,
                Scope::Shared => StreamHandle::SHARED,
            },
            path: open.location.to_string(),
            logical_id: name.to_owned(),
        };
        Ok((handle, Arc::clone(&open.file)))
    }

    /// Ends all files: what was appended is durable from here on.
    ///
    /// # Errors
    ///
    /// It cannot be made so, or could not be written.
    pub(crate) fn close(&self) -> Result<ClosedGroup, FunctionError> {
        let mut group = ClosedGroup::default();
        for scope in [Scope::Exclusive, Scope::Shared] {
            let mut lane = lock(self.lane(scope));
            if let Some(why) = &lane.failed {
                return Err(FunctionError::new(why.clone()));
            }
            self.close_file(&mut lane, scope)?;
            if scope == Scope::Shared && !lane.closed.is_empty() {
                let begin = std::time::Instant::now();
                // Those in the directory of the snapshot are made so with its metadata.
                self.fs.sync_dir(&self.place.shared_directory)?;
                lane.synced += begin.elapsed();
            }
            group.synced += lane.synced;
        }
        for scope in [Scope::Exclusive, Scope::Shared] {
            // From here on they are the job master's.
            let closed = std::mem::take(&mut lock(self.lane(scope)).closed);
            group
                .records
                .extend(closed.into_iter().map(|(_, record)| record));
        }
        Ok(group)
    }

    fn close_file(&self, lane: &mut Lane, scope: Scope) -> Result<(), FunctionError> {
        let Some(OpenFile {
            location,
            out,
            file,
        }) = lane.open.take()
        else {
            return Ok(());
        };
        let (writer, size, checksum) = out.finish();
        let name = match scope {
            Scope::Exclusive => location.file_name().to_owned(),
            Scope::Shared => location.to_string(),
        };
        let record = FileRecord {
            name,
            size,
            checksum,
        };
        // Known to be there before it may fail, so that it is deleted then.
        lane.closed.push((location, record.clone()));
        lane.synced += writer.close(Durability::Synced)?;
        file.close(record);
        Ok(())
    }

    fn lane(&self, scope: Scope) -> &Mutex<Lane> {
        match scope {
            Scope::Exclusive => &self.exclusive,
            Scope::Shared => &self.shared,
        }
    }

    fn location(&self, scope: Scope, number: u32) -> Location {
        let seed = format!("merged/{}/{number}", self.place.seed);
        let name = state_file_name(murmur3_128(seed.as_bytes()));
        match scope {
            Scope::Exclusive => self.place.directory.join(&name),
            Scope::Shared => self.place.shared_directory.join(&name),
        }
    }
}

impl Drop for MergeGroup {
    fn drop(&mut self) {
        for scope in [Scope::Exclusive, Scope::Shared] {
            let mut lane = lock(self.lane(scope));
            let open = lane.open.take().map(|open| open.location);
            let closed = std::mem::take(&mut lane.closed)
                .into_iter()
                .map(|(file, _)| file);
            for file in closed.chain(open) {
                // What is left behind has a name that nobody reads; `millpond state gc` finds it.
                let _ = self.fs.delete_file(&file);
            }
        }
    }
}
