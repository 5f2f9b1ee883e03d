//! Where the local copies of one job lie, and what jobs that were killed have left.

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
        for directory in self.of_job() {
            if let Err(error) = made(&directory) {
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

    /// Deletes the copies of jobs whose job master is gone.
    pub fn remove_dead(&self) {
        for (name, directory) in self.of_all_jobs() {
            if name != self.job && is_dead(&directory) {
                removed(&directory);
            }
        }
    }
}

fn made(directory: &Path) -> io::Result<()> {
    // State is nobody else's business.
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700).create(directory)?;
    match OwnerProcess::this() {
        Some(owner) => fs::write(directory.join(OWNER), serde_json::to_vec(&owner)?),
        // Then nobody can know whether it is still there.
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

/// Whether the job master that has made a directory of a job is certainly gone.
fn is_dead(directory: &Path) -> bool {
    let owner = fs::read(directory.join(OWNER)).ok();
    let owner = owner.and_then(|bytes| serde_json::from_slice::<OwnerProcess>(&bytes).ok());
    owner.is_some_and(|owner| owner.is_gone() == Some(true) || owner.was_before_boot())
}
