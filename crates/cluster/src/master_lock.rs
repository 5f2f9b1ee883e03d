//! What the master of a job holds for as long as it lives, so that no two of one job work at once.
//!
//! The file says which process that is, and, when the job has ended, how: before anything of the job is
//! deleted, so that whoever finds checkpoints gone knows why.
//!
//! A master ends when its job manager does, but one that stands still does not know yet. Whoever comes
//! after it must not begin while it could wake up, complete a checkpoint or delete a file.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use millpond_job::JobStatus;
use rustix::process::{Pid, Signal, kill_process};

/// How often it is tried.
const LOOK: Duration = Duration::from_millis(10);

/// What stands in front of how the job has ended.
const ENDED: &str = "ended ";

/// How the job has ended whose master has held this file; `None` if it has not.
pub fn job_end(path: &Path) -> Option<JobStatus> {
    let text = std::fs::read_to_string(path).ok()?;
    let name = text.strip_prefix(ENDED)?;
    JobStatus::ALL
        .into_iter()
        .find(|status| status.as_str() == name)
}

/// A file, locked; the system lets go of it when this process ends.
#[derive(Debug)]
pub(crate) struct MasterLock {
    file: File,
}

impl MasterLock {
    /// Waits until nobody else holds it. Who still does after `patience` stands still, and is killed.
    ///
    /// # Errors
    ///
    /// The file cannot be had, or its holder cannot be killed.
    pub(crate) fn acquire(path: &Path, patience: Duration) -> io::Result<Self> {
        let mut file = File::options()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(path)?;
        let mut deadline = Instant::now() + patience;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {}
                Err(TryLockError::WouldBlock) => {
                    // It holds the lock, so the number is its own and no later process's.
                    kill(&mut file, path)?;
                    deadline = Instant::now() + patience;
                }
                Err(TryLockError::Error(error)) => return Err(error),
            }
            std::thread::sleep(LOOK);
        }
        if let Some(status) = job_end(path) {
            let what = format!("an earlier master of this job has told that it is {status}");
            return Err(io::Error::other(what));
        }
        let lock = MasterLock { file };
        lock.write(&std::process::id().to_string())?;
        Ok(lock)
    }

    /// The job has ended.
    pub(crate) fn end(&self, status: JobStatus) -> io::Result<()> {
        self.write(&format!("{ENDED}{status}"))?;
        self.file.sync_all()
    }

    fn write(&self, text: &str) -> io::Result<()> {
        let mut file = &self.file;
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(text.as_bytes())
    }
}

fn kill(file: &mut File, path: &Path) -> io::Result<()> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_string(&mut text)?;
    let holder = text.parse().ok().and_then(Pid::from_raw);
    let holder = holder.ok_or_else(|| {
        let what = format!(
            "\"{}\" is locked and holds \"{text}\", expected a process id",
            path.display()
        );
        io::Error::other(what)
    })?;
    tracing::warn!("process {text} is an earlier master of this job and is killed");
    kill_process(holder, Signal::KILL)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_one_waits_for_the_end_of_the_first() {
        let place = tempfile::tempdir().expect("room");
        let path = place.path().join("lock");
        let first = MasterLock::acquire(&path, Duration::from_secs(60)).expect("free");
        let of_thread = path.clone();
        let second =
            std::thread::spawn(move || MasterLock::acquire(&of_thread, Duration::from_secs(60)));
        std::thread::sleep(Duration::from_millis(100));
        assert!(!second.is_finished());
        drop(first);
        second.join().expect("no panic").expect("free now");
        let text = std::fs::read_to_string(&path).expect("text");
        assert_eq!(text, std::process::id().to_string());
        assert_eq!(job_end(&path), None);
    }

    #[test]
    fn nobody_goes_on_with_a_job_that_has_ended() {
        let place = tempfile::tempdir().expect("room");
        let path = place.path().join("lock");
        let first = MasterLock::acquire(&path, Duration::from_secs(60)).expect("free");
        first.end(JobStatus::Finished).expect("room");
        drop(first);
        assert_eq!(job_end(&path), Some(JobStatus::Finished));
        let why = MasterLock::acquire(&path, Duration::from_secs(60)).expect_err("over");
        assert!(why.to_string().contains("FINISHED"), "{why}");
    }
}
