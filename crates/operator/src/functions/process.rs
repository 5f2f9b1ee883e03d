//! Process functions without keys: user code with operator state.

use std::sync::Arc;

use millpond_state::{OperatorStateBackend, StateDescription};
use millpond_types::{CheckpointId, Clock};

use crate::batch::{Data, downcast};
use crate::context::{OpenContext, Restores, SnapshotContext};
use crate::element::{Element, NO_TIMESTAMP};
use crate::error::Result;
use crate::functions::hooks::checkpoint_hooks;
use crate::functions::open::FunctionOpenContext;
use crate::functions::restore::restore_operator;
use crate::functions::rows::Rows;
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

    checkpoint_hooks!();
}

/// What a function may ask about the record or timer that it processes.
pub struct ProcessContext<'a> {
    clock: &'a dyn Clock,
    timestamp: i64,
    watermark: i64,
}

impl<'a> ProcessContext<'a> {
    pub(crate) fn new(clock: &'a dyn Clock, timestamp: i64, watermark: i64) -> Self {
        ProcessContext {
            clock,
            timestamp,
            watermark,
        }
    }

    #[inline]
    pub(crate) fn set_timestamp(&mut self, timestamp: i64) {
        self.timestamp = timestamp;
    }

    /// The timestamp of the record or timer in milliseconds, if it has one.
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
    waiting: Rows<F::In>,
    watermark: i64,
}

impl<F, O> ProcessOperator<F, O>
where
    F: ProcessFunction,
    O: Fn(&mut FunctionOpenContext<'_>) -> Result<F>,
{
    /// Runs the function that `open` makes.
    pub fn new(open: Arc<O>) -> Self {
        ProcessOperator {
            open,
            opened: None,
            collector: Collector::default(),
            waiting: Rows::default(),
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
    O: Fn(&mut FunctionOpenContext<'_>) -> Result<F>,
{
    fn open(&mut self, context: OpenContext) -> Result<()> {
        context.check_restored(Restores::OperatorState)?;
        let operator = OperatorStateBackend::new();
        if let Some(restored) = &context.restored {
            restore_operator(&operator, restored)?;
        }
        let function = (self.open)(&mut FunctionOpenContext::new(&context, &operator))?;
        self.opened = Some(Opened {
            function,
            operator,
            clock: context.clock,
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

    fn process(&mut self, _input: usize, element: Element, output: &mut Output) -> Result<()> {
        match element {
            Element::Records(batch) => {
                self.waiting = Rows::new(downcast(batch));
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
        !self.waiting.is_empty()
    }

    fn resume(&mut self, output: &mut Output) -> Result<()> {
        let opened = self.opened.as_mut().expect("an operator is opened first");
        let mut context = ProcessContext::new(&*opened.clock, NO_TIMESTAMP, self.watermark);
        while !self.collector.is_full() {
            let Some(row) = self.waiting.next() else {
                break;
            };
            context.set_timestamp(row.timestamp);
            self.collector.set_timestamp(row.timestamp);
            opened
                .function
                .process_element(row.value, &context, &mut self.collector)?;
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
    fn notify_aborted(&mut self, checkpoint: CheckpointId) -> Result<()> {
        self.opened().function.notify_checkpoint_aborted(checkpoint)
    }
}
