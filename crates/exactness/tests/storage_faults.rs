//! Storage that is full, read-only, slow, or answers with errors, call by call: the checkpoint fails and
//! says why, the job lives, and nothing half-written stays.

use millpond_exactness::job_process::{Bench, JobProcess, kill_process, wait_for};
use millpond_exactness::lines::difference;
use millpond_exactness::oracle::{Workload, expected};
use millpond_exactness::remains::{collect_garbage, unfinished};

const WORKLOAD: Workload = Workload {
    records_a: 12_000,
    records_b: 12_000,
    keys: 40,
};

const TOLERABLE: &str = "execution.checkpointing.tolerable-failed-checkpoints";

const MERGING: &str = "execution.checkpointing.file-merging.enabled";

/// A job whose storage does what it is told.
fn bench() -> Bench {
    Bench::new(env!("CARGO_BIN_EXE_exactness-job"))
        .with_storage_control()
        .workload(&WORKLOAD)
        .held()
        .argument("--rate", 1_500)
        .option("parallelism.default", 2)
        .option("cluster.processes", 2)
        .option("execution.checkpointing.interval", "50 ms")
        .option("execution.checkpointing.data-inline-threshold", "0 b")
}

/// Sets a rule by which checkpoints fail, and waits until so many have.
fn let_fail(bench: &Bench, job: &JobProcess, rule: &str, count: u64) {
    let before = job.failed_checkpoints();
    bench.storage_control().set(rule);
    wait_for("checkpoints to fail", || {
        (job.failed_checkpoints() >= before + count).then_some(())
    });
}

fn wait_for_more_checkpoints(job: &mut JobProcess) {
    let so_far = job.completed_checkpoints().expect("the job answers");
    job.wait_for_checkpoints(so_far + 2);
}

fn failure_message(job: &JobProcess) -> String {
    job.job("/checkpoints")["latest"]["failed"]["failure_message"].to_string()
}

/// The job ends well, with all that it should have published, and has left nothing.
fn assert_all_is_well(bench: &Bench, mut job: JobProcess) {
    wait_for("the files of failed checkpoints to be gone", || {
        (unfinished(&bench.checkpoints()).len() <= 1).then_some(())
    });
    job.finish();
    let wrong = difference(&expected(&WORKLOAD), &bench.published());
    assert_eq!(wrong, None, "{}", wrong.clone().unwrap_or_default());
    assert!(unfinished(&bench.checkpoints()).is_empty());
    let (wrong, garbage) = collect_garbage(&bench.checkpoints());
    assert!(
        wrong.is_empty() && garbage == 0,
        "{garbage} files, {wrong:?}"
    );
}

#[test]
fn a_checkpoint_that_cannot_be_written_fails_with_the_reason_and_the_job_lives() {
    let cases = [
        ("write /chk-", "ENOSPC", "No space left on device"),
        ("sync /chk-", "EIO", "Input/output error"),
        ("create /chk-", "EROFS", "Read-only file system"),
        ("create /chk-", "EACCES", "Permission denied"),
        (
            "write_atomic /_metadata",
            "ENOSPC",
            "No space left on device",
        ),
        ("write_atomic /_metadata", "ETIMEDOUT", "timed out"),
    ];
    for merging in [false, true] {
        let bench = bench().option(TOLERABLE, 100_000).option(MERGING, merging);
        let mut job = bench.start(&[]);
        job.wait_for_checkpoints(2);
        for (call, error, words) in cases {
            let_fail(&bench, &job, &format!("bad {call} 0 * fail {error}"), 3);
            let why = failure_message(&job);
            assert!(why.contains(words), "{call} {error}: {why}");
            assert!(why.contains("/chk-"), "it says where: {why}");
            bench.storage_control().clear();
            wait_for_more_checkpoints(&mut job);
        }
        assert_eq!(job.failed_attempts(), 0, "{}", job.log());
        assert_all_is_well(&bench, job);
    }
}

#[test]
fn so_many_failures_in_a_row_as_are_tolerable_are_and_one_more_fails_the_attempt() {
    let bench = bench().option(TOLERABLE, 2);
    let mut job = bench.start(&[]);
    job.wait_for_checkpoints(2);
    // The job master makes one such call for each checkpoint.
    let_fail(&bench, &job, "bad write_atomic /_metadata 0 2 fail EIO", 2);
    wait_for_more_checkpoints(&mut job);
    assert_eq!(job.failed_attempts(), 0, "{}", job.log());
    let_fail(&bench, &job, "bad write_atomic /_metadata 0 3 fail EIO", 3);
    wait_for("the attempt to fail", || {
        (job.failed_attempts() == 1).then_some(())
    });
    wait_for_more_checkpoints(&mut job);
    assert_eq!(job.failed_attempts(), 1, "{}", job.log());
    let log = job.log();
    assert!(
        log.contains("Exceeded checkpoint tolerable failure threshold"),
        "{log}"
    );
    assert_all_is_well(&bench, job);
}

#[test]
fn slow_storage_costs_checkpoints_and_no_records() {
    for merging in [false, true] {
        fail_by_slow_storage(bench().option(MERGING, merging));
    }
}

fn fail_by_slow_storage(bench: Bench) {
    let bench = bench
        .argument("--rate", 1_000)
        .option(TOLERABLE, 100_000)
        .option("execution.checkpointing.timeout", "2 s");
    let mut job = bench.start(&[]);
    job.wait_for_checkpoints(2);
    let before = job.records();
    let_fail(&bench, &job, "slow sync /chk- 0 * pause 3000", 3);
    let why = failure_message(&job);
    assert!(why.contains("expired"), "{why}");
    assert!(job.records() > before, "records go on meanwhile");
    bench.storage_control().clear();
    wait_for_more_checkpoints(&mut job);
    assert_eq!(job.failed_attempts(), 0, "{}", job.log());
    assert_all_is_well(&bench, job);
}

#[test]
fn deletions_that_fail_are_tried_again() {
    let bench = bench().option(TOLERABLE, 100_000);
    let mut job = bench.start(&[]);
    job.wait_for_checkpoints(2);
    bench
        .storage_control()
        .set("bad delete_file,delete_dir /chk- 0 3 fail EIO");
    wait_for("deletions to fail", || {
        bench.storage_control().met("bad").is_some().then_some(())
    });
    wait_for_more_checkpoints(&mut job);
    assert_all_is_well(&bench, job);
}

#[test]
fn reads_that_fail_for_a_while_delay_a_recovery_and_are_no_reason_to_fall_back() {
    let bench = bench()
        .option(TOLERABLE, 100_000)
        .option("execution.checkpointing.num-retained", 3);
    let mut job = bench.start(&[]);
    job.wait_for_checkpoints(4);
    bench
        .storage_control()
        .set("bad open,read /chk- 1 2 fail EIO");
    kill_process(*job.workers().first().expect("a worker"));
    wait_for("reads to fail", || {
        bench.storage_control().met("bad").is_some().then_some(())
    });
    wait_for("a recovery", || {
        job.job("/checkpoints")["latest"]["restored"]["id"].as_i64()
    });
    let fallbacks = job.job("/checkpoints")["counts"]["fallbacks"].as_u64();
    assert_eq!(fallbacks.unwrap_or(0), 0, "{}", job.log());
    assert!(!job.log().contains("falling back"), "{}", job.log());
    assert_all_is_well(&bench, job);
}
