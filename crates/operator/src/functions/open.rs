//! What a function gets when it is made.

use std::sync::Arc;

use millpond_serializer::FlinkType;
use millpond_state::{OperatorListState, OperatorStateBackend};
use millpond_types::{CheckpointId, Clock};

use crate::context::{OpenContext, SubtaskInfo};
use crate::error::Result;

/// Where a function learns who it is and what was restored, and registers operator state.
///
/// What Flink calls `initializeState`: a function is made by a closure that is given this, once per
/// subtask and attempt.
pub struct FunctionOpenContext<'a> {
    info: &'a SubtaskInfo,
    clock: &'a Arc<dyn Clock>,
    operator: &'a OperatorStateBackend,
    restored_checkpoint: Option<CheckpointId>,
}

impl<'a> FunctionOpenContext<'a> {
    pub(crate) fn new(context: &'a OpenContext, operator: &'a OperatorStateBackend) -> Self {
        let restored = context.restored.as_ref();
        FunctionOpenContext {
            info: &context.info,
            clock: &context.clock,
            operator,
            restored_checkpoint: restored.map(|restored| restored.checkpoint),
        }
    }

    /// Which subtask this is.
    pub fn info(&self) -> &'a SubtaskInfo {
        self.info
    }

    /// The clock.
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(self.clock)
    }

    /// Whether the job was restored from a snapshot; this subtask may have got no state of it.
    pub fn is_restored(&self) -> bool {
        self.restored_checkpoint.is_some()
    }

    /// The snapshot that was restored, if one was.
    pub fn restored_checkpoint(&self) -> Option<CheckpointId> {
        self.restored_checkpoint
    }

    /// Says what becomes of elements of `Old` in a list, or of map values in a broadcast state, that
    /// now has values of `New`.
    ///
    /// Called before the state is registered; see [`OperatorStateBackend::migrate_state`].
    pub fn migrate_operator_state<Old: FlinkType, New: FlinkType>(
        &self,
        state: &str,
        function: impl Fn(Old) -> New + Send + Sync + 'static,
    ) {
        self.operator.migrate_state(state, function);
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
    /// As [`FunctionOpenContext::operator_list_state`].
    pub fn union_list_state<T: FlinkType>(&self, name: &str) -> Result<OperatorListState<T>> {
        Ok(self.operator.union_list_state(name)?)
    }

    pub(crate) fn operator(&self) -> &'a OperatorStateBackend {
        self.operator
    }
}
