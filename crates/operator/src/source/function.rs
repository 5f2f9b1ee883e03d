//! Sources of the older shape: they keep their positions in operator state of their own.

use std::sync::Arc;

use millpond_serializer::FlinkType;
use millpond_state::{OperatorListState, OperatorStateBackend};
use millpond_types::{CheckpointId, Clock};

use crate::batch::Data;
use crate::context::{OpenContext, Restores, SnapshotContext, SubtaskInfo};
use crate::element::Element;
use crate::error::Result;
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

    /// How many records it could emit and has not, if it knows (Flink's `pendingRecords`).
    fn pending_records(&self) -> Option<u64> {
        None
    }

    /// The positions for people, one line per split.
    fn positions(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Where a source function registers its state.
pub struct SourceFunctionContext<'a> {
    info: &'a SubtaskInfo,
    operator: &'a OperatorStateBackend,
    clock: &'a Arc<dyn Clock>,
    restored_checkpoint: Option<CheckpointId>,
}

impl SourceFunctionContext<'_> {
    /// Which subtask this is.
    pub fn info(&self) -> &SubtaskInfo {
        self.info
    }

    /// The clock.
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(self.clock)
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
    /// As [`SourceFunctionContext::operator_list_state`].
    pub fn union_list_state<T: FlinkType>(&self, name: &str) -> Result<OperatorListState<T>> {
        Ok(self.operator.union_list_state(name)?)
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
    O: Fn(&mut SourceFunctionContext<'_>) -> Result<F>,
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
    O: Fn(&mut SourceFunctionContext<'_>) -> Result<F>,
{
    fn open(&mut self, context: OpenContext) -> Result<()> {
        context.check_restored(Restores::OperatorState)?;
        let operator = OperatorStateBackend::new();
        if let Some(restored) = &context.restored {
            restore_operator(&operator, restored)?;
        }
        let mut open = SourceFunctionContext {
            info: &context.info,
            operator: &operator,
            clock: &context.clock,
            restored_checkpoint: context
                .restored
                .as_ref()
                .map(|restored| restored.checkpoint),
        };
        let function = (self.open)(&mut open)?;
        self.opened = Some((function, operator));
        Ok(())
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
}
