//! The job master's slow side: writes metadata and deletes snapshots, in order, on a thread.

use std::collections::HashMap;
use std::sync::mpsc::{Sender, channel};

use millpond_checkpoint::{Completion, JobFacts, assemble};
use millpond_fs::{Location, file_system_for};
use millpond_job::JobGraph;
use millpond_snapshot::{Metadata, StreamHandle, write_metadata};
use millpond_types::{CheckpointId, JobId, OperatorId};

use crate::event::MasterEvent;

/// The version that snapshots carry.
const MILLPOND_VERSION: &str = env!("CARGO_PKG_VERSION");

enum Work {
    Write {
        directory: String,
        metadata: Box<Metadata>,
    },
    Discard {
        directory: String,
    },
    /// Answer when everything before is done.
    Finish(Sender<()>),
}

/// The thread and its queue.
pub(crate) struct SnapshotIo {
    queue: Sender<Work>,
    events: Sender<MasterEvent>,
    job: JobId,
    name: String,
}

impl SnapshotIo {
    /// Starts the thread; results go to `events`.
    pub(crate) fn start(
        events: Sender<MasterEvent>,
        name: String,
        job: JobId,
    ) -> std::io::Result<Self> {
        let (queue, work) = channel();
        let results = events.clone();
        std::thread::Builder::new()
            .name("snapshot-io".to_owned())
            .spawn(move || {
                for work in work {
                    match work {
                        Work::Write {
                            directory,
                            metadata,
                        } => {
                            let checkpoint = metadata.checkpoint_id;
                            let result =
                                write(&directory, &metadata).map_err(|error| error.to_string());
                            // The master is gone: nobody is left to be told.
                            let _ =
                                results.send(MasterEvent::MetadataWritten { checkpoint, result });
                        }
                        Work::Discard { directory } => discard(&directory),
                        Work::Finish(done) => {
                            // Whoever asked has gone away.
                            let _ = done.send(());
                        }
                    }
                }
            })?;
        Ok(SnapshotIo {
            queue,
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

    /// Deletes a snapshot.
    pub(crate) fn discard(&self, directory: String) {
        self.submit(Work::Discard { directory });
    }

    /// Waits until all that was asked for is done.
    pub(crate) fn finish(&self) {
        let (done, wait) = channel();
        self.submit(Work::Finish(done));
        // Fails only if the thread has died, and then there is nothing to wait for.
        let _ = wait.recv();
    }

    fn submit(&self, work: Work) {
        // The thread lives as long as this sender.
        let _ = self.queue.send(work);
    }
}

fn write(directory: &str, metadata: &Metadata) -> Result<(), millpond_snapshot::Error> {
    let directory = Location::parse(directory)?;
    let fs = file_system_for(&directory)?;
    write_metadata(&*fs, &directory, metadata)?;
    Ok(())
}

/// Looks at a job's own directory before it starts: removes what a kill has left of unfinished
/// checkpoints (`chk-N` without metadata is no snapshot, and nobody else writes there), and returns
/// the highest N of the others, whose names are taken.
pub(crate) fn prepare_job_directory(directory: &str, job: JobId) -> CheckpointId {
    let look = || -> Result<CheckpointId, millpond_fs::Error> {
        let directory = Location::parse(directory)?;
        let fs = file_system_for(&directory)?;
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

/// Deletes the metadata first, so that what a crash leaves is no snapshot.
fn discard(directory: &str) {
    let delete = || -> Result<(), millpond_fs::Error> {
        let directory = Location::parse(directory)?;
        let fs = file_system_for(&directory)?;
        if !fs.exists(&directory)? {
            return Ok(());
        }
        let metadata = directory.join(millpond_snapshot::METADATA_FILE);
        if fs.exists(&metadata)? {
            fs.delete_file(&metadata)?;
        }
        fs.delete_dir(&directory)
    };
    if let Err(error) = delete() {
        tracing::warn!("cannot delete \"{directory}\", which leaves garbage and no more: {error}");
    }
}
