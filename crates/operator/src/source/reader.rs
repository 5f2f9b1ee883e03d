//! Sources of the shape of Flink's FLIP-27: an enumerator finds splits, readers read them.
//!
//! Reader state is the operator list state `SourceReaderState`: one byte array per split, holding
//! `i32 version, i32 length, bytes`. The coordinator's bytes are `i32 1, i32 version, i32 length,
//! bytes` with the enumerator's state. Source: Flink 2.3.0, classes `SourceOperator` and
//! `SourceCoordinatorSerdeUtils`.
//!
//! The enumerator runs on the job master before an attempt starts: it is restored, discovers the
//! splits that it does not know, and deals them out. A split is from then on in the state of the
//! reader that got it; the enumerator's state says which splits it has ever found.

use std::marker::PhantomData;
use std::sync::Arc;

use millpond_serializer::{ByteReader, ByteWriter};
use millpond_state::{OperatorListState, OperatorStateBackend, StateDescription};
use millpond_types::{CheckpointId, Clock};

use crate::batch::Data;
use crate::context::{OpenContext, Restores, SnapshotContext, SubtaskInfo, Wake};
use crate::element::Element;
use crate::error::{FunctionError, Result};
use crate::functions::restore::restore_operator;
use crate::operator::{Operator, OperatorSnapshot};
use crate::output::{Collector, Output};
use crate::source::InputStatus;

/// Whether a source ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boundedness {
    /// It ends.
    Bounded,
    /// It goes on until the job is stopped.
    ContinuousUnbounded,
}

/// A part of a source that one reader reads, with its position.
pub trait SourceSplit: Clone + Send + 'static {
    /// Version of the bytes of [`SourceSplit::serialize`].
    const VERSION: i32;

    /// Its name, unique within the source.
    fn split_id(&self) -> String;

    /// Its bytes, position included.
    fn serialize(&self) -> Vec<u8>;

    /// Reads what [`SourceSplit::serialize`] wrote in some version.
    ///
    /// # Errors
    ///
    /// An unknown version, or damaged bytes.
    fn deserialize(version: i32, bytes: &[u8]) -> Result<Self>;

    /// Its position for people: `topic-3@17`.
    fn position(&self) -> String;
}

/// Finds the splits of a source; runs on the job master.
pub trait SplitEnumerator<S>: Send {
    /// Version of the bytes of [`SplitEnumerator::snapshot_state`].
    const VERSION: i32;

    /// Finds the splits that it has not returned before, in this run or those it was restored from.
    ///
    /// # Errors
    ///
    /// The outside world cannot be asked: the job fails.
    fn discover_splits(&mut self) -> Result<Vec<S>>;

    /// Its state.
    fn snapshot_state(&self) -> Vec<u8>;
}

/// What a reader gets when it is made.
pub struct ReaderContext {
    /// Which subtask this is.
    pub info: SubtaskInfo,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// To be called from other threads when records have become available.
    pub wake: Wake,
}

/// Reads splits in one subtask. It must not block: what blocks runs on a thread of its own.
pub trait SourceReader<T, S> {
    /// Takes splits, restored or newly assigned.
    ///
    /// # Errors
    ///
    /// A split that cannot be read.
    fn add_splits(&mut self, splits: Vec<S>) -> Result<()>;

    /// No split will be added any more: the end of all splits is the end of the source.
    fn notify_no_more_splits(&mut self);

    /// Emits about `limit` records at most.
    ///
    /// # Errors
    ///
    /// The source cannot be read: the job fails.
    fn poll_next(&mut self, limit: usize, out: &mut Collector<T>) -> Result<InputStatus>;

    /// The splits with the positions behind the last record emitted, those at their end included.
    ///
    /// # Errors
    ///
    /// As [`SourceReader::poll_next`].
    fn snapshot_state(&mut self, checkpoint: CheckpointId) -> Result<Vec<S>>;

    /// How many records it could emit and has not, if it knows (Flink's `pendingRecords`).
    fn pending_records(&self) -> Option<u64> {
        None
    }

