//! The marker beside a snapshot that a job has claimed: whose it is, and whether it still counts.
//!
//! ```text
//! <parent>/.<name of the snapshot's directory>.claim
//! {"job":"<hex>","name":"...","checkpoints":"file:/c/<hex>",
//!  "process":{"host":"...","system":"<boot id> <pid namespace>","pid":7,"started":123456}}
//! ```
//!
//! | field | meaning | since |
//! | --- | --- | --- |
//! | `job`, `name` | the owner's id and name | 0.1 |
//! | `checkpoints` | where its checkpoints lie, which may refer to files of the snapshot; none if they are gone with its process | 0.2 |
//! | `process` | the process of its job master: `started` are the clock ticks between the boot of the system and its start | 0.2 |
//!
//! A claim that is not ended by its owner, as that was killed, is void once two things are known: the
//! owner's process does not exist any more, and no checkpoint that it has left refers to the snapshot.
//! The first can only be told on the system (one boot, one namespace of process ids) on which it ran; a
//! process id alone is used again, with its start it is not. Rejected: a lease with a time, as clocks of
//! two machines would decide about deletion.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use millpond_fs::{Entry, ErrorKind, FileSystem, Location, file_system_for};
use serde::{Deserialize, Serialize};

use crate::directory::{METADATA_FILE, load};

/// How the name of a claim's marker ends.
const CLAIM_SUFFIX: &str = ".claim";

/// The most bytes of a marker that are read.
const MAX_BYTES: u64 = 64 * 1024;

/// Returns where it is noted which job has claimed the snapshot in `directory`: beside it, as one file
/// more inside would break Flink's dispose. `None` for the root of a file system.
pub fn claim_marker(directory: &Location) -> Option<Location> {
    let name = directory.file_name();
    let parent = directory.parent().filter(|_| !name.is_empty())?;
    Some(parent.join(&format!(".{name}{CLAIM_SUFFIX}")))
}

/// Returns the name of the directory whose claim this is, if it is the name of a marker.
pub fn claimed_name(marker: &str) -> Option<&str> {
    marker.strip_prefix('.')?.strip_suffix(CLAIM_SUFFIX)
}

/// What a marker says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The job, in hex.
    pub job: String,
    /// Its name.
    pub name: String,
    /// The directory of the job's checkpoints, as a URI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoints: Option<String>,
    /// The process of its job master.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<OwnerProcess>,
}

/// A process, so that no other one at any time is taken for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerProcess {
    /// The name of its machine, for people.
    pub host: String,
    /// Boot of a kernel, and its namespace of process ids.
    pub system: String,
    /// Its id there.
    pub pid: u32,
    /// Clock ticks between the boot and its start.
    pub started: u64,
}

impl OwnerProcess {
    /// This process; `None` where the system does not tell (only Linux does).
    pub fn this() -> Option<Self> {
        let pid = std::process::id();
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Some(OwnerProcess {
            host: host.trim().to_owned(),
            system: this_system()?,
            pid,
            started: start_of(pid)??,
        })
    }

    /// Whether the process exists no more; `None` if that cannot be told from here.
    pub fn is_gone(&self) -> Option<bool> {
        if this_system()? != self.system {
            return None;
        }
        start_of(self.pid).map(|started| started != Some(self.started))
    }

    /// Whether it ran on this machine before the machine was started for the last time. For marks on a
    /// disk that no other machine has: another one may have the same name.
    pub fn was_before_boot(&self) -> bool {
        let boot = |system: &str| system.split(' ').next().map(str::to_owned);
        let this = OwnerProcess::this();
        this.is_some_and(|this| this.host == self.host && boot(&this.system) != boot(&self.system))
    }
}

impl fmt::Display for OwnerProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OwnerProcess {
            host, pid, started, ..
        } = self;
        // A tick is a hundredth of a second for whatever a Linux kernel tells a process.
        let seconds = started / 100;
        write!(
            f,
            "process {pid} on \"{host}\", started {seconds} s behind the boot of the system"
        )
    }
}

fn this_system() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), namespace.display()))
}

/// Linux's `ESRCH`.
const NO_SUCH_PROCESS: i32 = 3;

/// When a process was started: `Some(None)` if there is none of that id, or it has ended and was not
/// reaped; `None` if the system does not tell.
fn start_of(pid: u32) -> Option<Option<u64>> {
    let line = match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(line) => line,
        // Of an id that is used no more, unless those of other users are hidden (mount option hidepid):
        // then the first process is not seen either. What else may go wrong says nothing.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return std::path::Path::new("/proc/1").exists().then_some(None);
        }
        // It was reaped while this was being read.
        Err(error) if error.raw_os_error() == Some(NO_SUCH_PROCESS) => return Some(None),
        Err(_) => return None,
    };
    // "pid (name, which may hold anything) state ppid ...": the start is the 22nd field (proc(5)).
    let mut fields = line.rsplit_once(')')?.1.split_whitespace();
    match fields.next()? {
        "Z" | "X" => Some(None),
        _ => Some(Some(fields.nth(18)?.parse().ok()?)),
    }
}

