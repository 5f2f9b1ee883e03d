//! The kernel's lock on a file: of several job managers over one directory, the one that holds it leads.
//!
//! ```text
//! <directory>/leader.lock     locked by the leader; the system lets go of it when that process ends
//! <directory>/leader.json     where the leader is: {"rpc":"host:port","rest":"host:port"}
//! ```
//!
//! The lock is the kernel's (`flock`), so a leader that stands still leads on, and two never lead at
//! once: for job managers on one machine, or on a file system whose locks are those of all its machines.

use std::fmt;
use std::fs::{File, TryLockError};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use millpond_types::config::options;

use crate::election::{Election, Leader, Leadership};
use crate::term::Term;

/// How often a standby looks.
const LOOK: Duration = Duration::from_millis(50);

/// How often those who follow look: it is a small file.
const FOLLOW: Duration = Duration::from_millis(200);

/// An election among those who see one directory.
#[derive(Debug)]
pub(crate) struct FileLock {
    directory: PathBuf,
}

impl FileLock {
    pub(crate) fn new(directory: PathBuf) -> Self {
        FileLock { directory }
    }

    fn told<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| {
            let what = format!("\"{}\": {error}", self.directory.display());
            io::Error::new(error.kind(), what)
        })
    }

    fn lock(&self, standing_by: &mut dyn FnMut()) -> io::Result<File> {
        std::fs::create_dir_all(&self.directory)?;
        let lock = File::options()
            .create(true)
            .append(true)
            .open(self.directory.join("leader.lock"))?;
        let mut is_told = false;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(lock),
                Err(TryLockError::WouldBlock) => {
                    if !is_told {
                        is_told = true;
                        standing_by();
                    }
                    std::thread::sleep(LOOK);
                }
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }
}

impl fmt::Display for FileLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the leader of \"{}\"", self.directory.display())
    }
}

impl Election for FileLock {
    fn campaign(&self, standing_by: &mut dyn FnMut()) -> io::Result<Box<dyn Leadership>> {
        let lock = self.told(self.lock(standing_by))?;
        Ok(Box::new(Locked {
            lock,
            term: Term::unlimited(),
            directory: self.directory.clone(),
        }))
    }

    fn leader(&self) -> io::Result<Leader> {
        match std::fs::read(self.directory.join("leader.json")) {
            Ok(text) => self.told(serde_json::from_slice(&text).map_err(io::Error::from)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let what = format!(
                    "{self} is not there: no job manager has led a cluster of this {} and {}",
                    options::HIGH_AVAILABILITY_STORAGE.key(),
                    options::HIGH_AVAILABILITY_CLUSTER.key()
                );
                Err(io::Error::new(error.kind(), what))
            }
            Err(error) => self.told(Err(error)),
        }
    }

    fn look_interval(&self) -> Duration {
        FOLLOW
    }
}

/// Held for as long as this process leads.
struct Locked {
    lock: File,
    directory: PathBuf,
    term: Term,
}

impl Leadership for Locked {
    fn publish(&self, leader: &Leader) -> io::Result<()> {
        self.term.check().map_err(io::Error::other)?;
        let path = self.directory.join("leader.json");
        let temporary = path.with_extension("tmp");
        std::fs::write(&temporary, serde_json::to_vec(leader)?)?;
        std::fs::rename(temporary, path)
    }

    fn term(&self) -> Term {
        self.term.clone()
    }

    fn wait_until_lost(&self) -> String {
        // The lock is lost with the process.
        loop {
            std::thread::park();
        }
    }

    fn give_up(&self) {
        self.term.end();
        // Otherwise it is lost with the process.
        let _ = self.lock.unlock();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn one_leads_and_the_next_one_when_it_is_gone() {
        let place = tempfile::tempdir().expect("room");
        let election = FileLock::new(place.path().join("cluster"));
        election.leader().expect_err("nobody leads");
        let first = election.campaign(&mut || panic!("nobody leads"));
        let first = first.expect("a lock");
        let told = Leader {
            rpc: "a:1".to_owned(),
            rest: "a:2".to_owned(),
        };
        first.publish(&told).expect("room");
        assert_eq!(election.leader().expect("told"), told);
        assert!(first.term().holds());
        let (events, heard) = channel();
        let second = std::thread::spawn(move || {
            let standing_by = events.clone();
            let lock = election.campaign(&mut || standing_by.send("waits").expect("heard"));
            events.send("leads").expect("heard");
            lock.expect("a lock").term().holds()
        });
        assert_eq!(heard.recv(), Ok("waits"));
        assert!(heard.recv_timeout(Duration::from_millis(150)).is_err());
        let term = first.term();
        first.give_up();
        assert!(!term.holds());
        assert_eq!(heard.recv(), Ok("leads"));
        assert!(second.join().expect("no panic"));
    }
}
