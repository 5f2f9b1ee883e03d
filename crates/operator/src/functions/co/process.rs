//! Process functions of two inputs without keys.

use std::sync::Arc;

use millpond_state::{OperatorStateBackend, StateDescription};
use millpond_types::{CheckpointId, Clock};

use super::waiting::Waiting;
use crate::batch::Data;
use crate::context::{OpenContext, Restores, SnapshotContext};
use crate::element::{Element, NO_TIMESTAMP};
use crate::error::Result;
use crate::functions::hooks::checkpoint_hooks;
use crate::functions::open::FunctionOpenContext;
use crate::functions::process::ProcessContext;
use crate::functions::restore::restore_operator;
use crate::operator::{Operator, OperatorSnapshot};
use crate::output::{Collector, Output};

/// User code that runs per record of two inputs, without keys.
///
/// Made by a closure that registers its state, once per subtask.
pub trait CoProcessFunction: 'static {
    /// Records of the first input.
    type In1: Data;
    /// Records of the second input.
    type In2: Data;
    /// Records out.
    type Out: Data;

    /// Processes one record of the first input.
    ///
    /// # Errors
    ///
    /// Any error fails the job with its message.
    fn process_element1(
        &mut self,
        value: Self::In1,
        context: &ProcessContext<'_>,
        out: &mut Collector<Self::Out>,
    ) -> Result<()>;

    /// Processes one record of the second input.
    ///
    /// # Errors
    ///
    /// As [`CoProcessFunction::process_element1`].
    fn process_element2(
        &mut self,
        value: Self::In2,
        context: &ProcessContext<'_>,
        out: &mut Collector<Self::Out>,
    ) -> Result<()>;

    /// All input has been processed: emit what is left.
    ///
    /// # Errors
    ///
    /// As [`CoProcessFunction::process_element1`].
    fn finish(&mut self, _out: &mut Collector<Self::Out>) -> Result<()> {
        Ok(())
    }

    checkpoint_hooks!();
}

struct Opened<F> {
    function: F,
    operator: OperatorStateBackend,
    clock: Arc<dyn Clock>,
}

/// Runs a [`CoProcessFunction`].
pub struct CoProcessOperator<F: CoProcessFunction, O> {
    open: Arc<O>,
    opened: Option<Opened<F>>,
    collector: Collector<F::Out>,
    waiting: Waiting<F::In1, F::In2>,
    watermark: i64,
}

impl<F, O> CoProcessOperator<F, O>
where
    F: CoProcessFunction,
    O: Fn(&mut FunctionOpenContext<'_>) -> Result<F>,
{
    /// Runs the function that `open` makes.
    pub fn new(open: Arc<O>) -> Self {
        CoProcessOperator {
            open,
            opened: None,
            collector: Collector::default(),
            waiting: Waiting::default(),
            watermark: i64::MIN,
        }
    }

    fn opened(&mut self) -> &mut Opened<F> {
        self.opened.as_mut().expect("an operator is opened first")
    }
}

impl<F, O> Operator for CoProcessOperator<F, O>
where
    F: CoProcessFunction,
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

    fn process(&mut self, input: usize, element: Element, output: &mut Output) -> Result<()> {
        match element {
            Element::Records(batch) => {
                self.waiting = Waiting::new(input, batch);
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
        let Opened {
            function, clock, ..
        } = self.opened.as_mut().expect("an operator is opened first");
        let mut context = ProcessContext::new(&**clock, NO_TIMESTAMP, self.watermark);
        let out = &mut self.collector;
        while !out.is_full() {
            match &mut self.waiting {
                Waiting::First(rows) => {
                    let Some(row) = rows.next() else { break };
                    context.set_timestamp(row.timestamp);
                    out.set_timestamp(row.timestamp);
                    function.process_element1(row.value, &context, out)?;
                }
                Waiting::Second(rows) => {
                    let Some(row) = rows.next() else { break };
                    context.set_timestamp(row.timestamp);
                    out.set_timestamp(row.timestamp);
                    function.process_element2(row.value, &context, out)?;
                }
            }
        }
        out.flush(output);
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
