//! Keyed state: the canonical format of savepoints, the native one of the heap backend, and the base
//! and changes of its incremental checkpoints.
//!
//! All begin with the same [`KeyedHeader`]. [`KeyedReader`] reads any, as well as files of RocksDB through [`KeyedEntries`], and always yields canonical entries, so that a backend need
//! not know where its state came from; [`KeyedWriter`] takes canonical entries and writes either.

mod canonical_reader;
mod canonical_writer;
mod composite_key;
mod header;
mod increments;
mod native_heap;
mod native_heap_writer;
mod window;

pub use canonical_reader::CanonicalReader;
pub use canonical_writer::{CanonicalWriter, WrittenKeyed, WrittenState};
pub use composite_key::{
    KeyParts, LIST_DELIMITER, is_ambiguous, put_length, read_length, split_key,
};
pub use header::KeyedHeader;
pub use increments::{ChangesBlock, ChangesWriter, HeapIncrement, HeapIncrements, MergedReader};
pub use native_heap::NativeHeapReader;
pub use native_heap_writer::NativeHeapWriter;

use std::io::Write;

use millpond_types::{KeyGroup, KeyGroupRange};

use crate::{Error, KeyGroupOffsets, KeyGroupsKind, KeyedEntries, StateSource};

/// One entry of keyed state, in canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The key group.
    pub key_group: KeyGroup,
    /// The state: an index into [`KeyedHeader::states`].
    pub state: usize,
    /// Key, namespace and user key, without the key group in front; for timers the element.
    pub key: &'a [u8],
    /// The value; empty for timers.
    pub value: &'a [u8],
}

/// Returns how many bytes the key group takes in front of each key.
pub fn key_group_prefix_bytes(max_parallelism: u32) -> usize {
    if max_parallelism > 128 { 2 } else { 1 }
}

/// Reads keyed state entry by entry, whichever format it is in.
pub enum KeyedReader {
    /// The canonical format.
    Canonical(CanonicalReader),
    /// The native format of the heap backend.
    NativeHeap(NativeHeapReader),
    /// A base of the heap backend, and changes on top of it.
    HeapIncrements(Box<MergedReader>),
    /// Files of a RocksDB.
    RocksDb(Box<dyn KeyedEntries>),
}

impl KeyedReader {
    /// Opens the key groups of `wanted` in a stream.
    ///
    /// A handle of type 12 (or 3) may hold either format: the native one of the heap backend, or
    /// a full checkpoint of an older RocksDB backend in the canonical one.
    ///
    /// # Errors
    ///
    /// Corrupt, unsupported or Io, as reading the header and the first bytes of groups may fail.
    pub fn open(
        source: StateSource,
        kind: &KeyGroupsKind,
        groups: &KeyGroupOffsets,
        wanted: KeyGroupRange,
        max_parallelism: u32,
    ) -> Result<Self, Error> {
        let native = match kind {
            KeyGroupsKind::Savepoint => false,
            KeyGroupsKind::V1 | KeyGroupsKind::V2 { .. } => {
                native_heap::looks_native(&source, groups)?
            }
        };
        if native {
            return NativeHeapReader::open(source, groups, wanted).map(KeyedReader::NativeHeap);
        }
        CanonicalReader::open(source, groups, wanted, max_parallelism).map(KeyedReader::Canonical)
    }

    /// The header.
    pub fn header(&self) -> &KeyedHeader {
        match self {
            KeyedReader::Canonical(reader) => reader.header(),
            KeyedReader::NativeHeap(reader) => reader.header(),
            KeyedReader::HeapIncrements(reader) => reader.header(),
            KeyedReader::RocksDb(entries) => entries.header(),
        }
    }

    /// Where the next entry lies in the stream: exactly, unless its key group is compressed. Files
    /// of a RocksDB are no stream: 0.
    pub fn offset(&self) -> u64 {
        match self {
            KeyedReader::Canonical(reader) => reader.offset(),
            KeyedReader::NativeHeap(reader) => reader.offset(),
            KeyedReader::HeapIncrements(reader) => reader.offset(),
            KeyedReader::RocksDb(_) => 0,
        }
    }

    /// What the stream is called in errors.
    pub fn source_name(&self) -> &str {
        match self {
            KeyedReader::Canonical(reader) => reader.source_name(),
            KeyedReader::NativeHeap(reader) => reader.source_name(),
            KeyedReader::HeapIncrements(reader) => reader.source_name(),
            KeyedReader::RocksDb(entries) => entries.source_name(),
        }
    }

    /// Returns the next entry, or `None` after the last.
    ///
    /// # Errors
    ///
    /// Corrupt, if the bytes are damaged; Io, if they cannot be read. After an error the reader
    /// is of no use.
    #[inline]
    pub fn next_entry(&mut self) -> Result<Option<Entry<'_>>, Error> {
        match self {
            KeyedReader::Canonical(reader) => reader.next_entry(),
            KeyedReader::NativeHeap(reader) => reader.next_entry(),
            KeyedReader::HeapIncrements(reader) => reader.next_entry(),
            KeyedReader::RocksDb(entries) => entries.next_entry(),
        }
    }
}

/// What keyed state is written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum KeyedFormat {
    /// The canonical format: every backend of Flink restores it.
    #[default]
    Canonical,
    /// The native format of the heap backend (`hashmap`): only that one restores it.
    NativeHeap,
    /// Files of a RocksDB: only the backend `rocksdb` restores them.
    NativeRocksDb,
}

