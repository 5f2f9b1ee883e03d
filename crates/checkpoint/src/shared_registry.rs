//! Which files the checkpoints of a job need, and which may be deleted when.
//!
//! An incremental checkpoint refers to files that an earlier one has written, in `shared/` beside the
//! `chk-N` directories, or in a snapshot that the job was started from. A file is needed as long as a
//! complete checkpoint refers to it, or one in progress may come to: each checkpoint in progress has
//! at most one *base*, the complete checkpoint whose files it may refer to, and holds all of them
//! until it ends ([`lease`](SharedStateRegistry::lease)). So no file goes between the moment at which
//! a task decides to reuse it and the moment at which its checkpoint counts.
//!
//! ```text
//!              add                      remove: the last user has gone
//!  (unknown) ───────▶ in use ───────────────────────────────────────▶ to be deleted
//!      │               ▲  lease: the files of the base
//!      │ protect       │
//!      └──────▶ of others: never deleted, whoever refers to it
//! ```
//!
//! Files are known by their URI, so it does not matter in which directory they lie, and files that
//! only one checkpoint has are files like any other. Nothing here deletes: what may go is returned.
//!
//! Rejected: counting by the number of the newest checkpoint that used a file (Flink 2.3.0, class
//! `SharedStateRegistryImpl`). It lets a file go that a slower checkpoint in progress refers to.

use std::collections::{BTreeMap, BTreeSet};

use millpond_types::CheckpointId;

/// What a checkpoint consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotFiles {
    /// Its directory, as a URI.
    pub directory: String,
    /// Whether the job has taken the snapshot over from another one (`CLAIM`). Then its directory may
    /// hold what is not the job's, and may hold files that outlive the snapshot.
    pub claimed: bool,
    /// Every file that it refers to beside its metadata, as URIs, in whatever directory.
    pub files: BTreeSet<String>,
}

/// How a directory is emptied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// With everything in it: the job made it, and nothing in it is needed.
    Whole,
    /// The metadata, and those of its files that are named; the directory itself only if it is empty
    /// then.
    Named,
}

/// What may go now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Released {
    /// Files that nobody needs any more, as URIs, in order.
    pub files: Vec<String>,
    /// Directories of claimed snapshots of which nothing is needed any more: each is to be removed if
    /// nothing is left in it, and the claim ends.
    pub claims_ended: Vec<String>,
}

/// Who needs a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum User {
    /// A complete checkpoint.
    Complete(CheckpointId),
    /// A checkpoint in progress that may refer to it.
    InProgress(CheckpointId),
}

/// The files of all checkpoints of one job.
#[derive(Debug, Default)]
pub struct SharedStateRegistry {
    complete: BTreeMap<CheckpointId, SnapshotFiles>,
    /// The files that each checkpoint in progress holds.
    leases: BTreeMap<CheckpointId, BTreeSet<String>>,
    users: BTreeMap<String, BTreeSet<User>>,
    /// Not this job's to delete.
    of_others: BTreeSet<String>,
    /// Claimed directories, each with those of the snapshot's files that are still needed.
    claims: BTreeMap<String, BTreeSet<String>>,
}

impl SharedStateRegistry {
    /// Notes files that are not this job's: of a snapshot that it was started from without claiming
    /// it, or that snapshots of others need as well.
    pub fn protect(&mut self, files: impl IntoIterator<Item = String>) {
        self.of_others.extend(files);
    }

    /// Notes a complete checkpoint, or a claimed snapshot.
    pub fn add(&mut self, checkpoint: CheckpointId, snapshot: SnapshotFiles) {
        for file in &snapshot.files {
            let users = self.users.entry(file.clone()).or_default();
            users.insert(User::Complete(checkpoint));
        }
        if snapshot.claimed {
            // Those of others too: the marker also tells jobs that claim a snapshot beside it that
            // this job needs them.
            self.claims
                .insert(snapshot.directory.clone(), snapshot.files.clone());
        }
        self.complete.insert(checkpoint, snapshot);
    }

    /// Whether this is a complete checkpoint, or a claimed snapshot, that has not been removed.
    pub fn has(&self, checkpoint: CheckpointId) -> bool {
        self.complete.contains_key(&checkpoint)
    }

    /// Keeps the files of `base` for a checkpoint that begins and may refer to them.
    pub fn lease(&mut self, checkpoint: CheckpointId, base: CheckpointId) {
        let files = self.complete.get(&base).map(|base| base.files.clone());
        for file in files.iter().flatten() {
            let users = self.users.entry(file.clone()).or_default();
            users.insert(User::InProgress(checkpoint));
        }
        self.leases.insert(checkpoint, files.unwrap_or_default());
    }

