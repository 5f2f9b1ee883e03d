//! A state on its way: inline into the metadata if it stays small, else into a file.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use millpond_fs::{Durability, FileSystem, FileWriter, Location};

use crate::checksum::ChecksumWriter;
use crate::{Error, FileRecord, StreamHandle};

/// The most bytes that a state may have inline, whatever the threshold: Flink's own limit.
const MAX_INLINE_BYTES: usize = 1 << 20;

/// How much of a file is read at once for its checksum.
const READ_BYTES: usize = 256 << 10;

/// Takes the bytes of one state.
///
/// No file is made before the bytes are more than the threshold. If the stream is dropped
/// before [`finish`](Self::finish), the file is deleted.
pub struct StateStream<'a> {
    fs: &'a dyn FileSystem,
    file: Location,
    threshold_bytes: usize,
    inline: Vec<u8>,
    spilled: Option<ChecksumWriter<Box<dyn FileWriter>>>,
    finished: bool,
}

/// A state that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenStream {
    /// Where it lies: inline, or in a file beside `_metadata`.
    pub handle: StreamHandle,
    /// The file for the trailer; `None` if inline.
    pub file: Option<FileRecord>,
    /// The time spent on making the file durable.
    pub sync: Duration,
}

impl<'a> StateStream<'a> {
    /// Returns a stream into `directory` under `name`, which
    /// [`state_file_name`](crate::state_file_name) makes.
    ///
    /// States of up to `threshold_bytes` (at most a mebibyte) become inline handles.
    pub fn new(
        fs: &'a dyn FileSystem,
        directory: &Location,
        name: &str,
        threshold_bytes: usize,
    ) -> Self {
        StateStream {
            fs,
            file: directory.join(name),
            threshold_bytes: threshold_bytes.min(MAX_INLINE_BYTES),
            inline: Vec::new(),
            spilled: None,
            finished: false,
        }
    }

    /// The same stream, which makes no file either of a state of up to `bytes`, but for whoever writes
    /// that himself: its handle is an inline one.
    #[must_use]
    pub fn held_up_to(mut self, bytes: usize) -> Self {
        self.threshold_bytes = self.threshold_bytes.max(bytes);
        self
    }

    /// Takes a whole file of this machine, whose bytes never change, as the state, without a copy; `None` if
    /// the file system cannot, or if the state is so small that it is to be inline.
    ///
    /// # Errors
    ///
    /// Io, if it cannot be read or made durable; then it is not there.
    pub fn adopt(&mut self, from: &Path) -> Result<Option<WrittenStream>, Error> {
        let failed = |error| Error::from(millpond_fs::Error::io("read", &self.file, error));
        let mut opened = File::open(from).map_err(failed)?;
        let bytes = opened.metadata().map_err(failed)?.len();
        if bytes <= self.threshold_bytes as u64 || !self.fs.adopt(from, &self.file) {
            return Ok(None);
        }
        let begin = Instant::now();
        let mut sync = Duration::ZERO;
        let mut read = ChecksumWriter::new(io::sink());
        let mut buffer = vec![0; READ_BYTES];
        let taken = opened.sync_data().and_then(|()| {
            sync = begin.elapsed();
            loop {
                match opened.read(&mut buffer)? {
                    0 => return Ok(()),
                    length => read.write_all(&buffer[..length])?,
                }
            }
        });
        if let Err(error) = taken {
            self.delete_file();
            return Err(failed(error));
        }
        let (_, size, checksum) = read.finish();
        let name = self.file.file_name().to_owned();
        Ok(Some(WrittenStream {
            handle: StreamHandle::Relative {
                name: name.clone(),
                size: size as i64,
            },
            file: Some(FileRecord {
                name,
                size,
                checksum,
            }),
            sync,
        }))
    }

    /// Ends the state.
    ///
    /// # Errors
    ///
    /// Io, if the file cannot be written; then it is deleted.
    pub fn finish(mut self, durability: Durability) -> Result<WrittenStream, Error> {
        let name = self.file.file_name().to_owned();
        let Some(spilled) = self.spilled.take() else {
            self.finished = true;
            let data = std::mem::take(&mut self.inline);
            let handle = StreamHandle::Bytes { name, data };
            return Ok(WrittenStream {
                handle,
                file: None,
                sync: Duration::ZERO,
            });
        };
        let (writer, size, checksum) = spilled.finish();
        let closed = writer.close(durability);
        if closed.is_err() {
            self.delete_file();
        }
        let sync = closed?;
        self.finished = true;
        let handle = StreamHandle::Relative {
            name: name.clone(),
            size: size as i64,
        };
        Ok(WrittenStream {
            handle,
            file: Some(FileRecord {
                name,
                size,
                checksum,
            }),
            sync,
        })
    }

    fn spill(&mut self) -> io::Result<&mut ChecksumWriter<Box<dyn FileWriter>>> {
        let created = self.fs.create(&self.file).map_err(io::Error::other)?;
        let mut writer = ChecksumWriter::new(created);
        let written = writer.write_all(&self.inline);
        let written = written.map_err(|error| told_where(&self.file, error));
        self.inline = Vec::new();
        let spilled = self.spilled.insert(writer);
        written.map(|()| spilled)
    }

