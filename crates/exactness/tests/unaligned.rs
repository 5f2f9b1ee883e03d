//! Checkpoints that overtake records: the sink is slow, and whatever was in flight comes back once, at
//! any parallelism.

use millpond_exactness::job_process::Bench;
use millpond_exactness::lines::difference;
use millpond_exactness::oracle::Workload;
use millpond_exactness::snapshot_kind::{at_full_speed, wait_for_records_in_flight};

const WORKLOAD: Workload = Workload {
    records_a: 60_000,
    records_b: 60_000,
    keys: 200,
};

fn bench(rebalance: bool, aligned_timeout: &str) -> Bench {
    Bench::new(env!("CARGO_BIN_EXE_exactness-job"))
        .workload(&WORKLOAD)
        .ledger()
        // Neither is there nothing in flight nor has the job ended before the test has looked.
        .held()
        .argument("--slow-sink-us", 200)
        .argument("--rebalance", rebalance)
        .option("pipeline.max-parallelism", 128)
        .option("execution.checkpointing.interval", "50 ms")
        .option("execution.checkpointing.unaligned.enabled", true)
        .option(
            "execution.checkpointing.aligned-checkpoint-timeout",
            aligned_timeout,
        )
        .option(
            "execution.checkpointing.externalized-checkpoint-retention",
            "RETAIN_ON_CANCELLATION",
        )
}

#[test]
fn records_in_flight_are_resumed_once_at_parallelism_2_3_1_5_4() {
    for rebalance in [false, true] {
        // The second time many subtasks have theirs in one file.
        let bench = bench(rebalance, "0 ms")
            .option("execution.checkpointing.file-merging.enabled", rebalance)
            .option("execution.checkpointing.data-inline-threshold", "0 b");
        let start = |bench: &Bench, parallelism, processes, newest: Option<&str>| {
            let mut options = vec![
                ("parallelism.default", parallelism),
                ("cluster.processes", processes),
            ];
            options.extend(newest.map(|path| ("execution.state-recovery.path", path)));
            bench.start(&options)
        };
        let mut newest: Option<String> = None;
        for (parallelism, processes) in [("2", "1"), ("3", "2"), ("1", "1"), ("5", "1")] {
            let mut job = start(&bench, parallelism, processes, newest.as_deref());
            wait_for_records_in_flight(&mut job);
            job.kill_master();
            newest = bench.newest_snapshot().map(|snapshot| snapshot.path());
        }
        let bench = at_full_speed(bench);
        start(&bench, "4", "2", newest.as_deref()).finish();
        let wrong = difference(&bench.expected(&WORKLOAD), &bench.published());
        assert_eq!(wrong, None, "rebalance {rebalance}");
    }
}

/// Savepoints and what a job ends behind are aligned all the same, and REST tells them apart.
#[test]
fn a_checkpoint_that_is_not_aligned_in_time_overtakes_and_a_savepoint_never_does() {
    let bench = bench(true, "10 ms");
    let mut job = bench.start(&[("parallelism.default", "2")]);
    wait_for_records_in_flight(&mut job);
    let config = job.job("/checkpoints/config");
    assert_eq!(config["unaligned_checkpoints"], true);
    assert_eq!(config["aligned_checkpoint_timeout"], 10);
    let before = job.completed_checkpoints();
    job.savepoint();
    let savepoint = &job.job("/checkpoints")["latest"]["savepoint"];
    assert_eq!(savepoint["checkpoint_type"], "SAVEPOINT");
    assert_eq!(savepoint["persisted_data"], 0);
    assert!(job.completed_checkpoints() > before);
    let path = job.stop(false);
    let bench = at_full_speed(bench);
    let mut job = bench.start(&[
        ("parallelism.default", "3"),
        ("execution.state-recovery.path", &path),
    ]);
    job.finish();
    let wrong = difference(&bench.expected(&WORKLOAD), &bench.published());
    assert_eq!(wrong, None);
}

#[test]
fn checkpoints_that_overtake_need_exactly_once_without_which_they_wait_and_the_log_says_so() {
    let bench = bench(false, "0 ms")
        .argument("--slow-sink-us", 0)
        .argument("--records-a", 2_000)
        .argument("--records-b", 2_000);
    let mut job = bench.start(&[("execution.checkpointing.mode", "AT_LEAST_ONCE")]);
    job.wait_for_checkpoints(2);
    let config = job.job("/checkpoints/config");
    assert_eq!(config["mode"], "at_least_once", "{config}");
    assert_eq!(config["unaligned_checkpoints"], false, "{config}");
    job.finish();
    let log = job.log();
    assert!(
        log.contains(
            "execution.checkpointing.unaligned.enabled has no effect: Unaligned checkpoints can \
             only be used with checkpointing mode EXACTLY_ONCE"
        ),
        "{log}"
    );
}

#[test]
fn several_checkpoints_at_a_time_that_overtake_are_refused_before_the_job_starts() {
    let bench = bench(false, "0 ms");
    let two = [("execution.checkpointing.max-concurrent-checkpoints", "2")];
    let mut job = bench.start(&two);
    assert!(!job.wait().success(), "{}", job.log());
    let log = job.log();
    for part in [
        "execution.checkpointing.max-concurrent-checkpoints",
        "expected 1 with execution.checkpointing.unaligned.enabled",
    ] {
        assert!(log.contains(part), "{part}: {log}");
    }
    assert!(job.handshake().is_none(), "{log}");
    assert!(bench.published().is_empty());
}