    /// The checkpoint has ended. If it is complete, [`add`](Self::add) comes first.
    pub fn end_lease(&mut self, checkpoint: CheckpointId) -> Released {
        let files = self.leases.remove(&checkpoint).unwrap_or_default();
        self.release(User::InProgress(checkpoint), &files, None)
    }

    /// A complete checkpoint is needed no more: how its directory may be emptied, and what else may go.
    ///
    /// Its metadata has to go before any file does. `None` if it is not known.
    pub fn remove(&mut self, checkpoint: CheckpointId) -> Option<(Scope, Released)> {
        let snapshot = self.complete.remove(&checkpoint)?;
        let is_needed = |file: &String| {
            is_below(file, &snapshot.directory)
                && (self.of_others.contains(file)
                    || self.users.get(file).is_some_and(|users| users.len() > 1))
        };
        let scope = match snapshot.claimed || snapshot.files.iter().any(is_needed) {
            true => Scope::Named,
            false => Scope::Whole,
        };
        // What goes with the directory need not be named.
        let whole = (scope == Scope::Whole).then_some(snapshot.directory.as_str());
        let released = self.release(User::Complete(checkpoint), &snapshot.files, whole);
        Some((scope, released))
    }

    /// Those of `files` that nobody needs: of a checkpoint that did not become complete.
    pub fn unused<'a>(&self, files: impl IntoIterator<Item = &'a String>) -> Vec<String> {
        let mut unused: Vec<String> = files
            .into_iter()
            .filter(|file| !self.is_known(file))
            .cloned()
            .collect();
        unused.sort_unstable();
        unused.dedup();
        unused
    }

    /// Whether some checkpoint needs the file, or it belongs to somebody else.
    pub fn is_known(&self, file: &str) -> bool {
        self.users.contains_key(file) || self.of_others.contains(file)
    }

    /// The job ends and keeps its checkpoints. Returns the claims that end with it: those of
    /// directories that nothing but the claimed snapshot itself refers to, so that another job may
    /// claim it.
    pub fn leave(&self) -> Vec<String> {
        let mut ended = Vec::new();
        for snapshot in self.complete.values().filter(|s| s.claimed) {
            // What is in progress will not be complete any more.
            let is_alone = |file: &String| {
                let users = self.users.get(file).into_iter().flatten();
                let complete = users.filter(|user| matches!(user, User::Complete(_)));
                complete.count() < 2
            };
            let needed = self.claims.get(&snapshot.directory);
            if needed.is_none_or(|files| files.iter().all(is_alone)) {
                ended.push(snapshot.directory.clone());
            }
        }
        ended
    }

    fn release(&mut self, user: User, files: &BTreeSet<String>, whole: Option<&str>) -> Released {
        let mut released = Released::default();
        for file in files {
            let Some(users) = self.users.get_mut(file) else {
                continue;
            };
            users.remove(&user);
            if !users.is_empty() {
                continue;
            }
            self.users.remove(file);
            let goes_with_directory = whole.is_some_and(|directory| is_below(file, directory));
            if !goes_with_directory && !self.of_others.contains(file) {
                released.files.push(file.clone());
            }
            for needed in self.claims.values_mut() {
                needed.remove(file);
            }
        }
        let complete = &self.complete;
        self.claims.retain(|directory, needed| {
            let is_there = complete
                .values()
                .any(|s| s.claimed && s.directory == *directory);
            let ended = needed.is_empty() && !is_there;
            if ended {
                released.claims_ended.push(directory.clone());
            }
            !ended
        });
        released
    }
}

