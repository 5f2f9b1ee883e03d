//! The jobs of a cluster that have not ended, in files: whoever leads next goes on with them.
//!
//! ```text
//! <directory>/jobs/<job id>.json     one job: program, arguments, options, where its checkpoints are
//! <directory>/jobs/<job id>.lock     held by the job's master for as long as it lives
//! ```
//!
//! Which checkpoint is the newest is not noted: the directory of checkpoints says so, and cannot be behind
//! what is true.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use millpond_job::requirements::RequirementsBody;
use millpond_leadership::Term;
use millpond_types::JobId;
use serde::{Deserialize, Serialize};

use crate::job_process::Program;

/// A job that was submitted and has not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredJob {
    /// The id of its program.
    pub(crate) program: String,
    /// The program's arguments.
    pub(crate) arguments: Vec<String>,
    /// The options that it was submitted with, those of the cluster included.
    pub(crate) configuration: BTreeMap<String, String>,
    /// The directory of its own checkpoints, as a URI, once its master has told.
    pub(crate) checkpoints: Option<String>,
    /// Whether there is one: then it must not begin without.
    pub(crate) has_checkpoint: bool,
    /// Between which bounds its parallelism may be, if that was asked for.
    #[serde(default)]
    pub(crate) requirements: Option<RequirementsBody>,
    /// The interval of its periodic checkpoints, if that was changed.
    #[serde(default)]
    pub(crate) checkpoint_interval_ms: Option<u64>,
    /// How many masters it had before this one.
    #[serde(default)]
    pub(crate) earlier_masters: u32,
}

impl StoredJob {
    /// A job of this program, about which no more is known.
    pub(crate) fn of(program: &Program) -> Self {
        let pairs = program.configuration.iter();
        StoredJob {
            program: program.id.clone(),
            arguments: program.arguments.clone(),
            configuration: pairs
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            checkpoints: None,
            has_checkpoint: false,
            requirements: None,
            checkpoint_interval_ms: None,
            earlier_masters: 0,
        }
    }
}

/// The directory of jobs.
#[derive(Clone, Debug)]
pub(crate) struct JobStore {
    directory: PathBuf,
    /// Until when this job manager leads: then the jobs are another one's.
    term: Term,
}

impl JobStore {
    /// Opens the directory, and makes it if it is not there.
    pub(crate) fn open(directory: &Path, term: Term) -> io::Result<Self> {
        let directory = directory.join("jobs");
        std::fs::create_dir_all(&directory)?;
        Ok(JobStore { directory, term })
    }

    /// All jobs; a file that cannot be understood is logged and left.
    pub(crate) fn all(&self) -> io::Result<Vec<(JobId, StoredJob)>> {
        let mut jobs = Vec::new();
        for entry in std::fs::read_dir(&self.directory)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let Some(id) = name.and_then(|name| name.strip_suffix(".json")) else {
                continue;
            };
            let read = || -> Result<(JobId, StoredJob), String> {
                let job = id.parse::<JobId>().map_err(|error| error.to_string())?;
                let text = std::fs::read(&path).map_err(|error| error.to_string())?;
                let stored = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
                Ok((job, stored))
            };
            match read() {
                Ok(job) => jobs.push(job),
                Err(why) => tracing::error!("the job in \"{}\" is not run: {why}", path.display()),
            }
        }
        Ok(jobs)
    }

    /// Notes a job, or what is new about it.
    pub(crate) fn put(&self, job: JobId, stored: &StoredJob) -> io::Result<()> {
        let path = self.path(job);
        let temporary = path.with_extension("tmp");
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(&serde_json::to_vec_pretty(stored)?)?;
        file.sync_all()?;
        self.term.check().map_err(io::Error::other)?;
        std::fs::rename(temporary, path)?;
        std::fs::File::open(&self.directory)?.sync_all()
    }

    /// A job has ended.
    pub(crate) fn remove(&self, job: JobId) -> io::Result<()> {
        self.term.check().map_err(io::Error::other)?;
        match std::fs::remove_file(self.path(job)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => result?,
        }
        // Last, as it may say that the job has ended. Its master may still hold it; the next one of that
        // id makes another.
        let _ = std::fs::remove_file(self.lock(job));
        Ok(())
    }

    /// What the master of a job holds.
    pub(crate) fn lock(&self, job: JobId) -> PathBuf {
        self.directory.join(format!("{job}.lock"))
    }

    fn path(&self, job: JobId) -> PathBuf {
        self.directory.join(format!("{job}.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> StoredJob {
        StoredJob {
            program: "p".to_owned(),
            arguments: vec!["--keys".to_owned()],
            configuration: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
            checkpoints: None,
            has_checkpoint: false,
            requirements: None,
            checkpoint_interval_ms: None,
            earlier_masters: 0,
        }
    }

    #[test]
    fn a_job_is_there_until_it_has_ended_and_a_damaged_file_hides_no_other() {
        let place = tempfile::tempdir().expect("room");
        let store = JobStore::open(place.path(), Term::unlimited());
        let store = store.expect("a directory");
        let job = job();
        let known = StoredJob {
            checkpoints: Some("file:/c/1".to_owned()),
            ..job.clone()
        };
        let id = JobId([1; 16]);
        store.put(id, &job).expect("room");
        store.put(id, &known).expect("room");
        for damaged in ["x.json".to_owned(), format!("{}.json", JobId([2; 16]))] {
            std::fs::write(place.path().join("jobs").join(damaged), "{").expect("room");
        }
        assert_eq!(store.all().expect("read"), [(id, known)]);
        store.remove(id).expect("there");
        store.remove(id).expect("is no failure");
        assert!(store.all().expect("read").is_empty());
    }

    #[test]
    fn whoever_leads_no_more_changes_nothing() {
        let place = tempfile::tempdir().expect("room");
        let term = Term::unlimited();
        let store = JobStore::open(place.path(), term.clone()).expect("a directory");
        let (id, job) = (JobId([1; 16]), job());
        store.put(id, &job).expect("it leads");
        term.end();
        let other = StoredJob {
            has_checkpoint: true,
            ..job.clone()
        };
        store.put(id, &other).expect_err("another one's");
        store.remove(id).expect_err("another one's");
        assert_eq!(store.all().expect("read"), [(id, job)]);
    }
}
