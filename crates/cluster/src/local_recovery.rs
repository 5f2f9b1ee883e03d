//! Local recovery: second copies of state on the disks of this machine, as one process of a job uses
//! them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use millpond_job::ToWorker;
use millpond_snapshot::{JobDirectories, LoadedSnapshot, LocalCopies, OwnerProcess};
use millpond_types::JobId;
use millpond_types::config::{ConfigError, Configuration, WORKER_COPIES_VARIABLE, options};
use serde::{Deserialize, Serialize};

/// Whether and where there are second copies of state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalRecovery {
    /// Whether what is written for checkpoints is written there as well.
    pub backup: bool,
    /// Whether a restore reads them in place of the storage of checkpoints.
    pub recover: bool,
    /// Absolute paths of this machine; the first of them and the others alike.
    pub directories: Vec<PathBuf>,
}

impl LocalRecovery {
    /// What the options say.
    ///
    /// # Errors
    ///
    /// An option is none, or a directory is relative and this process has no working directory.
    pub fn from_configuration(configuration: &Configuration) -> Result<Self, ConfigError> {
        let key = options::LOCAL_BACKUP_DIRECTORIES.key();
        let directories = match configuration.get(&options::LOCAL_BACKUP_DIRECTORIES)? {
            Some(directories) => split_paths(&directories),
            None => {
                let directories = configuration.get(&options::TMP_DIRS)?;
                let first = directories.iter().flat_map(|all| split_paths(all)).next();
                vec![first.unwrap_or_else(std::env::temp_dir)]
            }
        };
        // A worker process may have another working directory.
        let absolute = directories.iter().map(|directory| {
            let why = |error: std::io::Error| {
                ConfigError::new(key, directory.display().to_string(), error.to_string())
            };
            std::path::absolute(directory).map_err(why)
        });
        Ok(LocalRecovery {
            backup: configuration.get(&options::LOCAL_BACKUP_ENABLED)?,
            recover: configuration.get(&options::RECOVER_FROM_LOCAL)?,
            directories: absolute.collect::<Result<_, _>>()?,
        })
    }

    /// Whether there are any copies.
    pub fn is_on(&self) -> bool {
        self.backup || self.recover
    }

    /// Where the copies of a job lie; nowhere if there are none.
    pub(crate) fn of_job(&self, job: JobId) -> JobDirectories {
        let directories = match self.is_on() {
            true => &self.directories[..],
            false => &[],
        };
        JobDirectories::new(directories, job)
    }

    /// The copies that the job master of a job reads.
    pub(crate) fn to_read(&self, job: JobId) -> Option<Arc<LocalCopies>> {
        let copies = || Arc::new(LocalCopies::to_read(self.of_job(job)));
        self.recover.then(copies)
    }
}

/// Paths by comma or colon, as Flink takes them.
fn split_paths(paths: &str) -> Vec<PathBuf> {
    let parts = paths.split([',', ':', '|']).map(str::trim);
    parts
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
        .collect()
}

/// Where the worker processes of a task manager have their copies: on its machine, which the job master
/// knows nothing of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskManagerCopies {
    /// Absolute paths.
    directories: Vec<PathBuf>,
    /// The name of the task manager.
    task_manager: String,
    /// Its process: copies of one that is gone may be deleted.
    owner: Option<OwnerProcess>,
}

impl TaskManagerCopies {
    /// Those below `directories` of the task manager that this process is.
    pub fn new(directories: Vec<PathBuf>, task_manager: String) -> Self {
        TaskManagerCopies {
            directories,
            task_manager,
            owner: OwnerProcess::this(),
        }
    }

    /// What stands in the environment of this process; `None` if no task manager has started it.
    ///
    /// # Errors
    ///
    /// The variable holds something else.
    pub fn from_environment() -> Result<Option<Self>, String> {
        let Ok(text) = std::env::var(WORKER_COPIES_VARIABLE) else {
            return Ok(None);
        };
        let parsed = serde_json::from_str(&text);
        parsed.map(Some).map_err(|error| {
            format!(
                "{WORKER_COPIES_VARIABLE} is \"{text}\", expected directories and a task manager as \
                 JSON: {error}"
            )
        })
    }

