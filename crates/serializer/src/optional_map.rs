//! Flink's map whose keys and values may be absent: fields and subclasses of POJOs, parts of Kryo.
//!
//! | order | type | meaning |
//! | --- | --- | --- |
//! | 1 | i64 | `0x000004F2C69A3D70` |
//! | 2 | i32 n | entries, each: |
//! | | UTF | name |
//! | | bool, then BYTES if 1 | key frame |
//! | | bool, then BYTES if 1 | value frame |
//!
//! Source: Flink 2.3.0, class `LinkedOptionalMapSerializer`.

use crate::{ByteReader, ByteWriter, Error};

const HEADER: i64 = 0x0000_04f2_c69a_3d70;

/// One entry of an optional map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionalEntry<V> {
    /// The name: of a field, or of a class.
    pub name: String,
    /// The key's frame as it lies in the file: for a field its declaring class and name.
    pub key: Option<Vec<u8>>,
    /// The value.
    pub value: Option<V>,
}

/// Reads a map whose value frames `value` reads.
pub(crate) fn read<V>(
    input: &mut ByteReader<'_>,
    mut value: impl FnMut(&mut ByteReader<'_>) -> Result<V, Error>,
) -> Result<Vec<OptionalEntry<V>>, Error> {
    let at = input.offset();
    let header = input.i64()?;
    if header != HEADER {
        return Err(Error::corrupt(
            at,
            format!("map header {HEADER:#x}"),
            format!("{header:#x}"),
        ));
    }
    let count = input.count(4)?;
    let mut entries = Vec::new();
    for _ in 0..count {
        let name = input.utf()?;
        let key = if input.bool()? {
            Some(input.bytes()?.to_vec())
        } else {
            None
        };
        let value = if input.bool()? {
            Some(read_frame(input, &mut value)?)
        } else {
            None
        };
        entries.push(OptionalEntry { name, key, value });
    }
    Ok(entries)
}

fn read_frame<V>(
    input: &mut ByteReader<'_>,
    value: &mut impl FnMut(&mut ByteReader<'_>) -> Result<V, Error>,
) -> Result<V, Error> {
    let length = input.length()?;
    let offset = input.offset();
    let mut frame = ByteReader::at_offset(input.take(length)?, offset);
    let read = value(&mut frame)?;
    if frame.is_empty() {
        return Ok(read);
    }
    Err(frame.corrupt(
        "the end of a frame",
        format!("{} more bytes", frame.remaining()),
    ))
}

/// Writes a map whose values `value` appends.
pub(crate) fn write<V>(
    entries: &[OptionalEntry<V>],
    out: &mut Vec<u8>,
    mut value: impl FnMut(&V, &mut Vec<u8>) -> Result<(), Error>,
) -> Result<(), Error> {
    out.put_i64(HEADER);
    out.put_count(entries.len());
    let mut frame = Vec::new();
    for entry in entries {
        out.put_utf(&entry.name)?;
        out.put_bool(entry.key.is_some());
        if let Some(key) = &entry.key {
            out.put_bytes(key);
        }
        out.put_bool(entry.value.is_some());
        if let Some(present) = &entry.value {
            frame.clear();
            value(present, &mut frame)?;
            out.put_bytes(&frame);
        }
    }
    Ok(())
}
