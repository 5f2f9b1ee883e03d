//! Files of this machine: lines as a source, and a sink that publishes whole files.
//!
//! | file | what |
//! | --- | --- |
//! | `source`, `split` | which files are read, and up to where |
//! | `lines` | one file, plain or gzip, line by line |
//! | `reader` | the thread that reads, and how its lines reach the task |
//! | `sink`, `part`, `committer` | files that become visible by a rename when their checkpoint is complete |

mod committer;
mod lines;
mod part;
mod reader;
mod sink;
mod source;
mod split;

pub use reader::FileReader;
pub use sink::{EncodeOutcome, FileSink, FileWriter};
pub use source::{FileEnumerator, FileSource};
pub use split::FileSplit;

use std::path::{Path, PathBuf};

use millpond_fs::Location;
use millpond_operator::{FunctionError, Result};

/// The absolute path behind a path or `file:` URI.
fn local_path(path: &Path) -> Result<PathBuf> {
    let location = path.to_str().map(Location::parse).transpose()?;
    location
        .and_then(|location| location.to_local_path())
        .ok_or_else(|| {
            FunctionError::new(format!(
                "\"{}\" is no file or directory of this machine",
                path.display()
            ))
        })
}

/// The text of a path that [`local_path`] made.
fn path_text(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| {
        FunctionError::new(format!(
            "the path \"{}\" is not UTF-8, so it cannot be kept in a snapshot; rename it",
            path.display()
        ))
    })
}

/// An error about a file or directory, with its cause.
fn file_error(what: &str, path: &Path, cause: impl std::fmt::Display) -> FunctionError {
    FunctionError::new(format!("cannot {what} \"{}\": {cause}", path.display()))
}
