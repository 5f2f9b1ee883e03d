//! Writes the frozen state of one subtask: into the directory of a snapshot, and what other
//! checkpoints may share into the one beside it.

use std::io::{BufWriter, Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use millpond_fs::{Durability, FileSystem, Location, file_system_for};
use millpond_job::SnapshotOptions;
use millpond_job::acknowledgement::OperatorAcknowledgement;
use millpond_job::dispatcher::SavepointFormat;
use millpond_job::gateway::Attempt;
use millpond_operator::{FunctionError, OperatorSnapshot};
use millpond_snapshot::{
    ChannelHandle, FileRecord, HeapIncrement, IncrementalHandle, KeyGroupsKind, KeyedHandle,
    LocalCopies, NamedStream, OperatorStateHandle, StateRecord, StateStream, StreamHandle,
    SubtaskSnapshot, state_file_name,
};
use millpond_state::store::{Sharing, StoreFile};
use millpond_state::{
    FrozenKeyedState, KeyedFormat, NativeStoreFiles, RestoredFile, RestoredFiles,
};
use millpond_types::{KeyGroupRange, OperatorId, murmur3_128};

use crate::in_flight::InFlight;
use crate::merge_group::Scope;
use crate::merged_file::Record;
use crate::merged_files::{AppendPlace, MergedPart};
use crate::uploaded_files::{FilesByName, UploadedFile, UploadedFiles, UploadedIncrements};

/// Bytes gathered before they go to the file.
const WRITE_BUFFER_BYTES: usize = 1 << 20;
/// How much of a file is copied before it is asked whether the snapshot is still wanted.
const COPY_BYTES: usize = 1 << 20;

/// Writes the state of one subtask.
///
/// Dropped before [`finish`](Self::finish), it deletes the files that it has put beside the
/// snapshot's directory: nobody else knows of them.
pub(crate) struct StateWriter<'a> {
    options: &'a SnapshotOptions,
    attempt: Attempt,
    subtask: u32,
    /// `None`: all state goes into the metadata.
    fs: Option<Arc<dyn FileSystem>>,
    directory: Location,
    shared_directory: Location,
    uploaded: &'a Mutex<UploadedFiles>,
    /// Small states go into files of several.
    merged: Option<&'a MergedPart>,
    /// What was written into the shared directory.
    shared_files: Mutex<Vec<Location>>,
    /// Files made, but for those of several.
    created: AtomicU64,
}

/// A state that was written.
struct Written<W> {
    outcome: W,
    stream: StreamHandle,
    record: Option<Record>,
    synced: Duration,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds the lock; the content is whole in any case.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> StateWriter<'a> {
    /// Returns a writer of the snapshot that `options` describe, with second copies if `copies` takes
    /// them.
    ///
    /// # Errors
    ///
    /// Its place is not known.
    pub(crate) fn new(
        options: &'a SnapshotOptions,
        attempt: Attempt,
        subtask: u32,
        uploaded: &'a Mutex<UploadedFiles>,
        merged: Option<&'a MergedPart>,
        copies: Option<&Arc<LocalCopies>>,
    ) -> Result<Self, FunctionError> {
        let directory = Location::parse(&options.directory)?;
        let fs = match options.metadata_only_bytes {
            // The directory may be one that only the job master has; nothing is written there.
            Some(_) => None,
            None => Some(file_system_for(&directory)?),
        };
        let fs = match (fs, copies) {
            (Some(fs), Some(copies)) => {
                Some(copies.of_snapshot(fs, options.id, options.is_savepoint))
            }
            (fs, _) => fs,
        };
        Ok(StateWriter {
            options,
            attempt,
            subtask,
            fs,
            directory,
            shared_directory: Location::parse(&options.shared_directory)?,
            uploaded,
            merged,
            shared_files: Mutex::default(),
            created: AtomicU64::new(0),
        })
    }

