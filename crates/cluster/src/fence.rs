//! Keeps two job masters from taking checkpoints in one directory, by a lock on it.
//!
//! What follows from the lock is decided by [`Fencing`]: who finds it taken at its start does not begin; who
//! finds it taken later, or another master's checkpoints in a directory that it locks anew, completes and
//! deletes nothing any more.
//!
//! In a cluster with high availability a lock of the job ([`MasterLock`](crate::master_lock::MasterLock)) comes
//! first, which a later master takes away from an earlier one; this one is free then. Rejected: a file that
//! names the owner, as it stays behind a kill, and somebody would have to judge whether its owner lives. On
//! file systems without locks nothing is kept from anybody, and a warning says so.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use millpond_checkpoint::{Barred, Entry, Fencing, Look, is_in_memory};
use millpond_fs::{DirectoryLock, Error, ErrorKind, FileSystem, HeldDirectory, Location};
use millpond_snapshot::METADATA_FILE;
use millpond_types::{CheckpointId, Clock};

use crate::lock::lock;
use crate::storage::Storage;

/// How often a taken directory is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// The lock of a job's checkpoint directory. Clones share it.
#[derive(Clone)]
pub(crate) struct Fence(Arc<Shared>);

struct Shared {
    storage: Storage,
    directory: String,
    clock: Arc<dyn Clock>,
    /// Kept over a look at the directory: two threads of this master would find each other there.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    held: Option<Box<dyn HeldDirectory>>,
    /// The file system has no locks, which was told.
    is_open: bool,
    fencing: Fencing,
    /// The process that had the directory when it was last taken, if that is known.
    holder: Option<u32>,
}

impl Fence {
    /// Returns the fence of a directory, which is not locked yet.
    pub(crate) fn of(storage: Storage, directory: &str, clock: Arc<dyn Clock>) -> Self {
        let named = Location::parse(directory).map(|location| location.to_string());
        Fence(Arc::new(Shared {
            storage,
            // As locations in it are written; one that cannot be understood is told by who writes there.
            directory: named.unwrap_or_else(|_| directory.to_owned()),
            clock,
            state: Mutex::new(State {
                is_open: is_in_memory(directory),
                ..State::default()
            }),
        }))
    }

    /// Locks the directory if it is there; if `makes`, it is. Another master that is about to end has
    /// `patience` to do so.
    ///
    /// # Errors
    ///
    /// Another one has it, for people. A directory that cannot be had now is none: whoever writes there
    /// will be told.
    pub(crate) fn enter(&self, makes: bool, patience: Duration) -> Result<(), String> {
        let began = Instant::now();
        let ms = |time: Duration| time.as_millis() as u64;
        loop {
            let mut state = lock(&self.0.state);
            let look = self.look(&mut state, makes).unwrap_or_else(|error| {
                if !makes && error.kind() == ErrorKind::NotFound {
                    return Look::Absent;
                }
                tracing::warn!("the directory of checkpoints is not locked yet: {error}");
                Look::OutOfReach
            });
            match state.fencing.enter(look, ms(began.elapsed()), ms(patience)) {
                Entry::Enter => return Ok(()),
                Entry::Refuse => return Err(self.barred(&mut state, Barred::Taken)),
                Entry::Wait => {}
            }
            drop(state);
            std::thread::sleep(LOOK);
        }
    }

    /// Makes sure, before a snapshot is made visible, that no other master is or was at work.
    ///
    /// # Errors
    ///
    /// One is, for people.
    pub(crate) fn check(
        &self,
        checkpoint: CheckpointId,
        triggered_at_ms: u64,
        directory: &str,
    ) -> Result<(), String> {
        let mut state = lock(&self.0.state);
        let look = self.look(&mut state, self.is_around(directory));
        // What cannot be locked cannot be written, and says so itself.
        let look = look.unwrap_or(Look::OutOfReach);
        let now_ms = self.0.clock.now_ms();
        let may = state
            .fencing
            .complete(checkpoint, triggered_at_ms, look, now_ms);
        may.map_err(|why| self.barred(&mut state, why))
    }

    /// Makes sure, before something is deleted, that no other master is or was at work.
    ///
    /// # Errors
    ///
    /// One is, for people.
    pub(crate) fn check_deletion(&self) -> Result<(), String> {
        let mut state = lock(&self.0.state);
        let look = self.look(&mut state, false).unwrap_or(Look::OutOfReach);
        let may = state.fencing.delete(look, self.0.clock.now_ms());
        may.map_err(|why| self.barred(&mut state, why))
    }

