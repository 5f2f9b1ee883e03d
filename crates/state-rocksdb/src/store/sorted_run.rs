//! Many changes that come in the order of their keys: a table made of them, past the memory tables.
//!
//! What is written goes into a list in memory, is sorted there, and becomes a table on disk when
//! the memory is full or an image is taken. Changes that are sorted already need none of it: they
//! become the table at once, which RocksDB then takes in as the youngest. One write of a run is one
//! such table. It takes no memory for write buffers, and a checkpoint after it has nothing to flush.
//!
//! Few changes still go through memory: a table each would be many files for little. So do many
//! while merging lags behind, as RocksDB then holds the writer back, which it does not for tables.

use std::path::Path;

use millpond_state::Result;
use millpond_state::store::{NextBatch, StoreChange, WriteBatch};
use rocksdb::{IngestExternalFileOptions, Options, SstFileWriter, properties};

use super::database::Database;
use super::{failed, write_batch};

/// From how many bytes of changes on they become a table.
const TABLE_BYTES: usize = 1 << 20;

/// How many tables may wait for their merge; RocksDB slows writers down at 20 of them.
const MAX_WAITING_TABLES: u64 = 16;

/// Writes a run into a column family; a table is made at `path`, where nothing is.
pub(super) fn write(
    database: &Database,
    name: &str,
    path: &Path,
    next: NextBatch<'_>,
) -> Result<()> {
    let mut batch = WriteBatch::new();
    let mut more = next(&mut batch)?;
    if batch.bytes() >= TABLE_BYTES && waiting_tables(database, name) < MAX_WAITING_TABLES {
        let options = database
            .tuning
            .column_family(database.memory.memory.as_ref());
        let mut table = Table::begin(name, path, &options)?;
        loop {
            table.add(&batch)?;
            if !more {
                return table.take_in(database);
            }
            batch.clear();
            more = next(&mut batch)?;
        }
    }
    loop {
        write_batch(database, name, &batch)?;
        if !more {
            return Ok(());
        }
        batch.clear();
        more = next(&mut batch)?;
    }
}

fn waiting_tables(database: &Database, name: &str) -> u64 {
    let family = database.family(name);
    let property = properties::num_files_at_level(0);
    let value = database.db.property_value_cf(&family, &property);
    let count = value.ok().flatten().and_then(|text| text.parse().ok());
    // Without the figure there is no reason to hold anything back.
    count.unwrap_or(0)
}

/// A table that is being made. Its file goes if it is not taken in.
struct Table<'a> {
    name: &'a str,
    path: &'a Path,
    writer: SstFileWriter<'a>,
}

impl<'a> Table<'a> {
    fn begin(name: &'a str, path: &'a Path, options: &'a Options) -> Result<Self> {
        let table = Table {
            name,
            path,
            writer: SstFileWriter::create(options),
        };
        let opened = table.writer.open(path);
        opened.map_err(|error| failed("writing", name, error))?;
        Ok(table)
    }

    fn add(&mut self, batch: &WriteBatch) -> Result<()> {
        let added = batch.iter().try_for_each(|change| match change {
            StoreChange::Put { key, value } => self.writer.put(key, value),
            StoreChange::Append { key, value } => self.writer.merge(key, value),
            StoreChange::Delete { key } => self.writer.delete(key),
        });
        added.map_err(|error| failed("writing", self.name, error))
    }

    fn take_in(mut self, database: &Database) -> Result<()> {
        let finished = self.writer.finish();
        finished.map_err(|error| failed("writing", self.name, error))?;
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        let family = database.family(self.name);
        let paths = vec![self.path];
        let taken = database
            .db
            .ingest_external_file_cf_opts(&family, &options, paths);
        taken.map_err(|error| failed("writing", self.name, error))
    }
}

impl Drop for Table<'_> {
    fn drop(&mut self) {
        // Not there any more once it was taken in.
        let _ = std::fs::remove_file(self.path);
    }
}
