//! Keyed state as record batches, piece by piece.
//!
//! An iterator that reads as it is asked: what is in memory is one window of a file and one batch.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use datafusion::arrow::array::RecordBatchOptions;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use millpond_serializer::Value;
use millpond_snapshot::Error as SnapshotError;
use millpond_state_processor::{
    Content, EntryCodec, KeyedState, OpenSnapshot, Operator, Parts, Piece, Progress, Row,
    RowFilter, RowReader, Selection,
};
use millpond_types::{KeyGroup, KeyGroupRange, OperatorId};

use crate::Error;
use crate::column::{Column, Unfit};
use crate::layout::{Layout, Role};

/// A batch ends when it has so many rows, or came of so many bytes.
const BATCH_ROWS: usize = 8192;
const BATCH_BYTES: usize = 1 << 20;
/// About how many bytes of a file are one piece of work.
const PIECE_BYTES: u64 = 4 << 20;

/// The rows of a state, or of all timers of an operator.
#[derive(Debug)]
pub(crate) struct KeyedTable {
    pub(crate) snapshot: Arc<OpenSnapshot>,
    pub(crate) operator: OperatorId,
    /// The state, or the queues of timers.
    pub(crate) states: Vec<KeyedState>,
    pub(crate) layout: Layout,
    pub(crate) progress: Arc<Progress>,
}

/// What is read of a table.
#[derive(Clone, Debug)]
pub(crate) struct ScanPlan {
    /// The columns, by their places in the layout.
    pub(crate) projection: Vec<usize>,
    pub(crate) schema: SchemaRef,
    pub(crate) selection: Selection,
}

/// A piece, by what it is found again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PieceOf {
    subtask: u32,
    range: KeyGroupRange,
    bytes: u64,
}

impl KeyedTable {
    pub(crate) fn of_state(
        snapshot: &Arc<OpenSnapshot>,
        operator: OperatorId,
        state: &KeyedState,
        progress: &Arc<Progress>,
    ) -> Self {
        KeyedTable {
            snapshot: snapshot.clone(),
            operator,
            states: vec![state.clone()],
            layout: Layout::of_state(state),
            progress: progress.clone(),
        }
    }

    pub(crate) fn of_timers(
        snapshot: &Arc<OpenSnapshot>,
        operator: OperatorId,
        queues: Vec<KeyedState>,
        progress: &Arc<Progress>,
    ) -> Self {
        KeyedTable {
            snapshot: snapshot.clone(),
            operator,
            layout: Layout::of_timers(&queues),
            states: queues,
            progress: progress.clone(),
        }
    }

    fn operator(&self) -> Result<Operator<'_>, Error> {
        let mut operators = self.snapshot.operators();
        operators
            .find(|operator| operator.id() == self.operator)
            .ok_or_else(|| Error::failed(format!("operator {} is gone", self.operator)))
    }

    /// Plans a scan of some columns, or all, and of the rows that `selection` takes.
    pub(crate) fn plan(
        &self,
        projection: Option<&Vec<usize>>,
        selection: Selection,
    ) -> Result<ScanPlan, Error> {
        let all = || (0..self.layout.columns.len()).collect();
        let projection: Vec<usize> = projection.cloned().unwrap_or_else(all);
        let schema = Arc::new(self.layout.schema().project(&projection)?);
        Ok(ScanPlan {
            projection,
            schema,
            selection,
        })
    }

    /// Cuts what a plan reads into pieces.
    ///
    /// # Errors
    ///
    /// Snapshot: a header is damaged. Query: the selection is of another type.
    pub(crate) fn pieces(&self, plan: &ScanPlan) -> Result<Vec<PieceOf>, Error> {
        let pieces = plan.selection.pieces(self.operator()?, PIECE_BYTES)?;
        let total = pieces.iter().map(Piece::bytes).sum();
        let progress = &self.progress.total_bytes;
        progress.fetch_add(total, Ordering::Relaxed);
        let pieces = pieces.iter().map(|piece| PieceOf {
            subtask: piece.part().subtask(),
            range: piece.range(),
            bytes: piece.bytes(),
        });
        Ok(pieces.collect())
    }

    fn open(&self, piece: PieceOf, plan: &ScanPlan) -> Result<Option<OpenPiece>, Error> {
        let operator = self.operator()?;
        let mut parts = operator.keyed_parts();
        let Some(part) = parts.find(|part| part.subtask() == piece.subtask) else {
            return Ok(None);
        };
        let Some(reader) = part.open(Some(piece.range))? else {
            return Ok(None);
        };
        let reader = RowReader::new(reader)?;
        let filters = plan.selection.filters(reader.codecs())?;
        let filters = reader.codecs().iter().zip(filters).map(|(codec, filter)| {
            let name = &codec.state().name;
            let known = self.states.iter().find(|state| state.name == *name);
            match known {
                None => Ok(None),
                Some(known) if same_types(known, codec) => Ok(filter),
                Some(_) => {
                    let reason = format!(
                        "state \"{name}\" of subtask {} is of another type than in other subtasks",
                        piece.subtask
                    );
                    Err(millpond_state_processor::Error::from(
                        SnapshotError::incompatible(reason),
                    ))
                }
            }
        });
        let filters = filters.collect::<Result<Vec<_>, _>>()?;
        Ok(Some(OpenPiece {
            reader,
            filters,
            bytes: piece.bytes,
        }))
    }
}

