//! A job on RocksDB with incremental checkpoints: files are uploaded once, none is missing when it is
//! needed, none is left behind, and whatever is restored counts exactly.
#![cfg(feature = "rocksdb")]

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use millpond_exactness::job_process::{Bench, JobProcess, Snapshot, kill_process, wait_for};
use millpond_exactness::lines::difference;
use millpond_exactness::oracle::{Workload, expected};
use millpond_exactness::random::{Random, fresh_seed};
use millpond_exactness::remains::files_below;
use millpond_fs::{Location, file_system_for};
use millpond_snapshot::{KeyedHandle, LoadedSnapshot, StreamHandle, load};
use serde_json::{Value, json};

const PATH: &str = "execution.state-recovery.path";
const MODE: &str = "execution.state-recovery.claim-mode";
const NUM_RETAINED: &str = "execution.checkpointing.num-retained";
const MERGING: &str = "execution.checkpointing.file-merging.enabled";
const INTERVAL: &str = "execution.checkpointing.interval";

const WORKLOAD: Workload = Workload {
    records_a: 20_000,
    records_b: 20_000,
    keys: 200,
};

fn bench() -> Bench {
    Bench::new(env!("CARGO_BIN_EXE_exactness-job"))
        .option("pipeline.max-parallelism", 128)
        .option("state.backend.type", "rocksdb")
        .option("execution.checkpointing.incremental", true)
        // Each file is one of its own.
        .option("execution.checkpointing.data-inline-threshold", "0 b")
        .option("state.backend.write-back-cache.size", "16 kb")
        .option(INTERVAL, "50 ms")
        .option(
            "execution.checkpointing.externalized-checkpoint-retention",
            "RETAIN_ON_CANCELLATION",
        )
}

/// A job that is slow enough for checkpoints to take their time before it ends.
fn counting() -> Bench {
    bench().workload(&WORKLOAD).argument("--rate", 100)
}

/// Lets the job come to its end, and checks what it has published.
fn assert_exact(bench: Bench, options: &[(&str, &str)]) {
    let bench = bench.argument("--rate", 20_000);
    bench.start(options).finish();
    let wrong = difference(&expected(&WORKLOAD), &bench.published());
    assert_eq!(wrong, None, "{}", wrong.clone().unwrap_or_default());
}

fn loaded(directory: &Path) -> LoadedSnapshot {
    let location = Location::of_path(directory).expect("a location");
    let fs = file_system_for(&location).expect("a file system");
    load(fs, &location).expect("a snapshot")
}

/// The files that a snapshot refers to, wherever they lie.
fn files_of(snapshot: &LoadedSnapshot) -> BTreeSet<PathBuf> {
    let mut streams: Vec<&StreamHandle> = Vec::new();
    snapshot
        .metadata
        .streams(&mut |stream| streams.push(stream));
    let file = |stream| snapshot.file_of(stream).expect("a path");
    let files = streams.into_iter().filter_map(file);
    files.filter_map(|file| file.to_local_path()).collect()
}

/// The tables among them.
fn shared_files_of(directory: &Path) -> BTreeSet<PathBuf> {
    let snapshot = loaded(directory);
    let files = files_of(&snapshot).into_iter();
    files.filter(|file| !file.starts_with(directory)).collect()
}

/// Checks that everything that the retained snapshots refer to is there and whole.
fn assert_whole(snapshots: &[Snapshot]) {
    for snapshot in snapshots {
        let damages = loaded(&snapshot.directory).verify();
        assert!(damages.is_empty(), "{}: {damages:?}", snapshot.path());
    }
}

fn children(directory: &Path) -> BTreeSet<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("a directory");
    entries
        .map(|entry| entry.expect("an entry").path())
        .collect()
}

