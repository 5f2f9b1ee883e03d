//! Runs all subtasks of a sink on the thread of the test.

use std::collections::BTreeMap;
use std::sync::Arc;

use millpond_operator::Result;
use millpond_operator::sink::{Committer, Sink, SinkWriter, WriterContext};
use millpond_types::{CheckpointId, JobId};

use super::subtask_info;

/// The state of a sink in a snapshot.
#[derive(Clone, Debug, Default)]
pub(crate) struct SinkSnapshot {
    pub(crate) writers: Vec<Vec<u8>>,
    pub(crate) committables: Vec<Vec<u8>>,
}

pub(crate) struct SinkJob<S: Sink> {
    subtasks: Vec<Subtask<S>>,
}

struct Subtask<S: Sink> {
    writer: S::Writer,
    committer: Option<Box<dyn Committer>>,
    pending: BTreeMap<CheckpointId, Vec<Vec<u8>>>,
}

impl<S: Sink> SinkJob<S> {
    /// Opens all writers before any restored transaction is committed: the worst case for a sink
    /// that tidies up when it is opened.
    pub(crate) fn start(
        sink: &S,
        job: JobId,
        attempt: u32,
        parallelism: u32,
        restored: Option<&SinkSnapshot>,
    ) -> Result<Self> {
        let is_restored = restored.is_some();
        let restored = restored.cloned().unwrap_or_default();
        let deal = |all: &[Vec<u8>], subtask: u32| -> Vec<Vec<u8>> {
            all.iter()
                .skip(subtask as usize)
                .step_by(parallelism as usize)
                .cloned()
                .collect()
        };
        let mut subtasks = Vec::new();
        for subtask in 0..parallelism {
            let info = subtask_info(job, attempt, subtask, parallelism);
            let committer = sink.create_committer(&info)?;
            let version = <S::Writer as SinkWriter<S::Record>>::VERSION;
            let states = deal(&restored.writers, subtask);
            let writer = sink.create_writer(WriterContext {
                info,
                wake: Arc::new(|| {}),
                is_restored,
                restored: states.into_iter().map(|state| (version, state)).collect(),
            })?;
            subtasks.push(Subtask {
                writer,
                committer,
                pending: BTreeMap::new(),
            });
        }
        for (subtask, index) in subtasks.iter_mut().zip(0..) {
            if let Some(committer) = &mut subtask.committer {
                committer.commit(&deal(&restored.committables, index))?;
            }
        }
        Ok(SinkJob { subtasks })
    }

    pub(crate) fn write(&mut self, subtask: usize, record: S::Record) -> Result<()> {
        self.subtasks[subtask].writer.write(record, None)
    }

    /// Takes a snapshot as the engine does, up to the point where it counts.
    pub(crate) fn snapshot(&mut self, checkpoint: CheckpointId) -> Result<SinkSnapshot> {
        let mut snapshot = SinkSnapshot::default();
        for subtask in &mut self.subtasks {
            subtask.writer.flush(false)?;
            let prepared = subtask.writer.prepare_commit()?;
            subtask
                .pending
                .entry(checkpoint)
                .or_default()
                .extend(prepared.committables);
            snapshot
                .writers
                .extend(subtask.writer.snapshot_state(checkpoint)?);
            snapshot
                .committables
                .extend(subtask.pending.values().flatten().cloned());
            for durable in prepared.durable {
                durable()?;
            }
        }
        Ok(snapshot)
    }

    /// Tells all subtasks that a checkpoint is complete.
    pub(crate) fn complete(&mut self, checkpoint: CheckpointId) -> Result<()> {
        for subtask in &mut self.subtasks {
            let later = subtask.pending.split_off(&(checkpoint + 1));
            let due = std::mem::replace(&mut subtask.pending, later);
            let due: Vec<Vec<u8>> = due.into_values().flatten().collect();
            if let Some(committer) = &mut subtask.committer {
                committer.commit(&due)?;
            }
        }
        Ok(())
    }

    /// Ends it as SIGKILL does: nothing is tidied up.
    pub(crate) fn kill(self) {
        std::mem::forget(self.subtasks);
    }
}
