//! How long a database may fail on a disk that takes files.
//!
//! RocksDB stops writing when its disk is full, and looks every few seconds whether it has become free. Not
//! all that it has stopped for is taken up again: some errors last until it is opened anew. Such a database
//! is given up, and the job goes on with a new one, from its last checkpoint.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use millpond_state::Error;

/// Twice the time in which RocksDB looks at its disk.
const PATIENCE: Duration = Duration::from_secs(10);

/// Less than this is no room: RocksDB would not get far.
const ROOM_BYTES: usize = 1 << 20;

/// Since when a database has failed though its disk takes files.
#[derive(Default)]
pub(super) struct Resumption(Mutex<Option<Instant>>);

impl Resumption {
    pub(super) fn succeeded(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// What is to be told of a failure: that the database is given up, if it has had its time.
    pub(super) fn failed(&self, error: Error, directory: &Path) -> Error {
        let takes_files = takes_files(directory).is_ok();
        self.failed_at(error, takes_files, Instant::now())
    }

    fn failed_at(&self, error: Error, takes_files: bool, now: Instant) -> Error {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !takes_files {
            *since = None;
            return error;
        }
        let lasts = now.duration_since(*since.get_or_insert(now));
        match lasts < PATIENCE {
            true => error,
            false => {
                let lasts = lasts.as_secs();
                let what =
                    format!("each image of RocksDB for {lasts} s, on a disk that takes files,");
                Error::broken(what, error)
            }
        }
    }
}

/// Whether a file of some size can be written.
fn takes_files(directory: &Path) -> io::Result<()> {
    let path = directory.join("room");
    let written = File::create(&path).and_then(|mut file| {
        file.write_all(&vec![0; ROOM_BYTES])?;
        file.sync_data()
    });
    let removed = std::fs::remove_file(&path);
    written.and(removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond_state::ErrorKind;

    fn is_given_up(resumption: &Resumption, takes_files: bool, now: Instant) -> bool {
        let error = Error::storage("linking", "no space");
        let error = resumption.failed_at(error, takes_files, now);
        matches!(error.kind(), ErrorKind::Broken { .. })
    }

    #[test]
    fn a_database_is_given_up_when_it_has_had_its_time_on_a_disk_that_takes_files() {
        let resumption = Resumption::default();
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        // The disk is full for as long as it may be.
        assert!(!is_given_up(&resumption, false, at(0)));
        assert!(!is_given_up(&resumption, false, at(100)));
        // There is room; RocksDB finds it in time.
        assert!(!is_given_up(&resumption, true, at(101)));
        resumption.succeeded();
        // It does not.
        assert!(!is_given_up(&resumption, true, at(200)));
        assert!(!is_given_up(&resumption, true, at(209)));
        assert!(is_given_up(&resumption, true, at(210)));
    }

    #[test]
    fn a_disk_that_is_full_again_begins_the_time_anew() {
        let resumption = Resumption::default();
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        assert!(!is_given_up(&resumption, true, at(0)));
        assert!(!is_given_up(&resumption, false, at(5)));
        assert!(!is_given_up(&resumption, true, at(12)));
        assert!(is_given_up(&resumption, true, at(22)));
    }

    #[test]
    fn a_directory_that_is_not_there_takes_no_files() {
        let directory = tempfile::tempdir().expect("room");
        takes_files(directory.path()).expect("room");
        assert_eq!(
            std::fs::read_dir(directory.path())
                .expect("it is there")
                .count(),
            0
        );
        takes_files(&directory.path().join("none")).expect_err("it is not there");
    }
}
