//! What becomes of checkpoints when a job ends, as configured.

use millpond_exactness::job_process::Bench;

const RETENTION: &str = "execution.checkpointing.externalized-checkpoint-retention";

fn bench() -> Bench {
    Bench::new(env!("CARGO_BIN_EXE_exactness-job"))
        .argument("--records-a", 4_000)
        .held()
        .argument("--records-b", 4_000)
        .argument("--rate", 4_000)
        .option("execution.checkpointing.interval", "20 ms")
}

fn retained(bench: &Bench) -> usize {
    bench.snapshots().len()
}

#[test]
fn a_cancelled_job_keeps_or_deletes_its_checkpoints_as_told() {
    for (setting, kept) in [
        (Some("RETAIN_ON_CANCELLATION"), 1),
        (Some("DELETE_ON_CANCELLATION"), 0),
        (None, 0),
    ] {
        let bench = bench();
        let options: Vec<_> = setting
            .into_iter()
            .map(|setting| (RETENTION, setting))
            .collect();
        let mut job = bench.start(&options);
        job.wait_for_checkpoints(3);
        job.cancel();
        assert!(job.wait().success(), "{}", job.log());
        let ended = job.handshake().and_then(|handshake| handshake.status);
        assert_eq!(ended.as_deref(), Some("CANCELED"));
        assert_eq!(retained(&bench), kept, "{setting:?}");
    }
}

#[test]
fn a_finished_job_deletes_its_checkpoints_whatever_is_set() {
    for setting in [
        Some("RETAIN_ON_CANCELLATION"),
        Some("DELETE_ON_CANCELLATION"),
        None,
    ] {
        let bench = bench();
        let options: Vec<_> = setting
            .into_iter()
            .map(|setting| (RETENTION, setting))
            .collect();
        let mut job = bench.start(&options);
        job.finish();
        assert_eq!(retained(&bench), 0, "{setting:?}");
    }
}

#[test]
fn a_failed_job_keeps_its_newest_checkpoints_unless_they_are_not_external() {
    for (setting, kept) in [
        (Some("RETAIN_ON_CANCELLATION"), 2),
        (Some("DELETE_ON_CANCELLATION"), 2),
        (None, 2),
        (Some("NO_EXTERNALIZED_CHECKPOINTS"), 0),
    ] {
        let bench = bench();
        let log = bench.directory().join("failures").display().to_string();
        let bench = bench
            .argument("--failure", "error")
            .argument("--failure-at", 2_000)
            .argument("--failure-log", log)
            .held_at(2_000)
            .option("execution.checkpointing.num-retained", 2);
        let mut options = vec![("restart-strategy.type", "none")];
        options.extend(setting.map(|setting| (RETENTION, setting)));
        let mut job = bench.start(&options);
        job.wait_for_checkpoints(2);
        bench.let_go();
        assert_eq!(job.wait().code(), Some(1), "{}", job.log());
        assert_eq!(retained(&bench), kept, "{setting:?}");
    }
}

#[test]
fn a_resumed_job_tells_of_unfinished_checkpoints_beside_its_snapshot_and_deletes_nothing() {
    let bench = bench();
    let mut job = bench.start(&[]);
    job.wait_for_checkpoints(2);
    job.kill_master();
    let newest = bench.newest_snapshot().expect("a checkpoint");
    let beside = newest.directory.parent().expect("the job's directory");
    // As a kill leaves it: state, and metadata that was being written.
    let unfinished = beside.join("chk-999999");
    std::fs::create_dir(&unfinished).expect("a directory can be made");
    for file in ["millpond-0", "._metadata.inprogress"] {
        std::fs::write(unfinished.join(file), "cut").expect("a file can be written");
    }
    let mut job = bench.start(&[("execution.state-recovery.path", &newest.path())]);
    job.finish();
    assert!(job.log().contains("chk-999999"), "{}", job.log());
    assert!(unfinished.join("millpond-0").exists(), "it is not its own");
    assert!(newest.directory.join("_metadata").exists(), "nor is this");
}
