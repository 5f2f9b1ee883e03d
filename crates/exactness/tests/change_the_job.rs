//! A changed program resumes: new operators start empty, removed ones need a word.

use millpond_exactness::job_process::Bench;

fn bench() -> Bench {
    Bench::new(env!("CARGO_BIN_EXE_exactness-job"))
        .argument("--records-a", 6_000)
        .held()
        .argument("--records-b", 6_000)
        .argument("--keys", 20)
        .argument("--rate", 6_000)
        .option("parallelism.default", 2)
        .option("execution.checkpointing.interval", "50 ms")
}

/// The bench with another program, in the same directories.
fn changed(bench: Bench, name: &str, value: &str) -> Bench {
    bench.argument(name, value)
}

fn stop(bench: &Bench) -> String {
    let mut job = bench.start(&[]);
    job.wait_for_checkpoints(2);
    job.stop(false)
}

/// How many records the counting stage has seen: the sum of the last lines.
fn counted(bench: &Bench, kind: &str) -> Vec<(String, u64)> {
    bench
        .published()
        .into_iter()
        .filter(|(line, _)| line.starts_with(kind))
        .collect()
}

#[test]
fn a_new_stateful_operator_starts_empty() {
    let bench = bench();
    let savepoint = stop(&bench);
    let before: u64 = counted(&bench, "count,")
        .iter()
        .map(|(_, times)| times)
        .sum();
    let bench = changed(bench, "--extra-uid", "extra");
    let mut job = bench.start(&[("execution.state-recovery.path", &savepoint)]);
    job.finish();
    let all: u64 = counted(&bench, "count,")
        .iter()
        .map(|(_, times)| times)
        .sum();
    let extra = counted(&bench, "extra,");
    let seen: u64 = extra.iter().map(|(_, times)| times).sum();
    assert!(before > 0 && seen > 0);
    assert_eq!(
        seen,
        all - before,
        "it has seen what came behind the savepoint"
    );
    assert!(
        extra.iter().any(|(line, _)| line.ends_with(",1")),
        "it has begun at 1"
    );
    assert!(
        extra.iter().all(|(_, times)| *times == 1),
        "it counts each record once"
    );
}

#[test]
fn a_removed_stateful_operator_is_refused_and_dropped_on_request() {
    let bench = bench();
    let savepoint = stop(&bench);
    let bench = changed(bench, "--counter-uid", "another");
    let mut job = bench.start(&[("execution.state-recovery.path", &savepoint)]);
    assert!(
        !job.wait().success(),
        "state of \"counter\" has no operator:\n{}",
        job.log()
    );
    let handshake = job.handshake().expect("the job was accepted");
    assert_eq!(handshake.status.as_deref(), Some("FAILED"));
    let why = handshake.failure.expect("a reason");
    assert!(
        why.contains("Failed to rollback to checkpoint/savepoint")
            && why.contains("--allowNonRestoredState"),
        "{why}"
    );
    let mut job = bench.start(&[
        ("execution.state-recovery.path", &savepoint),
        ("execution.state-recovery.ignore-unclaimed-state", "true"),
    ]);
    job.finish();
    let found = bench.published();
    let twice = found
        .iter()
        .filter(|(line, times)| line.starts_with("count,") && **times == 2);
    assert!(twice.count() > 0, "the counts have begun anew");
}

#[test]
fn a_duplicate_uid_is_refused() {
    let bench = bench().argument("--extra-uid", "windows");
    let mut job = bench.start(&[]);
    assert!(!job.wait().success());
    assert!(job.log().contains("windows"), "{}", job.log());
    assert_eq!(job.handshake(), None, "the job was not even started");
}
