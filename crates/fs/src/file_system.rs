//! The interface of file systems, and the choice among them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::error::ErrorKind;
use crate::{DirectoryLock, Error, LocalFileSystem, Location};

/// A place that keeps files and directories.
///
/// Parent directories of what is written are made. Files are written once.
pub trait FileSystem: Send + Sync {
    /// Starts a new file.
    ///
    /// # Errors
    ///
    /// Already exists, if there is a file of that name; else what the file system reports.
    fn create(&self, file: &Location) -> Result<Box<dyn FileWriter>, Error>;

    /// Opens a file for reading at any place.
    ///
    /// # Errors
    ///
    /// Not found, or what the file system reports.
    fn open(&self, file: &Location) -> Result<Box<dyn FileReader>, Error>;

    /// Writes a small file so that it is there wholly and durably, or not at all.
    ///
    /// It is written under a temporary name in the same directory, synced, renamed (a file of
    /// that name is replaced), and the directory is synced.
    ///
    /// # Errors
    ///
    /// What the file system reports; then the temporary file is removed as far as possible.
    fn write_atomic(&self, file: &Location, bytes: &[u8]) -> Result<(), Error>;

    /// As [`write_atomic`](Self::write_atomic), if `may` says so when the bytes are written and not yet
    /// visible; where that moment is not known, before they are written.
    ///
    /// # Errors
    ///
    /// As for that; and what `may` says.
    fn write_atomic_if(
        &self,
        file: &Location,
        bytes: &[u8],
        may: &dyn Fn() -> io::Result<()>,
    ) -> Result<(), Error> {
        may().map_err(|error| Error::io("write", file, error))?;
        self.write_atomic(file, bytes)
    }

    /// Whether there is a file or directory.
    ///
    /// # Errors
    ///
    /// What the file system reports, if it cannot tell.
    fn exists(&self, location: &Location) -> Result<bool, Error>;

    /// Returns the bytes of a file.
    ///
    /// # Errors
    ///
    /// Not found, or what the file system reports.
    fn len(&self, file: &Location) -> Result<u64, Error>;

    /// Lists a directory, sorted by name.
    ///
    /// # Errors
    ///
    /// Not found, or what the file system reports.
    fn list(&self, directory: &Location) -> Result<Vec<Entry>, Error>;

    /// Deletes a file.
    ///
    /// # Errors
    ///
    /// Not found, or what the file system reports.
    fn delete_file(&self, file: &Location) -> Result<(), Error>;

    /// Deletes a directory and all that is in it.
    ///
    /// # Errors
    ///
    /// Not found, or what the file system reports.
    fn delete_dir(&self, directory: &Location) -> Result<(), Error>;

    /// Deletes a directory if nothing is in it; whether it is gone.
    ///
    /// # Errors
    ///
    /// Not found, or what the file system reports.
    fn delete_empty_dir(&self, directory: &Location) -> Result<bool, Error> {
        let is_empty = self.list(directory)?.is_empty();
        if is_empty {
            self.delete_dir(directory)?;
        }
        Ok(is_empty)
    }

    /// Makes a directory and those above it, durably.
    ///
    /// # Errors
    ///
    /// What the file system reports; none if it is there already.
    fn create_dir_all(&self, directory: &Location) -> Result<(), Error>;

    /// Makes the names of all closed files in a directory durable.
    ///
    /// # Errors
    ///
    /// What the file system reports.
    fn sync_dir(&self, directory: &Location) -> Result<(), Error>;

    /// Tries to keep a directory to this process, as long as it lives or until the lock is dropped.
    ///
    /// # Errors
    ///
    /// Not found, or what the file system reports.
    fn lock_dir(&self, _directory: &Location) -> Result<DirectoryLock, Error> {
        Ok(DirectoryLock::Unsupported)
    }

    /// Where a file lies on this machine, so that others can open it by its path; `None` if it
    /// does not, or if that is not known.
    fn local_path(&self, _file: &Location) -> Option<PathBuf> {
        None
    }

    /// Gives a file a second name on this machine, without a copy of its bytes; whether it has one then.
    /// Who has the name has the bytes, whatever becomes of the file, and must not write them.
    fn link(&self, _file: &Location, _to: &Path) -> bool {
        false
    }

    /// Puts a file of this machine, whose bytes never change, here as well, without a copy of them; whether
    /// it is here then. Its bytes are as durable as they were.
    fn adopt(&self, _from: &Path, _file: &Location) -> bool {
        false
    }

    /// Reads a whole file.
    ///
    /// # Errors
    ///
    /// Not found, or what the file system reports.
    fn read(&self, file: &Location) -> Result<Vec<u8>, Error> {
        let reader = self.open(file)?;
        let length = usize::try_from(reader.len())
            .map_err(|_| Error::plain(ErrorKind::Other, "hold in memory", file))?;
        let mut bytes = vec![0; length];
        reader.read_at(0, &mut bytes)?;
        Ok(bytes)
    }
}

/// A file being written.
///
/// Dropping it without [`close`](FileWriter::close) leaves a file of unknown content; delete it.
pub trait FileWriter: io::Write + Send {
    /// Ends the file; returns the time spent on making its bytes durable.
    ///
    /// # Errors
    ///
    /// What the file system reports.
    fn close(self: Box<Self>, durability: Durability) -> Result<Duration, Error>;
}

/// Whether a closed file survives a crash of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Its bytes are on the disk. (Its name is after [`FileSystem::sync_dir`].)
    Synced,
    /// Its bytes may still be in the caches of the operating system.
    Cached,
}

/// A file open for reading.
#[expect(
    clippy::len_without_is_empty,
    reason = "nobody asks a file whether it is empty"
)]
pub trait FileReader: Send + Sync {
    /// The bytes of the file when it was opened.
    fn len(&self) -> u64;

    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    ///
    /// Other, if the file ends before; else what the file system reports.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Error>;
}

/// What a directory holds under one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name, without the directory.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// The bytes of a file; 0 for a directory.
    pub len: u64,
}

/// Returns the file system that serves a location.
///
/// # Errors
///
/// Location, if there is none for its scheme.
pub fn file_system_for(location: &Location) -> Result<Arc<dyn FileSystem>, Error> {
    match location.scheme() {
        "file" => Ok(local()),
        _ => Err(Error::plain(
            ErrorKind::Location,
            "find a file system for",
            location,
        )),
    }
}

#[cfg(not(feature = "faults"))]
fn local() -> Arc<dyn FileSystem> {
    Arc::new(LocalFileSystem)
}

/// Local files, in front of which stands what the environment asks for.
#[cfg(feature = "faults")]
fn local() -> Arc<dyn FileSystem> {
    use std::sync::OnceLock;

    use crate::injected::{FAULTS_VARIABLE, InjectedFileSystem, Injector};

    // Calls are counted over all file systems of the process.
    static INJECTOR: OnceLock<Option<Arc<Injector>>> = OnceLock::new();
    let injector = INJECTOR.get_or_init(|| {
        let file = std::env::var_os(FAULTS_VARIABLE)?;
        Some(Arc::new(Injector::new(file.as_ref())))
    });
    match injector {
        Some(injector) => Arc::new(InjectedFileSystem::new(
            Arc::new(LocalFileSystem),
            Arc::clone(injector),
        )),
        None => Arc::new(LocalFileSystem),
    }
}
