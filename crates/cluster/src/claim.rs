//! Whose a claimed snapshot is.
//!
//! A job that is started with `CLAIM` deletes the snapshot when it is superfluous, so no other job may
//! claim it. It says so in a marker *beside* the snapshot's directory
//! ([layout](millpond_snapshot::Claim)), as an extra file in it would break Flink's dispose.
//!
//! The file is created if there is none, in one step, so that of two jobs one wins. It stays as long
//! as the job, or a checkpoint that the job has left, needs a file of the snapshot. A job with the id
//! in it may claim again: the same one, started again behind a kill. Any other takes it over if it is
//! known to be void, as its owner was killed and has left nothing that needs the snapshot; of two that
//! do so at once one wins, by a second file that is there while it does:
//!
//! ```text
//! <parent>/.savepoint-ab12cd-0123456789ab.claim
//! <parent>/.savepoint-ab12cd-0123456789ab.claim-passes
//! ```

use std::collections::BTreeSet;
use std::io::Write;

use millpond_fs::{Durability, ErrorKind, FileSystem, Location};
use millpond_snapshot::{Claim, claim_marker};

/// What is appended to a marker's name while a void claim passes to another job.
const PASSES_SUFFIX: &str = "-passes";

/// Why a snapshot cannot be claimed.
#[derive(Debug)]
pub(crate) enum ClaimError {
    /// Another job has it; for people.
    Taken(String),
    /// Not now.
    Unreachable(String),
}

/// Claims the snapshot in `directory`, which refers to `files`. Returns the void claim that this one
/// replaces, if there was one.
///
/// # Errors
///
/// Another job has claimed it, or the marker can be neither written nor read.
pub(crate) fn claim(
    fs: &dyn FileSystem,
    directory: &Location,
    files: &BTreeSet<String>,
    claim: &Claim,
) -> Result<Option<Claim>, ClaimError> {
    let marker = marker_of(directory)?;
    let unreachable = |error: millpond_fs::Error| {
        ClaimError::Unreachable(format!(
            "the claim of \"{directory}\" cannot be noted beside it: {error}"
        ))
    };
    match create(fs, &marker, &content_of(claim)?) {
        Ok(()) => Ok(None),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let owner = Claim::read(fs, &marker).map_err(unreachable)?;
            let Some(owner) = owner else {
                return Err(ClaimError::Taken(taken(directory, &marker, None, None)));
            };
            if owner.job == claim.job {
                // Another process of the same job: from now on it is this one that has to live.
                fs.write_atomic(&marker, &content_of(claim)?)
                    .map_err(unreachable)?;
                return Ok(None);
            }
            match owner.counts_because(directory, files) {
                Some(why) => {
                    let words = taken(directory, &marker, Some(&owner), Some(&why));
                    Err(ClaimError::Taken(words))
                }
                None => take_over(fs, directory, &marker, &owner, claim).map(|()| Some(owner)),
            }
        }
        Err(error) => Err(unreachable(error)),
    }
}

fn content_of(claim: &Claim) -> Result<Vec<u8>, ClaimError> {
    serde_json::to_vec(claim).map_err(|error| ClaimError::Unreachable(error.to_string()))
}

/// Creates a file that must not be there; behind an error it is not.
fn create(
    fs: &dyn FileSystem,
    marker: &Location,
    content: &[u8],
) -> Result<(), millpond_fs::Error> {
    let mut file = fs.create(marker)?;
    let written = file.write_all(content);
    let written = written
        .map_err(|error| millpond_fs::Error::io("write", marker, error))
        .and_then(|()| file.close(Durability::Synced))
        .and_then(|_| match marker.parent() {
            Some(parent) => fs.sync_dir(&parent),
            None => Ok(()),
        });
    written.inspect_err(|_| {
        // It is this job's, and says nothing: it would only be in the way.
        let _ = fs.delete_file(marker);
    })
}

