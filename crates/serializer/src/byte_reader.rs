//! Reading primitives from a slice; every read is checked against what is left.
//!
//! | name | bytes |
//! | --- | --- |
//! | i8 .. i64, f32, f64 | big-endian; floats as IEEE bits |
//! | bool | one byte, 0 or 1 |
//! | UTF | u16 byte length, then modified UTF-8: U+0000 is `C0 80`, code points above U+FFFF are two surrogates of three bytes each |
//! | STR | varint of length + 1 (0 is null), then one varint per UTF-16 unit; a varint has 7 bits per byte, low group first, top bit for more |
//! | BYTES | i32 length, then as many bytes |
//!
//! Source: Java `DataOutputStream`, Flink 2.3.0 class `StringValue`.

use crate::Error;

/// A cursor over bytes that others wrote.
///
/// No read goes beyond the end, and no length that is read makes a caller allocate more than what
/// is left.
#[derive(Clone, Debug)]
pub struct ByteReader<'a> {
    bytes: &'a [u8],
    at: usize,
    base: u64,
}

impl<'a> ByteReader<'a> {
    /// Returns a reader at the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        ByteReader {
            bytes,
            at: 0,
            base: 0,
        }
    }

    /// Returns a reader of `bytes` that lie at `offset` of a file, so that errors name file offsets.
    pub fn at_offset(bytes: &'a [u8], offset: u64) -> Self {
        ByteReader {
            bytes,
            at: 0,
            base: offset,
        }
    }

    /// Returns where the next byte lies: the offset in the file, or in the slice if no other was told.
    pub fn offset(&self) -> u64 {
        self.base.saturating_add(self.at as u64)
    }

    /// Returns how many bytes of the slice have been read.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Returns how many bytes are left.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Whether everything has been read.
    pub fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// Returns what is left without reading it.
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// Returns the bytes from `start`, an earlier [`position`](Self::position), up to here.
    ///
    /// # Panics
    ///
    /// If `start` lies behind the current position.
    pub fn since(&self, start: usize) -> &'a [u8] {
        &self.bytes[start..self.at]
    }

    /// Returns the error that what was expected here is not what is there.
    #[cold]
    pub fn corrupt(&self, expected: impl Into<String>, found: impl Into<String>) -> Error {
        Error::corrupt(self.offset(), expected, found)
    }

    /// Reads `length` bytes.
    ///
    /// # Errors
    ///
    /// Corrupt, if fewer are left.
    #[inline]
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let bytes = self.bytes;
        match bytes[self.at..].get(..length) {
            Some(taken) => {
                self.at += length;
                Ok(taken)
            }
            None => Err(self.too_short(length)),
        }
    }

    #[cold]
    fn too_short(&self, length: usize) -> Error {
        self.corrupt(
            format!("{length} bytes"),
            format!("the end after {} bytes", self.remaining()),
        )
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        match self.bytes[self.at..].first_chunk::<N>() {
            Some(chunk) => {
                self.at += N;
                Ok(*chunk)
            }
            None => Err(self.too_short(N)),
        }
    }

    /// Reads a signed byte.
    ///
    /// # Errors
    ///
    /// Corrupt at the end of the bytes, as all readers below.
    #[inline]
    pub fn i8(&mut self) -> Result<i8, Error> {
        self.array::<1>().map(i8::from_be_bytes)
    }

    /// Reads an unsigned byte.
    ///
    /// # Errors
    ///
    /// Corrupt at the end of the bytes.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, Error> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Reads a signed 16-bit number.
    ///
    /// # Errors
    ///
    /// Corrupt at the end of the bytes.
    #[inline]
    pub fn i16(&mut self) -> Result<i16, Error> {
        self.array().map(i16::from_be_bytes)
    }

    /// Reads an unsigned 16-bit number.
    ///
    /// # Errors
    ///
    /// Corrupt at the end of the bytes.
    #[inline]
    pub fn u16(&mut self) -> Result<u16, Error> {
        self.array().map(u16::from_be_bytes)
    }

    /// Reads a signed 32-bit number.
    ///
    /// # Errors
    ///
    /// Corrupt at the end of the bytes.
    #[inline]
    pub fn i32(&mut self) -> Result<i32, Error> {
        self.array().map(i32::from_be_bytes)
    }

    /// Reads a signed 64-bit number.
    ///
    /// # Errors
    ///
    /// Corrupt at the end of the bytes.
    #[inline]
    pub fn i64(&mut self) -> Result<i64, Error> {
        self.array().map(i64::from_be_bytes)
    }

    /// Reads a 32-bit float from its IEEE bits.
    ///
    /// # Errors
    ///
    /// Corrupt at the end of the bytes.
    #[inline]
    pub fn f32(&mut self) -> Result<f32, Error> {
        self.array().map(f32::from_be_bytes)
    }

    /// Reads a 64-bit float from its IEEE bits.
    ///
    /// # Errors
    ///
    /// Corrupt at the end of the bytes.
    #[inline]
    pub fn f64(&mut self) -> Result<f64, Error> {
        self.array().map(f64::from_be_bytes)
    }

    /// Reads a truth value.
    ///
    /// # Errors
    ///
    /// Corrupt at the end, or if the byte is neither 0 nor 1.
    #[inline]
    pub fn bool(&mut self) -> Result<bool, Error> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => {
                self.at -= 1;
                Err(self.corrupt("a truth value, 0 or 1", format!("{other}")))
            }
        }
    }

    /// Reads an i32 that must be `expected`; `what` names it in the error.
    ///
    /// # Errors
    ///
    /// Corrupt at the end, or if another number is there.
    pub fn expect_i32(&mut self, expected: i32, what: &str) -> Result<(), Error> {
        let before = self.at;
        let found = self.i32()?;
        if found == expected {
            return Ok(());
        }
        self.at = before;
        Err(self.corrupt(format!("{what} {expected:#x}"), format!("{found:#x}")))
    }

    /// Reads an i32 that counts bytes that follow: not negative and no more than what is left.
    ///
    /// # Errors
    ///
    /// Corrupt at the end, or if the length is out of that range.
    #[inline]
    pub fn length(&mut self) -> Result<usize, Error> {
        let length = self.i32()?;
        match usize::try_from(length) {
            Ok(length) if length <= self.remaining() => Ok(length),
            Ok(_) | Err(_) => {
                self.at -= 4;
                let left = self.remaining() - 4;
                Err(self.corrupt(
                    format!("a length of 0 to {left} bytes"),
                    format!("{length}"),
                ))
            }
        }
    }

    /// Reads an i32 that counts items of at least `item_bytes` bytes each that follow.
    ///
    /// # Errors
    ///
    /// Corrupt at the end, or if the count is negative or more than what is left can hold.
    #[inline]
    pub fn count(&mut self, item_bytes: usize) -> Result<usize, Error> {
        let count = self.i32()?;
        match usize::try_from(count) {
            Ok(found) if found.saturating_mul(item_bytes) <= self.remaining() => Ok(found),
            Ok(_) | Err(_) => {
                self.at -= 4;
                let most = (self.remaining() - 4).checked_div(item_bytes);
                let most = most.map_or_else(String::new, |most| format!(" to {most}"));
                Err(self.corrupt(format!("a count of 0{most}"), format!("{count}")))
            }
        }
    }

    /// Reads an i32 length and as many bytes.
    ///
    /// # Errors
    ///
    /// Corrupt at the end, or if the length is negative or more than what is left.
    pub fn bytes(&mut self) -> Result<&'a [u8], Error> {
        let length = self.length()?;
        self.take(length)
    }

    /// Reads a text as Java's `writeUTF` wrote it.
    ///
    /// # Errors
    ///
    /// Corrupt, if it is no modified UTF-8; unsupported, if it has a surrogate without its partner.
    pub fn utf(&mut self) -> Result<String, Error> {
        let start = self.offset();
        let length = self.u16()?;
        let bytes = self.take(usize::from(length))?;
        if bytes.iter().all(|byte| (1..0x80).contains(byte)) {
            return Ok(bytes.iter().map(|byte| char::from(*byte)).collect());
        }
        let mut units = Vec::with_capacity(bytes.len());
        let mut rest = bytes;
        while let Some((unit, tail)) = modified_utf8_unit(rest) {
            units.push(unit);
            rest = tail;
        }
        if !rest.is_empty() {
            let offset = start + 2 + (bytes.len() - rest.len()) as u64;
            return Err(Error::corrupt(
                offset,
                "modified UTF-8",
                format!("byte {:#04x}", rest[0]),
            ));
        }
        text_of(&units, start)
    }

    /// Reads a text as Flink's string serializer wrote it; `None` is Java's null.
    ///
    /// # Errors
    ///
    /// Corrupt, if lengths or units are out of range; unsupported, if it has a surrogate without
    /// its partner, which no Rust text can hold.
    pub fn string_value(&mut self) -> Result<Option<String>, Error> {
        let start = self.offset();
        match self.string_value_or_units()? {
            None => Ok(None),
            Some(Ok(text)) => Ok(Some(text)),
            Some(Err(_)) => Err(lone_surrogate(start)),
        }
    }

    /// As [`string_value`](Self::string_value), with the UTF-16 units of a text that Rust cannot
    /// hold in place of an error.
    ///
    /// # Errors
    ///
    /// Corrupt, if lengths or units are out of range.
    pub fn string_value_or_units(&mut self) -> Result<Option<Result<String, Vec<u16>>>, Error> {
        let Some(length) = self.string_length()? else {
            return Ok(None);
        };
        // The frequent case: every unit is one byte below 0x80.
        let ahead = &self.rest()[..length];
        if ahead.is_ascii() {
            self.at += length;
            let text = str::from_utf8(ahead).expect("ASCII is UTF-8");
            return Ok(Some(Ok(text.to_owned())));
        }
        let mut units = Vec::with_capacity(length);
        for _ in 0..length {
            units.push(self.string_unit()?);
        }
        Ok(Some(String::from_utf16(&units).map_err(|_| units)))
    }

    /// Passes over a text that Flink's string serializer wrote; null and lone surrogates included.
    ///
    /// # Errors
    ///
    /// Corrupt, if lengths or units are out of range.
    pub fn skip_string_value(&mut self) -> Result<(), Error> {
        if let Some(length) = self.string_length()? {
            for _ in 0..length {
                self.string_unit()?;
            }
        }
        Ok(())
    }

    fn string_length(&mut self) -> Result<Option<usize>, Error> {
        let before = self.at;
        let Some(length) = (self.varint()? as usize).checked_sub(1) else {
            return Ok(None);
        };
        if length <= self.remaining() {
            return Ok(Some(length));
        }
        let expected = format!("a text of at most {} units", self.remaining());
        self.at = before;
        Err(self.corrupt(expected, format!("{length} units")))
    }

    #[inline]
    fn string_unit(&mut self) -> Result<u16, Error> {
        let before = self.at;
        let unit = self.varint()?;
        u16::try_from(unit).map_err(|_| {
            self.at = before;
            self.corrupt("a UTF-16 unit", format!("{unit:#x}"))
        })
    }

    #[inline]
    fn varint(&mut self) -> Result<u32, Error> {
        let before = self.at;
        let mut value = 0u64;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                // A last byte of zero says nothing: no writer puts it.
                match u32::try_from(value) {
                    Ok(value) if byte > 0 || shift == 0 => return Ok(value),
                    Ok(_) | Err(_) => break,
                }
            }
        }
        self.at = before;
        let expected = "a number of at most 32 bits in as few bytes as it needs";
        Err(self.corrupt(expected, "a longer one"))
    }
}

