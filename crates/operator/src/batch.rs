//! Batches: records that travel together, as columns.
//!
//! Inside a process a batch moves from operator to operator. Between processes it travels as the
//! bytes below.
//!
//! | order | width | meaning |
//! |---|---|---|
//! | 1 | u32 | number of records n |
//! | 2 | u8 | bit 0: timestamps follow, bit 1: key groups follow |
//! | 3 | n x i64 | timestamps, if present |
//! | 4 | n x u16 | key groups, if present |
//! | 5 | rest | the records, one after the other, each in postcard's form |
//!
//! All numbers little-endian: both ends are the same executable.

use std::any::Any;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{FunctionError, Result};
use crate::rows;

/// A type whose values can be records of a stream.
///
/// Implemented for every type that fulfils the bounds; `serde` carries it between processes.
pub trait Data: Clone + Send + Serialize + DeserializeOwned + 'static {}

impl<T: Clone + Send + Serialize + DeserializeOwned + 'static> Data for T {}

/// How many records a batch holds before it is sent on.
pub const BATCH_RECORDS: usize = 1024;

/// What an encoded batch has before its columns: fields 1 and 2.
pub const HEAD_BYTES: usize = 5;

/// Records of a type without content take no bytes; that many are no batch.
const MAX_EMPTY_RECORDS: usize = 1 << 16;

/// Records of one type that travel together.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch<T> {
    /// The records.
    pub rows: Vec<T>,
    /// One timestamp per record in milliseconds, or empty if no record has one.
    pub timestamps: Vec<i64>,
    /// One key group per record behind a `key_by`, else empty.
    pub key_groups: Vec<u16>,
}

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Batch {
            rows: Vec::new(),
            timestamps: Vec::new(),
            key_groups: Vec::new(),
        }
    }
}

impl<T> Batch<T> {
    /// A batch of records without timestamps.
    pub fn of(rows: Vec<T>) -> Self {
        Batch {
            rows,
            timestamps: Vec::new(),
            key_groups: Vec::new(),
        }
    }

    /// The timestamp of record `index`, or [`crate::NO_TIMESTAMP`].
    #[inline]
    pub fn timestamp(&self, index: usize) -> i64 {
        self.timestamps
            .get(index)
            .copied()
            .unwrap_or(crate::NO_TIMESTAMP)
    }
}

/// A [`Batch`] whose record type is not known here.
pub trait AnyBatch: Any + Send {
    /// Number of records.
    fn len(&self) -> usize;

    /// Whether it holds no record.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the first `count` records out of it.
    ///
    /// # Panics
    ///
    /// If it holds fewer.
    fn split_front(&mut self, count: usize) -> Box<dyn AnyBatch>;

    /// A copy.
    fn clone_box(&self) -> Box<dyn AnyBatch>;

    /// Appends the form in which it travels between processes.
    ///
    /// # Errors
    ///
    /// A record's `Serialize` failed.
    fn encode(&self, out: &mut Vec<u8>) -> Result<()>;

    /// How many bytes [`AnyBatch::encode`] would append behind the [`HEAD_BYTES`], so that the parts of
    /// a batch have together what the batch has; of a record that cannot be encoded, none.
    fn encoded_len(&self) -> u64;

    /// For the way back to the typed batch.
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

impl Clone for Box<dyn AnyBatch> {
    fn clone(&self) -> Self {
        (**self).clone_box()
    }
}

impl<T: Data> AnyBatch for Batch<T> {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn split_front(&mut self, count: usize) -> Box<dyn AnyBatch> {
        fn front<C>(column: &mut Vec<C>, count: usize) -> Vec<C> {
            match column.is_empty() {
                // A column that is not there.
                true => Vec::new(),
                false => column.drain(..count).collect(),
            }
        }
        Box::new(Batch {
            rows: self.rows.drain(..count).collect(),
            timestamps: front(&mut self.timestamps, count),
            key_groups: front(&mut self.key_groups, count),
        })
    }

    fn clone_box(&self) -> Box<dyn AnyBatch> {
        Box::new(self.clone())
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(&(self.rows.len() as u32).to_le_bytes());
        let has_timestamps = !self.timestamps.is_empty();
        let has_key_groups = !self.key_groups.is_empty();
        out.push(u8::from(has_timestamps) | u8::from(has_key_groups) << 1);
        out.extend(
            self.timestamps
                .iter()
                .flat_map(|timestamp| timestamp.to_le_bytes()),
        );
        out.extend(self.key_groups.iter().flat_map(|group| group.to_le_bytes()));
        rows::encode(&self.rows, out)
    }

