//! One file, line by line, from a position on.
//!
//! A file that starts with the two bytes of gzip (RFC 1952, 2.3.1) is decompressed, whatever its
//! name; all its members are read. The position of a plain file is a number of bytes, so reading
//! goes on at once; that of a gzip file a number of lines, so the lines before it are read again
//! and dropped. Lines end with `\n` or `\r\n`.
//!
//! Files should only grow. One that is shorter than its position, or in which no line ends at the
//! position, was truncated or replaced: an error, as there is no way to go on exactly.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use millpond_operator::{FunctionError, Result};

use super::file_error;
use super::split::Position;

/// The longest line, in bytes; a longer one is an error, so that memory stays bounded.
const MAX_LINE_BYTES: usize = 64 << 20;

/// How many lines are skipped in one step.
const SKIP_LINES: u64 = 10_000;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// What a step of reading found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A line, without its end.
    Line(String),
    /// Lines before the position were skipped; there may be more.
    Skipped,
    /// The file ends here for now; only while it is followed.
    Wait,
    /// There will be no more lines.
    End,
}

/// Reads the lines of one file.
pub(crate) struct LineReader {
    path: PathBuf,
    follow: bool,
    content: Content,
    /// Bytes of the (decompressed) content up to the end of the last line.
    bytes: u64,
    /// Lines of the content up to there; of a plain file those since it was opened.
    lines: u64,
    /// Lines still to be skipped.
    skip: u64,
    /// The line being read.
    line: Vec<u8>,
}

enum Content {
    /// Too short to tell; only while the file is followed.
    Unknown(File),
    Plain(BufReader<File>),
    Gzip(Box<BufReader<MultiGzDecoder<BufReader<File>>>>),
}

impl LineReader {
    /// Opens a file at a position. With `follow` a plain file has no end, and no line is read
    /// before its line end is there.
    pub(crate) fn open(path: &str, position: Position, follow: bool) -> Result<Self> {
        let path = PathBuf::from(path);
        let file = File::open(&path).map_err(|error| file_error("open", &path, error))?;
        let mut reader = LineReader {
            path,
            follow,
            content: Content::Unknown(file),
            bytes: 0,
            lines: 0,
            skip: 0,
            line: Vec::new(),
        };
        reader.identify(position)?;
        Ok(reader)
    }

    /// The position behind the last line.
    pub(crate) fn position(&self) -> Position {
        match self.content {
            Content::Unknown(_) => Position::Start,
            Content::Plain(_) => Position::Bytes(self.bytes),
            Content::Gzip(_) => Position::Lines(self.lines),
        }
    }

    /// Reads on.
    pub(crate) fn step(&mut self) -> Result<Step> {
        if let Content::Unknown(_) = self.content {
            self.identify(Position::Start)?;
        }
        match self.content {
            Content::Unknown(_) => Ok(Step::Wait),
            Content::Gzip(_) if self.skip > 0 => self.skip_lines(),
            Content::Plain(_) | Content::Gzip(_) => self.read_line(),
        }
    }

    /// Finds out whether the content is compressed, if it is long enough to tell, and goes to the
    /// position.
    fn identify(&mut self, position: Position) -> Result<()> {
        let Content::Unknown(file) = &self.content else {
            return Ok(());
        };
        let failed = |error| file_error("read", &self.path, error);
        let mut magic = [0; 2];
        let length = read_up_to(file, &mut magic).map_err(failed)?;
        let gzip = magic == GZIP_MAGIC;
        let undecided = length == 0 || (length == 1 && magic[0] == GZIP_MAGIC[0]);
        if self.follow && undecided && position == Position::Start {
            return Ok(());
        }
        let file = file.try_clone().map_err(failed)?;
        match (position, gzip) {
            (Position::Start, false) => self.content = Content::Plain(BufReader::new(file)),
            (Position::Start | Position::Lines(_), true) => {
                self.content = Content::Gzip(Box::new(BufReader::new(MultiGzDecoder::new(
                    BufReader::new(file),
                ))));
                if let Position::Lines(lines) = position {
                    self.skip = lines;
                }
            }
            (Position::Bytes(bytes), false) => self.go_to(file, bytes)?,
            (Position::Bytes(_), true) => {
                return Err(self.replaced("it was a plain file and is a gzip file now"));
            }
            (Position::Lines(_), false) => {
                return Err(self.replaced("it was a gzip file and is none now"));
            }
        }
        Ok(())
    }

    fn go_to(&mut self, file: File, bytes: u64) -> Result<()> {
        let failed = |error| file_error("read", &self.path, error);
        let length = file.metadata().map_err(failed)?.len();
        if length < bytes {
            return Err(self.too_short(length, bytes));
        }
        let mut before = [0];
        if bytes > 0 && bytes < length {
            file.read_exact_at(&mut before, bytes - 1).map_err(failed)?;
            if before != *b"\n" {
                return Err(self.replaced(&format!(
                    "the last line that was read ended at byte {bytes}, where no line ends now"
                )));
            }
        }
        let mut reader = BufReader::new(file);
        reader.seek(SeekFrom::Start(bytes)).map_err(failed)?;
        self.content = Content::Plain(reader);
        self.bytes = bytes;
        Ok(())
    }

