//! The storage of snapshots: files, and metadata that appears in one step.

use std::collections::BTreeMap;
use std::sync::Arc;

use millpond_snapshot::Metadata;
use millpond_types::CheckpointId;

use crate::job::Row;

/// What a file of keyed state holds: one key group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StateFile {
    pub(crate) group: u16,
    pub(crate) counts: Vec<Row>,
}

/// A snapshot whose metadata is there.
#[derive(Clone, Debug)]
pub(crate) struct StoredSnapshot {
    pub(crate) checkpoint: CheckpointId,
    pub(crate) metadata: Arc<Metadata>,
    /// Every file that it refers to.
    pub(crate) files: Vec<String>,
    pub(crate) is_savepoint: bool,
    /// The job that has taken it.
    pub(crate) lineage: usize,
    pub(crate) damaged: bool,
}

/// Files by their URI, and snapshots by that of their directory.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    files: BTreeMap<String, StateFile>,
    snapshots: BTreeMap<String, StoredSnapshot>,
    /// How many snapshots refer to a file.
    references: BTreeMap<String, u32>,
}

impl Disk {
    pub(crate) fn write(&mut self, path: String, file: StateFile) {
        self.files.insert(path, file);
    }

    pub(crate) fn read(&self, path: &str) -> Option<&StateFile> {
        self.files.get(path)
    }

    pub(crate) fn files(&self) -> impl Iterator<Item = &String> {
        self.files.keys()
    }

    /// Writes metadata. An error names a file that it refers to and that is not there.
    pub(crate) fn publish(
        &mut self,
        directory: String,
        snapshot: StoredSnapshot,
    ) -> Result<(), String> {
        let missing = snapshot
            .files
            .iter()
            .find(|file| !self.files.contains_key(*file))
            .cloned();
        for file in &snapshot.files {
            *self.references.entry(file.clone()).or_default() += 1;
        }
        self.snapshots.insert(directory, snapshot);
        missing.map_or(Ok(()), Err)
    }

    pub(crate) fn snapshot(&self, directory: &str) -> Option<&StoredSnapshot> {
        self.snapshots.get(directory)
    }

    pub(crate) fn snapshots(&self) -> impl Iterator<Item = (&String, &StoredSnapshot)> {
        self.snapshots.iter()
    }

    pub(crate) fn damage(&mut self, directory: &str) {
        if let Some(snapshot) = self.snapshots.get_mut(directory) {
            snapshot.damaged = true;
        }
    }

    /// What was thought to be damaged is read after all.
    pub(crate) fn heal(&mut self) {
        self.snapshots
            .values_mut()
            .for_each(|snapshot| snapshot.damaged = false);
    }

    /// Deletes metadata: what is left is no snapshot.
    pub(crate) fn delete_metadata(&mut self, directory: &str) {
        let Some(snapshot) = self.snapshots.remove(directory) else {
            return;
        };
        for file in &snapshot.files {
            if let Some(count) = self.references.get_mut(file) {
                *count -= 1;
                if *count == 0 {
                    self.references.remove(file);
                }
            }
        }
    }

    /// Deletes a file, which may be gone. An error says which snapshot still refers to it.
    pub(crate) fn delete_file(&mut self, path: &str) -> Result<(), String> {
        self.files.remove(path);
        if !self.references.contains_key(path) {
            return Ok(());
        }
        let user = self
            .snapshots
            .iter()
            .find(|(_, snapshot)| snapshot.files.iter().any(|file| file == path));
        let user = user.map(|(directory, _)| directory.clone());
        Err(user.unwrap_or_default())
    }

    /// Deletes all files below a directory; an error as above.
    pub(crate) fn delete_directory(&mut self, directory: &str) -> Result<(), String> {
        for file in self.files_below(directory) {
            self.delete_file(&file)
                .map_err(|user| format!("\"{file}\", which \"{user}\" refers to"))?;
        }
        Ok(())
    }

    pub(crate) fn files_below(&self, directory: &str) -> Vec<String> {
        let inside = format!("{directory}/");
        let after = self.files.range(inside.clone()..);
        after
            .map(|(file, _)| file)
            .take_while(|file| file.starts_with(&inside))
            .cloned()
            .collect()
    }
}