    fn encoded_len(&self) -> u64 {
        let columns = self.timestamps.len() * 8 + self.key_groups.len() * 2;
        (columns + rows::encoded_len(&self.rows)) as u64
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// Turns a batch back into its type.
///
/// # Panics
///
/// If the batch holds another type: the graph connects only equal types, so this is a bug.
pub fn downcast<T: Data>(batch: Box<dyn AnyBatch>) -> Batch<T> {
    *batch
        .into_any()
        .downcast::<Batch<T>>()
        .expect("edges connect outputs and inputs of one type")
}

/// Reads batches of one record type that came from another process or out of a checkpoint.
#[derive(Clone, Copy)]
pub struct BatchCodec {
    decode: fn(&[u8]) -> Result<Box<dyn AnyBatch>>,
    type_name: fn() -> &'static str,
}

impl BatchCodec {
    /// The codec of records of type `T`.
    pub fn of<T: Data>() -> Self {
        BatchCodec {
            decode: decode::<T>,
            type_name: std::any::type_name::<T>,
        }
    }

    /// The record type, as the compiler names it.
    pub fn type_name(self) -> &'static str {
        (self.type_name)()
    }

    /// Reads what [`AnyBatch::encode`] wrote.
    ///
    /// # Errors
    ///
    /// The bytes are cut or are of another type.
    pub fn decode(self, bytes: &[u8]) -> Result<Box<dyn AnyBatch>> {
        (self.decode)(bytes)
    }
}

fn decode<T: Data>(bytes: &[u8]) -> Result<Box<dyn AnyBatch>> {
    let cut =
        || FunctionError::new("a batch from another process is cut; its connection is broken");
    let (count, bytes) = bytes.split_first_chunk::<4>().ok_or_else(cut)?;
    let count = u32::from_le_bytes(*count) as usize;
    let (flags, mut bytes) = bytes.split_first().ok_or_else(cut)?;
    // Every record but those of zero-sized types takes a byte.
    let most = match size_of::<T>() {
        0 => MAX_EMPTY_RECORDS,
        _ => bytes.len(),
    };
    if count > most {
        return Err(cut());
    }
    let mut batch = Batch::<T>::default();
    if flags & 1 != 0 {
        let (column, rest) = bytes.split_at_checked(count * 8).ok_or_else(cut)?;
        let words = column.chunks_exact(8);
        batch
            .timestamps
            .extend(words.filter_map(|word| word.try_into().ok().map(i64::from_le_bytes)));
        bytes = rest;
    }
    if flags & 2 != 0 {
        let (column, rest) = bytes.split_at_checked(count * 2).ok_or_else(cut)?;
        let words = column.chunks_exact(2);
        batch
            .key_groups
            .extend(words.filter_map(|word| word.try_into().ok().map(u16::from_le_bytes)));
        bytes = rest;
    }
    batch.rows = rows::decode(bytes, count)?;
    Ok(Box::new(batch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_splits_with_all_its_columns() {
        for (timestamps, key_groups) in [(vec![], vec![]), (vec![5, 6, 7], vec![1, 2, 3])] {
            let whole = Batch {
                rows: vec!["a", "b", "c"].into_iter().map(str::to_owned).collect(),
                timestamps,
                key_groups,
            };
            for at in 0..=3 {
                let mut rest = whole.clone();
                let mut front = downcast::<String>(rest.split_front(at));
                assert_eq!((front.rows.len(), rest.rows.len()), (at, 3 - at));
                front.rows.append(&mut rest.rows);
                front.timestamps.append(&mut rest.timestamps);
                front.key_groups.append(&mut rest.key_groups);
                assert_eq!(front, whole);
            }
        }
    }

    #[test]
    fn a_batch_comes_back_from_its_bytes_with_all_columns() {
        for (timestamps, key_groups) in [
            (vec![], vec![]),
            (vec![5, -7], vec![]),
            (vec![5, -7], vec![3, 9]),
        ] {
            let batch = Batch {
                rows: vec![("a".to_owned(), 1i64), ("né😀".to_owned(), -2)],
                timestamps,
                key_groups,
            };
            let mut bytes = Vec::new();
            batch.encode(&mut bytes).expect("encodes");
            let back = BatchCodec::of::<(String, i64)>()
                .decode(&bytes)
                .expect("decodes");
            assert_eq!(downcast::<(String, i64)>(back), batch);
            for end in 0..bytes.len() {
                assert!(
                    BatchCodec::of::<(String, i64)>()
                        .decode(&bytes[..end])
                        .is_err(),
                    "cut at {end}"
                );
            }
        }
    }
    /// Records of a type without content take no bytes, so that a few bytes could stand for four
    /// billion of them, which were made one after the other.
    #[test]
    fn records_without_content_are_as_many_as_a_batch_may_hold_and_no_more() {
        let codec = BatchCodec::of::<()>();
        let claiming = |count: u32| [&count.to_le_bytes()[..], &[0]].concat();
        for count in [0, 1, MAX_EMPTY_RECORDS as u32] {
            let batch = codec.decode(&claiming(count)).expect("few enough");
            assert_eq!(batch.len(), count as usize);
        }
        for count in [MAX_EMPTY_RECORDS as u32 + 1, 1 << 24, u32::MAX] {
            let error = codec.decode(&claiming(count)).err().expect("too many");
            assert!(error.chain().contains("is cut"), "{}", error.chain());
        }
        let batch = Batch::of(vec![(); BATCH_RECORDS]);
        let mut bytes = Vec::new();
        batch.encode(&mut bytes).expect("encodes");
        let back = codec.decode(&bytes).expect("decodes");
        assert_eq!(downcast::<()>(back), batch);
    }

    /// A record may take far more memory than bytes: what a batch says of itself is no reason to
    /// take it all at once.
    #[test]
    fn memory_for_records_is_taken_for_bytes_that_are_there() {
        type Large = Option<[u64; 32]>;
        let batch = Batch::<Large>::of(vec![None; 1000]);
        let mut bytes = Vec::new();
        batch.encode(&mut bytes).expect("encodes");
        let back = BatchCodec::of::<Large>().decode(&bytes).expect("decodes");
        assert_eq!(downcast::<Large>(back), batch);
        // The first record is damaged, so that nothing but the memory at once is taken.
        let mut damaged = [&(1u32 << 20).to_le_bytes()[..], &[0]].concat();
        damaged.resize(damaged.len() + (1 << 20), 0xff);
        assert!(BatchCodec::of::<Large>().decode(&damaged).is_err());
    }
}