    fn skip_lines(&mut self) -> Result<Step> {
        for _ in 0..self.skip.min(SKIP_LINES) {
            if !self.fill_line()? && self.line.is_empty() {
                let (found, expected) = (self.lines, self.lines + self.skip);
                return Err(self.replaced(&format!(
                    "it has {found} lines, and {expected} lines of it have been read before"
                )));
            }
            self.skip -= 1;
            self.end_line();
        }
        Ok(Step::Skipped)
    }

    fn read_line(&mut self) -> Result<Step> {
        if self.fill_line()? {
            return self.take_line();
        }
        match self.content {
            Content::Plain(_) if self.follow => {
                self.check_same_file()?;
                Ok(Step::Wait)
            }
            Content::Unknown(_) | Content::Plain(_) | Content::Gzip(_) => {
                self.check_not_cut()?;
                if self.line.is_empty() {
                    Ok(Step::End)
                } else {
                    self.take_line()
                }
            }
        }
    }

    /// Reads up to the end of the line at hand; returns whether it is there.
    fn fill_line(&mut self) -> Result<bool> {
        let room = (MAX_LINE_BYTES - self.line.len()) as u64;
        let read = match &mut self.content {
            Content::Unknown(_) => Ok(0),
            Content::Plain(reader) => reader.take(room).read_until(b'\n', &mut self.line),
            Content::Gzip(reader) => reader.take(room).read_until(b'\n', &mut self.line),
        };
        if let Err(error) = read {
            let place = self.bytes + self.line.len() as u64;
            let what = match self.content {
                Content::Unknown(_) | Content::Plain(_) => format!("read behind byte {place} of"),
                Content::Gzip(_) => format!("decompress behind byte {place} of the content of"),
            };
            return Err(file_error(&what, &self.path, error));
        }
        if self.line.last() == Some(&b'\n') {
            return Ok(true);
        }
        if self.line.len() == MAX_LINE_BYTES {
            let text = format!(
                "the line at {} is longer than {MAX_LINE_BYTES} bytes",
                self.place(0)
            );
            return Err(FunctionError::new(text));
        }
        Ok(false)
    }

    fn take_line(&mut self) -> Result<Step> {
        let mut text: &[u8] = &self.line;
        text = text.strip_suffix(b"\n").unwrap_or(text);
        text = text.strip_suffix(b"\r").unwrap_or(text);
        let line = match std::str::from_utf8(text) {
            Ok(line) => line.to_owned(),
            Err(error) => {
                let place = self.place(error.valid_up_to() as u64);
                return Err(FunctionError::new(format!("invalid UTF-8 at {place}")));
            }
        };
        self.end_line();
        Ok(Step::Line(line))
    }

    fn end_line(&mut self) {
        self.bytes += self.line.len() as u64;
        self.lines += 1;
        self.line.clear();
    }

    /// Where byte `offset` of the line at hand lies.
    fn place(&self, offset: u64) -> String {
        let (path, byte) = (self.path.display(), self.bytes + offset);
        match self.content {
            Content::Unknown(_) | Content::Plain(_) => format!("byte {byte} of \"{path}\""),
            Content::Gzip(_) => {
                let line = self.lines + 1;
                format!("byte {byte} of the decompressed content of \"{path}\" (line {line})")
            }
        }
    }

    /// Checks at the end of a followed file that it is still the one that was opened.
    fn check_same_file(&self) -> Result<()> {
        let Content::Plain(reader) = &self.content else {
            return Ok(());
        };
        let failed = |error| file_error("follow", &self.path, error);
        let opened = reader.get_ref().metadata().map_err(failed)?;
        let named = fs::metadata(&self.path).map_err(failed)?;
        if (opened.dev(), opened.ino()) != (named.dev(), named.ino()) {
            return Err(self.replaced("another file has this name now"));
        }
        let read = self.bytes + self.line.len() as u64;
        if named.len() < read {
            return Err(self.too_short(named.len(), read));
        }
        Ok(())
    }

    /// Checks at the end of a plain file that it did not shrink while it was read.
    fn check_not_cut(&self) -> Result<()> {
        let Content::Plain(reader) = &self.content else {
            return Ok(());
        };
        let read = self.bytes + self.line.len() as u64;
        let opened = reader.get_ref().metadata();
        let length = opened
            .map_err(|error| file_error("read", &self.path, error))?
            .len();
        if length < read {
            Err(self.too_short(length, read))
        } else {
            Ok(())
        }
    }

    fn too_short(&self, length: u64, read: u64) -> FunctionError {
        self.replaced(&format!(
            "it has {length} bytes, and {read} bytes of it have been read before"
        ))
    }

    fn replaced(&self, how: &str) -> FunctionError {
        let path: &Path = &self.path;
        FunctionError::new(format!(
            "file \"{}\" was truncated or replaced: {how}",
            path.display()
        ))
    }
}

/// Reads the start of a file, or less if it is shorter; leaves the file's own place alone.
fn read_up_to(file: &File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests;
