//! Why a snapshot cannot be restored into a job, or made.

use std::fmt;

/// An error of this crate: what is wrong, and a text for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

/// What is wrong. In every case the request is refused; trying again does not help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The snapshot has state of an operator that the job does not have; it may be dropped by
    /// option.
    NonRestoredState,
    /// The snapshot and the job have different maximum parallelisms.
    MaxParallelism,
    /// The job has a higher parallelism than the snapshot allows.
    Parallelism,
    /// Operators that had finished in the snapshot do not fit the job's graph.
    FinishedOperators,
    /// The snapshot has state of a kind that is not supported.
    Unsupported,
    /// An acknowledgement names what the job does not have.
    Inconsistent,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error {
            kind,
            message: message.into(),
        }
    }

    /// What is wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