impl Claim {
    /// Reads a marker; `None` if what it says cannot be understood.
    ///
    /// # Errors
    ///
    /// Not found, or what the file system reports.
    pub fn read(
        fs: &dyn FileSystem,
        marker: &Location,
    ) -> Result<Option<Self>, millpond_fs::Error> {
        let file = fs.open(marker)?;
        if file.len() > MAX_BYTES {
            return Ok(None);
        }
        let mut bytes = vec![0; file.len() as usize];
        file.read_at(0, &mut bytes)?;
        Ok(serde_json::from_slice(&bytes).ok())
    }

    /// Every file that the checkpoints of the owner refer to, as URIs, and those of jobs that have claimed
    /// one of these, and so on.
    ///
    /// # Errors
    ///
    /// A checkpoint cannot be read, so that what it refers to is not known; for people.
    pub fn references(&self) -> Result<BTreeSet<String>, String> {
        let mut references = BTreeSet::new();
        for claim in self.chain()? {
            references.extend(claim.own_references()?);
        }
        Ok(references)
    }

    /// Why the claim of the snapshot in `directory`, with these files, still counts, for people; `None`
    /// if it is known to be void.
    pub fn counts_because(&self, directory: &Location, files: &BTreeSet<String>) -> Option<String> {
        let inside = format!("{directory}/");
        let is_of_it = |file: &&String| file.starts_with(&inside) || files.contains(*file);
        let chain = match self.chain() {
            Ok(chain) => chain,
            Err(why) => return Some(why),
        };
        for (at, claim) in chain.iter().enumerate() {
            // Those behind the first have claimed a checkpoint of one before them.
            let who = match at {
                0 => "it".to_owned(),
                _ => format!("job {}, which has claimed a checkpoint of it,", claim.job),
            };
            let Some(process) = &claim.process else {
                return Some(format!(
                    "its marker does not say in which process {who} runs"
                ));
            };
            match process.is_gone() {
                Some(true) => {}
                Some(false) => return Some(format!("{who} still runs, as {process}")),
                None => {
                    return Some(format!(
                        "whether {who} still runs, as {process}, cannot be told from here"
                    ));
                }
            }
            let references = match claim.own_references() {
                Ok(references) => references,
                Err(why) => return Some(why),
            };
            if let Some(file) = references.iter().find(is_of_it) {
                let checkpoints = claim.checkpoints.as_deref().unwrap_or_default();
                return Some(format!(
                    "a checkpoint that {who} has left in \"{checkpoints}\" refers to \"{file}\""
                ));
            }
        }
        None
    }

    /// This claim, those of checkpoints of its owner by other jobs, those of checkpoints of these, and so
    /// on: whoever claims a checkpoint may need what that needed.
    fn chain(&self) -> Result<Vec<Claim>, String> {
        let mut chain = vec![self.clone()];
        let mut at = 0;
        while at < chain.len() {
            for claim in chain[at].claims_of_its_checkpoints()? {
                let is_known = |known: &Claim| {
                    known.job == claim.job && known.checkpoints == claim.checkpoints
                };
                if !chain.iter().any(is_known) {
                    chain.push(claim);
                }
            }
            at += 1;
        }
        Ok(chain)
    }

