//! Barriers that overtake records: what is in flight goes into the checkpoint, and comes back once.

use std::path::Path;
use std::sync::atomic::Ordering;

use millpond_job::{FromWorker, StopMode, SubtaskAcknowledgement, ToWorker};
use millpond_runtime::Program;
use millpond_snapshot::{ChannelHandle, StreamHandle};
use millpond_types::CheckpointId;

use crate::cluster::{Cluster, Start, restore};
use crate::stages::{Stage, TestSink, farewell, numbers, program, wait_until};

/// Far more than what may be in flight.
const RECORDS: i64 = 100_000;

/// A source that is much faster than its two sinks, one of them in another process.
fn job(sink: &TestSink) -> Program {
    program(&[
        Stage {
            name: "numbers",
            parallelism: 1,
            operator: numbers(RECORDS),
        },
        Stage {
            name: "farewell",
            parallelism: 2,
            operator: farewell(),
        },
        Stage {
            name: "sink",
            parallelism: 2,
            operator: sink.operator(),
        },
    ])
}

/// It needs seconds for all, so that much is in flight however late a test comes; until it is
/// [told to hurry](run_to_its_end).
fn slow_sink() -> TestSink {
    let sink = TestSink::default();
    sink.seen.delay_us.store(100, Ordering::SeqCst);
    sink
}

fn start(attempt: u64) -> Start {
    Start {
        processes: 2,
        checkpointing: true,
        attempt: attempt.try_into().expect("is small"),
        ..Start::default()
    }
}

fn channels(parts: &[SubtaskAcknowledgement]) -> Vec<&ChannelHandle> {
    let operators = parts.iter().flat_map(|part| &part.operators);
    operators
        .flat_map(|operator| &operator.state.input_channels)
        .collect()
}

/// Takes checkpoints, from `id` on, until one has found records in flight; returns its number.
fn overtake(
    cluster: &mut Cluster,
    directory: &Path,
    program: &Program,
    id: CheckpointId,
) -> (CheckpointId, Vec<SubtaskAcknowledgement>) {
    for epoch in 0..100 {
        let id = id + i64::from(epoch);
        cluster.announce_unaligned(directory, id, epoch);
        let parts = cluster.acknowledged(program, id);
        if !channels(&parts).is_empty() {
            return (id, parts);
        }
    }
    panic!("the source is faster than the sinks, and nothing is ever in flight");
}

/// Runs the job to its end; the sinks must have had every number once, and one farewell each.
fn run_to_its_end(directory: &Path, program: &Program, start: Start, sink: &TestSink) {
    let attempt = start.attempt;
    sink.seen.delay_us.store(0, Ordering::SeqCst);
    let mut cluster = Cluster::start(program, start);
    cluster.wait_for("the end of the source", |message| {
        matches!(message, FromWorker::SourceEnded { .. }).then_some(())
    });
    cluster.announce(directory, 999, 0, Some(StopMode::EndOfInput));
    let parts = cluster.acknowledged(program, 999);
    assert!(
        channels(&parts).is_empty(),
        "what the job ends behind is aligned"
    );
    cluster.notify_complete(999);
    cluster.send(&ToWorker::EndOfInput { attempt });
    cluster.ended();
    cluster.cancel();
    let mut committed = sink.seen.committed();
    committed.sort_unstable();
    let expected: Vec<i64> = [-1, -1].into_iter().chain(0..RECORDS).collect();
    assert!(committed == expected, "{} records", committed.len());
}

#[test]
fn what_a_barrier_has_overtaken_is_processed_once_after_a_restore() {
    let temporary = tempfile::tempdir().expect("a directory");
    let directory = temporary.path();
    let sink = slow_sink();
    let program = job(&sink);
    let mut cluster = Cluster::start(&program, start(1));
    wait_until("the sinks", || sink.seen.written() > 1000);
    let (id, parts) = overtake(&mut cluster, directory, &program, 1);
    // Complete, and nobody has heard of it: the job dies.
    cluster.cancel();
    assert!(sink.seen.committed().is_empty());
    let stored = parts.iter().filter(|part| part.metrics.persisted_bytes > 0);
    for part in stored.clone() {
        assert_eq!(part.vertex.0, 1, "sources have no input");
        assert!(part.metrics.unaligned);
    }
    assert_eq!(stored.count(), channels(&parts).len());

    // Restored, and overtaken once more before much of it was processed.
    let written = sink.seen.written();
    let second = Start {
        restore: restore(directory, &program, id, &parts, true),
        ..start(2)
    };
    let mut cluster = Cluster::start(&program, second);
    wait_until("a record", || sink.seen.written() > written);
    let (id, parts) = overtake(&mut cluster, directory, &program, id + 1);
    cluster.cancel();

    let third = Start {
        restore: restore(directory, &program, id, &parts, true),
        ..start(3)
    };
    run_to_its_end(directory, &program, third, &sink);
}

/// If it breaks, a checkpoint that was given up takes records of the next one with it.
#[test]
fn barriers_that_follow_each_other_at_once_and_are_given_up_lose_no_record() {
    let temporary = tempfile::tempdir().expect("a directory");
    let directory = temporary.path();
    let sink = slow_sink();
    let program = job(&sink);
    let mut cluster = Cluster::start(&program, start(1));
    wait_until("the sinks", || sink.seen.written() > 1000);
    for epoch in 0..4 {
        let id = i64::from(epoch) + 1;
        cluster.announce_unaligned(directory, id, epoch);
        if epoch % 2 == 0 {
            cluster.notify_aborted(id);
        }
    }
    cluster.announce(directory, 5, 4, None);
    cluster.announce_unaligned(directory, 6, 5);
    let parts = cluster.acknowledged(&program, 6);
    cluster.cancel();
    let next = Start {
        restore: restore(directory, &program, 6, &parts, true),
        ..start(2)
    };
    run_to_its_end(directory, &program, next, &sink);
}

#[test]
fn damaged_in_flight_records_fail_the_restore_and_say_so() {
    let temporary = tempfile::tempdir().expect("a directory");
    let directory = temporary.path();
    let sink = slow_sink();
    let program = job(&sink);
    let mut cluster = Cluster::start(&program, start(1));
    wait_until("the sinks", || sink.seen.written() > 1000);
    let (id, mut parts) = overtake(&mut cluster, directory, &program, 1);
    cluster.cancel();
    let operators = parts.iter_mut().flat_map(|part| &mut part.operators);
    for channel in operators.flat_map(|operator| &mut operator.state.input_channels) {
        let ChannelHandle::Single { stream, .. } = channel else {
            panic!("ours are single");
        };
        let StreamHandle::Bytes { data, .. } = stream else {
            panic!("the threshold is above it");
        };
        // Few records may have been in flight.
        data.truncate(100.min(data.len() - 1));
    }
    let next = Start {
        restore: restore(directory, &program, id, &parts, true),
        ..start(2)
    };
    let mut cluster = Cluster::start(&program, next);
    let (message, task) = cluster.failed();
    assert!(
        message.contains("corrupt") || message.contains("expected"),
        "{message}"
    );
    assert!(task.is_some_and(|task| task.contains("farewell")));
    cluster.cancel();
}
