//! The entries of a RocksDB in canonical form, in the order of key groups.
//!
//! Each state is a column family of its name. Its keys begin with their key group, of one byte or
//! two, big-endian, and lie in the order of their bytes; so one pass over all families side by
//! side yields key group after key group. What follows the key group, and the values, are those
//! of the canonical format.
//!
//! ```text
//! family "a":  [00 ..][00 ..][02 ..]      group 0: a a b, group 1: b, group 2: a
//! family "b":  [00 ..][01 ..]             each family is read ahead by a chunk
//! ```
//!
//! Source: Flink 2.3.0, classes `RocksDBIncrementalRestoreOperation`,
//! `SerializedCompositeKeyBuilder`.

use std::path::Path;
use std::sync::Arc;

use millpond_snapshot::{
    Entry, Error, IncrementalHandle, KeyedEntries, KeyedHeader, LoadedSnapshot,
    key_group_prefix_bytes,
};
use millpond_types::{KeyGroup, KeyGroupRange};
use rocksdb::{
    Cache, ColumnFamilyDescriptor, DB, DEFAULT_COLUMN_FAMILY_NAME, IteratorMode, ReadOptions,
};

use crate::working_directory::WorkingDirectory;
use crate::{failure, flink_options};

/// How much of a family is read ahead at most, and how much of all of them together.
const CHUNK_BYTES: usize = 256 << 10;
const ALL_CHUNKS_BYTES: usize = 4 << 20;

/// The files of a handle, opened.
pub(crate) struct OpenFiles {
    // In this order: the database is closed before its directory is deleted.
    db: DB,
    directory: WorkingDirectory,
    header: KeyedHeader,
}

impl OpenFiles {
    /// Brings the files of a handle together and opens them.
    pub(crate) fn open(
        parent: &Path,
        cache: &Cache,
        snapshot: &LoadedSnapshot,
        handle: &IncrementalHandle,
    ) -> Result<Self, Error> {
        let header = snapshot.rocksdb_header(handle)?;
        let directory = WorkingDirectory::of_handle(parent, snapshot, handle)?;
        let told = |error: rocksdb::Error| failure::of_reading(&error, &directory);
        let mut options = flink_options::of_database();
        options.set_skip_stats_update_on_db_open(true);
        let families = DB::list_cf(&options, directory.path()).map_err(told)?;
        for state in &header.states {
            if !families.contains(&state.name) {
                let expected = format!("a column family for the state \"{}\"", state.name);
                let found = families.join(", ");
                return Err(Error::corrupt(0, expected, found).in_file(directory.snapshot()));
            }
        }
        let descriptors = families.iter().map(|family| {
            ColumnFamilyDescriptor::new(family, flink_options::of_column_family(cache))
        });
        let opened =
            DB::open_cf_descriptors_read_only(&options, directory.path(), descriptors, false);
        let db = opened.map_err(told)?;
        let files = OpenFiles {
            db,
            directory,
            header,
        };
        for family in &families {
            files.check_known(family)?;
        }
        Ok(files)
    }

    /// Checks that a column family is that of a state, or empty: state is never left out silently.
    fn check_known(&self, family: &str) -> Result<(), Error> {
        if self.header.states.iter().any(|state| state.name == family) {
            return Ok(());
        }
        let handle = self.db.cf_handle(family).expect("opened with this family");
        match self.db.iterator_cf(handle, IteratorMode::Start).next() {
            None => Ok(()),
            Some(Ok(_)) => {
                let expected = "a description of the state of every column family";
                let found = match family {
                    DEFAULT_COLUMN_FAMILY_NAME => "entries in the default one".to_owned(),
                    family => format!("none of \"{family}\", which has entries"),
                };
                let error = Error::corrupt(0, expected, found);
                Err(error.in_file(self.directory.snapshot()))
            }
            Some(Err(error)) => Err(failure::of_reading(&error, &self.directory)),
        }
    }
}

/// Reads the entries of some key groups.
pub(crate) struct NativeEntries {
    files: Arc<OpenFiles>,
    prefix_bytes: usize,
    /// Where all families end, by their keys.
    end: Vec<u8>,
    chunk_bytes: usize,
    /// One per state, in the order of the header.
    columns: Vec<Column>,
    /// The column that is being read, and the key group.
    column: usize,
    group: u16,
}

/// What has been read ahead of a family.
struct Column {
    /// Keys and values, one behind the other.
    bytes: Vec<u8>,
    /// Where each key and each value ends.
    ends: Vec<(usize, usize)>,
    /// The next entry.
    at: usize,
    /// Where reading goes on; `None` behind the last entry.
    next: Option<Vec<u8>>,
}

