use super::*;
use millpond_fs::memory::{Faults, MemoryFileSystem};
use millpond_job::VertexIndex;
use millpond_job::acknowledgement::{AcknowledgeMetrics, OperatorAcknowledgement};
use millpond_job::dispatcher::SavepointFormat;
use millpond_snapshot::{SubtaskSnapshot, checksum};
use millpond_types::OperatorId;
use std::sync::mpsc::{Receiver, channel};

struct Process {
    fs: MemoryFileSystem,
    files: Arc<MergedFiles>,
    to_master: Sender<FromWorker>,
    master: Receiver<FromWorker>,
}

fn at(text: &str) -> Location {
    Location::parse(text).expect("a path")
}

fn options(id: CheckpointId, max_file_bytes: u64, max_subtasks_per_file: u32) -> SnapshotOptions {
    SnapshotOptions {
        id,
        is_savepoint: false,
        format: SavepointFormat::Canonical,
        incremental: true,
        directory: format!("file:/c/chk-{id}"),
        shared_directory: "file:/c/shared".to_owned(),
        base: None,
        metadata_only_bytes: None,
        inline_threshold_bytes: 0,
        file_merging: Some(FileMerging {
            max_file_bytes,
            max_subtasks_per_file,
            max_space_percent: 200,
        }),
        changes_limit_bytes: u64::MAX,
        triggered_at_ms: 5,
        aligned_timeout_ms: None,
        stop: None,
    }
}

impl Process {
    fn new(tasks: u32) -> Self {
        let (to_master, master) = channel();
        let files = Arc::new(MergedFiles::default());
        (0..tasks).for_each(|_| files.add_task());
        Process {
            fs: MemoryFileSystem::new(),
            files,
            to_master,
            master,
        }
    }

    fn begin(&self, options: &SnapshotOptions) -> MergedPart {
        self.files.begin(options, 1, 0).expect("it is merged")
    }

    fn append(
        &self,
        part: &MergedPart,
        scope: Scope,
        bytes: &[u8],
    ) -> Result<StreamHandle, FunctionError> {
        let fs: Arc<dyn FileSystem> = Arc::new(self.fs.clone());
        let directory = at(&format!("/c/chk-{}", part.checkpoint));
        let place = AppendPlace {
            fs: &fs,
            directory: &directory,
            shared_directory: &at("/c/shared"),
            scope,
        };
        let appended = part.append(place, "millpond-name", bytes);
        appended.map(|(handle, _)| handle)
    }

    fn answer(&self, checkpoint: CheckpointId, subtask: u32) -> Answer {
        let operator = OperatorAcknowledgement {
            operator: OperatorId([1; 16]),
            state: SubtaskSnapshot::default(),
            files: Vec::new(),
            states: Vec::new(),
            positions: Vec::new(),
            pending_transactions: false,
            ended: false,
        };
        Answer {
            attempt: 1,
            checkpoint,
            task: "counter (1/2)".to_owned(),
            acknowledgement: SubtaskAcknowledgement {
                vertex: VertexIndex(0),
                subtask,
                operators: vec![operator],
                metrics: AcknowledgeMetrics::default(),
            },
            began: Instant::now(),
            to_master: self.to_master.clone(),
        }
    }

    /// Which subtasks have acknowledged, and which declined, since the last call; and the files that
    /// they have told of.
    fn heard(&self) -> (Vec<u32>, Vec<u32>, Vec<FileRecord>) {
        let (mut acknowledged, mut declined, mut files) = (Vec::new(), Vec::new(), Vec::new());
        for message in self.master.try_iter() {
            match message {
                FromWorker::Acknowledge {
                    acknowledgement, ..
                } => {
                    acknowledged.push(acknowledgement.subtask);
                    let operators = acknowledgement.operators.into_iter();
                    let of_part: Vec<FileRecord> = operators.flat_map(|o| o.files).collect();
                    let created = acknowledgement.metrics.created_files;
                    assert_eq!(created, of_part.len() as u64);
                    files.extend(of_part);
                }
                FromWorker::Decline { subtask, .. } => declined.push(subtask),
                FromWorker::Running { .. }
                | FromWorker::Announced { .. }
                | FromWorker::SourceEnded { .. }
                | FromWorker::Failed { .. }
                | FromWorker::Ended { .. }
                | FromWorker::Metrics { .. } => panic!("{message:?}"),
            }
        }
        (acknowledged, declined, files)
    }

    fn names_in(&self, directory: &str) -> Vec<String> {
        let entries = self.fs.list(&at(directory)).unwrap_or_default();
        entries.into_iter().map(|entry| entry.name).collect()
    }
}

fn segment(handle: &StreamHandle) -> (i64, i64, &str) {
    let StreamHandle::Segment {
        start, size, path, ..
    } = handle
    else {
        panic!("{handle:?}");
    };
    (*start, *size, path)
}