/// Splits off the first UTF-16 unit of modified UTF-8; `None` at the end or at a wrong byte.
fn modified_utf8_unit(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let continued = |byte: u8| (byte & 0xc0 == 0x80).then_some(u16::from(byte & 0x3f));
    match *bytes {
        [first @ 1..0x80, ref rest @ ..] => Some((u16::from(first), rest)),
        [first @ 0xc0..0xe0, second, ref rest @ ..] => {
            Some((u16::from(first & 0x1f) << 6 | continued(second)?, rest))
        }
        [first @ 0xe0..0xf0, second, third, ref rest @ ..] => {
            let high = u16::from(first & 0x0f) << 12 | continued(second)? << 6;
            Some((high | continued(third)?, rest))
        }
        _ => None,
    }
}

fn text_of(units: &[u16], offset: u64) -> Result<String, Error> {
    String::from_utf16(units).map_err(|_| lone_surrogate(offset))
}

#[cold]
fn lone_surrogate(offset: u64) -> Error {
    Error::unsupported(format!(
        "the text at offset {offset} has a surrogate without its partner"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ByteWriter;

    #[test]
    fn texts_have_the_bytes_that_java_writes() {
        let mut out = Vec::new();
        out.put_string_value("né😀");
        assert_eq!(
            out,
            [0x05, 0x6e, 0xe9, 0x01, 0xbd, 0xb0, 0x03, 0x80, 0xbc, 0x03]
        );
        assert_eq!(
            ByteReader::new(&out).string_value(),
            Ok(Some("né😀".to_owned()))
        );
        out.clear();
        out.put_string_value(&"a".repeat(200));
        assert_eq!(out[..3], [0xc9, 0x01, 0x61]);
        assert_eq!(
            ByteReader::new(&out).string_value(),
            Ok(Some("a".repeat(200)))
        );
        assert_eq!(ByteReader::new(&[0]).string_value(), Ok(None));
        assert_eq!(
            ByteReader::new(&[1]).string_value(),
            Ok(Some(String::new()))
        );
    }

    #[test]
    fn modified_utf8_round_trips_with_zero_and_surrogates() {
        let mut out = Vec::new();
        out.put_utf("a\0é€😀").expect("short");
        let expected = [
            0, 14, b'a', 0xc0, 0x80, 0xc3, 0xa9, 0xe2, 0x82, 0xac, 0xed, 0xa0, 0xbd, 0xed, 0xb8,
            0x80,
        ];
        assert_eq!(out, expected);
        assert_eq!(ByteReader::new(&out).utf(), Ok("a\0é€😀".to_owned()));
    }

    #[test]
    fn lengths_beyond_the_end_are_refused_where_they_stand() {
        let bytes = [9, 0x7f, 0xff, 0xff, 0xff, 1, 2];
        let mut reader = ByteReader::at_offset(&bytes, 100);
        reader.u8().expect("one byte");
        let error = reader.length().expect_err("too long");
        assert_eq!(
            error,
            Error::corrupt(101, "a length of 0 to 2 bytes", "2147483647")
        );
        assert_eq!(
            reader.count(4).expect_err("too many"),
            Error::corrupt(101, "a count of 0 to 0", "2147483647")
        );
        assert!(
            ByteReader::new(&[0xff, 0xff, 0xff, 0xff, 0x7f])
                .string_value()
                .is_err()
        );
        assert!(ByteReader::new(&[2]).bool().is_err());
        assert!(ByteReader::new(&[0, 1, 0x80]).utf().is_err());
    }

    #[test]
    fn a_lone_surrogate_is_skipped_but_is_no_rust_text() {
        let bytes = [2, 0xbd, 0xb0, 0x03];
        let error = ByteReader::new(&bytes).string_value().expect_err("no text");
        assert!(error.to_string().contains("surrogate"), "{error}");
        let mut reader = ByteReader::new(&bytes);
        reader.skip_string_value().expect("well formed");
        assert!(reader.is_empty());
    }
}
