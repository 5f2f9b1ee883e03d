//! Runs a sink's writer and committer at the end of a chain.

use std::collections::BTreeMap;
use std::sync::Arc;

use millpond_serializer::{ByteReader, ByteWriter};
use millpond_state::{OperatorListState, OperatorStateBackend};
use millpond_types::CheckpointId;

use crate::batch::{Batch, downcast};
use crate::context::{OpenContext, Restores, SnapshotContext};
use crate::element::{Element, NO_TIMESTAMP};
use crate::error::{FunctionError, Result};
use crate::functions::restore::restore_operator;
use crate::operator::{Durable, Operator, OperatorSnapshot};
use crate::output::Output;
use crate::sink::{Committer, Sink, SinkWriter, WriterContext};
use crate::source::{read_versioned, versioned};

/// Version of a committable in operator state: checkpoint id, then the committer's bytes.
const COMMITTABLE_VERSION: i32 = 1;

struct Opened<S: Sink> {
    writer: S::Writer,
    committer: Option<Box<dyn Committer>>,
    operator: OperatorStateBackend,
    writer_state: OperatorListState<Vec<u8>>,
    committer_state: OperatorListState<Vec<u8>>,
    waits_for_checkpoints: bool,
}

/// Runs a [`Sink`].
pub struct SinkOperator<S: Sink> {
    sink: Arc<S>,
    opened: Option<Opened<S>>,
    rows: std::vec::IntoIter<S::Record>,
    timestamps: std::vec::IntoIter<i64>,
    /// Prepared and not yet committed, by the checkpoint that they were prepared for.
    pending: BTreeMap<CheckpointId, Vec<Vec<u8>>>,
}

impl<S: Sink> SinkOperator<S> {
    /// Runs a writer of `sink`.
    pub fn new(sink: Arc<S>) -> Self {
        SinkOperator {
            sink,
            opened: None,
            rows: Vec::new().into_iter(),
            timestamps: Vec::new().into_iter(),
            pending: BTreeMap::new(),
        }
    }

    fn opened(&mut self) -> &mut Opened<S> {
        self.opened.as_mut().expect("an operator is opened first")
    }

    fn write_waiting(&mut self) -> Result<()> {
        let opened = self.opened.as_mut().expect("an operator is opened first");
        while !opened.writer.is_blocked() {
            let Some(row) = self.rows.next() else { break };
            let timestamp = self.timestamps.next().filter(|at| *at != NO_TIMESTAMP);
            opened.writer.write(row, timestamp)?;
        }
        Ok(())
    }

    /// Ends the present transaction on behalf of a checkpoint.
    fn prepare(&mut self, checkpoint: CheckpointId) -> Result<Vec<Durable>> {
        let opened = self.opened();
        opened.writer.flush(false)?;
        let prepared = opened.writer.prepare_commit()?;
        if !prepared.committables.is_empty() {
            self.pending
                .entry(checkpoint)
                .or_default()
                .extend(prepared.committables);
        }
        Ok(prepared.durable)
    }

    fn commit_up_to(&mut self, checkpoint: CheckpointId) -> Result<()> {
        let later = match checkpoint.checked_add(1) {
            Some(next) => self.pending.split_off(&next),
            None => BTreeMap::new(),
        };
        let due = std::mem::replace(&mut self.pending, later);
        let committables: Vec<Vec<u8>> = due.into_values().flatten().collect();
        if committables.is_empty() {
            return Ok(());
        }
        match &mut self.opened().committer {
            Some(committer) => committer.commit(&committables),
            None => Err(FunctionError::new(
                "the writer of a sink made committables, and the sink has no committer",
            )),
        }
    }
}

fn encode_committable(checkpoint: CheckpointId, committable: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(8 + committable.len());
    bytes.put_i64(checkpoint);
    bytes.extend_from_slice(committable);
    versioned(COMMITTABLE_VERSION, &bytes)
}

fn decode_committable(bytes: &[u8]) -> Result<(CheckpointId, Vec<u8>)> {
    let (version, bytes) = read_versioned(bytes)?;
    if version != COMMITTABLE_VERSION {
        return Err(FunctionError::refused_state(format!(
            "a committable in streaming_committer_raw_states has version {version}, expected \
             {COMMITTABLE_VERSION}; it was written by another engine or a newer Millpond"
        )));
    }
    let mut reader = ByteReader::new(bytes);
    let checkpoint = reader.i64()?;
    Ok((checkpoint, bytes[8..].to_vec()))
}

