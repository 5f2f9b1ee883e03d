//! Snapshots that share files with a claimed one.
//!
//! A job that claims `chk-7` of an old job may not delete what `chk-6` of that job refers to: that was
//! not claimed, and may be somebody's last resort. Nor what a checkpoint of a still older job refers to,
//! of which the old one had claimed a snapshot: its files lie in another directory, and so does it.

use std::collections::BTreeSet;
use std::sync::Arc;

use millpond_fs::{ErrorKind, Location};
use millpond_snapshot::{Claim, LoadedSnapshot, METADATA_FILE, claimed_name};

/// Returns those of `files`, which `claimed` refers to, that other snapshots need as well: those beside it,
/// and those beside the directories that the files lie in.
///
/// Others are also the checkpoints of jobs that have claimed a snapshot beside it, but for `job`: they
/// may have outlived what was claimed.
///
/// What a snapshot needs that cannot be read is not known: then all that lie outside of the claimed
/// directory are returned, and the second value says why.
pub(crate) fn files_of_others(
    claimed: &LoadedSnapshot,
    files: &BTreeSet<String>,
    job: &str,
) -> (Vec<String>, Vec<String>) {
    let inside = format!("{}/", claimed.directory);
    let outside: Vec<&String> = files.iter().filter(|f| !f.starts_with(&inside)).collect();
    if outside.is_empty() {
        return (Vec::new(), Vec::new());
    }
    let mut needed = BTreeSet::new();
    let mut problems = Vec::new();
    let mut places: BTreeSet<Location> = claimed.directory.parent().into_iter().collect();
    for file in outside {
        match Location::parse(file) {
            // `job/shared/file` or `job/chk-5/file`: the snapshots of the job lie beside that directory.
            Ok(file) => places.extend(file.parent().and_then(|directory| directory.parent())),
            Err(error) => problems.push(error.to_string()),
        }
    }
    for place in &places {
        look_around(claimed, place, job, &mut needed, &mut problems);
    }
    let is_of_others = |file: &&String| {
        needed.contains(*file) || !problems.is_empty() && !file.starts_with(&inside)
    };
    let of_others = files.iter().filter(is_of_others).cloned().collect();
    (of_others, problems)
}

/// Collects what the snapshots in `place` need, but for `claimed`, and those of other jobs than `job` that
/// have claimed one there.
fn look_around(
    claimed: &LoadedSnapshot,
    place: &Location,
    job: &str,
    needed: &mut BTreeSet<String>,
    problems: &mut Vec<String>,
) {
    let fs = claimed.file_system();
    let entries = fs.list(place).unwrap_or_else(|error| {
        problems.push(error.to_string());
        Vec::new()
    });
    // Behind the snapshots themselves: one that was subsumed meanwhile has a successor by then.
    let (directories, beside): (Vec<_>, Vec<_>) = entries.iter().partition(|entry| entry.is_dir);
    for entry in directories {
        let directory = place.join(&entry.name);
        if directory == claimed.directory {
            continue;
        }
        match needs(fs, &directory) {
            Ok(found) => needed.extend(found),
            Err(error) => problems.push(format!("\"{directory}\": {error}")),
        }
    }
    let markers = beside
        .iter()
        .filter(|entry| claimed_name(&entry.name).is_some())
        .map(|entry| place.join(&entry.name));
    for marker in markers {
        match Claim::read(&**fs, &marker) {
            Ok(Some(claim)) if claim.job == job => {}
            Ok(Some(claim)) => match claim.references() {
                Ok(found) => needed.extend(found),
                Err(why) => problems.push(why),
            },
            Ok(None) => problems.push(format!("\"{marker}\" does not say whose it is")),
            // That claim has ended.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => problems.push(error.to_string()),
        }
    }
}

