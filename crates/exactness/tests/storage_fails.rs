//! Storage that fails for a while costs checkpoints, and neither state nor records.

use std::path::{Path, PathBuf};

use millpond_exactness::job_process::{Bench, JobProcess, wait_for};
use millpond_exactness::lines::difference;
use millpond_exactness::oracle::{Workload, expected};

const WORKLOAD: Workload = Workload {
    records_a: 6_000,
    records_b: 4_000,
    keys: 40,
};

fn bench() -> Bench {
    Bench::new(env!("CARGO_BIN_EXE_exactness-job"))
        .argument("--records-a", WORKLOAD.records_a)
        .argument("--records-b", WORKLOAD.records_b)
        .argument("--keys", WORKLOAD.keys)
        .argument("--rate", 10_000)
        .option("parallelism.default", 2)
        .option("execution.checkpointing.interval", "100 ms")
        .option("execution.checkpointing.data-inline-threshold", "0 b")
}

fn assert_exact(bench: &Bench) {
    let wrong = difference(&expected(&WORKLOAD), &bench.published());
    assert_eq!(wrong, None, "{}", wrong.clone().unwrap_or_default());
}

/// A directory that has become a file, so that nothing can be written or read below it, whoever
/// tries.
struct Unusable {
    directory: PathBuf,
    aside: PathBuf,
}

impl Unusable {
    fn make(directory: &Path) -> Self {
        let aside = directory.with_extension("aside");
        if directory.exists() {
            std::fs::rename(directory, &aside).expect("a directory can be moved");
        }
        std::fs::write(directory, "in the way").expect("a file can be written");
        Unusable {
            directory: directory.to_owned(),
            aside,
        }
    }

    fn end(self) {
        std::fs::remove_file(&self.directory).expect("it was in the way");
        if self.aside.exists() {
            std::fs::rename(&self.aside, &self.directory).expect("a directory can be moved");
        }
    }
}

/// Where the checkpoints of a running job go.
fn job_directory(bench: &Bench, job: &JobProcess) -> PathBuf {
    let handshake = job.handshake().expect("the job is up");
    bench.checkpoints().join(handshake.job_id)
}

fn failed_checkpoints(job: &JobProcess) -> u64 {
    let counts = &job.job("/checkpoints")["counts"];
    counts["failed"].as_u64().expect("a number")
}

/// How often an attempt of the job has failed, 16 at most.
fn failed_attempts(job: &JobProcess) -> usize {
    let exceptions = job.job("/exceptions");
    let entries = exceptions["exceptionHistory"]["entries"].as_array();
    entries.expect("a list").len()
}

/// Records that all subtasks have taken.
fn records(job: &JobProcess) -> u64 {
    let job = job.job("");
    let vertices = job["vertices"].as_array().expect("a list").clone();
    let read = vertices
        .iter()
        .map(|vertex| vertex["metrics"]["read-records"].as_u64().unwrap_or(0));
    read.sum()
}

/// Waits until nothing more is read while checkpoints fail: the input has ended, and the last
/// checkpoint has been tried several times.
fn wait_for_failed_last_checkpoints(job: &JobProcess) {
    let mut seen = (records(job), failed_checkpoints(job));
    wait_for("the last checkpoint to fail again and again", || {
        let now = (records(job), failed_checkpoints(job));
        if now.0 != seen.0 || now.0 == 0 {
            seen = now;
        }
        (now.1 >= seen.1 + 4).then_some(())
    });
}

#[test]
fn a_last_checkpoint_that_fails_is_taken_again_without_a_restart() {
    for processes in ["1", "2"] {
        let bench = bench().option(
            "execution.checkpointing.tolerable-failed-checkpoints",
            100_000,
        );
        let mut job = bench.start(&[("cluster.processes", processes)]);
        job.wait_for_checkpoints(1);
        let unusable = Unusable::make(&job_directory(&bench, &job));
        wait_for_failed_last_checkpoints(&job);
        assert_eq!(failed_attempts(&job), 0, "{}", job.log());
        unusable.end();
        job.finish();
        assert!(!job.log().contains("attempt 1 failed"), "{}", job.log());
        assert_exact(&bench);
    }
}

#[test]
fn a_last_checkpoint_that_never_succeeds_fails_the_job_by_the_usual_rules() {
    let bench = bench().option("execution.checkpointing.tolerable-failed-checkpoints", 3);
    let id = "ab".repeat(16);
    let directory = bench.checkpoints().join(&id);
    std::fs::create_dir_all(bench.checkpoints()).expect("a directory can be made");
    std::fs::write(directory, "in the way").expect("a file can be written");
    let mut job = bench.start(&[
        ("restart-strategy.type", "none"),
        // No checkpoint but the last is ever due before the input has ended.
        ("execution.checkpointing.interval", "1500 ms"),
        ("$internal.pipeline.job-id", &id),
    ]);
    assert_eq!(job.wait().code(), Some(1), "{}", job.log());
    let handshake = job.handshake().expect("it has run");
    assert_eq!(handshake.status.as_deref(), Some("FAILED"));
    let why = handshake.failure.expect("a reason");
    assert!(
        why.contains("Exceeded checkpoint tolerable failure threshold"),
        "{why}"
    );
}

#[test]
fn a_stop_whose_savepoint_fails_leaves_the_job_running() {
    for processes in ["1", "2"] {
        let bench = bench().option(
            "execution.checkpointing.tolerable-failed-checkpoints",
            100_000,
        );
        let mut job = bench.start(&[("cluster.processes", processes)]);
        job.wait_for_checkpoints(1);
        let unusable = Unusable::make(&bench.savepoints());
        let trigger = job.trigger_stop(false).expect("the job answers");
        let result = job.savepoint_result(&trigger).expect("the job goes on");
        assert!(result.is_err(), "{result:?}");
        unusable.end();
        let so_far = job.completed_checkpoints().expect("the job answers");
        job.wait_for_checkpoints(so_far + 2);
        assert_eq!(failed_attempts(&job), 0, "{}", job.log());
        let savepoint = job.stop(false);
        let mut job = bench.start(&[
            ("cluster.processes", processes),
            ("execution.state-recovery.path", &savepoint),
        ]);
        job.finish();
        assert_exact(&bench);
    }
}
