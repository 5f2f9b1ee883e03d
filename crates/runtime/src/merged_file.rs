//! A file that holds the states of several subtasks, and what of it checkpoints still need.
//!
//! It is written for one checkpoint and closed before that is acknowledged; later checkpoints may
//! refer to parts of it, but nothing is ever added. The job master counts references to whole files,
//! so a file stays as long as a live checkpoint needs any part. How much of it that is, only the
//! process that wrote it knows: when too little of the file is needed, the parts that are
//! ([`is_mostly_garbage`](MergedFile::is_mostly_garbage)) are written anew with the next checkpoint, and
//! the file goes with the last checkpoint that refers to it.
//!
//! Nothing here does I/O.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use millpond_job::gateway::FileMerging;
use millpond_snapshot::{FileRecord, StreamHandle};
use millpond_types::CheckpointId;

/// A file that holds the states of several subtasks.
#[derive(Debug, Default)]
pub(crate) struct MergedFile {
    /// Known when it is closed.
    record: OnceLock<FileRecord>,
    /// The checkpoint that the attempt was restored from, if it was in there already: subtasks do not
    /// all say at the same time what they have of it.
    restored: Option<CheckpointId>,
    /// Bytes that each checkpoint needs of it, as far as subtasks of this process have said.
    needed: Mutex<BTreeMap<CheckpointId, u64>>,
}

impl MergedFile {
    /// One that another attempt has written, and of which `checkpoint` needs parts.
    pub(crate) fn restored(record: Option<FileRecord>, checkpoint: CheckpointId) -> Self {
        MergedFile {
            record: record.map_or_else(OnceLock::new, OnceLock::from),
            restored: Some(checkpoint),
            needed: Mutex::default(),
        }
    }

    /// It is closed.
    pub(crate) fn close(&self, record: FileRecord) {
        // It is closed once.
        let _ = self.record.set(record);
    }

    /// Its size and checksum, once it is closed.
    pub(crate) fn record(&self) -> Option<&FileRecord> {
        self.record.get()
    }

    /// A checkpoint needs this part of it.
    pub(crate) fn needs(&self, checkpoint: CheckpointId, part: &StreamHandle) {
        let mut needed = self.needed.lock().unwrap_or_else(PoisonError::into_inner);
        *needed.entry(checkpoint).or_default() += part.size();
    }

    /// Whether so little of it is needed by `base` that a checkpoint on that should do without it.
    pub(crate) fn is_mostly_garbage(&self, base: CheckpointId, merging: FileMerging) -> bool {
        if self.restored == Some(base) || merging.max_space_percent < 100 {
            return false;
        }
        let Some(record) = self.record() else {
            return false;
        };
        let mut needed = self.needed.lock().unwrap_or_else(PoisonError::into_inner);
        // Complete checkpoints become the base in ascending order.
        *needed = needed.split_off(&base);
        let of_base = needed.get(&base).copied().unwrap_or_default();
        let most = u128::from(of_base) * u128::from(merging.max_space_percent) / 100;
        u128::from(record.size) > most
    }
}

/// The checksum of a file that a state lies in.
#[derive(Clone, Debug)]
pub(crate) enum Record {
    /// Nothing else is in there.
    Own(FileRecord),
    /// It is one of several.
    Merged(std::sync::Arc<MergedFile>),
}

impl Record {
    /// The record, if it is known already.
    pub(crate) fn get(&self) -> Option<FileRecord> {
        match self {
            Record::Own(record) => Some(record.clone()),
            Record::Merged(file) => file.record().cloned(),
        }
    }

    /// As [`MergedFile::needs`].
    pub(crate) fn needs(&self, checkpoint: CheckpointId, part: &StreamHandle) {
        if let Record::Merged(file) = self {
            file.needs(checkpoint, part);
        }
    }

    /// As [`MergedFile::is_mostly_garbage`]; a file of one state never is.
    pub(crate) fn is_mostly_garbage(
        &self,
        base: CheckpointId,
        merging: Option<FileMerging>,
    ) -> bool {
        match (self, merging) {
            (Record::Merged(file), Some(merging)) => file.is_mostly_garbage(base, merging),
            (Record::Merged(_), None) | (Record::Own(_), _) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MERGING: FileMerging = FileMerging {
        max_file_bytes: 1000,
        max_subtasks_per_file: 4,
        max_space_percent: 200,
    };

    fn part(size: i64) -> StreamHandle {
        StreamHandle::File {
            path: String::new(),
            size,
        }
    }

    fn of_size(size: u64) -> FileRecord {
        FileRecord {
            name: "file:/c/shared/m".to_owned(),
            size,
            checksum: 0,
        }
    }

    #[test]
    fn a_file_is_left_when_less_than_the_share_is_needed_by_the_base() {
        let file = MergedFile::default();
        file.needs(5, &part(60));
        assert!(!file.is_mostly_garbage(5, MERGING), "not closed");
        file.close(of_size(100));
        assert!(!file.is_mostly_garbage(5, MERGING));
        file.needs(6, &part(25));
        file.needs(6, &part(25));
        assert!(!file.is_mostly_garbage(6, MERGING), "two to one is allowed");
        file.needs(7, &part(49));
        assert!(file.is_mostly_garbage(7, MERGING));
        assert_eq!(
            file.needed.lock().expect("no panic").len(),
            1,
            "5 and 6 are past"
        );
        let unlimited = FileMerging {
            max_space_percent: 99,
            ..MERGING
        };
        assert!(!file.is_mostly_garbage(7, unlimited));
    }

    #[test]
    fn of_a_restored_file_nothing_is_said_before_all_subtasks_have_said_what_they_need() {
        let file = MergedFile::restored(Some(of_size(100)), 5);
        file.needs(5, &part(1));
        assert!(!file.is_mostly_garbage(5, MERGING));
        file.needs(6, &part(1));
        assert!(file.is_mostly_garbage(6, MERGING));
        assert!(!MergedFile::restored(None, 5).is_mostly_garbage(6, MERGING));
    }
}