/// Asks for a checkpoint and returns what REST tells of it.
fn checkpoint(job: &JobProcess, kind: &str) -> Value {
    let answer = job.try_post("/checkpoints", &json!({ "checkpointType": kind }));
    let answer = answer.expect("the job answers");
    let trigger = answer["request-id"].as_str().expect("an id").to_owned();
    let id = wait_for("a checkpoint", || {
        let status = job.job(&format!("/checkpoints/{trigger}"));
        (status["status"]["id"] == "COMPLETED").then(|| {
            let id = status["operation"]["checkpointId"].as_i64();
            id.unwrap_or_else(|| panic!("{status}"))
        })
    });
    job.job(&format!("/checkpoints/details/{id}"))
}

fn bytes(checkpoint: &Value, field: &str) -> u64 {
    let bytes = checkpoint[field].as_u64();
    bytes.unwrap_or_else(|| panic!("{field} of {checkpoint}"))
}

fn directory_of(checkpoint: &Value) -> PathBuf {
    let path = checkpoint["external_path"].as_str().expect("a path");
    local(path)
}

fn local(uri: &str) -> PathBuf {
    PathBuf::from(uri.strip_prefix("file:").unwrap_or(uri))
}

/// How many records the sources have made.
fn made(job: &JobProcess) -> Option<u64> {
    let vertices = job.job("")["vertices"].clone();
    let made = vertices.as_array()?.iter().map(|vertex| {
        let is_source = vertex["name"]
            .as_str()
            .is_some_and(|n| n.contains("Source") || n.contains("numbers"));
        let records = vertex["metrics"]["write-records"].as_u64().unwrap_or(0);
        if is_source { records } else { 0 }
    });
    Some(made.sum())
}

fn stop_native(job: &mut JobProcess) -> PathBuf {
    let answer = job.try_post("/stop", &json!({ "drain": false, "formatType": "NATIVE" }));
    let answer = answer.expect("the job answers");
    let trigger = answer["request-id"].as_str().expect("an id").to_owned();
    let path = match job.savepoint_result(&trigger) {
        Some(Ok(path)) => path,
        other => panic!("{other:?}: {}", job.log()),
    };
    job.finish();
    local(&path)
}

fn wait_until_gone(path: &Path) {
    wait_for(&format!("{} to be gone", path.display()), || {
        (!path.exists()).then_some(())
    });
}

#[test]
fn the_second_checkpoint_uploads_what_has_changed_and_a_full_one_everything() {
    let bench = bench()
        .argument("--records-a", 30_000)
        .argument("--records-b", 0)
        .argument("--keys", 20_000)
        .argument("--endless", true);
    // The state, and then little by little more of it.
    let mut job = bench.start(&[(INTERVAL, "1 h")]);
    job.running();
    wait_for("all records", || (made(&job)? >= 30_000).then_some(()));
    let savepoint = job.stop(false);
    let more = bench
        .argument("--records-a", 60_000)
        .argument("--rate", 150);
    let mut job = more.start(&[(INTERVAL, "1 h"), (PATH, &savepoint)]);
    job.running();
    let first = checkpoint(&job, "CONFIGURED");
    let before = made(&job).expect("counted");
    wait_for("one in a hundred", || {
        (made(&job)? >= before + 300).then_some(())
    });
    let second = checkpoint(&job, "INCREMENTAL");
    let (size, of_first) = (
        bytes(&second, "state_size"),
        bytes(&first, "checkpointed_size"),
    );
    let uploaded = bytes(&second, "checkpointed_size");
    assert_eq!(of_first, bytes(&first, "state_size"), "the first is full");
    assert!(size > 500_000, "{size} bytes are no state to speak of");
    assert!(uploaded * 5 < of_first, "{uploaded} bytes after {of_first}");
    let both = shared_files_of(&directory_of(&second));
    let full = checkpoint(&job, "FULL");
    assert_eq!(
        bytes(&full, "checkpointed_size"),
        bytes(&full, "state_size")
    );
    let anew = shared_files_of(&directory_of(&full));
    assert!(anew.is_disjoint(&both), "written anew");
    // The one retained is the full one: nothing else is left.
    for file in &both {
        wait_until_gone(file);
    }
    let shared = directory_of(&full).with_file_name("shared");
    wait_for("only its files", || {
        (children(&shared) == anew).then_some(())
    });
    job.cancel();
    assert!(job.wait().success(), "{}", job.log());
    assert_whole(&bench_snapshots(&more));
}

