//! Numbers and characters that Rust has no type for, or one with another order.
//!
//! | type | Java | bytes |
//! | --- | --- | --- |
//! | [`Character`] | char | u16 |
//! | [`Double`], [`Float`] | double, float as keys | IEEE bits |
//! | [`BigInteger`] | BigInteger | i32 L: 0 null, 1 zero, 2 one, 3 ten, else L - 4 bytes of two's complement |
//! | [`BigDecimal`] | BigDecimal | BigInteger unscaled, then an i32 scale unless null |
//!
//! Source: Flink 2.3.0, classes `CharSerializer`, `BigIntSerializer`, `BigDecSerializer`.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use crate::{ByteReader, ByteWriter, Error, FlinkKey, FlinkType, SerializerSnapshot};

/// Java's `BigInteger`: a whole number of any size.
pub use num_bigint::BigInt as BigInteger;

/// Java's `char`: one UTF-16 unit, which may be half of a character.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Character(pub u16);

impl Character {
    /// Returns the character of Rust; `None` if it is half of one.
    pub fn to_char(self) -> Option<char> {
        char::from_u32(u32::from(self.0))
    }

    /// Returns the unit of a character; `None` if it takes two.
    pub fn from_char(character: char) -> Option<Self> {
        u16::try_from(u32::from(character)).ok().map(Character)
    }
}

impl FlinkType for Character {
    fn serializer_snapshot() -> SerializerSnapshot {
        SerializerSnapshot::base("Char")
    }

    fn fixed_length() -> Option<usize> {
        Some(2)
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.put_u16(self.0);
    }

    fn read(input: &mut ByteReader<'_>) -> Result<Self, Error> {
        input.u16().map(Character)
    }

    fn java_default() -> Option<Self> {
        Some(Character(0))
    }
}

impl FlinkKey for Character {
    fn hash_code(&self) -> i32 {
        i32::from(self.0)
    }
}

macro_rules! float {
    ($name:ident, $float:ty, $bits:ident, $java:literal, $nan:literal, $hash:expr) => {
        #[doc = concat!("Java's `", $java, "` with its order, so that it can be a key.")]
        ///
        /// As in Java all NaN are equal and above everything else, and 0.0 is above -0.0.
        #[derive(Clone, Copy, Debug, Default)]
        pub struct $name(pub $float);

        impl $name {
            /// The bits with one NaN only.
            fn canonical_bits(self) -> $bits {
                if self.0.is_nan() {
                    $nan
                } else {
                    self.0.to_bits()
                }
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.canonical_bits() == other.canonical_bits()
            }
        }

        impl Eq for $name {}

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                let canonical = |value: &Self| <$float>::from_bits(value.canonical_bits());
                canonical(self).total_cmp(&canonical(other))
            }
        }

        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.canonical_bits().hash(state);
            }
        }

        impl FlinkType for $name {
            fn serializer_snapshot() -> SerializerSnapshot {
                <$float>::serializer_snapshot()
            }

            fn fixed_length() -> Option<usize> {
                <$float>::fixed_length()
            }

            fn write(&self, out: &mut Vec<u8>) {
                self.0.write(out);
            }

            fn read(input: &mut ByteReader<'_>) -> Result<Self, Error> {
                <$float>::read(input).map($name)
            }

            fn java_default() -> Option<Self> {
                Some($name(0.0))
            }
        }

        impl FlinkKey for $name {
            fn hash_code(&self) -> i32 {
                let hash: fn($bits) -> i32 = $hash;
                hash(self.canonical_bits())
            }
        }
    };
}

float!(
    Double,
    f64,
    u64,
    "double",
    0x7ff8_0000_0000_0000,
    |bits| (bits ^ bits >> 32) as i32
);
float!(Float, f32, u32, "float", 0x7fc0_0000, |bits| bits as i32);

/// Java's `BigDecimal`: `unscaled` / 10^`scale`. As in Java 1.5 and 1.50 are not equal.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BigDecimal {
    /// All digits.
    pub unscaled: BigInteger,
    /// How many of the digits stand behind the point; negative for zeros in front of it.
    pub scale: i32,
}

impl BigDecimal {
    /// Returns `unscaled` / 10^`scale`.
    pub fn new(unscaled: impl Into<BigInteger>, scale: i32) -> Self {
        BigDecimal {
            unscaled: unscaled.into(),
            scale,
        }
    }
}