    /// Whether `location` lies in the directory.
    fn is_around(&self, location: &str) -> bool {
        let below = location.strip_prefix(&self.0.directory);
        below.is_some_and(|below| below.starts_with('/'))
    }

    fn look(&self, state: &mut State, makes: bool) -> Result<Look, Error> {
        if state.is_open || state.held.as_ref().is_some_and(|held| held.is_in_place()) {
            return Ok(Look::Own);
        }
        state.held = None;
        let directory = Location::parse(&self.0.directory)?;
        let fs = self.0.storage.file_system(&directory)?;
        if makes {
            fs.create_dir_all(&directory)?;
        }
        match fs.lock_dir(&directory)? {
            DirectoryLock::Held(now) => {
                let newest = newest_checkpoint(&*fs, &directory)?;
                state.held = Some(now);
                Ok(Look::Locked { newest })
            }
            DirectoryLock::Taken(holder) => {
                state.holder = holder;
                Ok(Look::Taken)
            }
            DirectoryLock::Unsupported => {
                tracing::warn!(
                    "\"{directory}\" is on a file system without locks: see to it that no other job \
                     master, such as one of the same job started twice, takes checkpoints there"
                );
                state.is_open = true;
                Ok(Look::Own)
            }
        }
    }

    /// Says why, and lets go of a directory that is not this master's any more.
    fn barred(&self, state: &mut State, why: Barred) -> String {
        let directory = &self.0.directory;
        match why {
            Barred::Taken => {
                let who = match state.holder {
                    Some(pid) => format!("process {pid} of this machine"),
                    None => "another process".to_owned(),
                };
                format!(
                    "{who} takes checkpoints in \"{directory}\", and two that do would overwrite and delete \
                     each other's. Has this job been started twice? Wait for the end of the other, or end \
                     it; or give this job a job id or a directory (execution.checkpointing.dir) of its own"
                )
            }
            Barred::Replaced => format!(
                "\"{directory}\" was moved away or replaced while the snapshot was taken, which would lack \
                 what was written to where it was; the next one is complete"
            ),
            Barred::Succeeded(checkpoint) => {
                state.held = None;
                format!(
                    "checkpoint {checkpoint} in \"{directory}\" is another job master's: it was taken while this \
                     one could not see the directory, which was moved away, replaced or out of reach. What this \
                     job would complete now could be committed twice. End it, and start it from that checkpoint"
                )
            }
        }
    }
}

