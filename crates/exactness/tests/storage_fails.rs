//! Storage that fails for a while costs checkpoints, and neither state nor records.

use std::path::{Path, PathBuf};

use millpond_exactness::job_process::{Bench, JobProcess, kill_process, stop_process, wait_for};
use millpond_exactness::oracle::Workload;
use millpond_exactness::remains::{collect_garbage, unfinished};
use millpond_exactness::small_disk::SmallDisk;

const WORKLOAD: Workload = Workload {
    records_a: 6_000,
    records_b: 4_000,
    keys: 40,
};

fn bench() -> Bench {
    Bench::new(env!("CARGO_BIN_EXE_exactness-job"))
        .workload(&WORKLOAD)
        .argument("--rate", 10_000)
        .option("parallelism.default", 2)
        .option("execution.checkpointing.interval", "100 ms")
        .option("execution.checkpointing.data-inline-threshold", "0 b")
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

/// Waits until nothing more is read while checkpoints fail: the input has ended, and the last
/// checkpoint has been tried several times.
fn wait_for_failed_last_checkpoints(job: &JobProcess) {
    let mut seen = (job.records(), job.failed_checkpoints());
    wait_for("the last checkpoint to fail again and again", || {
        let now = (job.records(), job.failed_checkpoints());
        if now.0 != seen.0 || now.0 == 0 {
            seen = now;
        }
        (now.1 >= seen.1 + 4).then_some(())
    });
}

#[test]
fn a_last_checkpoint_that_fails_is_taken_again_without_a_restart() {
    for processes in ["1", "2"] {
        let bench = bench().held().option(
            "execution.checkpointing.tolerable-failed-checkpoints",
            100_000,
        );
        let mut job = bench.start(&[("cluster.processes", processes)]);
        job.wait_for_checkpoints(1);
        let unusable = Unusable::make(&job_directory(&bench, &job));
        bench.let_go();
        wait_for_failed_last_checkpoints(&job);
        assert_eq!(job.failed_attempts(), 0, "{}", job.log());
        unusable.end();
        job.finish();
        assert!(!job.log().contains("attempt 1 failed"), "{}", job.log());
        bench.assert_exact(&WORKLOAD);
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
        let bench = bench().held().argument("--rate", 2_000).option(
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
        assert_eq!(job.failed_attempts(), 0, "{}", job.log());
        let savepoint = job.stop(false);
        let mut job = bench.start(&[
            ("cluster.processes", processes),
            ("execution.state-recovery.path", &savepoint),
        ]);
        job.finish();
        bench.assert_exact(&WORKLOAD);
    }
}

#[test]
fn a_full_disk_costs_checkpoints_and_nothing_else() {
    for tolerable in ["0", "100000"] {
        let bench = bench()
            .held()
            .argument("--rate", 500)
            .option(
                "execution.checkpointing.tolerable-failed-checkpoints",
                tolerable,
            )
            .option("cluster.processes", 2);
        let Some(disk) = SmallDisk::mount(&bench.checkpoints()) else {
            return;
        };
        let mut job = bench.start(&[]);
        job.wait_for_checkpoints(2);
        disk.fill();
        let before = job.failed_checkpoints();
        wait_for("checkpoints to be declined", || {
            (job.failed_checkpoints() >= before + 3).then_some(())
        });
        let reasons = job.job("/checkpoints")["latest"]["failed"]["failure_message"].to_string();
        assert!(reasons.contains("No space left"), "{reasons}");
        assert!(
            bench.newest_snapshot().is_some(),
            "the last complete checkpoint is still there"
        );
        disk.make_room();
        let so_far = job.completed_checkpoints().expect("the job answers");
        job.wait_for_checkpoints(so_far + 2);
        // What failed has left nothing; one more may just be under way.
        wait_for("the files of failed checkpoints to be gone", || {
            (unfinished(&bench.checkpoints()).len() <= 1).then_some(())
        });
        match tolerable {
            "0" => assert!(job.failed_attempts() > 0, "each failure is a restart"),
            _ => assert_eq!(job.failed_attempts(), 0, "{}", job.log()),
        }
        kill_process(*job.workers().first().expect("a worker"));
        job.finish();
        bench.assert_exact(&WORKLOAD);
        assert_eq!(unfinished(&bench.checkpoints()), [] as [PathBuf; 0]);
    }
}

#[test]
fn a_disk_that_has_become_read_only_costs_checkpoints_and_nothing_else() {
    for tolerable in ["2", "100000"] {
        let bench = bench()
            .held()
            .argument("--rate", 500)
            .option(
                "execution.checkpointing.tolerable-failed-checkpoints",
                tolerable,
            )
            .option("cluster.processes", 2);
        let Some(disk) = SmallDisk::mount(&bench.checkpoints()) else {
            return;
        };
        let mut job = bench.start(&[]);
        job.wait_for_checkpoints(2);
        disk.set_read_only(true);
        let before = job.failed_checkpoints();
        wait_for("checkpoints to fail", || {
            (job.failed_checkpoints() >= before + 5).then_some(())
        });
        let reasons = job.job("/checkpoints")["latest"]["failed"]["failure_message"].to_string();
        let newest = bench.newest_snapshot().expect("a checkpoint").checkpoint;
        match tolerable {
            // Every third failure is a restart, from what can still be read.
            "2" => {
                wait_for("an attempt to fail", || {
                    (job.failed_attempts() > 0).then_some(())
                });
                let why = job.log();
                assert!(why.contains("tolerable failure threshold"), "{why}");
                wait_for("a restore", || {
                    let restored = job.job("/checkpoints")["latest"]["restored"]["id"].as_i64();
                    (restored == Some(newest)).then_some(())
                });
            }
            _ => {
                assert!(reasons.contains("Read-only file system"), "{reasons}");
                assert!(reasons.contains("/chk-"), "it says where: {reasons}");
                assert_eq!(job.failed_attempts(), 0, "{}", job.log());
            }
        }
        disk.set_read_only(false);
        let so_far = job.completed_checkpoints().expect("the job answers");
        job.wait_for_checkpoints(so_far + 2);
        job.finish();
        bench.assert_exact(&WORKLOAD);
        // What was under way could not be deleted either, for longer than that is tried again.
        let (wrong, _) = collect_garbage(&bench.checkpoints());
        assert_eq!(wrong, [] as [String; 0]);
        assert_eq!(unfinished(&bench.checkpoints()), [] as [PathBuf; 0]);
    }
}

#[test]
fn a_full_disk_of_local_copies_costs_copies_and_nothing_else() {
    let bench = bench()
        .held()
        .argument("--rate", 500)
        .option("cluster.processes", 2);
    let local = bench.directory().join("local");
    let Some(disk) = SmallDisk::mount(&local) else {
        return;
    };
    let local = local.display().to_string();
    let mut job = bench.start(&[
        ("execution.state-recovery.from-local", "true"),
        ("execution.checkpointing.local-backup.dirs", &local),
    ]);
    job.wait_for_checkpoints(2);
    disk.fill();
    wait_for("a copy that cannot be written", || {
        job.log().contains("No space left").then_some(())
    });
    assert!(job.log().contains("no local copy of"), "{}", job.log());
    let so_far = job.completed_checkpoints().expect("the job answers");
    job.wait_for_checkpoints(so_far + 3);
    assert_eq!(job.failed_checkpoints(), 0, "{}", job.log());
    kill_process(*job.workers().first().expect("a worker"));
    let read = wait_for("a restore", || {
        let restored = job.job("/checkpoints")["latest"]["restored"].clone();
        restored["id"]
            .is_i64()
            .then(|| restored["state_read"].clone())
    });
    assert!(read["remote_bytes"].as_u64() > Some(0), "{read}");
    disk.make_room();
    job.finish();
    bench.assert_exact(&WORKLOAD);
}

#[test]
fn a_full_disk_of_the_sink_restarts_the_job_until_there_is_room() {
    let bench = bench().held().argument("--rate", 500);
    let Some(disk) = SmallDisk::mount(&bench.out()) else {
        return;
    };
    let mut job = bench.start(&[]);
    job.wait_for_checkpoints(2);
    disk.fill();
    wait_for("attempts to fail", || {
        (job.failed_attempts() >= 2).then_some(())
    });
    assert!(job.log().contains("No space left"), "{}", job.log());
    disk.make_room();
    job.finish();
    bench.assert_exact(&WORKLOAD);
}

/// The storage is away while a job wants to recover; `bring_back` ends that.
fn recovers_when_storage_is_back(take_away: impl Fn(&Path), bring_back: impl Fn(&Path)) {
    let bench = bench()
        .held()
        .argument("--rate", 1_000)
        .option("cluster.processes", 2)
        .option("execution.checkpointing.num-retained", 3)
        .option(
            "execution.checkpointing.tolerable-failed-checkpoints",
            100_000,
        );
    let mut job = bench.start(&[]);
    job.wait_for_checkpoints(4);
    let directory = job_directory(&bench, &job);
    // From here on no checkpoint completes and no input ends, however late the kill is.
    let worker = *job.workers().first().expect("a worker");
    stop_process(worker);
    take_away(&directory);
    kill_process(worker);
    wait_for("a recovery that cannot reach its snapshot", || {
        job.log().contains("trying again in").then_some(())
    });
    bring_back(&directory);
    let newest = bench.newest_snapshot().expect("a checkpoint").checkpoint;
    let restored = wait_for("a recovery", || {
        job.job("/checkpoints")["latest"]["restored"]["id"].as_i64()
    });
    assert_eq!(restored, newest, "{}", job.log());
    assert!(!job.log().contains("falling back"), "{}", job.log());
    job.finish();
    bench.assert_exact(&WORKLOAD);
}

#[test]
fn a_recovery_waits_for_storage_that_has_been_taken_away() {
    let aside = |directory: &Path| directory.with_extension("aside");
    recovers_when_storage_is_back(
        |directory| {
            std::fs::rename(directory, aside(directory)).expect("it can be moved");
            // As a checkpoint that is under way makes the directory anew.
            std::fs::create_dir_all(directory.join("chk-99")).expect("room");
        },
        |directory| {
            let _ = std::fs::remove_dir_all(directory);
            std::fs::rename(aside(directory), directory).expect("it can be moved");
        },
    );
}

#[test]
fn a_recovery_waits_for_storage_that_cannot_be_read() {
    let aside = |directory: &Path| directory.with_extension("aside");
    recovers_when_storage_is_back(
        |directory| {
            std::fs::rename(directory, aside(directory)).expect("it can be moved");
            std::fs::write(directory, "in the way").expect("a file can be written");
        },
        |directory| {
            std::fs::remove_file(directory).expect("it was in the way");
            std::fs::rename(aside(directory), directory).expect("it can be moved");
        },
    );
}
