//! What the master of a job holds for as long as it lives, so that no two of one job work at once.
//!
//! The file says which process that is, and, when the job has ended, how: before anything of the job is
//! deleted, so that whoever finds checkpoints gone knows why.
//!
//! A master ends when its job manager does, or leads no more, but one that stands still does not know yet.
//! Whoever comes after it must not begin while it could wake up, complete a checkpoint or delete a file, and
//! the leader must not look for the newest checkpoint while it could complete one.
//!
//! A holder on this machine is killed. One elsewhere cannot be, and is waited for: the system, or the server
//! of the file system, lets go of its lock when its process or its machine is gone.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use millpond_job::JobStatus;
use millpond_snapshot::OwnerProcess;
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

/// Waits until no master of the job whose file this is works any more. Who still does after `patience` stands
/// still, and is killed if it is on this machine; who waits must be the one who starts masters.
///
/// # Errors
///
/// The file cannot be had, or its holder cannot be killed.
pub fn await_master_end(path: &Path, patience: Duration) -> io::Result<()> {
    let file = wait_for(path, patience)?;
    if job_end(path).is_none() {
        // Nobody is to be killed for what this process holds.
        file.set_len(0)?;
    }
    Ok(())
}

/// A file, locked; the system lets go of it when this process ends.
#[derive(Debug)]
pub(crate) struct MasterLock {
    file: File,
}

impl MasterLock {
    /// Waits until nobody else holds it. Who still does after `patience` stands still, and is killed if it is
    /// on this machine.
    ///
    /// # Errors
    ///
    /// The file cannot be had, or its holder cannot be killed.
    pub(crate) fn acquire(path: &Path, patience: Duration) -> io::Result<Self> {
        let file = wait_for(path, patience)?;
        if let Some(status) = job_end(path) {
            let what = format!("an earlier master of this job has told that it is {status}");
            return Err(io::Error::other(what));
        }
        let lock = MasterLock { file };
        lock.write(&serde_json::to_string(&OwnerProcess::this())?)?;
        Ok(lock)
    }

    /// The job has ended.
    pub(crate) fn end(&self, status: JobStatus) -> io::Result<()> {
        self.write(&format!("{ENDED}{status}"))?;
        self.file.sync_all()
    }

    fn write(&self, text: &str) -> io::Result<()> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(0))?;
        // On a full disk there may be no room for it again once it is cut off.
        file.write_all(text.as_bytes())?;
        file.set_len(text.len() as u64)
    }
}

/// Returns the file when it is locked, or cannot be.
fn wait_for(path: &Path, patience: Duration) -> io::Result<File> {
    let mut file = File::options()
        .create(true)
        .read(true)
        .write(true)
        .truncate(false)
        .open(path)?;
    let mut deadline = Instant::now() + patience;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {}
            Err(TryLockError::WouldBlock) => {
                end_holder(&mut file, path)?;
                deadline = Instant::now() + patience;
            }
            // Some file systems of other machines.
            Err(TryLockError::Error(error)) => {
                tracing::warn!(
                    "\"{}\" is on a file system without locks ({error}): an earlier master of this job that \
                     stands still is kept from nothing but what it looks at before it changes anything",
                    path.display()
                );
                return Ok(file);
            }
        }
        std::thread::sleep(LOOK);
    }
}

/// Kills who holds the file, if that is known and on this machine.
fn end_holder(file: &mut File, path: &Path) -> io::Result<()> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_string(&mut text)?;
    // None has just begun or is about to end.
    let holder: Option<OwnerProcess> = serde_json::from_str(&text).unwrap_or_default();
    let here = holder
        .as_ref()
        .filter(|holder| holder.is_gone() == Some(false));
    match (here, &holder) {
        (Some(here), _) => {
            tracing::warn!("{here} is an earlier master of this job and is killed");
            let pid = i32::try_from(here.pid).ok().and_then(Pid::from_raw);
            let pid = pid.ok_or_else(|| io::Error::other(format!("{here} is none")))?;
            // It holds the lock and was started when the file says, so the number is no later process's.
            kill_process(pid, Signal::KILL)?;
        }
        (None, Some(elsewhere)) => tracing::warn!(
            "{elsewhere} is an earlier master of this job, holds \"{}\" and cannot be ended from here: the \
             job goes on when that process or its machine is gone",
            path.display()
        ),
        (None, None) => tracing::warn!(
            "\"{}\" is locked by a process that has not told which it is",
            path.display()
        ),
    }
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
        let told: OwnerProcess = serde_json::from_str(&text).expect("a process");
        assert_eq!(told.pid, std::process::id());
        assert_eq!(job_end(&path), None);
    }

    /// Its number is another process's here.
    #[test]
    fn a_holder_on_another_machine_is_waited_for_and_nobody_is_killed_for_it() {
        let place = tempfile::tempdir().expect("room");
        let path = place.path().join("lock");
        let first = MasterLock::acquire(&path, Duration::from_secs(60)).expect("free");
        let elsewhere = OwnerProcess {
            system: "another boot".to_owned(),
            ..OwnerProcess::this().expect("a Linux system")
        };
        let text = serde_json::to_string(&elsewhere).expect("text");
        first.write(&text).expect("room");
        let of_thread = path.clone();
        let second =
            std::thread::spawn(move || await_master_end(&of_thread, Duration::from_millis(20)));
        std::thread::sleep(Duration::from_millis(200));
        assert!(!second.is_finished(), "its patience is over ten times");
        drop(first);
        second.join().expect("no panic").expect("free now");
        let text = std::fs::read_to_string(&path).expect("text");
        assert_eq!(text, "", "nobody holds it");
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