impl KeyedFormat {
    /// What the handle of a stream of this format is; `id` is a random UUID, which only native
    /// handles have. Files of a RocksDB are no stream: [`KeyedWriter::new`] refuses them.
    pub fn handle_kind(self, id: impl FnOnce() -> String) -> KeyGroupsKind {
        match self {
            KeyedFormat::Canonical => KeyGroupsKind::Savepoint,
            KeyedFormat::NativeHeap | KeyedFormat::NativeRocksDb => KeyGroupsKind::V2 { id: id() },
        }
    }
}

/// Writes keyed state entry by entry into a stream; entries come in canonical form.
pub enum KeyedWriter<W> {
    /// The canonical format.
    Canonical(CanonicalWriter<W>),
    /// The native format of the heap backend.
    NativeHeap(Box<NativeHeapWriter<W>>),
}

impl<W: Write> KeyedWriter<W> {
    /// Writes the header to `out` and returns a writer of the key groups `groups`.
    ///
    /// # Errors
    ///
    /// As [`CanonicalWriter::new`] and [`NativeHeapWriter::new`]; unsupported, if the format is
    /// files of a RocksDB, which are no stream.
    pub fn new(
        format: KeyedFormat,
        out: W,
        header: &KeyedHeader,
        groups: KeyGroupRange,
        max_parallelism: u32,
    ) -> Result<Self, Error> {
        Ok(match format {
            KeyedFormat::Canonical => {
                KeyedWriter::Canonical(CanonicalWriter::new(out, header, groups, max_parallelism)?)
            }
            KeyedFormat::NativeHeap => {
                KeyedWriter::NativeHeap(Box::new(NativeHeapWriter::new(out, header, groups)?))
            }
            KeyedFormat::NativeRocksDb => {
                return Err(Error::unsupported("files of a RocksDB in one stream"));
            }
        })
    }

    /// Says that the entries from here on are of `state` (an index into the header) in `group`.
    ///
    /// Groups come in ascending order, and each state once in each.
    ///
    /// # Errors
    ///
    /// Io, if the writer behind fails.
    ///
    /// # Panics
    ///
    /// As [`CanonicalWriter::begin_state`] and [`NativeHeapWriter::begin_state`].
    #[inline]
    pub fn begin_state(&mut self, group: KeyGroup, state: usize) -> Result<(), Error> {
        match self {
            KeyedWriter::Canonical(writer) => writer.begin_state(group, state),
            KeyedWriter::NativeHeap(writer) => writer.begin_state(group, state),
        }
    }

    /// Adds an entry in canonical form. `key` appends key, namespace and user key (without key
    /// group), `value` the value; for timers `key` appends the element and `value` nothing.
    ///
    /// # Errors
    ///
    /// As [`CanonicalWriter::entry`] and [`NativeHeapWriter::entry`].
    ///
    /// # Panics
    ///
    /// If no state was begun.
    #[inline]
    pub fn entry(
        &mut self,
        key: impl FnOnce(&mut Vec<u8>),
        value: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), Error> {
        match self {
            KeyedWriter::Canonical(writer) => writer.entry(key, value),
            KeyedWriter::NativeHeap(writer) => writer.entry(key, value),
        }
    }

    /// Adds an entry whose canonical bytes are at hand; `key` is without the key group.
    ///
    /// # Errors
    ///
    /// As [`entry`](Self::entry).
    #[inline]
    pub fn raw_entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        match self {
            KeyedWriter::Canonical(writer) => writer.raw_entry(key, value),
            KeyedWriter::NativeHeap(writer) => writer.raw_entry(key, value),
        }
    }

    /// The bytes so far, those still in a buffer included.
    pub fn bytes(&self) -> u64 {
        match self {
            KeyedWriter::Canonical(writer) => writer.bytes(),
            KeyedWriter::NativeHeap(writer) => writer.bytes(),
        }
    }

    /// Writes what is left.
    ///
    /// # Errors
    ///
    /// Io, if the writer behind fails.
    pub fn finish(self) -> Result<WrittenKeyed<W>, Error> {
        match self {
            KeyedWriter::Canonical(writer) => writer.finish(),
            KeyedWriter::NativeHeap(writer) => writer.finish(),
        }
    }
}

/// The non-empty groups of `wanted`: key group, start, and the next start behind it.
pub(crate) fn extents(
    groups: &KeyGroupOffsets,
    wanted: KeyGroupRange,
    source: &StateSource,
    header_bytes: u64,
) -> Result<Vec<(KeyGroup, u64, u64)>, Error> {
    let mut starts = Vec::new();
    for (group, offset) in groups.iter() {
        match u64::try_from(offset) {
            Ok(0) => {}
            Ok(offset) if (header_bytes..source.len()).contains(&offset) => {
                starts.push((group, offset));
            }
            Ok(_) | Err(_) => {
                let expected = format!(
                    "key group {} at an offset from {header_bytes} to {}",
                    group.0,
                    source.len()
                );
                let error = Error::corrupt(source.len(), expected, format!("offset {offset}"));
                return Err(error.in_file(source.name()));
            }
        }
    }
    let mut sorted: Vec<u64> = starts.iter().map(|(_, start)| *start).collect();
    sorted.sort_unstable();
    let end_of = |start: u64| {
        let behind = sorted.partition_point(|other| *other <= start);
        sorted.get(behind).copied().unwrap_or(source.len())
    };
    let mine = starts
        .into_iter()
        .filter(|(group, _)| wanted.contains(*group));
    Ok(mine
        .map(|(group, start)| (group, start, end_of(start)))
        .collect())
}
