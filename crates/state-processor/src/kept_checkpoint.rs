//! The checkpoints that a job has kept: `<checkpoints>/<job id>/chk-<n>`.
//!
//! A user points at the directory of the job, at the one above it, or at one of the checkpoints,
//! and says which one is meant by its number.

use millpond_fs::{FileSystem, Location};
use millpond_snapshot::METADATA_FILE;

use crate::{Error, PathMap};

/// How the names of the directories begin.
const PREFIX: &str = "chk-";
/// The newest one, in place of a number.
const LATEST: &str = "latest";

/// A complete checkpoint, kept in the directory of its job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptCheckpoint {
    /// Its number.
    pub id: u64,
    /// Its directory.
    pub directory: Location,
}

/// Lists the complete checkpoints that `pointer` means: those in it, or else those in the
/// directories in it, or else, if it is one itself (or its metadata file), those beside it.
///
/// In ascending order of their numbers, job by job; none is no error.
///
/// # Errors
///
/// Snapshot: `pointer` cannot be listed.
pub fn kept_checkpoints(pointer: &str, paths: &PathMap) -> Result<Vec<KeptCheckpoint>, Error> {
    let fs = paths.file_system();
    let mut directory = Location::parse(pointer)?;
    if directory.file_name() == METADATA_FILE {
        directory = directory.parent().unwrap_or(directory);
    }
    if number_of(directory.file_name()).is_some()
        && let Some(job) = directory.parent()
    {
        return checkpoints_in(&*fs, &job);
    }
    let here = checkpoints_in(&*fs, &directory)?;
    if !here.is_empty() {
        return Ok(here);
    }
    let mut below = Vec::new();
    for entry in fs.list(&directory)?.iter().filter(|entry| entry.is_dir) {
        below.extend(checkpoints_in(&*fs, &directory.join(&entry.name))?);
    }
    Ok(below)
}

/// Returns the directory of the checkpoint `at` (`chk-42`, `42`, or `latest`) of those that
/// `pointer` means.
///
/// # Errors
///
/// Request: there is none, or several jobs have one of that number; the error says which there
/// are. Snapshot: as [`kept_checkpoints`].
pub fn find_checkpoint(pointer: &str, at: &str, paths: &PathMap) -> Result<Location, Error> {
    let kept = kept_checkpoints(pointer, paths)?;
    let wanted = match at {
        LATEST => kept.iter().map(|checkpoint| checkpoint.id).max(),
        _ => number_of(at).or_else(|| at.parse().ok()),
    };
    let found: Vec<&KeptCheckpoint> = kept
        .iter()
        .filter(|checkpoint| Some(checkpoint.id) == wanted)
        .collect();
    match found.as_slice() {
        [checkpoint] => Ok(checkpoint.directory.clone()),
        [] if kept.is_empty() => Err(Error::request(format!(
            "there are no checkpoints ({PREFIX}1, {PREFIX}2, ...) at \"{pointer}\"; name the \
             directory of a job, or the one above it"
        ))),
        [] => {
            let known = kept.iter().map(|known| format!("{PREFIX}{}", known.id));
            let known: Vec<String> = known.collect();
            Err(Error::request(format!(
                "there is no checkpoint \"{at}\" at \"{pointer}\"; there are: {}",
                known.join(", ")
            )))
        }
        several => {
            let places = several.iter().map(|one| one.directory.to_string());
            let places: Vec<String> = places.collect();
            Err(Error::request(format!(
                "several jobs have a checkpoint \"{at}\"; name the directory of one: {}",
                places.join(", ")
            )))
        }
    }
}

fn checkpoints_in(fs: &dyn FileSystem, job: &Location) -> Result<Vec<KeptCheckpoint>, Error> {
    let mut found = Vec::new();
    for entry in fs.list(job)? {
        let directory = job.join(&entry.name);
        // Without metadata it is one that is being written, or given up.
        if let Some(id) = number_of(&entry.name).filter(|_| entry.is_dir)
            && fs.exists(&directory.join(METADATA_FILE))?
        {
            found.push(KeptCheckpoint { id, directory });
        }
    }
    found.sort_by_key(|checkpoint| checkpoint.id);
    Ok(found)
}

fn number_of(name: &str) -> Option<u64> {
    name.strip_prefix(PREFIX)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_found_from_its_job_from_above_and_from_beside_it() {
        let directory = tempfile::tempdir().expect("room");
        let make = |name: &str| {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("room");
            std::fs::write(path, b"").expect("room");
        };
        for name in ["a/chk-9", "a/chk-10", "b/chk-10", "b/shared"] {
            make(&format!("{name}/_metadata"));
        }
        make("a/chk-11/not-complete");
        let path = |name: &str| directory.path().join(name).display().to_string();
        let find = |pointer: &str, at: &str| {
            find_checkpoint(&path(pointer), at, &PathMap::default())
                .map(|location| location.to_string())
                .map_err(|error| error.to_string())
        };
        let nine = Ok(format!("file:{}", path("a/chk-9")));
        for pointer in ["a", "", "a/chk-10", "a/chk-10/_metadata"] {
            assert_eq!(find(pointer, "chk-9"), nine, "{pointer}");
            assert_eq!(find(pointer, "9"), nine, "{pointer}");
        }
        assert_eq!(
            find("a", "latest"),
            Ok(format!("file:{}", path("a/chk-10")))
        );
        let error = find("a", "chk-11").expect_err("not complete");
        assert!(error.contains("there are: chk-9, chk-10"), "{error}");
        let error = find("", "chk-10").expect_err("two jobs");
        assert!(error.contains("several jobs"), "{error}");
        let error = find("b/shared", "chk-1").expect_err("none");
        assert!(error.contains("no checkpoints"), "{error}");
    }
}
