//! A job counts exactly whatever its state stands on, and a savepoint moves from one to another.
//!
//! The store is small below a cache that is smaller, so values are written back and forgotten all
//! the time.

#[cfg(feature = "rocksdb")]
use std::collections::BTreeSet;

use millpond_exactness::job_process::Bench;
use millpond_exactness::oracle::Workload;
#[cfg(feature = "rocksdb")]
use serde_json::json;

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

#[cfg(feature = "rocksdb")]
const STORAGE: &str = "execution.checkpointing.storage";

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

/// Flink 1.x had three state backends, whose names also said where checkpoints go. Nine jobs, each of which
/// goes on from the canonical savepoint of the one before, are all pairs of "taken with" and "restored with",
/// under all names that those three had.
#[test]
#[cfg(feature = "rocksdb")]
fn a_savepoint_moves_between_all_pairs_of_flink_1s_state_backends_whatever_name_they_go_by() {
    const MEMORY: (&str, &str) = ("HashMapStateBackend", "JobManagerCheckpointStorage");
    const FILES: (&str, &str) = ("HashMapStateBackend", "FileSystemCheckpointStorage");
    const ROCKSDB: (&str, &str) = ("EmbeddedRocksDBStateBackend", "FileSystemCheckpointStorage");
    // Its checkpoints are metadata only too, and its savepoints as any other.
    const ROCKSDB_IN_MEMORY: (&str, &str) =
        ("EmbeddedRocksDBStateBackend", "JobManagerCheckpointStorage");
    let workload = Workload {
        records_a: 4_000,
        records_b: 4_000,
        keys: 50,
    };
    let bench = Bench::new(env!("CARGO_BIN_EXE_exactness-job"))
        .workload(&workload)
        .held()
        .argument("--rate", 300)
        .option("parallelism.default", 2)
        .option("state.backend.write-back-cache.size", "16 kb")
        .option("execution.checkpointing.data-inline-threshold", "0 b")
        .option("execution.checkpointing.interval", "50 ms");
    let starts: [(&[(&str, &str)], _); 10] = [
        (&[("state.backend", "MemoryStateBackend")], MEMORY),
        (&[("state.backend", "jobmanager")], MEMORY),
        (&[("state.backend", "FsStateBackend")], FILES),
        (&[("state.backend", "filesystem")], FILES),
        (&[("state.backend", "RocksDBStateBackend")], ROCKSDB),
        (
            &[("state.backend", "rocksdb"), (STORAGE, "jobmanager")],
            ROCKSDB_IN_MEMORY,
        ),
        (&[("state.backend.type", "jobmanager")], MEMORY),
        (&[("state.backend.type", "rocksdb")], ROCKSDB),
        (&[("state.backend.type", "hashmap")], FILES),
        (&[("state.backend.type", "MemoryStateBackend")], MEMORY),
    ];
    let backend = |(backend, storage): (&'static str, &str)| match backend {
        "EmbeddedRocksDBStateBackend" => backend,
        _ if storage.starts_with("JobManager") => "MemoryStateBackend",
        _ => "FsStateBackend",
    };
    let pairs: BTreeSet<_> = starts
        .windows(2)
        .map(|pair| (backend(pair[0].1), backend(pair[1].1)))
        .collect();
    assert_eq!(pairs.len(), 9, "{pairs:?}");
    let mut newest: Option<String> = None;
    for (number, (options, (backend, storage))) in starts.into_iter().enumerate() {
        let mut options = options.to_vec();
        options.extend(
            newest
                .as_deref()
                .map(|path| ("execution.state-recovery.path", path)),
        );
        let mut job = bench.start(&options);
        job.wait_for_checkpoints(1);
        let config = job.job("/checkpoints/config");
        assert_eq!(config["state_backend"], backend, "{options:?}");
        assert_eq!(config["checkpoint_storage"], storage, "{options:?}");
        if number + 1 == starts.len() {
            job.finish();
        } else {
            let canonical = json!({ "drain": false, "formatType": "CANONICAL" });
            newest = Some(job.stop_as(&canonical));
        }
    }
    bench.assert_exact(&workload);
}
