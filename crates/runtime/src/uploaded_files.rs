//! What a task has uploaded, and for which checkpoint: the memory of incremental checkpoints.
//!
//! An image of an operator's state may consist of files, some of which are part of several images
//! ([`Sharing::Shared`]): tables of a RocksDB, or what a base and its changes are written to. A
//! checkpoint refers to those that its *base* has, and uploads the rest. The base is the one
//! complete checkpoint that the job master has announced with it; files of any other one may be
//! deleted at any time, so nothing is ever reused from them, however recent.
//!
//! ```text
//!   chk-5 uploads a b      {5: a b}
//!   chk-6 on 5: a b c      {5: a b, 6: a b c}      reuses a b
//!   chk-7 on 5: b d        {5: .., 6: .., 7: b d}  reuses b: 6 was not complete yet
//!   chk-8 on 7             {7: .., 8: ..}          nothing can build on 5 and 6 any more
//! ```
//!
//! Of the heap it remembers the base and the changes on it, in order, and where their key groups begin
//! ([`UploadedIncrements`]): a checkpoint refers to all of them, or writes a new base.
//!
//! Nothing here does I/O. It lives as long as an attempt: what an attempt was restored from it learns
//! from the store that was opened on those files.
//!
//! Rejected: to build on the newest checkpoint whose completion the task has heard of, as Flink 2.3.0
//! does (class `RocksIncrementalSnapshotStrategy`): the job master does not know then which files it
//! has to keep.

use std::collections::BTreeMap;
use std::sync::Arc;

use millpond_job::gateway::FileMerging;
use millpond_snapshot::{HeapIncrement, HeapIncrements, StreamHandle};
use millpond_state::store::{Sharing, StoreFile};
use millpond_types::{CheckpointId, OperatorId};

use crate::merged_file::Record;

/// A file of a checkpoint.
#[derive(Clone, Debug)]
pub(crate) struct UploadedFile {
    /// Where it lies, in words that hold for every checkpoint: nothing relative.
    pub(crate) stream: StreamHandle,
    /// The checksum of the file that it lies in, if it is not inline.
    pub(crate) record: Option<Record>,
}

/// The files of an image of heap state.
#[derive(Clone, Debug)]
pub(crate) struct UploadedIncrements {
    pub(crate) increments: HeapIncrements,
    /// The checksums of the files that they lie in, with the parts of them that they are.
    pub(crate) records: Vec<(StreamHandle, Record)>,
}

impl UploadedIncrements {
    pub(crate) fn of_base(base: HeapIncrement, record: Option<Record>) -> Self {
        let record = record.map(|record| (base.stream.clone(), record));
        UploadedIncrements {
            increments: HeapIncrements::of_base(base),
            records: record.into_iter().collect(),
        }
    }

    /// These files with one more.
    pub(crate) fn with(&self, changes: HeapIncrement, record: Option<Record>) -> Self {
        let record = record.map(|record| (changes.stream.clone(), record));
        UploadedIncrements {
            increments: self.increments.with(changes),
            records: self.records.iter().cloned().chain(record).collect(),
        }
    }

    /// Whether one of the files is not worth it any more to be referred to by a checkpoint on `base`.
    pub(crate) fn are_mostly_garbage(
        &self,
        base: CheckpointId,
        merging: Option<FileMerging>,
    ) -> bool {
        let mut records = self.records.iter();
        records.any(|(_, record)| record.is_mostly_garbage(base, merging))
    }
}

/// Files by their local names.
pub(crate) type FilesByName = BTreeMap<String, UploadedFile>;

/// What becomes of the files of an image.
#[derive(Debug, Default)]
pub(crate) struct Upload<'a> {
    /// Those that the base has, and that lie in no merged file of which little else is needed.
    pub(crate) reused: FilesByName,
    /// Those that are written now.
    pub(crate) new: Vec<&'a StoreFile>,
}

/// The shared files of the operators of one task, by checkpoint.
#[derive(Debug, Default)]
pub(crate) struct UploadedFiles {
    since_ms: Option<u64>,
    by_checkpoint: BTreeMap<CheckpointId, BTreeMap<OperatorId, Arc<FilesByName>>>,
    increments: BTreeMap<CheckpointId, BTreeMap<OperatorId, Arc<UploadedIncrements>>>,
}

