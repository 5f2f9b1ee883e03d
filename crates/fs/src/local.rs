//! The file system of this machine.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::ErrorKind;
use crate::{
    DirectoryLock, Durability, Entry, Error, FileReader, FileSystem, FileWriter,
    LocalDirectoryLock, LocalLock, Location,
};

/// How often a directory is deleted into which others still write.
const DELETE_TRIES: u32 = 20;

/// Local files.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalFileSystem;

struct LocalWriter {
    file: File,
    location: Location,
}

struct LocalReader {
    file: File,
    len: u64,
    location: Location,
}

fn local(location: &Location) -> Result<PathBuf, Error> {
    location
        .to_local_path()
        .ok_or_else(|| Error::plain(ErrorKind::Location, "find on this machine", location))
}

/// Opens a file for writing, with its parent directories.
fn open_for_write(options: &OpenOptions, file: &Location) -> Result<File, Error> {
    let path = local(file)?;
    let opened = match options.open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(parent) = path.parent() {
                make_dirs(parent)
                    .map_err(|error| Error::io("make the directory of", file, error))?;
            }
            options.open(&path)
        }
        opened => opened,
    };
    opened.map_err(|error| Error::io("create", file, error))
}

/// Makes a directory and those above it; the names of new ones are made durable.
fn make_dirs(directory: &Path) -> io::Result<()> {
    match fs::create_dir(directory) {
        Ok(()) => sync_parent(directory),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = directory.parent().ok_or(error)?;
            make_dirs(parent)?;
            match fs::create_dir(directory) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
                Ok(()) | Err(_) => sync_parent(directory),
            }
        }
        Err(error) => Err(error),
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

impl FileSystem for LocalFileSystem {
    fn create(&self, file: &Location) -> Result<Box<dyn FileWriter>, Error> {
        let opened = open_for_write(OpenOptions::new().write(true).create_new(true), file)?;
        Ok(Box::new(LocalWriter {
            file: opened,
            location: file.clone(),
        }))
    }

    fn open(&self, file: &Location) -> Result<Box<dyn FileReader>, Error> {
        let failed = |error| Error::io("open", file, error);
        let opened = File::open(local(file)?).map_err(failed)?;
        let metadata = opened.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(failed(io::ErrorKind::IsADirectory.into()));
        }
        Ok(Box::new(LocalReader {
            file: opened,
            len: metadata.len(),
            location: file.clone(),
        }))
    }

    fn write_atomic(&self, file: &Location, bytes: &[u8]) -> Result<(), Error> {
        self.write_atomic_if(file, bytes, &|| Ok(()))
    }

    fn write_atomic_if(
        &self,
        file: &Location,
        bytes: &[u8],
        may: &dyn Fn() -> io::Result<()>,
    ) -> Result<(), Error> {
        let path = local(file)?;
        let name = format!(".{}.inprogress", file.file_name());
        let temporary = path.with_file_name(&name);
        let options = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .clone();
        let mut opened = open_for_write(&options, &file.join("..").join(&name))?;
        let written = opened
            .write_all(bytes)
            .and_then(|()| opened.sync_all())
            .and_then(|()| may())
            .and_then(|()| fs::rename(&temporary, &path))
            .and_then(|()| sync_parent(&path));
        written.map_err(|error| {
            // The first error is the one that counts; a left-over has a name that nobody reads.
            let _ = fs::remove_file(&temporary);
            Error::io("write", file, error)
        })
    }

    fn exists(&self, location: &Location) -> Result<bool, Error> {
        match local(location)?.try_exists() {
            Ok(found) => Ok(found),
            // Nothing lies below a file.
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(false),
            Err(error) => Err(Error::io("look for", location, error)),
        }
    }

    fn len(&self, file: &Location) -> Result<u64, Error> {
        self.open(file).map(|opened| opened.len())
    }

    fn list(&self, directory: &Location) -> Result<Vec<Entry>, Error> {
        let failed = |error| Error::io("list", directory, error);
        let mut entries = Vec::new();
        for entry in fs::read_dir(local(directory)?).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            // A name that is no text is none of ours.
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let metadata = match fs::metadata(entry.path()) {
                // Deleted since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                metadata => metadata.map_err(failed)?,
            };
            let len = if metadata.is_dir() { 0 } else { metadata.len() };
            entries.push(Entry {
                name,
                is_dir: metadata.is_dir(),
                len,
            });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn delete_file(&self, file: &Location) -> Result<(), Error> {
        fs::remove_file(local(file)?).map_err(|error| Error::io("delete", file, error))
    }

    fn delete_dir(&self, directory: &Location) -> Result<(), Error> {
        let path = local(directory)?;
        let mut tries = 1;
        loop {
            match fs::remove_dir_all(&path) {
                // Somebody has put a file there meanwhile.
                Err(error)
                    if error.kind() == io::ErrorKind::DirectoryNotEmpty && tries < DELETE_TRIES =>
                {
                    tries += 1;
                }
                outcome => return outcome.map_err(|error| Error::io("delete", directory, error)),
            }
        }
    }

    fn delete_empty_dir(&self, directory: &Location) -> Result<bool, Error> {
        match fs::remove_dir(local(directory)?) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(false),
            Err(error) => Err(Error::io("delete", directory, error)),
        }
    }

    fn create_dir_all(&self, directory: &Location) -> Result<(), Error> {
        make_dirs(&local(directory)?)
            .map_err(|error| Error::io("make the directory", directory, error))
    }

    fn sync_dir(&self, directory: &Location) -> Result<(), Error> {
        File::open(local(directory)?)
            .and_then(|opened| opened.sync_all())
            .map_err(|error| Error::io("sync", directory, error))
    }

    fn lock_dir(&self, directory: &Location) -> Result<DirectoryLock, Error> {
        let lock = LocalDirectoryLock::acquire(&local(directory)?)
            .map_err(|error| Error::io("lock", directory, error))?;
        Ok(match lock {
            LocalLock::Held(lock) => DirectoryLock::Held(Box::new(lock)),
            LocalLock::Taken(holder) => DirectoryLock::Taken(holder),
            LocalLock::Unsupported => DirectoryLock::Unsupported,
        })
    }

    fn local_path(&self, file: &Location) -> Option<PathBuf> {
        file.to_local_path()
    }

    /// On the same disk. Who cannot have it is to copy, and learns then what is wrong.
    fn adopt(&self, from: &Path, file: &Location) -> bool {
        let Some(path) = file.to_local_path() else {
            return false;
        };
        match fs::hard_link(from, &path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = path
                    .parent()
                    .is_some_and(|parent| make_dirs(parent).is_ok());
                made && fs::hard_link(from, &path).is_ok()
            }
            linked => linked.is_ok(),
        }
    }
}

impl Write for LocalWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl FileWriter for LocalWriter {
    fn close(self: Box<Self>, durability: Durability) -> Result<Duration, Error> {
        match durability {
            Durability::Cached => Ok(Duration::ZERO),
            Durability::Synced => {
                let start = Instant::now();
                let synced = self.file.sync_data();
                synced.map_err(|error| Error::io("sync", &self.location, error))?;
                Ok(start.elapsed())
            }
        }
    }
}

impl FileReader for LocalReader {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        self.file
            .read_exact_at(buffer, offset)
            .map_err(|error| Error::io("read", &self.location, error))
    }
}
