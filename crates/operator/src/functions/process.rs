//! Process functions without keys: user code with operator state.

use std::sync::Arc;

use millpond_serializer::FlinkType;
use millpond_state::{OperatorListState, OperatorStateBackend};
use millpond_types::{CheckpointId, Clock};

use crate::batch::{Batch, Data, downcast};
use crate::context::{OpenContext, Restores, SnapshotContext, SubtaskInfo};
use crate::element::{Element, NO_TIMESTAMP};
use crate::error::Result;
use crate::functions::restore::restore_operator;
use crate::operator::{Operator, OperatorSnapshot};
use crate::output::{Collector, Output};

/// User code that runs per record, without keys.
pub trait ProcessFunction: 'static {
    /// Records in.
    type In: Data;
    /// Records out.
    type Out: Data;

    /// Processes one record.
    ///
    /// # Errors
    ///
    /// Any error fails the job with its message.
    fn process_element(
        &mut self,
        value: Self::In,
        context: &ProcessContext<'_>,
        out: &mut Collector<Self::Out>,
    ) -> Result<()>;

    /// All input has been processed: emit what is left.
    ///
    /// # Errors
    ///
    /// As [`ProcessFunction::process_element`].
    fn finish(&mut self, _out: &mut Collector<Self::Out>) -> Result<()> {
        Ok(())
    }

    /// A snapshot is about to be taken: bring operator state up to date.
    ///
    /// # Errors
    ///
    /// As [`ProcessFunction::process_element`].
    fn snapshot_state(&mut self, _checkpoint: CheckpointId) -> Result<()> {
        Ok(())
    }

    /// A checkpoint is complete. Best effort: it may be skipped.
    ///
    /// # Errors
    ///
    /// As [`ProcessFunction::process_element`].
    fn notify_checkpoint_complete(&mut self, _checkpoint: CheckpointId) -> Result<()> {
        Ok(())
    }
}

/// What a process function may ask about the record.
pub struct ProcessContext<'a> {
    clock: &'a dyn Clock,
    timestamp: i64,
    watermark: i64,
}

impl ProcessContext<'_> {
    /// The timestamp of the record in milliseconds, if it has one.
    pub fn timestamp(&self) -> Option<i64> {
        (self.timestamp != NO_TIMESTAMP).then_some(self.timestamp)
    }

    /// The watermark in milliseconds; `i64::MIN` before the first.
    pub fn current_watermark(&self) -> i64 {
        self.watermark
    }

    /// The time of the machine in milliseconds since 1970.
    pub fn current_processing_time(&self) -> i64 {
        self.clock.now_ms() as i64
    }
}

/// Where a function without keys registers its state.
pub struct ProcessOpenContext<'a> {
    info: &'a SubtaskInfo,
    operator: &'a OperatorStateBackend,
    restored_checkpoint: Option<CheckpointId>,
}

impl<'a> ProcessOpenContext<'a> {
    pub(crate) fn new(
        info: &'a SubtaskInfo,
        operator: &'a OperatorStateBackend,
        restored_checkpoint: Option<CheckpointId>,
    ) -> Self {
        ProcessOpenContext {
            info,
            operator,
            restored_checkpoint,
        }
    }

    /// Which subtask this is.
    pub fn info(&self) -> &SubtaskInfo {
        self.info
    }

    /// The snapshot that was restored, if one was.
    pub fn restored_checkpoint(&self) -> Option<CheckpointId> {
        self.restored_checkpoint
    }

    /// A list of the subtask whose elements are dealt out on restore.
    ///
    /// # Errors
    ///
    /// The name is taken, or restored state of this name has another type.
    pub fn operator_list_state<T: FlinkType>(&self, name: &str) -> Result<OperatorListState<T>> {
        Ok(self.operator.list_state(name)?)
    }

    /// A list of the subtask that every subtask gets whole on restore.
    ///
    /// # Errors
    ///
    /// As [`ProcessOpenContext::operator_list_state`].
    pub fn union_list_state<T: FlinkType>(&self, name: &str) -> Result<OperatorListState<T>> {
        Ok(self.operator.union_list_state(name)?)
    }
}

