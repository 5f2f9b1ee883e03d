//! Savepoints that real Flink wrote are restored at any parallelism, with all their content.
//!
//! If this fails, users of Flink cannot move to Millpond: keys or source positions are lost,
//! doubled or changed.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use millpond_exactness::flink_count::{of_sidecar, read};
use millpond_exactness::job_process::Bench;
use millpond_fs::{LocalFileSystem, Location};
use millpond_state_processor::{OpenSnapshot, PathMap, Progress, Threads, diff};

/// Restores it at several parallelisms; returns at how many.
fn restores(fixture: &Path, key: &str, options: &[(&str, &str)]) -> usize {
    let sidecar = format!("{}.json", fixture.display());
    let sidecar = std::fs::read(sidecar).expect("a sidecar");
    let sidecar = serde_json::from_slice(&sidecar).expect("JSON");
    let (expected, source, counter) = of_sidecar(&sidecar);
    assert!(expected.counts.len() > 10 && !expected.offsets.is_empty());
    let path = fixture.display().to_string();
    let parallelisms = ["1", "2", "3", "4"];
    for parallelism in parallelisms {
        let bench = Bench::new(env!("CARGO_BIN_EXE_exactness-job"))
            .argument("--job", "fixture")
            .argument("--key-type", key);
        let own = [
            ("parallelism.default", parallelism),
            ("execution.state-recovery.path", path.as_str()),
        ];
        let mut job = bench.start(&[&own, options].concat());
        job.running();
        let savepoint = job.stop(false);
        let savepoint = savepoint.strip_prefix("file:").expect("a local path");
        let found = read(Path::new(savepoint), source, counter);
        assert_eq!(found, expected, "{path} at parallelism {parallelism}");
    }
    parallelisms.len()
}

fn restores_at_every_parallelism(version: &str) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let roots = [
        here.join("../snapshot/tests/golden"),
        here.join("tests/golden"),
    ];
    let mut restored = 0;
    for key in ["string", "long", "int", "tuple"] {
        for kind in ["hashmap-canonical", "rocksdb-canonical", "hashmap-native"] {
            let name = format!("count-{key}key-{kind}");
            let directories = roots.iter().map(|root| root.join(version).join(&name));
            let fixture = directories.into_iter().find(|directory| directory.is_dir());
            let fixture = fixture.unwrap_or_else(|| panic!("no fixture {version}/{name}"));
            restored += restores(&fixture, key, &[]);
        }
    }
    assert_eq!(restored, 48);
}

#[test]
fn savepoints_of_flink_1_15_are_restored_whole() {
    restores_at_every_parallelism("1.15.4");
}

#[test]
fn savepoints_of_flink_1_20_are_restored_whole() {
    restores_at_every_parallelism("1.20.5");
}

#[test]
fn savepoints_of_flink_2_3_are_restored_whole() {
    restores_at_every_parallelism("2.3.0");
}

/// Checkpoints that Flink 1.15.4, 1.20.5 and 2.3.0 have retained, all of whose state is in their metadata: a savepoint
/// that the restored job takes holds the same, whatever its parallelism.
#[test]
fn aligned_checkpoints_of_flink_are_restored_whole() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../snapshot/tests/golden");
    let opened = |path: &str| OpenSnapshot::open(path, &PathMap::default()).expect("a snapshot");
    for version in ["1.15.4", "1.20.5", "2.3.0"] {
        let name = format!("{version}/metadata-only/checkpoint-aligned-hashmap");
        let checkpoint = golden.join(name).display().to_string();
        let before = opened(&checkpoint);
        assert!(before.operators().count() >= 2, "{version}");
        for parallelism in ["1", "2", "3"] {
            let bench = Bench::new(env!("CARGO_BIN_EXE_exactness-job")).argument("--job", "kinds");
            let mut job = bench.start(&[
                ("parallelism.default", parallelism),
                ("execution.state-recovery.path", &checkpoint),
            ]);
            job.running();
            let savepoint = job.stop(false);
            let found = diff(
                &before,
                &opened(&savepoint),
                None,
                Threads::default(),
                &Progress::default(),
            );
            let found = found.expect("both can be read");
            assert!(
                found.equal,
                "{version} at parallelism {parallelism}: {found:?}"
            );
        }
    }
}

/// At parallelism 2 as it was taken the tables of each subtask go on as they are, at others they are clipped.
#[cfg(feature = "rocksdb")]
#[test]
fn a_native_savepoint_of_flinks_rocksdb_is_restored_whole() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../state-rocksdb/tests/golden");
    let fixture = golden.join("2.3.0/maxpar32768-count-rocksdb-native");
    let backend = [("state.backend.type", "rocksdb")];
    assert_eq!(restores(&fixture, "string", &backend), 4);
}

/// The metadata of such a checkpoint beside files of the sizes that it names: nothing of what is in them is
/// looked at.
fn with_files(metadata_only: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("room");
    std::fs::copy(metadata_only.join("_metadata"), to.join("_metadata")).expect("room");
    let location = Location::of_path(to).expect("a location");
    let snapshot = millpond_snapshot::load(Arc::new(LocalFileSystem), &location);
    let snapshot = snapshot.expect("Flink wrote it");
    let mut streams = Vec::new();
    snapshot
        .metadata
        .streams(&mut |stream| streams.push(stream.clone()));
    // Several handles are of parts of one file.
    for stream in streams {
        let Some(file) = snapshot.file_of(&stream).expect("a path") else {
            continue;
        };
        let file = file.to_local_path().expect("a local path");
        assert!(file.starts_with(to), "{}", file.display());
        let file = File::create(file).expect("room");
        file.set_len(stream.size()).expect("room");
    }
}

/// To leave out the records in flight would lose them; what they are in is Flink's network and serializers.
#[test]
fn unaligned_checkpoints_of_flink_are_refused_with_their_operator_and_the_way_out() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../snapshot/tests/golden");
    for version in ["1.15.4", "1.20.5", "2.3.0"] {
        let bench = Bench::new(env!("CARGO_BIN_EXE_exactness-job"))
            .argument("--job", "fixture")
            .argument("--key-type", "string")
            .option("parallelism.default", 2);
        let checkpoint = bench.directory().join("of-flink");
        let name = format!("{version}/metadata-only/checkpoint-unaligned-hashmap");
        with_files(&golden.join(name), &checkpoint);
        let path = checkpoint.display().to_string();
        for allowed in ["false", "true"] {
            let mut job = bench.start(&[
                ("execution.state-recovery.path", &path),
                ("execution.state-recovery.ignore-unclaimed-state", allowed),
            ]);
            assert!(!job.wait().success(), "{version}: {}", job.log());
            let ended = job.handshake().expect("the job was accepted");
            assert_eq!(ended.status.as_deref(), Some("FAILED"), "{version}");
            let why = ended.failure.expect("a reason");
            for part in [
                path.as_str(),
                "in-flight data of operator \"Source: numbers\" (e5a72f353fc1e6bbf3bd96a41384998c)",
                "use an aligned checkpoint or a savepoint",
            ] {
                assert!(why.contains(part), "{version}: {part}: {why}");
            }
        }
    }
}