    /// A checkpoint is complete. Best effort: it may be skipped.
    ///
    /// # Errors
    ///
    /// As [`SourceReader::poll_next`].
    fn notify_checkpoint_complete(&mut self, _checkpoint: CheckpointId) -> Result<()> {
        Ok(())
    }

    /// A checkpoint will never be complete. Best effort: it may be skipped.
    ///
    /// # Errors
    ///
    /// As [`SourceReader::poll_next`].
    fn notify_checkpoint_aborted(&mut self, _checkpoint: CheckpointId) -> Result<()> {
        Ok(())
    }
}

/// A source.
pub trait Source: Send + Sync + 'static {
    /// Its records.
    type Record: Data;
    /// Its splits.
    type Split: SourceSplit;
    /// Finds its splits.
    type Enumerator: SplitEnumerator<Self::Split>;
    /// Reads its splits.
    type Reader: SourceReader<Self::Record, Self::Split>;

    /// Whether it ends by itself.
    fn boundedness(&self) -> Boundedness;

    /// Makes the enumerator, from the state (version and bytes) of an earlier one if there is any.
    ///
    /// # Errors
    ///
    /// State of an unknown version, or damaged.
    fn create_enumerator(&self, restored: Option<(i32, &[u8])>) -> Result<Self::Enumerator>;

    /// Makes the reader of one subtask.
    ///
    /// # Errors
    ///
    /// The outside world refuses.
    fn create_reader(&self, context: ReaderContext) -> Result<Self::Reader>;
}

/// What runs on the job master for a source, its types hidden.
pub trait SourceCoordinator: Send {
    /// Restores it from the coordinator bytes of a snapshot, if there are any, and deals out the
    /// splits that are new; returns them serialized, by subtask.
    ///
    /// # Errors
    ///
    /// Damaged state; the outside world cannot be asked.
    fn start(&mut self, restored: Option<&[u8]>, parallelism: u32) -> Result<Vec<Vec<Vec<u8>>>>;

    /// The coordinator bytes for a snapshot.
    fn snapshot(&self) -> Vec<u8>;
}

/// Makes the coordinator of a source, once per attempt.
pub type SourceCoordinatorFactory = Arc<dyn Fn() -> Box<dyn SourceCoordinator> + Send + Sync>;

/// The coordinator of a [`Source`].
pub fn source_coordinator<S: Source>(source: Arc<S>) -> Box<dyn SourceCoordinator> {
    Box::new(Coordinator {
        source,
        enumerator: None,
    })
}

struct Coordinator<S: Source> {
    source: Arc<S>,
    enumerator: Option<S::Enumerator>,
}

/// The operator list state of the splits of readers.
const READER_STATE: &str = "SourceReaderState";

const COORDINATOR_SERDE_VERSION: i32 = 1;

impl<S: Source> SourceCoordinator for Coordinator<S> {
    fn start(&mut self, restored: Option<&[u8]>, parallelism: u32) -> Result<Vec<Vec<Vec<u8>>>> {
        let mut enumerator = match restored {
            None => self.source.create_enumerator(None)?,
            Some(bytes) => {
                let mut reader = ByteReader::new(bytes);
                let serde = reader.i32()?;
                if serde != COORDINATOR_SERDE_VERSION {
                    return Err(FunctionError::new(format!(
                        "source coordinator state has version {serde}, expected {COORDINATOR_SERDE_VERSION}"
                    )));
                }
                let version = reader.i32()?;
                let length = reader.length()?;
                let state = reader.take(length)?;
                self.source.create_enumerator(Some((version, state)))?
            }
        };
        let mut splits = vec![Vec::new(); parallelism as usize];
        for (index, split) in enumerator.discover_splits()?.iter().enumerate() {
            splits[index % parallelism as usize]
                .push(versioned(S::Split::VERSION, &split.serialize()));
        }
        self.enumerator = Some(enumerator);
        Ok(splits)
    }

    fn snapshot(&self) -> Vec<u8> {
        let state = self
            .enumerator
            .as_ref()
            .map(SplitEnumerator::snapshot_state)
            .unwrap_or_default();
        let mut out = Vec::new();
        out.put_i32(COORDINATOR_SERDE_VERSION);
        out.extend(versioned(
            <S::Enumerator as SplitEnumerator<S::Split>>::VERSION,
            &state,
        ));
        out
    }
}

