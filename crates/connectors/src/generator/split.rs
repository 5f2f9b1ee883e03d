//! Splits of a generator, and the enumerator that deals them out once.
//!
//! | bytes of | version | order | width | meaning |
//! | --- | --- | --- | --- | --- |
//! | split | 1 | 1 | i32 | index of the split |
//! | | | 2 | i32 | number of splits S |
//! | | | 3 | i64 | next number that it emits |
//! | enumerator | 1 | 1 | i32 | number of splits S |

use millpond_operator::source::{SourceSplit, SplitEnumerator};
use millpond_operator::{FunctionError, Result};
use millpond_serializer::{ByteReader, ByteWriter};

const VERSION: i32 = 1;

/// The numbers that are `index` modulo `splits`, from `next` on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratorSplit {
    index: u32,
    splits: u32,
    next: u64,
}

impl GeneratorSplit {
    /// The number of splits of the source.
    pub(crate) fn splits(&self) -> u32 {
        self.splits
    }

    /// The next number.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Takes the next number, if it is below `count`.
    #[inline]
    pub(crate) fn advance(&mut self, count: u64) -> Option<u64> {
        let number = self.next;
        if number >= count {
            return None;
        }
        self.next = number.saturating_add(u64::from(self.splits));
        Some(number)
    }
}

impl SourceSplit for GeneratorSplit {
    const VERSION: i32 = VERSION;

    fn split_id(&self) -> String {
        format!("generator-{}", self.index)
    }

    fn serialize(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16);
        out.put_i32(self.index as i32);
        out.put_i32(self.splits as i32);
        out.put_i64(self.next as i64);
        out
    }

    fn deserialize(version: i32, bytes: &[u8]) -> Result<Self> {
        check_version("split", version)?;
        let mut reader = ByteReader::new(bytes);
        let (index, splits) = (reader.i32()? as u32, reader.i32()? as u32);
        let next = reader.i64()? as u64;
        if index >= splits || next % u64::from(splits) != u64::from(index) {
            return Err(FunctionError::new(format!(
                "a generator split is damaged: number {next} in split {index} of {splits}"
            )));
        }
        Ok(GeneratorSplit {
            index,
            splits,
            next,
        })
    }

    fn position(&self) -> String {
        format!("{}@{}", self.split_id(), self.next)
    }
}

/// Deals out the splits in the first run.
#[derive(Debug)]
pub struct GeneratorEnumerator {
    splits: u32,
    dealt: bool,
}

impl GeneratorEnumerator {
    pub(crate) fn new(splits: u32) -> Self {
        GeneratorEnumerator {
            splits,
            dealt: false,
        }
    }

    pub(crate) fn restore(version: i32, state: &[u8]) -> Result<Self> {
        check_version("enumerator", version)?;
        let splits = ByteReader::new(state).i32()? as u32;
        Ok(GeneratorEnumerator {
            splits,
            dealt: true,
        })
    }
}

impl SplitEnumerator<GeneratorSplit> for GeneratorEnumerator {
    const VERSION: i32 = VERSION;

    fn discover_splits(&mut self) -> Result<Vec<GeneratorSplit>> {
        if std::mem::replace(&mut self.dealt, true) {
            return Ok(Vec::new());
        }
        let splits = self.splits;
        Ok((0..splits)
            .map(|index| GeneratorSplit {
                index,
                splits,
                next: u64::from(index),
            })
            .collect())
    }

    fn snapshot_state(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(4);
        out.put_i32(self.splits as i32);
        out
    }
}

fn check_version(what: &str, version: i32) -> Result<()> {
    if version == VERSION {
        return Ok(());
    }
    Err(FunctionError::new(format!(
        "a generator {what} in the snapshot has version {version}, expected {VERSION}; it was \
         written by a newer Millpond or another source"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_a_split_are_those_of_the_table() {
        let split = GeneratorSplit {
            index: 2,
            splits: 3,
            next: 5,
        };
        let bytes = split.serialize();
        assert_eq!(bytes, [0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 5]);
        assert_eq!(
            GeneratorSplit::deserialize(1, &bytes).expect("whole"),
            split
        );
        assert_eq!(split.position(), "generator-2@5");
    }

    #[test]
    fn a_damaged_split_is_refused() {
        let bytes = GeneratorSplit {
            index: 2,
            splits: 3,
            next: 5,
        }
        .serialize();
        for end in 0..bytes.len() {
            assert!(
                GeneratorSplit::deserialize(1, &bytes[..end]).is_err(),
                "cut at {end}"
            );
        }
        assert!(GeneratorSplit::deserialize(2, &bytes).is_err());
        let mut elsewhere = bytes;
        elsewhere[15] = 6;
        assert!(GeneratorSplit::deserialize(1, &elsewhere).is_err());
    }

    #[test]
    fn splits_are_dealt_out_once_and_their_number_survives() {
        let mut first = GeneratorEnumerator::new(4);
        assert_eq!(first.discover_splits().expect("no outside world").len(), 4);
        assert!(
            first
                .discover_splits()
                .expect("no outside world")
                .is_empty()
        );
        let mut second = GeneratorEnumerator::restore(1, &first.snapshot_state()).expect("whole");
        assert!(
            second
                .discover_splits()
                .expect("no outside world")
                .is_empty()
        );
        assert_eq!(second.snapshot_state(), first.snapshot_state());
    }
}
