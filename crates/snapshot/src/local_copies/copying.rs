//! A file system that makes copies of what is written through it.
//!
//! A copy that cannot be written is given up; the file itself is not touched by that.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use millpond_fs::{Durability, Entry, Error, FileReader, FileSystem, FileWriter, Location};
use millpond_types::CheckpointId;

use super::{LocalCopies, hash_of};
use crate::checksum::ChecksumWriter;

/// Storage for the files of one snapshot.
pub(super) struct CopyingFileSystem {
    pub(super) storage: Arc<dyn FileSystem>,
    pub(super) copies: Arc<LocalCopies>,
    pub(super) checkpoint: CheckpointId,
}

impl LocalCopies {
    /// Begins the copy of a file.
    fn begin(&self, file: &str, checkpoint: CheckpointId) -> io::Result<CopyWriter> {
        // Before there is anything that a sweep could find.
        if let Some(part) = self.wanted().get_mut(&checkpoint) {
            part.files.insert(file.to_owned());
        }
        let hash = hash_of(file);
        let missing = || io::Error::new(io::ErrorKind::NotFound, "no directory");
        let directory = self.place_of(&hash).ok_or_else(missing)?;
        // Not those above: when the job has ended they are gone, and stay so.
        match fs::create_dir(&directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let path = directory.join(format!(".{hash}.inprogress"));
        Ok(CopyWriter {
            out: ChecksumWriter::new(fs::File::create(&path)?),
            path,
            hash,
        })
    }
}

/// A copy that is being written.
struct CopyWriter {
    out: ChecksumWriter<fs::File>,
    path: PathBuf,
    hash: String,
}

impl CopyWriter {
    /// The copy is whole.
    fn finish(self) -> io::Result<()> {
        let CopyWriter { out, path, hash } = self;
        let (file, size, checksum) = out.finish();
        drop(file);
        let name = format!("{hash}.{size}.{checksum:016x}");
        let renamed = fs::rename(&path, path.with_file_name(name));
        renamed.inspect_err(|_| {
            // What is left goes with the next checkpoint.
            let _ = fs::remove_file(&path);
        })
    }

    /// It will not be.
    fn give_up(self) {
        // What is left goes with the next checkpoint.
        let _ = fs::remove_file(self.path);
    }
}

struct CopyingWriter {
    behind: Box<dyn FileWriter>,
    copy: Option<CopyWriter>,
    file: Location,
    copies: Arc<LocalCopies>,
}

impl CopyingWriter {
    fn no_copy(&mut self, error: &io::Error) {
        // A disk that is full would say so for every file of every checkpoint.
        if !self.copies.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "no local copy of \"{}\", nor of what follows until one can be written again; a restart \
                 will read the files themselves: {error}",
                self.file
            );
        }
        if let Some(copy) = self.copy.take() {
            copy.give_up();
        }
    }
}

impl Write for CopyingWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.behind.write(bytes)?;
        if let Some(copy) = &mut self.copy
            && let Err(error) = copy.out.write_all(&bytes[..written])
        {
            self.no_copy(&error);
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.behind.flush()
    }
}

impl FileWriter for CopyingWriter {
    fn close(mut self: Box<Self>, durability: Durability) -> Result<Duration, Error> {
        let finished = self.copy.take().map(CopyWriter::finish);
        match finished {
            Some(Ok(())) => self.copies.told.store(false, Ordering::Relaxed),
            Some(Err(error)) => self.no_copy(&error),
            None => {}
        }
        let CopyingWriter {
            behind,
            file,
            copies,
            ..
        } = *self;
        let closed = behind.close(durability);
        closed.inspect_err(|_| copies.remove(&file.to_string()))
    }
}

impl FileSystem for CopyingFileSystem {
    fn create(&self, file: &Location) -> Result<Box<dyn FileWriter>, Error> {
        let mut writer = CopyingWriter {
            behind: self.storage.create(file)?,
            copy: None,
            file: file.clone(),
            copies: Arc::clone(&self.copies),
        };
        match self.copies.begin(&file.to_string(), self.checkpoint) {
            Ok(copy) => writer.copy = Some(copy),
            Err(error) => writer.no_copy(&error),
        }
        Ok(Box::new(writer))
    }

    fn open(&self, file: &Location) -> Result<Box<dyn FileReader>, Error> {
        self.storage.open(file)
    }

    fn write_atomic(&self, file: &Location, bytes: &[u8]) -> Result<(), Error> {
        self.storage.write_atomic(file, bytes)
    }

    fn exists(&self, location: &Location) -> Result<bool, Error> {
        self.storage.exists(location)
    }

    fn len(&self, file: &Location) -> Result<u64, Error> {
        self.storage.len(file)
    }

    fn list(&self, directory: &Location) -> Result<Vec<Entry>, Error> {
        self.storage.list(directory)
    }

    fn delete_file(&self, file: &Location) -> Result<(), Error> {
        self.copies.remove(&file.to_string());
        self.storage.delete_file(file)
    }

    fn delete_dir(&self, directory: &Location) -> Result<(), Error> {
        self.storage.delete_dir(directory)
    }

    fn delete_empty_dir(&self, directory: &Location) -> Result<bool, Error> {
        self.storage.delete_empty_dir(directory)
    }

    fn create_dir_all(&self, directory: &Location) -> Result<(), Error> {
        self.storage.create_dir_all(directory)
    }

    fn sync_dir(&self, directory: &Location) -> Result<(), Error> {
        self.storage.sync_dir(directory)
    }

    fn local_path(&self, file: &Location) -> Option<PathBuf> {
        self.storage.local_path(file)
    }
}