/// The number of the newest complete checkpoint in a job's directory.
fn newest_checkpoint(
    fs: &dyn FileSystem,
    directory: &Location,
) -> Result<Option<CheckpointId>, Error> {
    let entries = fs.list(directory)?;
    let directories = entries.iter().filter(|entry| entry.is_dir);
    let number = |name: &str| name.strip_prefix("chk-")?.parse::<CheckpointId>().ok();
    let mut found: Vec<(CheckpointId, Location)> = directories
        .filter_map(|entry| Some((number(&entry.name)?, directory.join(&entry.name))))
        .collect();
    found.sort_unstable_by_key(|(number, _)| std::cmp::Reverse(*number));
    for (number, checkpoint) in found {
        if fs.exists(&checkpoint.join(METADATA_FILE))? {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond_types::ManualClock;

    /// A master in front of its directory, at its own time.
    struct Master {
        fence: Fence,
        clock: Arc<ManualClock>,
    }

    fn master(place: &tempfile::TempDir) -> Master {
        let directory = Location::of_path(&place.path().join("job")).expect("a path");
        let clock = Arc::new(ManualClock::at(1000));
        let of_fence: Arc<dyn Clock> = Arc::clone(&clock) as Arc<dyn Clock>;
        let fence = Fence::of(Storage::default(), &directory.to_string(), of_fence);
        Master { fence, clock }
    }

    impl Master {
        fn enter(&self, patience: Duration) -> Result<(), String> {
            self.fence.enter(true, patience)
        }

        /// Triggers a snapshot, and asks a little later whether it may be completed.
        fn complete(&self, checkpoint: CheckpointId, directory: &str) -> Result<(), String> {
            self.clock.advance(Duration::from_millis(1));
            let triggered_at_ms = self.clock.now_ms();
            self.clock.advance(Duration::from_millis(1));
            self.fence.check(checkpoint, triggered_at_ms, directory)
        }

        fn checkpoint(&self, number: CheckpointId) -> Result<(), String> {
            let directory = format!("{}/chk-{number}", self.fence.0.directory);
            self.complete(number, &directory)
        }
    }

    fn complete(place: &tempfile::TempDir, number: CheckpointId) {
        let checkpoint = place.path().join(format!("job/chk-{number}"));
        std::fs::create_dir_all(&checkpoint).expect("room");
        std::fs::write(checkpoint.join(METADATA_FILE), "").expect("room");
    }

    /// As of a job without periodic checkpoints.
    #[test]
    fn the_first_checkpoint_that_is_asked_for_makes_the_directory() {
        let place = tempfile::tempdir().expect("room");
        let master = master(&place);
        let entered = master.fence.enter(false, Duration::ZERO);
        assert_eq!(entered, Ok(()));
        assert_eq!(master.complete(1, "file:/elsewhere/savepoint-1"), Ok(()));
        assert_eq!(master.checkpoint(2), Ok(()));
        assert_eq!(master.checkpoint(3), Ok(()));
    }

    /// Whether it says who is there, which may not be known while other processes of this machine lock and
    /// unlock.
    fn is_told(why: &str) -> bool {
        let pid = format!("process {} of this machine", std::process::id());
        why.contains(&pid) || why.contains("another process")
    }

    fn move_away(place: &tempfile::TempDir, name: &str) {
        let directory = place.path().join("job");
        std::fs::rename(directory, place.path().join(name)).expect("it can be moved");
    }

    #[test]
    fn the_second_master_is_refused_until_the_first_has_gone() {
        let place = tempfile::tempdir().expect("room");
        let (first, second) = (master(&place), master(&place));
        first.enter(Duration::ZERO).expect("free");
        let why = second.enter(Duration::ZERO).expect_err("taken");
        assert!(is_told(&why) && why.contains("/job"), "{why}");
        let waits = std::thread::spawn(move || second.enter(Duration::from_secs(60)));
        first.checkpoint(1).expect("its own");
        drop(first);
        waits.join().expect("no panic").expect("free now");
    }

    #[test]
    fn who_finds_another_in_its_place_completes_and_deletes_nothing() {
        let place = tempfile::tempdir().expect("room");
        let (first, second) = (master(&place), master(&place));
        first.enter(Duration::ZERO).expect("free");
        move_away(&place, "aside");
        second.enter(Duration::ZERO).expect("another directory");
        first.checkpoint(7).expect_err("taken");
        first.fence.check_deletion().expect_err("taken");
        // It commits transactions as well, and the other one may be restored from what would go.
        let why = first
            .complete(8, "file:/savepoints/sp-1")
            .expect_err("taken");
        assert!(is_told(&why), "{why}");
        drop(second);
        first
            .fence
            .check_deletion()
            .expect("nobody has completed anything");
        first.checkpoint(9).expect("so it goes on");
    }

    /// The other one had ended again: the first went on where that had already committed.
    #[test]
    fn who_finds_what_another_has_left_in_its_place_completes_and_deletes_nothing_either() {
        let place = tempfile::tempdir().expect("room");
        let (first, second) = (master(&place), master(&place));
        first.enter(Duration::ZERO).expect("free");
        first.checkpoint(1).expect("its own");
        move_away(&place, "aside");
        // A copy of its own.
        complete(&place, 1);
        let why = first.checkpoint(2).expect_err("its files are aside");
        assert!(why.contains("moved away or replaced"), "{why}");
        first.checkpoint(3).expect("the next one");
        complete(&place, 3);
        move_away(&place, "gone");
        second.enter(Duration::ZERO).expect("another directory");
        complete(&place, 4);
        drop(second);
        let why = first.checkpoint(4).expect_err("succeeded");
        assert!(
            why.contains("checkpoint 4") && why.contains("/job"),
            "{why}"
        );
        first.fence.check_deletion().expect_err("succeeded");
        let third = master(&place);
        third
            .enter(Duration::ZERO)
            .expect("the first has let go of it");
    }

    #[test]
    fn a_directory_that_cannot_be_had_now_is_locked_when_it_can() {
        let place = tempfile::tempdir().expect("room");
        let (first, second) = (master(&place), master(&place));
        let directory = place.path().join("job");
        std::fs::write(&directory, "in the way").expect("room");
        first.enter(Duration::ZERO).expect("nobody else is there");
        first.checkpoint(1).expect("nobody else is there");
        std::fs::remove_file(&directory).expect("it was there");
        first.checkpoint(2).expect_err("it was begun before");
        first.checkpoint(3).expect("free");
        second.enter(Duration::ZERO).expect_err("taken");
    }
}
