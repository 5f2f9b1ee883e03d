//! A file system for somebody whose right to change it may end: then nothing becomes visible and nothing
//! goes any more.
//!
//! The right is looked at before each change, and for a file that appears atomically right before it does.
//! Who is stopped between that look and the change, and goes on when the right has ended, still makes it:
//! that is what locks are for.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, io};

use crate::{DirectoryLock, Entry, Error, FileReader, FileSystem, FileWriter, Location};

/// Tells why nothing may be changed any more, for people.
pub type Guard = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// A file system behind a guard.
pub struct FencedFileSystem {
    behind: Arc<dyn FileSystem>,
    guard: Guard,
}

impl FencedFileSystem {
    /// Puts a file system behind a guard.
    pub fn new(behind: Arc<dyn FileSystem>, guard: Guard) -> Self {
        FencedFileSystem { behind, guard }
    }

    fn ask(&self) -> io::Result<()> {
        (self.guard)().map_err(|why| io::Error::new(io::ErrorKind::PermissionDenied, why))
    }

    fn pass(&self, action: &'static str, location: &Location) -> Result<(), Error> {
        self.ask()
            .map_err(|error| Error::io(action, location, error))
    }
}

impl fmt::Debug for FencedFileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FencedFileSystem")
    }
}

impl FileSystem for FencedFileSystem {
    fn create(&self, file: &Location) -> Result<Box<dyn FileWriter>, Error> {
        self.pass("create", file)?;
        self.behind.create(file)
    }

    fn open(&self, file: &Location) -> Result<Box<dyn FileReader>, Error> {
        self.behind.open(file)
    }

    fn write_atomic(&self, file: &Location, bytes: &[u8]) -> Result<(), Error> {
        self.behind.write_atomic_if(file, bytes, &|| self.ask())
    }

    fn write_atomic_if(
        &self,
        file: &Location,
        bytes: &[u8],
        may: &dyn Fn() -> io::Result<()>,
    ) -> Result<(), Error> {
        let both = || may().and_then(|()| self.ask());
        self.behind.write_atomic_if(file, bytes, &both)
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
        self.pass("delete", file)?;
        self.behind.delete_file(file)
    }

    fn delete_dir(&self, directory: &Location) -> Result<(), Error> {
        self.pass("delete", directory)?;
        self.behind.delete_dir(directory)
    }

    fn delete_empty_dir(&self, directory: &Location) -> Result<bool, Error> {
        self.pass("delete", directory)?;
        self.behind.delete_empty_dir(directory)
    }

    fn create_dir_all(&self, directory: &Location) -> Result<(), Error> {
        self.pass("make", directory)?;
        self.behind.create_dir_all(directory)
    }

    fn sync_dir(&self, directory: &Location) -> Result<(), Error> {
        self.behind.sync_dir(directory)
    }

    fn lock_dir(&self, directory: &Location) -> Result<DirectoryLock, Error> {
        self.behind.lock_dir(directory)
    }

    fn local_path(&self, file: &Location) -> Option<PathBuf> {
        self.behind.local_path(file)
    }

    fn link(&self, file: &Location, to: &Path) -> bool {
        self.behind.link(file, to)
    }

    fn adopt(&self, from: &Path, file: &Location) -> bool {
        self.ask().is_ok() && self.behind.adopt(from, file)
    }

    fn read(&self, file: &Location) -> Result<Vec<u8>, Error> {
        self.behind.read(file)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use super::*;
    use crate::{ErrorKind, LocalFileSystem};

    #[test]
    fn whose_right_has_ended_changes_nothing() {
        let place = tempfile::tempdir().expect("room");
        let at = |name: &str| Location::of_path(&place.path().join(name)).expect("a path");
        let may = Arc::new(AtomicBool::new(true));
        let guard: Guard = {
            let may = Arc::clone(&may);
            Arc::new(move || match may.load(Ordering::SeqCst) {
                true => Ok(()),
                false => Err("another one leads".to_owned()),
            })
        };
        let fs = FencedFileSystem::new(Arc::new(LocalFileSystem), guard);
        fs.create_dir_all(&at("chk-1")).expect("it may");
        fs.write_atomic(&at("chk-1/_metadata"), b"whole")
            .expect("it may");
        may.store(false, Ordering::SeqCst);
        let refused = [
            fs.write_atomic(&at("chk-1/_metadata"), b"other"),
            fs.delete_file(&at("chk-1/_metadata")),
            fs.delete_dir(&at("chk-1")),
            fs.delete_empty_dir(&at("chk-1")).map(drop),
            fs.create_dir_all(&at("chk-2")),
            fs.create(&at("chk-1/a")).map(drop),
        ];
        for result in refused {
            let error = result.expect_err("it may not");
            assert_eq!(error.kind(), ErrorKind::Permission);
            assert!(error.to_string().contains("chk-"), "{error}");
        }
        assert_eq!(fs.read(&at("chk-1/_metadata")).expect("there"), b"whole");
        assert_eq!(
            fs.list(&at("chk-1")).expect("there").len(),
            1,
            "nothing beside it"
        );
    }

    /// A right that ends while a file is being written must keep it from appearing.
    #[test]
    fn a_file_is_asked_for_when_it_is_written_and_not_before() {
        let place = tempfile::tempdir().expect("room");
        let file = Location::of_path(&place.path().join("_metadata")).expect("a path");
        let inside = place.path().to_owned();
        let asked = Arc::new(AtomicU32::new(0));
        let guard: Guard = {
            let asked = Arc::clone(&asked);
            Arc::new(move || {
                asked.fetch_add(1, Ordering::SeqCst);
                let written = std::fs::read_dir(&inside).map(Iterator::count);
                match written {
                    Ok(1) => Err("the file is written and not visible".to_owned()),
                    _ => Ok(()),
                }
            })
        };
        let fs = FencedFileSystem::new(Arc::new(LocalFileSystem), guard);
        fs.write_atomic(&file, b"whole").expect_err("too late");
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        assert!(!fs.exists(&file).expect("looked"));
    }
}
