//! The merge operator of list state: operands are appended behind a comma.
//!
//! Flink registers RocksDB's `stringappendtest` for every column family, and adds to a list by a
//! merge; so operands that nobody has merged yet lie in its files. No element is escaped: they are
//! told apart by their serializer, which reads one and then expects the comma or the end.
//!
//! Source: RocksDB 8.10, class `StringAppendTESTOperator`; Flink 2.3.0, class
//! `RocksDBOperationUtils` (`MERGE_OPERATOR_NAME`).

use millpond_snapshot::LIST_DELIMITER;
use rocksdb::{MergeOperands, Options};

/// The name that RocksDB's own operator has.
const NAME: &str = "StringAppendTESTOperator";

/// Registers the operator for a column family.
pub(crate) fn register(options: &mut Options) {
    options.set_merge_operator(NAME, full_merge, partial_merge);
}

fn full_merge(_key: &[u8], existing: Option<&[u8]>, operands: &MergeOperands) -> Option<Vec<u8>> {
    Some(joined(existing.into_iter().chain(operands)))
}

/// Merges operands alone; no value is known to lie below them.
fn partial_merge(_key: &[u8], _: Option<&[u8]>, operands: &MergeOperands) -> Option<Vec<u8>> {
    Some(joined(operands.into_iter()))
}

fn joined<'a>(parts: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    for (index, part) in parts.enumerate() {
        if index > 0 {
            out.push(LIST_DELIMITER);
        }
        out.extend_from_slice(part);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_joined_by_commas_and_empty_ones_keep_their_place() {
        let join = |parts: &[&[u8]]| joined(parts.iter().copied());
        assert_eq!(join(&[b"a", b"b,", b"c"]), b"a,b,,c");
        assert_eq!(join(&[b"", b"b"]), b",b");
        assert_eq!(join(&[b"a"]), b"a");
    }
}
