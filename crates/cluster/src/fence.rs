//! Keeps two job masters from taking checkpoints in one directory.
//!
//! They would take the same numbers, and each would replace and delete what the other has written. So a
//! master locks its directory for as long as it lives: at its start, and again before it completes a
//! checkpoint if the directory is not the locked one any more, as somebody has moved it away or it could
//! not be had before. Who finds it taken at its start does not begin. Who finds it taken later completes
//! and deletes nothing there.
//!
//! In a cluster with high availability a lock of the job ([`MasterLock`](crate::master_lock::MasterLock)) comes
//! first, which a later master takes away from an earlier one; this one is free then. Rejected: a file that
//! names the owner, as it stays behind a kill, and somebody would have to judge whether its owner lives. On
//! file systems without locks nothing is kept from anybody, and a warning says so.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use millpond_checkpoint::is_in_memory;
use millpond_fs::{DirectoryLock, Error, ErrorKind, HeldDirectory, Location};

use crate::lock::lock;
use crate::storage::Storage;

/// How often a taken directory is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// The lock of a job's checkpoint directory. Clones share it.
#[derive(Clone)]
pub(crate) struct Fence(Arc<Shared>);

struct Shared {
    storage: Storage,
    directory: String,
    held: Mutex<Option<Box<dyn HeldDirectory>>>,
    /// The file system has no locks, which was told.
    is_open: AtomicBool,
}

/// What came of trying.
enum Tried {
    /// It is locked, or cannot be.
    Passed,
    Taken(Option<u32>),
}

impl Fence {
    /// Returns the fence of a directory, which is not locked yet.
    pub(crate) fn of(storage: Storage, directory: &str) -> Self {
        let named = Location::parse(directory).map(|location| location.to_string());
        Fence(Arc::new(Shared {
            storage,
            // As locations in it are written; one that cannot be understood is told by who writes there.
            directory: named.unwrap_or_else(|_| directory.to_owned()),
            held: Mutex::default(),
            is_open: AtomicBool::new(is_in_memory(directory)),
        }))
    }

    /// Locks the directory if it is there; if `makes`, it is. Another master that is about to end has
    /// `patience` to do so.
    ///
    /// # Errors
    ///
    /// Another one has it, for people. A directory that cannot be had now is none: whoever writes there
    /// will be told.
    pub(crate) fn enter(&self, makes: bool, patience: Duration) -> Result<(), String> {
        let deadline = Instant::now() + patience;
        loop {
            match self.lock(makes) {
                Ok(Tried::Passed) => return Ok(()),
                Ok(Tried::Taken(_)) if Instant::now() < deadline => std::thread::sleep(LOOK),
                Ok(Tried::Taken(holder)) => return Err(self.taken(holder)),
                Err(error) if !makes && error.kind() == ErrorKind::NotFound => return Ok(()),
                Err(error) => {
                    tracing::warn!("the directory of checkpoints is not locked yet: {error}");
                    return Ok(());
                }
            }
        }
    }

    /// Makes sure, before something in the directory is made visible, that nobody else is at work there.
    ///
    /// # Errors
    ///
    /// Somebody is, for people.
    pub(crate) fn check(&self) -> Result<(), String> {
        match self.lock(true) {
            // What cannot be locked cannot be written, and says so itself.
            Ok(Tried::Passed) | Err(_) => Ok(()),
            Ok(Tried::Taken(holder)) => Err(self.taken(holder)),
        }
    }

    /// Whether `location` lies in the directory, and another master is at work there.
    pub(crate) fn keeps_from(&self, location: &str) -> bool {
        self.is_around(location) && matches!(self.lock(false), Ok(Tried::Taken(_)))
    }

    /// Whether `location` lies in the directory.
    pub(crate) fn is_around(&self, location: &str) -> bool {
        let below = location.strip_prefix(&self.0.directory);
        below.is_some_and(|below| below.starts_with('/'))
    }