/// Whether a file lies in a directory, however deep.
pub(crate) fn is_below(file: &str, directory: &str) -> bool {
    file.strip_prefix(directory)
        .is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| format!("file:/c/{name}")).collect()
    }

    fn snapshot(directory: &str, claimed: bool, names: &[&str]) -> SnapshotFiles {
        SnapshotFiles {
            directory: format!("file:/c/{directory}"),
            claimed,
            files: files(names),
        }
    }

    fn named(released: &Released) -> Vec<&str> {
        let names = released.files.iter();
        names
            .map(|file| file.strip_prefix("file:/c/").expect("a file of the test"))
            .collect()
    }

    #[test]
    fn a_shared_file_goes_with_the_last_checkpoint_that_refers_to_it() {
        let mut registry = SharedStateRegistry::default();
        registry.add(1, snapshot("chk-1", false, &["shared/a", "chk-1/x"]));
        registry.add(2, snapshot("chk-2", false, &["shared/a", "shared/b"]));
        let (scope, released) = registry.remove(1).expect("known");
        assert_eq!((scope, named(&released)), (Scope::Whole, vec![]));
        registry.add(3, snapshot("chk-3", false, &["shared/b"]));
        let (_, released) = registry.remove(2).expect("known");
        assert_eq!(named(&released), ["shared/a"]);
        assert_eq!(registry.remove(2), None, "only once");
    }

    #[test]
    fn a_checkpoint_in_progress_keeps_the_files_of_its_base() {
        let mut registry = SharedStateRegistry::default();
        registry.add(1, snapshot("chk-1", false, &["shared/a", "shared/b"]));
        registry.lease(2, 1);
        registry.lease(3, 1);
        registry.add(2, snapshot("chk-2", false, &["shared/c"]));
        registry.end_lease(2);
        let (_, released) = registry.remove(1).expect("known");
        assert_eq!(named(&released), Vec::<&str>::new(), "3 may refer to them");
        registry.add(3, snapshot("chk-3", false, &["shared/a"]));
        assert_eq!(named(&registry.end_lease(3)), ["shared/b"]);
    }

    #[test]
    fn what_a_failed_checkpoint_has_written_goes_and_what_it_has_reused_stays() {
        let mut registry = SharedStateRegistry::default();
        registry.add(1, snapshot("chk-1", false, &["shared/a"]));
        registry.lease(2, 1);
        let unused = registry.unused(&files(&["shared/a", "shared/b"]));
        assert_eq!(unused, ["file:/c/shared/b"]);
        assert_eq!(registry.end_lease(2), Released::default());
    }

    #[test]
    fn files_of_others_are_never_named() {
        let mut registry = SharedStateRegistry::default();
        registry.protect(files(&["sp/a"]));
        registry.add(1, snapshot("chk-1", false, &["sp/a", "shared/b"]));
        assert!(registry.unused(&files(&["sp/a"])).is_empty());
        let (_, released) = registry.remove(1).expect("known");
        assert_eq!(named(&released), ["shared/b"]);
    }

    #[test]
    fn a_claim_lasts_until_nothing_in_the_directory_is_needed() {
        let mut registry = SharedStateRegistry::default();
        registry.add(1, snapshot("sp", true, &["sp/a", "sp/b"]));
        registry.add(2, snapshot("chk-2", false, &["sp/a", "shared/c"]));
        let (scope, released) = registry.remove(1).expect("known");
        assert_eq!((scope, named(&released)), (Scope::Named, vec!["sp/b"]));
        assert!(released.claims_ended.is_empty(), "sp/a is needed");
        assert!(
            registry.leave().is_empty(),
            "and stays so with the job's end"
        );
        let (_, released) = registry.remove(2).expect("known");
        assert_eq!(named(&released), ["shared/c", "sp/a"]);
        assert_eq!(released.claims_ended, ["file:/c/sp"]);
    }

    /// A file that a snapshot beside the claimed one needs as well is not this job's to delete. But
    /// whoever claims that other snapshot must still see that this job needs it.
    #[test]
    fn a_claim_lasts_as_long_as_a_file_of_others_is_needed_too() {
        let mut registry = SharedStateRegistry::default();
        registry.protect(files(&["shared/a"]));
        registry.add(1, snapshot("chk-1", true, &["shared/a"]));
        registry.add(2, snapshot("chk-2", false, &["shared/a"]));
        let (_, released) = registry.remove(1).expect("known");
        assert_eq!(released, Released::default(), "2 needs shared/a");
        registry.add(3, snapshot("chk-3", false, &["shared/b"]));
        let (_, released) = registry.remove(2).expect("known");
        assert!(released.files.is_empty(), "it is not this job's");
        assert_eq!(released.claims_ended, ["file:/c/chk-1"]);
    }

    #[test]
    fn a_job_that_ends_leaves_a_claimed_snapshot_for_others_to_claim() {
        let mut registry = SharedStateRegistry::default();
        registry.add(1, snapshot("sp", true, &["sp/a"]));
        assert_eq!(registry.leave(), ["file:/c/sp"]);
        registry.add(2, snapshot("chk-2", false, &["sp/a"]));
        assert!(registry.leave().is_empty(), "2 needs a file of it");
    }

    #[test]
    fn a_checkpoint_directory_with_a_needed_file_is_not_deleted_as_a_whole() {
        let mut registry = SharedStateRegistry::default();
        registry.add(1, snapshot("chk-1", false, &["chk-1/a", "chk-1/b"]));
        registry.add(2, snapshot("chk-2", false, &["chk-1/a"]));
        let (scope, released) = registry.remove(1).expect("known");
        assert_eq!((scope, named(&released)), (Scope::Named, vec!["chk-1/b"]));
        // "chk-1" is no beginning of the directory "chk-11".
        assert!(!is_below("file:/c/chk-11/x", "file:/c/chk-1"));
    }
}