    /// Writes the state of one operator.
    ///
    /// # Errors
    ///
    /// It cannot be written, or was given up.
    pub(crate) fn operator(
        &self,
        operator: OperatorId,
        snapshot: OperatorSnapshot,
        synced: &mut Duration,
    ) -> Result<OperatorAcknowledgement, FunctionError> {
        let mut state = SubtaskSnapshot {
            finished: snapshot.finished,
            ..SubtaskSnapshot::default()
        };
        let mut files = Vec::new();
        let mut states = Vec::new();
        if let Some(keyed) = snapshot.keyed.filter(|_| !state.finished) {
            let (written, handle) = self.keyed_state(operator, keyed, synced, &mut files)?;
            states.extend(written);
            state.managed_keyed = handle;
        }
        if let Some(operator_state) = snapshot
            .operator
            .filter(|image| !state.finished && !image.is_empty())
        {
            let (written, stream) = self.stream(
                operator,
                "operator",
                |out| Ok(operator_state.write(out)?),
                synced,
                &mut files,
            )?;
            states.extend(written.states);
            state.managed_operator = Some(OperatorStateHandle {
                states: written.offsets,
                stream,
                merged: None,
            });
        }
        Ok(OperatorAcknowledgement {
            operator,
            state,
            files,
            states,
            positions: snapshot.positions,
            pending_transactions: snapshot.pending_transactions,
            ended: snapshot.ended,
        })
    }

    /// Writes the records that were in flight to an operator, one stream per input edge.
    ///
    /// # Errors
    ///
    /// They cannot be written.
    pub(crate) fn in_flight(
        &self,
        head: &mut OperatorAcknowledgement,
        in_flight: &InFlight,
        synced: &mut Duration,
    ) -> Result<(), FunctionError> {
        for gate in in_flight.gates() {
            let write = |out: &mut dyn Write| Ok(in_flight.write(gate, out)?);
            let kind = format!("in-flight/{gate}");
            let (place, stream) =
                self.stream(head.operator, &kind, write, synced, &mut head.files)?;
            head.state.input_channels.push(ChannelHandle::Single {
                subtask: self.subtask as i32,
                channel: (gate as i32, 0),
                offsets: place.offsets,
                size: place.size,
                stream,
            });
        }
        Ok(())
    }

    /// Ends the snapshot's part: from here on its files are the job master's. Returns how many it has
    /// made, but for those of several subtasks.
    ///
    /// # Errors
    ///
    /// The names of the files cannot be made durable.
    pub(crate) fn finish(self, synced: &mut Duration) -> Result<u64, FunctionError> {
        let begin = Instant::now();
        if let Some(fs) = &self.fs
            && !lock(&self.shared_files).is_empty()
        {
            // Those in the directory of the snapshot are made so with its metadata.
            fs.sync_dir(&self.shared_directory)?;
            *synced += begin.elapsed();
        }
        lock(&self.shared_files).clear();
        Ok(self.created.load(Ordering::Relaxed))
    }

    /// Writes keyed state as the files that it lies in, or entry by entry.
    fn keyed_state(
        &self,
        operator: OperatorId,
        keyed: FrozenKeyedState,
        synced: &mut Duration,
        files: &mut Vec<FileRecord>,
    ) -> Result<(Vec<StateRecord>, Option<KeyedHandle>), FunctionError> {
        let as_files = self.options.incremental || self.options.format == SavepointFormat::Native;
        let native = match as_files {
            true => keyed.native_files()?,
            false => None,
        };
        if let Some(native) = native {
            // Only a set without a table needs a look into it.
            let has_tables = native.files.iter().any(|f| f.sharing == Sharing::Shared);
            if !has_tables && keyed.is_empty() {
                return Ok((Vec::new(), None));
            }
            let range = keyed.range();
            let handle = self.store_files(operator, range, &native, synced, files)?;
            return Ok((Vec::new(), Some(KeyedHandle::Incremental(handle))));
        }
        if keyed.is_empty() {
            return Ok((Vec::new(), None));
        }
        if self.options.incremental && keyed.is_tracked() {
            let handle = self.increments(operator, keyed, synced, files)?;
            // Who writes changes does not know how many entries there are in all, and what some
            // subtasks know is no sum.
            return Ok((Vec::new(), Some(handle)));
        }
        let (states, handle) = self.entries(operator, keyed, synced, files)?;
        Ok((states, Some(handle)))
    }