impl<S: Sink> Operator for SinkOperator<S> {
    fn open(&mut self, context: OpenContext) -> Result<()> {
        context.check_restored(Restores::OperatorState)?;
        let operator = OperatorStateBackend::new();
        if let Some(restored) = &context.restored {
            restore_operator(&operator, restored)?;
        }
        let committer = self.sink.create_committer(&context.info)?;
        let writer_state: OperatorListState<Vec<u8>> = operator.list_state("writer_raw_states")?;
        let committer_state: OperatorListState<Vec<u8>> =
            operator.list_state("streaming_committer_raw_states")?;
        let mut restored = Vec::new();
        for bytes in writer_state.get() {
            let (version, bytes) = read_versioned(&bytes)?;
            restored.push((version, bytes.to_vec()));
        }
        for bytes in committer_state.get() {
            let (checkpoint, committable) = decode_committable(&bytes)?;
            self.pending
                .entry(checkpoint)
                .or_default()
                .push(committable);
        }
        let waits_for_checkpoints = context.info.checkpointing;
        let writer = self.sink.create_writer(WriterContext {
            info: context.info,
            wake: context.wake,
            restored,
        })?;
        self.opened = Some(Opened {
            writer,
            committer,
            operator,
            writer_state,
            committer_state,
            waits_for_checkpoints,
        });
        // The snapshot is complete, or it could not have been restored.
        self.commit_up_to(CheckpointId::MAX)
    }

    fn process(&mut self, _input: usize, element: Element, output: &mut Output) -> Result<()> {
        match element {
            Element::Records(batch) => {
                let Batch {
                    rows, timestamps, ..
                } = downcast::<S::Record>(batch);
                self.rows = rows.into_iter();
                self.timestamps = timestamps.into_iter();
                self.resume(output)
            }
            Element::Watermark(_) | Element::Idle(_) | Element::EndOfData => Ok(()),
        }
    }

    fn is_paused(&self) -> bool {
        self.rows.len() > 0
    }

    fn resume(&mut self, _output: &mut Output) -> Result<()> {
        self.write_waiting()
    }

    fn is_blocked(&self) -> bool {
        self.opened
            .as_ref()
            .is_some_and(|opened| opened.writer.is_blocked())
    }

    fn finish(&mut self, _output: &mut Output) -> Result<()> {
        let opened = self.opened();
        opened.writer.flush(true)?;
        if opened.waits_for_checkpoints {
            // The last checkpoint commits.
            return Ok(());
        }
        for durable in self.prepare(CheckpointId::MAX)? {
            durable()?;
        }
        self.commit_up_to(CheckpointId::MAX)
    }

    fn finish_again(&mut self, output: &mut Output) -> Result<()> {
        // It emits nothing, and what it publishes is published once.
        self.finish(output)
    }

    fn snapshot(&mut self, context: SnapshotContext) -> Result<OperatorSnapshot> {
        let durable = self.prepare(context.id)?;
        let pending: Vec<Vec<u8>> = self
            .pending
            .iter()
            .flat_map(|(id, all)| all.iter().map(|one| encode_committable(*id, one)))
            .collect();
        let pending_transactions = !pending.is_empty();
        let opened = self.opened();
        let states = opened.writer.snapshot_state(context.id)?;
        let version = <S::Writer as SinkWriter<S::Record>>::VERSION;
        opened
            .writer_state
            .update(states.iter().map(|state| versioned(version, state)));
        opened.committer_state.update(pending);
        let stateful = !states.is_empty() || opened.committer.is_some();
        Ok(OperatorSnapshot {
            // A sink without state has none in the snapshot either.
            operator: stateful.then(|| opened.operator.freeze()),
            pending_transactions,
            durable,
            ..OperatorSnapshot::default()
        })
    }

    fn notify_complete(&mut self, checkpoint: CheckpointId) -> Result<()> {
        self.commit_up_to(checkpoint)
    }
}
