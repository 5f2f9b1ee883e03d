//! Runs a sink's writer and committer at the end of a chain.

use std::collections::BTreeMap;
use std::sync::Arc;

use millpond_serializer::{ByteReader, ByteWriter};
use millpond_state::{OperatorListState, OperatorStateBackend, StateDescription};
use millpond_types::CheckpointId;

use crate::batch::{Batch, downcast};
use crate::context::{OpenContext, Restores, SnapshotContext, Wake};
use crate::element::{Element, NO_TIMESTAMP};
use crate::error::{FunctionError, Result};
use crate::functions::restore::restore_operator;
use crate::operator::{Durable, Operator, OperatorSnapshot};
use crate::output::Output;
use crate::sink::commit_thread::{CommitThread, Request};
use crate::sink::{Committer, Sink, SinkWriter, WriterContext};
use crate::source::{read_versioned, versioned};

/// Version of a committable in operator state: checkpoint id, then the committer's bytes.
const COMMITTABLE_VERSION: i32 = 1;

/// The operator list state of writers.
const WRITER_STATE: &str = "writer_raw_states";
/// The operator list state of transactions that are to be committed.
const COMMITTER_STATE: &str = "streaming_committer_raw_states";

struct Opened<S: Sink> {
    writer: S::Writer,
    /// Until its thread is needed.
    committer: Option<Box<dyn Committer>>,
    thread: Option<CommitThread>,
    wake: Wake,
    operator: OperatorStateBackend,
    writer_state: OperatorListState<Vec<u8>>,
    committer_state: OperatorListState<Vec<u8>>,
    has_committer: bool,
    waits_for_checkpoints: bool,
}

/// What is being committed.
#[derive(Default)]
struct UnderWay {
    /// The checkpoint that each was prepared for.
    checkpoints: Vec<CheckpointId>,
    committables: Arc<Vec<Vec<u8>>>,
}

/// Runs a [`Sink`].
pub struct SinkOperator<S: Sink> {
    sink: Arc<S>,
    opened: Option<Opened<S>>,
    rows: std::vec::IntoIter<S::Record>,
    timestamps: std::vec::IntoIter<i64>,
    /// Prepared and not yet being committed, by the checkpoint that they were prepared for.
    pending: BTreeMap<CheckpointId, Vec<Vec<u8>>>,
    under_way: Option<UnderWay>,
    /// What is pending up to here is to be committed next.
    due: Option<CheckpointId>,
    /// To be done before the next commit.
    durable: Vec<Durable>,
    /// What the restored snapshot holds is not committed yet: nothing is taken before.
    restoring: bool,
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
            under_way: None,
            due: None,
            durable: Vec::new(),
            restoring: false,
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

    /// Has everything committed that was prepared up to a checkpoint.
    fn commit_up_to(&mut self, checkpoint: CheckpointId) -> Result<()> {
        self.due = self.due.max(Some(checkpoint));
        self.commit_next()
    }

    /// Begins the next commit that is due, unless one is under way.
    fn commit_next(&mut self) -> Result<()> {
        if self.under_way.is_some() {
            return Ok(());
        }
        let Some(up_to) = self.due.take() else {
            return Ok(());
        };
        let later = match up_to.checked_add(1) {
            Some(next) => self.pending.split_off(&next),
            None => BTreeMap::new(),
        };
        let mut next = UnderWay::default();
        let mut committables = Vec::new();
        for (checkpoint, prepared) in std::mem::replace(&mut self.pending, later) {
            next.checkpoints
                .resize(committables.len() + prepared.len(), checkpoint);
            committables.extend(prepared);
        }
        let durable = std::mem::take(&mut self.durable);
        if committables.is_empty() && durable.is_empty() {
            return Ok(());
        }
        next.committables = Arc::new(committables);
        let request = Request {
            durable,
            committables: Arc::clone(&next.committables),
        };
        let opened = self.opened();
        let thread = match opened.thread.take() {
            Some(thread) => thread,
            None => CommitThread::start(opened.committer.take(), Arc::clone(&opened.wake))?,
        };
        opened.thread.insert(thread).ask(request);
        self.under_way = Some(next);
        Ok(())
    }

