//! A table of keyed state, as DataFusion reads it.
//!
//! Projections are pushed down (what is not asked for is not decoded), and so is `key = literal`
//! where the bytes of the key are known: then only its key group is read. The filter is applied
//! once more above.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, Operator, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use millpond_serializer::Shape;
use millpond_state_processor::Selection;

use crate::keyed_scan::{KeyedScan, KeyedTable, PieceOf, ScanPlan};
use crate::layout::Role;

/// A table of keyed state.
#[derive(Debug)]
pub(crate) struct KeyedProvider(pub(crate) Arc<KeyedTable>);

#[async_trait]
impl TableProvider for KeyedProvider {
    fn schema(&self) -> SchemaRef {
        self.0.layout.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let known = |filter: &&Expr| match self.key_of(filter) {
            Some(_) => TableProviderFilterPushDown::Inexact,
            None => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(known).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let selection = Selection {
            key: filters.iter().find_map(|filter| self.key_of(filter)),
            ..Selection::default()
        };
        let plan = Arc::new(self.0.plan(projection, selection)?);
        let pieces = self.0.pieces(&plan)?;
        let count = state
            .config()
            .target_partitions()
            .clamp(1, pieces.len().max(1));
        // Neighbours go to different partitions: they are about as large.
        let partitions = (0..count).map(|first| {
            let pieces = pieces.iter().skip(first).step_by(count);
            let partition: Arc<dyn PartitionStream> = Arc::new(Partition {
                table: self.0.clone(),
                plan: plan.clone(),
                pieces: pieces.copied().collect(),
            });
            partition
        });
        let partitions = partitions.collect();
        let schema = plan.schema.clone();
        let exec = StreamingTableExec::try_new(schema, partitions, None, Vec::new(), false, limit)?;
        Ok(Arc::new(exec))
    }
}

impl KeyedProvider {
    /// The text of the key that a filter asks for, if it is `key = literal` and the text says
    /// exactly which bytes the key has.
    fn key_of(&self, filter: &Expr) -> Option<String> {
        let Expr::BinaryExpr(binary) = filter else {
            return None;
        };
        let (column, literal) = match (&*binary.left, &*binary.right) {
            (Expr::Column(column), Expr::Literal(literal, _))
            | (Expr::Literal(literal, _), Expr::Column(column)) => (column, literal),
            _ => return None,
        };
        if binary.op != Operator::Eq || column.name != Role::Key.name() {
            return None;
        }
        let key = self.0.layout.columns.first()?;
        match (&key.shape, literal) {
            // What begins with a brace may stand for a text that is no UTF-8.
            (Shape::Text, ScalarValue::Utf8(Some(text))) if !text.starts_with('{') => {
                Some(text.clone())
            }
            (Shape::Byte, ScalarValue::Int8(Some(number))) => Some(number.to_string()),
            (Shape::Short, ScalarValue::Int16(Some(number))) => Some(number.to_string()),
            (Shape::Int, ScalarValue::Int32(Some(number))) => Some(number.to_string()),
            (Shape::Long, ScalarValue::Int64(Some(number))) => Some(number.to_string()),
            (Shape::Boolean, ScalarValue::Boolean(Some(value))) => Some(value.to_string()),
            _ => None,
        }
    }
}

/// What one task reads.
struct Partition {
    table: Arc<KeyedTable>,
    plan: Arc<ScanPlan>,
    pieces: Vec<PieceOf>,
}

impl fmt::Debug for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Partition")
            .field("pieces", &self.pieces.len())
            .finish_non_exhaustive()
    }
}

impl PartitionStream for Partition {
    fn schema(&self) -> &SchemaRef {
        &self.plan.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (table, plan) = (self.table.clone(), self.plan.clone());
        let batches = KeyedScan::new(table, plan, self.pieces.clone());
        let batches = batches.map(|batch| batch.map_err(DataFusionError::from));
        let stream = futures::stream::iter(batches);
        Box::pin(RecordBatchStreamAdapter::new(
            self.plan.schema.clone(),
            stream,
        ))
    }
}
