//! Checkpoints of the heap that hold what has changed: a job goes on from them exactly, at any
//! parallelism, and all tools read them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use millpond_exactness::job_process::{Bench, JobProcess, Snapshot, kill_process, wait_for};
use millpond_exactness::oracle::Workload;
use millpond_exactness::random::{Random, fresh_seed};
use millpond_exactness::remains::collect_garbage;
use millpond_fs::{LocalFileSystem, Location};
use millpond_snapshot::{HeapIncrements, KeyedHandle, StreamHandle};
use millpond_state_processor::{
    ConvertOptions, Counting, OpenSnapshot, PathMap, Progress, Threads, convert, diff, list, verify,
};

const MERGING: &str = "execution.checkpointing.file-merging.enabled";
const MAX_SUBTASKS: &str = "execution.checkpointing.file-merging.max-subtasks-per-file";

const WORKLOAD: Workload = Workload {
    records_a: 20_000,
    records_b: 20_000,
    keys: 3_000,
};

fn bench() -> Bench {
    Bench::new(env!("CARGO_BIN_EXE_exactness-job"))
        .workload(&WORKLOAD)
        .held()
        .argument("--rate", 2_500)
        .option("pipeline.max-parallelism", 128)
        .option("execution.checkpointing.interval", "40 ms")
        .option("execution.checkpointing.incremental", true)
        .option("execution.checkpointing.max-concurrent-checkpoints", 2)
        .option("execution.checkpointing.tolerable-failed-checkpoints", 1000)
        .option("execution.checkpointing.num-retained", 2)
        .option("execution.checkpointing.data-inline-threshold", "0 b")
        .option(
            "execution.checkpointing.externalized-checkpoint-retention",
            "RETAIN_ON_CANCELLATION",
        )
}

fn open(directory: &Path) -> OpenSnapshot {
    let pointer = directory.to_str().expect("a text");
    OpenSnapshot::open(pointer, &PathMap::default()).expect("a snapshot")
}

/// Of each part of heap state with changes: how many bytes its base holds, and each file of changes.
fn chains(directory: &Path) -> Vec<(u64, Vec<u64>)> {
    let snapshot = open(directory);
    let loaded = snapshot.loaded();
    let subtasks = loaded.metadata.operators.iter().flat_map(|o| &o.subtasks);
    let mut chains = Vec::new();
    for (_, subtask) in subtasks {
        if let Some(KeyedHandle::Incremental(handle)) = &subtask.managed_keyed {
            assert!(HeapIncrements::are_in(handle));
            let increments = loaded.heap_increments(handle).expect("a list of files");
            let mut bytes = increments.files().iter().map(|file| file.stream.size());
            let base = bytes.next().expect("a base");
            let changes: Vec<u64> = bytes.collect();
            if !changes.is_empty() {
                chains.push((base, changes));
            }
        }
    }
    chains
}

/// Waits until a retained checkpoint of a job consists of a base and changes.
fn wait_for_changes(bench: &Bench, job: &mut JobProcess) {
    wait_for("a checkpoint of changes", || {
        assert!(job.has_ended().is_none(), "it has ended:\n{}", job.log());
        // It may be deleted while it is looked at.
        let newest = bench.newest_snapshot()?;
        let found = std::panic::catch_unwind(|| chains(&newest.directory)).unwrap_or_default();
        (!found.is_empty()).then_some(())
    });
}

fn restored<'a>(
    newest: &'a Option<String>,
    options: &[(&'a str, &'a str)],
) -> Vec<(&'a str, &'a str)> {
    let path = newest.as_deref();
    let path = path.map(|path| ("execution.state-recovery.path", path));
    options.iter().copied().chain(path).collect()
}

#[test]
fn a_job_that_is_killed_at_random_goes_on_from_base_and_changes() {
    let seed = fresh_seed();
    eprintln!("seed: {seed}");
    let mut random = Random::new(seed);
    let bench = bench();
    let mut newest: Option<String> = None;
    for (parallelism, processes) in [("3", "2"), ("2", "1"), ("4", "2"), ("1", "1")] {
        let merging = *random.one_of(&["true", "false"]);
        let options = restored(
            &newest,
            &[
                ("parallelism.default", parallelism),
                ("cluster.processes", processes),
                (MERGING, merging),
            ],
        );
        let mut job = bench.start(&options);
        if parallelism == "1" {
            job.finish();
            break;
        }
        job.wait_for_checkpoints(random.between(1, 4));
        if let Some(worker) = job.workers().first() {
            // The next attempt goes on from the same checkpoints.
            kill_process(*worker);
            let before = job.completed_checkpoints().unwrap_or(0);
            job.wait_for_checkpoints(before + 1);
        }
        wait_for_changes(&bench, &mut job);
        std::thread::sleep(std::time::Duration::from_millis(random.below(60)));
        job.kill_master();
        newest = bench.newest_snapshot().map(|snapshot| snapshot.path());
    }
    bench.assert_exact(&WORKLOAD);
}

