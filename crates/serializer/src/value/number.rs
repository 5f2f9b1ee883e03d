//! Numbers without bounds, as Java's `BigInteger` and `BigDecimal` print and hash them.

use std::fmt;

use num_bigint::BigInt;

use super::BigDecimal;
use crate::Error;

/// Java's `BigInteger`: two's complement, the highest byte first, as few bytes as needed.
///
/// Flink writes the JDK's constants 0, 1 and 10 as a code, and numbers of the same value that were
/// computed in full; which of both it was is kept, but means nothing to equality.
#[derive(Clone, Debug)]
pub struct BigInteger {
    bytes: Vec<u8>,
    coded: bool,
}

impl PartialEq for BigInteger {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for BigInteger {}

impl From<i64> for BigInteger {
    fn from(value: i64) -> Self {
        BigInteger::of(&BigInt::from(value))
    }
}

impl BigInteger {
    fn of(number: &BigInt) -> Self {
        BigInteger {
            bytes: number.to_signed_bytes_be(),
            coded: false,
        }
    }

    /// One of Flink's short codes: 1 zero, 2 one, 3 ten.
    pub(super) fn of_code(code: u8) -> Self {
        let byte = match code {
            1 => 0,
            2 => 1,
            _ => 10,
        };
        BigInteger {
            bytes: vec![byte],
            coded: true,
        }
    }

    /// Flink's short code, if it was written as one.
    pub(super) fn code(&self) -> Option<i32> {
        match (self.coded, self.bytes.as_slice()) {
            (true, [0]) => Some(1),
            (true, [1]) => Some(2),
            (true, [10]) => Some(3),
            _ => None,
        }
    }

    /// Takes two's complement bytes; `None` if there are none, or more than the number needs.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let padded = matches!(bytes, [0, second, ..] if *second < 0x80)
            || matches!(bytes, [0xff, second, ..] if *second >= 0x80);
        if bytes.is_empty() || padded {
            return None;
        }
        Some(BigInteger {
            bytes: bytes.to_vec(),
            coded: false,
        })
    }

    /// The two's complement bytes, the highest first.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Reads a number in decimal digits.
    ///
    /// # Errors
    ///
    /// Incompatible, if the text is none.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let number: BigInt = text
            .parse()
            .map_err(|_| Error::incompatible(format!("\"{text}\" is no whole number")))?;
        Ok(BigInteger::of(&number))
    }

    fn number(&self) -> BigInt {
        BigInt::from_signed_bytes_be(&self.bytes)
    }

    /// What Java's `hashCode` returns.
    pub fn hash_code(&self) -> i32 {
        let (sign, words) = self.number().to_u32_digits();
        let magnitude = words.iter().rev().fold(0i32, |hash, word| {
            hash.wrapping_mul(31).wrapping_add(*word as i32)
        });
        match sign {
            num_bigint::Sign::Minus => magnitude.wrapping_neg(),
            num_bigint::Sign::NoSign | num_bigint::Sign::Plus => magnitude,
        }
    }
}

impl fmt::Display for BigInteger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number().fmt(f)
    }
}

impl BigDecimal {
    /// What Java's `hashCode` returns.
    pub fn hash_code(&self) -> i32 {
        self.unscaled
            .hash_code()
            .wrapping_mul(31)
            .wrapping_add(self.scale)
    }

    /// Reads a number as [`Display`](fmt::Display) writes it; the scale follows from the digits.
    ///
    /// # Errors
    ///
    /// Incompatible, if the text is none.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = || Error::incompatible(format!("\"{text}\" is no decimal number"));
        let (digits, exponent) = match text.split_once(['e', 'E']) {
            Some((digits, exponent)) => (digits, exponent.parse::<i64>().map_err(|_| wrong())?),
            None => (text, 0),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        let scale = fraction.len() as i64 - exponent;
        let scale = i32::try_from(scale).map_err(|_| wrong())?;
        let unscaled = BigInteger::parse(&format!("{whole}{fraction}")).map_err(|_| wrong())?;
        Ok(BigDecimal { unscaled, scale })
    }
}

/// As Java's `BigDecimal.toString`: with an exponent if the plain form would have zeros that say
/// nothing.
impl fmt::Display for BigDecimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.unscaled.to_string();
        let (sign, digits) = match text.strip_prefix('-') {
            Some(digits) => ("-", digits),
            None => ("", text.as_str()),
        };
        let scale = i64::from(self.scale);
        if scale == 0 {
            return write!(f, "{sign}{digits}");
        }
        let exponent = digits.len() as i64 - 1 - scale;
        if scale > 0 && exponent >= -6 {
            let scale = scale as usize;
            return match digits.len().checked_sub(scale).filter(|whole| *whole > 0) {
                Some(whole) => write!(f, "{sign}{}.{}", &digits[..whole], &digits[whole..]),
                None => write!(f, "{sign}0.{digits:0>scale$}"),
            };
        }
        let (first, rest) = digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        write!(f, "{sign}{first}{point}{rest}")?;
        if exponent != 0 {
            write!(f, "E{exponent:+}")?;
        }
        Ok(())
    }
}
