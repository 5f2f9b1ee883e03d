//! A cluster for one job: the program that a job manager runs by itself, once.
//!
//! A cluster that is highly available keeps which job that is, and how it has ended. The next leader goes on with
//! it, and when it has ended does not run it again.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use millpond_cluster::{await_master_end, job_end};
use millpond_job::JobStatus;
use millpond_job::programs::{Programs, RunRequest};
use millpond_types::JobId;

use crate::job_manager::Mode;
use crate::job_store::{JobStore, StoredJob};
use crate::program_store::ProgramStore;
use crate::registry::Registry;

/// A program that is to be run once.
#[derive(Clone, Debug)]
pub struct Application {
    /// Its executable.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The id of its job; `None`: one is drawn, or found where the cluster keeps it.
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

/// The jobs that earlier leaders have left in a directory.
#[derive(Debug, Default)]
pub(crate) struct Left {
    /// Those to go on with.
    pub(crate) jobs: Vec<(JobId, StoredJob)>,
    /// Applications whose program has not got as far as its job, or has not told.
    pub(crate) not_begun: Vec<JobId>,
}

impl Left {
    /// What lies in a store, for a job manager of this mode. Jobs are forgotten of whose end a leader had no time
    /// to do so.
    ///
    /// # Errors
    ///
    /// The store cannot be read or changed, or is a cluster's of the other mode; for people.
    pub(crate) fn in_store(store: &JobStore, mode: Mode) -> Result<Self, String> {
        let told = |error: io::Error| error.to_string();
        let mut left = Left::default();
        for (job, stored) in store.all().map_err(told)? {
            let place = store.path(job);
            if stored.is_application != (mode == Mode::Application) {
                return Err(format!(
                    "\"{}\" is of a cluster {}, which this one is not; give it another name \
                     (high-availability.cluster-id, kubernetes.cluster-id)",
                    place.display(),
                    match stored.is_application {
                        true => "for one job",
                        false => "for many jobs",
                    }
                ));
            }
            if store.noted_end(job).map_err(told)?.is_some() {
                store.remove(job).map_err(told)?;
            } else if stored.is_application && stored.checkpoints.is_none() {
                left.not_begun.push(job);
            } else {
                left.jobs.push((job, stored));
            }
        }
        Ok(left)
    }
}

/// An application that is about to be begun by a job manager.
pub struct Preparation {
    pub(crate) application: Application,
    pub(crate) programs: Arc<dyn Programs>,
    pub(crate) store: Option<JobStore>,
    /// The jobs that the job manager goes on with.
    pub(crate) going_on: Vec<JobId>,
    /// Those that are to be begun once more.
    pub(crate) not_begun: Vec<JobId>,
    /// For how long a master that stands still is waited for.
    pub(crate) patience: Duration,
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
        if let Some(store) = &self.store
            && let Some(begun) = self.found(store)?
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
    fn found(&self, store: &JobStore) -> Result<Option<Begun>, String> {
        let told = |error: io::Error| error.to_string();
        let wanted = |job: JobId| self.application.job.is_none_or(|wanted| wanted == job);
        match &self.going_on[..] {
            [] => {}
            [job] if wanted(*job) => return Ok(Some(Begun::GoesOn(*job))),
            others => {
                let others: Vec<String> = others.iter().map(JobId::to_string).collect();
                return Err(format!(
                    "the cluster runs other jobs: {}",
                    others.join(", ")
                ));
            }
        }
        for job in &self.not_begun {
            let lock = store.lock(*job);
            await_master_end(&lock, self.patience).map_err(told)?;
            if let Some(end) = job_end(&lock) {
                store.note_end(*job, end).map_err(told)?;
            }
            store.remove(*job).map_err(told)?;
        }
        if let Some(damaged) = store.damaged().map_err(told)?.first() {
            return Err(format!(
                "\"{}\" is of a job and cannot be understood; without it the job would begin anew",
                damaged.display()
            ));
        }
        let mut ends = store.noted_ends().map_err(told)?.into_iter();
        let Some((job, status)) = ends.find(|(job, _)| wanted(*job)) else {
            return Ok(None);
        };
        self.registry.lock().ended.insert(job, status);
        Ok(Some(Begun::HasEnded(job, status)))
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

/// Removes what nobody needs behind the end of the job: the program, and if that is wanted how it has ended.
pub(crate) fn tidy(programs: &ProgramStore, store: Option<&JobStore>, forgets_result: bool) {
    if let Some(store) = store {
        // A job that is still kept is the next leader's to end, who may want its program.
        let is_settled = store.all().is_ok_and(|jobs| jobs.is_empty());
        if !store.is_ours() || !is_settled {
            return;
        }
    }
    for program in programs.list() {
        if let Err(error) = programs.delete(&program.id) {
            tracing::warn!("{error}");
        }
    }
    let forgetting = store.filter(|_| forgets_result);
    if let Some(Err(error)) = forgetting.map(JobStore::remove_ends) {
        tracing::warn!("how the job has ended stays noted: {error}");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use millpond_leadership::Term;

    use super::*;

    fn job(is_application: bool, checkpoints: Option<&str>) -> StoredJob {
        StoredJob {
            program: "p".to_owned(),
            arguments: Vec::new(),
            configuration: BTreeMap::new(),
            checkpoints: checkpoints.map(str::to_owned),
            has_checkpoint: false,
            requirements: None,
            checkpoint_interval_ms: None,
            earlier_masters: 0,
            is_application,
        }
    }

    #[test]
    fn what_earlier_leaders_have_left_goes_on_is_begun_or_has_ended() {
        let place = tempfile::tempdir().expect("room");
        let store = JobStore::open(place.path(), Term::unlimited()).expect("a directory");
        let [begun, not_begun, ended] = [1, 2, 3].map(|n| JobId([n; 16]));
        store.put(begun, &job(true, Some("file:/c"))).expect("room");
        store.put(not_begun, &job(true, None)).expect("room");
        store.put(ended, &job(true, Some("file:/d"))).expect("room");
        // The leader was killed behind the first of two steps.
        store.note_end(ended, JobStatus::Canceled).expect("room");
        let left = Left::in_store(&store, Mode::Application).expect("its own");
        let jobs: Vec<JobId> = left.jobs.iter().map(|(job, _)| *job).collect();
        assert_eq!((jobs, left.not_begun), (vec![begun], vec![not_begun]));
        assert_eq!(store.all().expect("read").len(), 2);
        let why = Left::in_store(&store, Mode::Session).expect_err("another cluster's");
        assert!(why.contains("for one job"), "{why}");
    }

    #[test]
    fn jobs_of_a_session_are_no_application() {
        let place = tempfile::tempdir().expect("room");
        let store = JobStore::open(place.path(), Term::unlimited()).expect("a directory");
        store.put(JobId([1; 16]), &job(false, None)).expect("room");
        let left = Left::in_store(&store, Mode::Session).expect("its own");
        assert_eq!(left.jobs.len(), 1);
        let why = Left::in_store(&store, Mode::Application).expect_err("another cluster's");
        assert!(why.contains("for many jobs"), "{why}");
    }
}
