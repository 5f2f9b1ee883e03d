//! Blocks of items: how arrays and maps of Avro lie in Flink's state.
//!
//! | order | type | meaning |
//! | --- | --- | --- |
//! | 1 | varint | count, low group first, not 0; then as many items |
//! | 2 | | more such blocks |
//! | 3 | 00 | the end |
//!
//! Source: Flink 2.3.0, class `DataOutputEncoder` of `flink-avro`.

use crate::{ByteReader, ByteWriter, Error};

/// Items without bytes (an array of nulls) are bounded by nothing in the file.
const MAX_EMPTY_ITEMS: u64 = 4096;

/// Reads blocks of items.
pub(crate) fn blocks(
    input: &mut ByteReader<'_>,
    mut item: impl FnMut(&mut ByteReader<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    loop {
        let at = input.offset();
        let count = varint(input)?;
        if count == 0 {
            return Ok(());
        }
        if count > MAX_EMPTY_ITEMS.max(input.remaining() as u64) {
            let expected = format!("at most {} items", input.remaining());
            return Err(Error::corrupt(at, expected, count.to_string()));
        }
        for _ in 0..count {
            item(input)?;
        }
    }
}

fn varint(input: &mut ByteReader<'_>) -> Result<u64, Error> {
    let at = input.offset();
    let mut value = 0u64;
    for shift in (0..63).step_by(7) {
        let byte = input.u8()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            if byte == 0 && shift > 0 {
                break;
            }
            return Ok(value);
        }
    }
    let expected = "a count of at most 63 bits in as few bytes as it needs";
    Err(Error::corrupt(at, expected, "a longer one"))
}

/// Appends the count of the one block that a collection is written in.
pub(crate) fn put_block(count: usize, out: &mut Vec<u8>) {
    let mut count = count as u64;
    while count >= 0x80 {
        out.put_u8(count as u8 | 0x80);
        count >>= 7;
    }
    out.put_u8(count as u8);
}

/// An empty collection is the one 00 that [`put_block`] has written.
pub(crate) fn end_blocks(count: usize, out: &mut Vec<u8>) {
    if count > 0 {
        out.put_u8(0);
    }
}
