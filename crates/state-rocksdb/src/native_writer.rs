//! A new set of files out of entries in canonical form.
//!
//! Entries go into a database of their own, in any order, and RocksDB sorts them; at the end a
//! checkpoint of it is what Flink's backend takes of its own database: tables, a manifest,
//! `CURRENT` and options. The write-ahead log is off, as in Flink.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use millpond_fs::ScratchDirectory;
use millpond_snapshot::{Error, KeyedHeader, RocksDbWriter, TakeFile, key_group_prefix_bytes};
use millpond_types::KeyGroup;
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{Cache, ColumnFamilyDescriptor, DB, WriteBatch, WriteOptions};

use crate::{failure, flink_options};

/// How many bytes are written at once.
const BATCH_BYTES: usize = 1 << 20;

/// Takes entries.
pub(crate) struct NativeWriter {
    // In this order: the database is closed before its directory is deleted.
    db: DB,
    directory: ScratchDirectory,
    families: Vec<String>,
    prefix_bytes: usize,
    batch: WriteBatch,
    key: Vec<u8>,
}

impl NativeWriter {
    /// Begins a set of files, with a column family per state of `header`.
    pub(crate) fn new(
        parent: &Path,
        cache: &Cache,
        header: &KeyedHeader,
        max_parallelism: u32,
    ) -> Result<Self, Error> {
        let made = ScratchDirectory::new_in(parent, "rocksdb");
        let directory = made.map_err(|error| {
            millpond_fs::Error::io("make a working directory in", parent.display(), error)
        })?;
        let mut options = flink_options::of_database();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        let families: Vec<String> = header.states.iter().map(|meta| meta.name.clone()).collect();
        let all = families.iter().map(String::as_str);
        let descriptors = all
            .filter(|name| *name != rocksdb::DEFAULT_COLUMN_FAMILY_NAME)
            .chain([rocksdb::DEFAULT_COLUMN_FAMILY_NAME])
            .map(|name| ColumnFamilyDescriptor::new(name, flink_options::of_column_family(cache)));
        let path = directory.path().join("db");
        let db = DB::open_cf_descriptors(&options, path, descriptors)
            .map_err(|error| failure::of_writing(&error, directory.path()))?;
        Ok(NativeWriter {
            db,
            directory,
            families,
            prefix_bytes: key_group_prefix_bytes(max_parallelism),
            batch: WriteBatch::default(),
            key: Vec::new(),
        })
    }

    fn write_batch(&mut self) -> Result<(), Error> {
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        let batch = std::mem::take(&mut self.batch);
        self.db
            .write_opt(batch, &options)
            .map_err(|error| failure::of_writing(&error, self.directory.path()))
    }

    /// Makes the set of files; returns where they lie.
    fn checkpoint(&mut self) -> Result<PathBuf, Error> {
        self.write_batch()?;
        let path = self.directory.path().join("checkpoint");
        let made = Checkpoint::new(&self.db).and_then(|to| to.create_checkpoint(&path));
        made.map_err(|error| failure::of_writing(&error, self.directory.path()))?;
        Ok(path)
    }
}

impl RocksDbWriter for NativeWriter {
    fn put(
        &mut self,
        group: KeyGroup,
        state: usize,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), Error> {
        self.key.clear();
        let prefix = group.0.to_be_bytes();
        self.key.extend_from_slice(&prefix[2 - self.prefix_bytes..]);
        self.key.extend_from_slice(key);
        let family = self.db.cf_handle(&self.families[state]);
        let family = family.expect("opened with this family");
        self.batch.put_cf(family, &self.key, value);
        if self.batch.size_in_bytes() >= BATCH_BYTES {
            self.write_batch()?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>, take: TakeFile<'_>) -> Result<(), Error> {
        let path = self.checkpoint()?;
        let listed = fs::read_dir(&path).and_then(|entries| {
            let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
            names.collect::<Result<Vec<_>, _>>()
        });
        let mut names =
            listed.map_err(|error| millpond_fs::Error::io("list", path.display(), error))?;
        names.sort();
        for name in names {
            let name = name.to_string_lossy();
            if !is_of_the_set(&name) {
                continue;
            }
            let file = path.join(&*name);
            let mut opened = File::open(&file)
                .map_err(|error| millpond_fs::Error::io("open", file.display(), error))?;
            take(&name, &mut opened)?;
        }
        Ok(())
    }
}

/// Whether Flink takes a file of such a checkpoint into its own: a log of writes, which is empty,
/// and the identity of the database are none of them.
pub(crate) fn is_of_the_set(name: &str) -> bool {
    name.ends_with(".sst")
        || name == "CURRENT"
        || name.starts_with("MANIFEST-")
        || name.starts_with("OPTIONS-")
}
