//! Deletes what nobody needs any more, on a thread of its own.
//!
//! The metadata goes first, so that what a crash leaves is no snapshot, then files, then directories.
//! What cannot be deleted now is tried again with the next deletion, a few times; then it is garbage,
//! which `millpond state gc` finds.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use millpond_checkpoint::{Released, Scope};
use millpond_fs::{ErrorKind, FileSystem, Location};
use millpond_snapshot::METADATA_FILE;

use crate::claim;
use crate::fence::Fence;
use crate::storage::Storage;

/// How often a deletion is tried.
const TRIES: u32 = 5;
/// The most deletions that wait to be tried again; older ones are given up.
const MAX_WAITING: usize = 1000;
/// How long a deletion waits for the next try, if nothing else is to be deleted.
const PAUSE: Duration = Duration::from_secs(5);

/// Something to be deleted.
#[derive(Clone, Debug)]
pub(crate) struct Deletion {
    /// A snapshot's directory, and how much of it goes.
    pub(crate) snapshot: Option<(String, Scope)>,
    /// What else goes.
    pub(crate) released: Released,
}

impl Deletion {
    /// The first thing that goes, for people.
    fn what(&self) -> &str {
        let directory = self.snapshot.iter().map(|(directory, _)| directory);
        let all = directory
            .chain(&self.released.files)
            .chain(&self.released.claims_ended);
        all.map(String::as_str).next().unwrap_or_default()
    }
}

enum Work {
    Delete(Deletion),
    /// Answer when everything before is done.
    Finish(Sender<()>),
}

/// The thread and its queue.
pub(crate) struct Cleaner {
    queue: Sender<Work>,
}

impl Cleaner {
    /// Starts the thread; where `fence` keeps it from that, it deletes nothing.
    pub(crate) fn start(storage: Storage, fence: Fence) -> std::io::Result<Self> {
        let (queue, work) = channel();
        std::thread::Builder::new()
            .name("snapshot-cleaner".to_owned())
            .spawn(move || {
                let mut waiting = Waiting {
                    storage,
                    fence,
                    deletions: Vec::new(),
                };
                loop {
                    let next = match waiting.deletions.is_empty() {
                        true => work.recv().map_err(|_| RecvTimeoutError::Disconnected),
                        false => work.recv_timeout(PAUSE),
                    };
                    match next {
                        Ok(Work::Delete(deletion)) => {
                            waiting.try_again();
                            waiting.delete(deletion, 1);
                        }
                        Err(RecvTimeoutError::Timeout) => waiting.try_again(),
                        Ok(Work::Finish(done)) => {
                            waiting.try_again();
                            waiting.give_up();
                            // Whoever asked has gone away.
                            let _ = done.send(());
                        }
                        Err(RecvTimeoutError::Disconnected) => return,
                    }
                }
            })?;
        Ok(Cleaner { queue })
    }

    /// Has something deleted, and does not wait for it.
    pub(crate) fn delete(&self, deletion: Deletion) {
        // The thread lives as long as this sender.
        let _ = self.queue.send(Work::Delete(deletion));
    }

    /// Waits until all that was asked for is deleted or given up.
    pub(crate) fn finish(&self) {
        let (done, wait) = channel();
        let _ = self.queue.send(Work::Finish(done));
        // Fails only if the thread has died, and then there is nothing to wait for.
        let _ = wait.recv();
    }
}

/// What could not be deleted yet, with the number of the next try.
struct Waiting {
    storage: Storage,
    fence: Fence,
    deletions: Vec<(Deletion, u32)>,
}

impl Waiting {
    fn delete(&mut self, mut deletion: Deletion, tries: u32) {
        if let Err(why) = self.fence.check_deletion() {
            let what = deletion.what();
            return tracing::warn!(
                "\"{what}\" is not deleted, as it may be another master's: {why}"
            );
        }
        let Err(error) = delete(&self.storage, &mut deletion) else {
            return;
        };
        if tries >= TRIES || self.deletions.len() >= MAX_WAITING {
            tracing::warn!("cannot delete, which leaves garbage and no more: {error}");
        } else {
            tracing::debug!("cannot delete, will try again: {error}");
            self.deletions.push((deletion, tries + 1));
        }
    }

    fn try_again(&mut self) {
        for (deletion, tries) in std::mem::take(&mut self.deletions) {
            self.delete(deletion, tries);
        }
    }

    fn give_up(&mut self) {
        for (deletion, _) in self.deletions.drain(..) {
            let what = deletion.what();
            tracing::warn!("cannot delete \"{what}\", which leaves garbage and no more");
        }
    }
}

