//! Where the bytes are, and which files nobody needs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use millpond_state_processor::{
    Counting, Garbage, OpenSnapshot, PathMap, Progress, Threads, delete_garbage, find_garbage,
    list, usage,
};

use crate::fixture::{Open, converted, item_named};

const DAY: Duration = Duration::from_secs(86_400);

/// An incremental checkpoint below a directory that stands for `/mnt`, with all its files.
fn incremental(mnt: &Path) -> (PathBuf, PathMap, Vec<PathBuf>) {
    let metadata = millpond_golden::heap_directory()
        .join("2.3.0/metadata-only/checkpoint-incremental-rocksdb");
    let mut paths = PathMap::default();
    paths
        .add("file:///mnt", mnt.to_str().expect("a text"))
        .expect("locations");
    let pointer = metadata.to_str().expect("a text");
    let snapshot = OpenSnapshot::open(pointer, &paths).expect("metadata");
    let mut streams = Vec::new();
    snapshot
        .metadata()
        .streams(&mut |stream| streams.push(stream));
    let (mut files, mut job) = (Vec::new(), None);
    for stream in streams {
        let Some(file) = snapshot.loaded().file_of(stream).expect("a location") else {
            continue;
        };
        let mapped = paths.map(&file).to_local_path().expect("a path");
        if mapped.starts_with(mnt) {
            job = mapped
                .parent()
                .and_then(Path::parent)
                .map(Path::to_owned)
                .or(job);
            files.push(mapped);
        }
    }
    let job = job.expect("shared files");
    let checkpoint = job.join("chk-9");
    // Files beside the metadata.
    let relative: Vec<PathBuf> = {
        let mut names = Vec::new();
        snapshot.metadata().streams(&mut |stream| {
            if let millpond_snapshot::StreamHandle::Relative { name, .. } = stream {
                names.push(checkpoint.join(name));
            }
        });
        names
    };
    files.extend(relative);
    fs::create_dir_all(&checkpoint).expect("room");
    fs::copy(metadata.join("_metadata"), checkpoint.join("_metadata")).expect("room");
    for file in &files {
        fs::create_dir_all(file.parent().expect("a directory")).expect("room");
        fs::write(file, b"sst").expect("room");
    }
    (job, paths, files)
}

fn find(job: &Path, paths: &PathMap, days: u32) -> Garbage {
    find_garbage(job, paths, SystemTime::now() + DAY * days, DAY).expect("a directory")
}

#[test]
fn only_what_nobody_refers_to_and_is_old_enough_goes() {
    let directory = tempfile::tempdir().expect("a directory");
    let mnt = directory.path().canonicalize().expect("a path");
    let (job, paths, files) = incremental(&mnt);
    let orphans = [job.join("shared/orphan"), job.join("chk-8/left-over")];
    for orphan in &orphans {
        fs::create_dir_all(orphan.parent().expect("a directory")).expect("room");
        fs::write(orphan, b"12345").expect("room");
    }
    let young = find(&job, &paths, 0);
    assert_eq!((young.files.len(), young.young_files), (0, 2));
    let found = find(&job, &paths, 2);
    assert!(found.obstacles.is_empty(), "{:?}", found.obstacles);
    let mut expected = orphans.to_vec();
    expected.sort();
    let told: Vec<PathBuf> = found.files.iter().map(|file| file.path.clone()).collect();
    assert_eq!((told, found.bytes), (expected, 10));
    assert!(orphans[0].exists(), "looking deletes nothing");
    assert_eq!(delete_garbage(&found).expect("allowed"), 2);
    assert!(orphans.iter().all(|orphan| !orphan.exists()));
    assert!(
        files.iter().all(|file| file.exists()),
        "all that is referred to stays"
    );
    assert!(find(&job, &paths, 2).files.is_empty());
}

