//! Why a snapshot could not be read or written.

use std::{fmt, io};

/// An error of this crate. One pointer wide, so that readers in inner loops stay cheap.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    file: Option<String>,
}

/// What went wrong, and so what a caller can do about it.
#[derive(Debug)]
pub enum ErrorKind {
    /// The bytes are not what the format or the checksums allow; this snapshot is lost.
    Corrupt {
        /// Where, in bytes from the start of the file.
        offset: u64,
        /// What belongs there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The snapshot is in order but does not fit what it is asked for.
    Incompatible {
        /// What does not fit.
        reason: String,
    },
    /// The snapshot may be in order, but has parts that Millpond does not cover.
    Unsupported {
        /// What is not covered.
        what: String,
    },
    /// The file system refused; its kind says whether trying again may help.
    Io(millpond_fs::Error),
}

impl Error {
    /// Wraps a kind, without a file yet.
    pub fn new(kind: ErrorKind) -> Self {
        Error(Box::new(Inner { kind, file: None }))
    }

    /// Bytes at `offset` that are not what belongs there.
    #[cold]
    pub fn corrupt(offset: u64, expected: impl Into<String>, found: impl Into<String>) -> Self {
        let (expected, found) = (expected.into(), found.into());
        Self::new(ErrorKind::Corrupt {
            offset,
            expected,
            found,
        })
    }

    /// A snapshot that does not fit.
    #[cold]
    pub fn incompatible(reason: impl Into<String>) -> Self {
        Self::new(ErrorKind::Incompatible {
            reason: reason.into(),
        })
    }

    /// A part that Millpond does not cover.
    #[cold]
    pub fn unsupported(what: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported { what: what.into() })
    }

    /// An error of a writer that snapshot bytes went to, or of where they came from.
    #[cold]
    pub fn write(error: io::Error) -> Self {
        Self::new(ErrorKind::Io(millpond_fs::Error::io(
            "write",
            "snapshot data",
            error,
        )))
    }

    /// Names the file, unless a lower layer has done so already.
    #[must_use]
    pub fn in_file(mut self, file: impl fmt::Display) -> Self {
        self.0.file.get_or_insert_with(|| file.to_string());
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// The file that the error is about, if it is known.
    pub fn file(&self) -> Option<&str> {
        match &self.0.kind {
            ErrorKind::Io(error) => Some(error.path()),
            ErrorKind::Corrupt { .. }
            | ErrorKind::Incompatible { .. }
            | ErrorKind::Unsupported { .. } => self.0.file.as_deref(),
        }
    }

    /// Whether trying again may help: the snapshot itself is not known to be damaged.
    pub fn is_transient(&self) -> bool {
        matches!(&self.0.kind, ErrorKind::Io(error) if error.kind() == millpond_fs::ErrorKind::Transient)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = match &self.0.file {
            Some(file) => format!("\"{file}\""),
            None => "the snapshot".to_owned(),
        };
        match &self.0.kind {
            ErrorKind::Corrupt {
                offset,
                expected,
                found,
            } => {
                write!(
                    f,
                    "{file} is damaged at offset {offset}: expected {expected}, found {found}"
                )
            }
            ErrorKind::Incompatible { reason } => write!(f, "{file} does not fit: {reason}"),
            ErrorKind::Unsupported { what } => {
                write!(f, "{file} has what is not supported: {what}")
            }
            ErrorKind::Io(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0.kind {
            ErrorKind::Io(error) => error.source(),
            ErrorKind::Corrupt { .. }
            | ErrorKind::Incompatible { .. }
            | ErrorKind::Unsupported { .. } => None,
        }
    }
}

impl From<millpond_serializer::Error> for Error {
    #[cold]
    fn from(error: millpond_serializer::Error) -> Self {
        use millpond_serializer::ErrorKind as Below;
        Self::new(match error.into_kind() {
            Below::Corrupt {
                offset,
                expected,
                found,
            } => ErrorKind::Corrupt {
                offset,
                expected,
                found,
            },
            Below::Incompatible { reason } => ErrorKind::Incompatible { reason },
            Below::Unsupported { what } => ErrorKind::Unsupported { what },
        })
    }
}

impl From<millpond_fs::Error> for Error {
    fn from(error: millpond_fs::Error) -> Self {
        Self::new(ErrorKind::Io(error))
    }
}