/// Flink's simple versioned form: version, length, bytes.
pub(crate) fn versioned(version: i32, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + bytes.len());
    out.put_i32(version);
    out.put_i32(bytes.len() as i32);
    out.extend_from_slice(bytes);
    out
}

/// Reads [`versioned`] bytes.
pub(crate) fn read_versioned(bytes: &[u8]) -> Result<(i32, &[u8])> {
    let mut reader = ByteReader::new(bytes);
    let version = reader.i32()?;
    let length = reader.length()?;
    Ok((version, reader.take(length)?))
}

/// Runs a reader as the head of a chain.
pub struct SourceReaderOperator<S: Source> {
    source: Arc<S>,
    opened: Option<Opened<S>>,
    collector: Collector<S::Record>,
    types: PhantomData<fn(S)>,
}

struct Opened<S: Source> {
    reader: S::Reader,
    operator: OperatorStateBackend,
    state: OperatorListState<Vec<u8>>,
}

impl<S: Source> SourceReaderOperator<S> {
    /// Runs a reader of `source`.
    pub fn new(source: Arc<S>) -> Self {
        SourceReaderOperator {
            source,
            opened: None,
            collector: Collector::default(),
            types: PhantomData,
        }
    }

    fn opened(&mut self) -> &mut Opened<S> {
        self.opened.as_mut().expect("an operator is opened first")
    }
}

impl<S: Source> Operator for SourceReaderOperator<S> {
    fn open(&mut self, context: OpenContext) -> Result<()> {
        context.check_restored(Restores::OperatorState)?;
        let operator = OperatorStateBackend::new();
        if let Some(restored) = &context.restored {
            restore_operator(&operator, restored)?;
        }
        let state: OperatorListState<Vec<u8>> = operator.list_state(READER_STATE)?;
        let mut splits = Vec::new();
        for bytes in state.get().iter().chain(&context.assigned_splits) {
            let (version, bytes) = read_versioned(bytes)?;
            splits.push(S::Split::deserialize(version, bytes)?);
        }
        let mut reader = self.source.create_reader(ReaderContext {
            info: context.info,
            clock: context.clock,
            wake: context.wake,
        })?;
        reader.add_splits(splits)?;
        reader.notify_no_more_splits();
        self.opened = Some(Opened {
            reader,
            operator,
            state,
        });
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
        operator.list_state::<Vec<u8>>(READER_STATE)?;
        Ok(StateDescription {
            keyed: None,
            operator: Some(operator.describe()),
        })
    }

    fn process(&mut self, _input: usize, _element: Element, _output: &mut Output) -> Result<()> {
        Ok(())
    }

    fn poll(&mut self, limit: usize, output: &mut Output) -> Result<InputStatus> {
        let opened = self.opened.as_mut().expect("an operator is opened first");
        let status = opened.reader.poll_next(limit, &mut self.collector)?;
        self.collector.flush(output);
        Ok(status)
    }

    fn pending_records(&self) -> Option<u64> {
        self.opened
            .as_ref()
            .and_then(|opened| opened.reader.pending_records())
    }

    fn snapshot(&mut self, context: SnapshotContext) -> Result<OperatorSnapshot> {
        let opened = self.opened();
        let splits = opened.reader.snapshot_state(context.id)?;
        opened.state.update(
            splits
                .iter()
                .map(|split| versioned(S::Split::VERSION, &split.serialize())),
        );
        Ok(OperatorSnapshot {
            operator: Some(opened.operator.freeze()),
            positions: splits.iter().map(SourceSplit::position).collect(),
            ..OperatorSnapshot::default()
        })
    }

    fn notify_complete(&mut self, checkpoint: CheckpointId) -> Result<()> {
        self.opened().reader.notify_checkpoint_complete(checkpoint)
    }
    fn notify_aborted(&mut self, checkpoint: CheckpointId) -> Result<()> {
        self.opened().reader.notify_checkpoint_aborted(checkpoint)
    }
}
