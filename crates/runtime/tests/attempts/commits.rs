//! Commits of two-phase sinks do not hold a worker up, and the end of a job waits for them.

use millpond_job::{FromWorker, StopMode, SubtaskAcknowledgement};
use millpond_runtime::Program;

use crate::cluster::{Cluster, Start, is_end, part_of, restore};
use crate::stages::{Mishap, Stage, TestSink, numbers, program, wait_until};

/// A source and a sink, on one worker and in one task.
fn job(sink: &TestSink, end: i64) -> Program {
    program(&[
        Stage {
            name: "numbers",
            parallelism: 1,
            operator: numbers(end),
        },
        Stage {
            name: "sink",
            parallelism: 1,
            operator: sink.operator(),
        },
    ])
}

fn start(program: &Program) -> Cluster {
    let start = Start {
        checkpointing: true,
        ..Start::default()
    };
    Cluster::start(program, start)
}

/// How many transactions of the sink a snapshot holds.
fn transactions(parts: &[SubtaskAcknowledgement]) -> usize {
    let states = parts
        .iter()
        .flat_map(|part| &part.operators)
        .filter_map(|operator| operator.state.managed_operator.as_ref())
        .flat_map(|handle| &handle.states);
    states
        .filter(|state| state.name == "streaming_committer_raw_states")
        .map(|state| state.offsets.len())
        .sum()
}

#[test]
fn records_go_on_while_a_commit_blocks_and_a_snapshot_still_holds_what_it_commits() {
    let directory = tempfile::tempdir().expect("a directory");
    let sink = TestSink::default();
    let program = job(&sink, i64::MAX);
    let mut cluster = start(&program);
    let seen = &sink.seen;
    seen.door.close();
    wait_until("the first record", || seen.written() > 0);
    cluster.announce(directory.path(), 1, 0, None);
    assert_eq!(transactions(&cluster.acknowledged(&program, 1)), 1);
    cluster.notify_complete(1);
    wait_until("the commit", || seen.begun() == 1);
    let so_far = seen.written();
    wait_until("records beside the commit", || {
        seen.written() > so_far + 100_000
    });
    cluster.announce(directory.path(), 2, 1, None);
    assert_eq!(
        transactions(&cluster.acknowledged(&program, 2)),
        2,
        "what is being committed is not known to be committed"
    );
    // Told while the first commit is under way: the second waits for it.
    cluster.notify_complete(2);
    let so_far = seen.written();
    wait_until("records after the notification", || {
        seen.written() > so_far + 100_000
    });
    assert_eq!((seen.begun(), seen.committed()), (1, vec![]));
    seen.door.open();
    wait_until("the second commit", || seen.begun() == 2);
    cluster.announce(directory.path(), 3, 2, Some(StopMode::Suspend));
    cluster.acknowledged(&program, 3);
    cluster.notify_complete(3);
    cluster.ended();
    let all: Vec<i64> = (0..seen.written() as i64).collect();
    assert_eq!(seen.committed(), all, "each once, in order");
    cluster.cancel();
}

#[test]
fn the_end_of_a_stopped_job_waits_for_the_commit_behind_its_savepoint() {
    let directory = tempfile::tempdir().expect("a directory");
    let sink = TestSink::default();
    let program = job(&sink, i64::MAX);
    let mut cluster = start(&program);
    let seen = &sink.seen;
    wait_until("the first record", || seen.written() > 0);
    seen.door.close();
    cluster.announce(directory.path(), 1, 0, Some(StopMode::Suspend));
    cluster.acknowledged(&program, 1);
    cluster.notify_complete(1);
    wait_until("the commit", || seen.begun() == 1);
    assert!(!cluster.hears_soon(is_end), "the commit is not done");
    seen.door.open();
    cluster.ended();
    assert_eq!(seen.committed().len() as u64, seen.written());
    cluster.cancel();
}

