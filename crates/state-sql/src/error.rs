//! Why a query has no answer.

use std::sync::Arc;
use std::{fmt, io};

use datafusion::arrow::error::ArrowError;
use datafusion::error::DataFusionError;

/// An error of this crate.
#[derive(Debug)]
pub struct Error(Box<ErrorKind>);

/// What went wrong, and so what a caller can do about it.
#[derive(Debug)]
pub enum ErrorKind {
    /// The query makes no sense on this snapshot: syntax, names, types.
    Query {
        /// What is wrong with it.
        reason: String,
    },
    /// The query was begun and failed: a division by zero, a cast, not enough memory.
    Failed {
        /// Why.
        reason: String,
    },
    /// The snapshot could not be read.
    Snapshot(Arc<millpond_state_processor::Error>),
    /// The place that the answer goes to.
    Output(io::Error),
}

impl Error {
    #[cold]
    pub(crate) fn query(reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Error(Box::new(ErrorKind::Query { reason }))
    }

    #[cold]
    pub(crate) fn failed(reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Error(Box::new(ErrorKind::Failed { reason }))
    }

    /// What went wrong.
    pub fn kind(&self) -> &ErrorKind {
        &self.0
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind() {
            ErrorKind::Query { reason } | ErrorKind::Failed { reason } => f.write_str(reason),
            ErrorKind::Snapshot(error) => error.fmt(f),
            ErrorKind::Output(error) => write!(f, "cannot write the answer: {error}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self.kind() {
            ErrorKind::Snapshot(error) => error.source(),
            ErrorKind::Output(error) => Some(error),
            ErrorKind::Query { .. } | ErrorKind::Failed { .. } => None,
        }
    }
}

impl From<millpond_state_processor::Error> for Error {
    fn from(error: millpond_state_processor::Error) -> Self {
        Error(Box::new(ErrorKind::Snapshot(Arc::new(error))))
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Error(Box::new(ErrorKind::Output(error)))
    }
}

impl From<ArrowError> for Error {
    fn from(error: ArrowError) -> Self {
        DataFusionError::from(error).into()
    }
}

impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        DataFusionError::External(Box::new(error))
    }
}

impl From<DataFusionError> for Error {
    /// Finds our own error if there is one below; else says what DataFusion says of the cause.
    fn from(error: DataFusionError) -> Self {
        let below = std::iter::successors(
            Some(&error as &(dyn std::error::Error + 'static)),
            |error| error.source(),
        );
        for cause in below {
            if let Some(ours) = cause.downcast_ref::<Error>() {
                return ours.again();
            }
        }
        let root = error.find_root();
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "a query that makes sense and fails, for whatever reason"
        )]
        match root {
            DataFusionError::SQL(error, _) => Error::query(error.to_string()),
            DataFusionError::Plan(_)
            | DataFusionError::SchemaError(..)
            | DataFusionError::NotImplemented(_) => Error::query(root.message()),
            DataFusionError::ResourcesExhausted(_) => Error::failed(format!(
                "the query needs more memory than it may hold (--memory SIZE): {}",
                root.message()
            )),
            _ => Error::failed(root.message()),
        }
    }
}

impl Error {
    /// The same error once more, from behind a reference.
    fn again(&self) -> Self {
        match self.kind() {
            ErrorKind::Query { reason } => Error::query(reason),
            ErrorKind::Failed { reason } => Error::failed(reason),
            ErrorKind::Snapshot(error) => Error(Box::new(ErrorKind::Snapshot(error.clone()))),
            ErrorKind::Output(error) => io::Error::new(error.kind(), error.to_string()).into(),
        }
    }
}
