//! A source of the lines of files.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use millpond_operator::source::{Boundedness, ReaderContext, Source, SplitEnumerator};
use millpond_operator::{FunctionError, Result};
use millpond_serializer::{ByteReader, ByteWriter};

use super::reader::FileReader;
use super::split::FileSplit;
use super::{file_error, local_path, path_text};

/// Reads files line by line; each file is a split.
///
/// Files may be plain or gzip (found out by their content), lines are UTF-8 and end with `\n` or
/// `\r\n`; the last one needs no end. The files are found once, when the job first starts, and a job
/// that is restored reads the same files, each from where it stood: the byte in a plain file, the
/// line in a gzip file (which is decompressed again up to there). A file that meanwhile was truncated
/// or replaced, or is not UTF-8, fails the job with its name and the place.
///
/// # Examples
///
/// ```
/// use millpond_connectors::FileSource;
///
/// let flights = FileSource::lines(["flights.csv.gz"]);
/// let logs = FileSource::lines(["/var/log/app"]).follow();
/// # let _ = (flights, logs);
/// ```
#[derive(Clone, Debug)]
pub struct FileSource {
    paths: Vec<PathBuf>,
    follow: bool,
    records_per_s: Option<u64>,
}

impl FileSource {
    /// The lines of files, given as paths or `file:` URIs.
    ///
    /// Of a directory all files in it and below are read, except those whose names start with `.`
    /// or `_`. A subtask reads its files one after the other, ordered by path.
    pub fn lines<P: Into<PathBuf>>(paths: impl IntoIterator<Item = P>) -> Self {
        let paths = paths.into_iter().map(Into::into).collect();
        FileSource {
            paths,
            follow: false,
            records_per_s: None,
        }
    }

    /// Goes on waiting for lines that are appended to plain files.
    ///
    /// The source never ends, a line is emitted only once its line end is there, and the files are
    /// read in turn. Gzip files are read to their end once. Files that appear later are not read.
    #[must_use]
    pub fn follow(self) -> Self {
        FileSource {
            follow: true,
            ..self
        }
    }

    /// Limits the source, all subtasks together, to this many lines per second, evenly spread.
    ///
    /// Every file has an equal share: with several subtasks the rate falls when one has read all
    /// its files.
    ///
    /// # Panics
    ///
    /// If `records_per_s` is 0.
    #[must_use]
    pub fn rate_limit(self, records_per_s: u64) -> Self {
        assert!(
            records_per_s > 0,
            "a rate limit of 0 records per second would emit nothing"
        );
        FileSource {
            records_per_s: Some(records_per_s),
            ..self
        }
    }
}

impl Source for FileSource {
    type Record = String;
    type Split = FileSplit;
    type Enumerator = FileEnumerator;
    type Reader = FileReader;

    fn boundedness(&self) -> Boundedness {
        if self.follow {
            Boundedness::ContinuousUnbounded
        } else {
            Boundedness::Bounded
        }
    }

    fn create_enumerator(&self, restored: Option<(i32, &[u8])>) -> Result<FileEnumerator> {
        let found = match restored {
            Some((version, state)) => Some(read_paths(version, state)?),
            None => None,
        };
        Ok(FileEnumerator {
            paths: self.paths.clone(),
            found,
        })
    }

    fn create_reader(&self, context: ReaderContext) -> Result<FileReader> {
        Ok(FileReader::new(
            self.follow,
            self.records_per_s,
            context.clock,
            context.wake,
        ))
    }
}

/// Finds the files, once.
///
/// State, version 1: `i32` number of files, then the absolute path of each as UTF.
#[derive(Debug)]
pub struct FileEnumerator {
    paths: Vec<PathBuf>,
    found: Option<Vec<String>>,
}

const ENUMERATOR_VERSION: i32 = 1;

fn read_paths(version: i32, state: &[u8]) -> Result<Vec<String>> {
    if version != ENUMERATOR_VERSION {
        return Err(FunctionError::new(format!(
            "the state of a file enumerator has version {version}, expected {ENUMERATOR_VERSION}; \
             it was written by a newer Millpond or another source"
        )));
    }
    let mut reader = ByteReader::new(state);
    let files = reader.length()?;
    let mut found = Vec::with_capacity(files);
    for _ in 0..files {
        found.push(reader.utf()?);
    }
    Ok(found)
}

impl SplitEnumerator<FileSplit> for FileEnumerator {
    const VERSION: i32 = ENUMERATOR_VERSION;

    fn discover_splits(&mut self) -> Result<Vec<FileSplit>> {
        if self.found.is_some() {
            return Ok(Vec::new());
        }
        let mut files = BTreeSet::new();
        for path in &self.paths {
            let path = local_path(path)?;
            let metadata = fs::metadata(&path).map_err(|error| file_error("find", &path, error))?;
            if metadata.is_dir() {
                list(&path, &mut files)?;
            } else {
                files.insert(path);
            }
        }
        let mut found = Vec::with_capacity(files.len());
        for file in &files {
            found.push(path_text(file)?.to_owned());
        }
        let count = found.len() as u32;
        let splits = found
            .iter()
            .map(|path| FileSplit::new(path.clone(), count))
            .collect();
        self.found = Some(found);
        Ok(splits)
    }

    fn snapshot_state(&self) -> Vec<u8> {
        let found = self.found.as_deref().unwrap_or_default();
        let mut out = Vec::new();
        out.put_i32(found.len() as i32);
        for path in found {
            out.put_utf(path)
                .expect("paths of files that were found are shorter than 64 KiB");
        }
        out
    }
}

/// Adds the files of a directory and of those below it.
fn list(directory: &Path, files: &mut BTreeSet<PathBuf>) -> Result<()> {
    let failed = |error| file_error("list", directory, error);
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        if matches!(
            entry.file_name().as_encoded_bytes().first(),
            Some(b'.' | b'_')
        ) {
            continue;
        }
        // The entry's own type, so that a link to a directory above cannot lead round in circles.
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() {
            list(&path, files)?;
        } else if fs::metadata(&path).map_err(failed)?.is_file() {
            files.insert(path);
        }
    }
    Ok(())
}
