//! A sink that prints its records, a line each, to standard output.
//!
//! Each line is written in one piece. After a failure records since the last checkpoint are printed
//! again: at least once.

use std::fmt::{Debug, Display};
use std::io::{self, Write};

use millpond_operator::sink::{Sink, SinkWriter, WriterContext};
use millpond_operator::{Data, Result};

/// Prints records. Lines start with the subtask (`2> `, counted from 1) if there are several.
pub struct PrintSink<T> {
    identifier: Option<String>,
    format: Format<T>,
}

/// Appends a record's text.
type Format<T> = fn(&T, &mut Vec<u8>) -> io::Result<()>;

impl<T: Display> PrintSink<T> {
    /// Prints records as users read them.
    pub fn new() -> Self {
        PrintSink {
            identifier: None,
            format: |record, line| write!(line, "{record}"),
        }
    }
}

impl<T: Display> Default for PrintSink<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Debug> PrintSink<T> {
    /// Prints records as programmers read them.
    pub fn debug() -> Self {
        PrintSink {
            identifier: None,
            format: |record, line| write!(line, "{record:?}"),
        }
    }
}

impl<T> PrintSink<T> {
    /// Starts every line with `identifier`: `identifier:2> `, or `identifier> ` if there is one
    /// subtask only.
    #[must_use]
    pub fn with_identifier(self, identifier: impl Into<String>) -> Self {
        PrintSink {
            identifier: Some(identifier.into()),
            ..self
        }
    }
}

/// What stands before each record; as in Flink 2.3.0, class `PrintSinkOutputWriter`.
fn prefix(identifier: Option<&str>, subtask: u32, parallelism: u32) -> String {
    let subtask = (parallelism > 1).then(|| (subtask + 1).to_string());
    match (identifier, subtask) {
        (None, None) => String::new(),
        (None, Some(subtask)) => format!("{subtask}> "),
        (Some(identifier), None) => format!("{identifier}> "),
        (Some(identifier), Some(subtask)) => format!("{identifier}:{subtask}> "),
    }
}

impl<T: Data> Sink for PrintSink<T> {
    type Record = T;
    type Writer = PrintWriter<T>;

    fn create_writer(&self, context: WriterContext) -> Result<PrintWriter<T>> {
        let info = &context.info;
        let line = prefix(self.identifier.as_deref(), info.subtask, info.parallelism).into_bytes();
        Ok(PrintWriter {
            prefix_bytes: line.len(),
            line,
            format: self.format,
        })
    }
}

/// Prints the records of one subtask.
pub struct PrintWriter<T> {
    /// The prefix, then the line at hand.
    line: Vec<u8>,
    prefix_bytes: usize,
    format: Format<T>,
}

impl<T> PrintWriter<T> {
    fn print(&mut self, record: &T, out: &mut impl Write) -> Result<()> {
        self.line.truncate(self.prefix_bytes);
        (self.format)(record, &mut self.line)?;
        self.line.push(b'\n');
        Ok(out.write_all(&self.line)?)
    }
}

impl<T: Data> SinkWriter<T> for PrintWriter<T> {
    fn write(&mut self, record: T, _timestamp: Option<i64>) -> Result<()> {
        self.print(&record, &mut io::stdout().lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_start_with_the_subtask_only_if_there_are_several() {
        assert_eq!(prefix(None, 0, 1), "");
        assert_eq!(prefix(None, 0, 2), "1> ");
        assert_eq!(prefix(Some("late"), 0, 1), "late> ");
        assert_eq!(prefix(Some("late"), 3, 4), "late:4> ");
    }

    #[test]
    fn every_record_is_one_line_behind_its_prefix() {
        let sink: PrintSink<String> = PrintSink::debug();
        let mut writer = PrintWriter {
            line: b"2> ".to_vec(),
            prefix_bytes: 3,
            format: sink.format,
        };
        let mut out = Vec::new();
        for record in ["long one", "b"] {
            writer
                .print(&record.to_owned(), &mut out)
                .expect("a vector takes all");
        }
        assert_eq!(out, b"2> \"long one\"\n2> \"b\"\n");
    }
}
