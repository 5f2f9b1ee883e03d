//! Keeping a directory to oneself, against other processes.
//!
//! The system lets go of a lock when its process ends, however it ends: nobody has to judge whether an
//! owner is still alive, and nothing stays behind. A lock is on the directory as it was when it was taken:
//! one that was moved away or deleted since, and made anew, can be another process's.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata, TryLockError};
use std::io::{self, BufRead, BufReader};
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

/// The process that has locked a file, as Linux tells; not known while others lock and unlock too fast.
///
/// A line of `/proc/locks`: `1: FLOCK  ADVISORY  WRITE 4711 fe:00:131 0 EOF` (proc_locks(5)).
fn holder_of(file: &Metadata) -> Option<u32> {
    // What is read in several pieces misses lines, or has them twice, when there are changes between two
    // pieces; one that was missed is there the next time.
    (0..3).find_map(|_| holder_among(&read_locks()?, file))
}

fn read_locks() -> Option<String> {
    // Pieces as large as the system gives them: `fs::read_to_string` begins with much smaller ones.
    let mut file = BufReader::with_capacity(1 << 16, File::open("/proc/locks").ok()?);
    let mut locks = Vec::new();
    loop {
        let piece = file.fill_buf().ok()?;
        if piece.is_empty() {
            return String::from_utf8(locks).ok();
        }
        let bytes = piece.len();
        locks.extend_from_slice(piece);
        file.consume(bytes);
    }
}

/// The one process that has locked a file, of the lines of `/proc/locks`.
fn holder_among(locks: &str, file: &Metadata) -> Option<u32> {
    let holders: BTreeSet<(bool, u32)> = locks
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            let (kind, pid, place) = (words.next()?, words.nth(2)?, words.next()?);
            let (device, inode) = place.rsplit_once(':')?;
            let inode: u64 = inode.parse().ok()?;
            let same_device = device_of(device) == Some(file.dev());
            (kind == "FLOCK" && inode == file.ino())
                .then(|| Some((same_device, pid.parse().ok()?)))?
        })
        .collect();
    // Files of other devices have the same numbers; some file systems tell another device in the metadata of
    // a file, so that none of the lines has it.
    let of_device = |same| {
        let mut found = holders.iter().filter(move |holder| holder.0 == same);
        found
            .next()
            .map(|holder| (holder.1, found.next().is_none()))
    };
    let (holder, alone) = of_device(true).or_else(|| of_device(false))?;
    alone.then_some(holder)
}

/// The number of a device by its hexadecimal halves, `fe:00`, as glibc's `makedev` puts them together.
fn device_of(halves: &str) -> Option<u64> {
    let (major, minor) = halves.split_once(':')?;
    let half = |text| u64::from_str_radix(text, 16).ok();
    let (major, minor) = (half(major)?, half(minor)?);
    Some(
        ((major & 0xffff_f000) << 32)
            | ((major & 0xfff) << 8)
            | ((minor & 0xffff_ff00) << 12)
            | (minor & 0xff),
    )
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
        // Other processes of this machine lock files meanwhile, and then it may not be known at once.
        let this = std::process::id();
        assert!([None, Some(this)].contains(&holder), "{holder:?}");
        let metadata = fs::metadata(place.path()).expect("a directory");
        let told = (0..1000).find_map(|_| holder_of(&metadata));
        assert_eq!(told, Some(this));
        drop(first);
        drop(held(place.path()));
    }

    #[test]
    fn a_holder_is_told_by_file_and_device_if_there_is_one_alone() {
        let place = tempfile::tempdir().expect("room");
        let metadata = fs::metadata(place.path()).expect("a directory");
        let device = metadata.dev();
        let major = ((device >> 8) & 0xfff) | ((device >> 32) & 0xffff_f000);
        let minor = (device & 0xff) | ((device >> 12) & 0xffff_ff00);
        let inode = metadata.ino();
        let own = format!("1: FLOCK  ADVISORY  WRITE 4711 {major:02x}:{minor:02x}:{inode} 0 EOF\n");
        let of_another = format!("2: FLOCK  ADVISORY  WRITE 4712 7f:07:{inode} 0 EOF\n");
        let kinds =
            format!("3: POSIX  ADVISORY  WRITE 4713 {major:02x}:{minor:02x}:{inode} 0 EOF\n");
        assert_eq!(holder_among("", &metadata), None);
        assert_eq!(holder_among(&own, &metadata), Some(4711));
        assert_eq!(holder_among(&of_another, &metadata), Some(4712));
        let all = format!("{of_another}{own}{kinds}{own}");
        assert_eq!(holder_among(&all, &metadata), Some(4711));
        let two = format!("{own}{}", own.replace("4711", "4714"));
        assert_eq!(holder_among(&two, &metadata), None);
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
