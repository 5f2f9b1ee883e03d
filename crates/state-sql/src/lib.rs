//! SQL over snapshots, and their state as Parquet files, by Apache DataFusion.
//!
//! | file | what |
//! | --- | --- |
//! | `database` | a snapshot that answers queries, in bounded memory |
//! | `catalog` | which table a name means |
//! | `layout`, `column` | the columns of a state, and their Arrow types |
//! | `keyed_scan`, `keyed_provider` | keyed state as batches, read as they are asked for |
//! | `operator_table`, `metadata_tables`, `rows` | tables that are small |
//! | `answer`, `cell` | answers as text and JSON |
//! | `parquet_file`, `export` | answers and states as Parquet |
//!
//! This crate is the only importer of DataFusion, Arrow and Parquet; none of their types stands in
//! its public signatures.
//!
//! # Examples
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use millpond_state_processor::{Format, OpenSnapshot, PathMap, Progress};
//! use millpond_state_sql::{Database, DatabaseOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let paths = PathMap::default();
//! let snapshot = OpenSnapshot::open("/data/savepoints/savepoint-1", &paths)?;
//! let progress = Arc::new(Progress::default());
//! let database = Database::open(snapshot, &paths, &DatabaseOptions::default(), &progress)?;
//! let sql = "select key, value from counter.count order by value desc limit 10";
//! database.query(sql, Format::Table, &mut std::io::stdout())?;
//! # Ok(())
//! # }
//! ```

mod answer;
mod catalog;
mod cell;
mod column;
mod database;
mod error;
mod export;
mod keyed_provider;
mod keyed_scan;
mod layout;
mod metadata_tables;
mod operator_table;
mod parquet_file;
mod rows;

pub use database::{Database, DatabaseOptions};
pub use error::{Error, ErrorKind};
pub use export::export;
