//! New savepoints made from data: state that no job has ever held.
//!
//! | file | what |
//! | --- | --- |
//! | `keyed_rows` | keyed state and timers, row by row, of Rust types |
//! | `operator_rows` | an operator: its ids, its lists and broadcast maps, and its keyed rows |
//!
//! Rows come in any order; they are sorted into key groups on the way, beyond 32 MiB by way of
//! temporary files. A savepoint may also start from an existing one, of which all operators pass
//! byte by byte but for those that are removed or given anew.

mod keyed_rows;
mod operator_rows;

use std::sync::Arc;

use millpond_fs::{FileSystem, Location};
use millpond_snapshot::{KeyedFormat, LoadedSnapshot, Metadata, RocksDb, Trailer};
use millpond_types::{CheckpointId, JobId, OperatorId};

pub use keyed_rows::{KeyedRows, ListOf, MapOf, TimersOf, ValueOf};
pub use operator_rows::OperatorRows;

use crate::Error;
use crate::rewrite::{NewOperator, Target, metadata_of};
use crate::snapshot_writer::{SnapshotWriter, random};
use crate::sorter::Sorter;

/// How a new savepoint is written.
#[derive(Clone, Debug)]
pub struct SavepointOptions {
    /// The versions to be written.
    pub target: Target,
    /// The format of new keyed state.
    pub format: KeyedFormat,
    /// The number of the checkpoint; the job that is started from it counts on from there. Of a
    /// savepoint that starts from another one, it is that of the other one.
    pub checkpoint_id: CheckpointId,
    /// The name of the job, in words.
    pub job_name: String,
}

impl Default for SavepointOptions {
    fn default() -> Self {
        SavepointOptions {
            target: Target::default(),
            format: KeyedFormat::Canonical,
            checkpoint_id: 1,
            job_name: "made from rows".to_owned(),
        }
    }
}

/// A savepoint in the making.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use millpond_fs::{Location, memory::MemoryFileSystem};
/// use millpond_state_processor::{NewSavepoint, OperatorRows, SavepointOptions};
///
/// let fs = Arc::new(MemoryFileSystem::new());
/// let directory = Location::parse("/savepoints/first")?;
/// let mut savepoint = NewSavepoint::create(fs, &directory, SavepointOptions::default())?;
///
/// let mut counts = savepoint.keyed_rows::<String>(128);
/// let count = counts.value::<i64>("count")?;
/// counts.put(&count, &"a".to_owned(), &7)?;
/// counts.put(&count, &"b".to_owned(), &9)?;
///
/// let counter = OperatorRows::new("counter", 2, 128)?.keyed(counts)?;
/// savepoint.add(counter)?;
/// savepoint.add(OperatorRows::new("source", 1, 128)?.split("offsets", [16i64])?)?;
/// savepoint.finish()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct NewSavepoint<'a> {
    writer: SnapshotWriter,
    options: SavepointOptions,
    existing: Option<&'a LoadedSnapshot>,
    /// Operators of the existing savepoint that do not pass.
    removed: Vec<OperatorId>,
    operators: Vec<NewOperator>,
}

impl NewSavepoint<'static> {
    /// Begins a savepoint that holds nothing.
    ///
    /// # Errors
    ///
    /// As [`SnapshotWriter::create`].
    pub fn create(
        fs: Arc<dyn FileSystem>,
        directory: &Location,
        options: SavepointOptions,
    ) -> Result<Self, Error> {
        Ok(NewSavepoint {
            writer: SnapshotWriter::create(fs, directory)?,
            options,
            existing: None,
            removed: Vec::new(),
            operators: Vec::new(),
        })
    }
}

impl<'a> NewSavepoint<'a> {
    /// Begins a savepoint that holds what `existing` does, until operators are removed or added.
    ///
    /// # Errors
    ///
    /// As [`SnapshotWriter::create`].
    pub fn from_existing(
        existing: &'a LoadedSnapshot,
        fs: Arc<dyn FileSystem>,
        directory: &Location,
        options: SavepointOptions,
    ) -> Result<Self, Error> {
        Ok(NewSavepoint {
            writer: SnapshotWriter::create(fs, directory)?
                .with_rocksdb(existing.rocksdb().cloned()),
            options,
            existing: Some(existing),
            removed: Vec::new(),
            operators: Vec::new(),
        })
    }

