//! The job master's slow side: writes metadata on a thread; deletions have [another](crate::cleaner).

use std::collections::HashMap;
use std::sync::mpsc::{Sender, channel};

use millpond_checkpoint::{Completion, JobFacts, assemble};
use millpond_fs::Location;
use millpond_job::JobGraph;
use millpond_snapshot::{
    Metadata, StreamHandle, shared_directory, task_owned_directory, write_metadata,
};
use millpond_types::{CheckpointId, JobId, OperatorId};

use crate::cleaner::{Cleaner, Deletion};
use crate::disposal::dispose;
use crate::event::MasterEvent;
use crate::fence::Fence;
use crate::storage::Storage;

/// The version that snapshots carry.
const MILLPOND_VERSION: &str = env!("CARGO_PKG_VERSION");

enum Work {
    Write {
        directory: String,
        triggered_at_ms: u64,
        metadata: Box<Metadata>,
    },
    /// A small file; what becomes of it is only logged.
    Note { file: Location, bytes: Vec<u8> },
    /// Answer when everything before is done.
    Finish(Sender<()>),
}

/// The thread and its queue.
pub(crate) struct SnapshotIo {
    queue: Sender<Work>,
    cleaner: Cleaner,
    fence: Fence,
    storage: Storage,
    events: Sender<MasterEvent>,
    job: JobId,
    name: String,
}

impl SnapshotIo {
    /// Starts the thread; results go to `events`; where `fence` keeps it from that, it does nothing.
    pub(crate) fn start(
        events: Sender<MasterEvent>,
        name: String,
        job: JobId,
        storage: Storage,
        fence: Fence,
    ) -> std::io::Result<Self> {
        let cleaner = Cleaner::start(storage.clone(), fence.clone())?;
        let (of_thread, own_fence) = (storage.clone(), fence.clone());
        let (queue, work) = channel();
        let results = events.clone();
        std::thread::Builder::new()
            .name("snapshot-io".to_owned())
            .spawn(move || {
                for work in work {
                    match work {
                        Work::Write {
                            directory,
                            triggered_at_ms,
                            metadata,
                        } => {
                            let checkpoint = metadata.checkpoint_id;
                            let may = fence.check(checkpoint, triggered_at_ms, &directory);
                            let result = may.and_then(|()| {
                                write(&of_thread, &directory, &metadata)
                                    .map_err(|error| error.to_string())
                            });
                            // If not in time, nothing is committed: whoever leads now does so.
                            let result = result.and_then(|()| of_thread.check_term());
                            // The master is gone: nobody is left to be told.
                            let _ =
                                results.send(MasterEvent::MetadataWritten { checkpoint, result });
                        }
                        Work::Note { file, bytes } => {
                            let written = fence.check_deletion().and_then(|()| {
                                let fs = of_thread.file_system(&file);
                                let written = fs.and_then(|fs| fs.write_atomic(&file, &bytes));
                                written.map_err(|error| error.to_string())
                            });
                            if let Err(why) = written {
                                tracing::warn!("what was to be noted is not: {why}");
                            }
                        }
                        Work::Finish(done) => {
                            // Whoever asked has gone away.
                            let _ = done.send(());
                        }
                    }
                }
            })?;
        Ok(SnapshotIo {
            queue,
            cleaner,
            fence: own_fence,
            storage,
            events,
            job,
            name,
        })
    }

    /// Writes the metadata of a snapshot whose parts are all there.
    pub(crate) fn complete(
        &self,
        completion: Completion,
        graph: &JobGraph,
        coordinators: &HashMap<OperatorId, Vec<u8>>,
    ) {
        let facts = JobFacts {
            job: self.job,
            name: &self.name,
            millpond_version: MILLPOND_VERSION,
        };
        match assemble(&completion, graph, facts) {
            Ok(mut metadata) => {
                let unfinished = metadata.operators.iter_mut().filter(|all| !all.finished);
                for operator in unfinished {
                    operator.coordinator =
                        coordinators
                            .get(&operator.id)
                            .map(|bytes| StreamHandle::Bytes {
                                name: operator.id.to_string(),
                                data: bytes.clone(),
                            });
                }
                let directory = completion.options.directory;
                self.submit(Work::Write {
                    directory,
                    triggered_at_ms: completion.options.triggered_at_ms,
                    metadata: Box::new(metadata),
                });
            }
            Err(error) => {
                let checkpoint = completion.options.id;
                let result = Err(error.to_string());
                // The master is the caller.
                let _ = self
                    .events
                    .send(MasterEvent::MetadataWritten { checkpoint, result });
            }
        }
    }

