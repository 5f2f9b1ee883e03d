//! The form of answers that are rows, and where they go.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use clap::{Arg, ArgMatches};
use millpond_state_processor::Format;

use crate::arguments::value;
use crate::state::StateFailure;

/// Where rows go, and how they are written.
pub(super) enum Answer {
    /// To standard output or a file.
    Text { format: Format, out: Box<dyn Write> },
    /// To a file in a format of its own.
    Parquet(PathBuf),
}

/// The option for the file that rows go to.
pub(super) fn output() -> Arg {
    value("output", "FILE")
        .short('o')
        .help("The file that the answer goes to; Parquet needs one")
}

impl Answer {
    /// Reads `--format` and `--output`.
    pub(super) fn of(matches: &ArgMatches) -> Result<Self, StateFailure> {
        let format = matches.get_one::<String>("format").map(String::as_str);
        let file = matches.get_one::<String>("output").map(PathBuf::from);
        let format = match format {
            None | Some("table") => Format::Table,
            Some("json") => Format::Json,
            Some("jsonl") => Format::JsonLines,
            Some("csv") => Format::Csv,
            Some("parquet") => {
                return file.map(Answer::Parquet).ok_or_else(|| {
                    let text = "--format parquet needs a file: -o FILE";
                    StateFailure::Usage(text.to_owned())
                });
            }
            Some(other) => {
                return Err(StateFailure::Usage(format!(
                    "--format is table, json, jsonl, csv or parquet, not \"{other}\""
                )));
            }
        };
        let out: Box<dyn Write> = match file {
            None => Box::new(std::io::stdout().lock()),
            Some(path) => Box::new(BufWriter::new(LateFile { path, file: None })),
        };
        Ok(Answer::Text { format, out })
    }
}

/// A file that is made when there is something to write: a query that makes no sense leaves what
/// was there before.
struct LateFile {
    path: PathBuf,
    file: Option<File>,
}

impl Write for LateFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(File::create(&self.path).map_err(|error| {
                io::Error::new(
                    error.kind(),
                    format!("\"{}\": {error}", self.path.display()),
                )
            })?),
        };
        file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), Write::flush)
    }
}

/// Says that this program lacks what was asked for, and how to get one that has it.
#[cfg(not(feature = "sql"))]
pub(super) fn without_feature(what: &str) -> StateFailure {
    StateFailure::Failed(vec![
        format!("this millpond was built without {what}"),
        "Build one that has it, in the directory of Millpond's sources, with:".to_owned(),
        "  cargo build --release --features sql".to_owned(),
    ])
}

/// Whether whoever reads the answer has seen enough (| head).
#[cfg(feature = "sql")]
pub(super) fn reader_is_gone(error: &millpond_state_sql::Error) -> bool {
    matches!(error.kind(), millpond_state_sql::ErrorKind::Output(io)
        if io.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Why a query about the snapshot in `here`, or writing a Parquet file of it, failed.
#[cfg(feature = "sql")]
pub(super) fn explain(error: millpond_state_sql::Error, here: &str) -> StateFailure {
    use millpond_state_sql::ErrorKind;

    match error.kind() {
        ErrorKind::Query { reason } => StateFailure::Usage(reason.clone()),
        ErrorKind::Snapshot(below)
            if matches!(
                below.kind(),
                millpond_state_processor::ErrorKind::Request { .. }
            ) =>
        {
            StateFailure::Usage(below.to_string())
        }
        ErrorKind::Snapshot(below) => crate::state::snapshot_argument::explain(below, here),
        ErrorKind::Failed { .. } | ErrorKind::Output(_) => {
            StateFailure::Failed(crate::failure::chain(&error))
        }
    }
}
