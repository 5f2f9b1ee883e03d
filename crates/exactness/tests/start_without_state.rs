//! A job that is told to start without state is empty, though a path of a snapshot is configured as well.

use std::path::Path;

use millpond_exactness::job_process::Bench;
use millpond_exactness::oracle::Workload;

const WORKLOAD: Workload = Workload {
    records_a: 6_000,
    records_b: 6_000,
    keys: 60,
};

fn bench() -> Bench {
    Bench::new(env!("CARGO_BIN_EXE_exactness-job"))
        .workload(&WORKLOAD)
        .held()
        .argument("--rate", 3_000)
        .option("parallelism.default", 2)
        .option("execution.checkpointing.interval", "50 ms")
}

#[test]
fn a_start_without_state_counts_all_from_the_beginning_and_leaves_the_snapshot_alone() {
    let first = bench();
    let mut job = first.start(&[]);
    job.wait_for_checkpoints(2);
    let savepoint = job.stop(false);

    // It would own the snapshot and delete it, if it were restored.
    let again = bench();
    let mut job = again.start(&[
        ("execution.state-recovery.path", &savepoint),
        ("execution.state-recovery.claim-mode", "CLAIM"),
        ("execution.state-recovery.start-without-state", "true"),
    ]);
    job.wait_for_checkpoints(2);
    let statistics = job.job("/checkpoints");
    assert_eq!(statistics["counts"]["restored"], 0, "{statistics}");
    job.finish();
    again.assert_exact(&WORKLOAD);
    let log = job.log();
    let ignored = format!("the job starts without state, and not from \"{savepoint}\"");
    assert!(log.contains(&ignored), "{log}");
    let metadata = Path::new(savepoint.trim_start_matches("file:")).join("_metadata");
    assert!(metadata.exists(), "it is nobody's to delete");

    // What was ignored is a snapshot that can be gone on from.
    let mut job = first.start(&[("execution.state-recovery.path", &savepoint)]);
    job.finish();
    first.assert_exact(&WORKLOAD);
}

#[test]
fn a_start_without_state_does_not_look_at_the_path() {
    let bench = bench();
    let mut job = bench.start(&[
        ("execution.state-recovery.path", "/nowhere/savepoint-1"),
        ("execution.state-recovery.start-without-state", "true"),
    ]);
    job.finish();
    bench.assert_exact(&WORKLOAD);
}