/// Deletes; behind an error the deletion holds what is left of it.
fn delete(storage: &Storage, deletion: &mut Deletion) -> Result<(), millpond_fs::Error> {
    if let Some((directory, scope)) = &deletion.snapshot {
        unmake(storage, directory)?;
        if *scope == Scope::Whole {
            delete_directory(storage, directory)?;
        }
    }
    let mut problem = None;
    deletion.released.files.retain(|file| {
        let outcome = delete_file(storage, file);
        outcome.map_err(|error| problem = Some(error)).is_err()
    });
    if let Some(error) = problem {
        return Err(error);
    }
    if let Some((directory, Scope::Named)) = &deletion.snapshot {
        delete_if_empty(storage, directory)?;
    }
    // Claims end last: as long as a file is there, the directory is not another job's to claim.
    for directory in &deletion.released.claims_ended {
        delete_if_empty(storage, directory)?;
        end_claim(storage, directory)?;
    }
    Ok(())
}

/// Runs `action` on a location; what is not there is as good as deleted.
fn on(
    storage: &Storage,
    uri: &str,
    action: impl FnOnce(&dyn FileSystem, &Location) -> Result<(), millpond_fs::Error>,
) -> Result<(), millpond_fs::Error> {
    let location = Location::parse(uri)?;
    match action(&*storage.file_system(&location)?, &location) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// Deletes the metadata: from then on the directory is no snapshot.
fn unmake(storage: &Storage, directory: &str) -> Result<(), millpond_fs::Error> {
    on(storage, directory, |fs, directory| {
        fs.delete_file(&directory.join(METADATA_FILE))
    })
}

fn delete_directory(storage: &Storage, directory: &str) -> Result<(), millpond_fs::Error> {
    on(storage, directory, |fs, directory| fs.delete_dir(directory))
}

fn delete_file(storage: &Storage, file: &str) -> Result<(), millpond_fs::Error> {
    on(storage, file, |fs, file| fs.delete_file(file))
}

fn delete_if_empty(storage: &Storage, directory: &str) -> Result<(), millpond_fs::Error> {
    on(storage, directory, |fs, directory| {
        fs.delete_empty_dir(directory).map(|_| ())
    })
}

fn end_claim(storage: &Storage, directory: &str) -> Result<(), millpond_fs::Error> {
    on(storage, directory, claim::end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn storage_with(files: &[&str]) -> (Storage, Arc<dyn FileSystem>) {
        let storage = Storage::default();
        let root = Location::parse("jobmanager:/").expect("a location");
        let fs = storage.file_system(&root).expect("in memory");
        for file in files {
            fs.write_atomic(&at(file), b"x").expect("written");
        }
        (storage, fs)
    }

    fn fence(storage: Storage) -> Fence {
        Fence::of(
            storage,
            "jobmanager:/",
            Arc::new(millpond_types::SystemClock),
        )
    }

    fn at(file: &str) -> Location {
        Location::parse(&format!("jobmanager:/{file}")).expect("a location")
    }

    fn named(directory: &str, scope: Scope, files: &[&str], claims: &[&str]) -> Deletion {
        let uris = |names: &[&str]| names.iter().map(|name| at(name).to_string()).collect();
        Deletion {
            snapshot: Some((at(directory).to_string(), scope)),
            released: Released {
                files: uris(files),
                claims_ended: uris(claims),
            },
        }
    }

    #[test]
    fn a_claimed_directory_keeps_what_was_not_named_and_goes_when_nothing_is_left() {
        let (storage, fs) =
            storage_with(&["sp/_metadata", "sp/a", "sp/b", "sp/notes", ".sp.claim"]);
        let cleaner = Cleaner::start(storage.clone(), fence(storage)).expect("a thread");
        cleaner.delete(named("sp", Scope::Named, &["sp/a"], &[]));
        cleaner.finish();
        let left = |directory: &str| -> Vec<String> {
            let entries = fs.list(&at(directory)).expect("there");
            entries.into_iter().map(|entry| entry.name).collect()
        };
        assert_eq!(
            left("sp"),
            ["b", "notes"],
            "the metadata and what was named"
        );
        fs.delete_file(&at("sp/notes")).expect("its owner does so");
        cleaner.delete(Deletion {
            snapshot: None,
            ..named("sp", Scope::Named, &["sp/b"], &["sp"])
        });
        cleaner.finish();
        assert_eq!(
            left(""),
            Vec::<String>::new(),
            "neither directory nor claim"
        );
    }

    #[test]
    fn a_directory_of_the_job_goes_with_everything_in_it_and_nothing_beside_it() {
        let (storage, fs) = storage_with(&["chk-1/_metadata", "chk-1/a", "shared/a", "shared/b"]);
        let cleaner = Cleaner::start(storage.clone(), fence(storage)).expect("a thread");
        let deletion = named("chk-1", Scope::Whole, &["shared/a", "shared/gone"], &[]);
        cleaner.delete(deletion.clone());
        cleaner.delete(deletion);
        cleaner.finish();
        assert!(!fs.exists(&at("chk-1")).expect("looked"));
        assert!(fs.exists(&at("shared/b")).expect("looked"));
        assert!(!fs.exists(&at("shared/a")).expect("looked"));
    }
}
