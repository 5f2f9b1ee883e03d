//! The files that checkpoints share, on a simulated disk, and the laws about them: one that is
//! referred to is there, and one that nobody needs is gone in the end.

use std::collections::{BTreeMap, BTreeSet};

use millpond_checkpoint::{Released, Scope, StartedFrom};
use millpond_job::gateway::SnapshotOptions;
use millpond_snapshot::{IncrementalHandle, KeyedHandle, NamedStream, StreamHandle};
use millpond_types::CheckpointId;
use millpond_types::config::ClaimMode;

use super::Random;

/// A subtask's part of a snapshot.
type Part = (CheckpointId, u32, u32);

#[derive(Default)]
pub(crate) struct SharedFiles {
    on_disk: BTreeSet<String>,
    /// What each part refers to.
    of_part: BTreeMap<Part, Vec<String>>,
    /// Not the job's to delete.
    of_others: BTreeSet<String>,
    /// Nobody knows of them any more, because their writer died.
    orphans: BTreeSet<String>,
    claim: Option<(String, bool)>,
    written: u64,
}

impl SharedFiles {
    /// The snapshot that the job is started from; fills in its files.
    pub(crate) fn start_from(&mut self, from: &mut StartedFrom, random: &mut Random) {
        for (vertex, subtask) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let name = format!("{vertex}-{subtask}");
            let files = vec![
                format!("file:/old/shared/{name}"),
                format!("{}/{name}", from.directory),
            ];
            if from.mode == ClaimMode::Claim && random.percent(20) {
                from.files_of_others.push(files[0].clone());
            }
            from.files.extend(files.iter().cloned());
            self.on_disk.extend(files.iter().cloned());
            self.of_part
                .insert((from.checkpoint, vertex, subtask), files);
        }
        self.of_others = match from.mode {
            ClaimMode::Claim => from.files_of_others.iter().cloned().collect(),
            ClaimMode::NoClaim | ClaimMode::Legacy => from.files.iter().cloned().collect(),
        };
        if from.mode == ClaimMode::Claim {
            self.claim = Some((from.directory.clone(), true));
        }
    }

    /// A subtask writes its part: some files anew, the others are those of the base.
    pub(crate) fn write(
        &mut self,
        options: &SnapshotOptions,
        part: Part,
        random: &mut Random,
    ) -> KeyedHandle {
        let mut files = Vec::new();
        if let Some(base) = options.base {
            for file in &self.of_part[&(base, part.1, part.2)] {
                if random.percent(70) {
                    assert!(
                        self.on_disk.contains(file),
                        "{file} is gone, and is referred to"
                    );
                    files.push(file.clone());
                }
            }
        }
        for _ in 0..=random.below(2) {
            self.written += 1;
            let directory = random.pick(&[&options.shared_directory, &options.directory]);
            let file = format!("{directory}/{}", self.written);
            self.on_disk.insert(file.clone());
            files.push(file);
        }
        let handle = handle(part.0, &files);
        self.of_part.insert(part, files);
        handle
    }

    /// The message about a part is lost: what it alone refers to stays for ever.
    pub(crate) fn lose(&mut self, part: Part, base: Option<CheckpointId>) {
        let reused = base.and_then(|base| self.of_part.get(&(base, part.1, part.2)));
        let reused = reused.cloned().unwrap_or_default();
        let files = self.of_part.get(&part).into_iter().flatten();
        let files = files.filter(|file| !reused.contains(file));
        self.orphans.extend(files.cloned());
    }

    /// The directory of a snapshot is emptied.
    pub(crate) fn discard(&mut self, directory: &str, scope: Scope, released: &Released) {
        if scope == Scope::Whole {
            let inside = format!("{directory}/");
            self.on_disk.retain(|file| !file.starts_with(&inside));
        }
        self.release(released);
    }

    pub(crate) fn release(&mut self, released: &Released) {
        for file in &released.files {
            assert!(!self.of_others.contains(file), "{file} is not ours");
            self.on_disk.remove(file);
        }
        for directory in &released.claims_ended {
            self.end_claim(directory);
        }
    }

    pub(crate) fn end_claim(&mut self, directory: &str) {
        let (claimed, open) = self.claim.as_mut().expect("something was claimed");
        assert_eq!(claimed, directory);
        assert!(std::mem::replace(open, false), "a claim ends once");
    }

    /// Every file that a complete checkpoint refers to is there.
    pub(crate) fn check(&self, complete: impl Iterator<Item = CheckpointId>) {
        for id in complete {
            for file in self.files_of(id) {
                assert!(
                    self.on_disk.contains(file),
                    "{file} of checkpoint {id} is gone"
                );
            }
        }
        for file in &self.of_others {
            assert!(self.on_disk.contains(file), "{file} of others is gone");
        }
    }

    /// What is left at the end is needed by what is kept.
    pub(crate) fn check_the_end(
        &self,
        kept: &BTreeSet<CheckpointId>,
        orphan_directories: &BTreeSet<String>,
    ) {
        let needed: BTreeSet<&String> = kept.iter().flat_map(|id| self.files_of(*id)).collect();
        for file in &self.on_disk {
            let is_in = |directory: &String| file.starts_with(&format!("{directory}/"));
            let in_orphan = orphan_directories.iter().any(is_in);
            let is_left = self.of_others.contains(file) || self.orphans.contains(file) || in_orphan;
            assert!(needed.contains(file) || is_left, "{file} is left behind");
        }
        if let Some((directory, open)) = &self.claim {
            // Those that snapshots of others need as well: their owners are to be told that this job does.
            let mut claimed = self.files_of(40);
            let others = kept.iter().filter(|id| **id != 40);
            let others: BTreeSet<_> = others.flat_map(|id| self.files_of(*id)).collect();
            let is_needed = claimed.any(|file| others.contains(file));
            assert_eq!(*open, is_needed, "the claim of {directory}");
        }
    }

    fn files_of(&self, id: CheckpointId) -> impl Iterator<Item = &String> {
        let parts = self.of_part.range((id, 0, 0)..=(id, u32::MAX, u32::MAX));
        parts.flat_map(|(_, files)| files)
    }
}

fn handle(checkpoint: CheckpointId, files: &[String]) -> KeyedHandle {
    let file = |path: &String| StreamHandle::File {
        path: path.clone(),
        size: 1,
    };
    let named = |path: &String| NamedStream {
        name: path.clone(),
        stream: file(path),
    };
    let (meta, shared) = files.split_first().expect("at least one is written");
    KeyedHandle::Incremental(IncrementalHandle {
        checkpoint_id: checkpoint,
        backend_id: "b".to_owned(),
        range: (0, 128),
        meta: file(meta),
        shared: shared.iter().map(named).collect(),
        private: Vec::new(),
        v2: None,
    })
}