/// Runs a job until it has retained a checkpoint of changes, and ends it.
fn retained(bench: &Bench) -> Snapshot {
    let mut job = bench.start(&[("parallelism.default", "2")]);
    // All keys have come: the base holds them.
    wait_for_changes(bench, &mut job);
    job.kill_master();
    bench.newest_snapshot().expect("there is one")
}

#[test]
fn tools_read_a_retained_checkpoint_and_what_is_converted_is_the_same() {
    for merging in [false, true] {
        read_and_convert(&bench().option(MERGING, merging));
    }
}

/// How many entries each keyed state of each operator has, as far as that is known.
fn counts(snapshot: &OpenSnapshot, counting: Counting) -> Vec<(String, String, Option<u64>)> {
    let listing = list(snapshot, counting, Threads::default(), &Progress::default());
    let operators = listing.expect("readable").operators;
    let states = operators.iter().flat_map(|operator| {
        let states = operator.keyed_states.iter();
        states.map(|state| {
            let many = state.entries.or(state.keys);
            (operator.operator_id.to_string(), state.name.clone(), many)
        })
    });
    states.collect()
}

fn read_and_convert(bench: &Bench) {
    let snapshot = retained(bench);
    let incremental = open(&snapshot.directory);
    let threads = Threads::default();
    let found = verify(&incremental, threads, &Progress::default()).expect("readable");
    assert!(found.sound, "{:?}", found.problems);
    assert!(found.checked.files_by_checksum > 0);

    let converted = bench.directory().join("converted");
    let location = Location::of_path(&converted).expect("a text");
    let options = ConvertOptions {
        format: Some(millpond_snapshot::KeyedFormat::Canonical),
        parallelism: Some(3),
        ..ConvertOptions::default()
    };
    let fs = Arc::new(LocalFileSystem);
    convert(incremental.loaded(), fs, &location, &options).expect("convertible");
    let canonical = open(&converted);
    let handles = canonical.metadata().operators.iter();
    let handles = handles.flat_map(|operator| &operator.subtasks);
    for (_, subtask) in handles {
        let keyed = subtask.managed_keyed.as_ref();
        assert!(keyed.is_none_or(|keyed| matches!(keyed, KeyedHandle::KeyGroups { .. })));
    }
    let sound = verify(&canonical, threads, &Progress::default()).expect("readable");
    assert!(sound.sound, "{:?}", sound.problems);
    let found = diff(
        &incremental,
        &canonical,
        None,
        threads,
        &Progress::default(),
    );
    let found = found.expect("readable");
    assert!(found.equal, "{found:#?}");
    let counted = counts(&incremental, Counting::Full);
    assert_eq!(counted, counts(&canonical, Counting::Full));
    assert!(counted.iter().any(|(_, _, entries)| *entries > Some(0)));
    // What is in changes is not in the trailer, and is not told as nothing.
    let known = counts(&incremental, Counting::Known);
    assert!(known.iter().all(|(_, _, entries)| entries.is_none()));

    // A job goes on from it, and a savepoint that it takes is canonical.
    let path = Some(converted.display().to_string());
    let mut job = bench.start(&restored(&path, &[("parallelism.default", "3")]));
    job.wait_for_checkpoints(2);
    let savepoint = job.stop(false);
    let savepoint = savepoint.trim_start_matches("file:");
    assert!(
        chains(Path::new(savepoint)).is_empty(),
        "a savepoint stands alone"
    );
    let path = Some(savepoint.to_owned());
    bench
        .start(&restored(&path, &[("parallelism.default", "1")]))
        .finish();
    bench.assert_exact(&WORKLOAD);
}

#[test]
fn a_claimed_checkpoint_of_changes_goes_when_nobody_needs_it() {
    for merging in [false, true] {
        claim_and_finish(&bench().option(MERGING, merging));
    }
}

fn claim_and_finish(bench: &Bench) {
    let snapshot = retained(bench);
    let shared = snapshot.directory.parent().expect("a job").join("shared");
    assert!(shared.read_dir().expect("a directory").count() > 0);
    let path = Some(snapshot.path());
    let claim = ("execution.state-recovery.claim-mode", "CLAIM");
    let mut job = bench.start(&restored(&path, &[("parallelism.default", "2"), claim]));
    wait_for("the end of the claimed checkpoint", || {
        assert!(job.has_ended().is_none(), "it has ended:\n{}", job.log());
        (!snapshot.directory.exists()).then_some(())
    });
    job.finish();
    bench.assert_exact(&WORKLOAD);
}

/// How many files some complete checkpoints of a job made, the newest first, but for the first one.
fn created_files(job: &mut JobProcess, wanted: u64) -> Vec<u64> {
    job.wait_for_checkpoints(wanted + 1);
    let all = job.job("/checkpoints");
    let history = all["history"].as_array().expect("a list").iter();
    let complete = history.filter(|checkpoint| checkpoint["status"] == "COMPLETED");
    let created =
        complete.map(|checkpoint| checkpoint["created_files"].as_u64().expect("a number"));
    created.take(wanted as usize).collect()
}

/// How many tasks a job of this parallelism has in each of two processes.
fn tasks_per_process(job: &JobProcess) -> u64 {
    let vertices = job.job("")["vertices"].clone();
    let tasks = vertices.as_array().expect("a list").iter();
    tasks
        .map(|vertex| {
            vertex["parallelism"]
                .as_u64()
                .expect("a number")
                .div_ceil(2)
        })
        .sum()
}

