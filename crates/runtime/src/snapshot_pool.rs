//! The background of a snapshot: frozen state is written and acknowledged off the worker threads.

use std::convert::Infallible;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use millpond_job::acknowledgement::{AcknowledgeMetrics, SubtaskAcknowledgement};
use millpond_job::gateway::{Attempt, FailureKind};
use millpond_job::{FromWorker, SnapshotOptions, VertexIndex};
use millpond_operator::{FunctionError, OperatorSnapshot};
use millpond_snapshot::{LocalCopies, StreamHandle, SubtaskSnapshot};
use millpond_types::{CheckpointId, OperatorId};

use crate::durables::Durables;
use crate::in_flight::InFlight;
use crate::merged_files::{Answer, MergedFiles, MergedPart};
use crate::state_writer::StateWriter;
use crate::uploaded_files::UploadedFiles;

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
    /// What the task has uploaded for checkpoints before.
    pub(crate) uploaded: Arc<Mutex<UploadedFiles>>,
    pub(crate) operators: Vec<(OperatorId, OperatorSnapshot)>,
    /// Records that were in flight to the first of the operators.
    pub(crate) in_flight: InFlight,
    pub(crate) metrics: AcknowledgeMetrics,
    pub(crate) to_master: Sender<FromWorker>,
}

/// How long an attempt that ends waits for what is being written. Storage may stand still.
const PATIENCE_AT_END: Duration = Duration::from_secs(2);

/// Threads that write frozen state. They end when the last clone is dropped.
#[derive(Clone)]
pub(crate) struct SnapshotPool {
    queue: Sender<Work>,
    merged: Arc<MergedFiles>,
}

enum Work {
    Write(Box<SnapshotWork>),
    /// The checkpoint will not be complete.
    GiveUp(CheckpointId),
}

/// Tells when the threads of a pool have ended.
pub(crate) struct SnapshotThreads(Receiver<Infallible>);

impl SnapshotThreads {
    /// Waits until they have, but not for long. What they had to say has been said then, so that the
    /// master knows of every file that was written for a checkpoint which will never complete.
    pub(crate) fn wait(self) {
        // Nothing is ever sent: this ends when the last thread does, or after the time.
        let _ = self.0.recv_timeout(PATIENCE_AT_END);
    }
}

impl SnapshotPool {
    /// Starts `threads` threads, which leave second copies of what they write in `copies`.
    pub(crate) fn start(
        threads: usize,
        copies: Option<Arc<LocalCopies>>,
    ) -> std::io::Result<(Self, SnapshotThreads)> {
        let (queue, work) = channel();
        let work = Arc::new(Mutex::new(work));
        let (alive, ended) = channel::<Infallible>();
        let all_merged = Arc::new(MergedFiles::default());
        for index in 0..threads {
            let work: Arc<Mutex<Receiver<Work>>> = Arc::clone(&work);
            let (alive, merged) = (alive.clone(), Arc::clone(&all_merged));
            let copies = copies.clone();
            std::thread::Builder::new()
                .name(format!("snapshot-{index}"))
                .spawn(move || {
                    // Dropped behind the other, which has answers to give then.
                    let _alive = alive;
                    let merged = merged;
                    loop {
                        let next = work.lock().unwrap_or_else(PoisonError::into_inner).recv();
                        match next {
                            Ok(Work::Write(work)) => work.run(&merged, copies.as_ref()),
                            Ok(Work::GiveUp(checkpoint)) => merged.give_up(checkpoint),
                            Err(_) => return,
                        }
                    }
                })?;
        }
        let merged = all_merged;
        Ok((SnapshotPool { queue, merged }, SnapshotThreads(ended)))
    }

    /// Has a part of a snapshot written and acknowledged, or declined.
    pub(crate) fn submit(&self, work: SnapshotWork) {
        // The threads live as long as this sender.
        let _ = self.queue.send(Work::Write(Box::new(work)));
    }

    /// The process has one task more, which has its part of every checkpoint written.
    pub(crate) fn add_task(&self) {
        self.merged.add_task();
    }