    /// The text for [`WORKER_COPIES_VARIABLE`].
    ///
    /// # Errors
    ///
    /// A path is no text.
    pub fn to_environment(&self) -> std::io::Result<String> {
        Ok(serde_json::to_string(self)?)
    }

    /// Deletes the copies of a job that has no workers here any more.
    pub fn delete(&self, job: JobId) {
        self.of_job(job).remove();
    }

    /// Where the copies of a job lie; its workers make the directories.
    fn of_job(&self, job: JobId) -> JobDirectories {
        JobDirectories::of_task_manager(&self.directories, job, &self.task_manager)
    }
}

/// The copies of one process, over all attempts of its job.
pub(crate) struct OwnCopies {
    copies: Arc<LocalCopies>,
    config: LocalRecovery,
    /// To a thread, as deletions take time.
    fates: Sender<Fate>,
}

/// What has become of a snapshot.
enum Fate {
    Complete(i64),
    Aborted(i64),
}

impl OwnCopies {
    /// Those of the process number `process`; `None` if it has none. If a task manager has started it, they
    /// are in that one's place.
    ///
    /// # Errors
    ///
    /// No thread can be had.
    pub(crate) fn new(
        config: &LocalRecovery,
        place: Option<&TaskManagerCopies>,
        job: JobId,
        process: u32,
    ) -> std::io::Result<Option<Self>> {
        if !config.is_on() {
            return Ok(None);
        }
        let directories = match place {
            Some(place) => place.of_job(job),
            None => config.of_job(job),
        };
        let mut of_the_dead = place.map(|_| directories.clone());
        if let Some(place) = place {
            directories.make_for(place.owner.as_ref());
            directories.enter(process);
        }
        let copies = Arc::new(LocalCopies::of_process(directories, process));
        let (fates, heard) = channel();
        let of_thread = Arc::clone(&copies);
        std::thread::Builder::new()
            .name("local-copies".to_owned())
            .spawn(move || {
                for fate in heard {
                    match fate {
                        Fate::Complete(checkpoint) => {
                            of_thread.complete(checkpoint);
                            // What of theirs was restored is this job's own now.
                            if let Some(directories) = of_the_dead.take() {
                                directories.remove_dead_processes();
                                directories.remove_dead();
                            }
                        }
                        Fate::Aborted(checkpoint) => of_thread.aborted(checkpoint),
                    }
                }
            })?;
        Ok(Some(OwnCopies {
            copies,
            config: config.clone(),
            fates,
        }))
    }

    /// Where second copies of what is written for checkpoints go.
    pub(crate) fn to_write(&self) -> Option<Arc<LocalCopies>> {
        self.config.backup.then(|| Arc::clone(&self.copies))
    }

    /// What a restore reads in place of the storage of checkpoints.
    pub(crate) fn to_read(&self) -> Option<Arc<LocalCopies>> {
        self.config.recover.then(|| Arc::clone(&self.copies))
    }

    /// Tasks are to be restored from a snapshot, or begin without.
    ///
    /// # Errors
    ///
    /// A path in the snapshot cannot be understood.
    pub(crate) fn restored(
        &self,
        snapshot: Option<&LoadedSnapshot>,
    ) -> Result<(), millpond_snapshot::Error> {
        match snapshot {
            None => self.copies.restored(0, BTreeSet::new()),
            Some(snapshot) => {
                let files = snapshot.files()?;
                self.copies.restored(snapshot.metadata.checkpoint_id, files);
            }
        }
        Ok(())
    }

    /// Hears what becomes of snapshots.
    pub(crate) fn hear(&self, message: &ToWorker) {
        let fate = match message {
            ToWorker::NotifyComplete { checkpoint, .. } => Fate::Complete(*checkpoint),
            ToWorker::NotifyAborted { checkpoint, .. } => Fate::Aborted(*checkpoint),
            ToWorker::Announce { .. }
            | ToWorker::Advance { .. }
            | ToWorker::EndOfInput { .. }
            | ToWorker::Cancel { .. } => return,
        };
        // The thread ends with the sender.
        let _ = self.fates.send(fate);
    }
}
