//! Whether RocksDB comes to the end of a manifest.
//!
//! A manifest is a log: blocks of 32 KiB, in which each record, or part of one, has a header of 7 bytes
//! (checksum, length, type). RocksDB checks all of it, but for one thing: a damaged header that says that a
//! record is one of a recycled log, and longer than what is left, is read again and again without end.
//! Manifests are not recycled.
//!
//! Source: RocksDB 11.8, `log::Reader::ReadPhysicalRecord`, `log_format.h`.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;

const BLOCK_BYTES: usize = 32 << 10;
const HEADER_BYTES: usize = 7;

/// Nothing, whole, first, middle, last: what a log has that is not recycled.
const TYPES: std::ops::RangeInclusive<u8> = 0..=4;

/// A record of a type which no manifest has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnknownRecord {
    /// Where it begins, in bytes.
    pub(crate) at: u64,
    /// Its type.
    pub(crate) kind: u8,
}

/// Returns the first record that no manifest has.
///
/// # Errors
///
/// The file cannot be read.
pub(crate) fn unknown_record(file: &Path) -> io::Result<Option<UnknownRecord>> {
    let mut file = File::open(file)?;
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    loop {
        let start = file.stream_position()?;
        block.clear();
        (&mut file)
            .take(BLOCK_BYTES as u64)
            .read_to_end(&mut block)?;
        if block.is_empty() {
            return Ok(None);
        }
        let mut at = 0;
        while let Some([_, _, _, _, low, high, kind]) = block.get(at..at + HEADER_BYTES) {
            if !TYPES.contains(kind) {
                let (at, kind) = (start + at as u64, *kind);
                return Ok(Some(UnknownRecord { at, kind }));
            }
            at += HEADER_BYTES + usize::from(u16::from_le_bytes([*low, *high]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, length: u16) -> Vec<u8> {
        let mut bytes = vec![0; 4];
        bytes.extend(length.to_le_bytes());
        bytes.push(kind);
        bytes.extend(vec![0xaa; usize::from(length)]);
        bytes
    }

    fn found(bytes: &[u8]) -> Option<UnknownRecord> {
        let home = tempfile::tempdir().expect("a directory");
        let file = home.path().join("MANIFEST-000005");
        std::fs::write(&file, bytes).expect("room");
        unknown_record(&file).expect("it is there")
    }

    #[test]
    fn records_are_followed_over_blocks_to_a_type_that_is_none() {
        let fills = (BLOCK_BYTES - HEADER_BYTES - 3) as u16;
        let first = [record(2, fills), vec![0; 3]].concat();
        assert_eq!(first.len(), BLOCK_BYTES);
        let whole = [first.clone(), record(4, 9), record(1, 0)].concat();
        assert_eq!(found(&whole), None);
        assert_eq!(found(&[]), None);
        // As one was found: longer than what is left.
        let cut = [whole.clone(), record(7, 1800)].concat();
        let at = whole.len() as u64;
        let recycled = Some(UnknownRecord { at, kind: 7 });
        assert_eq!(found(&cut[..whole.len() + 300]), recycled);
        let (at, kind) = (BLOCK_BYTES as u64, 0x80);
        let behind = Some(UnknownRecord { at, kind });
        assert_eq!(found(&[first, record(kind, 1)].concat()), behind);
    }
}
