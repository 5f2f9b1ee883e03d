//! The file sink.

use std::fs;

use millpond_connectors::FileSink;
use millpond_operator::FunctionError;
use millpond_types::{ATTEMPTS_PER_MASTER, JobId};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::driver::{JOB, SinkJob, SinkSnapshot};

fn directory() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn sink(directory: &TempDir) -> FileSink<u32> {
    FileSink::new(
        directory.path().join("out"),
        |record: &u32, line: &mut Vec<u8>| {
            line.extend_from_slice(record.to_string().as_bytes());
        },
    )
}

/// Names of hidden and of visible files.
fn names(directory: &TempDir) -> (Vec<String>, Vec<String>) {
    let entries = fs::read_dir(directory.path().join("out")).expect("is there");
    let mut names: Vec<String> = entries
        .map(|entry| {
            entry
                .expect("is there")
                .file_name()
                .into_string()
                .expect("UTF-8")
        })
        .collect();
    names.sort();
    names.into_iter().partition(|name| name.starts_with('.'))
}

/// The lines of all visible files, sorted.
fn visible(directory: &TempDir) -> Vec<u32> {
    let mut records = Vec::new();
    for name in names(directory).1 {
        let content = fs::read_to_string(directory.path().join("out").join(name)).expect("reads");
        assert!(content.ends_with('\n'));
        records.extend(
            content
                .lines()
                .map(|line| line.parse::<u32>().expect("a number")),
        );
    }
    records.sort();
    records
}

#[test]
fn records_become_visible_when_their_checkpoint_is_complete() {
    let directory = directory();
    let mut job = SinkJob::start(&sink(&directory), JOB, 1, 2, None).expect("starts");
    job.write(0, 1).expect("writes");
    job.write(1, 2).expect("writes");
    job.snapshot(1).expect("snapshots");
    job.write(0, 3).expect("writes");
    assert_eq!(names(&directory).1, [] as [&str; 0]);
    job.complete(1).expect("commits");
    assert_eq!(visible(&directory), [1, 2]);
    job.snapshot(2).expect("snapshots");
    job.complete(2).expect("commits");
    assert_eq!(visible(&directory), [1, 2, 3]);
    assert_eq!(names(&directory).0, [] as [&str; 0]);
}

#[test]
fn a_checkpoint_without_records_makes_no_file() {
    let directory = directory();
    let mut job = SinkJob::start(&sink(&directory), JOB, 1, 1, None).expect("starts");
    job.snapshot(1).expect("snapshots");
    job.complete(1).expect("commits");
    assert_eq!(names(&directory), (vec![], vec![]));
}

#[test]
fn a_completed_checkpoint_publishes_those_of_lost_and_aborted_ones_before() {
    let directory = directory();
    let mut job = SinkJob::start(&sink(&directory), JOB, 1, 1, None).expect("starts");
    for checkpoint in 1..4 {
        job.write(0, checkpoint as u32).expect("writes");
        job.snapshot(checkpoint).expect("snapshots");
    }
    job.complete(3).expect("commits");
    assert_eq!(visible(&directory), [1, 2, 3]);
}

#[test]
fn a_restore_publishes_what_its_snapshot_holds_as_often_as_it_happens() {
    let directory = directory();
    let mut job = SinkJob::start(&sink(&directory), JOB, 1, 3, None).expect("starts");
    for subtask in 0..3 {
        job.write(subtask, subtask as u32).expect("writes");
    }
    let snapshot = job.snapshot(1).expect("snapshots");
    job.kill();
    for (attempt, parallelism) in [(2, 1), (3, 5)] {
        SinkJob::start(
            &sink(&directory),
            JOB,
            attempt,
            parallelism,
            Some(&snapshot),
        )
        .expect("starts")
        .kill();
        assert_eq!(visible(&directory), [0, 1, 2]);
    }
}