#[test]
fn nothing_goes_if_what_a_snapshot_needs_is_not_known() {
    let directory = tempfile::tempdir().expect("a directory");
    let mnt = directory.path().canonicalize().expect("a path");
    let (job, paths, files) = incremental(&mnt);
    let orphan = job.join("shared/orphan");
    fs::write(&orphan, b"1").expect("room");
    // Without the map the files are elsewhere.
    let found = find(&job, &PathMap::default(), 2);
    assert!(
        found
            .obstacles
            .iter()
            .any(|obstacle| obstacle.contains("--map")),
        "{found:?}"
    );
    assert!(delete_garbage(&found).is_err() && orphan.exists());
    fs::create_dir_all(job.join("chk-10")).expect("room");
    fs::write(job.join("chk-10/_metadata"), b"no metadata").expect("room");
    let found = find(&job, &paths, 2);
    assert!(
        found
            .obstacles
            .iter()
            .any(|obstacle| obstacle.contains("chk-10")),
        "{found:?}"
    );
    assert!(delete_garbage(&found).is_err() && files[0].exists());
    let empty = tempfile::tempdir().expect("a directory");
    fs::write(empty.path().join("precious"), b"1").expect("room");
    let found = find(empty.path(), &paths, 2);
    assert!(!found.obstacles.is_empty() && delete_garbage(&found).is_err());
}

#[cfg(unix)]
#[test]
fn links_are_not_followed() {
    let directory = tempfile::tempdir().expect("a directory");
    let mnt = directory.path().canonicalize().expect("a path");
    let (job, paths, _) = incremental(&mnt);
    let elsewhere = tempfile::tempdir().expect("a directory");
    fs::write(elsewhere.path().join("precious"), b"1").expect("room");
    std::os::unix::fs::symlink(elsewhere.path(), job.join("link")).expect("room");
    let found = find(&job, &paths, 2);
    assert!(found.files.is_empty(), "{:?}", found.files);
}

#[test]
fn bytes_are_told_by_state_and_key_group_and_the_largest_keys_first() {
    let item = item_named("2.3.0/kinds-hashmap-canonical");
    let found = usage(&item.open(), 4, Threads::default(), &Progress::default()).expect("readable");
    let operator = &found.operators[0];
    assert_eq!(operator.uid.as_deref(), Some("all-kinds"));
    let in_states: u64 = operator.states.iter().map(|state| state.live_bytes).sum();
    let entries: u64 = operator.states.iter().map(|state| state.entries).sum();
    assert!(
        in_states > 0 && in_states < operator.bytes * 2,
        "{operator:?}"
    );
    let known = item.sidecar["operators"][1]["keyed_states"]
        .as_array()
        .expect("states");
    let expected: usize = known
        .iter()
        .flat_map(|state| state["content"].as_array().expect("rows"))
        .map(|row| {
            row[1]
                .as_object()
                .filter(|map| !map.contains_key("score"))
                .map_or(1, |map| map.len())
        })
        .sum();
    assert_eq!(entries, expected as u64);
    assert_eq!(
        (
            operator.largest_keys.len(),
            operator.largest_key_groups.len()
        ),
        (4, 4)
    );
    let sizes: Vec<u64> = operator
        .largest_keys
        .iter()
        .map(|key| key.live_bytes)
        .collect();
    assert!(sizes.is_sorted_by(|a, b| a >= b), "{sizes:?}");
    assert!(
        operator.largest_keys[0]
            .key
            .as_str()
            .is_some_and(|key| key.starts_with("key-"))
    );
}

#[test]
fn keys_are_counted_alike_by_reading_and_by_the_trailer() {
    let directory = tempfile::tempdir().expect("a directory");
    let item = item_named("2.3.0/kinds-hashmap-canonical");
    let states = |snapshot: &OpenSnapshot, counting| {
        let found = list(snapshot, counting, Threads::default(), &Progress::default());
        let mut operators = found.expect("readable").operators.into_iter();
        let operator = operators.find(|one| one.uid.as_deref() == Some("all-kinds"));
        let states = operator.expect("the operator").keyed_states;
        let counts = states
            .into_iter()
            .map(|state| (state.name, state.entries, state.live_bytes));
        let mut counts: Vec<_> = counts.collect();
        counts.sort();
        counts
    };
    let read = states(&item.open(), Counting::Full);
    assert!(read.iter().all(|(_, entries, _)| entries.is_some()));
    let known = states(&item.open(), Counting::Known);
    assert!(
        known.iter().all(|(_, entries, _)| entries.is_none()),
        "Flink does not say"
    );
    let rewritten = converted(&item, &directory.path().join("sp"));
    assert_eq!(states(&rewritten, Counting::Known), read);
    let copied = directory.path().join("copy");
    let location = millpond_fs::Location::of_path(&copied).expect("a text");
    let fs = std::sync::Arc::new(millpond_fs::LocalFileSystem);
    let options = millpond_state_processor::ConvertOptions::default();
    millpond_state_processor::convert(item.open().loaded(), fs, &location, &options)
        .expect("convertible");
    let pointer = copied.to_str().expect("a text");
    let copied = OpenSnapshot::open(pointer, &PathMap::default()).expect("a snapshot");
    assert_eq!(
        states(&copied, Counting::Full),
        read,
        "copied state is counted by reading"
    );
}

