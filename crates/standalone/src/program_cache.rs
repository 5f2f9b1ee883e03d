//! The programs that a task manager has, fetched from its job manager when they are first needed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use millpond_cluster::send;
use millpond_job::resources::{Hello, PROTOCOL, Peer};
use millpond_security::Internal;

/// For how long nothing may come.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// A directory of programs.
pub(crate) struct ProgramCache {
    job_manager: String,
    security: Internal,
    directory: PathBuf,
    /// For how long a program is kept that nobody runs.
    kept: Duration,
    programs: Mutex<BTreeMap<String, Program>>,
}

/// A program that is there, or is being fetched.
struct Program {
    /// Held while it is fetched: two who need it wait for one transfer. Others have it while they need it.
    fetching: Arc<Mutex<()>>,
    /// When somebody did last.
    needed: Instant,
}

/// A program that is not removed while somebody has this.
pub(crate) struct Needed {
    pub(crate) path: PathBuf,
    _program: Arc<Mutex<()>>,
}

impl ProgramCache {
    /// Those of the job manager at this address, in this directory, which may have some.
    pub(crate) fn new(
        job_manager: String,
        security: Internal,
        directory: PathBuf,
        kept: Duration,
    ) -> Self {
        let entries = std::fs::read_dir(&directory)
            .into_iter()
            .flatten()
            .flatten();
        let files = entries.filter(|entry| entry.path().is_file());
        let names = files.filter_map(|entry| entry.file_name().into_string().ok());
        let programs = names.map(|name| (name, Program::new())).collect();
        ProgramCache {
            job_manager,
            security,
            directory,
            kept,
            programs: Mutex::new(programs),
        }
    }

    /// Removes programs that nobody has run for long; `running` are run now.
    pub(crate) fn forget_unused(&self, running: &BTreeSet<String>, now: Instant) {
        lock(&self.programs).retain(|name, program| {
            if running.contains(name) || Arc::strong_count(&program.fetching) > 1 {
                program.needed = now;
            }
            if now.duration_since(program.needed) < self.kept {
                return true;
            }
            match std::fs::remove_file(self.directory.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!("program {name} cannot be removed: {error}");
                    // It is tried again when it would have been kept for that long.
                    program.needed = now;
                    true
                }
                _ => false,
            }
        });
    }

    /// Where a program is; it is fetched first if it is not there.
    ///
    /// # Errors
    ///
    /// The job manager does not have it, or cannot be reached; no room.
    pub(crate) fn get(&self, program: &str) -> io::Result<Needed> {
        if program.contains('/') || program.starts_with('.') {
            return Err(io::Error::other(format!("\"{program}\" is no program")));
        }
        let path = self.directory.join(program);
        let one = {
            let mut programs = lock(&self.programs);
            let one = programs.entry(program.to_owned());
            Arc::clone(&one.or_insert_with(Program::new).fetching)
        };
        let fetching = lock(&one);
        if !path.is_file() {
            self.fetch(program, &path)?;
        }
        drop(fetching);
        Ok(Needed {
            path,
            _program: one,
        })
    }

    fn fetch(&self, program: &str, path: &Path) -> io::Result<()> {
        let mut stream = self.security.connect(&self.job_manager, READ_TIMEOUT)?;
        stream.set_read_timeout(Some(READ_TIMEOUT))?;
        let hello = Hello {
            protocol: PROTOCOL,
            who: Peer::Program {
                program: program.to_owned(),
            },
        };
        send(&mut stream, &hello)?;
        let mut length = [0; 8];
        stream.read_exact(&mut length)?;
        let length = u64::from_le_bytes(length);
        if length == u64::MAX {
            let what = format!("the job manager does not have program {program} any more");
            return Err(io::Error::new(io::ErrorKind::NotFound, what));
        }
        let temporary = self.directory.join(format!(".{program}"));
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o755)
            .open(&temporary)?;
        let copied = io::copy(&mut stream.take(length), &mut file)?;
        if copied < length {
            let what = format!("{copied} of {length} bytes of program {program} have come");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
        }
        std::fs::rename(temporary, path)
    }
}

impl Program {
    fn new() -> Self {
        Program {
            fetching: Arc::default(),
            needed: Instant::now(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: Duration = Duration::from_secs(60);

    #[test]
    fn programs_that_nobody_runs_go_when_their_time_is_over() {
        let directory = tempfile::tempdir().expect("room");
        for name in ["idle", "running", "needed", ".half"] {
            std::fs::write(directory.path().join(name), "program").expect("room");
        }
        std::fs::create_dir(directory.path().join("directory")).expect("room");
        let path = directory.path().to_owned();
        let cache = ProgramCache::new("nobody:1".to_owned(), Internal::default(), path, KEPT);
        let there = || {
            let entries = std::fs::read_dir(directory.path()).expect("it is there");
            let names = entries.map(|entry| entry.expect("readable").file_name());
            let mut names: Vec<_> = names.filter_map(|name| name.into_string().ok()).collect();
            names.sort();
            names
        };
        let all = there();
        let running = BTreeSet::from(["running".to_owned()]);
        let needed = cache.get("needed").expect("it is there");
        let begin = Instant::now();
        cache.forget_unused(&running, begin);
        assert_eq!(there(), all);
        cache.forget_unused(&running, begin + KEPT);
        assert_eq!(there(), ["directory", "needed", "running"]);
        drop(needed);
        cache.forget_unused(&BTreeSet::new(), begin + KEPT * 2 - Duration::from_secs(1));
        assert_eq!(there(), ["directory", "needed", "running"]);
        cache.forget_unused(&BTreeSet::new(), begin + KEPT * 2);
        assert_eq!(there(), ["directory"]);
        // Nobody can be asked for it.
        assert!(cache.get("needed").is_err());
    }
}
