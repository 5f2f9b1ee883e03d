//! Savepoints that real Flink wrote are restored at any parallelism, with all their content.
//!
//! If this fails, users of Flink cannot move to Millpond: keys or source positions are lost,
//! doubled or changed.

use std::path::Path;

use millpond_exactness::flink_count::{of_sidecar, read};
use millpond_exactness::job_process::Bench;

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
            let sidecar = std::fs::read(fixture.with_file_name(format!("{name}.json")));
            let sidecar = serde_json::from_slice(&sidecar.expect("a sidecar")).expect("JSON");
            let (expected, source, counter) = of_sidecar(&sidecar);
            assert!(expected.counts.len() > 10 && !expected.offsets.is_empty());
            for parallelism in ["1", "2", "3", "4"] {
                let bench = Bench::new(env!("CARGO_BIN_EXE_exactness-job"))
                    .argument("--job", "fixture")
                    .argument("--key-type", key);
                let mut job = bench.start(&[
                    ("parallelism.default", parallelism),
                    (
                        "execution.state-recovery.path",
                        &fixture.display().to_string(),
                    ),
                ]);
                job.running();
                let savepoint = job.stop(false);
                let savepoint = savepoint.strip_prefix("file:").expect("a local path");
                let found = read(Path::new(savepoint), source, counter);
                assert_eq!(
                    found, expected,
                    "{version}/{name} at parallelism {parallelism}"
                );
                restored += 1;
            }
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
