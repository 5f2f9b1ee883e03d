//! Sizes in memory or on disk as a user writes them: `20 kb`, `64mb`; a number alone is bytes.
//!
//! Units are powers of 1024. Source: Flink 2.3.0, class `MemorySize`.

use std::fmt;

use super::ConfigValue;

const UNITS: [(&[&str], u64); 5] = [
    (&["t", "tb", "tebibytes"], 1 << 40),
    (&["g", "gb", "gibibytes"], 1 << 30),
    (&["m", "mb", "mebibytes"], 1 << 20),
    (&["k", "kb", "kibibytes"], 1 << 10),
    (&["b", "bytes"], 1),
];

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemorySize(u64);

impl MemorySize {
    /// Returns a size of `bytes`.
    pub const fn of_bytes(bytes: u64) -> Self {
        MemorySize(bytes)
    }

    /// Its bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl fmt::Display for MemorySize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (labels, unit) = UNITS
            .iter()
            .find(|(_, unit)| self.0 > 0 && self.0.is_multiple_of(*unit))
            .unwrap_or(&UNITS[UNITS.len() - 1]);
        // `kb` and not `k`, but `bytes` and not `b`, as in Flink.
        write!(f, "{} {}", self.0 / unit, labels[1])
    }
}

impl ConfigValue for MemorySize {
    fn parse(text: &str) -> Result<Self, String> {
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Err("argument is an empty- or whitespace-only string".to_owned());
        }
        let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return Err("text does not start with a number".to_owned());
        }
        let (number, label) = trimmed.split_at(digits);
        let label = label.trim().to_lowercase();
        let unit = match UNITS
            .iter()
            .find(|(labels, _)| labels.contains(&label.as_str()))
        {
            Some((_, unit)) => *unit,
            None if label.is_empty() => 1,
            None => {
                let units: Vec<String> = UNITS
                    .iter()
                    .rev()
                    .map(|(labels, _)| format!("({})", labels.join(" | ")))
                    .collect();
                return Err(format!(
                    "Memory size unit '{label}' does not match any of the recognized units: {}",
                    units.join(" / ")
                ));
            }
        };
        // Flink's sizes are signed longs.
        number
            .parse::<u64>()
            .ok()
            .and_then(|value| value.checked_mul(unit))
            .filter(|bytes| *bytes <= i64::MAX as u64)
            .map(MemorySize)
            .ok_or_else(|| {
                format!("The value '{text}' cannot be represented as 64bit number of bytes (numeric overflow).")
            })
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, bytes) in [
            ("20 kb", 20 << 10),
            ("64 mb", 64 << 20),
            ("1g", 1 << 30),
            ("17", 17),
            ("5 bytes", 5),
        ] {
            assert_eq!(MemorySize::parse(text), Ok(MemorySize(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "empty"),
            ("kb", "start with a number"),
            ("1 parsec", "recognized units: (b | bytes)"),
            ("9999999 tb", "overflow"),
        ] {
            let error = MemorySize::parse(text).expect_err(text);
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn a_size_is_read_back_from_its_text() {
        for bytes in [0, 1, 1023, 1024, 4096, 20 << 10, (1 << 30) + 1] {
            let size = MemorySize(bytes);
            assert_eq!(MemorySize::parse(&size.to_text()), Ok(size));
        }
        assert_eq!(MemorySize(20 << 10).to_string(), "20 kb");
    }
}
