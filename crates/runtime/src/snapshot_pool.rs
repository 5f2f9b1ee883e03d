//! The background of a snapshot: frozen state is written and acknowledged off the worker threads.

use std::io::{BufWriter, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use millpond_fs::{Durability, FileSystem, Location, file_system_for};
use millpond_job::acknowledgement::{
    AcknowledgeMetrics, OperatorAcknowledgement, SubtaskAcknowledgement,
};
use millpond_job::dispatcher::SavepointFormat;
use millpond_job::gateway::{Attempt, FailureKind};
use millpond_job::{FromWorker, SnapshotOptions, VertexIndex};
use millpond_operator::{FunctionError, OperatorSnapshot};
use millpond_snapshot::{
    ChannelHandle, FileRecord, IncrementalHandle, KeyGroupsKind, KeyedHandle, NamedStream,
    OperatorStateHandle, StateRecord, StateStream, SubtaskSnapshot, state_file_name,
};
use millpond_state::store::Sharing;
use millpond_state::{FrozenKeyedState, KeyedFormat, NativeStoreFiles};
use millpond_types::{CheckpointId, KeyGroupRange, OperatorId};

use crate::durables::Durables;
use crate::in_flight::InFlight;

/// Bytes gathered before they go to the file.
const WRITE_BUFFER_BYTES: usize = 1 << 20;

/// One subtask's part of a snapshot, frozen.
pub(crate) struct SnapshotWork {
    pub(crate) attempt: Attempt,
    pub(crate) options: SnapshotOptions,
    pub(crate) process: u32,
    /// Name and subtask for people: `counter (1/2)`.
    pub(crate) task: String,
    pub(crate) vertex: VertexIndex,
    pub(crate) subtask: u32,
    /// What is to be durable before the snapshot counts.
    pub(crate) durables: Arc<Durables>,
    pub(crate) operators: Vec<(OperatorId, OperatorSnapshot)>,
    /// Records that were in flight to the first of the operators.
    pub(crate) in_flight: InFlight,
    pub(crate) metrics: AcknowledgeMetrics,
    pub(crate) to_master: Sender<FromWorker>,
}

/// Threads that write frozen state. They end when the last clone is dropped.
#[derive(Clone)]
pub(crate) struct SnapshotPool {
    queue: Sender<SnapshotWork>,
}

impl SnapshotPool {
    /// Starts `threads` threads.
    pub(crate) fn start(threads: usize) -> std::io::Result<Self> {
        let (queue, work) = channel();
        let work = Arc::new(Mutex::new(work));
        for index in 0..threads {
            let work: Arc<Mutex<Receiver<SnapshotWork>>> = Arc::clone(&work);
            std::thread::Builder::new()
                .name(format!("snapshot-{index}"))
                .spawn(move || {
                    loop {
                        let next = work.lock().unwrap_or_else(PoisonError::into_inner).recv();
                        match next {
                            Ok(work) => work.run(),
                            Err(_) => return,
                        }
                    }
                })?;
        }
        Ok(SnapshotPool { queue })
    }

    /// Has a part of a snapshot written and acknowledged, or declined.
    pub(crate) fn submit(&self, work: SnapshotWork) {
        // The threads live as long as this sender.
        let _ = self.queue.send(work);
    }
}

impl SnapshotWork {
    fn run(self) {
        let (attempt, checkpoint) = (self.attempt, self.options.id);
        let (vertex, subtask) = (self.vertex, self.subtask);
        let to_master = self.to_master.clone();
        let settled = crate::panic::contain(|| self.durables.settle());
        let synced = match settled.map(|settled| settled.map_err(|error| error.chain())) {
            Ok(Ok(synced)) => synced,
            Ok(Err(message)) | Err(message) => {
                // The master is gone: nobody is left to be told.
                let _ = to_master.send(FromWorker::Failed {
                    attempt,
                    process: self.process,
                    task: Some(self.task),
                    message,
                    kind: FailureKind::Retryable,
                });
                return;
            }
        };
        let written = crate::panic::contain(|| self.write(synced));
        let message = match written {
            Ok(Ok(acknowledgement)) => FromWorker::Acknowledge {
                attempt,
                checkpoint,
                acknowledgement,
            },
            Ok(Err(error)) => FromWorker::Decline {
                attempt,
                checkpoint,
                vertex,
                subtask,
                reason: error.chain(),
            },
            Err(reason) => FromWorker::Decline {
                attempt,
                checkpoint,
                vertex,
                subtask,
                reason,
            },
        };
        // The master is gone: nobody is left to be told.
        let _ = to_master.send(message);
    }

    /// Writes the part; `synced` is the time that went into fsyncs before.
    fn write(self, mut synced: Duration) -> Result<SubtaskAcknowledgement, FunctionError> {
        let (begin, settled) = (Instant::now(), synced);
        let directory = Location::parse(&self.options.directory)?;
        let fs = match self.options.metadata_only_bytes {
            // The directory may be one that only the job master has; nothing is written there.
            Some(_) => None,
            None => Some(file_system_for(&directory)?),
        };
        let writer = StateWriter {
            fs,
            directory,
            threshold_bytes: self.options.inline_threshold_bytes as usize,
            metadata_only_bytes: self.options.metadata_only_bytes,
            attempt: self.attempt,
            subtask: self.subtask,
            format: self.options.format,
            checkpoint: self.options.id,
        };
        let mut operators = Vec::new();
        for (operator, snapshot) in self.operators {
            operators.push(writer.operator(operator, snapshot, &mut synced)?);
        }
        if let Some(head) = operators.first_mut() {
            writer.in_flight(head, &self.in_flight, &mut synced)?;
        }
        let mut metrics = self.metrics;
        metrics.async_duration_ms = (settled + begin.elapsed()).as_millis() as u64;
        metrics.fsync_duration_ms = synced.as_millis() as u64;
        Ok(SubtaskAcknowledgement {
            vertex: self.vertex,
            subtask: self.subtask,
            operators,
            metrics,
        })
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

/// Writes the state of one subtask into the directory of a snapshot.
struct StateWriter {
    /// `None`: all state goes into the metadata.
    fs: Option<Arc<dyn FileSystem>>,
    directory: Location,
    threshold_bytes: usize,
    metadata_only_bytes: Option<u64>,
    attempt: Attempt,
    subtask: u32,
    format: SavepointFormat,
    checkpoint: CheckpointId,
}

impl StateWriter {
    fn operator(
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
        if let Some(keyed) = snapshot
            .keyed
            .filter(|keyed| !state.finished && !keyed.is_empty())
        {
            let native = match self.format {
                SavepointFormat::Canonical => None,
                SavepointFormat::Native => keyed.native_files()?,
            };
            state.managed_keyed = Some(match native {
                Some(native) => {
                    let handle =
                        self.store_files(operator, keyed.range(), &native, synced, &mut files)?;
                    KeyedHandle::Incremental(handle)
                }
                None => {
                    let (written, handle) = self.keyed(operator, keyed, synced, &mut files)?;
                    states.extend(written);
                    handle
                }
            });
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

    /// Writes all entries of keyed state.
    fn keyed(
        &self,
        operator: OperatorId,
        keyed: FrozenKeyedState,
        synced: &mut Duration,
        files: &mut Vec<FileRecord>,
    ) -> Result<(Vec<StateRecord>, KeyedHandle), FunctionError> {
        let (format, kind) = match self.format {
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

    /// Writes the records that were in flight to an operator, one stream per input edge.
    fn in_flight(
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

    /// Copies the files of a store, all of them into the directory of the snapshot.
    fn store_files(
        &self,
        operator: OperatorId,
        range: KeyGroupRange,
        native: &NativeStoreFiles,
        synced: &mut Duration,
        files: &mut Vec<FileRecord>,
    ) -> Result<IncrementalHandle, FunctionError> {
        let write = |out: &mut dyn Write| Ok(out.write_all(&native.header)?);
        let ((), meta) = self.stream(operator, "keyed", write, synced, files)?;
        let (mut shared, mut private) = (Vec::new(), Vec::new());
        let mut bytes = 0;
        for file in &native.files {
            let copy = |out: &mut dyn Write| {
                let mut from = std::fs::File::open(&file.path)?;
                Ok(std::io::copy(&mut from, out)?)
            };
            let kind = format!("keyed/{}", file.name);
            let (copied, stream) = self.stream(operator, &kind, copy, synced, files)?;
            bytes += copied;
            let name = file.name.clone();
            match file.sharing {
                Sharing::Shared => shared.push(NamedStream { name, stream }),
                Sharing::Private => private.push(NamedStream { name, stream }),
            }
        }
        Ok(IncrementalHandle {
            checkpoint_id: self.checkpoint,
            backend_id: self.file_name(operator, "backend"),
            range: (range.first().0, range.len() as u32),
            meta,
            shared,
            private,
            v2: Some((bytes as i64, self.file_name(operator, "keyed"))),
        })
    }

    /// Writes one state, inline if it is small.
    fn stream<W>(
        &self,
        operator: OperatorId,
        kind: &str,
        write: impl FnOnce(&mut dyn Write) -> Result<W, FunctionError>,
        synced: &mut Duration,
        files: &mut Vec<FileRecord>,
    ) -> Result<(W, millpond_snapshot::StreamHandle), FunctionError> {
        let name = self.file_name(operator, kind);
        let Some(fs) = &self.fs else {
            let mut memory = BoundedMemory {
                bytes: Vec::new(),
                limit: self.metadata_only_bytes.unwrap_or(u64::MAX),
            };
            let written = write(&mut memory)?;
            let data = memory.bytes;
            return Ok((
                written,
                millpond_snapshot::StreamHandle::Bytes { name, data },
            ));
        };
        let stream = StateStream::new(&**fs, &self.directory, &name, self.threshold_bytes);
        let mut buffered = BufWriter::with_capacity(WRITE_BUFFER_BYTES, stream);
        let written = write(&mut buffered)?;
        let stream = buffered
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error)?;
        let finished = stream.finish(Durability::Synced)?;
        *synced += finished.sync;
        files.extend(finished.file);
        Ok((written, finished.handle))
    }

    /// No other attempt, subtask or operator has this name: a stale worker cannot overwrite it.
    fn file_name(&self, operator: OperatorId, kind: &str) -> String {
        let seed = format!("{operator}/{}/{}/{kind}", self.attempt, self.subtask);
        state_file_name(millpond_types::murmur3_128(seed.as_bytes()))
    }
}