/// Replaces a void claim.
fn take_over(
    fs: &dyn FileSystem,
    directory: &Location,
    marker: &Location,
    void: &Claim,
    claim: &Claim,
) -> Result<(), ClaimError> {
    let name = format!("{}{PASSES_SUFFIX}", marker.file_name());
    let passes = directory.join("..").join(&name);
    match create(fs, &passes, &content_of(claim)?) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(ClaimError::Unreachable(format!(
                "a void claim of \"{directory}\" is being taken over by another job; if none is \
                 started at this moment, one was killed while it did: delete \"{passes}\""
            )));
        }
        Err(error) => return Err(ClaimError::Unreachable(error.to_string())),
    }
    let replaced = match Claim::read(fs, marker) {
        // What was found void a moment ago.
        Ok(Some(now)) if now == *void => {
            let written = fs.write_atomic(marker, &content_of(claim)?);
            written.map_err(|error| ClaimError::Unreachable(error.to_string()))
        }
        // Somebody was faster; the next try sees who.
        Ok(_) | Err(_) => Err(ClaimError::Unreachable(format!(
            "the claim of \"{directory}\" has changed meanwhile"
        ))),
    };
    if let Err(error) = fs.delete_file(&passes) {
        tracing::warn!("\"{passes}\" is left and may be deleted: {error}");
    }
    replaced
}

