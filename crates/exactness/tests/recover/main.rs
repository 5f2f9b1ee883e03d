//! A job recovers by itself: from the newest snapshot, or from an older one if that is damaged.

mod copies_of_task_managers;
mod local_recovery;

use std::path::{Path, PathBuf};

use millpond_exactness::job_process::{Bench, JobProcess, kill_process, wait_for};
use millpond_exactness::lines::shortfall;
use millpond_exactness::oracle::{Workload, expected};
use serde_json::{Value, json};

const WORKLOAD: Workload = Workload {
    records_a: 15_000,
    records_b: 15_000,
    keys: 300,
};

/// A job in two worker processes that takes checkpoints only when asked.
fn bench() -> Bench {
    Bench::new(env!("CARGO_BIN_EXE_exactness-job"))
        .workload(&WORKLOAD)
        .held()
        .argument("--rate", 4_000)
        .option("parallelism.default", 2)
        .option("cluster.processes", 2)
        .option("execution.checkpointing.data-inline-threshold", "0 b")
        .option("execution.checkpointing.interval", "1 h")
}

/// Takes a checkpoint and returns its number.
fn checkpoint(job: &JobProcess) -> i64 {
    let answer = job
        .try_post("/checkpoints", &json!({}))
        .expect("the job answers");
    let trigger = answer["request-id"].as_str().expect("an id").to_owned();
    wait_for("a checkpoint", || {
        let status = job.job(&format!("/checkpoints/{trigger}"));
        (status["status"]["id"] == "COMPLETED").then(|| {
            status["operation"]["checkpointId"]
                .as_i64()
                .unwrap_or_else(|| panic!("{status}"))
        })
    })
}

/// Kills a worker and waits until the job has restored a snapshot, or has failed.
fn kill_worker(job: &mut JobProcess) -> Option<Value> {
    kill_process(*job.workers().first().expect("a worker"));
    wait_for("a recovery", || {
        if job
            .handshake()
            .is_some_and(|handshake| handshake.status.is_some())
        {
            return Some(None);
        }
        let statistics = job.try_get(&format!("/jobs/{}/checkpoints", job.handshake()?.job_id))?;
        let restored = &statistics["latest"]["restored"];
        restored.is_object().then(|| Some(restored.clone()))
    })
}

fn directory_of(bench: &Bench, checkpoint: i64) -> PathBuf {
    let snapshots = bench.snapshots();
    let found = snapshots
        .into_iter()
        .find(|snapshot| snapshot.checkpoint == checkpoint);
    found.expect("the checkpoint is there").directory
}

/// The largest state file.
fn state_file(directory: &Path) -> PathBuf {
    let entries = std::fs::read_dir(directory).expect("a directory");
    let files = entries.map(|entry| entry.expect("an entry").path());
    let files = files.filter(|path| path.file_name().is_some_and(|name| name != "_metadata"));
    files
        .max_by_key(|path| path.metadata().expect("a file").len())
        .expect("a state file")
}

#[test]
fn a_savepoint_newer_than_the_last_checkpoint_is_what_a_job_recovers_from() {
    let bench = bench();
    let mut job = bench.start(&[]);
    job.running();
    checkpoint(&job);
    let savepoint = job.savepoint();
    let restored = kill_worker(&mut job).expect("the job goes on");
    assert_eq!(restored["is_savepoint"], true);
    assert_eq!(restored["external_path"], savepoint);
    job.finish();
    bench.assert_exact(&WORKLOAD);
}

#[test]
fn a_job_without_any_snapshot_starts_anew() {
    let bench = bench();
    let mut job = bench.start(&[]);
    job.running();
    kill_process(*job.workers().first().expect("a worker"));
    wait_for("a restart", || {
        (job.job("/exceptions")["exceptionHistory"]["entries"]
            .as_array()?
            .len()
            == 1)
            .then_some(())
    });
    job.finish();
    bench.assert_exact(&WORKLOAD);
}

