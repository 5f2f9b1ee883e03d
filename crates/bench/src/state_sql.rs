//! How fast, and in how much memory, are queries in SQL answered about a savepoint?
//!
//! The savepoint is that of `state-read`. A sum reads every value; the group has a row for each key,
//! and so does the order, which is written out as lines of CSV: with the memory that they may hold
//! both go on in temporary files. `peak_bytes` is the most memory that the process held.
//! A surprise would be a peak that grows with the number of keys.

use std::io;
use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;

use millpond_state_processor::{Format, PathMap, Progress, Threads};
use millpond_state_sql::{Database, DatabaseOptions};
use serde_json::{Value, json};

use crate::state::{make_savepoint, measured, open};
use crate::{Failure, failure};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Number of keys
    #[arg(long, default_value_t = 10_000_000)]
    keys: u64,
    /// What sorting and grouping may hold, in MiB
    #[arg(long, default_value_t = 64)]
    memory_mib: usize,
    /// Number of threads
    #[arg(long, default_value = "2")]
    threads: NonZero<usize>,
    /// Accepted for completeness: the figures are always JSON
    #[arg(long)]
    json: bool,
}

/// Answers a sum, a group and an order.
pub(crate) fn run(arguments: &Arguments) -> Result<Value, Failure> {
    let directory = tempfile::tempdir().map_err(failure)?;
    make_savepoint(directory.path(), arguments.keys, None)?;
    let answer = |sql: &str, rows: u64| {
        let (found, cost) = measured(|| {
            let database = database(directory.path(), arguments)?;
            let answered = database.query(sql, Format::Csv, &mut io::sink());
            answered.map_err(|error| error.to_string())
        })?;
        if found != rows {
            return Err(format!("{found} rows of {rows}: {sql}"));
        }
        Ok(json!({
            "rows_per_s": arguments.keys as f64 / cost.seconds,
            "rows_per_cpu_s": arguments.keys as f64 / cost.cpu_s,
            "peak_bytes": cost.peak_bytes,
        }))
    };
    let group = "select count(*), max(n) from (select key, count(*) as n from count group by key)";
    Ok(json!({
        "benchmark": "state-sql",
        "keys": arguments.keys,
        "memory_bytes": arguments.memory_mib << 20,
        "sum": answer("select sum(value) from count", 1)?,
        "group": answer(group, 1)?,
        "order": answer("select value, key from count order by value desc", arguments.keys)?,
    }))
}

fn database(directory: &Path, arguments: &Arguments) -> Result<Database, Failure> {
    let options = DatabaseOptions {
        memory_bytes: arguments.memory_mib << 20,
        threads: Threads(arguments.threads),
    };
    let (paths, progress) = (PathMap::default(), Arc::new(Progress::default()));
    Database::open(open(directory)?, &paths, &options, &progress).map_err(failure)
}
