//! Sources of the older shape: they keep their positions in operator state of their own.

use std::sync::Arc;

use millpond_state::{OperatorStateBackend, StateDescription};
use millpond_types::CheckpointId;

use crate::batch::Data;
use crate::context::{OpenContext, Restores, SnapshotContext};
use crate::element::Element;
use crate::error::Result;
use crate::functions::FunctionOpenContext;
use crate::functions::hooks::checkpoint_listener;
use crate::functions::restore::restore_operator;
use crate::operator::{Operator, OperatorSnapshot};
use crate::output::{Collector, Output};
use crate::source::InputStatus;

/// A source with state of its own, made by a closure that registers it, once per subtask.
pub trait SourceFunction: 'static {
    /// Its records.
    type Out: Data;

    /// Emits about `limit` records at most. Must not block.
    ///
    /// # Errors
    ///
    /// Any error fails the job with its message.
    fn poll_next(&mut self, limit: usize, out: &mut Collector<Self::Out>) -> Result<InputStatus>;

    /// A snapshot is about to be taken: bring operator state up to date.
    ///
    /// # Errors
    ///
    /// As [`SourceFunction::poll_next`].
    fn snapshot_state(&mut self, checkpoint: CheckpointId) -> Result<()>;

    checkpoint_listener!();

    /// How many records it could emit and has not, if it knows (Flink's `pendingRecords`).
    fn pending_records(&self) -> Option<u64> {
        None
    }

    /// The positions for people, one line per split.
    fn positions(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Runs a [`SourceFunction`] as the head of a chain.
pub struct SourceFunctionOperator<F: SourceFunction, O> {
    open: Arc<O>,
    opened: Option<(F, OperatorStateBackend)>,
    collector: Collector<F::Out>,
}

impl<F, O> SourceFunctionOperator<F, O>
where
    F: SourceFunction,
    O: Fn(&mut FunctionOpenContext<'_>) -> Result<F>,
{
    /// Runs the function that `open` makes.
    pub fn new(open: Arc<O>) -> Self {
        SourceFunctionOperator {
            open,
            opened: None,
            collector: Collector::default(),
        }
    }
}

impl<F, O> Operator for SourceFunctionOperator<F, O>
where
    F: SourceFunction,
    O: Fn(&mut FunctionOpenContext<'_>) -> Result<F>,
{
    fn open(&mut self, context: OpenContext) -> Result<()> {
        context.check_restored(Restores::OperatorState)?;
        let operator = OperatorStateBackend::new();
        if let Some(restored) = &context.restored {
            restore_operator(&operator, restored)?;
        }
        let function = (self.open)(&mut FunctionOpenContext::new(&context, &operator))?;
        self.opened = Some((function, operator));
        Ok(())
    }

    fn state(&self) -> StateDescription {
        let opened = self.opened.as_ref();
        StateDescription {
            keyed: None,
            operator: opened.map(|(_, operator)| operator.describe()),
        }
    }

    fn process(&mut self, _input: usize, _element: Element, _output: &mut Output) -> Result<()> {
        Ok(())
    }

    fn poll(&mut self, limit: usize, output: &mut Output) -> Result<InputStatus> {
        let (function, _) = self.opened.as_mut().expect("an operator is opened first");
        let status = function.poll_next(limit, &mut self.collector)?;
        self.collector.flush(output);
        Ok(status)
    }

    fn pending_records(&self) -> Option<u64> {
        self.opened
            .as_ref()
            .and_then(|(function, _)| function.pending_records())
    }

    fn snapshot(&mut self, context: SnapshotContext) -> Result<OperatorSnapshot> {
        let (function, operator) = self.opened.as_mut().expect("an operator is opened first");
        function.snapshot_state(context.id)?;
        Ok(OperatorSnapshot {
            operator: Some(operator.freeze()),
            positions: function.positions(),
            ..OperatorSnapshot::default()
        })
    }
    fn notify_complete(&mut self, checkpoint: CheckpointId) -> Result<()> {
        let (function, _) = self.opened.as_mut().expect("an operator is opened first");
        function.notify_checkpoint_complete(checkpoint)
    }

    fn notify_aborted(&mut self, checkpoint: CheckpointId) -> Result<()> {
        let (function, _) = self.opened.as_mut().expect("an operator is opened first");
        function.notify_checkpoint_aborted(checkpoint)
    }
}