    fn claims_of_its_checkpoints(&self) -> Result<Vec<Claim>, String> {
        let Some((fs, directory, entries)) = self.look()? else {
            return Ok(Vec::new());
        };
        let mut claims = Vec::new();
        for entry in entries
            .iter()
            .filter(|entry| claimed_name(&entry.name).is_some())
        {
            let marker = directory.join(&entry.name);
            match Claim::read(&*fs, &marker) {
                Ok(Some(claim)) => claims.push(claim),
                Ok(None) => return Err(format!("\"{marker}\" does not say whose it is")),
                // That claim has ended.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(claims)
    }

    fn own_references(&self) -> Result<BTreeSet<String>, String> {
        let Some((fs, directory, entries)) = self.look()? else {
            return Ok(BTreeSet::new());
        };
        let words = |error: &dyn fmt::Display| format!("\"{directory}\" cannot be read: {error}");
        let mut references = BTreeSet::new();
        for entry in entries.iter().filter(|entry| entry.is_dir) {
            let snapshot = directory.join(&entry.name);
            let metadata = snapshot.join(METADATA_FILE);
            if !fs.exists(&metadata).map_err(|error| words(&error))? {
                continue;
            }
            let loaded = load(Arc::clone(&fs), &snapshot).map_err(|error| words(&error))?;
            references.extend(loaded.files().map_err(|error| words(&error))?);
        }
        Ok(references)
    }

    /// What lies in the directory of the owner's checkpoints; `None` if there is no such directory.
    fn look(&self) -> Result<Option<Listed>, String> {
        let Some(checkpoints) = &self.checkpoints else {
            return Ok(None);
        };
        let words =
            |error: millpond_fs::Error| format!("\"{checkpoints}\" cannot be read: {error}");
        let directory = Location::parse(checkpoints).map_err(words)?;
        let fs = file_system_for(&directory).map_err(words)?;
        match fs.list(&directory) {
            Ok(entries) => Ok(Some((fs, directory, entries))),
            // Nothing was ever there, or somebody has removed all of it.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(words(error)),
        }
    }
}

/// A directory, and what lies in it.
type Listed = (Arc<dyn FileSystem>, Location, Vec<Entry>);

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(process: Option<OwnerProcess>, checkpoints: &std::path::Path) -> Claim {
        Claim {
            job: "01".repeat(16),
            name: "flights".to_owned(),
            checkpoints: Some(Location::of_path(checkpoints).expect("a path").to_string()),
            process,
        }
    }

    fn savepoint() -> Location {
        Location::parse("file:/s/savepoint-1").expect("a location")
    }

    #[test]
    fn this_process_lives_and_one_with_its_id_and_another_start_is_gone() {
        let this = OwnerProcess::this().expect("a Linux system");
        assert_eq!(this.is_gone(), Some(false));
        let started = this.started + 1;
        let other = OwnerProcess {
            started,
            ..this.clone()
        };
        assert_eq!(other.is_gone(), Some(true));
        let elsewhere = OwnerProcess {
            system: "another boot".to_owned(),
            ..other
        };
        assert_eq!(elsewhere.is_gone(), None, "it cannot be told");
        let host = "another host".to_owned();
        assert!(elsewhere.was_before_boot() && !this.was_before_boot());
        assert!(!OwnerProcess { host, ..elsewhere }.was_before_boot());
    }

    #[test]
    fn a_process_that_has_ended_is_gone_before_it_is_reaped() {
        let mut child = std::process::Command::new("true").spawn().expect("starts");
        let started = start_of(child.id()).expect("a Linux system");
        while start_of(child.id()) != Some(None) {
            std::thread::yield_now();
        }
        assert!(started.is_none_or(|started| started > 0));
        child.wait().expect("ended");
    }

    #[test]
    fn a_claim_is_void_only_if_its_process_is_gone_and_nothing_is_left_that_needs_it() {
        let place = tempfile::tempdir().expect("room");
        let none = BTreeSet::new();
        let this = OwnerProcess::this().expect("a Linux system");
        let gone = OwnerProcess {
            started: this.started + 1,
            ..this.clone()
        };
        let counts = |claim: &Claim| claim.counts_because(&savepoint(), &none);
        let why = counts(&claim(Some(this), place.path())).expect("it runs");
        assert!(why.contains("still runs"), "{why}");
        let why = counts(&claim(None, place.path())).expect("not known");
        assert!(why.contains("does not say"), "{why}");
        let void = claim(Some(gone), place.path());
        assert_eq!(counts(&void), None);
        assert_eq!(
            counts(&claim(void.process.clone(), &place.path().join("gone"))),
            None
        );
        // A snapshot that cannot be read may need anything.
        let damaged = place.path().join("chk-1");
        std::fs::create_dir(&damaged).expect("room");
        std::fs::write(damaged.join(METADATA_FILE), "cut").expect("room");
        let why = counts(&void).expect("not known");
        assert!(why.contains("cannot be read"), "{why}");
        std::fs::remove_dir_all(&damaged).expect("there");
    }

    /// Three jobs were killed one behind the other, each with a claim of a checkpoint of the one before:
    /// the first marker stayed as long as the second was there.
    #[test]
    fn a_claim_that_was_passed_on_counts_as_long_as_one_behind_it_does() {
        let place = tempfile::tempdir().expect("room");
        let none = BTreeSet::new();
        let this = OwnerProcess::this().expect("a Linux system");
        let gone = OwnerProcess {
            started: this.started + 1,
            ..this.clone()
        };
        let [first, second] = ["first", "second"].map(|name| place.path().join(name));
        std::fs::create_dir(&first).expect("room");
        std::fs::create_dir(&second).expect("room");
        let mark = |claim: &Claim| {
            let text = serde_json::to_vec(claim).expect("JSON");
            std::fs::write(first.join(".chk-2.claim"), text).expect("room");
        };
        let owner = claim(Some(gone.clone()), &first);
        let next = |process| Claim {
            job: "02".repeat(16),
            ..claim(Some(process), &second)
        };
        mark(&next(this));
        let why = owner
            .counts_because(&savepoint(), &none)
            .expect("the next one runs");
        assert!(why.contains(&"02".repeat(16)), "{why}");
        mark(&next(gone));
        assert_eq!(owner.counts_because(&savepoint(), &none), None);
        std::fs::write(first.join(".chk-2.claim"), "{}").expect("room");
        let why = owner
            .counts_because(&savepoint(), &none)
            .expect("not known");
        assert!(why.contains(".chk-2.claim"), "{why}");
    }
}
