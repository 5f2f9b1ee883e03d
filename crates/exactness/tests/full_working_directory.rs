//! The disk that RocksDB works on is full: checkpoints fail and say why, until there is room again.
#![cfg(feature = "rocksdb")]

use millpond_exactness::job_process::{Bench, wait_for};
use millpond_exactness::lines::difference;
use millpond_exactness::oracle::{Workload, expected};
use millpond_exactness::small_disk::SmallDisk;

const WORKLOAD: Workload = Workload {
    records_a: 6_000,
    records_b: 6_000,
    keys: 40,
};

#[test]
fn a_full_disk_below_rocksdb_costs_checkpoints_or_attempts_until_there_is_room() {
    let bench = Bench::new(env!("CARGO_BIN_EXE_exactness-job"))
        .workload(&WORKLOAD)
        .argument("--rate", 500)
        .option("state.backend.type", "rocksdb")
        .option("execution.checkpointing.incremental", true)
        .option("execution.checkpointing.interval", "100 ms")
        .option(
            "execution.checkpointing.tolerable-failed-checkpoints",
            100_000,
        )
        .option("cluster.processes", 2)
        .option("parallelism.default", 2);
    let scratch = bench.scratch().display().to_string();
    let bench = bench.option("io.tmp.dirs", scratch);
    let Some(disk) = SmallDisk::mount_of(&bench.scratch(), "64m") else {
        return;
    };
    let mut job = bench.start(&[]);
    job.wait_for_checkpoints(2);
    disk.fill();
    let before = job.failed_checkpoints();
    wait_for("checkpoints or attempts to fail", || {
        let has = job.failed_checkpoints() >= before + 3 || job.failed_attempts() >= 2;
        has.then_some(())
    });
    let declined = job.job("/checkpoints")["latest"]["failed"]["failure_message"].to_string();
    let told = format!("{declined}\n{}", job.log());
    assert!(told.contains("No space left"), "{told}");
    eprintln!(
        "{} checkpoints and {} attempts have failed: {declined}",
        job.failed_checkpoints() - before,
        job.failed_attempts()
    );
    disk.make_room();
    let so_far = job.completed_checkpoints().expect("the job answers");
    job.wait_for_checkpoints(so_far + 2);
    job.finish();
    let wrong = difference(&expected(&WORKLOAD), &bench.published());
    assert_eq!(wrong, None, "{}", wrong.clone().unwrap_or_default());
}