impl fmt::Display for BigDecimal {
    /// Digits with a point if the scale is 0 to 64, and with an exponent otherwise.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = match usize::try_from(self.scale) {
            Ok(places @ 0..=64) => places,
            Ok(_) | Err(_) => {
                return write!(f, "{}E{:+}", self.unscaled, -i64::from(self.scale));
            }
        };
        let text = self.unscaled.to_string();
        let (sign, digits) = match text.strip_prefix('-') {
            Some(digits) => ("-", digits),
            None => ("", text.as_str()),
        };
        let digits = format!("{digits:0>width$}", width = places + 1);
        let (whole, rest) = digits.split_at(digits.len() - places);
        match rest {
            "" => write!(f, "{sign}{whole}"),
            rest => write!(f, "{sign}{whole}.{rest}"),
        }
    }
}

impl FlinkType for BigInteger {
    fn serializer_snapshot() -> SerializerSnapshot {
        SerializerSnapshot::base("BigInt")
    }

    fn fixed_length() -> Option<usize> {
        None
    }

    fn write(&self, out: &mut Vec<u8>) {
        // Flink knows the cached objects of 0, 1 and 10 by their identity.
        for (number, code) in [(0, 1), (1, 2), (10, 3)] {
            if *self == BigInteger::from(number) {
                return out.put_i32(code);
            }
        }
        let bytes = self.to_signed_bytes_be();
        out.put_count(bytes.len() + 4);
        out.put(&bytes);
    }

    fn read(input: &mut ByteReader<'_>) -> Result<Self, Error> {
        let at = input.offset();
        read_big_integer(input)?.ok_or_else(|| crate::nullable::null(at, "a BigInteger"))
    }
}

fn read_big_integer(input: &mut ByteReader<'_>) -> Result<Option<BigInteger>, Error> {
    let at = input.offset();
    let code = input.i32()?;
    match usize::try_from(code) {
        Ok(0) => Ok(None),
        Ok(1) => Ok(Some(BigInteger::from(0))),
        Ok(2) => Ok(Some(BigInteger::from(1))),
        Ok(3) => Ok(Some(BigInteger::from(10))),
        Ok(length @ 5..) => {
            let bytes = input.take(length - 4)?;
            Ok(Some(BigInteger::from_signed_bytes_be(bytes)))
        }
        Ok(4) | Err(_) => Err(Error::corrupt(
            at,
            "the length of a number",
            code.to_string(),
        )),
    }
}

impl FlinkKey for BigInteger {
    fn hash_code(&self) -> i32 {
        let words = self.magnitude().to_u32_digits();
        let hash = words.iter().rev().fold(0i32, |hash, word| {
            hash.wrapping_mul(31).wrapping_add(*word as i32)
        });
        match self.sign() {
            num_bigint::Sign::Minus => hash.wrapping_neg(),
            num_bigint::Sign::NoSign | num_bigint::Sign::Plus => hash,
        }
    }
}

impl FlinkType for BigDecimal {
    fn serializer_snapshot() -> SerializerSnapshot {
        SerializerSnapshot::base("BigDec")
    }

    fn fixed_length() -> Option<usize> {
        None
    }

    fn write(&self, out: &mut Vec<u8>) {
        self.unscaled.write(out);
        out.put_i32(self.scale);
    }

    fn read(input: &mut ByteReader<'_>) -> Result<Self, Error> {
        let at = input.offset();
        let unscaled =
            read_big_integer(input)?.ok_or_else(|| crate::nullable::null(at, "a BigDecimal"))?;
        let scale = input.i32()?;
        Ok(BigDecimal { unscaled, scale })
    }
}

impl FlinkKey for BigDecimal {
    fn hash_code(&self) -> i32 {
        let unscaled = self.unscaled.hash_code();
        unscaled.wrapping_mul(31).wrapping_add(self.scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_shown_with_their_places() {
        let shown = |unscaled: i64, scale| BigDecimal::new(unscaled, scale).to_string();
        assert_eq!(shown(150, 2), "1.50");
        assert_eq!(shown(-1, 3), "-0.001");
        assert_eq!(shown(7, 0), "7");
        assert_eq!(shown(1, -3), "1E+3");
        assert_eq!(shown(5, i32::MAX), "5E-2147483647");
        assert_eq!(shown(5, i32::MIN), "5E+2147483648");
    }

    #[test]
    fn doubles_order_as_in_java() {
        let mut sorted = [f64::NAN, 1.0, -0.0, 0.0, f64::NEG_INFINITY, -f64::NAN].map(Double);
        sorted.sort();
        let bits = sorted.map(|double| double.canonical_bits());
        let expected = [f64::NEG_INFINITY, -0.0, 0.0, 1.0, f64::NAN, f64::NAN];
        assert_eq!(bits, expected.map(|double| Double(double).canonical_bits()));
    }
}
