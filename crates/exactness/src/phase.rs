//! Where in the life of its snapshots a job is to be met, so that it can be killed there.
//!
//! The storage of the job under test stands still at the place that is asked for and says so
//! (`millpond_fs::injected`), so that a kill meets the phase and not the time at which it may be.

use std::path::{Path, PathBuf};
use std::time::Duration;

use millpond_fs::injected::Injector;

use crate::random::Random;

/// How long the storage stands still at the place, in milliseconds: what is to be killed is killed
/// meanwhile.
const STANDS_STILL_MS: u64 = 250;

/// A part of the life of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The first files of a checkpoint are made.
    Begin,
    /// State is written and synced.
    Upload,
    /// All parts are there, the metadata is not.
    Completing,
    /// The metadata is there; nobody has heard of it.
    Completed,
    /// An older checkpoint goes: its metadata is about to be deleted, or just was.
    Subsumption,
    /// Files and directories of older checkpoints go.
    CleanUp,
    /// A savepoint is written.
    Savepoint,
    /// Behind the death of a worker, or at a start, a snapshot is read.
    Restore,
    /// The job has been told to end, and what it does not keep goes.
    End,
}

/// All of them.
pub const PHASES: [Phase; 9] = [
    Phase::Begin,
    Phase::Upload,
    Phase::Completing,
    Phase::Completed,
    Phase::Subsumption,
    Phase::CleanUp,
    Phase::Savepoint,
    Phase::Restore,
    Phase::End,
];

impl Phase {
    /// The rules under which storage stands still once, at a random place of the phase.
    pub fn rules(self, random: &mut Random) -> String {
        let mut skip = |most: u64| random.below(most + 1);
        let (operations, path, skip) = match self {
            Phase::Begin => ("create", "/chk-", skip(1)),
            Phase::Upload => ("create,write,sync", "/checkpoints/", skip(12)),
            Phase::Completing | Phase::Completed => ("write_atomic", "/checkpoints/", skip(1)),
            Phase::Subsumption => ("delete_file", "/_metadata", 0),
            Phase::CleanUp | Phase::End => ("delete_file,delete_dir", "/checkpoints/", skip(4)),
            Phase::Savepoint => ("create,write,sync,write_atomic", "/savepoints/", skip(12)),
            // Metadata and files are looked at by the job master, files read by tasks.
            Phase::Restore => ("open,read", "points/", skip(40)),
        };
        let before = match self {
            Phase::Completing => true,
            Phase::Completed => false,
            Phase::Begin
            | Phase::Upload
            | Phase::Subsumption
            | Phase::CleanUp
            | Phase::Savepoint
            | Phase::Restore
            | Phase::End => random.chance(50),
        };
        let effect = if before { "pause" } else { "pause-after" };
        format!("{self:?} {operations} {path} {skip} 1 {effect} {STANDS_STILL_MS}\n")
    }
}

/// The storage of a job under test, as its tester sees it.
#[derive(Clone, Debug)]
pub struct StorageControl {
    file: PathBuf,
}

impl StorageControl {
    /// Tells what happens to calls by `file`.
    pub fn new(file: &Path) -> Self {
        StorageControl {
            file: file.to_owned(),
        }
    }

    /// Sets the rules from now on; forgets what was met before.
    ///
    /// # Panics
    ///
    /// If the file cannot be written.
    pub fn set(&self, rules: &str) {
        // Whoever meets a rule of before meanwhile writes a line more, of another name.
        let _ = std::fs::remove_file(Injector::log_of(&self.file));
        let next = self.file.with_extension("next");
        std::fs::write(&next, rules).expect("rules can be written");
        std::fs::rename(&next, &self.file).expect("rules can be written");
    }

    /// All calls succeed at once again.
    pub fn clear(&self) {
        self.set("");
    }

    /// The process that stands still in this phase, and the path of its call, if one does.
    pub fn met(&self, name: &str) -> Option<(u32, String)> {
        let log = std::fs::read_to_string(Injector::log_of(&self.file)).ok()?;
        log.lines().find_map(|line| {
            let (by, rest) = line.split_once(' ')?;
            let (pid, path) = rest.split_once(' ')?;
            (by == name).then(|| Some((pid.parse().ok()?, path.to_owned())))?
        })
    }

    /// For how long a call stands still at most.
    pub fn stands_still() -> Duration {
        Duration::from_millis(STANDS_STILL_MS)
    }
}
