//! Writing primitives; the layouts are those that [`ByteReader`](crate::ByteReader) reads.

use crate::Error;

/// Appends Java's and Flink's primitives to a buffer.
pub trait ByteWriter {
    /// Appends raw bytes.
    fn put(&mut self, bytes: &[u8]);

    /// Appends an unsigned byte.
    fn put_u8(&mut self, value: u8) {
        self.put(&[value]);
    }

    /// Appends a signed byte.
    fn put_i8(&mut self, value: i8) {
        self.put(&value.to_be_bytes());
    }

    /// Appends a signed 16-bit number.
    fn put_i16(&mut self, value: i16) {
        self.put(&value.to_be_bytes());
    }

    /// Appends an unsigned 16-bit number.
    fn put_u16(&mut self, value: u16) {
        self.put(&value.to_be_bytes());
    }

    /// Appends a signed 32-bit number.
    fn put_i32(&mut self, value: i32) {
        self.put(&value.to_be_bytes());
    }

    /// Appends a signed 64-bit number.
    fn put_i64(&mut self, value: i64) {
        self.put(&value.to_be_bytes());
    }

    /// Appends a 32-bit float; every NaN becomes Java's canonical one.
    fn put_f32(&mut self, value: f32) {
        let bits = if value.is_nan() {
            0x7fc0_0000
        } else {
            value.to_bits()
        };
        self.put(&bits.to_be_bytes());
    }

    /// Appends a 64-bit float; every NaN becomes Java's canonical one.
    fn put_f64(&mut self, value: f64) {
        let bits = if value.is_nan() {
            0x7ff8_0000_0000_0000
        } else {
            value.to_bits()
        };
        self.put(&bits.to_be_bytes());
    }

    /// Appends a truth value as one byte.
    fn put_bool(&mut self, value: bool) {
        self.put(&[u8::from(value)]);
    }

    /// Appends the number of `items` as an i32.
    ///
    /// # Panics
    ///
    /// If there are more than 2^31 - 1: no Java collection or array can hold them, and Millpond
    /// keeps no value that large.
    fn put_count(&mut self, items: usize) {
        self.put_i32(i32::try_from(items).expect("a value has less than 2^31 parts"));
    }

    /// Appends an i32 length and the bytes.
    ///
    /// # Panics
    ///
    /// If there are more than 2^31 - 1, as [`put_count`](Self::put_count).
    fn put_bytes(&mut self, bytes: &[u8]) {
        self.put_count(bytes.len());
        self.put(bytes);
    }

    /// Appends a text as Java's `writeUTF` does.
    ///
    /// # Errors
    ///
    /// Unsupported, if the text takes more than 65535 bytes of modified UTF-8; nothing is appended.
    fn put_utf(&mut self, text: &str) -> Result<(), Error> {
        let length = modified_utf8_length(text);
        let Ok(prefix) = u16::try_from(length) else {
            let head: String = text.chars().take(32).collect();
            let what =
                format!("text \"{head}...\" takes {length} bytes, Java's writeUTF at most 65535");
            return Err(Error::unsupported(what));
        };
        self.put_u16(prefix);
        if length == text.len() {
            self.put(text.as_bytes());
            return Ok(());
        }
        for unit in text.encode_utf16() {
            match unit {
                1..0x80 => self.put_u8(unit as u8),
                0 | 0x80..0x800 => {
                    self.put(&[0xc0 | (unit >> 6) as u8, 0x80 | (unit & 0x3f) as u8])
                }
                0x800.. => self.put(&[
                    0xe0 | (unit >> 12) as u8,
                    0x80 | (unit >> 6 & 0x3f) as u8,
                    0x80 | (unit & 0x3f) as u8,
                ]),
            }
        }
        Ok(())
    }

    /// Appends a text as Flink's string serializer does.
    ///
    /// # Panics
    ///
    /// If it has 2^32 - 1 UTF-16 units or more: Java's texts end at half of that.
    fn put_string_value(&mut self, text: &str) {
        let ascii = text.is_ascii();
        let units = if ascii {
            text.len()
        } else {
            text.encode_utf16().count()
        };
        put_varint(
            self,
            u32::try_from(units + 1).expect("a text has less than 2^32 units"),
        );
        if ascii {
            self.put(text.as_bytes());
            return;
        }
        for unit in text.encode_utf16() {
            put_varint(self, u32::from(unit));
        }
    }

    /// Appends UTF-16 units, also such as are no text of Rust, as Flink's string serializer does.
    ///
    /// # Panics
    ///
    /// As [`put_string_value`](Self::put_string_value).
    fn put_utf16_value(&mut self, units: &[u16]) {
        put_varint(
            self,
            u32::try_from(units.len() + 1).expect("a text has less than 2^32 units"),
        );
        for unit in units {
            put_varint(self, u32::from(*unit));
        }
    }

    /// Appends Flink's null for a text.
    fn put_null_string_value(&mut self) {
        self.put_u8(0);
    }
}

impl ByteWriter for Vec<u8> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

fn put_varint<W: ByteWriter + ?Sized>(out: &mut W, mut value: u32) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Returns how many bytes `writeUTF` puts behind its length.
fn modified_utf8_length(text: &str) -> usize {
    text.chars()
        .map(|c| match c {
            '\0' => 2,
            '\u{10000}'.. => 6,
            other => other.len_utf8(),
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_too_long_for_write_utf_is_refused_whole() {
        let mut out = Vec::new();
        assert!(out.put_utf(&"é".repeat(32768)).is_err());
        assert!(out.is_empty());
        out.put_utf(&"a".repeat(65535)).expect("the longest");
        assert_eq!(out.len(), 65537);
    }

    #[test]
    fn every_nan_becomes_the_canonical_one() {
        let mut out = Vec::new();
        out.put_f64(-f64::NAN);
        out.put_f32(-f32::NAN);
        assert_eq!(out, [0x7f, 0xf8, 0, 0, 0, 0, 0, 0, 0x7f, 0xc0, 0, 0]);
    }
}