fn bench_snapshots(bench: &Bench) -> Vec<Snapshot> {
    let mut snapshots = bench.snapshots();
    snapshots.sort_by_key(|snapshot| snapshot.checkpoint);
    snapshots
}

#[test]
fn a_job_that_is_killed_at_random_counts_exactly_and_no_reference_dangles() {
    let seed = match std::env::var("MILLPOND_SEED") {
        Ok(seed) => seed.parse().expect("a number"),
        Err(_) => fresh_seed(),
    };
    eprintln!("MILLPOND_SEED={seed}");
    let mut random = Random::new(seed);
    let bench = counting();
    let mut newest: Option<String> = None;
    let mut rounds = 6;
    loop {
        let retained = (1 + random.below(3)).to_string();
        let parallelism = (1 + random.below(3)).to_string();
        let claim = ["CLAIM", "NO_CLAIM"][random.below(2) as usize];
        let mut options = vec![
            ("parallelism.default", parallelism.as_str()),
            ("cluster.processes", ["1", "2"][random.below(2) as usize]),
            (NUM_RETAINED, &retained),
            (MODE, claim),
            (MERGING, ["true", "false"][random.below(2) as usize]),
        ];
        options.extend(newest.as_deref().map(|path| (PATH, path)));
        if rounds == 0 {
            return assert_exact(bench, &options);
        }
        rounds -= 1;
        let mut job = bench.start(&options);
        job.wait_for_checkpoints(1 + random.below(3));
        std::thread::sleep(Duration::from_micros(random.below(100_000)));
        if random.below(2) == 0
            && let Some(worker) = job.workers().first()
        {
            // It recovers, and builds on what it was restored from.
            kill_process(*worker);
            let done = job.completed_checkpoints().unwrap_or(0);
            job.wait_for_checkpoints(done + 1 + random.below(3));
            std::thread::sleep(Duration::from_micros(random.below(50_000)));
        }
        job.kill_master();
        let snapshots = bench_snapshots(&bench);
        assert_whole(&snapshots);
        newest = snapshots.last().map(Snapshot::path);
    }
}

#[test]
fn an_orderly_end_leaves_no_file_that_nobody_needs() {
    for retained in ["1", "3"] {
        let bench = counting();
        let mut job = bench.start(&[(NUM_RETAINED, retained), ("parallelism.default", "2")]);
        job.wait_for_checkpoints(12);
        job.cancel();
        assert!(job.wait().success(), "{}", job.log());
        let snapshots = bench_snapshots(&bench);
        assert_eq!(snapshots.len().to_string(), retained);
        assert_whole(&snapshots);
        let needed: BTreeSet<PathBuf> = snapshots
            .iter()
            .flat_map(|snapshot| shared_files_of(&snapshot.directory))
            .collect();
        let shared = snapshots[0].directory.with_file_name("shared");
        assert_eq!(children(&shared), needed);
        assert!(!needed.is_empty());
    }
}

#[test]
fn a_retained_checkpoint_is_resumed_at_parallelism_2_3_1() {
    let bench = counting();
    let mut newest: Option<String> = None;
    for parallelism in ["2", "3"] {
        let mut options = vec![("parallelism.default", parallelism)];
        options.extend(newest.as_deref().map(|path| (PATH, path)));
        let mut job = bench.start(&options);
        job.wait_for_checkpoints(3);
        job.kill_master();
        newest = bench.newest_snapshot().map(|snapshot| snapshot.path());
    }
    let path = newest.expect("a checkpoint");
    assert_exact(bench, &[("parallelism.default", "1"), (PATH, &path)]);
}

