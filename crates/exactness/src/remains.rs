//! What lies on the disk when no process runs: sound snapshots, and what nobody needs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use millpond_fs::Location;
use millpond_state_processor::{
    Garbage, OpenSnapshot, PathMap, Progress, Threads, delete_garbage, find_garbage,
    newest_snapshot, verify,
};

/// The snapshot that a job is to be started from again, as `millpond latest` finds it.
///
/// # Errors
///
/// The newest one is damaged, or cannot be read: for people.
pub fn latest(directories: &[PathBuf]) -> Result<Option<PathBuf>, String> {
    let there = directories.iter().filter(|directory| directory.is_dir());
    let there: Result<Vec<_>, _> = there.map(|path| Location::of_path(path)).collect();
    let newest = newest_snapshot(&there.map_err(|error| error.to_string())?);
    let newest = newest.map_err(|error| error.to_string())?;
    if let Some(damaged) = newest.damaged.first() {
        return Err(format!("the newest snapshot is damaged: {damaged:?}"));
    }
    let path = newest.snapshot.map(|snapshot| snapshot.path);
    Ok(path.map(|path| PathBuf::from(path.strip_prefix("file:").unwrap_or(&path))))
}

/// The names of hidden files of a sink: nobody will publish them any more.
pub fn hidden(out: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(out).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with('.')).collect()
}

/// Everything that is wrong with the complete snapshots below these directories, for people.
pub fn unsound(directories: &[PathBuf]) -> Vec<String> {
    let mut wrong = Vec::new();
    for file in directories
        .iter()
        .flat_map(|directory| files_below(directory))
    {
        if file.file_name().is_none_or(|name| name != "_metadata") {
            continue;
        }
        let pointer = file.display().to_string();
        let checked = OpenSnapshot::open(&pointer, &PathMap::default())
            .and_then(|snapshot| verify(&snapshot, Threads::default(), &Progress::default()));
        match checked {
            Ok(checked) if checked.sound => {}
            Ok(checked) => wrong.push(format!("{pointer}: {:?}", checked.problems)),
            Err(error) => wrong.push(format!("{pointer}: {error}")),
        }
    }
    wrong
}

/// Deletes what nobody needs, as `millpond state gc --delete --older-than 0` does, and returns what
/// is wrong behind it: something is left that no snapshot refers to, or something is gone that one
/// does. The second value is how many files went.
pub fn collect_garbage(directory: &Path) -> (Vec<String>, usize) {
    if !directory.is_dir() {
        return (Vec::new(), 0);
    }
    let now = SystemTime::now() + Duration::from_secs(1);
    let find = || find_garbage(directory, &PathMap::default(), now, Duration::ZERO);
    let deleted = find().and_then(|garbage: Garbage| {
        delete_garbage(&garbage)?;
        Ok(garbage.files.len())
    });
    let deleted = match deleted {
        Ok(deleted) => deleted,
        Err(error) => return (vec![format!("{}: {error}", directory.display())], 0),
    };
    let mut wrong = unsound(&[directory.to_owned()]);
    let needed = needed_files(directory, &mut wrong);
    for file in files_below(directory) {
        if !needed.contains(&file) {
            wrong.push(format!("kept for ever: {}", file.display()));
        }
    }
    (wrong, deleted)
}

/// The metadata of the snapshots below a directory, and the files that they refer to.
fn needed_files(directory: &Path, wrong: &mut Vec<String>) -> BTreeSet<PathBuf> {
    let mut needed = BTreeSet::new();
    for file in files_below(directory) {
        if file.file_name().is_none_or(|name| name != "_metadata") {
            continue;
        }
        let pointer = file.display().to_string();
        needed.insert(file);
        let snapshot = match OpenSnapshot::open(&pointer, &PathMap::default()) {
            Ok(snapshot) => snapshot,
            Err(error) => {
                wrong.push(format!("{pointer}: {error}"));
                continue;
            }
        };
        let loaded = snapshot.loaded();
        snapshot.metadata().streams(&mut |stream| {
            let file = loaded.file_of(stream).ok().flatten();
            needed.extend(file.and_then(|file| file.to_local_path()));
        });
    }
    needed
}

/// Directories of unfinished checkpoints of all jobs below a directory of checkpoints.
pub fn unfinished(checkpoints: &Path) -> Vec<PathBuf> {
    let below = |directory: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path());
        paths.filter(|path| path.is_dir()).collect()
    };
    below(checkpoints)
        .iter()
        .flat_map(|job| below(job))
        .filter(|path| !path.join("_metadata").exists())
        .filter(|path| !path.ends_with("shared") && !path.ends_with("taskowned"))
        .collect()
}

/// All files below a directory, hidden ones too.
pub fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => files.extend(files_below(&path)),
            false => files.push(path),
        }
    }
    files
}