#[test]
fn subtasks_of_a_group_share_one_file_and_acknowledge_when_it_is_durable() {
    let process = Process::new(3);
    let options = options(7, 1000, 2);
    let parts: Vec<MergedPart> = (0..3).map(|_| process.begin(&options)).collect();
    let mut parts = parts.into_iter();
    let (a, b, c) = (parts.next(), parts.next(), parts.next());
    let (a, b, c) = (a.expect("made"), b.expect("made"), c.expect("made"));
    let first = process.append(&a, Scope::Exclusive, b"aaa").expect("room");
    let second = process.append(&b, Scope::Exclusive, b"bb").expect("room");
    assert_eq!(segment(&first).0, 0);
    assert_eq!((segment(&second).0, segment(&second).1), (3, 2));
    assert_eq!(segment(&first).2, segment(&second).2);
    a.end(Some(process.answer(7, 0)));
    assert!(process.heard().0.is_empty(), "the file is not closed");
    b.end(Some(process.answer(7, 1)));
    let (acknowledged, _, files) = process.heard();
    assert_eq!(acknowledged, [0, 1], "the group is full");
    assert_eq!(files.len(), 1);
    assert!(segment(&first).2.ends_with(&files[0].name), "{files:?}");
    assert_eq!((files[0].size, files[0].checksum), (5, checksum(b"aaabb")));
    // The third one finds nobody to share with, and waits for nobody.
    process.append(&c, Scope::Exclusive, b"c").expect("room");
    c.end(Some(process.answer(7, 2)));
    assert_eq!(process.heard().0, [2]);
    assert_eq!(process.names_in("/c/chk-7").len(), 2);
    process.fs.crash();
    let file = at(segment(&first).2);
    assert_eq!(process.fs.read(&file).expect("synced"), b"aaabb");
}

#[test]
fn whoever_has_nothing_to_merge_waits_for_nobody_and_is_waited_for_by_nobody() {
    let process = Process::new(2);
    let options = options(7, 1000, 4);
    let (a, b) = (process.begin(&options), process.begin(&options));
    process.append(&a, Scope::Exclusive, b"aaa").expect("room");
    a.end(Some(process.answer(7, 0)));
    assert!(process.heard().0.is_empty(), "the other may still join");
    b.end(Some(process.answer(7, 1)));
    let mut acknowledged = process.heard().0;
    acknowledged.sort_unstable();
    assert_eq!(acknowledged, [0, 1]);
}

#[test]
fn no_file_exceeds_its_size_and_shared_ones_lie_elsewhere() {
    let process = Process::new(1);
    let part = process.begin(&options(7, 10, 4));
    for scope in [
        Scope::Exclusive,
        Scope::Exclusive,
        Scope::Exclusive,
        Scope::Shared,
    ] {
        process.append(&part, scope, b"1234").expect("room");
    }
    part.end(Some(process.answer(7, 0)));
    let (_, _, files) = process.heard();
    let mut sizes: Vec<u64> = files.iter().map(|file| file.size).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [4, 4, 8]);
    assert_eq!(process.names_in("/c/chk-7").len(), 2);
    assert_eq!(process.names_in("/c/shared").len(), 1);
    let shared = files
        .iter()
        .filter(|f| f.name.starts_with("file:/c/shared/"));
    assert_eq!(shared.count(), 1, "its record holds for all checkpoints");
}

#[test]
fn what_cannot_be_written_is_acknowledged_by_nobody_and_leaves_no_file() {
    for faults in [
        Faults {
            failing_writes: [2].into(),
            ..Faults::default()
        },
        Faults {
            torn_writes: [(2, 1)].into(),
            ..Faults::default()
        },
    ] {
        let process = Process::new(2);
        process.fs.set_faults(faults);
        let options = options(7, 1000, 4);
        let (a, b) = (process.begin(&options), process.begin(&options));
        process.append(&a, Scope::Shared, b"aaa").expect("room");
        process
            .append(&b, Scope::Shared, b"bbb")
            .expect_err("it fails");
        process
            .append(&b, Scope::Shared, b"bbb")
            .expect_err("for good");
        b.end(None);
        a.end(Some(process.answer(7, 0)));
        let (acknowledged, declined, _) = process.heard();
        assert_eq!((acknowledged, declined), (vec![], vec![0]));
        assert!(process.names_in("/c/shared").is_empty());
    }
}

#[test]
fn a_checkpoint_that_is_given_up_keeps_nobody_waiting_and_leaves_no_file() {
    let process = Process::new(3);
    let options = options(7, 1000, 4);
    let (a, b) = (process.begin(&options), process.begin(&options));
    process.append(&a, Scope::Shared, b"aaa").expect("room");
    process.append(&b, Scope::Shared, b"bbb").expect("room");
    a.end(Some(process.answer(7, 0)));
    process.files.give_up(7);
    assert_eq!(process.heard().0, [0]);
    // One that was writing meanwhile, and one that comes later.
    b.end(Some(process.answer(7, 1)));
    assert_eq!(process.heard().0, [1]);
    assert!(process.files.begin(&options, 1, 0).is_none());
    assert!(process.names_in("/c/shared").is_empty());
}

#[test]
fn an_attempt_that_ends_keeps_nobody_waiting() {
    let process = Process::new(2);
    let part = process.begin(&options(7, 1000, 4));
    process.append(&part, Scope::Shared, b"aaa").expect("room");
    part.end(Some(process.answer(7, 0)));
    let Process {
        fs, files, master, ..
    } = process;
    drop(files);
    assert_eq!(master.try_iter().count(), 1);
    assert!(fs.list(&at("/c/shared")).unwrap_or_default().is_empty());
}

#[test]
fn files_of_other_attempts_are_known_once_to_all_who_refer_to_them() {
    let files = MergedFiles::default();
    let one = files.restored("file:/c/shared/m", None, 5);
    let other = files.restored("file:/c/shared/m", None, 5);
    assert!(Arc::ptr_eq(&one, &other));
    drop((one, other));
    files.restored("file:/c/shared/n", None, 5);
    assert_eq!(
        files.lock().restored.len(),
        1,
        "forgotten with its last user"
    );
}