/// With small files merged, a checkpoint makes few of them, however many subtasks have state:
///
/// ```text
///   files <= processes * groups * 2 + 1      groups = ceil(tasks of a process / max-subtasks-per-file)
/// ```
///
/// one that goes with the checkpoint and one that others may share for each group, and the metadata.
/// A job goes on from such checkpoints exactly, at another parallelism too, whoever was killed; and
/// none of their files is lost or kept for ever.
#[test]
fn small_files_of_16_subtasks_become_few_and_a_job_goes_on_from_them() {
    let bench = bench()
        .argument("--rate", 500)
        .option("cluster.processes", 2)
        .option("execution.checkpointing.interval", "200 ms")
        .option("web.checkpoints.history", 100);
    let mut newest: Option<String> = None;
    let mut alone = Vec::new();
    for most in [None, Some(4), Some(1000)] {
        let most_text = most.unwrap_or(4).to_string();
        let is_merged = most.is_some().to_string();
        let options = restored(
            &newest,
            &[
                ("parallelism.default", "16"),
                (MERGING, &is_merged),
                (MAX_SUBTASKS, &most_text),
                ("execution.state-recovery.claim-mode", "CLAIM"),
            ],
        );
        let mut job = bench.start(&options);
        let created = created_files(&mut job, 3);
        let tasks = tasks_per_process(&job);
        eprintln!("{tasks} tasks in each of 2 processes, merging {most:?}: {created:?} files");
        match most {
            None => alone = created,
            Some(most) => {
                let bound = 2 * tasks.div_ceil(most) * 2 + 1;
                eprintln!("  at most {bound}");
                assert!(created.iter().all(|files| *files <= bound), "{created:?}");
                assert!(created.iter().all(|files| *files < alone[0]), "{alone:?}");
            }
        }
        let workers = job.workers();
        kill_process(workers[workers.len() - 1]);
        let before = job.completed_checkpoints().unwrap_or(0);
        job.wait_for_checkpoints(before + 2);
        job.kill_master();
        let snapshot = bench.newest_snapshot().expect("retained");
        let found = verify(
            &open(&snapshot.directory),
            Threads::default(),
            &Progress::default(),
        );
        let found = found.expect("readable");
        assert!(found.sound, "{:?}", found.problems);
        assert!(found.checked.files_by_checksum > 0 && found.checked.files_by_size == 0);
        newest = Some(snapshot.path());
    }
    let options = restored(&newest, &[("parallelism.default", "3"), (MERGING, "true")]);
    let bench = bench.argument("--rate", 20_000);
    bench.start(&options).finish();
    bench.assert_exact(&WORKLOAD);
    let (wrong, _) = collect_garbage(&bench.checkpoints());
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// Of each merged file that a checkpoint shares with others: its size, and how much of it is needed.
fn merged_files(directory: &Path) -> BTreeMap<String, (u64, u64)> {
    let snapshot = open(directory);
    let loaded = snapshot.loaded();
    let mut found = BTreeMap::new();
    loaded.metadata.streams(&mut |stream| {
        let StreamHandle::Segment { scope, path, .. } = stream else {
            return;
        };
        if *scope == StreamHandle::SHARED {
            let size = loaded.record_of(stream).expect("it has a checksum").size;
            found.entry(path.clone()).or_insert((size, 0)).1 += stream.size();
        }
    });
    found
}

/// Otherwise a base of one subtask keeps a file alive in which nothing else is needed.
#[test]
fn a_merged_file_is_left_when_less_than_half_of_it_is_needed() {
    let bench = bench().argument("--rate", 500).option(MERGING, true);
    let one_by_one = "execution.checkpointing.max-concurrent-checkpoints";
    let mut newest: Option<String> = None;
    let (mut referred, mut left) = (0, 0);
    for _ in 0..3 {
        let options = restored(&newest, &[("parallelism.default", "4"), (one_by_one, "1")]);
        let mut job = bench.start(&options);
        job.wait_for_checkpoints(12);
        job.kill_master();
        let mut snapshots = bench.snapshots();
        snapshots.sort_by_key(|snapshot| snapshot.checkpoint);
        let [.., base, last] = snapshots.as_slice() else {
            panic!("two are retained");
        };
        let (of_base, of_last) = (merged_files(&base.directory), merged_files(&last.directory));
        for (file, (size, needed)) in of_base {
            let is_referred = of_last.contains_key(&file);
            let is_worth_it = size <= 2 * needed;
            assert!(
                is_worth_it || !is_referred,
                "{needed} of {size} bytes are needed of {file}"
            );
            referred += u64::from(is_referred);
            left += u64::from(!is_referred);
        }
        newest = Some(last.path());
    }
    eprintln!("{referred} files were referred to again, {left} were left");
    assert!(referred > 0);
    let bench = bench.argument("--rate", 20_000);
    bench.start(&restored(&newest, &[])).finish();
    bench.assert_exact(&WORKLOAD);
}
