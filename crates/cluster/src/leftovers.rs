//! What a job that was killed has left beside its checkpoints.

use millpond_fs::{FileSystem, Location};
use millpond_snapshot::METADATA_FILE;

/// The most names that are told.
const MAX_NAMES: usize = 20;

/// Names the unfinished checkpoints beside `snapshot`: directories `chk-N` without metadata.
///
/// They may be those of a job that was killed, or of one that runs. Nobody but their owner and its
/// user can know, so a job that starts from `snapshot` tells of them and deletes nothing. At most 20
/// names, in order; none if `snapshot` is no `chk-N` or its surroundings cannot be read.
pub(crate) fn unfinished_beside(fs: &dyn FileSystem, snapshot: &Location) -> Vec<String> {
    let is_checkpoint = |name: &str| {
        name.strip_prefix("chk-")
            .is_some_and(|number| number.parse::<u64>().is_ok())
    };
    let Some(parent) = snapshot
        .parent()
        .filter(|_| is_checkpoint(snapshot.file_name()))
    else {
        return Vec::new();
    };
    let entries = fs.list(&parent).unwrap_or_default();
    let directories = entries
        .into_iter()
        .filter(|entry| entry.is_dir && is_checkpoint(&entry.name));
    let unfinished = directories.filter(|entry| {
        let metadata = parent.join(&entry.name).join(METADATA_FILE);
        matches!(fs.exists(&metadata), Ok(false))
    });
    let mut names: Vec<String> = unfinished.map(|entry| entry.name).collect();
    names.sort_unstable();
    names.truncate(MAX_NAMES);
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond_fs::memory::MemoryFileSystem;

    #[test]
    fn unfinished_checkpoints_beside_a_checkpoint_are_named_and_nothing_else() {
        let fs = MemoryFileSystem::new();
        let job = Location::parse("memory:/c/job").expect("a location");
        let write = |name: &str| {
            fs.create_dir_all(&job.join(name).parent().expect("a directory"))
                .expect("made");
            fs.write_atomic(&job.join(name), b"x").expect("written");
        };
        write("chk-8/_metadata");
        write("chk-9/millpond-1");
        write("chk-10/._metadata.inprogress");
        write("chk-old/notes");
        write("chk-11");
        let found = unfinished_beside(&fs, &job.join("chk-8"));
        assert_eq!(found, ["chk-10", "chk-9"]);
        assert!(unfinished_beside(&fs, &job).is_empty(), "no checkpoint");
        assert!(
            fs.exists(&job.join("chk-9").join("millpond-1"))
                .expect("looked")
        );
    }
}
