//! A file system that counts: how far work is that reads or writes much.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::{Durability, Entry, Error, FileReader, FileSystem, FileWriter, Location};

/// Bytes that went through a [`MeteredFileSystem`]; shared with whoever shows them.
#[derive(Debug, Default)]
pub struct Meter {
    /// Bytes of files that were read, each time they were.
    pub read: AtomicU64,
    /// Bytes that were written to files.
    pub written: AtomicU64,
}

/// A file system in front of another one, which counts what is read and written.
pub struct MeteredFileSystem {
    behind: Arc<dyn FileSystem>,
    meter: Arc<Meter>,
}

impl MeteredFileSystem {
    /// Counts in `meter` what goes through to `behind`.
    pub fn new(behind: Arc<dyn FileSystem>, meter: Arc<Meter>) -> Self {
        MeteredFileSystem { behind, meter }
    }
}

struct MeteredReader {
    behind: Box<dyn FileReader>,
    meter: Arc<Meter>,
}

impl FileReader for MeteredReader {
    fn len(&self) -> u64 {
        self.behind.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        self.behind.read_at(offset, buffer)?;
        let bytes = buffer.len() as u64;
        self.meter.read.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }
}

struct MeteredWriter {
    behind: Box<dyn FileWriter>,
    meter: Arc<Meter>,
}

impl Write for MeteredWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.behind.write(bytes)?;
        self.meter
            .written
            .fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.behind.flush()
    }
}

impl FileWriter for MeteredWriter {
    fn close(self: Box<Self>, durability: Durability) -> Result<Duration, Error> {
        self.behind.close(durability)
    }
}

impl FileSystem for MeteredFileSystem {
    fn create(&self, file: &Location) -> Result<Box<dyn FileWriter>, Error> {
        Ok(Box::new(MeteredWriter {
            behind: self.behind.create(file)?,
            meter: self.meter.clone(),
        }))
    }

    fn open(&self, file: &Location) -> Result<Box<dyn FileReader>, Error> {
        Ok(Box::new(MeteredReader {
            behind: self.behind.open(file)?,
            meter: self.meter.clone(),
        }))
    }

    fn write_atomic(&self, file: &Location, bytes: &[u8]) -> Result<(), Error> {
        self.behind.write_atomic(file, bytes)
    }

    fn exists(&self, location: &Location) -> Result<bool, Error> {
        self.behind.exists(location)
    }

    fn len(&self, file: &Location) -> Result<u64, Error> {
        self.behind.len(file)
    }

    fn list(&self, directory: &Location) -> Result<Vec<Entry>, Error> {
        self.behind.list(directory)
    }

    fn delete_file(&self, file: &Location) -> Result<(), Error> {
        self.behind.delete_file(file)
    }

    fn delete_dir(&self, directory: &Location) -> Result<(), Error> {
        self.behind.delete_dir(directory)
    }

    fn create_dir_all(&self, directory: &Location) -> Result<(), Error> {
        self.behind.create_dir_all(directory)
    }

    fn sync_dir(&self, directory: &Location) -> Result<(), Error> {
        self.behind.sync_dir(directory)
    }

    /// What others read by the path is not counted.
    fn local_path(&self, file: &Location) -> Option<PathBuf> {
        self.behind.local_path(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryFileSystem;

    #[test]
    fn what_is_read_and_written_is_counted() {
        let meter = Arc::new(Meter::default());
        let fs = MeteredFileSystem::new(Arc::new(MemoryFileSystem::new()), meter.clone());
        let file = Location::parse("file:///a/b").expect("a location");
        let mut writer = fs.create(&file).expect("room");
        writer.write_all(&[7; 100]).expect("room");
        writer.close(Durability::Cached).expect("room");
        let reader = fs.open(&file).expect("there");
        reader.read_at(10, &mut [0; 30]).expect("so many bytes");
        reader
            .read_at(90, &mut [0; 30])
            .expect_err("too many bytes");
        assert_eq!(meter.written.load(Ordering::Relaxed), 100);
        assert_eq!(meter.read.load(Ordering::Relaxed), 30);
    }
}