/// The files that the snapshot in a directory needs; none if there is no snapshot.
fn needs(
    fs: &Arc<dyn millpond_fs::FileSystem>,
    directory: &Location,
) -> Result<BTreeSet<String>, millpond_snapshot::Error> {
    if !fs.exists(&directory.join(METADATA_FILE))? {
        return Ok(BTreeSet::new());
    }
    millpond_snapshot::load(Arc::clone(fs), directory)?.files()
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond_fs::FileSystem;
    use millpond_fs::memory::MemoryFileSystem;
    use millpond_snapshot::{
        IncrementalHandle, KeyedHandle, Metadata, NamedStream, OperatorSnapshot, StreamHandle,
        SubtaskSnapshot, write_metadata,
    };
    use millpond_types::OperatorId;

    fn at(path: &str) -> Location {
        Location::parse(&format!("memory:/c/{path}")).expect("a location")
    }

    fn write(fs: &dyn FileSystem, directory: &str, files: &[&str]) {
        let files: Vec<String> = files.iter().map(|file| at(file).to_string()).collect();
        write_at(fs, &at(directory), &files);
    }

    fn write_at(fs: &dyn FileSystem, directory: &Location, files: &[String]) {
        let named = |path: &String| NamedStream {
            name: path.clone(),
            stream: StreamHandle::File {
                path: path.clone(),
                size: 1,
            },
        };
        let mut metadata = Metadata::new(1);
        let mut operator = OperatorSnapshot::new(OperatorId([1; 16]), 1, 128);
        let keyed = KeyedHandle::Incremental(IncrementalHandle {
            checkpoint_id: 1,
            backend_id: "b".to_owned(),
            range: (0, 128),
            meta: StreamHandle::Bytes {
                name: String::new(),
                data: Vec::new(),
            },
            shared: files.iter().map(named).collect(),
            private: Vec::new(),
            v2: None,
        });
        let subtask = SubtaskSnapshot {
            managed_keyed: Some(keyed),
            ..SubtaskSnapshot::default()
        };
        operator.subtasks.push((0, subtask));
        metadata.operators.push(operator);
        write_metadata(fs, directory, &metadata).expect("written");
    }

    #[test]
    fn what_a_snapshot_beside_the_claimed_one_needs_is_of_others() {
        let fs = MemoryFileSystem::new();
        write(&fs, "chk-6", &["shared/a", "shared/b"]);
        write(&fs, "chk-7", &["shared/b", "shared/c", "chk-7/d"]);
        let load = || millpond_snapshot::load(Arc::new(fs.clone()), &at("chk-7")).expect("sound");
        let claimed = load();
        let files = claimed.files().expect("understood");
        assert_eq!(files.len(), 3);
        let (of_others, problems) = files_of_others(&claimed, &files, "own");
        assert_eq!(
            (of_others.as_slice(), problems.len()),
            (&["memory:/c/shared/b".to_owned()][..], 0)
        );
        // What cannot be read may need anything but what lies in the claimed directory itself.
        fs.damage(&at("chk-6/_metadata"), |bytes| bytes.truncate(9));
        let (of_others, problems) = files_of_others(&claimed, &files, "own");
        assert_eq!(of_others, ["memory:/c/shared/b", "memory:/c/shared/c"]);
        assert_eq!(problems.len(), 1);
    }

    /// `a/chk-3` and `a/chk-4` were retained, job b claimed `a/chk-4` and left `b/chk-5` behind. Whoever
    /// claims that deleted the files of `a/chk-3`, which nobody had claimed.
    #[test]
    fn what_a_snapshot_needs_where_the_files_come_from_is_of_others() {
        let fs = MemoryFileSystem::new();
        write(&fs, "a/chk-3", &["a/shared/x"]);
        write(&fs, "b/chk-5", &["a/shared/x", "a/shared/y", "b/shared/z"]);
        let claimed = millpond_snapshot::load(Arc::new(fs), &at("b/chk-5")).expect("sound");
        let files = claimed.files().expect("understood");
        let (of_others, problems) = files_of_others(&claimed, &files, "own");
        assert_eq!(of_others, ["memory:/c/a/shared/x"], "{problems:?}");
    }

    /// The claimed neighbour is gone, but the checkpoints of its owner elsewhere have kept its files.
    #[test]
    fn what_the_owner_of_a_claimed_neighbour_still_needs_is_of_others() {
        let place = tempfile::tempdir().expect("room");
        let fs: Arc<dyn FileSystem> = Arc::new(millpond_fs::LocalFileSystem);
        let old = Location::of_path(&place.path().join("old")).expect("a path");
        let new = Location::of_path(&place.path().join("new")).expect("a path");
        let shared = |name: &str| old.join("shared").join(name).to_string();
        write_at(&*fs, &old.join("chk-6"), &[shared("a"), shared("b")]);
        write_at(&*fs, &new.join("chk-9"), &[shared("b")]);
        let claim = Claim {
            job: "other".to_owned(),
            name: "flights".to_owned(),
            checkpoints: Some(new.to_string()),
            process: None,
        };
        let marker = millpond_snapshot::claim_marker(&old.join("chk-7")).expect("one");
        let content = serde_json::to_vec(&claim).expect("JSON");
        fs.write_atomic(&marker, &content).expect("room");
        let claimed = millpond_snapshot::load(fs, &old.join("chk-6")).expect("sound");
        let files = claimed.files().expect("understood");
        let (of_others, problems) = files_of_others(&claimed, &files, "own");
        assert_eq!(of_others, [shared("b")], "{problems:?}");
        let (of_others, _) = files_of_others(&claimed, &files, "other");
        assert!(of_others.is_empty(), "its own claim");
    }
}