    /// Writes what has changed since the base on top of its files, or a new base.
    fn increments(
        &self,
        operator: OperatorId,
        keyed: FrozenKeyedState,
        synced: &mut Duration,
        files: &mut Vec<FileRecord>,
    ) -> Result<KeyedHandle, FunctionError> {
        let range = keyed.range();
        let base = self.options.base.and_then(|base| {
            let known = lock(self.uploaded).increments(operator, base)?;
            let is_worth_it = !known.increments.are_many()
                && !known.are_mostly_garbage(base, self.options.file_merging)
                && keyed.changed_little_since(base);
            is_worth_it.then_some((base, known))
        });
        let since = base.as_ref().map(|(base, _)| *base);
        let write = |out: &mut dyn Write| {
            Ok(match since {
                Some(since) => keyed.write_changes_since(since, out)?,
                None => keyed.write(out)?,
            })
        };
        let written = self.write(operator, "keyed/increment", Scope::Shared, write)?;
        *synced += written.synced;
        let (groups, stream) = (written.outcome.groups, written.stream);
        let is_inline = matches!(stream, StreamHandle::Bytes { .. });
        if base.is_none() && is_inline {
            // So little that every checkpoint may have all of it, as one that is not incremental.
            return Ok(KeyedHandle::KeyGroups {
                kind: KeyGroupsKind::Savepoint,
                groups,
                stream,
            });
        }
        let mut bytes = stream.size();
        let file = HeapIncrement {
            checkpoint: self.options.id,
            groups,
            stream,
        };
        let uploaded = match base {
            Some((_, known)) => known.with(file, written.record),
            None => UploadedIncrements::of_base(file, written.record),
        };
        let mut list = Vec::new();
        uploaded.increments.write_list(&mut list);
        let write = |out: &mut dyn Write| Ok(out.write_all(&list)?);
        let ((), meta) = self.stream(operator, "keyed", write, synced, files)?;
        bytes += meta.size();
        files.extend(
            uploaded
                .records
                .iter()
                .filter_map(|(_, record)| record.get()),
        );
        let handle = IncrementalHandle {
            checkpoint_id: self.options.id,
            backend_id: self.backend_id(operator),
            range: (range.first().0, range.len() as u32),
            meta,
            shared: uploaded.increments.shared(),
            private: Vec::new(),
            v2: Some((bytes as i64, self.file_name(operator, "keyed"))),
        };
        lock(self.uploaded).add_increments(operator, self.options.id, Arc::new(uploaded));
        Ok(KeyedHandle::Incremental(handle))
    }

    /// Writes all entries of keyed state.
    fn entries(
        &self,
        operator: OperatorId,
        keyed: FrozenKeyedState,
        synced: &mut Duration,
        files: &mut Vec<FileRecord>,
    ) -> Result<(Vec<StateRecord>, KeyedHandle), FunctionError> {
        let (format, kind) = match self.options.format {
            SavepointFormat::Canonical => (KeyedFormat::Canonical, KeyGroupsKind::Savepoint),
            SavepointFormat::Native => {
                let id = self.file_name(operator, "keyed");
                (KeyedFormat::NativeHeap, KeyGroupsKind::V2 { id })
            }
        };
        let write = |out: &mut dyn Write| Ok(keyed.write_as(format, out)?);
        let (written, stream) = self.stream(operator, "keyed", write, synced, files)?;
        let groups = written.groups;
        let handle = KeyedHandle::KeyGroups {
            kind,
            groups,
            stream,
        };
        Ok((written.states, handle))
    }

