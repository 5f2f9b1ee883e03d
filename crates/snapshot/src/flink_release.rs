//! Releases of Flink, and the versions of the format that each of them reads.
//!
//! | release | newest metadata | newest operator state |
//! | --- | --- | --- |
//! | 1.11 to 1.15 | 3 | 5 |
//! | 1.16, 1.17 | 4 | 5 |
//! | 1.18 to 1.20 | 4 | 6 |
//! | 2.0 | 5 | 6 |
//! | 2.1 to 2.3 | 6 | 6 |
//!
//! Source: the constants in the classes `MetadataV3Serializer` to `MetadataV6Serializer` and
//! `OperatorBackendSerializationProxy` of these releases.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// A release of Flink: major and minor number.
///
/// # Examples
///
/// ```
/// use millpond_snapshot::FlinkRelease;
/// let release: FlinkRelease = "1.20.5".parse()?;
/// assert_eq!(release.metadata_version(), 4);
/// assert_eq!(release.to_string(), "1.20");
/// assert!("0.9".parse::<FlinkRelease>().is_err());
/// # Ok::<(), millpond_snapshot::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlinkRelease {
    major: u16,
    minor: u16,
}

impl FlinkRelease {
    /// The newest version of `_metadata` that it reads, which is also the one that it writes.
    pub fn metadata_version(self) -> i32 {
        match (self.major, self.minor) {
            (1, ..16) => 3,
            (1, _) => 4,
            (2, 0) => 5,
            (_, _) => 6,
        }
    }

    /// The newest version of operator state that it reads, which is also the one that it writes.
    pub fn operator_state_version(self) -> i32 {
        match (self.major, self.minor) {
            (1, ..18) => 5,
            (_, _) => 6,
        }
    }
}

impl FromStr for FlinkRelease {
    type Err = Error;

    /// Reads "1.20" or "1.20.5".
    ///
    /// # Errors
    ///
    /// Unsupported, unless the text is a release of 1.11 to 1.20 or 2.0 to 2.3.
    fn from_str(text: &str) -> Result<Self, Error> {
        let mut numbers = text.split('.').map(str::parse::<u16>);
        let release = match (
            numbers.next(),
            numbers.next(),
            numbers.next(),
            numbers.next(),
        ) {
            (Some(Ok(major)), Some(Ok(minor)), None | Some(Ok(_)), None) => Some((major, minor)),
            _ => None,
        };
        match release {
            Some((major @ 1, minor @ 11..=20) | (major @ 2, minor @ 0..=3)) => {
                Ok(FlinkRelease { major, minor })
            }
            Some(_) | None => Err(Error::unsupported(format!(
                "Flink \"{text}\": releases 1.11 to 1.20 and 2.0 to 2.3 are known"
            ))),
        }
    }
}

impl fmt::Display for FlinkRelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_release_gets_the_newest_versions_that_it_reads() {
        for (text, metadata, operator_state) in [
            ("1.15", 3, 5),
            ("1.15.4", 3, 5),
            ("1.17.2", 4, 5),
            ("1.20.5", 4, 6),
            ("2.0", 5, 6),
            ("2.3", 6, 6),
        ] {
            let release: FlinkRelease = text.parse().expect("known");
            assert_eq!(release.metadata_version(), metadata, "{text}");
            assert_eq!(release.operator_state_version(), operator_state, "{text}");
        }
        for text in [
            "", "2", "1.10", "1.21", "2.4", "3.0", "1.15.4.1", "1.x", "v2.3",
        ] {
            assert!(text.parse::<FlinkRelease>().is_err(), "{text}");
        }
    }
}