    /// Writes a small file in the background.
    pub(crate) fn note(&self, file: Location, bytes: Vec<u8>) {
        self.submit(Work::Note { file, bytes });
    }

    /// Deletes what is superfluous, in the background.
    pub(crate) fn delete(&self, deletion: Deletion) {
        self.cleaner.delete(deletion);
    }

    /// Disposes of a savepoint in the background, and tells the master when it is done.
    pub(crate) fn dispose(&self, directory: String) {
        let (storage, events) = (self.storage.clone(), self.events.clone());
        let fence = self.fence.clone();
        std::thread::spawn(move || {
            let disposed = fence.check_deletion();
            match disposed.and_then(|()| dispose(&storage, &directory)) {
                // The master is gone: nobody is left to be told.
                Ok(directory) => drop(events.send(MasterEvent::Disposed { directory })),
                Err(why) => tracing::warn!("cannot delete the savepoint \"{directory}\": {why}"),
            }
        });
    }

    /// Waits until all that was asked for is done.
    pub(crate) fn finish(&self) {
        let (done, wait) = channel();
        self.submit(Work::Finish(done));
        // Fails only if the thread has died, and then there is nothing to wait for.
        let _ = wait.recv();
        self.cleaner.finish();
    }

    fn submit(&self, work: Work) {
        // The thread lives as long as this sender.
        let _ = self.queue.send(work);
    }
}

fn write(
    storage: &Storage,
    directory: &str,
    metadata: &Metadata,
) -> Result<(), millpond_snapshot::Error> {
    let directory = Location::parse(directory)?;
    let fs = storage.file_system(&directory)?;
    write_metadata(&*fs, &directory, metadata)?;
    Ok(())
}

/// Looks at a job's own directory before it starts: removes what a kill has left of unfinished
/// checkpoints (`chk-N` without metadata is no snapshot, and nobody else writes there), and returns
/// the highest N of the others, whose names are taken.
pub(crate) fn prepare_job_directory(
    storage: &Storage,
    directory: &str,
    job: JobId,
) -> CheckpointId {
    let look = || -> Result<CheckpointId, millpond_fs::Error> {
        let directory = Location::parse(directory)?;
        let fs = storage.file_system(&directory)?;
        let mut highest = 0;
        if !fs.exists(&directory)? {
            return Ok(highest);
        }
        // A directory without the job's name may be shared with other jobs.
        let is_own = directory.file_name() == job.to_string();
        for entry in fs
            .list(&directory)?
            .into_iter()
            .filter(|entry| entry.is_dir)
        {
            let Some(number) = entry.name.strip_prefix("chk-").and_then(|n| n.parse().ok()) else {
                continue;
            };
            let checkpoint = directory.join(&entry.name);
            if is_own && !fs.exists(&checkpoint.join(millpond_snapshot::METADATA_FILE))? {
                fs.delete_dir(&checkpoint)?;
            } else {
                highest = highest.max(number);
            }
        }
        Ok(highest)
    };
    look().unwrap_or_else(|error| {
        tracing::warn!("cannot look for earlier checkpoints in \"{directory}\": {error}");
        0
    })
}

/// Makes the directories for files that checkpoints share, and that tasks own, as Flink does; returns the
/// latter if it is there then. Nothing else ever makes it, so a directory of checkpoints without it is
/// not the one that the job has written to.
pub(crate) fn make_shared_directories(storage: &Storage, directory: &str) -> Option<Location> {
    let make = || -> Result<Option<Location>, millpond_fs::Error> {
        let directory = Location::parse(directory)?;
        let fs = storage.file_system(&directory)?;
        fs.create_dir_all(&shared_directory(&directory))?;
        let mark = task_owned_directory(&directory);
        fs.create_dir_all(&mark)?;
        Ok(fs.exists(&mark)?.then_some(mark))
    };
    make().unwrap_or_else(|error| {
        // Whoever writes there makes them, or fails its checkpoint.
        tracing::warn!("cannot make directories for checkpoints in \"{directory}\": {error}");
        None
    })
}
