//! Small tables: rows of values that are in memory.

use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::catalog::{MemTable, TableProvider};
use datafusion::error::Result;
use millpond_serializer::{Shape, Value};

use crate::Error;
use crate::column::{Column, Unfit, data_type};

/// So many rows are one batch.
const BATCH_ROWS: usize = 8192;

/// Makes a table of rows.
///
/// # Errors
///
/// As [`batches`].
pub(crate) fn table(
    columns: &[(&str, Shape)],
    rows: impl IntoIterator<Item = Vec<Value>>,
) -> Result<Arc<dyn TableProvider>> {
    let (schema, batches) = batches(columns, rows)?;
    Ok(Arc::new(MemTable::try_new(schema, vec![batches])?))
}

/// Makes batches of rows.
///
/// # Errors
///
/// Failed, if a value is not of the shape of its column.
pub(crate) fn batches(
    columns: &[(&str, Shape)],
    rows: impl IntoIterator<Item = Vec<Value>>,
) -> Result<(SchemaRef, Vec<RecordBatch>), Error> {
    let fields = columns
        .iter()
        .map(|(name, shape)| Field::new(*name, data_type(shape), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let mut arrays: Vec<Column> = columns
        .iter()
        .map(|(_, shape)| Column::new(shape))
        .collect();
    let mut batches = Vec::new();
    let mut count = 0;
    let finish = |arrays: &mut Vec<Column>| {
        let finished = arrays.iter_mut().map(Column::finish);
        let finished = finished.collect::<Result<Vec<_>, _>>()?;
        Ok::<_, Error>(RecordBatch::try_new(schema.clone(), finished)?)
    };
    for row in rows {
        for ((array, value), (name, _)) in arrays.iter_mut().zip(&row).zip(columns) {
            array
                .push(value)
                .map_err(|Unfit(reason)| Error::failed(format!("column \"{name}\": {reason}")))?;
        }
        count += 1;
        if count == BATCH_ROWS {
            count = 0;
            batches.push(finish(&mut arrays)?);
        }
    }
    if count > 0 {
        batches.push(finish(&mut arrays)?);
    }
    Ok((schema, batches))
}

/// A text, or null.
pub(crate) fn text(text: Option<&str>) -> Value {
    text.map_or(Value::Null, |text| Value::String(text.to_owned()))
}

/// A number; what is above all `BIGINT`s is the greatest of them.
pub(crate) fn number(number: u64) -> Value {
    Value::Long(i64::try_from(number).unwrap_or(i64::MAX))
}
