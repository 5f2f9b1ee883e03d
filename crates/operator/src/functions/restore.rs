//! Restoring the operator state of one operator subtask.

use millpond_state::OperatorStateBackend;

use crate::context::RestoredState;
use crate::error::Result;

/// Gives an operator state backend the elements that fell to this subtask.
pub(crate) fn restore_operator(
    backend: &OperatorStateBackend,
    restored: &RestoredState,
) -> Result<()> {
    for handle in &restored.operator {
        backend.restore(&restored.snapshot, handle)?;
    }
    Ok(())
}