    fn delete_file(&self) {
        // The write has failed or was given up; a left-over has a name that nobody reads, and is
        // removed at the next start of the job.
        let _ = self.fs.delete_file(&self.file);
    }
}

/// An error of the operating system, with the file that it is about: "no space left" where?
fn told_where(file: &Location, error: io::Error) -> io::Error {
    let kind = error.kind();
    if kind == io::ErrorKind::Interrupted {
        // The caller tries that again.
        return error;
    }
    io::Error::new(kind, millpond_fs::Error::io("write", file, error))
}

impl Write for StateStream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.spilled.is_none() && self.inline.len() + bytes.len() <= self.threshold_bytes {
            self.inline.extend_from_slice(bytes);
            return Ok(bytes.len());
        }
        let written = match &mut self.spilled {
            Some(spilled) => spilled.write(bytes),
            None => self.spill()?.write(bytes),
        };
        written.map_err(|error| told_where(&self.file, error))
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.spilled {
            Some(spilled) => spilled.flush(),
            None => Ok(()),
        }
    }
}

impl Drop for StateStream<'_> {
    fn drop(&mut self) {
        if !self.finished && self.spilled.take().is_some() {
            self.delete_file();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum;
    use millpond_fs::memory::{Faults, MemoryFileSystem};

    fn directory() -> Location {
        Location::parse("/sp").expect("a path")
    }

    #[test]
    fn a_small_state_makes_no_file_and_a_large_one_no_inline_handle() {
        let fs = MemoryFileSystem::new();
        for (bytes, inline) in [(10, true), (11, false)] {
            let mut stream = StateStream::new(&fs, &directory(), "millpond-a", 10);
            let data = vec![7u8; bytes];
            data.chunks(3)
                .for_each(|part| stream.write_all(part).expect("room"));
            let written = stream.finish(Durability::Synced).expect("room");
            assert_eq!(written.handle.size(), bytes as u64);
            assert_eq!(matches!(written.handle, StreamHandle::Bytes { .. }), inline);
            assert_eq!(
                fs.exists(&directory().join("millpond-a")).expect("known"),
                !inline
            );
            if let Some(file) = written.file {
                assert_eq!((file.size, file.checksum), (11, checksum(&data)));
            }
        }
    }

    #[test]
    fn a_file_of_this_disk_is_adopted_and_stays_when_its_other_name_goes() {
        use std::os::unix::fs::MetadataExt;
        let home = tempfile::tempdir().expect("a directory");
        let from = home.path().join("000007.sst");
        let data = vec![7u8; 3 * READ_BYTES / 2];
        std::fs::write(&from, &data).expect("room");
        let directory = Location::of_path(&home.path().join("savepoint/new")).expect("a path");
        let fs = millpond_fs::LocalFileSystem;
        let mut stream = StateStream::new(&fs, &directory, "millpond-a", 10);
        let written = stream.adopt(&from).expect("readable").expect("adopted");
        drop(stream);
        let inode = std::fs::metadata(&from).expect("there").ino();
        std::fs::remove_file(&from).expect("there");
        let there = home.path().join("savepoint/new/millpond-a");
        assert_eq!(std::fs::metadata(&there).expect("there").ino(), inode);
        assert_eq!(written.handle.size(), data.len() as u64);
        let file = written.file.expect("a record");
        assert_eq!(
            (file.size, file.checksum),
            (data.len() as u64, checksum(&data))
        );
        assert_eq!(std::fs::read(&there).expect("there"), data);
    }

    #[test]
    fn what_is_small_or_lies_elsewhere_is_not_adopted() {
        let home = tempfile::tempdir().expect("a directory");
        let from = home.path().join("000007.sst");
        std::fs::write(&from, [7; 10]).expect("room");
        let here = Location::of_path(home.path()).expect("a path");
        let memory = MemoryFileSystem::new();
        let local = millpond_fs::LocalFileSystem;
        let fs: [(&dyn FileSystem, usize); 2] = [(&local, 10), (&memory, 0)];
        for (fs, threshold) in fs {
            let mut stream = StateStream::new(fs, &here, "millpond-a", threshold);
            assert_eq!(stream.adopt(&from).expect("readable"), None);
            assert!(!fs.exists(&here.join("millpond-a")).expect("known"));
        }
    }

    #[test]
    fn a_state_that_cannot_be_written_or_is_given_up_leaves_no_file() {
        let fs = MemoryFileSystem::new();
        fs.set_faults(Faults {
            capacity_bytes: Some(100),
            ..Faults::default()
        });
        let mut stream = StateStream::new(&fs, &directory(), "millpond-a", 0);
        stream.write_all(&[1; 60]).expect("room");
        assert!(fs.exists(&directory().join("millpond-a")).expect("known"));
        let error = stream.write_all(&[1; 60]).expect_err("no room");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(error.to_string().contains("/sp/millpond-a"), "{error}");
        drop(stream);
        assert!(!fs.exists(&directory().join("millpond-a")).expect("known"));
    }
}
