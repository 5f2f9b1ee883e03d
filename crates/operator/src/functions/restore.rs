//! Restoring the state of one operator subtask.

use millpond_serializer::FlinkKey;
use millpond_state::{KeyedBackend, OperatorStateBackend};

use crate::context::RestoredState;
use crate::error::Result;

/// Gives a keyed backend the key groups that it owns.
pub(crate) fn restore_keyed<K: FlinkKey>(
    backend: &KeyedBackend<K>,
    restored: &RestoredState,
) -> Result<()> {
    for handle in &restored.keyed {
        backend.restore(&restored.snapshot, handle)?;
    }
    Ok(())
}

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
