//! Local recovery: second copies of state on the disks of this machine, as one process of a job uses
//! them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use millpond_job::ToWorker;
use millpond_snapshot::{JobDirectories, LoadedSnapshot, LocalCopies};
use millpond_types::JobId;
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
    /// Where the copies of a job lie; nowhere if there are none.
    pub(crate) fn of_job(&self, job: JobId) -> JobDirectories {
        let is_on = self.backup || self.recover;
        JobDirectories::new(if is_on { &self.directories } else { &[] }, job)
    }

    /// The copies that the job master of a job reads.
    pub(crate) fn to_read(&self, job: JobId) -> Option<Arc<LocalCopies>> {
        let copies = || Arc::new(LocalCopies::to_read(self.of_job(job)));
        self.recover.then(copies)
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
    /// Those of the process number `process`; `None` if it has none.
    ///
    /// # Errors
    ///
    /// No thread can be had.
    pub(crate) fn new(
        config: &LocalRecovery,
        job: JobId,
        process: u32,
    ) -> std::io::Result<Option<Self>> {
        if !config.backup && !config.recover {
            return Ok(None);
        }
        let copies = Arc::new(LocalCopies::of_process(config.of_job(job), process));
        let (fates, heard) = channel();
        let of_thread = Arc::clone(&copies);
        std::thread::Builder::new()
            .name("local-copies".to_owned())
            .spawn(move || {
                for fate in heard {
                    match fate {
                        Fate::Complete(checkpoint) => of_thread.complete(checkpoint),
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
