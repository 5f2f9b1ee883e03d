//! Why bytes could not be read, or a value could not be written.

use std::fmt;

/// An error of this crate.
///
/// One pointer wide, so that readers in inner loops stay cheap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(Box<ErrorKind>);

/// What went wrong, and so what a caller can do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The bytes are not what the format allows: they are damaged, or not of this kind.
    Corrupt {
        /// Where, in bytes from the start of what was read (of the file, if the reader knew it).
        offset: u64,
        /// What the format asks for.
        expected: String,
        /// What was there instead.
        found: String,
    },
    /// The bytes are in order but do not fit the type that they are asked for.
    Incompatible {
        /// What does not fit.
        reason: String,
    },
    /// The bytes or the value may be in order, but lie outside of what Millpond covers.
    Unsupported {
        /// What is not covered.
        what: String,
    },
}

impl Error {
    /// Bytes at `offset` that are not what the format allows.
    #[cold]
    pub fn corrupt(offset: u64, expected: impl Into<String>, found: impl Into<String>) -> Self {
        let (expected, found) = (expected.into(), found.into());
        Error(Box::new(ErrorKind::Corrupt {
            offset,
            expected,
            found,
        }))
    }

    /// Bytes of another type than the one that was asked for.
    #[cold]
    pub fn incompatible(reason: impl Into<String>) -> Self {
        Error(Box::new(ErrorKind::Incompatible {
            reason: reason.into(),
        }))
    }

    /// Something that Millpond does not cover.
    #[cold]
    pub fn unsupported(what: impl Into<String>) -> Self {
        Error(Box::new(ErrorKind::Unsupported { what: what.into() }))
    }

    /// What went wrong.
    pub fn kind(&self) -> &ErrorKind {
        &self.0
    }

    /// Takes the error apart.
    pub fn into_kind(self) -> ErrorKind {
        *self.0
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            ErrorKind::Corrupt {
                offset,
                expected,
                found,
            } => {
                write!(
                    f,
                    "damaged at offset {offset}: expected {expected}, found {found}"
                )
            }
            ErrorKind::Incompatible { reason } => write!(f, "incompatible: {reason}"),
            ErrorKind::Unsupported { what } => write!(f, "not supported: {what}"),
        }
    }
}

impl std::error::Error for Error {}
