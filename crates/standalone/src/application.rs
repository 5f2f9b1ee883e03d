//! A cluster for one job: the program that a job manager runs by itself, once.
//!
//! In a cluster that is highly available the job has the same id whoever leads. The next leader goes on with it,
//! and when it has ended does not run it again.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use millpond_job::JobStatus;
use millpond_job::programs::{Programs, RunRequest};
use millpond_types::JobId;

use crate::job_store::JobStore;
use crate::registry::Registry;

/// A program that is to be run once.
#[derive(Clone, Debug)]
pub struct Application {
    /// Its executable.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The id of its job; `None`: one is drawn, or in a highly available cluster made from its name.
    pub job: Option<JobId>,
}

/// What became of an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// Its job was not there and is now.
    Submitted(JobId),
    /// An earlier leader has submitted its job, and it goes on.
    GoesOn(JobId),
    /// Its job has ended so, and is not run again.
    HasEnded(JobId, JobStatus),
}

impl Application {
    /// The job of a highly available cluster, as Flink makes it from the name of that.
    pub fn job_of_cluster(cluster: &str) -> JobId {
        // Java's `String.hashCode`.
        let hash = cluster.encode_utf16().fold(0_i32, |hash, unit| {
            hash.wrapping_mul(31).wrapping_add(i32::from(unit))
        });
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&i64::from(hash).to_be_bytes());
        JobId(bytes)
    }
}

/// An application that is about to be begun by a job manager.
pub struct Preparation {
    pub(crate) application: Application,
    pub(crate) programs: Arc<dyn Programs>,
    pub(crate) store: Option<JobStore>,
    /// The jobs that the job manager goes on with.
    pub(crate) found: Vec<JobId>,
    pub(crate) registry: Arc<Registry>,
}

impl Preparation {
    /// Submits the job unless it goes on or has ended, and waits until it is accepted.
    ///
    /// # Errors
    ///
    /// The program cannot be read or kept, or did not get as far as its job; it cannot be known whether the job
    /// has ended; for people.
    pub fn begin(&self) -> Result<Begun, String> {
        if let (Some(store), Some(job)) = (&self.store, self.application.job)
            && let Some(begun) = self.found(store, job)?
        {
            return Ok(begun);
        }
        let id = self.upload()?;
        let request = RunRequest {
            arguments: self.application.arguments.clone(),
            job: self.application.job,
            ..RunRequest::default()
        };
        let accepted = self.programs.run(&id, request);
        accepted
            .map(Begun::Submitted)
            .map_err(|error| error.to_string())
    }

    /// What earlier leaders have made of the job; `None` if nothing.
    fn found(&self, store: &JobStore, job: JobId) -> Result<Option<Begun>, String> {
        if self.found.contains(&job) {
            return Ok(Some(Begun::GoesOn(job)));
        }
        if let Some(status) = store.noted_end(job).map_err(|error| error.to_string())? {
            self.registry.lock().ended.insert(job, status);
            return Ok(Some(Begun::HasEnded(job, status)));
        }
        let kept = store.path(job);
        match kept.try_exists() {
            Ok(false) => Ok(None),
            Ok(true) => Err(format!(
                "job {job} is kept in \"{}\", which cannot be understood; without it the job would begin anew",
                kept.display()
            )),
            Err(error) => Err(format!("\"{}\": {error}", kept.display())),
        }
    }

    /// Hands the program to the job manager; returns its id there.
    fn upload(&self) -> Result<String, String> {
        let path = &self.application.program;
        let told = |error: io::Error| format!("\"{}\": {error}", path.display());
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let mut file = File::open(path).map_err(told)?;
        let upload = self.programs.upload(&name);
        let mut upload = upload.map_err(|error| error.to_string())?;
        io::copy(&mut file, &mut upload).map_err(told)?;
        let kept = upload.finish().map_err(|error| error.to_string())?;
        Ok(kept.rsplit('/').next().unwrap_or_default().to_owned())
    }
}

/// Removes programs that nobody will run again.
pub(crate) fn remove_programs(programs: &dyn Programs) {
    for program in programs.list() {
        if let Err(error) = programs.delete(&program.id) {
            tracing::warn!("{error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `new JobID(name.hashCode(), 0)` is in Java.
    #[test]
    fn the_job_of_a_cluster_has_the_id_that_flink_gives_it() {
        for (cluster, expected) in [
            ("", "00000000000000000000000000000000"),
            ("default", "000000005c13d6410000000000000000"),
            ("my-job", "ffffffffc0bf681c0000000000000000"),
            ("µ€😀", "0000000000e7fa3a0000000000000000"),
        ] {
            let found = Application::job_of_cluster(cluster).to_string();
            assert_eq!(found, expected, "{cluster}");
        }
    }
}