    /// All that is not known to be committed.
    fn uncommitted(&self) -> Vec<Vec<u8>> {
        let under_way = self.under_way.iter().flat_map(|under_way| {
            let committables = under_way.committables.iter();
            under_way.checkpoints.iter().zip(committables)
        });
        let pending = self
            .pending
            .iter()
            .flat_map(|(checkpoint, all)| all.iter().map(move |one| (checkpoint, one)));
        under_way
            .chain(pending)
            .map(|(checkpoint, one)| encode_committable(*checkpoint, one))
            .collect()
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
        let writer_state: OperatorListState<Vec<u8>> = operator.list_state(WRITER_STATE)?;
        let committer_state: OperatorListState<Vec<u8>> = operator.list_state(COMMITTER_STATE)?;
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
        let wake = Arc::clone(&context.wake);
        let writer = self.sink.create_writer(WriterContext {
            info: context.info,
            wake: context.wake,
            is_restored: context.restored.is_some(),
            restored,
        })?;
        self.opened = Some(Opened {
            writer,
            has_committer: committer.is_some(),
            committer,
            thread: None,
            wake,
            operator,
            writer_state,
            committer_state,
            waits_for_checkpoints,
        });
        // The snapshot is complete, or it could not have been restored.
        self.commit_up_to(CheckpointId::MAX)?;
        self.restoring = self.under_way.is_some();
        Ok(())
    }

    fn state(&self) -> StateDescription {
        let opened = self.opened.as_ref();
        StateDescription {
            keyed: None,
            operator: opened.map(|Opened { operator, .. }| operator.describe()),
        }
    }

    fn describe(&mut self, _context: OpenContext) -> Result<StateDescription> {
        let operator = OperatorStateBackend::new();
        operator.list_state::<Vec<u8>>(WRITER_STATE)?;
        operator.list_state::<Vec<u8>>(COMMITTER_STATE)?;
        Ok(StateDescription {
            keyed: None,
            operator: Some(operator.describe()),
        })
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
        self.restoring || self.rows.len() > 0
    }

    fn resume(&mut self, _output: &mut Output) -> Result<()> {
        self.write_waiting()
    }

    fn is_blocked(&self) -> bool {
        let is_blocked = |opened: &Opened<S>| opened.writer.is_blocked();
        self.restoring || self.opened.as_ref().is_some_and(is_blocked)
    }

    fn poll_background(&mut self) -> Result<()> {
        if self.under_way.is_none() {
            return Ok(());
        }
        let outcome = self
            .opened()
            .thread
            .as_ref()
            .and_then(CommitThread::outcome);
        let Some(outcome) = outcome else {
            return Ok(());
        };
        outcome?;
        self.under_way = None;
        self.restoring = false;
        self.commit_next()
    }

    fn has_background_work(&self) -> bool {
        self.under_way.is_some()
    }

    fn finish(&mut self, _output: &mut Output) -> Result<()> {
        let opened = self.opened();
        opened.writer.flush(true)?;
        if opened.waits_for_checkpoints {
            // The last checkpoint commits.
            return Ok(());
        }
        let durable = self.prepare(CheckpointId::MAX)?;
        self.durable.extend(durable);
        self.commit_up_to(CheckpointId::MAX)
    }

    fn finish_again(&mut self, output: &mut Output) -> Result<()> {
        // It emits nothing, and what it publishes is published once.
        self.finish(output)
    }

    fn snapshot(&mut self, context: SnapshotContext) -> Result<OperatorSnapshot> {
        let durable = self.prepare(context.id)?;
        let pending = self.uncommitted();
        let pending_transactions = !pending.is_empty();
        let opened = self.opened();
        let states = opened.writer.snapshot_state(context.id)?;
        let version = <S::Writer as SinkWriter<S::Record>>::VERSION;
        opened
            .writer_state
            .update(states.iter().map(|state| versioned(version, state)));
        opened.committer_state.update(pending);
        let stateful = !states.is_empty() || opened.has_committer;
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