/// Damages the newest of three checkpoints; the job falls back to the second.
fn falls_back(damage: impl Fn(&Path)) {
    let bench = bench();
    let mut job = bench.start(&[
        ("execution.checkpointing.num-retained", "3"),
        (
            "execution.state-recovery.allow-fallback-past-committed-transactions",
            "true",
        ),
    ]);
    job.running();
    let numbers = [checkpoint(&job), checkpoint(&job), checkpoint(&job)];
    damage(&directory_of(&bench, numbers[2]));
    let restored = kill_worker(&mut job).expect("the job goes on");
    assert_eq!(restored["id"], numbers[1], "{}", job.log());
    assert!(job.log().contains("falling back"), "{}", job.log());
    let damaged = restored["damaged"].as_array().expect("REST tells");
    assert_eq!(damaged.len(), 1, "{restored}");
    assert_eq!(job.job("/checkpoints")["counts"]["fallbacks"], 1);
    job.finish();
    let told = job.handshake().and_then(|handshake| handshake.fallbacks);
    assert_eq!(told, Some(1));
    // What the newest checkpoint had committed comes again: that is what was allowed.
    let wrong = shortfall(&expected(&WORKLOAD), &bench.published());
    assert_eq!(wrong, None, "{}", wrong.clone().unwrap_or_default());
}

fn truncate(file: &Path) {
    let bytes = std::fs::read(file).expect("a file");
    std::fs::write(file, &bytes[..bytes.len() / 2]).expect("a file can be written");
}

fn flip_a_bit(file: &Path) {
    let mut bytes = std::fs::read(file).expect("a file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(file, bytes).expect("a file can be written");
}

#[test]
fn a_truncated_state_file_makes_a_job_fall_back() {
    falls_back(|directory| truncate(&state_file(directory)));
}

#[test]
fn a_flipped_bit_makes_a_job_fall_back() {
    falls_back(|directory| flip_a_bit(&state_file(directory)));
}

#[test]
fn a_missing_state_file_makes_a_job_fall_back() {
    falls_back(|directory| std::fs::remove_file(state_file(directory)).expect("it was there"));
}

#[test]
fn unreadable_metadata_makes_a_job_fall_back() {
    falls_back(|directory| truncate(&directory.join("_metadata")));
}

#[test]
fn a_flipped_bit_in_the_metadata_makes_a_job_fall_back() {
    falls_back(|directory| flip_a_bit(&directory.join("_metadata")));
}

#[test]
fn a_job_whose_only_checkpoint_is_damaged_fails_and_names_file_and_place() {
    let bench = bench();
    let mut job = bench.start(&[]);
    job.running();
    let number = checkpoint(&job);
    let file = state_file(&directory_of(&bench, number));
    flip_a_bit(&file);
    assert_eq!(
        kill_worker(&mut job),
        None,
        "there is nothing to restore:\n{}",
        job.log()
    );
    assert!(!job.wait().success());
    let handshake = job.handshake().expect("it has run");
    assert_eq!(handshake.status.as_deref(), Some("FAILED"));
    let why = handshake.failure.expect("a reason");
    let name = file
        .file_name()
        .and_then(|name| name.to_str())
        .expect("a name");
    assert!(why.contains(name), "{why}");
}

#[test]
fn falling_back_past_published_output_is_refused_unless_allowed() {
    // Records come for long enough.
    let bench = bench().argument("--rate", 800);
    let mut job = bench.start(&[("execution.checkpointing.num-retained", "3")]);
    job.running();
    checkpoint(&job);
    let first = bench.published().len();
    let newest = wait_for("output between two checkpoints", || {
        let newest = checkpoint(&job);
        (bench.published().len() > first).then_some(newest)
    });
    truncate(&directory_of(&bench, newest).join("_metadata"));
    assert_eq!(kill_worker(&mut job), None, "{}", job.log());
    assert!(!job.wait().success());
    let why = job
        .handshake()
        .and_then(|handshake| handshake.failure)
        .expect("a reason");
    assert!(
        why.contains("allow-fallback-past-committed-transactions"),
        "{why}"
    );
}

#[test]
fn a_start_from_a_damaged_savepoint_fails_and_names_the_file() {
    let bench = bench();
    let mut job = bench.start(&[]);
    job.running();
    let savepoint = job.stop(false);
    let directory = Path::new(savepoint.strip_prefix("file:").expect("a local path"));
    let file = state_file(directory);
    flip_a_bit(&file);
    let before = bench.published();
    let mut job = bench.start(&[("execution.state-recovery.path", &savepoint)]);
    assert!(!job.wait().success());
    let why = job
        .handshake()
        .and_then(|handshake| handshake.failure)
        .expect("a reason");
    let name = file
        .file_name()
        .and_then(|name| name.to_str())
        .expect("a name");
    assert!(why.contains(name), "{why}");
    assert_eq!(bench.published(), before, "nothing has been published");
}
