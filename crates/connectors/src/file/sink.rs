//! A sink that writes lines to files and publishes them exactly once.
//!
//! Each subtask writes a hidden file. A checkpoint ends the file; when the checkpoint is complete
//! the file is renamed to a name that readers see. Names are unique for ever, see `part`.
//!
//! A hidden file that no snapshot can refer to is removed: by its writer, if that ends before the
//! file's checkpoint; or at a restart by the writer that is restored from the state of the one that
//! died. That state is proof: a snapshot taken in attempt a refers to hidden files of attempt a only,
//! since opening the sink publishes all restored ones, and of a subtask's files only to those
//! numbered below the number in its state. An attempt that starts without a snapshot is proof as well:
//! its job master would have restored one that an earlier attempt under it had completed, be it a savepoint.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millpond_operator::sink::{Committer, Prepared, Sink, SinkWriter, WriterContext};
use millpond_operator::{Data, FunctionError, Result, SubtaskInfo};
use millpond_serializer::{ByteReader, ByteWriter};
use millpond_types::{CheckpointId, JobId};

use super::committer::{FileCommitter, PendingFile, sync_directory};
use super::part::{Part, PartOwner};
use super::{file_error, local_path, path_text};

/// How much is written to the file at once.
const BUFFER_BYTES: usize = 64 << 10;

/// What an encoder may return: nothing, or a `Result`.
pub trait EncodeOutcome {
    /// The outcome as a result.
    ///
    /// # Errors
    ///
    /// Those of the encoder.
    fn into_result(self) -> Result<()>;
}

impl EncodeOutcome for () {
    fn into_result(self) -> Result<()> {
        Ok(())
    }
}

impl<E: Into<FunctionError>> EncodeOutcome for std::result::Result<(), E> {
    fn into_result(self) -> Result<()> {
        self.map_err(Into::into)
    }
}

type Encoder<T> = dyn Fn(&T, &mut Vec<u8>) -> Result<()> + Send + Sync;

/// Writes lines to files in a directory; each record is published exactly once.
///
/// Files become visible when a checkpoint is complete, so their number grows with the number of
/// checkpoints; a subtask that had no record since the last one makes no file. Without checkpoints
/// they become visible when the input ends. Which lines share a file, and the names of files, differ
/// from run to run; the lines of all published files together do not.
///
/// # Examples
///
/// ```
/// use std::io::Write;
/// use millpond_connectors::FileSink;
///
/// let counts = FileSink::new("out", |count: &(String, i64), line: &mut Vec<u8>| {
///     write!(line, "{},{}", count.0, count.1)
/// });
/// # let _ = counts;
/// ```
pub struct FileSink<T> {
    directory: PathBuf,
    suffix: String,
    encoder: Arc<Encoder<T>>,
}

impl<T> FileSink<T> {
    /// A sink into `directory` (a path or `file:` URI; it is made if it is not there), whose
    /// `encoder` appends a record's line without the line end.
    pub fn new<R: EncodeOutcome>(
        directory: impl Into<PathBuf>,
        encoder: impl Fn(&T, &mut Vec<u8>) -> R + Send + Sync + 'static,
    ) -> Self {
        FileSink {
            directory: directory.into(),
            suffix: String::new(),
            encoder: Arc::new(move |record, line| encoder(record, line).into_result()),
        }
    }

    /// Gives published files names that end so: `.csv`.
    ///
    /// # Panics
    ///
    /// If it contains a slash, or starts with a digit: names would become ambiguous.
    #[must_use]
    pub fn suffix(self, suffix: impl Into<String>) -> Self {
        let suffix = suffix.into();
        assert!(
            !suffix.contains('/') && !suffix.starts_with(|c: char| c.is_ascii_digit()),
            "{suffix}"
        );
        FileSink { suffix, ..self }
    }
}

impl<T: Data> Sink for FileSink<T> {
    type Record = T;
    type Writer = FileWriter<T>;

    fn create_writer(&self, context: WriterContext) -> Result<FileWriter<T>> {
        let directory = local_path(&self.directory)?;
        fs::create_dir_all(&directory).map_err(|error| file_error("make", &directory, error))?;
        let owner = PartOwner::of(&context.info);
        let mut ancestors = Vec::new();
        for (version, bytes) in &context.restored {
            ancestors.push(Ancestor::from_bytes(*version, bytes)?);
        }
        let next_part = tidy(&directory, &owner, |part| {
            let mut ancestors = ancestors.iter();
            ancestors.any(|ancestor| ancestor.proves_dead(part, &owner))
                || !context.is_restored && owner.succeeds_under_one_master(&part.owner)
        })?;
        Ok(FileWriter {
            directory: path_text(&directory)?.to_owned(),
            suffix: self.suffix.clone(),
            encoder: Arc::clone(&self.encoder),
            owner,
            next_part,
            line: Vec::new(),
            open: None,
        })
    }

    fn create_committer(&self, _info: &SubtaskInfo) -> Result<Option<Box<dyn Committer>>> {
        Ok(Some(Box::new(FileCommitter)))
    }
}

/// A writer whose state was restored.
///
/// | order | width | meaning (version 1) |
/// | --- | --- | --- |
/// | 1 | 16 bytes | job id |
/// | 2 | i32 | attempt |
/// | 3 | i32 | subtask |
/// | 4 | i64 | number of its next file |
#[derive(Debug)]
struct Ancestor {
    job: JobId,
    attempt: u32,
    subtask: u32,
    next_part: u64,
}