    /// Uploads the files of a store: of a checkpoint those that its base has not, else all.
    fn store_files(
        &self,
        operator: OperatorId,
        range: KeyGroupRange,
        native: &NativeStoreFiles,
        synced: &mut Duration,
        files: &mut Vec<FileRecord>,
    ) -> Result<IncrementalHandle, FunctionError> {
        if let Some(restored) = &native.restored
            && self.options.base == Some(restored.checkpoint)
        {
            self.remember_restored(operator, restored);
        }
        let merging = self.options.file_merging;
        let plan = lock(self.uploaded).plan(operator, self.options.base, &native.files, merging);
        let write = |out: &mut dyn Write| Ok(out.write_all(&native.header)?);
        let ((), meta) = self.stream(operator, "keyed", write, synced, files)?;
        let uploaded = self.upload(operator, native, &plan.new)?;
        // Several threads wait at the same time.
        let waited = uploaded.iter().map(|file| file.synced).max();
        *synced += waited.unwrap_or_default();
        let bytes = meta.size() + uploaded.iter().map(|file| file.outcome).sum::<u64>();
        let (mut shared, mut private) = (plan.reused, Vec::new());
        for (file, written) in plan.new.iter().zip(uploaded) {
            let Written { stream, record, .. } = written;
            let name = file.name.clone();
            match file.sharing {
                Sharing::Shared => {
                    shared.insert(name, UploadedFile { stream, record });
                }
                Sharing::Private => {
                    files.extend(record.and_then(|record| record.get()));
                    private.push(NamedStream { name, stream });
                }
            }
        }
        files.extend(
            shared
                .values()
                .filter_map(|file| file.record.as_ref()?.get()),
        );
        let named = |(name, file): (&String, &UploadedFile)| NamedStream {
            name: name.clone(),
            stream: file.stream.clone(),
        };
        let handle = IncrementalHandle {
            checkpoint_id: self.options.id,
            backend_id: self.backend_id(operator),
            range: (range.first().0, range.len() as u32),
            meta,
            shared: shared.iter().map(named).collect(),
            private,
            v2: Some((bytes as i64, self.file_name(operator, "keyed"))),
        };
        if !self.options.is_savepoint {
            self.remember(operator, shared);
        }
        Ok(handle)
    }

    /// Notes the shared files of a checkpoint for those that will build on it.
    fn remember(&self, operator: OperatorId, shared: FilesByName) {
        lock(self.uploaded).add(operator, self.options.id, Arc::new(shared));
    }

    /// Notes what the store was opened on, as if this attempt had uploaded it: it has a name of its
    /// own for each file.
    fn remember_restored(&self, operator: OperatorId, restored: &RestoredFiles) {
        let uploaded = |(name, file): (&String, &RestoredFile)| {
            let RestoredFile { stream, record } = file.clone();
            let record = match (&stream, self.merged) {
                (StreamHandle::Segment { path, .. }, Some(merged)) => Some(Record::Merged(
                    merged.restored(path, record, restored.checkpoint),
                )),
                _ => record.map(Record::Own),
            };
            (name.clone(), UploadedFile { stream, record })
        };
        let files = restored.files.iter().map(uploaded).collect();
        lock(self.uploaded).add(operator, restored.checkpoint, Arc::new(files));
    }