fn same_types(known: &KeyedState, codec: &EntryCodec) -> bool {
    let found = codec.state();
    known.kind == found.kind && Layout::of_state(known) == Layout::of_state(found)
}

struct OpenPiece {
    reader: RowReader,
    /// What is wanted of each state of the header.
    filters: Vec<Option<RowFilter>>,
    bytes: u64,
}

/// Batches of some pieces of a table, one after the other.
pub(crate) struct KeyedScan {
    table: Arc<KeyedTable>,
    plan: Arc<ScanPlan>,
    parts: Parts,
    pieces: VecDeque<PieceOf>,
    current: Option<OpenPiece>,
    rows: Rows,
    failed: bool,
}

/// Rows that are becoming a batch.
struct Rows {
    schema: SchemaRef,
    columns: Vec<(Role, Column)>,
    count: usize,
    bytes: usize,
}

impl KeyedScan {
    pub(crate) fn new(table: Arc<KeyedTable>, plan: Arc<ScanPlan>, pieces: Vec<PieceOf>) -> Self {
        let columns = plan.projection.iter().map(|index| {
            let column = &table.layout.columns[*index];
            (column.role, Column::new(&column.shape))
        });
        let rows = Rows {
            schema: plan.schema.clone(),
            columns: columns.collect(),
            count: 0,
            bytes: 0,
        };
        KeyedScan {
            parts: table.layout.parts(&plan.projection),
            table,
            plan,
            pieces: pieces.into(),
            current: None,
            rows,
            failed: false,
        }
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>, Error> {
        loop {
            if self.current.is_none() {
                let Some(piece) = self.pieces.pop_front() else {
                    return self.rows.take_rest();
                };
                self.current = self.table.open(piece, &self.plan)?;
                continue;
            }
            if self.read_some()? {
                return self.rows.take().map(Some);
            }
        }
    }

    /// Reads the current piece until a batch is full (true), or the piece is at its end.
    fn read_some(&mut self) -> Result<bool, Error> {
        let Some(piece) = &mut self.current else {
            return Ok(false);
        };
        let progress = &self.table.progress;
        let by_element = self.table.layout.by_element;
        let (mut entries, mut state) = (0, 0);
        while !self.rows.is_full() {
            let (filters, bytes) = (&piece.filters, &mut self.rows.bytes);
            let next = piece.reader.next_parts_of(self.parts, |index, entry| {
                state = index;
                entries += 1;
                let wanted = filters[index]
                    .as_ref()
                    .is_some_and(|filter| filter.takes_entry(entry));
                if wanted {
                    *bytes += entry.key.len() + entry.value.len();
                }
                wanted
            })?;
            let Some((group, codec, row)) = next else {
                progress.entries.fetch_add(entries, Ordering::Relaxed);
                progress.bytes.fetch_add(piece.bytes, Ordering::Relaxed);
                self.current = None;
                return Ok(false);
            };
            let filter = piece.filters[state].as_ref();
            if filter.is_some_and(|filter| filter.takes_row(&row)) {
                self.rows
                    .put(group, codec.state(), &row, by_element)
                    .map_err(|(column, Unfit(reason))| {
                        Error::failed(format!("column \"{}\": {reason}", column.name()))
                    })?;
            }
        }
        progress.entries.fetch_add(entries, Ordering::Relaxed);
        Ok(true)
    }
}

impl Iterator for KeyedScan {
    type Item = Result<RecordBatch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.next_batch().transpose();
        self.failed = matches!(next, Some(Err(_)));
        next
    }
}

