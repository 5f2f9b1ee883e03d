//! Why a snapshot could not be looked at.

use std::{fmt, io};

/// An error of this crate.
#[derive(Debug)]
pub struct Error(Box<ErrorKind>);

/// What went wrong, and so what a caller can do about it.
#[derive(Debug)]
pub enum ErrorKind {
    /// The snapshot: damaged, not covered, or not to be read.
    Snapshot(millpond_snapshot::Error),
    /// What was asked for is not in the snapshot, or makes no sense.
    Request {
        /// What is wrong with it, and what may be asked for instead.
        reason: String,
    },
    /// The place that the answer goes to.
    Output(io::Error),
}

impl Error {
    /// A request that this snapshot has no answer to.
    #[cold]
    pub fn request(reason: impl Into<String>) -> Self {
        Error(Box::new(ErrorKind::Request {
            reason: reason.into(),
        }))
    }

    /// What went wrong.
    pub fn kind(&self) -> &ErrorKind {
        &self.0
    }

    /// Whether the snapshot is known to be damaged.
    pub fn is_damage(&self) -> bool {
        use millpond_snapshot::ErrorKind as Below;
        match self.kind() {
            ErrorKind::Snapshot(error) => match error.kind() {
                Below::Corrupt { .. } => true,
                Below::Io(io) => io.kind() == millpond_fs::ErrorKind::NotFound,
                Below::Incompatible { .. } | Below::Unsupported { .. } => false,
            },
            ErrorKind::Request { .. } | ErrorKind::Output(_) => false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind() {
            ErrorKind::Snapshot(error) => error.fmt(f),
            ErrorKind::Request { reason } => f.write_str(reason),
            ErrorKind::Output(error) => write!(f, "cannot write the answer: {error}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self.kind() {
            ErrorKind::Snapshot(error) => error.source(),
            ErrorKind::Request { .. } => None,
            ErrorKind::Output(error) => Some(error),
        }
    }
}

impl From<millpond_snapshot::Error> for Error {
    fn from(error: millpond_snapshot::Error) -> Self {
        Error(Box::new(ErrorKind::Snapshot(error)))
    }
}

impl From<millpond_serializer::Error> for Error {
    fn from(error: millpond_serializer::Error) -> Self {
        millpond_snapshot::Error::from(error).into()
    }
}

impl From<millpond_fs::Error> for Error {
    fn from(error: millpond_fs::Error) -> Self {
        millpond_snapshot::Error::from(error).into()
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Error(Box::new(ErrorKind::Output(error)))
    }
}