    fn lock(&self, makes: bool) -> Result<Tried, Error> {
        let Shared { held, is_open, .. } = &*self.0;
        if is_open.load(Ordering::Relaxed) {
            return Ok(Tried::Passed);
        }
        // Held over the look at the directory: two threads of this master would find each other there.
        let mut held = lock(held);
        if held.as_ref().is_some_and(|held| held.is_in_place()) {
            return Ok(Tried::Passed);
        }
        *held = None;
        let directory = Location::parse(&self.0.directory)?;
        let fs = self.0.storage.file_system(&directory)?;
        if makes {
            fs.create_dir_all(&directory)?;
        }
        match fs.lock_dir(&directory)? {
            DirectoryLock::Held(now) => {
                *held = Some(now);
                Ok(Tried::Passed)
            }
            DirectoryLock::Taken(holder) => Ok(Tried::Taken(holder)),
            DirectoryLock::Unsupported => {
                tracing::warn!(
                    "\"{directory}\" is on a file system without locks: see to it that no other job \
                     master, such as one of the same job started twice, takes checkpoints there"
                );
                is_open.store(true, Ordering::Relaxed);
                Ok(Tried::Passed)
            }
        }
    }

    fn taken(&self, holder: Option<u32>) -> String {
        let who = match holder {
            Some(pid) => format!("process {pid} of this machine"),
            None => "another process".to_owned(),
        };
        format!(
            "{who} takes checkpoints in \"{}\", and two that do would overwrite and delete each other's. \
             Has this job been started twice? Wait for the end of the other, or end it; or give this job a \
             job id or a directory (execution.checkpointing.dir) of its own",
            self.0.directory
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fence(place: &tempfile::TempDir) -> Fence {
        let directory = Location::of_path(&place.path().join("job")).expect("a path");
        Fence::of(Storage::default(), &directory.to_string())
    }

    #[test]
    fn the_second_master_is_refused_until_the_first_has_gone() {
        let place = tempfile::tempdir().expect("room");
        let (first, second) = (fence(&place), fence(&place));
        first.enter(true, Duration::ZERO).expect("free");
        let why = second.enter(true, Duration::ZERO).expect_err("taken");
        // Who that is may not be known while other processes of this machine lock and unlock.
        let pid = format!("process {} of this machine", std::process::id());
        let is_told = [pid.as_str(), "another process"];
        assert!(is_told.iter().any(|who| why.contains(who)), "{why}");
        assert!(why.contains("/job"), "{why}");
        let waits = std::thread::spawn(move || second.enter(true, Duration::from_secs(60)));
        first.check().expect("its own");
        drop(first);
        waits.join().expect("no panic").expect("free now");
    }

    #[test]
    fn who_finds_another_in_its_place_touches_nothing_there() {
        let place = tempfile::tempdir().expect("room");
        let (first, second) = (fence(&place), fence(&place));
        first.enter(true, Duration::ZERO).expect("free");
        let directory = place.path().join("job");
        std::fs::rename(&directory, place.path().join("aside")).expect("it can be moved");
        second
            .enter(true, Duration::ZERO)
            .expect("another directory");
        let chk = format!("{}/chk-7", first.0.directory);
        first.check().expect_err("taken");
        assert!(first.keeps_from(&chk));
        assert!(!first.keeps_from("file:/savepoints/sp-1"));
        drop(second);
        first.check().expect("free again");
        assert!(!first.keeps_from(&chk));
    }

    #[test]
    fn a_directory_that_cannot_be_had_now_is_locked_when_it_can() {
        let place = tempfile::tempdir().expect("room");
        let (first, second) = (fence(&place), fence(&place));
        let directory = place.path().join("job");
        std::fs::write(&directory, "in the way").expect("room");
        first
            .enter(true, Duration::ZERO)
            .expect("nobody else is there");
        first.check().expect("nobody else is there");
        std::fs::remove_file(&directory).expect("it was there");
        first.check().expect("free");
        second.enter(true, Duration::ZERO).expect_err("taken");
    }
}
