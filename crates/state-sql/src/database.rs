//! A snapshot that answers queries.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SQLOptions, SessionConfig, SessionContext};
use futures::StreamExt;
use millpond_state_processor::{
    Format, OpenSnapshot, PathMap, Progress, Threads, kept_checkpoints,
};
use tokio::runtime::Runtime;

use crate::Error;
use crate::answer::Answer;
use crate::catalog::{METADATA_SCHEMA, SnapshotCatalog};
use crate::metadata_tables::MetadataTables;
use crate::parquet_file::ParquetFile;

/// The name of the one catalog.
const CATALOG: &str = "snapshot";

/// At most this part of the memory is held back for merging.
const MERGE_SHARE: usize = 8;

/// What queries may use.
#[derive(Clone, Copy, Debug)]
pub struct DatabaseOptions {
    /// How many bytes sorting, grouping and joining may hold; beyond, sorting and grouping go
    /// on in temporary files.
    pub memory_bytes: usize,
    /// How many threads work.
    pub threads: Threads,
}

impl Default for DatabaseOptions {
    fn default() -> Self {
        DatabaseOptions {
            memory_bytes: 1 << 30,
            threads: Threads::default(),
        }
    }
}

/// A snapshot that answers queries; nothing of it can be changed.
pub struct Database {
    runtime: Runtime,
    context: SessionContext,
}

impl Database {
    /// Takes a snapshot; `paths` is what it was opened through. The work of queries is told to
    /// `progress`.
    ///
    /// # Errors
    ///
    /// Failed, if the system has no threads left.
    pub fn open(
        snapshot: OpenSnapshot,
        paths: &PathMap,
        options: &DatabaseOptions,
        progress: &Arc<Progress>,
    ) -> Result<Self, Error> {
        let threads = options.threads.0.get();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .build()
            .map_err(|error| Error::failed(format!("cannot start threads: {error}")))?;
        // A savepoint lies among no checkpoints.
        let here = snapshot.loaded().directory.to_string();
        let kept = kept_checkpoints(&here, paths).unwrap_or_default();
        let tables = MetadataTables {
            snapshot: Arc::new(snapshot),
            kept,
            paths: paths.clone(),
        };
        let catalog = SnapshotCatalog::new(tables, progress);
        let mut config = SessionConfig::new()
            .with_information_schema(true)
            .with_create_default_catalog_and_schema(false)
            .with_default_catalog_and_schema(CATALOG, METADATA_SCHEMA)
            .with_target_partitions(threads);
        // States and fields are named as in Java, with capitals.
        config.options_mut().sql_parser.enable_ident_normalization = false;
        // Held back by each thread that sorts, for merging what lies in files: 10 MiB, whatever
        // the limit, would leave nothing of a small one.
        let for_merging = &mut config.options_mut().execution.sort_spill_reservation_bytes;
        *for_merging = (*for_merging).min(options.memory_bytes / MERGE_SHARE / threads);
        let memory = Arc::new(FairSpillPool::new(options.memory_bytes));
        let environment = RuntimeEnvBuilder::new()
            .with_memory_pool(memory)
            .build_arc()?;
        let context = SessionContext::new_with_config_rt(config, environment);
        context.register_catalog(CATALOG, Arc::new(catalog));
        Ok(Database { runtime, context })
    }

    /// Answers a query in some format; returns the number of rows.
    ///
    /// `Format::Json` is an array of objects.
    ///
    /// # Errors
    ///
    /// Query: it makes no sense on this snapshot, or is none but a command. Failed: it was begun
    /// and failed. Snapshot: state is damaged or cannot be read. Output: as `out` says.
    pub fn query(&self, sql: &str, format: Format, out: &mut dyn Write) -> Result<u64, Error> {
        let batches = self.run(sql)?;
        let mut answer = Answer::begin(&batches.schema, format, out)?;
        for batch in batches {
            answer.batch(&batch?, out)?;
        }
        answer.end(out)
    }

    /// Writes the answer to a query to a Parquet file; returns the number of rows.
    ///
    /// If it fails, there is no file, or the one that was there before.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query).
    pub fn query_to_parquet(&self, sql: &str, file: &Path) -> Result<u64, Error> {
        let batches = self.run(sql)?;
        let mut out = ParquetFile::create(file, batches.schema.clone())?;
        for batch in batches {
            out.write(&batch?)?;
        }
        out.finish()
    }

    fn run(&self, sql: &str) -> Result<Batches<'_>, Error> {
        // Nothing is written but answers: no tables, no COPY, no files from elsewhere.
        let options = SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false);
        let stream = self.runtime.block_on(async {
            let frame = self.context.sql_with_options(sql, options).await?;
            frame.execute_stream().await
        })?;
        Ok(Batches {
            schema: stream.schema(),
            runtime: &self.runtime,
            stream,
        })
    }
}

/// The batches of an answer.
struct Batches<'a> {
    schema: SchemaRef,
    runtime: &'a Runtime,
    stream: SendableRecordBatchStream,
}

impl Iterator for Batches<'_> {
    type Item = Result<RecordBatch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.runtime.block_on(self.stream.next());
        next.map(|batch| batch.map_err(Error::from))
    }
}
