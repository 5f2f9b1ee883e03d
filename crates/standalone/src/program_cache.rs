//! The programs that a task manager has, fetched from its job manager when they are first needed.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

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
    /// Held while a program is fetched: two who need it wait for one transfer.
    fetching: Mutex<BTreeMap<String, Arc<Mutex<()>>>>,
}

impl ProgramCache {
    /// Those of the job manager at this address, in this directory.
    pub(crate) fn new(job_manager: String, security: Internal, directory: PathBuf) -> Self {
        ProgramCache {
            job_manager,
            security,
            directory,
            fetching: Mutex::default(),
        }
    }

    /// Where a program is; it is fetched first if it is not there.
    ///
    /// # Errors
    ///
    /// The job manager does not have it, or cannot be reached; no room.
    pub(crate) fn path(&self, program: &str) -> io::Result<PathBuf> {
        if program.contains('/') || program.starts_with('.') {
            return Err(io::Error::other(format!("\"{program}\" is no program")));
        }
        let path = self.directory.join(program);
        let one = {
            let mut fetching = lock(&self.fetching);
            Arc::clone(fetching.entry(program.to_owned()).or_default())
        };
        let _one = lock(&one);
        if !path.is_file() {
            self.fetch(program, &path)?;
        }
        Ok(path)
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

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
