//! Files under a checkpoint directory that no snapshot there refers to.
//!
//! A file is garbage if it is older than a guard, and no `_metadata` below the directory names
//! it. Safety comes first: if one `_metadata` cannot be read, or names a file that is not there,
//! nothing is deleted, since what it needs is not known. Symbolic links are not followed.
//!
//! Beside a snapshot that a job has claimed lies a marker. Files that the job's checkpoints refer to,
//! wherever those lie, are referred to. As long as the job may run, and as long as its checkpoints
//! cannot be read, all that is left in the snapshot's directory is. A marker that is void, as its owner
//! was killed and has left nothing that needs the snapshot, is garbage, and so is one without its
//! directory.
//!
//! The list of scheduled savepoints of a job stays as long as there is a snapshot.
//!
//! Other snapshots elsewhere that refer to files in here are not seen: this is for a directory of which
//! no job runs.
//!
//! A directory without any snapshot may be one that has nothing to do with checkpoints. It is taken for
//! one of checkpoints if every file in it lies where a job puts them, in `chk-N`, `shared` or
//! `taskowned` of a job, or in a `savepoint-...`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use millpond_fs::{LocalFileSystem, Location};
use millpond_snapshot::{Claim, METADATA_FILE, claimed_name, is_scheduled_savepoints};
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
    let stray = files.iter().find(|file| !is_in_place(file));
    if let Some(stray) = stray.filter(|_| garbage.snapshots.is_empty()) {
        garbage.obstacles.push(format!(
            "there is no snapshot in here, and {} is nothing that a job keeps beside its checkpoints: \
             is it a directory of checkpoints at all?",
            stray.display()
        ));
    }
    let claimed = claimed_directories(&files);
    let mut held = Vec::new();
    for (marker, directory) in claimed.iter().filter(|(_, directory)| directory.exists()) {
        let holds = holds(marker, directory, &mut referenced);
        if holds {
            referenced.insert(marker.clone());
            held.push(directory);
        }
    }
    for path in files {
        if held.iter().any(|held| path.starts_with(held)) {
            referenced.insert(path.clone());
        }
        let is_list = path.file_name().and_then(|name| name.to_str());
        if is_list.is_some_and(is_scheduled_savepoints) && !garbage.snapshots.is_empty() {
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

/// Deletes what was found, and directories of snapshots in which nothing is left behind it; returns how
/// many files went.
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
            Ok(()) => {
                deleted += 1;
                remove_if_empty(file.path.parent());
            }
            // Somebody else was faster.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(deleted)
}

/// Whether all that is left in a claimed directory has to stay. Notes what the owner's checkpoints refer
/// to.
fn holds(marker: &Path, directory: &Path, referenced: &mut BTreeSet<PathBuf>) -> bool {
    let locations = (Location::of_path(marker), Location::of_path(directory));
    let (Ok(marker), Ok(directory)) = locations else {
        return true;
    };
    let Ok(Some(claim)) = Claim::read(&LocalFileSystem, &marker) else {
        return true;
    };
    let Ok(references) = claim.references() else {
        return true;
    };
    let paths = references.iter().filter_map(|file| {
        let path = Location::parse(file).ok()?.to_local_path()?;
        path.canonicalize().ok()
    });
    referenced.extend(paths);
    claim.counts_because(&directory, &BTreeSet::new()).is_some()
}

/// Whether a file lies where a job keeps its checkpoints, or where it would put a savepoint.
fn is_in_place(file: &Path) -> bool {
    let above = |level: usize| file.ancestors().nth(level).and_then(Path::file_name);
    let name = |level: usize| {
        above(level)
            .and_then(|name| name.to_str())
            .unwrap_or_default()
    };
    let is_of_job = |name: &str| {
        let number = name.strip_prefix("chk-");
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        number.is_some_and(is_number) || name == "shared" || name == "taskowned"
    };
    let is_job = |name: &str| name.len() == 32 && name.bytes().all(|b| b.is_ascii_hexdigit());
    is_of_job(name(1)) && is_job(name(2))
        || name(1).starts_with("savepoint-")
        || is_scheduled_savepoints(name(0))
        || claimed_name(name(0))
            .is_some_and(|name| is_of_job(name) || name.starts_with("savepoint-"))
}

/// Removes the directory of a snapshot, if it is one and is empty.
fn remove_if_empty(directory: Option<&Path>) {
    let name = |path: &Path| {
        path.file_name()
            .map(|name| name.to_string_lossy().into_owned())
    };
    let is_of_snapshot = |name: String| name.starts_with("chk-") || name.starts_with("savepoint-");
    let directory = directory.filter(|path| name(path).is_some_and(is_of_snapshot));
    // Something else lies there, or somebody was faster.
    let _ = directory.map(fs::remove_dir);
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
        if let Some(file) = loaded.file_of(&record.stream())? {
            found.extend(paths.map(&file).to_local_path());
        }
    }
    Ok(found)
}