impl NativeEntries {
    pub(crate) fn new(
        files: Arc<OpenFiles>,
        handle: &IncrementalHandle,
        wanted: KeyGroupRange,
        max_parallelism: u32,
    ) -> Self {
        let prefix_bytes = key_group_prefix_bytes(max_parallelism);
        let prefix = |group: u32| group.to_be_bytes()[4 - prefix_bytes..].to_vec();
        let (first, count) = handle.range;
        let start = u32::from(first).max(u32::from(wanted.first().0));
        let end = (u32::from(first) + count)
            .min(u32::from(wanted.last().0) + 1)
            .min(max_parallelism);
        let states = files.header.states.len().max(1);
        let column = |_| Column {
            bytes: Vec::new(),
            ends: Vec::new(),
            at: 0,
            next: (start < end).then(|| prefix(start)),
        };
        NativeEntries {
            columns: files.header.states.iter().map(column).collect(),
            files,
            prefix_bytes,
            end: prefix(end),
            chunk_bytes: CHUNK_BYTES.min(ALL_CHUNKS_BYTES / states),
            column: 0,
            // At most as many as a `u16` has: it is that of a handle.
            group: start as u16,
        }
    }

    /// Finds the next entry: the column that has it, or `None` behind the last one.
    fn advance(&mut self) -> Result<Option<usize>, Error> {
        loop {
            while self.column < self.columns.len() {
                if self.head(self.column)? == Some(self.group) {
                    return Ok(Some(self.column));
                }
                self.column += 1;
            }
            let mut least = None;
            for index in 0..self.columns.len() {
                if let Some(group) = self.head(index)? {
                    least = Some(least.map_or(group, |least: u16| least.min(group)));
                }
            }
            let Some(group) = least else {
                return Ok(None);
            };
            if group <= self.group {
                let expected = format!("keys of key groups above {}", self.group);
                let error = Error::corrupt(0, expected, format!("key group {group} again"));
                return Err(error.in_file(self.files.directory.snapshot()));
            }
            (self.group, self.column) = (group, 0);
        }
    }

    /// The key group of the next entry of a column.
    fn head(&mut self, index: usize) -> Result<Option<u16>, Error> {
        if self.columns[index].at == self.columns[index].ends.len() {
            self.refill(index)?;
        }
        let column = &self.columns[index];
        let Some((key_end, _)) = column.ends.get(column.at) else {
            return Ok(None);
        };
        let key = &column.bytes[column.start()..*key_end];
        match (self.prefix_bytes, key) {
            (1, [group, ..]) => Ok(Some(u16::from(*group))),
            (2, [high, low, ..]) => Ok(Some(u16::from_be_bytes([*high, *low]))),
            _ => {
                let name = &self.files.header.states[index].name;
                let expected = format!("keys with a key group in state \"{name}\"");
                let found = format!("a key of {} bytes", key.len());
                Err(Error::corrupt(0, expected, found).in_file(self.files.directory.snapshot()))
            }
        }
    }

    fn refill(&mut self, index: usize) -> Result<(), Error> {
        let column = &mut self.columns[index];
        column.bytes.clear();
        column.ends.clear();
        column.at = 0;
        let Some(from) = column.next.take() else {
            return Ok(());
        };
        let files = &self.files;
        let name = &files.header.states[index].name;
        let family = files.db.cf_handle(name).expect("checked when opened");
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(self.end.as_slice());
        let mut entries = files.db.raw_iterator_cf_opt(family, options);
        entries.seek(&from);
        while let Some((key, value)) = entries.item() {
            if !column.ends.is_empty() && column.bytes.len() >= self.chunk_bytes {
                column.next = Some(key.to_vec());
                break;
            }
            column.bytes.extend_from_slice(key);
            let key_end = column.bytes.len();
            column.bytes.extend_from_slice(value);
            column.ends.push((key_end, column.bytes.len()));
            entries.next();
        }
        let told = |error: rocksdb::Error| failure::of_reading(&error, &files.directory);
        entries.status().map_err(told)
    }
}

impl Column {
    /// Where the next entry begins.
    fn start(&self) -> usize {
        match self.at {
            0 => 0,
            at => self.ends[at - 1].1,
        }
    }
}

impl KeyedEntries for NativeEntries {
    fn header(&self) -> &KeyedHeader {
        &self.files.header
    }

    fn source_name(&self) -> &str {
        self.files.directory.snapshot()
    }

    fn next_entry(&mut self) -> Result<Option<Entry<'_>>, Error> {
        let Some(state) = self.advance()? else {
            return Ok(None);
        };
        let column = &mut self.columns[state];
        let start = column.start();
        let (key_end, value_end) = column.ends[column.at];
        column.at += 1;
        Ok(Some(Entry {
            key_group: KeyGroup(self.group),
            state,
            key: &column.bytes[start + self.prefix_bytes..key_end],
            value: &column.bytes[key_end..value_end],
        }))
    }
}
