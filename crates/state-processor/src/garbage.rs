//! Files under a checkpoint directory that no snapshot there refers to.
//!
//! A file is garbage if it is older than a guard, and no `_metadata` below the directory names
//! it. Safety comes first: if one `_metadata` cannot be read, or names a file that is not there,
//! nothing is deleted, since what it needs is not known. Symbolic links are not followed.
//!
//! Beside a snapshot that a job has claimed lies a marker. As long as it does, all that is left in the
//! snapshot's directory is taken to be referred to, as that job's checkpoints elsewhere may do so. A
//! marker without its directory is garbage.
//!
//! Other snapshots elsewhere that refer to files in here are not seen: this is for a directory of which
//! no job runs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use millpond_snapshot::{METADATA_FILE, claimed_name};
use serde::Serialize;

use crate::{Error, OpenSnapshot, PathMap};

/// What is in a directory.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Garbage {
    /// The directories of the snapshots that were found.
    pub snapshots: Vec<String>,
    /// Files that nobody refers to and that are older than the guard, sorted.
    pub files: Vec<GarbageFile>,
    /// Bytes of them.
    pub bytes: u64,
    /// Files that nobody refers to, but that are too young.
    pub young_files: u64,
    /// Files that are referred to.
    pub referenced_files: u64,
    /// Why nothing may be deleted; nothing if it may.
    pub obstacles: Vec<String>,
}

/// A file that nobody refers to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GarbageFile {
    /// Its path.
    pub path: PathBuf,
    /// Its bytes.
    pub bytes: u64,
    /// Seconds since it was changed last.
    pub age_s: u64,
}

/// Finds what nobody refers to below `directory`, changed last before `older_than` ago as of
/// `now`.
///
/// # Errors
///
/// Output: the directory cannot be listed.
pub fn find_garbage(
    directory: &Path,
    paths: &PathMap,
    now: SystemTime,
    older_than: Duration,
) -> Result<Garbage, Error> {
    let directory = directory.canonicalize()?;
    let mut files = Vec::new();
    list_files(&directory, &mut files)?;
    files.sort();
    let mut garbage = Garbage::default();
    let mut referenced: BTreeSet<PathBuf> = BTreeSet::new();
    let is_metadata = |file: &&PathBuf| file.file_name().is_some_and(|name| name == METADATA_FILE);
    for file in files.iter().filter(is_metadata) {
        referenced.insert(file.clone());
        let pointer = file.to_string_lossy();
        match references(&pointer, paths) {
            Ok(found) => {
                let parent = file.parent().unwrap_or(file);
                garbage.snapshots.push(parent.display().to_string());
                for path in found {
                    match path.canonicalize() {
                        Ok(path) => {
                            referenced.insert(path);
                        }
                        Err(_) => garbage.obstacles.push(format!(
                            "{pointer} refers to {}, which is not there; has the directory \
                             moved (--map FROM=TO)?",
                            path.display()
                        )),
                    }
                }
            }
            Err(error) => garbage.obstacles.push(format!("{pointer}: {error}")),
        }
    }
    if garbage.snapshots.is_empty() {
        let what = "there is no snapshot in here: is it a directory of checkpoints at all?";
        garbage.obstacles.push(what.to_owned());
    }
    let claimed = claimed_directories(&files);
    for (marker, directory) in &claimed {
        if directory.exists() {
            referenced.insert(marker.clone());
        }
    }
    for path in files {
        let is_claimed = claimed.iter().any(|(_, claimed)| path.starts_with(claimed));
        if is_claimed {
            referenced.insert(path.clone());
        }
        if referenced.contains(&path) {
            garbage.referenced_files += 1;
            continue;
        }
        let metadata = fs::symlink_metadata(&path)?;
        let age = metadata
            .modified()
            .ok()
            .and_then(|time| now.duration_since(time).ok());
        match age.filter(|age| *age >= older_than) {
            None => garbage.young_files += 1,
            Some(age) => {
                garbage.bytes += metadata.len();
                garbage.files.push(GarbageFile {
                    path,
                    bytes: metadata.len(),
                    age_s: age.as_secs(),
                });
            }
        }
    }
    Ok(garbage)
}

/// Deletes what was found; returns how many files went.
///
/// # Errors
///
/// Request: there are obstacles. Output: a file cannot be deleted.
pub fn delete_garbage(garbage: &Garbage) -> Result<u64, Error> {
    if let Some(obstacle) = garbage.obstacles.first() {
        return Err(Error::request(format!("nothing is deleted: {obstacle}")));
    }
    let mut deleted = 0;
    for file in &garbage.files {
        match fs::remove_file(&file.path) {
            Ok(()) => deleted += 1,
            // Somebody else was faster.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(deleted)
}

/// The markers of claims, each with the directory that is claimed.
fn claimed_directories(files: &[PathBuf]) -> Vec<(PathBuf, PathBuf)> {
    let claimed = files.iter().filter_map(|marker| {
        let name = claimed_name(marker.file_name()?.to_str()?)?;
        Some((marker.clone(), marker.with_file_name(name)))
    });
    claimed.collect()
}

/// Regular files below, not by way of links.
fn list_files(directory: &Path, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            list_files(&entry.path(), files)?;
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// The local files that a snapshot refers to.
fn references(pointer: &str, paths: &PathMap) -> Result<Vec<PathBuf>, Error> {
    let snapshot = OpenSnapshot::open(pointer, paths)?;
    let loaded = snapshot.loaded();
    let mut streams = Vec::new();
    snapshot
        .metadata()
        .streams(&mut |stream| streams.push(stream));
    let mut found = Vec::new();
    for stream in streams {
        if let Some(file) = loaded.file_of(stream)? {
            found.extend(paths.map(&file).to_local_path());
        }
    }
    let records = snapshot.trailer().map_or(&[][..], |trailer| &trailer.files);
    for record in records {
        found.extend(loaded.directory.join(&record.name).to_local_path());
    }
    Ok(found)
}