#[test]
fn without_checkpoints_the_end_of_the_input_commits_and_the_end_of_the_job_waits_for_it() {
    let sink = TestSink::default();
    let program = job(&sink, 5000);
    sink.seen.door.close();
    let mut cluster = Cluster::start(&program, Start::default());
    cluster.wait_for("the end of the source", |message| {
        matches!(message, FromWorker::SourceEnded { .. }).then_some(())
    });
    cluster.send(&millpond_job::ToWorker::EndOfInput { attempt: 1 });
    wait_until("the commit", || sink.seen.begun() == 1);
    assert!(!cluster.hears_soon(is_end), "the commit is not done");
    sink.seen.door.open();
    cluster.ended();
    assert_eq!(sink.seen.committed(), (0..5000).collect::<Vec<i64>>());
    cluster.cancel();
}

#[test]
fn a_commit_that_fails_or_panics_fails_the_job_with_its_message() {
    for (mishap, text) in [
        (Mishap::Error, "the broker says no"),
        (
            Mishap::Panic,
            "a committer panicked: the committer is out of order",
        ),
    ] {
        // While the job runs, and when it has nothing left to do but this commit.
        for stop in [None, Some(StopMode::Suspend)] {
            let directory = tempfile::tempdir().expect("a directory");
            let sink = TestSink::default();
            let program = job(&sink, i64::MAX);
            let mut cluster = start(&program);
            wait_until("the first record", || sink.seen.written() > 0);
            sink.seen.fail_with(mishap);
            cluster.announce(directory.path(), 1, 0, stop);
            cluster.acknowledged(&program, 1);
            cluster.notify_complete(1);
            let (message, task) = cluster.failed();
            assert_eq!(message, text);
            assert!(task.is_some_and(|task| task.contains("sink")));
            cluster.ended();
            cluster.cancel();
        }
    }
}

#[test]
fn a_restore_commits_what_its_snapshot_holds_before_the_sink_takes_a_record() {
    let directory = tempfile::tempdir().expect("a directory");
    let sink = TestSink::default();
    let program = job(&sink, i64::MAX);
    let mut cluster = start(&program);
    let seen = &sink.seen;
    wait_until("the first record", || seen.written() > 0);
    cluster.announce(directory.path(), 1, 0, None);
    let parts = cluster.acknowledged(&program, 1);
    cluster.cancel();
    assert!(seen.committed().is_empty());

    let sink = TestSink::default();
    let (program, seen) = (job(&sink, i64::MAX), &sink.seen);
    seen.door.close();
    let start = Start {
        checkpointing: true,
        attempt: 2,
        restore: restore(directory.path(), &program, 1, &parts, true),
        ..Start::default()
    };
    let mut cluster = Cluster::start(&program, start);
    wait_until("the commit", || seen.begun() == 1);
    cluster.announce(directory.path(), 2, 0, None);
    // Source and sink are one task.
    let is_part = |message: &FromWorker| part_of(message).is_some();
    assert!(
        !cluster.hears_soon(is_part),
        "a snapshot before that commit would refer to transactions of an earlier attempt"
    );
    assert_eq!((seen.written(), seen.committed()), (0, vec![]));
    seen.door.open();
    cluster.acknowledged(&program, 2);
    wait_until("records", || seen.written() > 0);
    let committed = seen.committed();
    assert_eq!(committed, (0..committed.len() as i64).collect::<Vec<i64>>());
    assert!(!committed.is_empty());
    cluster.cancel();
}

#[test]
fn an_attempt_has_not_ended_while_one_of_its_commits_is_under_way() {
    let directory = tempfile::tempdir().expect("a directory");
    let sink = TestSink::default();
    let program = job(&sink, i64::MAX);
    let mut cluster = start(&program);
    let seen = &sink.seen;
    wait_until("the first record", || seen.written() > 0);
    seen.door.close();
    cluster.announce(directory.path(), 1, 0, None);
    cluster.acknowledged(&program, 1);
    cluster.notify_complete(1);
    wait_until("the commit", || seen.begun() == 1);
    cluster.send(&millpond_job::ToWorker::Cancel { attempt: 1 });
    assert!(!cluster.hears_soon(is_end), "it could publish yet");
    seen.door.open();
    cluster.ended();
    assert!(!seen.committed().is_empty());
    cluster.cancel();
}
