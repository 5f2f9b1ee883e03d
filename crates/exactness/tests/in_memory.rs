//! Checkpoints and savepoints in the memory of the job master: checkpoint storage `jobmanager`, and the
//! store of old Flink.

use std::path::Path;

use millpond_exactness::job_process::{Bench, JobProcess, kill_process, wait_for};
use millpond_exactness::lines::difference;
use millpond_exactness::oracle::{Workload, expected};
use serde_json::json;

const WORKLOAD: Workload = Workload {
    records_a: 12_000,
    records_b: 12_000,
    keys: 100,
};

fn bench() -> Bench {
    Bench::new(env!("CARGO_BIN_EXE_exactness-job"))
        .workload(&WORKLOAD)
        .held()
        .argument("--rate", 4_000)
        .option("execution.checkpointing.data-inline-threshold", "0 b")
        .option("execution.checkpointing.interval", "100 ms")
        .option("parallelism.default", 2)
        .option("cluster.processes", 2)
}

fn files(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("a directory");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    names
        .map(|name| name.into_string().expect("text"))
        .collect()
}

/// Kills a worker; returns where the snapshot lies that the job has recovered from.
fn recovered_from(job: &JobProcess) -> String {
    kill_process(*job.workers().first().expect("a worker"));
    wait_for("a recovery", || {
        let restored = &job.job("/checkpoints")["latest"]["restored"];
        restored["external_path"].as_str().map(str::to_owned)
    })
}

fn exact(bench: &Bench) {
    let wrong = difference(&expected(&WORKLOAD), &bench.published());
    assert_eq!(wrong, None, "{}", wrong.clone().unwrap_or_default());
}

#[test]
fn a_job_recovers_from_a_checkpoint_that_is_in_the_memory_of_its_master_only() {
    // `MemoryStateBackend` says the same in the words of Flink 1.
    for (key, value) in [
        ("execution.checkpointing.storage", "jobmanager"),
        ("state.backend", "MemoryStateBackend"),
    ] {
        let bench = bench().without_checkpoint_directory().option(key, value);
        let mut job = bench.start(&[]);
        job.wait_for_checkpoints(2);
        let storage = job.job("/checkpoints/config")["checkpoint_storage"].clone();
        assert_eq!(storage, "JobManagerCheckpointStorage");
        let from = recovered_from(&job);
        assert_eq!(from, "<checkpoint-not-externally-addressable>");
        job.finish();
        assert!(!bench.checkpoints().exists(), "nothing is written");
        exact(&bench);
    }
}

#[test]
fn with_a_directory_the_metadata_is_the_only_file_and_can_be_moved_alone() {
    let bench = bench().option("execution.checkpointing.storage", "jobmanager");
    let mut job = bench.start(&[]);
    job.wait_for_checkpoints(1);
    let savepoint = job.stop(false);
    let directory = savepoint.strip_prefix("file:").expect("a local path");
    assert_eq!(files(Path::new(directory)), ["_metadata"]);
    let moved = bench.directory().join("moved");
    std::fs::rename(Path::new(directory).join("_metadata"), &moved).expect("it can be moved");
    std::fs::remove_dir(directory).expect("nothing else was there");
    let moved = moved.display().to_string();
    let mut job = bench.start(&[("execution.state-recovery.path", &moved)]);
    job.finish();
    exact(&bench);
}

#[test]
fn the_old_store_of_savepoints_serves_its_own_job_and_is_lost_with_it() {
    let bench = bench()
        .without_savepoint_directory()
        .option("savepoints.state.backend", "jobmanager")
        .option("execution.checkpointing.interval", "1 h");
    let mut job = bench.start(&[]);
    job.running();
    let savepoint = job.savepoint();
    assert!(
        savepoint.starts_with("jobmanager:/savepoints/savepoint-"),
        "{savepoint}"
    );
    assert_eq!(recovered_from(&job), savepoint);
    assert!(
        job.log().contains("savepoints.state.backend is deprecated"),
        "{}",
        job.log()
    );
    wait_for("the job to run again", || {
        (job.status()? == "RUNNING").then_some(())
    });
    let answer = wait_for("a savepoint that is accepted", || {
        let trigger = job.trigger_savepoint()?;
        job.savepoint_result(&trigger)?.ok()
    });
    assert_ne!(answer, savepoint);
    job.finish();
    exact(&bench);
    let mut next = bench.start(&[("execution.state-recovery.path", &savepoint)]);
    assert!(!next.wait().success());
    let why = next
        .handshake()
        .and_then(|handshake| handshake.failure)
        .expect("a reason");
    assert!(why.contains("is lost"), "{why}");
}

#[test]
fn more_state_than_the_memory_of_the_master_takes_is_declined_with_its_size() {
    let bench = Bench::new(env!("CARGO_BIN_EXE_exactness-job"))
        .argument("--records-a", 300_000)
        .argument("--records-b", 1)
        .argument("--keys", 300_000)
        .argument("--endless", true)
        .option("execution.checkpointing.storage", "jobmanager")
        .option("execution.checkpointing.interval", "1 h")
        .option("execution.checkpointing.tolerable-failed-checkpoints", 10);
    let mut job = bench.start(&[]);
    job.running();
    let message = wait_for("a checkpoint that is too large", || {
        job.try_post("/checkpoints", &json!({}))?;
        let failed = &job.job("/checkpoints")["latest"]["failed"];
        failed["failure_message"].as_str().map(str::to_owned)
    });
    assert!(message.contains("maxSize=5242880"), "{message}");
}
