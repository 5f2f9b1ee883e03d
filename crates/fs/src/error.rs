//! Why bytes could not be read or written.

use std::{fmt, io};

/// An error of a file system: what was tried, on which path, and why it failed.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    action: &'static str,
    path: String,
    source: Option<io::Error>,
}

/// What a caller can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The file or directory is not there.
    NotFound,
    /// The file is there already and would not be overwritten.
    AlreadyExists,
    /// The disk or the quota is full.
    NoSpace,
    /// This process may not.
    Permission,
    /// Trying again may help.
    Transient,
    /// The text is no location, or one that no file system here serves.
    Location,
    /// Something else; trying again is not known to help.
    Other,
}

impl Error {
    /// Wraps an error of the operating system: `action` is a verb ("read", "write").
    pub fn io(action: &'static str, path: impl fmt::Display, source: io::Error) -> Self {
        let path = path.to_string();
        Error {
            kind: kind_of(&source),
            action,
            path,
            source: Some(source),
        }
    }

    /// An error without a cause below it.
    pub(crate) fn plain(kind: ErrorKind, action: &'static str, path: impl fmt::Display) -> Self {
        Error {
            kind,
            action,
            path: path.to_string(),
            source: None,
        }
    }

    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The path that was meant.
    pub fn path(&self) -> &str {
        &self.path
    }
}

/// The kind of an error of the operating system.
fn kind_of(error: &io::Error) -> ErrorKind {
    // The kinds of std are open-ended; what is not listed is not known to pass by itself.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "io::ErrorKind is non-exhaustive"
    )]
    match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::AlreadyExists => ErrorKind::AlreadyExists,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            ErrorKind::Permission
        }
        io::ErrorKind::Interrupted
        | io::ErrorKind::TimedOut
        | io::ErrorKind::WouldBlock
        | io::ErrorKind::ResourceBusy
        | io::ErrorKind::StaleNetworkFileHandle
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::NetworkDown
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::HostUnreachable => ErrorKind::Transient,
        _ => ErrorKind::Other,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} \"{}\"", self.action, self.path)?;
        match (self.kind, &self.source) {
            (_, Some(source)) => write!(f, ": {source}"),
            (ErrorKind::NotFound, None) => f.write_str(": not found"),
            (ErrorKind::AlreadyExists, None) => f.write_str(": it exists already"),
            (ErrorKind::Location, None) => {
                f.write_str(": expected a path, or a URI such as file:///data/savepoints")
            }
            (
                ErrorKind::NoSpace
                | ErrorKind::Permission
                | ErrorKind::Transient
                | ErrorKind::Other,
                None,
            ) => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}
