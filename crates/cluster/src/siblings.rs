//! Snapshots beside a claimed one that share files with it.
//!
//! A job that claims `chk-7` of an old job may not delete what `chk-6` of that job refers to: that was
//! not claimed, and may be somebody's last resort.

use std::collections::BTreeSet;
use std::sync::Arc;

use millpond_fs::Location;
use millpond_snapshot::{LoadedSnapshot, METADATA_FILE};

/// Returns the files that a snapshot refers to beside its metadata, as URIs.
///
/// # Errors
///
/// A path that cannot be understood.
pub(crate) fn files_of(
    snapshot: &LoadedSnapshot,
) -> Result<BTreeSet<String>, millpond_snapshot::Error> {
    let mut files = BTreeSet::new();
    let mut problem = None;
    snapshot
        .metadata
        .streams(&mut |stream| match snapshot.file_of(stream) {
            Ok(file) => files.extend(file.map(|file| file.to_string())),
            Err(error) => problem = Some(error),
        });
    match problem {
        Some(error) => Err(error),
        None => Ok(files),
    }
}

/// Returns those of `files`, which `claimed` refers to, that other snapshots beside it need as well.
///
/// What a snapshot needs that cannot be read is not known: then all that lie outside of the claimed
/// directory are returned, and the second value says why.
pub(crate) fn files_of_others(
    claimed: &LoadedSnapshot,
    files: &BTreeSet<String>,
) -> (Vec<String>, Vec<String>) {
    let inside = format!("{}/", claimed.directory);
    let mut outside = files.iter().filter(|file| !file.starts_with(&inside));
    let (Some(_), Some(parent)) = (outside.next(), claimed.directory.parent()) else {
        return (Vec::new(), Vec::new());
    };
    let fs = claimed.file_system();
    let mut needed = BTreeSet::new();
    let mut problems = Vec::new();
    let entries = fs.list(&parent).unwrap_or_else(|error| {
        problems.push(error.to_string());
        Vec::new()
    });
    for entry in entries.iter().filter(|entry| entry.is_dir) {
        let directory = parent.join(&entry.name);
        if directory == claimed.directory {
            continue;
        }
        match needs(fs, &directory) {
            Ok(found) => needed.extend(found),
            Err(error) => problems.push(format!("\"{directory}\": {error}")),
        }
    }
    let is_of_others = |file: &&String| {
        needed.contains(*file) || !problems.is_empty() && !file.starts_with(&inside)
    };
    let of_others = files.iter().filter(is_of_others).cloned().collect();
    (of_others, problems)
}

/// The files that the snapshot in a directory needs; none if there is no snapshot.
fn needs(
    fs: &Arc<dyn millpond_fs::FileSystem>,
    directory: &Location,
) -> Result<BTreeSet<String>, millpond_snapshot::Error> {
    if !fs.exists(&directory.join(METADATA_FILE))? {
        return Ok(BTreeSet::new());
    }
    files_of(&millpond_snapshot::load(Arc::clone(fs), directory)?)
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
        let named = |path: &&str| NamedStream {
            name: (*path).to_owned(),
            stream: StreamHandle::File {
                path: at(path).to_string(),
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
        write_metadata(fs, &at(directory), &metadata).expect("written");
    }

    #[test]
    fn what_a_snapshot_beside_the_claimed_one_needs_is_of_others() {
        let fs = MemoryFileSystem::new();
        write(&fs, "chk-6", &["shared/a", "shared/b"]);
        write(&fs, "chk-7", &["shared/b", "shared/c", "chk-7/d"]);
        let load = || millpond_snapshot::load(Arc::new(fs.clone()), &at("chk-7")).expect("sound");
        let claimed = load();
        let files = files_of(&claimed).expect("understood");
        assert_eq!(files.len(), 3);
        let (of_others, problems) = files_of_others(&claimed, &files);
        assert_eq!(
            (of_others.as_slice(), problems.len()),
            (&["memory:/c/shared/b".to_owned()][..], 0)
        );
        // What cannot be read may need anything but what lies in the claimed directory itself.
        fs.damage(&at("chk-6/_metadata"), |bytes| bytes.truncate(9));
        let (of_others, problems) = files_of_others(&claimed, &files);
        assert_eq!(of_others, ["memory:/c/shared/b", "memory:/c/shared/c"]);
        assert_eq!(problems.len(), 1);
    }
}