#[test]
fn what_a_job_has_claimed_is_kept_as_long_as_its_directory_is_there() {
    let directory = tempfile::tempdir().expect("a directory");
    let mnt = directory.path().canonicalize().expect("a path");
    let (job, paths, _) = incremental(&mnt);
    // A native savepoint that was subsumed, while checkpoints elsewhere refer to a file of it.
    let [sst, marker] = [
        job.join("savepoint-1/1.sst"),
        job.join(".savepoint-1.claim"),
    ];
    let stale = job.join(".savepoint-0.claim");
    fs::create_dir_all(job.join("savepoint-1")).expect("room");
    for file in [&sst, &marker, &stale] {
        fs::write(file, b"1").expect("room");
    }
    let found = find(&job, &paths, 2);
    let told: Vec<&Path> = found.files.iter().map(|file| &*file.path).collect();
    assert_eq!(told, [&stale], "a marker of what is gone");
    fs::remove_file(&marker).expect("the claim ends");
    let found = find(&job, &paths, 2);
    let told: Vec<&Path> = found.files.iter().map(|file| &*file.path).collect();
    assert_eq!(told, [&*stale, &*sst], "{found:?}");
}

/// A claim that its owner could not end, as it was killed, kept the files in the directory for ever.
#[test]
fn a_claim_of_a_process_that_is_gone_keeps_what_its_checkpoints_refer_to_and_no_more() {
    let directory = tempfile::tempdir().expect("a directory");
    let mnt = directory.path().canonicalize().expect("a path");
    let (job, paths, shared) = incremental(&mnt);
    let left = job.join("savepoint-1/1.sst");
    let marker = job.join(".savepoint-1.claim");
    fs::create_dir_all(job.join("savepoint-1")).expect("room");
    fs::write(&left, b"1").expect("room");
    let this = millpond_snapshot::OwnerProcess::this().expect("a Linux system");
    let claim = |started: u64, checkpoints: &Path| {
        let claim = millpond_snapshot::Claim {
            job: "0a".repeat(16),
            name: "flights".to_owned(),
            checkpoints: Some(format!("file:{}", checkpoints.display())),
            process: Some(millpond_snapshot::OwnerProcess {
                started,
                ..this.clone()
            }),
        };
        fs::write(&marker, serde_json::to_vec(&claim).expect("JSON")).expect("room");
    };
    let told = || -> Vec<std::path::PathBuf> {
        let found = find(&job, &paths, 2);
        assert!(found.obstacles.is_empty(), "{:?}", found.obstacles);
        found.files.into_iter().map(|file| file.path).collect()
    };
    let empty = directory.path().join("elsewhere");
    fs::create_dir(&empty).expect("room");
    claim(this.started, &empty);
    assert_eq!(told(), [] as [&Path; 0], "it runs");
    claim(this.started + 1, &empty);
    assert_eq!(told(), [&*marker, &*left]);
    // What it has left cannot be read: it may need anything.
    fs::create_dir(empty.join("chk-3")).expect("room");
    fs::write(empty.join("chk-3/_metadata"), "cut").expect("room");
    assert_eq!(told(), [] as [&Path; 0]);
    assert!(shared.iter().all(|file| file.exists()));
}

/// Behind a job that has finished no snapshot is left, and what earlier kills left could not be deleted.
#[test]
fn a_directory_without_snapshots_is_emptied_if_all_in_it_is_of_jobs() {
    let directory = tempfile::tempdir().expect("a directory");
    let job = directory.path().join("0a".repeat(16));
    let left = [job.join("chk-3/millpond-1"), job.join("shared/millpond-2")];
    for file in &left {
        fs::create_dir_all(file.parent().expect("one")).expect("room");
        fs::write(file, b"x").expect("room");
    }
    let found = find(directory.path(), &PathMap::default(), 2);
    assert!(found.obstacles.is_empty(), "{:?}", found.obstacles);
    assert_eq!(found.files.len(), 2);
    fs::write(directory.path().join("thesis.tex"), b"x").expect("room");
    let found = find(directory.path(), &PathMap::default(), 2);
    let [obstacle] = &found.obstacles[..] else {
        panic!("{:?}", found.obstacles);
    };
    assert!(obstacle.contains("thesis.tex"), "{obstacle}");
}