#[test]
fn a_native_savepoint_can_be_moved_and_has_all_timers() {
    let bench = counting();
    let mut job = bench.start(&[("parallelism.default", "2")]);
    job.wait_for_checkpoints(3);
    let savepoint = stop_native(&mut job);
    assert_eq!(shared_files_of(&savepoint), BTreeSet::new());
    let moved = bench.directory().join("moved");
    std::fs::rename(&savepoint, &moved).expect("it can be moved");
    std::fs::remove_dir_all(bench.checkpoints()).expect("nothing else is needed");
    let path = moved.display().to_string();
    let mut job = bench.start(&[("parallelism.default", "2"), (PATH, &path)]);
    job.wait_for_checkpoints(3);
    let savepoint = stop_native(&mut job).display().to_string();
    assert_exact(bench, &[("parallelism.default", "3"), (PATH, &savepoint)]);
}

#[test]
fn checkpoints_build_on_a_claimed_native_savepoint_whose_files_go_when_they_are_not_needed() {
    let bench = counting();
    let mut job = bench.start(&[]);
    job.wait_for_checkpoints(3);
    let savepoint = stop_native(&mut job);
    let path = savepoint.display().to_string();
    let options = [(PATH, path.as_str()), (MODE, "CLAIM"), (INTERVAL, "1 h")];
    let mut job = bench.start(&options);
    job.running();
    let first = checkpoint(&job, "CONFIGURED");
    assert!(
        bytes(&first, "checkpointed_size") < bytes(&first, "state_size"),
        "{first}"
    );
    let of_savepoint: Vec<PathBuf> = shared_files_of(&directory_of(&first))
        .into_iter()
        .filter(|file| file.starts_with(&savepoint))
        .collect();
    assert!(!of_savepoint.is_empty(), "tables of the savepoint are used");
    wait_until_gone(&savepoint.join("_metadata"));
    assert!(of_savepoint.iter().all(|file| file.exists()));
    assert_whole(&[Snapshot {
        checkpoint: 0,
        directory: directory_of(&first),
    }]);
    checkpoint(&job, "FULL");
    for file in &of_savepoint {
        wait_until_gone(file);
    }
    wait_until_gone(&savepoint);
    let last = stop_native(&mut job).display().to_string();
    assert_exact(bench, &[(PATH, &last)]);
}

#[test]
fn the_first_checkpoint_after_a_start_without_a_claim_is_full() {
    let bench = counting();
    let mut job = bench.start(&[]);
    job.wait_for_checkpoints(3);
    let savepoint = stop_native(&mut job);
    let path = savepoint.display().to_string();
    let mut job = bench.start(&[(PATH, path.as_str()), (INTERVAL, "1 h")]);
    job.running();
    let first = checkpoint(&job, "CONFIGURED");
    assert_eq!(
        bytes(&first, "checkpointed_size"),
        bytes(&first, "state_size")
    );
    let second = checkpoint(&job, "CONFIGURED");
    assert!(
        bytes(&second, "checkpointed_size") < bytes(&second, "state_size"),
        "{second}"
    );
    assert!(loaded(&savepoint).verify().is_empty());
    let last = stop_native(&mut job).display().to_string();
    assert_exact(bench, &[(PATH, &last)]);
}

