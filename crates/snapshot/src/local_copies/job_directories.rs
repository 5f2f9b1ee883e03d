//! Where the local copies of one job lie, and what jobs that were killed have left.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use millpond_types::JobId;

use super::entries;
use crate::OwnerProcess;

/// Below each of the directories that are configured; as Flink calls it.
const BELOW_ROOT: &str = "localState";
/// Before the id of a job; as Flink has it.
const JOB_PREFIX: &str = "jid_";
/// The file that says which process has made the directory of a job.
const OWNER: &str = "owner";

/// The directories for the local copies of one job: one below each of those that are configured.
#[derive(Clone, Debug)]
pub struct JobDirectories {
    roots: Vec<PathBuf>,
    job: String,
}

impl JobDirectories {
    /// Those of `job` below `directories`, which may be none.
    pub fn new(directories: &[PathBuf], job: JobId) -> Self {
        JobDirectories {
            roots: directories
                .iter()
                .map(|root| root.join(BELOW_ROOT))
                .collect(),
            job: format!("{JOB_PREFIX}{job}"),
        }
    }

    /// As [`new`](Self::new), for the workers of one task manager: those of several on one machine lie apart,
    /// as each deletes its own.
    pub fn of_task_manager(directories: &[PathBuf], job: JobId, id: &str) -> Self {
        let in_names = |c: char| match c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_') {
            true => c,
            false => '_',
        };
        let id: String = id.chars().map(in_names).collect();
        let all = Self::new(directories, job);
        JobDirectories {
            job: format!("{}_{id}", all.job),
            ..all
        }
    }

    pub(super) fn of_job(&self) -> Vec<PathBuf> {
        let roots = self.roots.iter();
        roots.map(|root| root.join(&self.job)).collect()
    }

    /// Names and paths of the directories of this job and of all others.
    pub(super) fn of_all_jobs(&self) -> Vec<(String, PathBuf)> {
        let all = self.roots.iter().flat_map(|root| entries(root));
        all.filter(|(name, _)| name.starts_with(JOB_PREFIX))
            .collect()
    }

    /// Makes the directories of this job, as those of this process, which is its job master. Without
    /// one of them there are no copies in it, which is told and no error.
    pub fn make(&self) {
        self.make_for(OwnerProcess::this().as_ref());
    }

    /// As [`make`](Self::make), as those of another process: when that is gone they may be
    /// [removed](Self::remove_dead). Without an owner nobody can know whether it is.
    pub fn make_for(&self, owner: Option<&OwnerProcess>) {
        for directory in self.of_job() {
            if let Err(error) = made(&directory, owner) {
                tracing::warn!(
                    "no local copies of state below \"{}\": {error}",
                    directory.display()
                );
            }
        }
    }

    /// Deletes all copies of this job, whose tasks have ended.
    pub fn remove(&self) {
        self.of_job()
            .iter()
            .for_each(|directory| removed(directory));
    }

    /// Deletes the copies that have been made for job masters and task managers which are gone.
    pub fn remove_dead(&self) {
        for (name, directory) in self.of_all_jobs() {
            if name != self.job && is_dead(&directory.join(OWNER)) {
                removed(&directory);
            }
        }
    }

    /// Notes that this process is number `process` of the job, for [`Self::remove_dead_processes`].
    pub fn enter(&self, process: u32) {
        let this = OwnerProcess::this();
        for directory in self.of_job() {
            // A process that is not noted keeps its copies until the end of the job.
            let _ = note_owner(&directory.join(format!("{process}.{OWNER}")), this.as_ref());
        }
    }

    /// Deletes the copies of processes of this job that have [entered](Self::enter) and are gone.
    pub fn remove_dead_processes(&self) {
        for (name, note) in self.of_job().iter().flat_map(|job| entries(job)) {
            let path = Path::new(&name);
            let is_note = path.extension() == Some(OsStr::new(OWNER));
            let process = path.file_stem().filter(|_| is_note);
            if let Some(process) = process.filter(|_| is_dead(&note)) {
                removed(&note.with_file_name(process));
                // It is looked at again by the next one.
                let _ = fs::remove_file(&note);
            }
        }
    }
}

fn made(directory: &Path, owner: Option<&OwnerProcess>) -> io::Result<()> {
    // State is nobody else's business.
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700).create(directory)?;
    note_owner(&directory.join(OWNER), owner)
}

fn note_owner(file: &Path, owner: Option<&OwnerProcess>) -> io::Result<()> {
    match owner {
        Some(owner) => fs::write(file, serde_json::to_vec(owner)?),
        None => Ok(()),
    }
}

fn removed(directory: &Path) {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => tracing::warn!(
            "local copies of state cannot be deleted: \"{}\": {error}",
            directory.display()
        ),
        Ok(()) | Err(_) => {}
    }
}

/// Whether the process that a note is of is certainly gone.
fn is_dead(note: &Path) -> bool {
    let owner = fs::read(note).ok();
    let owner = owner.and_then(|bytes| serde_json::from_slice::<OwnerProcess>(&bytes).ok());
    owner.is_some_and(|owner| owner.is_gone() == Some(true) || owner.was_before_boot())
}