const WRITER_VERSION: i32 = 1;

impl Ancestor {
    fn from_bytes(version: i32, bytes: &[u8]) -> Result<Self> {
        if version != WRITER_VERSION {
            return Err(FunctionError::refused_state(format!(
                "the state of a file writer in the snapshot has version {version}, expected \
                 {WRITER_VERSION}; it was written by a newer Millpond or another sink"
            )));
        }
        let mut reader = ByteReader::new(bytes);
        let mut job = [0; 16];
        job.copy_from_slice(reader.take(16)?);
        Ok(Ancestor {
            job: JobId(job),
            attempt: reader.i32()? as u32,
            subtask: reader.i32()? as u32,
            next_part: reader.i64()? as u64,
        })
    }

    /// Whether the restored snapshot, and so any later one, cannot refer to this hidden file, and
    /// the attempt that wrote it is over.
    fn proves_dead(&self, part: &Part, heir: &PartOwner) -> bool {
        let PartOwner {
            attempt, subtask, ..
        } = &part.owner;
        let referred =
            *attempt == self.attempt && (*subtask != self.subtask || part.n < self.next_part);
        heir.succeeds(&part.owner) && heir.job == self.job && !referred
    }
}

/// Removes dead files; returns the first number that no file of this owner has.
fn tidy(directory: &Path, owner: &PartOwner, is_dead: impl Fn(&Part) -> bool) -> Result<u64> {
    let failed = |error| file_error("list", directory, error);
    let mut next_part = 0;
    for entry in fs::read_dir(directory).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let Some(name) = name.to_str() else { continue };
        let hidden = Part::of_hidden_name(name);
        if hidden.as_ref().is_some_and(&is_dead) {
            remove(&directory.join(name))?;
        }
        // A job started anew under an old id counts its attempts anew.
        if let Some(part) = hidden.or_else(|| Part::of_visible_name(name))
            && part.owner == *owner
        {
            next_part = next_part.max(part.n + 1);
        }
    }
    Ok(next_part)
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        // Another subtask was faster.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(file_error("remove", path, error)),
    }
}

/// Writes the files of one subtask.
pub struct FileWriter<T> {
    directory: String,
    suffix: String,
    encoder: Arc<Encoder<T>>,
    owner: PartOwner,
    next_part: u64,
    line: Vec<u8>,
    open: Option<OpenFile>,
}

struct OpenFile {
    part: Part,
    path: PathBuf,
    bytes: u64,
    writer: BufWriter<File>,
}

impl<T> FileWriter<T> {
    fn create(&mut self) -> Result<OpenFile> {
        let part = Part {
            owner: self.owner.clone(),
            n: self.next_part,
        };
        let path = Path::new(&self.directory).join(part.hidden_name());
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        let file = file.map_err(|error| file_error("create", &path, error))?;
        self.next_part += 1;
        Ok(OpenFile {
            part,
            path,
            bytes: 0,
            writer: BufWriter::with_capacity(BUFFER_BYTES, file),
        })
    }
}

impl<T: Data> SinkWriter<T> for FileWriter<T> {
    const VERSION: i32 = WRITER_VERSION;

    fn write(&mut self, record: T, _timestamp: Option<i64>) -> Result<()> {
        self.line.clear();
        (self.encoder)(&record, &mut self.line)?;
        self.line.push(b'\n');
        let file = match self.open.take() {
            Some(file) => file,
            None => self.create()?,
        };
        let file = self.open.insert(file);
        file.bytes += self.line.len() as u64;
        file.writer
            .write_all(&self.line)
            .map_err(|error| file_error("write", &file.path, error))
    }

    fn prepare_commit(&mut self) -> Result<Prepared> {
        let Some(open) = &mut self.open else {
            return Ok(Prepared::default());
        };
        open.writer
            .flush()
            .map_err(|error| file_error("write", &open.path, error))?;
        let pending = PendingFile {
            directory: self.directory.clone(),
            hidden_name: open.part.hidden_name(),
            visible_name: open.part.visible_name(&self.suffix),
            bytes: open.bytes,
        };
        let committable = pending.to_bytes()?;
        let OpenFile { path, writer, .. } = self.open.take().expect("it was there above");
        let (file, unwritten) = writer.into_parts();
        debug_assert!(
            unwritten.is_ok_and(|bytes| bytes.is_empty()),
            "it was flushed above"
        );
        let directory = PathBuf::from(&self.directory);
        let durable = move || {
            file.sync_all()
                .map_err(|error| file_error("sync", &path, error))?;
            sync_directory(&directory)
        };
        Ok(Prepared {
            committables: vec![committable],
            durable: vec![Box::new(durable)],
        })
    }

    fn snapshot_state(&mut self, _checkpoint: CheckpointId) -> Result<Vec<Vec<u8>>> {
        let mut out = Vec::with_capacity(32);
        out.extend_from_slice(&self.owner.job.0);
        out.put_i32(self.owner.attempt as i32);
        out.put_i32(self.owner.subtask as i32);
        out.put_i64(self.next_part as i64);
        Ok(vec![out])
    }
}

impl<T> Drop for FileWriter<T> {
    fn drop(&mut self) {
        if let Some(OpenFile { path, writer, .. }) = self.open.take() {
            // Not flushed: no checkpoint ended this file, so none refers to it.
            let _file = writer.into_parts();
            // If it cannot be removed it stays hidden, which harms nobody.
            let _ = fs::remove_file(path);
        }
    }
}