/// Who starts from a retained checkpoint without a claim may delete it as soon as the job has one of its own:
/// its tables in the directory for shared files too, which the job has restored and goes on with.
#[test]
fn without_a_claim_the_original_and_its_shared_files_may_go_behind_the_first_own_checkpoint() {
    let bench = counting();
    let mut job = bench.start(&[("parallelism.default", "2")]);
    job.wait_for_checkpoints(3);
    job.kill_master();
    let original = bench.newest_snapshot().expect("a checkpoint");
    let shared = shared_files_of(&original.directory);
    assert!(!shared.is_empty(), "an increment refers to shared files");
    let path = original.path();
    let mut job = bench.start(&[
        (PATH, path.as_str()),
        (MODE, "NO_CLAIM"),
        (INTERVAL, "1 h"),
        ("parallelism.default", "2"),
        ("cluster.processes", "2"),
    ]);
    job.running();
    let first = checkpoint(&job, "CONFIGURED");
    assert_eq!(
        bytes(&first, "checkpointed_size"),
        bytes(&first, "state_size"),
        "the first is full"
    );
    let all_of_original = original.directory.parent().expect("a directory");
    assert!(shared.iter().all(|file| file.starts_with(all_of_original)));
    std::fs::remove_dir_all(all_of_original).expect("its owner may delete it");

    // From memory of what was restored, and with nothing but what is on the disk.
    kill_process(*job.workers().first().expect("a worker"));
    let restored = wait_for("a recovery", || {
        let restored = &job.job("/checkpoints")["latest"]["restored"];
        let from = restored["external_path"].as_str()?.to_owned();
        (local(&from) != original.directory).then_some(from)
    });
    assert_eq!(local(&restored), directory_of(&first));
    job.running();
    let second = checkpoint(&job, "CONFIGURED");
    job.kill_master();
    let snapshots = bench_snapshots(&bench);
    let newest = snapshots.last().expect("a checkpoint");
    assert_eq!(newest.directory, directory_of(&second));
    assert_whole(&snapshots);
    let path = newest.path();
    assert_exact(bench, &[(PATH, &path)]);
}

/// The tables of a snapshot, which are those files that a checkpoint would share.
fn tables_of(snapshot: &LoadedSnapshot) -> Vec<PathBuf> {
    let operators = snapshot.metadata.operators.iter();
    let subtasks = operators.flat_map(|operator| &operator.subtasks);
    let mut tables = Vec::new();
    for (_, subtask) in subtasks {
        let Some(KeyedHandle::Incremental(handle)) = &subtask.managed_keyed else {
            continue;
        };
        let files = handle
            .shared
            .iter()
            .map(|file| snapshot.file_of(&file.stream).expect("a path"));
        tables.extend(files.flatten().filter_map(|file| file.to_local_path()));
    }
    tables
}

/// A native savepoint costs no copy of the state where that lies on the same disk.
#[test]
fn the_tables_of_a_native_savepoint_are_those_of_the_job_under_a_second_name() {
    let bench = counting().held().argument("--rate", 20_000);
    let scratch = bench.scratch().display().to_string();
    let mut job = bench.start(&[("io.tmp.dirs", &scratch), (INTERVAL, "1 h")]);
    job.running();
    let inode = |path: &PathBuf| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.dev(), metadata.ino()))
    };
    // RocksDB may just have merged one away: it is looked at until it stands still.
    wait_for("a savepoint that is links", || {
        let body = json!({ "cancel-job": false, "formatType": "NATIVE" });
        let answer = job.try_post("/savepoints", &body)?;
        let trigger = answer["request-id"].as_str().expect("an id").to_owned();
        let path = job.savepoint_result(&trigger)?.expect("a savepoint");
        let tables = tables_of(&loaded(&local(&path)));
        assert!(!tables.is_empty(), "{path}");
        let own: BTreeSet<(u64, u64)> = files_below(&bench.scratch())
            .iter()
            .filter_map(inode)
            .collect();
        let is_own = |table| inode(table).is_some_and(|inode| own.contains(&inode));
        tables.iter().all(is_own).then_some(())
    });
    let savepoint = local(&job.stop_as(&json!({ "drain": false, "formatType": "NATIVE" })));
    // The job has deleted its own names of them.
    wait_for("the job's directories to be gone", || {
        files_below(&bench.scratch()).is_empty().then_some(())
    });
    assert!(loaded(&savepoint).verify().is_empty());
    bench.let_go();
    assert_exact(bench, &[(PATH, &savepoint.display().to_string())]);
}
