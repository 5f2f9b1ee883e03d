//! A job counts exactly whatever its state stands on, and a savepoint moves from one to another.
//!
//! The store is small below a cache that is smaller, so values are written back and forgotten all
//! the time.

use millpond_exactness::job_process::Bench;
use millpond_exactness::oracle::Workload;

/// The backend beside the heap.
const STORE: &str = if cfg!(feature = "rocksdb") {
    "rocksdb"
} else {
    "memory"
};

const WORKLOAD: Workload = Workload {
    records_a: 20_000,
    records_b: 20_000,
    keys: 200,
};

fn bench() -> Bench {
    Bench::new(env!("CARGO_BIN_EXE_exactness-job"))
        .workload(&WORKLOAD)
        .held()
        .argument("--rate", 2_500)
        .option("pipeline.max-parallelism", 128)
        .option("state.backend.write-back-cache.size", "16 kb")
        .option("execution.checkpointing.interval", "50 ms")
        .option(
            "execution.checkpointing.externalized-checkpoint-retention",
            "RETAIN_ON_CANCELLATION",
        )
}

#[test]
fn a_savepoint_moves_between_state_backends_and_parallelisms() {
    let bench = bench();
    let mut newest: Option<String> = None;
    for (backend, parallelism) in [(STORE, "1"), ("hashmap", "3"), (STORE, "2"), (STORE, "4")] {
        let mut options = vec![
            ("state.backend.type", backend),
            ("parallelism.default", parallelism),
        ];
        options.extend(
            newest
                .as_deref()
                .map(|path| ("execution.state-recovery.path", path)),
        );
        let mut job = bench.start(&options);
        if parallelism == "4" {
            job.finish();
        } else {
            job.wait_for_checkpoints(1);
            newest = Some(job.stop(false));
        }
    }
    bench.assert_exact(&WORKLOAD);
}

#[test]
fn a_job_above_a_store_that_is_killed_goes_on_from_its_checkpoints() {
    let bench = bench();
    let mut newest: Option<String> = None;
    for (parallelism, processes) in [("2", "2"), ("3", "1"), ("1", "1")] {
        let mut options = vec![
            ("state.backend.type", STORE),
            ("parallelism.default", parallelism),
            ("cluster.processes", processes),
        ];
        options.extend(
            newest
                .as_deref()
                .map(|path| ("execution.state-recovery.path", path)),
        );
        let mut job = bench.start(&options);
        if parallelism == "1" {
            job.finish();
        } else {
            job.wait_for_checkpoints(2);
            job.kill_master();
            newest = bench.newest_snapshot().map(|snapshot| snapshot.path());
        }
    }
    bench.assert_exact(&WORKLOAD);
}
