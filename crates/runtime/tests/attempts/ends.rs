//! What a function emits when its input ends is emitted once, however often the job is restored.

use std::path::Path;

use millpond_job::{FromWorker, StopMode, ToWorker};
use millpond_runtime::Program;

use crate::cluster::{Cluster, Start, restore};
use crate::stages::{Stage, TestSink, farewell, numbers, program};

fn job(sink: &TestSink, end: i64) -> Program {
    program(&[
        Stage {
            name: "numbers",
            parallelism: 1,
            operator: numbers(end),
        },
        Stage {
            name: "farewell",
            parallelism: 1,
            operator: farewell(),
        },
        Stage {
            name: "sink",
            parallelism: 1,
            operator: sink.operator(),
        },
    ])
}

fn wait_for_the_source(cluster: &mut Cluster) {
    cluster.wait_for("the end of the source", |message| {
        matches!(message, FromWorker::SourceEnded { .. }).then_some(())
    });
}

/// Runs a job from a snapshot to its end.
fn run_to_its_end(directory: &Path, program: &Program, start: Start) {
    let attempt = start.attempt;
    let mut cluster = Cluster::start(program, start);
    wait_for_the_source(&mut cluster);
    cluster.announce(directory, 9, 0, Some(StopMode::EndOfInput));
    cluster.acknowledged(program, 9);
    cluster.notify_complete(9);
    cluster.send(&ToWorker::EndOfInput { attempt });
    cluster.ended();
    cluster.cancel();
}

fn farewells(sink: &TestSink) -> usize {
    sink.seen.committed().iter().filter(|n| **n == -1).count()
}

#[test]
fn a_job_restored_between_its_last_checkpoint_and_its_end_finishes_no_function_again() {
    let temporary = tempfile::tempdir().expect("a directory");
    let directory = temporary.path();
    let sink = TestSink::default();
    let program = job(&sink, 1000);
    let start = Start {
        checkpointing: true,
        ..Start::default()
    };
    let mut cluster = Cluster::start(&program, start);
    wait_for_the_source(&mut cluster);
    cluster.announce(directory, 1, 0, Some(StopMode::EndOfInput));
    let parts = cluster.acknowledged(&program, 1);
    assert!(
        parts
            .iter()
            .flat_map(|part| &part.operators)
            .all(|o| o.ended)
    );
    // Complete, and nobody has heard of it: the job dies.
    cluster.cancel();
    assert!(sink.seen.committed().is_empty());

    // Twice: the mark is handed on by the next snapshot too.
    let mut restored = restore(directory, &program, 1, &parts, true);
    for attempt in [2, 3] {
        let id = i64::from(attempt);
        let start = Start {
            checkpointing: true,
            attempt,
            restore: restored,
            ..Start::default()
        };
        let mut cluster = Cluster::start(&program, start);
        cluster.announce(directory, id, 0, None);
        let parts = cluster.acknowledged(&program, id);
        cluster.cancel();
        restored = restore(directory, &program, id, &parts, true);
    }
    assert_eq!(farewells(&sink), 1, "the first restore has committed it");

    let sink = TestSink::default();
    let program = job(&sink, 1000);
    let start = Start {
        checkpointing: true,
        attempt: 4,
        restore: restored,
        ..Start::default()
    };
    run_to_its_end(directory, &program, start);
    assert_eq!(farewells(&sink), 0, "it was said before");
}

#[test]
fn a_function_is_finished_again_if_nothing_says_that_it_was_or_if_more_records_came() {
    for (with_ends, end) in [(false, 1000), (true, 1500)] {
        let directory = tempfile::tempdir().expect("a directory");
        let sink = TestSink::default();
        let program = job(&sink, 1000);
        let start = Start {
            checkpointing: true,
            ..Start::default()
        };
        let mut cluster = Cluster::start(&program, start);
        wait_for_the_source(&mut cluster);
        cluster.announce(directory.path(), 1, 0, Some(StopMode::EndOfInput));
        let parts = cluster.acknowledged(&program, 1);
        cluster.notify_complete(1);
        cluster.ended();
        cluster.cancel();
        assert_eq!(farewells(&sink), 1);

        let sink = TestSink::default();
        let program = job(&sink, end);
        let start = Start {
            checkpointing: true,
            attempt: 2,
            restore: restore(directory.path(), &program, 1, &parts, with_ends),
            ..Start::default()
        };
        run_to_its_end(directory.path(), &program, start);
        assert_eq!(farewells(&sink), 2, "that of the snapshot, and its own");
        assert_eq!(sink.seen.committed().len() as i64, end + 2);
    }
}
