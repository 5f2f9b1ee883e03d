//! Keyed state of the heap in several files: a base with everything, and changes on top of it.
//!
//! An incremental checkpoint of the heap backend writes what has changed since an earlier one, and
//! refers to the files of that one. In `_metadata` it is an incremental handle, as one of RocksDB is,
//! so that whoever counts, keeps and deletes shared files knows these as well:
//!
//! | field of the handle | what |
//! | --- | --- |
//! | shared | `millpond-heap-base-N`, then `millpond-heap-changes-N`, oldest first; N is the checkpoint that wrote the file |
//! | private | empty |
//! | meta | the list below |
//!
//! | order | type | meaning |
//! | --- | --- | --- |
//! | 1 | i32 | `4D504849` ("MPHI") |
//! | 2 | i32 | version 1 |
//! | 3 | i32 n | files, as many as are shared, in the same order |
//! | 4 | n | i32 first key group; i32 k, k i64: where each begins in the file, 0 for one without entries |
//!
//! The base is a stream in the canonical format. What lies in changes says [`ChangesWriter`]; their
//! keys are those of the canonical format without the key group. [`MergedReader`] yields canonical
//! entries as if there were but one file.
//!
//! Flink refuses such a handle in either backend: its heap backend takes no incremental handles, and
//! its RocksDB backend reads the version of a header where the first four bytes of the list are.
//!
//! Rejected: the canonical format with a mark in the values of removed entries. It would be read by
//! whoever does not know the mark.

mod changes_reader;
mod changes_writer;
mod merged_reader;
mod overlay;

pub use changes_writer::{ChangesBlock, ChangesWriter};
pub use merged_reader::MergedReader;

use millpond_serializer::{ByteReader, ByteWriter};
use millpond_types::CheckpointId;
use serde::{Deserialize, Serialize};

use crate::handle::{read_groups, write_groups};
use crate::{Error, IncrementalHandle, KeyGroupOffsets, NamedStream, StreamHandle};

const MAGIC: i32 = 0x4D50_4849;
const VERSION: i32 = 1;
const PREFIX: &str = "millpond-heap-";
const BASE: &str = "millpond-heap-base-";
const CHANGES: &str = "millpond-heap-changes-";

/// So many files of changes may lie on a base. Each is opened by a restore, costs a synced file per
/// checkpoint anyway, and some 1 KiB in the metadata of every later one (8 bytes per key group).
const MAX_CHANGES: usize = 20;
/// Changes may hold as many bytes as this share of their base: then a restore reads half as much
/// again as it has to, and storage holds half as much again as there is state.
const MAX_CHANGED_SHARE: u64 = 2;

/// The files of one subtask's keyed state, the base first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeapIncrements {
    files: Vec<HeapIncrement>,
}

/// One file of keyed state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeapIncrement {
    /// The checkpoint that wrote it.
    pub checkpoint: CheckpointId,
    /// Where each key group begins.
    pub groups: KeyGroupOffsets,
    /// Where its bytes lie.
    pub stream: StreamHandle,
}

impl HeapIncrements {
    /// A base that nothing lies on.
    pub fn of_base(base: HeapIncrement) -> Self {
        HeapIncrements { files: vec![base] }
    }

    /// The files, the base first.
    pub fn files(&self) -> &[HeapIncrement] {
        &self.files
    }

    /// These files with one more.
    #[must_use]
    pub fn with(&self, changes: HeapIncrement) -> Self {
        let mut files = self.files.clone();
        files.push(changes);
        HeapIncrements { files }
    }

    /// Whether the next checkpoint is better written as a base: the files of changes are many, or as
    /// large together as half of their base.
    pub fn are_many(&self) -> bool {
        let [base, changes @ ..] = &self.files[..] else {
            return true;
        };
        let bytes: u64 = changes.iter().map(|file| file.stream.size()).sum();
        changes.len() >= MAX_CHANGES || bytes * MAX_CHANGED_SHARE > base.stream.size()
    }

    /// Whether a handle is one of these, and not files of a RocksDB.
    pub fn are_in(handle: &IncrementalHandle) -> bool {
        handle
            .shared
            .iter()
            .any(|named| named.name.starts_with(PREFIX))
    }

    /// What the handle has as shared files.
    pub fn shared(&self) -> Vec<NamedStream> {
        let named = |(position, file): (usize, &HeapIncrement)| {
            let prefix = if position == 0 { BASE } else { CHANGES };
            NamedStream {
                name: format!("{prefix}{}", file.checkpoint),
                stream: file.stream.clone(),
            }
        };
        self.files.iter().enumerate().map(named).collect()
    }

    /// Appends what the handle has as meta.
    pub fn write_list(&self, out: &mut Vec<u8>) {
        out.put_i32(MAGIC);
        out.put_i32(VERSION);
        out.put_count(self.files.len());
        for file in &self.files {
            write_groups(&file.groups, out);
        }
    }

    /// Reads the files of `handle`, whose meta holds `list`.
    ///
    /// # Errors
    ///
    /// Corrupt, if list and handle do not fit; unsupported, if the version is a later one.
    pub fn read(handle: &IncrementalHandle, list: &[u8]) -> Result<Self, Error> {
        let mut input = ByteReader::new(list);
        match input.i32()? {
            MAGIC => {}
            other => {
                let expected = format!("{MAGIC:08x} in front of a list of files of heap state");
                return Err(Error::corrupt(0, expected, format!("{other:08x}")));
            }
        }
        match input.i32()? {
            VERSION => {}
            other => {
                let what = format!("version {other} of files of heap state");
                return Err(Error::unsupported(what));
            }
        }
        let at = input.offset();
        let count = input.i32()?;
        let shared = &handle.shared;
        if usize::try_from(count) != Ok(shared.len()) || !handle.private.is_empty() {
            let expected = format!("the {} shared files of the handle, no others", shared.len());
            return Err(Error::corrupt(at, expected, format!("{count} files")));
        }
        let mut files = Vec::with_capacity(shared.len());
        for (position, named) in shared.iter().enumerate() {
            let prefix = if position == 0 { BASE } else { CHANGES };
            let number = named.name.strip_prefix(prefix);
            let Some(checkpoint) = number.and_then(|number| number.parse().ok()) else {
                let expected = format!("a file {prefix}N");
                return Err(Error::corrupt(at, expected, format!("\"{}\"", named.name)));
            };
            files.push(HeapIncrement {
                checkpoint,
                groups: read_groups(&mut input)?,
                stream: named.stream.clone(),
            });
        }
        if !input.is_empty() {
            let found = format!("{} bytes more", input.remaining());
            let expected = "the end of the list of files";
            return Err(Error::corrupt(input.offset(), expected, found));
        }
        Ok(HeapIncrements { files })
    }
}

#[cfg(test)]
mod tests;
