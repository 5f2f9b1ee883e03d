//! One state as a Parquet file, without SQL: `millpond state read --format parquet`.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::record_batch::RecordBatch;
use millpond_state_processor::{
    OpenSnapshot, PathMap, Progress, ReadOptions, Selection, Threads, scan,
};

use crate::Error;
use crate::catalog::{OperatorSchema, Shows, SnapshotCatalog, StateTable};
use crate::keyed_scan::{KeyedScan, KeyedTable, PieceOf};
use crate::metadata_tables::MetadataTables;
use crate::operator_table;
use crate::parquet_file::ParquetFile;

/// Writes the rows of one state, in the order of the snapshot, to a Parquet file with the columns
/// that SQL shows; returns how many they were.
///
/// Memory: a row group, and a few batches per thread. If it fails, there is no file, or the one
/// that was there before.
///
/// # Errors
///
/// Query: the selection means no state, or several: each has other columns. Snapshot: state is
/// damaged or cannot be read. Output: the file cannot be written.
pub fn export(
    snapshot: OpenSnapshot,
    options: &ReadOptions,
    threads: Threads,
    progress: &Arc<Progress>,
    file: &Path,
) -> Result<u64, Error> {
    let tables = MetadataTables {
        snapshot: Arc::new(snapshot),
        kept: Vec::new(),
        paths: PathMap::default(),
    };
    let snapshot = tables.snapshot.clone();
    let catalog = SnapshotCatalog::new(tables, progress);
    let (operator, table) = only_table(&snapshot, &catalog, &options.selection)?;
    let limit = options.limit.unwrap_or(u64::MAX);
    match operator.keyed_table(&table.shows) {
        Some(table) => export_keyed(Arc::new(table), options, limit, threads, file),
        None => export_list(&snapshot, operator, &table, options, limit, file),
    }
}

/// The one table that a selection means.
fn only_table<'a>(
    snapshot: &OpenSnapshot,
    catalog: &'a SnapshotCatalog,
    selection: &Selection,
) -> Result<(&'a OperatorSchema, StateTable), Error> {
    let wanted = match &selection.operator {
        Some(operator) => Some(snapshot.find_operator(operator)?.id()),
        None => None,
    };
    let mut found = Vec::new();
    let operators = catalog.operators().iter();
    for operator in operators.filter(|operator| wanted.is_none_or(|id| id == operator.id())) {
        for table in operator.tables()?.iter() {
            let is_it = |state: &String| {
                table.name == *state
                    || matches!(&table.shows, Shows::Timers(queues)
                        if queues.iter().any(|queue| queue.name == *state))
            };
            if selection.state.as_ref().is_none_or(is_it) {
                found.push((&**operator, table.clone()));
            }
        }
    }
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => {
            let state = selection.state.as_deref().unwrap_or("");
            Err(Error::query(format!("there is no state \"{state}\"")))
        }
        _ => {
            let choices = found.iter().map(|(operator, table)| {
                format!("--uid \"{}\" --state \"{}\"", operator.name(), table.name)
            });
            let choices: Vec<String> = choices.collect();
            Err(Error::query(format!(
                "a Parquet file holds one state, as each has columns of its own; choose one: {}",
                choices.join("; ")
            )))
        }
    }
}

fn export_keyed(
    table: Arc<KeyedTable>,
    options: &ReadOptions,
    limit: u64,
    threads: Threads,
    file: &Path,
) -> Result<u64, Error> {
    // The names stand in the table already.
    let selection = Selection {
        operator: None,
        state: None,
        ..options.selection.clone()
    };
    let plan = Arc::new(table.plan(None, selection)?);
    let pieces = table.pieces(&plan)?;
    let mut out = ParquetFile::create(file, plan.schema.clone())?;
    let mut left = limit;
    let work =
        |piece: &PieceOf, send: &mut dyn FnMut(Result<RecordBatch, Error>) -> ControlFlow<()>| {
            let batches = KeyedScan::new(table.clone(), plan.clone(), vec![*piece]);
            for batch in batches {
                if send(batch).is_break() {
                    break;
                }
            }
            Ok(())
        };
    let mut failure = None;
    scan(&pieces, threads, work, |_, batch| {
        let written = batch.and_then(|batch| {
            let rows = usize::try_from(left).map_or(usize::MAX, |left| left.min(batch.num_rows()));
            left -= rows as u64;
            out.write(&batch.slice(0, rows))
        });
        failure = written.err();
        Ok(match failure.is_some() || left == 0 {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        })
    })?;
    match failure {
        Some(error) => Err(error),
        None => out.finish(),
    }
}

fn export_list(
    snapshot: &OpenSnapshot,
    operator: &OperatorSchema,
    table: &StateTable,
    options: &ReadOptions,
    limit: u64,
    file: &Path,
) -> Result<u64, Error> {
    let selection = &options.selection;
    if selection.key.is_some() || selection.namespace.is_some() || selection.user_key.is_some() {
        return Err(Error::query(
            "operator state has no keys: --where makes no sense",
        ));
    }
    let name = match &table.shows {
        Shows::OperatorState(name) => name.as_str(),
        Shows::Keyed(_) | Shows::Timers(_) => "",
    };
    let operator = snapshot.find_operator(&operator.id().to_string())?;
    let states = operator.operator_states()?;
    let Some(state) = states.iter().find(|state| state.name == name) else {
        return Err(Error::query(format!(
            "there is no operator state \"{name}\""
        )));
    };
    let (schema, batches) = operator_table::batches(state)?;
    let mut out = ParquetFile::create(file, schema)?;
    let mut left = limit;
    for batch in batches {
        let rows = usize::try_from(left).map_or(usize::MAX, |left| left.min(batch.num_rows()));
        left -= rows as u64;
        out.write(&batch.slice(0, rows))?;
    }
    out.finish()
}
