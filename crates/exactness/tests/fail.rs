//! A function that panics or returns an error fails the job with its message and place, and the
//! restart strategy says how often the job is tried again.

use millpond_exactness::job_process::Bench;
use millpond_exactness::lines::difference;
use millpond_exactness::oracle::{Workload, expected};

const WORKLOAD: Workload = Workload {
    records_a: 6_000,
    records_b: 3_000,
    keys: 30,
};

fn bench(failure: &str) -> Bench {
    let bench = Bench::new(env!("CARGO_BIN_EXE_exactness-job"));
    let log = bench.directory().join("failures").display().to_string();
    bench
        .workload(&WORKLOAD)
        .argument("--rate", 10_000)
        .argument("--failure", failure)
        .argument("--failure-at", 3_000)
        .argument("--failure-log", log)
        .option("parallelism.default", 2)
        .option("execution.checkpointing.interval", "30 ms")
}

fn failures(bench: &Bench) -> usize {
    std::fs::read_dir(bench.directory().join("failures")).map_or(0, Iterator::count)
}

/// A job that fails at the same record again and again, `attempts` times started anew.
fn fails_for_good(failure: &str, message: &str, processes: &str) {
    let bench = bench(failure).held_at(3_000);
    let mut job = bench.start(&[
        ("cluster.processes", processes),
        ("restart-strategy.fixed-delay.attempts", "2"),
    ]);
    job.wait_for_checkpoints(1);
    bench.let_go();
    let status = job.wait();
    assert_eq!(status.code(), Some(1), "{}", job.log());
    let handshake = job.handshake().expect("it has run");
    assert_eq!(handshake.status.as_deref(), Some("FAILED"));
    let why = handshake.failure.expect("a reason");
    assert!(why.contains(message), "the message: {why}");
    assert!(
        why.contains("fails") && why.contains("/2)"),
        "operator and subtask: {why}"
    );
    assert_eq!(failures(&bench), 3, "one attempt and two more");
    assert!(
        bench.newest_snapshot().is_some(),
        "a failed job keeps its newest checkpoint"
    );
}

#[test]
fn a_panic_fails_the_job_with_message_and_place() {
    fails_for_good("panic", "record 3000 is not to my taste", "1");
}

#[test]
fn an_error_fails_the_job_with_message_and_place() {
    fails_for_good("error", "record 3000 cannot be digested", "1");
}

#[test]
fn a_panic_in_a_worker_process_fails_the_job_with_message_and_place() {
    fails_for_good("panic", "record 3000 is not to my taste", "2");
}

#[test]
fn a_function_that_cannot_be_opened_is_tried_again() {
    let bench = bench("open").argument("--failures", 2);
    let mut job = bench.start(&[]);
    job.finish();
    assert_eq!(failures(&bench), 2);
    let wrong = difference(&expected(&WORKLOAD), &bench.published());
    assert_eq!(wrong, None, "{}", wrong.clone().unwrap_or_default());
}

#[test]
fn checkpoints_that_never_complete_in_time_fail_the_job_by_the_usual_rules() {
    let bench = Bench::new(env!("CARGO_BIN_EXE_exactness-job"))
        .argument("--records-a", 1_000_000)
        .argument("--records-b", 1_000_000)
        // What is in flight takes seconds to be written; when the first checkpoint begins, much is.
        .argument("--slow-sink-us", 1_000)
        .option("execution.checkpointing.interval", "500 ms")
        .option("execution.checkpointing.timeout", "100 ms")
        .option("execution.checkpointing.tolerable-failed-checkpoints", 2);
    let mut job = bench.start(&[("restart-strategy.fixed-delay.attempts", "1")]);
    assert_eq!(job.wait().code(), Some(1), "{}", job.log());
    let handshake = job.handshake().expect("it has run");
    assert_eq!(handshake.status.as_deref(), Some("FAILED"));
    let why = handshake.failure.expect("a reason");
    assert!(
        why.contains("Exceeded checkpoint tolerable failure threshold")
            && why.contains("Checkpoint expired before completing"),
        "{why}"
    );
    assert!(bench.snapshots().is_empty(), "none was complete");
}

#[test]
fn without_restarts_the_first_error_is_the_last() {
    let bench = bench("error");
    let mut job = bench.start(&[("restart-strategy.type", "none")]);
    assert_eq!(job.wait().code(), Some(1), "{}", job.log());
    assert_eq!(failures(&bench), 1);
}

#[test]
fn a_job_that_fails_twice_still_publishes_exactly_once() {
    for (failure, processes) in [("panic", "1"), ("error", "2")] {
        let bench = bench(failure).argument("--failures", 2);
        let mut job = bench.start(&[("cluster.processes", processes)]);
        job.finish();
        assert_eq!(failures(&bench), 2);
        let wrong = difference(&expected(&WORKLOAD), &bench.published());
        assert_eq!(wrong, None, "{}", wrong.clone().unwrap_or_default());
    }
}