impl UploadedFiles {
    /// Says which files of an image of `operator` a checkpoint on `base`, whose small files are merged
    /// like this, need not upload; forgets the checkpoints that no later one can have as its base.
    pub(crate) fn plan<'a>(
        &mut self,
        operator: OperatorId,
        base: Option<CheckpointId>,
        files: &'a [StoreFile],
        merging: Option<FileMerging>,
    ) -> Upload<'a> {
        let known = base.and_then(|base| {
            // Complete checkpoints become it in ascending order.
            self.by_checkpoint = self.by_checkpoint.split_off(&base);
            self.by_checkpoint.get(&base)?.get(&operator)
        });
        let mut upload = Upload::default();
        for file in files {
            let is_worth_it = |uploaded: &&UploadedFile| {
                let mut record = uploaded.record.iter().zip(base);
                !record.any(|(record, base)| record.is_mostly_garbage(base, merging))
            };
            let uploaded = known.and_then(|known| known.get(&file.name));
            match (file.sharing, uploaded.filter(is_worth_it)) {
                (Sharing::Shared, Some(uploaded)) => {
                    upload.reused.insert(file.name.clone(), uploaded.clone());
                }
                (Sharing::Shared, None) | (Sharing::Private, _) => upload.new.push(file),
            }
        }
        upload
    }

    /// Notes all shared files of a checkpoint, reused and new ones.
    pub(crate) fn add(
        &mut self,
        operator: OperatorId,
        checkpoint: CheckpointId,
        files: Arc<FilesByName>,
    ) {
        for file in files.values() {
            let record = file.record.iter();
            record.for_each(|record| record.needs(checkpoint, &file.stream));
        }
        let of_checkpoint = self.by_checkpoint.entry(checkpoint).or_default();
        of_checkpoint.insert(operator, files);
    }

    /// The files of heap state of `operator` that a checkpoint on `base` may refer to; forgets the
    /// checkpoints that no later one can have as its base.
    pub(crate) fn increments(
        &mut self,
        operator: OperatorId,
        base: CheckpointId,
    ) -> Option<Arc<UploadedIncrements>> {
        self.increments = self.increments.split_off(&base);
        self.increments.get(&base)?.get(&operator).cloned()
    }

    /// Notes the files of heap state of a checkpoint.
    pub(crate) fn add_increments(
        &mut self,
        operator: OperatorId,
        checkpoint: CheckpointId,
        files: Arc<UploadedIncrements>,
    ) {
        for (stream, record) in &files.records {
            record.needs(checkpoint, stream);
        }
        let of_checkpoint = self.increments.entry(checkpoint).or_default();
        of_checkpoint.insert(operator, files);
    }

    /// When the first snapshot of the attempt was triggered, `triggered_at_ms` if that is this one:
    /// what tells attempts of the same number apart.
    pub(crate) fn since_ms(&mut self, triggered_at_ms: u64) -> u64 {
        *self.since_ms.get_or_insert(triggered_at_ms)
    }

    /// A checkpoint will never be complete.
    pub(crate) fn forget(&mut self, checkpoint: CheckpointId) {
        self.by_checkpoint.remove(&checkpoint);
        self.increments.remove(&checkpoint);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond_snapshot::KeyGroupOffsets;

    const OPERATOR: OperatorId = OperatorId([7; 16]);

    fn image(names: &str) -> Vec<StoreFile> {
        let file = |name: &str| StoreFile {
            name: name.to_owned(),
            path: name.into(),
            bytes: 1,
            sharing: match name {
                "MANIFEST" => Sharing::Private,
                _ => Sharing::Shared,
            },
        };
        names.split(' ').map(file).collect()
    }

    /// Takes a checkpoint; returns which files were reused and which uploaded.
    fn take(
        files: &mut UploadedFiles,
        operator: OperatorId,
        checkpoint: CheckpointId,
        base: Option<CheckpointId>,
        names: &str,
    ) -> (String, String) {
        let image = image(names);
        let Upload { reused, new } = files.plan(operator, base, &image, None);
        let mut all = reused.clone();
        for file in &new {
            if file.sharing == Sharing::Shared {
                let path = format!("file:/shared/{checkpoint}-{}", file.name);
                let stream = StreamHandle::File { path, size: 1 };
                let record = None;
                all.insert(file.name.clone(), UploadedFile { stream, record });
            }
        }
        files.add(operator, checkpoint, Arc::new(all));
        let paths = reused.values().map(|file| {
            let StreamHandle::File { path, .. } = &file.stream else {
                panic!("{file:?}");
            };
            path.trim_start_matches("file:/shared/")
        });
        let new: Vec<&str> = new.iter().map(|file| file.name.as_str()).collect();
        (paths.collect::<Vec<_>>().join(" "), new.join(" "))
    }

    fn words(reused: &str, new: &str) -> (String, String) {
        (reused.to_owned(), new.to_owned())
    }

    #[test]
    fn only_shared_files_of_the_base_are_reused() {
        let files = &mut UploadedFiles::default();
        let mut take = |checkpoint, base, names| take(files, OPERATOR, checkpoint, base, names);
        assert_eq!(take(5, None, "a b MANIFEST"), words("", "a b MANIFEST"));
        assert_eq!(
            take(6, Some(5), "a b c MANIFEST"),
            words("5-a 5-b", "c MANIFEST")
        );
        // 6 is not complete, and may never be: its c must not be relied on.
        assert_eq!(take(7, Some(5), "b c MANIFEST"), words("5-b", "c MANIFEST"));
        assert_eq!(take(8, Some(7), "b c d"), words("5-b 7-c", "d"));
        // A full one, for example because the user wants it.
        assert_eq!(take(9, None, "b c"), words("", "b c"));
        assert_eq!(take(10, Some(9), "b c"), words("9-b 9-c", ""));
    }

    #[test]
    fn what_lies_in_a_file_that_is_mostly_garbage_is_uploaded_again() {
        use crate::merged_file::MergedFile;
        use millpond_snapshot::FileRecord;

        let merging = Some(FileMerging {
            max_file_bytes: 1000,
            max_subtasks_per_file: 4,
            max_space_percent: 200,
        });
        let merged = Arc::new(MergedFile::default());
        let mut files = UploadedFiles::default();
        let of = |names: &str| -> Arc<FilesByName> {
            let file = |name: &str| {
                let stream = StreamHandle::File {
                    path: "file:/shared/m".to_owned(),
                    size: 10,
                };
                let record = Some(Record::Merged(Arc::clone(&merged)));
                (name.to_owned(), UploadedFile { stream, record })
            };
            Arc::new(names.split(' ').map(file).collect())
        };
        files.add(OPERATOR, 5, of("a b c"));
        merged.close(FileRecord {
            name: "file:/shared/m".to_owned(),
            size: 30,
            checksum: 0,
        });
        let image = image("a b d");
        let plan = files.plan(OPERATOR, Some(5), &image, merging);
        assert_eq!(plan.reused.into_keys().collect::<Vec<_>>(), ["a", "b"]);
        files.add(OPERATOR, 6, of("a"));
        let plan = files.plan(OPERATOR, Some(6), &image, merging);
        assert!(plan.reused.is_empty(), "one of three parts is needed");
        assert_eq!(plan.new.len(), 3);
    }

    #[test]
    fn a_base_that_is_not_known_is_as_good_as_none() {
        let files = &mut UploadedFiles::default();
        take(files, OPERATOR, 5, None, "a");
        assert_eq!(
            take(files, OPERATOR, 6, Some(4), "a"),
            words("", "a"),
            "4 was another attempt's"
        );
        let other = OperatorId([8; 16]);
        assert_eq!(
            take(files, other, 6, Some(5), "a"),
            words("", "a"),
            "5 is another operator's"
        );
    }

    #[test]
    fn increments_of_the_base_alone_are_known() {
        let files = &mut UploadedFiles::default();
        let file = |checkpoint| HeapIncrement {
            checkpoint,
            groups: KeyGroupOffsets {
                first: 0,
                offsets: Vec::new(),
            },
            stream: StreamHandle::EmptySegment,
        };
        let base = UploadedIncrements::of_base(file(5), None);
        files.add_increments(OPERATOR, 5, Arc::new(base.clone()));
        files.add_increments(OPERATOR, 6, Arc::new(base.with(file(6), None)));
        let known = files.increments(OPERATOR, 5).expect("it was noted");
        assert_eq!(known.increments.files().len(), 1);
        files.forget(6);
        assert!(files.increments(OPERATOR, 6).is_none(), "it was aborted");
        assert!(
            files.increments(OPERATOR, 5).is_none(),
            "no later one has it as its base"
        );
    }

    #[test]
    fn what_can_be_no_base_any_more_is_forgotten() {
        let files = &mut UploadedFiles::default();
        for checkpoint in 1..100 {
            let base = (checkpoint > 1).then_some(checkpoint - 1);
            take(files, OPERATOR, checkpoint, base, "a b");
            assert!(files.by_checkpoint.len() <= 2);
        }
        // None of these is complete.
        for checkpoint in 100..200 {
            take(files, OPERATOR, checkpoint, Some(99), "a b");
            files.forget(checkpoint);
            assert_eq!(files.by_checkpoint.len(), 1);
        }
    }
}
