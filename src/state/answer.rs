//! The form of answers that are rows, and where they go.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use clap::{Arg, ArgMatches};
use millpond_state_processor::Format;

use crate::arguments::value;
use crate::state::StateFailure;

/// Where rows go, and how they are written.
pub(super) struct Answer {
    pub(super) format: Format,
    pub(super) out: Box<dyn Write>,
}

/// The option for the file that rows go to.
pub(super) fn output() -> Arg {
    value("output", "FILE")
        .short('o')
        .help("The file that the answer goes to [default: standard output]")
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
            Some(other) => {
                return Err(StateFailure::Usage(format!(
                    "--format is table, json, jsonl or csv, not \"{other}\""
                )));
            }
        };
        let out: Box<dyn Write> = match file {
            None => Box::new(std::io::stdout().lock()),
            Some(path) => Box::new(BufWriter::new(LateFile { path, file: None })),
        };
        Ok(Answer { format, out })
    }
}

/// A file that is made when there is something to write: a request that makes no sense leaves what
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
