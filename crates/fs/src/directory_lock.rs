//! Keeping a directory to oneself, against other processes.
//!
//! The system lets go of a lock when its process ends, however it ends: nobody has to judge whether an
//! owner is still alive, and nothing stays behind. A lock is on the directory as it was when it was taken:
//! one that was moved away or deleted since, and made anew, can be another process's.

use std::fs::{self, File, Metadata, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What came of trying to lock a directory.
pub enum DirectoryLock {
    /// It is this one's until that is dropped.
    Held(Box<dyn HeldDirectory>),
    /// Somebody else has it: the id of a process of this machine, if that is known.
    Taken(Option<u32>),
    /// The file system knows no locks.
    Unsupported,
}

/// A directory that is locked.
pub trait HeldDirectory: Send {
    /// Whether the directory that was locked is still the one of that name.
    fn is_in_place(&self) -> bool;
}

/// A local directory that is locked.
#[derive(Debug)]
pub struct LocalDirectoryLock {
    directory: File,
    path: PathBuf,
}

/// What came of trying to lock a local directory.
#[derive(Debug)]
pub enum LocalLock {
    /// As [`DirectoryLock::Held`].
    Held(LocalDirectoryLock),
    /// As [`DirectoryLock::Taken`].
    Taken(Option<u32>),
    /// As [`DirectoryLock::Unsupported`].
    Unsupported,
}

impl LocalDirectoryLock {
    /// Tries to lock a directory.
    ///
    /// # Errors
    ///
    /// There is none, or it cannot be opened.
    pub fn acquire(path: &Path) -> io::Result<LocalLock> {
        loop {
            let lock = LocalDirectoryLock {
                directory: File::open(path)?,
                path: path.to_owned(),
            };
            match lock.directory.try_lock() {
                // Deleted by its last owner before the lock was had: the one of that name is another.
                Ok(()) if !lock.is_in_place() => {}
                Ok(()) => return Ok(LocalLock::Held(lock)),
                Err(TryLockError::WouldBlock) => {
                    let metadata = lock.directory.metadata();
                    return Ok(LocalLock::Taken(
                        metadata.ok().and_then(|found| holder_of(&found)),
                    ));
                }
                // Some file systems of other machines.
                Err(TryLockError::Error(_)) => return Ok(LocalLock::Unsupported),
            }
        }
    }
}

impl HeldDirectory for LocalDirectoryLock {
    fn is_in_place(&self) -> bool {
        let same = |locked: Metadata, there: Metadata| {
            (locked.dev(), locked.ino()) == (there.dev(), there.ino())
        };
        match (self.directory.metadata(), fs::metadata(&self.path)) {
            (Ok(locked), Ok(there)) => same(locked, there),
            (Err(_), _) | (_, Err(_)) => false,
        }
    }
}

/// The process that has locked a file, as Linux tells.
///
/// A line of `/proc/locks`: `1: FLOCK  ADVISORY  WRITE 4711 fe:00:131 0 EOF` (proc_locks(5)); the numbers of
/// the device are not compared, as some file systems tell others in the metadata of a file.
fn holder_of(file: &Metadata) -> Option<u32> {
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let holders = locks.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (kind, pid, place) = (words.next()?, words.nth(2)?, words.next()?);
        let inode: u64 = place.rsplit(':').next()?.parse().ok()?;
        (kind == "FLOCK" && inode == file.ino()).then(|| pid.parse().ok())?
    });
    let holders: Vec<u32> = holders.collect();
    match holders[..] {
        [holder] => Some(holder),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(path: &Path) -> LocalDirectoryLock {
        match LocalDirectoryLock::acquire(path).expect("a directory") {
            LocalLock::Held(lock) => lock,
            other @ (LocalLock::Taken(_) | LocalLock::Unsupported) => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_at_a_time_has_a_directory_and_the_others_are_told_who() {
        let place = tempfile::tempdir().expect("room");
        let first = held(place.path());
        let second = LocalDirectoryLock::acquire(place.path()).expect("a directory");
        let LocalLock::Taken(holder) = second else {
            panic!("{second:?}");
        };
        assert_eq!(holder, Some(std::process::id()));
        drop(first);
        drop(held(place.path()));
    }

    #[test]
    fn a_directory_that_was_made_anew_is_not_the_one_that_is_locked() {
        let place = tempfile::tempdir().expect("room");
        let directory = place.path().join("job");
        fs::create_dir(&directory).expect("room");
        let first = held(&directory);
        assert!(first.is_in_place());
        fs::rename(&directory, place.path().join("aside")).expect("it can be moved");
        assert!(!first.is_in_place());
        fs::create_dir(&directory).expect("room");
        assert!(!first.is_in_place());
        assert!(held(&directory).is_in_place());
    }
}