#[test]
fn a_lost_file_is_an_error_that_names_both_places() {
    let directory = directory();
    let mut job = SinkJob::start(&sink(&directory), JOB, 1, 1, None).expect("starts");
    job.write(0, 1).expect("writes");
    let snapshot = job.snapshot(1).expect("snapshots");
    let hidden = names(&directory).0.pop().expect("a pending file");
    fs::remove_file(directory.path().join("out").join(&hidden)).expect("removes");
    let restored = SinkJob::start(&sink(&directory), JOB, 2, 1, Some(&snapshot));
    let error = restored.err().expect("the file is lost").to_string();
    let visible = hidden
        .trim_start_matches('.')
        .trim_end_matches(".inprogress");
    assert!(error.contains(&format!("out/{hidden}\"")), "{error}");
    assert!(error.contains(&format!("out/{visible}\"")), "{error}");
}

#[test]
fn a_file_that_changed_since_its_checkpoint_is_not_published() {
    let directory = directory();
    let mut job = SinkJob::start(&sink(&directory), JOB, 1, 1, None).expect("starts");
    job.write(0, 12345).expect("writes");
    job.snapshot(1).expect("snapshots");
    let hidden = names(&directory).0.pop().expect("a pending file");
    fs::write(directory.path().join("out").join(&hidden), "12").expect("writes");
    let error = job.complete(1).expect_err("was cut").to_string();
    assert!(error.contains("it has 2 bytes, expected 6"), "{error}");
}

#[test]
fn nothing_that_is_published_is_ever_overwritten() {
    let directory = directory();
    let mut job = SinkJob::start(&sink(&directory), JOB, 1, 1, None).expect("starts");
    job.write(0, 1).expect("writes");
    job.snapshot(1).expect("snapshots");
    let hidden = names(&directory).0.pop().expect("a pending file");
    let visible = hidden
        .trim_start_matches('.')
        .trim_end_matches(".inprogress");
    let visible = directory.path().join("out").join(visible);
    fs::write(&visible, "7\n").expect("writes");
    let error = job.complete(1).expect_err("is taken").to_string();
    assert!(error.contains("exists already"), "{error}");
    assert_eq!(fs::read_to_string(&visible).expect("reads"), "7\n");
}

#[test]
fn what_a_killed_attempt_left_is_removed_by_the_next() {
    let directory = directory();
    let mut job = SinkJob::start(&sink(&directory), JOB, 1, 2, None).expect("starts");
    job.write(0, 1).expect("writes");
    job.write(1, 2).expect("writes");
    let snapshot = job.snapshot(1).expect("snapshots");
    job.complete(1).expect("commits");
    // Of an aborted checkpoint, and without any.
    job.write(0, 3).expect("writes");
    job.snapshot(2).expect("snapshots");
    job.write(1, 4).expect("writes");
    job.kill();
    assert_eq!(names(&directory).0.len(), 2);
    let job = SinkJob::start(&sink(&directory), JOB, 2, 1, Some(&snapshot)).expect("starts");
    assert_eq!(names(&directory).0, [] as [&str; 0]);
    assert_eq!(visible(&directory), [1, 2]);
    job.kill();
}

#[test]
fn an_attempt_without_a_snapshot_removes_what_those_before_it_under_its_master_left() {
    let directory = directory();
    let begin = |attempt| {
        let mut job = SinkJob::start(&sink(&directory), JOB, attempt, 1, None).expect("starts");
        job.write(0, 1).expect("writes");
        job.snapshot(1).expect("snapshots");
        job
    };
    let left = || names(&directory).0.len();
    // Its snapshot may be a savepoint, of which only its own master knows.
    begin(3).kill();
    let of_next_master = ATTEMPTS_PER_MASTER + 1;
    begin(of_next_master).kill();
    assert_eq!(left(), 2);
    begin(of_next_master + 1).kill();
    assert_eq!(left(), 2, "that of the other master, and its own");
    // A later attempt is none before it.
    begin(of_next_master).kill();
    assert_eq!(left(), 3);
}