struct Opened<F> {
    function: F,
    operator: OperatorStateBackend,
    clock: Arc<dyn Clock>,
}

/// Runs a [`ProcessFunction`].
pub struct ProcessOperator<F: ProcessFunction, O> {
    open: Arc<O>,
    opened: Option<Opened<F>>,
    collector: Collector<F::Out>,
    rows: std::vec::IntoIter<F::In>,
    timestamps: std::vec::IntoIter<i64>,
    watermark: i64,
}

impl<F, O> ProcessOperator<F, O>
where
    F: ProcessFunction,
    O: Fn(&mut ProcessOpenContext<'_>) -> Result<F>,
{
    /// Runs the function that `open` makes.
    pub fn new(open: Arc<O>) -> Self {
        ProcessOperator {
            open,
            opened: None,
            collector: Collector::default(),
            rows: Vec::new().into_iter(),
            timestamps: Vec::new().into_iter(),
            watermark: i64::MIN,
        }
    }

    fn opened(&mut self) -> &mut Opened<F> {
        self.opened.as_mut().expect("an operator is opened first")
    }
}

impl<F, O> Operator for ProcessOperator<F, O>
where
    F: ProcessFunction,
    O: Fn(&mut ProcessOpenContext<'_>) -> Result<F>,
{
    fn open(&mut self, context: OpenContext) -> Result<()> {
        context.check_restored(Restores::OperatorState)?;
        let operator = OperatorStateBackend::new();
        if let Some(restored) = &context.restored {
            restore_operator(&operator, restored)?;
        }
        let restored_checkpoint = context
            .restored
            .as_ref()
            .map(|restored| restored.checkpoint);
        let mut open = ProcessOpenContext::new(&context.info, &operator, restored_checkpoint);
        let function = (self.open)(&mut open)?;
        self.opened = Some(Opened {
            function,
            operator,
            clock: context.clock,
        });
        Ok(())
    }

    fn process(&mut self, _input: usize, element: Element, output: &mut Output) -> Result<()> {
        match element {
            Element::Records(batch) => {
                let Batch {
                    rows, timestamps, ..
                } = downcast::<F::In>(batch);
                self.rows = rows.into_iter();
                self.timestamps = timestamps.into_iter();
                self.resume(output)
            }
            Element::Watermark(watermark) => {
                self.watermark = watermark;
                output.watermark(watermark);
                Ok(())
            }
            Element::Idle(_) | Element::EndOfData => Ok(()),
        }
    }

    fn is_paused(&self) -> bool {
        self.rows.len() > 0
    }

    fn resume(&mut self, output: &mut Output) -> Result<()> {
        let opened = self.opened.as_mut().expect("an operator is opened first");
        let mut context = ProcessContext {
            clock: &*opened.clock,
            timestamp: NO_TIMESTAMP,
            watermark: self.watermark,
        };
        while !self.collector.is_full() {
            let Some(row) = self.rows.next() else { break };
            context.timestamp = self.timestamps.next().unwrap_or(NO_TIMESTAMP);
            self.collector.set_timestamp(context.timestamp);
            opened
                .function
                .process_element(row, &context, &mut self.collector)?;
        }
        self.collector.flush(output);
        Ok(())
    }

    fn finish(&mut self, output: &mut Output) -> Result<()> {
        self.collector.set_timestamp(NO_TIMESTAMP);
        let opened = self.opened.as_mut().expect("an operator is opened first");
        opened.function.finish(&mut self.collector)?;
        self.collector.flush(output);
        Ok(())
    }

    fn snapshot(&mut self, context: SnapshotContext) -> Result<OperatorSnapshot> {
        let opened = self.opened();
        opened.function.snapshot_state(context.id)?;
        Ok(OperatorSnapshot {
            operator: Some(opened.operator.freeze()),
            ..OperatorSnapshot::default()
        })
    }

    fn notify_complete(&mut self, checkpoint: CheckpointId) -> Result<()> {
        self.opened()
            .function
            .notify_checkpoint_complete(checkpoint)
    }
}