    /// Hands in what makes files of a RocksDB, for the format
    /// [`NativeRocksDb`](KeyedFormat::NativeRocksDb).
    #[must_use]
    pub fn with_rocksdb(mut self, rocksdb: Arc<dyn RocksDb>) -> Self {
        self.writer = self.writer.with_rocksdb(Some(rocksdb));
        self
    }

    /// Forgets an operator of the existing savepoint.
    ///
    /// # Errors
    ///
    /// A request that makes no sense, if it has none of this uid.
    pub fn remove(&mut self, uid: &str) -> Result<(), Error> {
        let id = OperatorId::of_uid(uid);
        if !self.passes(id) {
            let reason = format!("the savepoint has no operator \"{uid}\" to be removed");
            return Err(Error::request(reason));
        }
        self.removed.push(id);
        Ok(())
    }

    /// Whether an operator of the existing savepoint is taken over.
    fn passes(&self, id: OperatorId) -> bool {
        let there = |existing: &LoadedSnapshot| existing.metadata.operator(id).is_some();
        self.existing.is_some_and(there) && !self.removed.contains(&id)
    }

    /// Begins rows of keyed state, for [`OperatorRows::keyed`] of this savepoint.
    pub fn keyed_rows<K: millpond_serializer::FlinkKey>(
        &self,
        max_parallelism: u32,
    ) -> KeyedRows<K> {
        let sorter = Sorter::new(self.writer.file_system().clone(), self.writer.directory());
        KeyedRows::new(sorter, max_parallelism)
    }

    /// Adds an operator, and writes its state.
    ///
    /// # Errors
    ///
    /// A request that makes no sense, if there is an operator of its uid already (of the existing savepoint:
    /// remove it first), or if a key has two values of one state; unsupported or Io, as writing
    /// may fail.
    pub fn add(&mut self, operator: OperatorRows) -> Result<(), Error> {
        let id = operator.id();
        let taken = self.operators.iter().any(|other| other.snapshot.id == id);
        if taken || self.passes(id) {
            let reason = format!(
                "the savepoint has an operator \"{}\" already; remove that one first",
                operator.uid()
            );
            return Err(Error::request(reason));
        }
        let options = &self.options;
        let new = operator.write(&self.writer, options.target, options.format)?;
        self.operators.push(new);
        Ok(())
    }

    /// Copies what is taken over and writes the metadata; returns where that lies.
    ///
    /// # Errors
    ///
    /// As [`SnapshotWriter::copy`] and [`SnapshotWriter::finish`].
    pub fn finish(mut self) -> Result<Location, Error> {
        let mut operators = Vec::new();
        let mut metadata = Metadata::new(self.options.checkpoint_id);
        let mut trailer = Trailer {
            millpond_version: env!("CARGO_PKG_VERSION").to_owned(),
            job_id: JobId(random()),
            job_name: self.options.job_name.clone(),
            savepoint: true,
            parent: None,
            files: Vec::new(),
            operators: Vec::new(),
        };
        if let Some(existing) = self.existing {
            for operator in &existing.metadata.operators {
                if !self.removed.contains(&operator.id) {
                    operators.push(NewOperator::copy(&mut self.writer, existing, operator)?);
                }
            }
            metadata.checkpoint_id = existing.metadata.checkpoint_id;
            metadata
                .master_states
                .clone_from(&existing.metadata.master_states);
            trailer.parent = Some(existing.directory.to_string());
        }
        operators.append(&mut self.operators);
        metadata.version = self.options.target.metadata_version;
        let metadata = metadata_of(metadata, trailer, operators)?;
        Ok(self.writer.finish(metadata)?)
    }
}

impl std::fmt::Debug for NewSavepoint<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewSavepoint")
            .field("directory", self.writer.directory())
            .finish_non_exhaustive()
    }
}
