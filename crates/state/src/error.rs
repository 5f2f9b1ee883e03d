//! Why state could not be registered, restored or written.

use millpond_types::KeyGroup;
use std::fmt;

/// An error of this crate.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What went wrong, and so what a caller can do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// A name was registered twice, or for two kinds of state: fix the job.
    Registered {
        /// The name of the state.
        state: String,
    },
    /// State of the snapshot does not fit what the job declares: fail the job before it starts.
    Incompatible {
        /// The name of the state, or "the key".
        state: String,
        /// What the job declares.
        expected: String,
        /// What the snapshot holds.
        found: String,
    },
    /// The snapshot is damaged: try an older one.
    Corrupt {
        /// What was being read: a state, a key group.
        what: String,
    },
    /// A value could not be written: decline the checkpoint.
    Serializer {
        /// The name of the state.
        state: String,
        /// What the serializer said.
        reason: String,
    },
    /// The snapshot was given up while it was being written: decline the checkpoint.
    GivenUp {
        /// Why.
        reason: String,
    },
    /// The snapshot could not be written or read: decline the checkpoint, or retry the restore.
    Storage {
        /// What was being written or read.
        what: String,
    },
    /// A backend has lost changes, or takes none any more: fail the attempt, and go on from a checkpoint.
    Broken {
        /// What was being done.
        what: String,
    },
    /// Something that Millpond does not cover.
    Unsupported {
        /// What is not covered.
        what: String,
    },
}

/// The result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn new(kind: ErrorKind) -> Self {
        Error { kind, source: None }
    }

    pub(crate) fn caused_by(
        kind: ErrorKind,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Error {
            kind,
            source: Some(source.into()),
        }
    }

    /// An error of a store; `what` it did, such as "reading column x".
    pub fn storage(
        what: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Error::caused_by(ErrorKind::Storage { what: what.into() }, source)
    }

    /// An error of a store that has lost changes, or will not take any again; `what` it did.
    pub fn broken(
        what: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Error::caused_by(ErrorKind::Broken { what: what.into() }, source)
    }

    /// Something that a backend does not cover.
    pub fn unsupported(what: impl Into<String>) -> Self {
        Error::new(ErrorKind::Unsupported { what: what.into() })
    }

    /// Bytes that are not what they should be; `what` they belong to.
    pub fn corrupt(
        what: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Error::caused_by(ErrorKind::Corrupt { what: what.into() }, source)
    }

    /// An error of the reader of a snapshot.
    pub(crate) fn restoring(source: millpond_snapshot::Error) -> Self {
        Error::reading("the snapshot", source)
    }

    /// An error in an entry of a state.
    pub(crate) fn reading_state(
        state: &str,
        group: KeyGroup,
        source: millpond_snapshot::Error,
    ) -> Self {
        Error::reading(
            format!("state \"{state}\" in key group {}", group.0),
            source,
        )
    }

    /// An error while something of a snapshot was read.
    pub(crate) fn reading(what: impl Into<String>, source: millpond_snapshot::Error) -> Self {
        let what = what.into();
        let kind = match source.kind() {
            millpond_snapshot::ErrorKind::Corrupt { .. }
            | millpond_snapshot::ErrorKind::Incompatible { .. } => ErrorKind::Corrupt { what },
            millpond_snapshot::ErrorKind::Unsupported { .. } => ErrorKind::Unsupported { what },
            millpond_snapshot::ErrorKind::Io(_) => ErrorKind::Storage {
                what: format!("reading {what}"),
            },
        };
        Error::caused_by(kind, source)
    }

    /// What went wrong.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ErrorKind::Registered { state } => {
                write!(
                    f,
                    "state \"{state}\" is registered already; use another name"
                )
            }
            ErrorKind::Incompatible {
                state,
                expected,
                found,
            } => write!(
                f,
                "state \"{state}\" does not fit the snapshot: expected {expected}, found {found}"
            ),
            ErrorKind::Corrupt { what } => write!(f, "{what} is damaged"),
            ErrorKind::Serializer { state, reason } => {
                write!(f, "state \"{state}\" could not be serialized: {reason}")
            }
            ErrorKind::GivenUp { reason } => write!(f, "the snapshot was given up: {reason}"),
            ErrorKind::Storage { what } | ErrorKind::Broken { what } => write!(f, "{what} failed"),
            ErrorKind::Unsupported { what } => write!(f, "not supported: {what}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source
            .as_ref()
            .map(|source| &**source as &(dyn std::error::Error + 'static))
    }
}
