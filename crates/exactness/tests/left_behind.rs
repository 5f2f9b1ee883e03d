//! What killed processes leave in the directories for temporary files goes at the next start there, and
//! nothing of those that live.
#![cfg(feature = "rocksdb")]

use std::path::{Path, PathBuf};

use millpond_exactness::job_process::{Bench, kill_process, wait_for};
use millpond_exactness::lines::difference;
use millpond_exactness::oracle::{Workload, expected};

const WORKLOAD: Workload = Workload {
    records_a: 9_000,
    records_b: 9_000,
    keys: 40,
};

fn bench() -> Bench {
    Bench::new(env!("CARGO_BIN_EXE_exactness-job"))
        .workload(&WORKLOAD)
        .held()
        .argument("--rate", 1_000)
        .option("state.backend.type", "rocksdb")
        .option("execution.checkpointing.incremental", true)
        .option("execution.checkpointing.interval", "50 ms")
        .option("cluster.processes", 2)
        .option("parallelism.default", 2)
}

fn in_directory(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

#[test]
fn working_directories_of_the_dead_go_at_the_next_start_and_those_of_the_living_stay() {
    let (alive, killed) = (bench(), bench());
    let scratch = alive.scratch().display().to_string();
    let options = [("io.tmp.dirs", scratch.as_str())];
    let mut first = killed.start(&options);
    first.wait_for_checkpoints(2);
    first.kill_master();
    drop(first);
    let dead = in_directory(&alive.scratch());
    assert!(!dead.is_empty(), "a kill leaves something");
    // Of somebody else.
    let other = alive.scratch().join("rocksdb-of-another");
    std::fs::create_dir(&other).expect("room");

    let mut living = alive.start(&options);
    living.wait_for_checkpoints(1);
    wait_for("what the dead have left to go", || {
        let there = in_directory(&alive.scratch());
        dead.iter().all(|path| !there.contains(path)).then_some(())
    });
    let own = in_directory(&alive.scratch());
    assert!(own.len() > 1, "{own:?}");

    // Those that come beside it touch nothing of it, killed or not; nor does a new process of its own.
    let newest = killed.newest_snapshot().expect("a checkpoint").path();
    let mut again = killed.start(&[
        ("io.tmp.dirs", scratch.as_str()),
        ("execution.state-recovery.path", newest.as_str()),
    ]);
    again.wait_for_checkpoints(1);
    let there = in_directory(&alive.scratch());
    assert!(
        own.iter().all(|path| there.contains(path)),
        "{own:?} {there:?}"
    );
    kill_process(*again.workers().first().expect("a worker"));
    living.finish();
    again.finish();
    for bench in [&alive, &killed] {
        let wrong = difference(&expected(&WORKLOAD), &bench.published());
        assert_eq!(wrong, None, "{}", wrong.clone().unwrap_or_default());
    }
    assert_eq!(in_directory(&alive.scratch()), [other]);
}
