//! Directories of this machine that a process works in, and that do not outlive it for long.
//!
//! A process that ends removes its own. One that is killed cannot, so whoever begins to work in the same
//! place removes those of the dead ([`remove_abandoned`]). Each is locked by the process that has made it,
//! and the system lets go of that when the process ends: what is not locked has no owner. The name says
//! which directories that is about, as others have theirs in the same place, `/tmp` for example.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::{LocalDirectoryLock, LocalLock};

/// How the name of each begins. Versions that locked nothing had other names.
const PREFIX: &str = "millpond-local-";

/// How often another name is tried, as somebody took one for abandoned before it was locked.
const TRIES: u32 = 100;

/// A directory of this process, removed when it is dropped.
#[derive(Debug)]
pub struct ScratchDirectory {
    directory: TempDir,
    /// None where there are no locks, so that nobody takes it for abandoned either.
    _lock: Option<LocalDirectoryLock>,
}

impl ScratchDirectory {
    /// Makes one in `parent`, which is made as well; `what` it is for stands in its name.
    ///
    /// # Errors
    ///
    /// What the file system reports.
    pub fn new_in(parent: &Path, what: &str) -> io::Result<Self> {
        fs::create_dir_all(parent)?;
        let mut builder = tempfile::Builder::new();
        let prefix = format!("{PREFIX}{what}-");
        builder.prefix(&prefix);
        for _ in 0..TRIES {
            let directory = builder.tempdir_in(parent)?;
            let lock = match LocalDirectoryLock::acquire(directory.path()) {
                Ok(LocalLock::Held(lock)) => Some(lock),
                Ok(LocalLock::Unsupported) => None,
                Ok(LocalLock::Taken(_)) => continue,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            return Ok(ScratchDirectory {
                directory,
                _lock: lock,
            });
        }
        let what = "directories are taken away before they are locked";
        Err(io::Error::other(what))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// Removes the directories in `parent` whose processes have ended without doing so, and returns those that
/// are gone. What cannot be removed stays.
pub fn remove_abandoned(parent: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(parent) else {
        return Vec::new();
    };
    let mut removed = Vec::new();
    for entry in entries.flatten() {
        let is_one = entry.file_name().to_string_lossy().starts_with(PREFIX);
        // Not what a symbolic link points at.
        if !is_one || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let path = entry.path();
        // Held until it is gone: no other one removes it at the same time.
        if let Ok(LocalLock::Held(_lock)) = LocalDirectoryLock::acquire(&path)
            && fs::remove_dir_all(&path).is_ok()
        {
            removed.push(path);
        }
    }
    removed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_has_locked_goes_and_all_else_stays() {
        let place = tempfile::tempdir().expect("room");
        let parent = place.path().join("tmp");
        let alive = ScratchDirectory::new_in(&parent, "rocksdb-1").expect("room");
        fs::write(alive.path().join("CURRENT"), "x").expect("room");
        let dead = parent.join(format!("{PREFIX}rocksdb-2-abcdef"));
        fs::create_dir_all(dead.join("db")).expect("room");
        fs::write(dead.join("db").join("CURRENT"), "x").expect("room");
        // Of others, of a name like that but no directory, and behind a link.
        fs::create_dir(parent.join("rocksdb-3-abcdef")).expect("room");
        fs::write(parent.join(format!("{PREFIX}notes")), "x").expect("room");
        let elsewhere = place.path().join("elsewhere");
        fs::create_dir(&elsewhere).expect("room");
        let link = parent.join(format!("{PREFIX}link"));
        std::os::unix::fs::symlink(&elsewhere, &link).expect("room");
        assert_eq!(remove_abandoned(&parent), [dead]);
        assert!(alive.path().join("CURRENT").exists());
        assert!(elsewhere.exists() && link.exists());
        let left = fs::read_dir(&parent).expect("there").count();
        assert_eq!(left, 4);
        drop(alive);
        assert_eq!(fs::read_dir(&parent).expect("there").count(), 3);
        assert!(remove_abandoned(&place.path().join("none")).is_empty());
    }

    #[test]
    fn directories_made_while_others_look_for_abandoned_ones_are_there() {
        let place = tempfile::tempdir().expect("room");
        std::thread::scope(|scope| {
            let make = || {
                for _ in 0..200 {
                    let one = ScratchDirectory::new_in(place.path(), "one").expect("room");
                    fs::write(one.path().join("a"), "x").expect("it is there");
                    assert!(one.path().join("a").exists());
                }
            };
            let makers = [scope.spawn(make), scope.spawn(make)];
            while makers.iter().any(|maker| !maker.is_finished()) {
                remove_abandoned(place.path());
            }
            makers
                .into_iter()
                .for_each(|maker| maker.join().expect("no panic"));
        });
        assert_eq!(fs::read_dir(place.path()).expect("there").count(), 0);
    }
}