#[test]
fn a_writer_that_gets_no_state_of_a_snapshot_removes_nothing() {
    let directory = directory();
    let mut job = SinkJob::start(&sink(&directory), JOB, 1, 1, None).expect("starts");
    job.write(0, 1).expect("writes");
    let snapshot = job.snapshot(1).expect("snapshots");
    job.kill();
    // The second one opens before anything is published.
    let job = SinkJob::start(&sink(&directory), JOB, 2, 2, Some(&snapshot)).expect("starts");
    assert_eq!(visible(&directory), [1]);
    job.kill();
}

#[test]
fn hidden_files_of_other_jobs_and_of_strangers_are_left_alone() {
    let directory = directory();
    let mut other = SinkJob::start(&sink(&directory), JobId([7; 16]), 1, 1, None).expect("starts");
    other.write(0, 1).expect("writes");
    let savepoint = other.snapshot(1).expect("snapshots");
    other.write(0, 2).expect("writes");
    fs::write(directory.path().join("out/.part-9.inprogress"), "mine").expect("writes");
    // A job that is resumed from the other's savepoint while the other goes on.
    let job = SinkJob::start(&sink(&directory), JOB, 2, 1, Some(&savepoint)).expect("starts");
    assert_eq!(names(&directory).0.len(), 2);
    job.kill();
    other.snapshot(2).expect("snapshots");
    other
        .complete(2)
        .expect("commits, though the other job has published the first file");
    assert_eq!(visible(&directory), [1, 2]);
}

#[test]
fn a_writer_that_ends_removes_the_file_that_no_checkpoint_knows() {
    let directory = directory();
    let mut job = SinkJob::start(&sink(&directory), JOB, 1, 1, None).expect("starts");
    job.write(0, 1).expect("writes");
    job.snapshot(1).expect("snapshots");
    job.write(0, 2).expect("writes");
    assert_eq!(names(&directory).0.len(), 2);
    drop(job);
    assert_eq!(names(&directory).0.len(), 1);
}

#[test]
fn a_stale_attempt_cannot_publish_what_a_newer_one_has_written_again() {
    let directory = directory();
    let mut stale = SinkJob::start(&sink(&directory), JOB, 1, 1, None).expect("starts");
    stale.write(0, 1).expect("writes");
    let snapshot = stale.snapshot(1).expect("snapshots");
    stale.complete(1).expect("commits");
    stale.write(0, 2).expect("writes");
    stale.snapshot(2).expect("snapshots");
    // Checkpoint 2 fails, and a new attempt starts while the old one does not know yet.
    let mut newer = SinkJob::start(&sink(&directory), JOB, 2, 1, Some(&snapshot)).expect("starts");
    newer.write(0, 2).expect("writes");
    newer.snapshot(2).expect("snapshots");
    newer.complete(2).expect("commits");
    assert!(stale.complete(2).is_err());
    assert_eq!(visible(&directory), [1, 2]);
}

#[test]
fn a_job_started_anew_under_an_old_id_takes_new_names() {
    let directory = directory();
    for record in 0..3 {
        let mut job = SinkJob::start(&sink(&directory), JOB, 1, 1, None).expect("starts");
        job.write(0, record).expect("writes");
        job.snapshot(1).expect("snapshots");
        if record < 2 {
            job.complete(1).expect("commits");
        }
        job.kill();
    }
    assert_eq!(visible(&directory), [0, 1]);
    assert_eq!(names(&directory).0.len(), 1);
}

#[test]
fn published_names_end_with_the_suffix() {
    let directory = directory();
    let sink = sink(&directory).suffix(".csv");
    for attempt in 1..3 {
        let mut job = SinkJob::start(&sink, JOB, attempt, 1, None).expect("starts");
        job.write(0, attempt).expect("writes");
        job.snapshot(1).expect("snapshots");
        job.complete(1).expect("commits");
    }
    let names = names(&directory).1;
    assert!(
        names.len() == 2 && names.iter().all(|name| name.ends_with(".csv")),
        "{names:?}"
    );
}

