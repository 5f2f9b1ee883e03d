//! Whose a claimed snapshot is.
//!
//! A job that is started with `CLAIM` deletes the snapshot when it is superfluous, so no other job may
//! claim it. It says so in a marker *beside* the snapshot's directory, as an extra file in it would
//! break Flink's dispose:
//!
//! ```text
//! <parent>/savepoint-ab12cd-0123456789ab/_metadata ...
//! <parent>/.savepoint-ab12cd-0123456789ab.claim        {"job":"...","name":"..."}
//! ```
//!
//! The file is created if there is none, in one step, so that of two jobs one wins. It stays as long
//! as the job, or a checkpoint that the job has left, needs a file of the snapshot. A job with the id
//! in it may claim again: the same one, started again behind a kill.

use std::io::Write;

use millpond_fs::{Durability, ErrorKind, FileSystem, Location};
use millpond_snapshot::claim_marker;
use millpond_types::JobId;
use serde::{Deserialize, Serialize};

/// The most bytes of a marker that are read.
const MAX_BYTES: u64 = 64 * 1024;

/// What a marker says.
#[derive(Debug, Serialize, Deserialize)]
struct Marker {
    /// The job, in hex.
    job: String,
    /// Its name.
    name: String,
}

/// Why a snapshot cannot be claimed.
#[derive(Debug)]
pub(crate) enum ClaimError {
    /// Another job has it; for people.
    Taken(String),
    /// Not now.
    Unreachable(String),
}

/// Claims the snapshot in `directory` for `job`.
///
/// # Errors
///
/// Another job has claimed it, or the marker can be neither written nor read.
pub(crate) fn claim(
    fs: &dyn FileSystem,
    directory: &Location,
    job: JobId,
    name: &str,
) -> Result<(), ClaimError> {
    let marker = marker_of(directory)?;
    let content = Marker {
        job: job.to_string(),
        name: name.to_owned(),
    };
    let content =
        serde_json::to_vec(&content).map_err(|error| ClaimError::Unreachable(error.to_string()))?;
    let unreachable = |error: millpond_fs::Error| {
        ClaimError::Unreachable(format!(
            "the claim of \"{directory}\" cannot be noted beside it: {error}"
        ))
    };
    match fs.create(&marker) {
        Ok(mut file) => {
            let written = file.write_all(&content);
            let written = written
                .map_err(|error| millpond_fs::Error::io("write", &marker, error))
                .and_then(|()| file.close(Durability::Synced))
                .and_then(|_| match marker.parent() {
                    Some(parent) => fs.sync_dir(&parent),
                    None => Ok(()),
                });
            written.map_err(|error| {
                // It is this job's, and says nothing: it would only be in the way.
                let _ = fs.delete_file(&marker);
                unreachable(error)
            })
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            match owner(fs, &marker).map_err(unreachable)? {
                Some(owner) if owner.job == job.to_string() => Ok(()),
                owner => Err(ClaimError::Taken(taken(directory, &marker, owner.as_ref()))),
            }
        }
        Err(error) => Err(unreachable(error)),
    }
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

/// Who has claimed the snapshot in `directory`, for people; `None` if nobody has.
pub(crate) fn who_has(fs: &dyn FileSystem, directory: &Location) -> Option<String> {
    let marker = claim_marker(directory)?;
    if !fs.exists(&marker).ok()? {
        return None;
    }
    let owner = owner(fs, &marker).ok()?;
    Some(taken(directory, &marker, owner.as_ref()))
}

fn marker_of(directory: &Location) -> Result<Location, ClaimError> {
    claim_marker(directory).ok_or_else(|| {
        ClaimError::Taken(format!(
            "\"{directory}\" has no directory around it, so that it cannot be claimed"
        ))
    })
}

/// What a marker says; `None` if that cannot be understood.
fn owner(fs: &dyn FileSystem, marker: &Location) -> Result<Option<Marker>, millpond_fs::Error> {
    let file = fs.open(marker)?;
    if file.len() > MAX_BYTES {
        return Ok(None);
    }
    let mut bytes = vec![0; file.len() as usize];
    file.read_at(0, &mut bytes)?;
    Ok(serde_json::from_slice(&bytes).ok())
}

fn taken(directory: &Location, marker: &Location, owner: Option<&Marker>) -> String {
    let by = match owner {
        Some(Marker { job, name }) => format!("job {job} (\"{name}\")"),
        None => "a job that was interrupted while it did".to_owned(),
    };
    format!(
        "\"{directory}\" was claimed by {by}, which deletes it when it is superfluous, and whose \
         checkpoints may refer to its files. Start from a checkpoint of that job. Only if that job and \
         its checkpoints are gone for good: delete \"{marker}\" and start again"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond_fs::memory::MemoryFileSystem;
    use millpond_snapshot::claimed_name;

    const ONE: JobId = JobId([1; 16]);
    const TWO: JobId = JobId([2; 16]);

    fn savepoint() -> Location {
        Location::parse("memory:/s/savepoint-1").expect("a location")
    }

    #[test]
    fn the_second_job_is_refused_with_the_name_of_the_first_which_may_claim_again() {
        let fs = MemoryFileSystem::new();
        assert!(who_has(&fs, &savepoint()).is_none());
        claim(&fs, &savepoint(), ONE, "flights").expect("free");
        claim(&fs, &savepoint(), ONE, "flights").expect("its own");
        let Err(ClaimError::Taken(why)) = claim(&fs, &savepoint(), TWO, "flights") else {
            panic!("two jobs have claimed it");
        };
        assert!(why.contains(&ONE.to_string()), "{why}");
        assert!(why.contains("memory:/s/.savepoint-1.claim"), "{why}");
        assert_eq!(who_has(&fs, &savepoint()), Some(why));
        end(&fs, &savepoint()).expect("there");
        end(&fs, &savepoint()).expect("gone is as good");
        claim(&fs, &savepoint(), TWO, "flights").expect("free again");
    }

    #[test]
    fn nothing_lies_in_the_directory_itself() {
        let fs = MemoryFileSystem::new();
        claim(&fs, &savepoint(), ONE, "flights").expect("free");
        let around = fs.list(&savepoint().parent().expect("one")).expect("there");
        assert_eq!(around.len(), 1);
        assert_eq!(claimed_name(&around[0].name), Some("savepoint-1"));
    }

    #[test]
    fn a_marker_that_says_nothing_keeps_others_out() {
        let fs = MemoryFileSystem::new();
        let marker = claim_marker(&savepoint()).expect("one");
        fs.write_atomic(&marker, b"").expect("written");
        let refused = claim(&fs, &savepoint(), ONE, "flights");
        assert!(matches!(refused, Err(ClaimError::Taken(_))), "{refused:?}");
    }
}
