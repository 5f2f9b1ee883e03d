//! Tables of operator state: lists of all subtasks, and broadcast maps.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::catalog::{MemTable, TableProvider};
use datafusion::error::Result;
use millpond_serializer::{Shape, Value, ValueCodec};
use millpond_state_processor::{OperatorStateContent, OperatorStateMode};

use crate::{Error, rows};

/// Makes a table of what an operator holds of one state.
pub(crate) fn table(state: &OperatorStateContent) -> Result<Arc<dyn TableProvider>> {
    let (schema, batches) = batches(state)?;
    Ok(Arc::new(MemTable::try_new(schema, vec![batches])?))
}

/// Makes batches of what an operator holds of one state: of a broadcast map once, of lists with
/// the subtask of each element.
pub(crate) fn batches(
    state: &OperatorStateContent,
) -> Result<(SchemaRef, Vec<RecordBatch>), Error> {
    let value = ValueCodec::new(&state.value).shape();
    match (state.mode, &state.key) {
        (OperatorStateMode::Broadcast, Some(key)) => {
            let columns = [("map_key", ValueCodec::new(key).shape()), ("value", value)];
            let entries = state.content().map(|entry| {
                let Value::Tuple(pair) = entry else {
                    return vec![Value::Null, entry.clone()];
                };
                pair.clone()
            });
            rows::batches(&columns, entries)
        }
        (OperatorStateMode::Broadcast | OperatorStateMode::Split | OperatorStateMode::Union, _) => {
            let columns = [
                ("subtask", Shape::Int),
                ("position", Shape::Long),
                ("value", value),
            ];
            let elements = state.elements.iter().flat_map(|(subtask, elements)| {
                (0..).zip(elements).map(|(position, element)| {
                    let subtask = i32::try_from(*subtask).unwrap_or(i32::MAX);
                    vec![Value::Int(subtask), Value::Long(position), element.clone()]
                })
            });
            rows::batches(&columns, elements)
        }
    }
}
