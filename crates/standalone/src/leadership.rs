//! Who leads: of several job managers over one directory, the one that holds its lock.
//!
//! ```text
//! <directory>/leader.lock     locked by the leader; the system lets go of it when that process ends
//! <directory>/leader.json     where the leader is: {"rpc":"host:port","rest":"host:port"}
//! ```
//!
//! The lock is the kernel's (`flock`), so a leader that stands still leads on, and two never lead at
//! once: for job managers on one machine, or on a file system whose locks are those of all its machines.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How often a standby looks.
const LOOK: Duration = Duration::from_millis(50);

/// Held for as long as this process leads.
#[derive(Debug)]
pub(crate) struct Leadership {
    _lock: File,
}

/// Where the leader is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Leader {
    /// For task managers.
    pub(crate) rpc: String,
    /// For users.
    pub(crate) rest: String,
}

impl Leadership {
    /// Waits until this process leads; `standing_by` is called if another one does.
    pub(crate) fn acquire(directory: &Path, standing_by: impl FnOnce()) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let lock = File::options()
            .create(true)
            .append(true)
            .open(directory.join("leader.lock"))?;
        let mut standing_by = Some(standing_by);
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(Leadership { _lock: lock }),
                Err(TryLockError::WouldBlock) => {
                    if let Some(standing_by) = standing_by.take() {
                        standing_by();
                    }
                    std::thread::sleep(LOOK);
                }
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }

    /// Tells where this leader is.
    pub(crate) fn publish(&self, directory: &Path, leader: &Leader) -> io::Result<()> {
        let path = directory.join("leader.json");
        let temporary = path.with_extension("tmp");
        std::fs::write(&temporary, serde_json::to_vec(leader)?)?;
        std::fs::rename(temporary, path)
    }
}

/// Where the leader was when one last told.
pub(crate) fn leader(directory: &Path) -> io::Result<Leader> {
    let text = std::fs::read(directory.join("leader.json"))?;
    Ok(serde_json::from_slice(&text)?)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn one_leads_and_the_next_one_when_it_is_gone() {
        let place = tempfile::tempdir().expect("room");
        let first = Leadership::acquire(place.path(), || panic!("nobody leads")).expect("a lock");
        let told = Leader {
            rpc: "a:1".to_owned(),
            rest: "a:2".to_owned(),
        };
        first.publish(place.path(), &told).expect("room");
        assert_eq!(leader(place.path()).expect("told"), told);
        let (events, heard) = channel();
        let directory = place.path().to_owned();
        let second = std::thread::spawn(move || {
            let standing_by = events.clone();
            let lock =
                Leadership::acquire(&directory, || standing_by.send("waits").expect("heard"));
            events.send("leads").expect("heard");
            lock
        });
        assert_eq!(heard.recv(), Ok("waits"));
        assert!(heard.recv_timeout(Duration::from_millis(150)).is_err());
        drop(first);
        assert_eq!(heard.recv(), Ok("leads"));
        second.join().expect("no panic").expect("a lock");
    }
}
