//! The jobs of a cluster that have not ended, in files: whoever leads next goes on with them.
//!
//! ```text
//! <directory>/jobs/<job id>.json     one job: program, arguments, options, where its checkpoints are
//! <directory>/jobs/<job id>.lock     held by the job's master for as long as it lives
//! <directory>/jobs/<job id>.result   how it has ended, such as FINISHED; of a cluster of one job
//! ```
//!
//! Which checkpoint is the newest is not noted: the directory of checkpoints says so, and cannot be behind
//! what is true.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use millpond_job::JobStatus;
use millpond_job::requirements::RequirementsBody;
use millpond_leadership::Term;
use millpond_types::JobId;
use serde::{Deserialize, Serialize};

use crate::job_process::Program;

/// How the names of files of jobs end.
const JOB: &str = "json";

/// How those end that say how a job has ended.
const RESULT: &str = "result";

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
    /// Whether the cluster is for it alone.
    #[serde(default)]
    pub(crate) is_application: bool,
}

impl StoredJob {
    /// A job of this program, about which no more is known.
    pub(crate) fn of(program: &Program, is_application: bool) -> Self {
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
            is_application,
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

    /// The files of jobs that cannot be understood.
    pub(crate) fn damaged(&self) -> io::Result<Vec<PathBuf>> {
        let mut files = self.files(JOB)?;
        let known: Vec<PathBuf> = self.all()?.iter().map(|(job, _)| self.path(*job)).collect();
        files.retain(|file| !known.contains(file));
        Ok(files)
    }

    /// The files whose names end so.
    fn files(&self, ending: &str) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|found| found == ending) {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
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
        self.write(&self.path(job), &serde_json::to_vec_pretty(stored)?)
    }

    /// Notes how a job has ended, which is not to be run again.
    pub(crate) fn note_end(&self, job: JobId, status: JobStatus) -> io::Result<()> {
        self.write(&self.result(job), status.as_str().as_bytes())
    }

    /// How a job has ended, if that was noted.
    ///
    /// # Errors
    ///
    /// It cannot be read, or says something else.
    pub(crate) fn noted_end(&self, job: JobId) -> io::Result<Option<JobStatus>> {
        let path = self.result(job);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut all = JobStatus::ALL.into_iter();
        let ended = all.find(|status| status.is_globally_terminal() && status.as_str() == text);
        ended.map(Some).ok_or_else(|| {
            let shown = path.display();
            io::Error::other(format!(
                "\"{shown}\" is {text:?}, expected FINISHED, CANCELED or FAILED; it says how the job has \
                 ended, and without it the job would run again"
            ))
        })
    }

    /// Nobody is to know any more how jobs have ended.
    pub(crate) fn remove_ends(&self) -> io::Result<()> {
        self.term.check().map_err(io::Error::other)?;
        self.files(RESULT)?
            .iter()
            .try_for_each(std::fs::remove_file)
    }

    /// How jobs have ended of which that was noted.
    ///
    /// # Errors
    ///
    /// As [`noted_end`](Self::noted_end).
    pub(crate) fn noted_ends(&self) -> io::Result<Vec<(JobId, JobStatus)>> {
        let mut ends = Vec::new();
        for file in self.files(RESULT)? {
            let name = file.file_stem().and_then(|name| name.to_str());
            let job = name.unwrap_or_default().parse::<JobId>();
            let job =
                job.map_err(|error| io::Error::other(format!("\"{}\": {error}", file.display())))?;
            ends.extend(self.noted_end(job)?.map(|end| (job, end)));
        }
        Ok(ends)
    }

    /// Whether the job manager leads, so that what is kept here is its.
    pub(crate) fn is_ours(&self) -> bool {
        self.term.check().is_ok()
    }

    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let temporary = path.with_extension("tmp");
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(content)?;
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

    /// Where it is said how a job has ended.
    pub(crate) fn result(&self, job: JobId) -> PathBuf {
        self.directory.join(format!("{job}.{RESULT}"))
    }

    /// Where a job is kept.
    pub(crate) fn path(&self, job: JobId) -> PathBuf {
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
            is_application: false,
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
    fn how_a_job_has_ended_is_known_until_it_is_forgotten_and_never_guessed() {
        let place = tempfile::tempdir().expect("room");
        let store = JobStore::open(place.path(), Term::unlimited()).expect("a directory");
        let id = JobId([1; 16]);
        assert_eq!(store.noted_end(id).expect("none"), None);
        for end in [JobStatus::Finished, JobStatus::Canceled, JobStatus::Failed] {
            store.note_end(id, end).expect("room");
            assert_eq!(store.noted_end(id).expect("read"), Some(end));
            assert_eq!(store.noted_ends().expect("read"), [(id, end)]);
        }
        assert!(store.all().expect("read").is_empty(), "it is no job");
        store.put(id, &job()).expect("room");
        store.remove_ends().expect("there");
        assert_eq!(store.all().expect("read").len(), 1, "a job is no end");
        assert_eq!(store.noted_end(id).expect("none"), None);
        for damaged in ["", "FINISHE", "RUNNING"] {
            std::fs::write(store.result(id), damaged).expect("room");
            let why = store.noted_end(id).expect_err("no end").to_string();
            assert!(why.contains(&format!("{id}.result")), "{why}");
            store.noted_ends().expect_err("no end");
        }
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