impl Rows {
    fn is_full(&self) -> bool {
        self.count >= BATCH_ROWS || self.bytes >= BATCH_BYTES
    }

    fn put(
        &mut self,
        group: KeyGroup,
        state: &KeyedState,
        row: &Row,
        by_element: bool,
    ) -> Result<(), (Role, Unfit)> {
        match (&row.content, by_element) {
            (Content::List(elements), true) => {
                for (position, element) in (0..).zip(elements) {
                    self.put_row(group, state, row, Some(position), element)?;
                }
                Ok(())
            }
            (Content::Value(value) | Content::MapEntry(_, value), _) => {
                self.put_row(group, state, row, None, value)
            }
            (Content::Timer(_) | Content::List(_), _) => {
                self.put_row(group, state, row, None, &Value::Null)
            }
        }
    }

    fn put_row(
        &mut self,
        group: KeyGroup,
        state: &KeyedState,
        row: &Row,
        position: Option<i64>,
        value: &Value,
    ) -> Result<(), (Role, Unfit)> {
        let text = |text: &str| Value::String(text.to_owned());
        let timers = || {
            state
                .timer_service()
                .unwrap_or((state.name.as_str(), false))
        };
        for (role, column) in &mut self.columns {
            let pushed = match role {
                Role::Key => column.push(&row.key),
                Role::Namespace => column.push(&row.namespace),
                Role::KeyGroup => column.push(&Value::Int(group.0.into())),
                Role::MapKey => match &row.content {
                    Content::MapEntry(user_key, _) => column.push(user_key),
                    Content::Value(_) | Content::List(_) | Content::Timer(_) => {
                        column.push(&Value::Null)
                    }
                },
                Role::Position => column.push(&position.map_or(Value::Null, Value::Long)),
                Role::Value => column.push(value),
                Role::LastAccess => {
                    // No other value has the time of its last use.
                    let last_access = if let Value::Ttl { last_access, .. } = value {
                        Some(*last_access)
                    } else {
                        None
                    };
                    column.push(&last_access.map_or(Value::Null, Value::Long))
                }
                Role::Timestamp => match &row.content {
                    Content::Timer(timestamp) => column.push(&Value::Long(*timestamp)),
                    Content::Value(_) | Content::List(_) | Content::MapEntry(..) => {
                        column.push(&Value::Null)
                    }
                },
                Role::Domain => column.push(&text(match timers().1 {
                    true => "event",
                    false => "processing",
                })),
                Role::Service => column.push(&text(timers().0)),
            };
            pushed.map_err(|unfit| (*role, unfit))?;
        }
        self.count += 1;
        Ok(())
    }

    fn take(&mut self) -> Result<RecordBatch, Error> {
        let arrays = self.columns.iter_mut().map(|(_, column)| column.finish());
        let arrays = arrays.collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(self.count));
        (self.count, self.bytes) = (0, 0);
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)?;
        Ok(batch)
    }

    fn take_rest(&mut self) -> Result<Option<RecordBatch>, Error> {
        match self.count {
            0 => Ok(None),
            _ => self.take().map(Some),
        }
    }
}