/// Ends a claim; there may be none.
///
/// # Errors
///
/// What the file system reports.
pub(crate) fn end(fs: &dyn FileSystem, directory: &Location) -> Result<(), millpond_fs::Error> {
    let Some(marker) = claim_marker(directory) else {
        return Ok(());
    };
    match fs.delete_file(&marker) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// Who has claimed the snapshot in `directory`, which refers to `files`, for people; `None` if nobody
/// has whose claim counts.
pub(crate) fn who_has(
    fs: &dyn FileSystem,
    directory: &Location,
    files: &BTreeSet<String>,
) -> Option<String> {
    let marker = claim_marker(directory)?;
    if !fs.exists(&marker).ok()? {
        return None;
    }
    let Some(owner) = Claim::read(fs, &marker).ok()? else {
        return Some(taken(directory, &marker, None, None));
    };
    let why = owner.counts_because(directory, files)?;
    Some(taken(directory, &marker, Some(&owner), Some(&why)))
}

fn marker_of(directory: &Location) -> Result<Location, ClaimError> {
    claim_marker(directory).ok_or_else(|| {
        ClaimError::Taken(format!(
            "\"{directory}\" has no directory around it, so that it cannot be claimed"
        ))
    })
}

fn taken(
    directory: &Location,
    marker: &Location,
    owner: Option<&Claim>,
    why: Option<&str>,
) -> String {
    let by = match owner {
        Some(Claim { job, name, .. }) => format!("job {job} (\"{name}\")"),
        None => "a job that was interrupted while it did".to_owned(),
    };
    let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
    format!(
        "\"{directory}\" was claimed by {by}{why}, which deletes it when it is superfluous, and whose \
         checkpoints may refer to its files. Start from a checkpoint of that job. Only if that job and \
         its checkpoints are gone for good: delete \"{marker}\" and start again"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond_fs::memory::MemoryFileSystem;
    use millpond_snapshot::{OwnerProcess, claimed_name};

    fn of(job: u8, process: Option<OwnerProcess>) -> Claim {
        Claim {
            job: format!("{job:02x}").repeat(16),
            name: "flights".to_owned(),
            checkpoints: None,
            process,
        }
    }

    /// A process that has ended.
    fn gone() -> Option<OwnerProcess> {
        let this = OwnerProcess::this().expect("a Linux system");
        let started = this.started + 1;
        Some(OwnerProcess { started, ..this })
    }

    fn claimed(fs: &MemoryFileSystem, claim: &Claim) -> Result<Option<Claim>, ClaimError> {
        super::claim(fs, &savepoint(), &BTreeSet::new(), claim)
    }

    fn who_has(fs: &MemoryFileSystem) -> Option<String> {
        super::who_has(fs, &savepoint(), &BTreeSet::new())
    }

    fn savepoint() -> Location {
        Location::parse("memory:/s/savepoint-1").expect("a location")
    }

    #[test]
    fn the_second_job_is_refused_with_the_name_of_the_first_which_may_claim_again() {
        let fs = MemoryFileSystem::new();
        let (one, two) = (of(1, OwnerProcess::this()), of(2, OwnerProcess::this()));
        assert!(who_has(&fs).is_none());
        claimed(&fs, &one).expect("free");
        claimed(&fs, &one).expect("its own");
        let Err(ClaimError::Taken(why)) = claimed(&fs, &two) else {
            panic!("two jobs have claimed it");
        };
        assert!(why.contains(&one.job), "{why}");
        assert!(why.contains("still runs"), "{why}");
        assert!(why.contains("memory:/s/.savepoint-1.claim"), "{why}");
        assert_eq!(who_has(&fs), Some(why));
        end(&fs, &savepoint()).expect("there");
        end(&fs, &savepoint()).expect("gone is as good");
        claimed(&fs, &two).expect("free again");
    }

    /// A job that was killed right behind its claim kept everybody else from the snapshot for ever.
    #[test]
    fn a_claim_of_a_job_that_was_killed_and_left_nothing_passes_to_the_next() {
        let fs = MemoryFileSystem::new();
        let (one, two) = (of(1, gone()), of(2, OwnerProcess::this()));
        claimed(&fs, &one).expect("free");
        assert_eq!(who_has(&fs), None, "it is void");
        assert_eq!(claimed(&fs, &two).expect("void"), Some(one.clone()));
        let Err(ClaimError::Taken(why)) = claimed(&fs, &one) else {
            panic!("two jobs have claimed it");
        };
        assert!(why.contains(&two.job), "{why}");
        let around = fs.list(&savepoint().parent().expect("one")).expect("there");
        assert_eq!(around.len(), 1, "the marker and nothing else: {around:?}");
    }

    #[test]
    fn a_job_that_claims_its_own_snapshot_again_lives_in_its_new_process() {
        let fs = MemoryFileSystem::new();
        claimed(&fs, &of(1, gone())).expect("free");
        claimed(&fs, &of(1, OwnerProcess::this())).expect("its own");
        let refused = claimed(&fs, &of(2, OwnerProcess::this()));
        assert!(matches!(refused, Err(ClaimError::Taken(_))), "{refused:?}");
    }

    #[test]
    fn of_two_jobs_that_take_over_a_void_claim_one_waits() {
        let fs = MemoryFileSystem::new();
        claimed(&fs, &of(1, gone())).expect("free");
        let passes = savepoint().join("..").join(".savepoint-1.claim-passes");
        fs.write_atomic(&passes, b"").expect("room");
        let refused = claimed(&fs, &of(2, OwnerProcess::this()));
        let Err(ClaimError::Unreachable(why)) = refused else {
            panic!("{refused:?}");
        };
        assert!(why.contains("claim-passes"), "{why}");
    }

    #[test]
    fn nothing_lies_in_the_directory_itself() {
        let fs = MemoryFileSystem::new();
        claimed(&fs, &of(1, None)).expect("free");
        let around = fs.list(&savepoint().parent().expect("one")).expect("there");
        assert_eq!(around.len(), 1);
        assert_eq!(claimed_name(&around[0].name), Some("savepoint-1"));
    }

    #[test]
    fn a_marker_that_says_nothing_keeps_others_out() {
        let fs = MemoryFileSystem::new();
        let marker = claim_marker(&savepoint()).expect("one");
        fs.write_atomic(&marker, b"").expect("written");
        let refused = claimed(&fs, &of(1, None));
        assert!(matches!(refused, Err(ClaimError::Taken(_))), "{refused:?}");
    }
}
