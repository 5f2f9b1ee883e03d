//! The seam to RocksDB: state in its files is read and written by a crate above, which is handed in.
//!
//! RocksDB takes long to compile, so it is a feature of the programs that want it. Below it only
//! this is known: a set of files is opened as entries in canonical form, and entries become a set
//! of files. [`LoadedSnapshot::with_rocksdb`] hands it to whoever reads a snapshot; without it
//! such state is refused, and the refusal says how to build a program with it.

use std::io::Read;

use millpond_types::{KeyGroup, KeyGroupRange};

use crate::{Entry, Error, IncrementalHandle, KeyedHeader, LoadedSnapshot};

/// Why state in files of a RocksDB is not read or written, and what can be done about it.
pub(crate) const WITHOUT_ROCKSDB: &str = "keyed state in files of a RocksDB (native format or incremental checkpoint), which this program \
     was built without; build it with \"cargo build --release --features rocksdb\", or take a \
     canonical savepoint instead";

/// Reads and writes the files of RocksDB.
pub trait RocksDb: Send + Sync {
    /// Opens those key groups of the files of `handle` that both it and `wanted` have.
    ///
    /// Files of a RocksDB may hold more than the key groups of their handle, left over from a
    /// change of parallelism: these are passed over.
    ///
    /// # Errors
    ///
    /// Corrupt, if a file is missing parts or damaged; Io, if it cannot be read.
    fn open(
        &self,
        snapshot: &LoadedSnapshot,
        handle: &IncrementalHandle,
        wanted: KeyGroupRange,
        max_parallelism: u32,
    ) -> Result<Box<dyn KeyedEntries>, Error>;

    /// Begins a new set of files.
    ///
    /// # Errors
    ///
    /// Io, if there is no room for it.
    fn create(
        &self,
        header: &KeyedHeader,
        max_parallelism: u32,
    ) -> Result<Box<dyn RocksDbWriter>, Error>;
}

/// Entries of keyed state, in ascending order of key groups; each state of a group in one run.
pub trait KeyedEntries: Send {
    /// The header.
    fn header(&self) -> &KeyedHeader;

    /// What the state is called in errors.
    fn source_name(&self) -> &str;

    /// Returns the next entry, or `None` after the last.
    ///
    /// # Errors
    ///
    /// Corrupt, if the files are damaged; Io, if they cannot be read. After an error the reader
    /// is of no use.
    fn next_entry(&mut self) -> Result<Option<Entry<'_>>, Error>;
}

/// Takes entries in canonical form, in any order, into a new set of files.
pub trait RocksDbWriter: Send {
    /// Adds an entry of `state` (an index into the header); `key` is without the key group.
    ///
    /// # Errors
    ///
    /// Io, if it cannot be written.
    fn put(&mut self, group: KeyGroup, state: usize, key: &[u8], value: &[u8])
    -> Result<(), Error>;

    /// Ends the set, and calls `take` with the local name and the bytes of each file of it.
    ///
    /// # Errors
    ///
    /// Io, if something cannot be written or read; else what `take` returns.
    fn finish(self: Box<Self>, take: TakeFile<'_>) -> Result<(), Error>;
}

/// Takes a file: its local name, and what reads its bytes.
pub type TakeFile<'a> = &'a mut dyn FnMut(&str, &mut dyn Read) -> Result<(), Error>;