    /// Nobody is to wait in a checkpoint any more: it will not be complete.
    pub(crate) fn give_up(&self, checkpoint: CheckpointId) {
        // The threads live as long as this sender.
        let _ = self.queue.send(Work::GiveUp(checkpoint));
    }
}

impl SnapshotWork {
    fn run(self, merged: &Arc<MergedFiles>, copies: Option<&Arc<LocalCopies>>) {
        let began = Instant::now();
        let (attempt, checkpoint) = (self.attempt, self.options.id);
        let (vertex, subtask) = (self.vertex, self.subtask);
        let (to_master, task) = (self.to_master.clone(), self.task.clone());
        let process = self.process;
        let failed = |message| FromWorker::Failed {
            attempt,
            process,
            task: Some(task.clone()),
            message,
            kind: FailureKind::Retryable,
        };
        let declined = |reason| FromWorker::Decline {
            attempt,
            checkpoint,
            vertex,
            subtask,
            reason,
        };
        let settled = crate::panic::contain(|| self.durables.settle());
        let synced = match settled.map(|settled| settled.map_err(|error| error.chain())) {
            Ok(Ok(synced)) => synced,
            Ok(Err(message)) | Err(message) => {
                // The master is gone: nobody is left to be told.
                let _ = to_master.send(failed(message));
                return;
            }
        };
        let part = merged.begin(&self.options, attempt, process);
        let written = crate::panic::contain(|| self.write(synced, part.as_ref(), copies));
        let written = match written {
            Ok(Ok(acknowledgement)) => Ok(acknowledgement),
            // No checkpoint behind this one would have what is lost.
            Ok(Err(error)) if error.is_state_broken() => Err(failed(error.chain())),
            Ok(Err(error)) => Err(declined(error.chain())),
            Err(panic) => Err(declined(panic)),
        };
        let answer = match written {
            Ok(acknowledgement) => Some(Answer {
                attempt,
                checkpoint,
                task,
                acknowledgement,
                began,
                to_master,
            }),
            Err(refusal) => {
                // The master is gone: nobody is left to be told.
                let _ = to_master.send(refusal);
                None
            }
        };
        match part {
            Some(part) => part.end(answer),
            None => answer.into_iter().for_each(Answer::at_once),
        }
    }

    /// Writes the part; `synced` is the time that went into fsyncs before.
    fn write(
        self,
        mut synced: Duration,
        part: Option<&MergedPart>,
        copies: Option<&Arc<LocalCopies>>,
    ) -> Result<SubtaskAcknowledgement, FunctionError> {
        let (options, uploaded) = (&self.options, &self.uploaded);
        let writer = StateWriter::new(options, self.attempt, self.subtask, uploaded, part, copies)?;
        let mut operators = Vec::new();
        for (operator, snapshot) in self.operators {
            operators.push(writer.operator(operator, snapshot, &mut synced)?);
        }
        if let Some(head) = operators.first_mut() {
            writer.in_flight(head, &self.in_flight, &mut synced)?;
        }
        let mut metrics = self.metrics;
        metrics.created_files = writer.finish(&mut synced)?;
        if let Some(copies) = copies {
            // What earlier checkpoints have written stays as well.
            let states = operators.iter().map(|operator| &operator.state);
            let files = states.flat_map(shared_files);
            copies.part(self.options.id, self.options.is_savepoint, files);
        }
        metrics.fsync_duration_ms = synced.as_millis() as u64;
        Ok(SubtaskAcknowledgement {
            vertex: self.vertex,
            subtask: self.subtask,
            operators,
            metrics,
        })
    }
}

/// The files, as URIs, that a part of a snapshot refers to outside of the snapshot's directory.
fn shared_files(part: &SubtaskSnapshot) -> Vec<String> {
    let mut files = Vec::new();
    part.streams(&mut |stream| {
        if let StreamHandle::File { path, .. } | StreamHandle::Segment { path, .. } = stream {
            files.push(path.clone());
        }
    });
    files
}
