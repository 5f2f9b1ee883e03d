//! The collecting sink.

use millpond_connectors::CollectSink;
use millpond_types::JobId;

use crate::driver::{JOB, SinkJob};

#[test]
fn only_committed_records_are_visible() {
    let sink = CollectSink::new();
    let mut job = SinkJob::start(&sink, JOB, 1, 2, None).expect("starts");
    job.write(0, 1).expect("writes");
    job.write(1, 2).expect("writes");
    job.snapshot(1).expect("snapshots");
    job.write(0, 3).expect("writes");
    assert_eq!((sink.results(), sink.written()), (vec![], 3));
    job.complete(1).expect("commits");
    assert_eq!(sink.results(), [1, 2]);
}

#[test]
fn a_restored_transaction_is_committed_once() {
    let sink = CollectSink::new();
    let mut job = SinkJob::start(&sink, JOB, 1, 1, None).expect("starts");
    job.write(0, "a".to_owned()).expect("writes");
    let snapshot = job.snapshot(1).expect("snapshots");
    job.write(0, "lost".to_owned()).expect("writes");
    job.complete(1).expect("commits");
    for attempt in 2..4 {
        SinkJob::start(&sink, JOB, attempt, 3, Some(&snapshot))
            .expect("starts")
            .kill();
    }
    assert_eq!(sink.results(), ["a"]);
}

#[test]
fn a_savepoint_brings_its_records_into_another_sink() {
    let sink = CollectSink::new();
    let mut job = SinkJob::start(&sink, JOB, 1, 2, None).expect("starts");
    job.write(1, 7).expect("writes");
    let savepoint = job.snapshot(1).expect("snapshots");
    let other = CollectSink::<i32>::new();
    SinkJob::start(&other, JobId([1; 16]), 1, 1, Some(&savepoint))
        .expect("starts")
        .kill();
    assert_eq!(other.results(), [7]);
    assert!(sink.results().is_empty());
}