    /// Copies files of a store, several at a time; returns them in the order of `new`.
    fn upload(
        &self,
        operator: OperatorId,
        native: &NativeStoreFiles,
        new: &[&StoreFile],
    ) -> Result<Vec<Written<u64>>, FunctionError> {
        let next = AtomicUsize::new(0);
        let work = || {
            let mut done = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(file) = new.get(at) else {
                    return Ok::<_, FunctionError>(done);
                };
                done.push((at, self.upload_one(operator, native, file)?));
            }
        };
        let threads = native.transfer_threads.clamp(1, new.len().max(1));
        let mut done = std::thread::scope(|scope| {
            let threads: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mut all = work()?;
            for thread in threads {
                let panicked = |_| Err(FunctionError::new("a thread that copied files panicked"));
                all.extend(thread.join().unwrap_or_else(panicked)?);
            }
            Ok::<_, FunctionError>(all)
        })?;
        done.sort_unstable_by_key(|(at, _)| *at);
        Ok(done.into_iter().map(|(_, written)| written).collect())
    }

    fn upload_one(
        &self,
        operator: OperatorId,
        native: &NativeStoreFiles,
        file: &StoreFile,
    ) -> Result<Written<u64>, FunctionError> {
        let scope = match (file.sharing, self.options.incremental) {
            (Sharing::Shared, true) => Scope::Shared,
            (Sharing::Shared, false) | (Sharing::Private, _) => Scope::Exclusive,
        };
        let kind = format!("keyed/{}", file.name);
        if self.options.is_savepoint
            && file.sharing == Sharing::Shared
            && matches!(scope, Scope::Exclusive)
            && let Some(adopted) = self.adopt(operator, &kind, &file.path)?
        {
            return Ok(adopted);
        }
        let copy = |out: &mut dyn Write| {
            let mut from = std::fs::File::open(&file.path)?;
            let (mut part, mut bytes) = (vec![0; COPY_BYTES], 0);
            loop {
                if let Some(reason) = native.given_up() {
                    return Err(FunctionError::new(reason));
                }
                match from.read(&mut part)? {
                    0 => return Ok(bytes),
                    read => {
                        out.write_all(&part[..read])?;
                        bytes += read as u64;
                    }
                }
            }
        };
        self.write(operator, &kind, scope, copy)
    }

    /// Takes a file that never changes into the directory of the snapshot, if that is on the same disk.
    ///
    /// Of savepoints only: what they copy is all that there is, while a checkpoint has little to copy, and
    /// is to be intact when a disk has damaged what the job works on.
    fn adopt(
        &self,
        operator: OperatorId,
        kind: &str,
        file: &Path,
    ) -> Result<Option<Written<u64>>, FunctionError> {
        let Some(fs) = &self.fs else { return Ok(None) };
        let name = self.file_name(operator, kind);
        let threshold = self.options.inline_threshold_bytes as usize;
        let adopted = StateStream::new(&**fs, &self.directory, &name, threshold).adopt(file)?;
        let Some(adopted) = adopted else {
            return Ok(None);
        };
        self.created.fetch_add(1, Ordering::Relaxed);
        Ok(Some(Written {
            outcome: adopted.handle.size(),
            stream: adopted.handle,
            record: adopted.file.map(Record::Own),
            synced: adopted.sync,
        }))
    }

    /// Writes one state into the directory of the snapshot, inline if it is small.
    fn stream<W>(
        &self,
        operator: OperatorId,
        kind: &str,
        write: impl FnOnce(&mut dyn Write) -> Result<W, FunctionError>,
        synced: &mut Duration,
        files: &mut Vec<FileRecord>,
    ) -> Result<(W, StreamHandle), FunctionError> {
        let written = self.write(operator, kind, Scope::Exclusive, write)?;
        *synced += written.synced;
        files.extend(written.record.and_then(|record| record.get()));
        Ok((written.outcome, written.stream))
    }

    fn write<W>(
        &self,
        operator: OperatorId,
        kind: &str,
        scope: Scope,
        write: impl FnOnce(&mut dyn Write) -> Result<W, FunctionError>,
    ) -> Result<Written<W>, FunctionError> {
        let name = self.file_name(operator, kind);
        let directory = match scope {
            Scope::Exclusive => &self.directory,
            Scope::Shared => &self.shared_directory,
        };
        let Some(fs) = &self.fs else {
            let mut memory = BoundedMemory {
                bytes: Vec::new(),
                limit: self.options.metadata_only_bytes.unwrap_or(u64::MAX),
            };
            let outcome = write(&mut memory)?;
            let data = memory.bytes;
            return Ok(Written {
                outcome,
                stream: StreamHandle::Bytes { name, data },
                record: None,
                synced: Duration::ZERO,
            });
        };
        let threshold = self.options.inline_threshold_bytes as usize;
        let stream = StateStream::new(&**fs, directory, &name, threshold);
        let stream = match self.merged {
            Some(merged) => stream.held_up_to(merged.limit_bytes()),
            None => stream,
        };
        let mut buffered = BufWriter::with_capacity(WRITE_BUFFER_BYTES, stream);
        let outcome = write(&mut buffered)?;
        let stream = buffered
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error)?;
        let finished = stream.finish(Durability::Synced)?;
        let (mut stream, mut record) = (finished.handle, finished.file);
        if let (StreamHandle::Bytes { data, .. }, Some(merged)) = (&stream, self.merged)
            && data.len() > threshold
        {
            let place = AppendPlace {
                fs,
                directory: &self.directory,
                shared_directory: &self.shared_directory,
                scope,
            };
            let (stream, file) = merged.append(place, &name, data)?;
            return Ok(Written {
                outcome,
                stream,
                record: Some(Record::Merged(file)),
                synced: finished.sync,
            });
        }
        self.created
            .fetch_add(u64::from(record.is_some()), Ordering::Relaxed);
        if let (Scope::Shared, Some(record)) = (scope, &mut record) {
            let file = directory.join(&name);
            record.name = file.to_string();
            stream = StreamHandle::File {
                path: file.to_string(),
                size: record.size as i64,
            };
            lock(&self.shared_files).push(file);
        }
        Ok(Written {
            outcome,
            stream,
            record: record.map(Record::Own),
            synced: finished.sync,
        })
    }

    /// No other subtask, operator, checkpoint or attempt has this name, and no other start of the job,
    /// which counts attempts anew and may come to the same number again: a stale worker cannot overwrite
    /// it, and a stale job master cannot come before its successor in each of its checkpoints.
    fn file_name(&self, operator: OperatorId, kind: &str) -> String {
        let (attempt, subtask) = (self.attempt, self.subtask);
        let (checkpoint, at_ms) = (self.options.id, self.options.triggered_at_ms);
        let seed = format!("{operator}/{attempt}/{subtask}/{checkpoint}/{at_ms}/{kind}");
        state_file_name(murmur3_128(seed.as_bytes()))
    }

    /// Says whose local file names these are: the same in all snapshots of an attempt, and in none
    /// of another one, as names are given anew by what is restored.
    fn backend_id(&self, operator: OperatorId) -> String {
        let since_ms = lock(self.uploaded).since_ms(self.options.triggered_at_ms);
        let seed = format!("{operator}/{}/{}/{since_ms}", self.attempt, self.subtask);
        let hex: Vec<String> = murmur3_128(seed.as_bytes())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let part = |range: std::ops::Range<usize>| hex[range].concat();
        let parts = [
            part(0..4),
            part(4..6),
            part(6..8),
            part(8..10),
            part(10..16),
        ];
        parts.join("-")
    }
}

impl Drop for StateWriter<'_> {
    fn drop(&mut self) {
        let Some(fs) = &self.fs else { return };
        for file in lock(&self.shared_files).drain(..) {
            // What is left behind has a name that nobody reads; `millpond state gc` finds it.
            let _ = fs.delete_file(&file);
        }
    }
}

/// Takes the bytes of one state, up to a limit: they will lie in the memory of the job master.
///
/// Source of the text: Flink 2.3.0, class `MemCheckpointStreamFactory`.
struct BoundedMemory {
    bytes: Vec<u8>,
    limit: u64,
}

impl Write for BoundedMemory {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let size = self.bytes.len() as u64 + bytes.len() as u64;
        if size > self.limit {
            return Err(std::io::Error::other(format!(
                "Size of the state is larger than the maximum permitted memory-backed state. \
                 Size={size}, maxSize={}. Consider using a different checkpoint storage, like the \
                 FileSystemCheckpointStorage (execution.checkpointing.storage: filesystem).",
                self.limit
            )));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