#[test]
fn an_error_of_the_encoder_fails_the_job() {
    let directory = directory();
    let sink = FileSink::new(directory.path(), |record: &u32, _: &mut Vec<u8>| {
        if *record == 0 {
            Ok(())
        } else {
            Err(FunctionError::new("no line for 1"))
        }
    });
    let mut job = SinkJob::start(&sink, JOB, 1, 1, None).expect("starts");
    job.write(0, 0).expect("writes");
    assert_eq!(
        job.write(0, 1).expect_err("refused").to_string(),
        "no line for 1"
    );
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let directory = directory();
    fs::write(directory.path().join("file"), "").expect("writes");
    let path = directory.path().join("file/out");
    let sink = FileSink::new(&path, |_: &u32, _: &mut Vec<u8>| {});
    let error = SinkJob::start(&sink, JOB, 1, 1, None)
        .err()
        .expect("a file is no directory");
    assert!(
        error.to_string().contains(&path.display().to_string()),
        "{error}"
    );
}

/// What happens to a job.
#[derive(Clone, Debug)]
enum Event {
    /// Records are written, dealt out to the subtasks.
    Write(u32),
    /// A checkpoint completes; the subtasks are told, or not.
    Checkpoint { notified: bool },
    /// A checkpoint is taken and fails.
    AbortedCheckpoint,
    /// It is killed, or fails with its writers dropped, and is restored at another parallelism.
    Restart { killed: bool, parallelism: u32 },
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => (0u32..6).prop_map(Event::Write),
        3 => any::<bool>().prop_map(|notified| Event::Checkpoint { notified }),
        1 => Just(Event::AbortedCheckpoint),
        2 => (any::<bool>(), 1u32..5)
            .prop_map(|(killed, parallelism)| Event::Restart { killed, parallelism }),
    ];
    prop::collection::vec(event, 0..30)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// A source replays from the position in the restored snapshot; if this breaks, records are
    /// lost or doubled, or files of dead attempts pile up.
    #[test]
    fn whatever_happens_each_record_is_published_once(events in events()) {
        let directory = directory();
        let sink = sink(&directory);
        let (mut attempt, mut parallelism) = (1, 2);
        let mut job = SinkJob::start(&sink, JOB, attempt, parallelism, None).expect("starts");
        let (mut next, mut checkpoint) = (0, 0);
        let mut restorable: Option<(u32, SinkSnapshot)> = None;
        for event in events {
            match event {
                Event::Write(records) => for _ in 0..records {
                    job.write((next % parallelism) as usize, next).expect("writes");
                    next += 1;
                },
                Event::Checkpoint { notified } => {
                    checkpoint += 1;
                    restorable = Some((next, job.snapshot(checkpoint).expect("snapshots")));
                    if notified {
                        job.complete(checkpoint).expect("commits");
                    }
                }
                Event::AbortedCheckpoint => {
                    checkpoint += 1;
                    job.snapshot(checkpoint).expect("snapshots");
                }
                Event::Restart { killed, parallelism: new } => {
                    if killed { job.kill() } else { drop(job) }
                    (attempt, parallelism) = (attempt + 1, new);
                    let snapshot = restorable.as_ref().map(|(_, snapshot)| snapshot);
                    next = restorable.as_ref().map_or(0, |(position, _)| *position);
                    job = SinkJob::start(&sink, JOB, attempt, parallelism, snapshot).expect("starts");
                    prop_assert_eq!(visible(&directory), (0..next).collect::<Vec<u32>>());
                    if restorable.is_some() {
                        prop_assert_eq!(names(&directory).0, Vec::<String>::new());
                    }
                }
            }
            let seen = visible(&directory);
            prop_assert_eq!(&seen, &(0..seen.len() as u32).collect::<Vec<u32>>());
        }
        job.snapshot(checkpoint + 1).expect("snapshots");
        job.complete(checkpoint + 1).expect("commits");
        prop_assert_eq!(visible(&directory), (0..next).collect::<Vec<u32>>());
    }
}
