//! The disk that RocksDB works on is full: checkpoints fail and say why, until there is room again.
#![cfg(feature = "rocksdb")]

use millpond_exactness::job_process::{Bench, JobProcess, wait_for};
use millpond_exactness::oracle::Workload;
use millpond_exactness::small_disk::SmallDisk;

const WORKLOAD: Workload = Workload {
    records_a: 6_000,
    records_b: 6_000,
    keys: 40,
};

/// A job on RocksDB that tolerates checkpoints that fail, and the disk that it works on; `None`, which is
/// told, if there can be no such disk.
fn bench() -> Option<(Bench, SmallDisk)> {
    let bench = Bench::new(env!("CARGO_BIN_EXE_exactness-job"))
        .workload(&WORKLOAD)
        .held()
        .option("state.backend.type", "rocksdb")
        .option("execution.checkpointing.incremental", true)
        .option("execution.checkpointing.interval", "100 ms")
        .option(
            "execution.checkpointing.tolerable-failed-checkpoints",
            100_000,
        )
        .option("cluster.processes", 2)
        .option("parallelism.default", 2);
    let scratch = bench.scratch();
    let disk = SmallDisk::mount_of(&scratch, "64m")?;
    Some((bench.option("io.tmp.dirs", scratch.display()), disk))
}

/// Keeps the disk full, also of what an attempt leaves that has ended, until that has had its effect.
fn fill(disk: &SmallDisk, job: &JobProcess) {
    let (before, attempts) = (job.failed_checkpoints(), job.failed_attempts());
    wait_for("checkpoints or attempts to fail", || {
        disk.fill();
        let checkpoints = (job.failed_checkpoints() - before) as usize;
        (checkpoints + job.failed_attempts() - attempts >= 3).then_some(())
    });
    let declined = job.job("/checkpoints")["latest"]["failed"]["failure_message"].to_string();
    let told = format!("{declined}\n{}", job.log());
    assert!(told.contains("No space left"), "{told}");
    eprintln!(
        "{} checkpoints and {} attempts have failed: {declined}",
        job.failed_checkpoints() - before,
        job.failed_attempts() - attempts
    );
}

#[test]
fn a_full_disk_below_rocksdb_costs_checkpoints_or_attempts_until_there_is_room() {
    let Some((bench, disk)) = bench() else {
        return;
    };
    let bench = bench.argument("--rate", 500);
    let mut job = bench.start(&[]);
    job.wait_for_checkpoints(2);
    fill(&disk, &job);
    disk.make_room();
    let so_far = job.completed_checkpoints().expect("the job answers");
    job.wait_for_checkpoints(so_far + 2);
    job.finish();
    bench.assert_exact(&WORKLOAD);
}

#[test]
fn a_job_without_new_records_is_checkpointed_again_when_there_is_room() {
    let Some((bench, disk)) = bench() else {
        return;
    };
    let mut job = bench.start(&[]);
    job.wait_for_checkpoints(2);
    let mut records = 0;
    wait_for("all records but the last to be taken", || {
        let before = std::mem::replace(&mut records, job.records());
        let so_far = job.completed_checkpoints()?;
        job.wait_for_checkpoints(so_far + 2);
        (before > 0 && before == records).then_some(())
    });
    fill(&disk, &job);
    disk.make_room();
    let so_far = job.completed_checkpoints().expect("the job answers");
    job.wait_for_checkpoints(so_far + 2);
    assert_eq!(records, job.records(), "the job had new records");
    job.finish();
    bench.assert_exact(&WORKLOAD);
}
