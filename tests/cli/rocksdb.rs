//! `millpond state` and files of RocksDB: with the feature `rocksdb` they are read and written, without
//! it they are named.

use std::path::Path;

use super::millpond;

fn golden(name: &str) -> String {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/state-rocksdb/tests/golden");
    golden.join(name).to_str().expect("a text").to_owned()
}

#[test]
#[cfg(not(feature = "rocksdb"))]
fn without_the_feature_every_command_says_how_to_build_with_it() {
    let native = golden("2.3.0/timers-rocksdb-native");
    let home = tempfile::tempdir().expect("a directory");
    let to = home.path().join("out").to_str().expect("a text").to_owned();
    for arguments in [
        vec!["state", "read", &native],
        vec!["state", "diff", &native, &native],
        vec!["state", "convert", &native, &to, "--format", "canonical"],
        vec![
            "state",
            "convert",
            &native,
            &to,
            "--format",
            "native-rocksdb",
        ],
        vec!["state", "rehash", &native, &to, "--max-parallelism", "256"],
    ] {
        let ended = millpond(&arguments);
        assert_eq!(ended.code, 1, "{arguments:?}: {}", ended.stderr);
        assert_eq!(ended.stdout, "", "{arguments:?}");
        let told = ended.stderr.contains("--features rocksdb");
        assert!(told, "{arguments:?}: {}", ended.stderr);
    }
    for command in ["ls", "verify", "du"] {
        let ended = millpond(&["state", command, &native]);
        assert_eq!(ended.code, 0, "{command}: {}", ended.stderr);
        let told = ended.stdout.contains("--features rocksdb");
        assert!(told, "{command}: {}", ended.stdout);
    }
}

#[test]
#[cfg(feature = "rocksdb")]
fn with_the_feature_files_of_rocksdb_are_read_converted_and_compared() {
    let native = golden("2.3.0/timers-rocksdb-native");
    let home = tempfile::tempdir().expect("a directory");
    let place = |name: &str| home.path().join(name).to_str().expect("a text").to_owned();
    let (canonical, again) = (place("canonical"), place("again"));
    for arguments in [
        vec!["state", "verify", &native],
        vec!["state", "du", &native],
        vec![
            "state",
            "convert",
            &native,
            &canonical,
            "--format",
            "canonical",
        ],
        vec!["state", "diff", &native, &canonical],
        vec![
            "state",
            "convert",
            &canonical,
            &again,
            "--format",
            "native-rocksdb",
            "--parallelism",
            "3",
            "--for-flink",
            "1.15",
        ],
        vec!["state", "diff", &native, &again],
        vec!["state", "verify", &again],
    ] {
        let ended = millpond(&arguments);
        assert_eq!(
            ended.code, 0,
            "{arguments:?}: {}{}",
            ended.stdout, ended.stderr
        );
        assert!(
            !ended.stdout.contains("not read"),
            "{arguments:?}: {}",
            ended.stdout
        );
    }
    let read = |snapshot: &str| {
        let ended = millpond(&[
            "state", "read", snapshot, "--format", "jsonl", "--state", "last",
        ]);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let mut lines: Vec<String> = ended.stdout.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(read(&native), read(&again));
    assert!(!read(&native).is_empty());
    let ended = millpond(&["state", "ls", &again]);
    assert!(
        ended.stdout.contains("keyed state is RocksDB"),
        "{}",
        ended.stdout
    );
}

/// The tables of a snapshot in files of RocksDB are those of the same snapshot in canonical form.
#[test]
#[cfg(all(feature = "rocksdb", feature = "sql"))]
fn with_both_features_files_of_rocksdb_are_tables() {
    let home = tempfile::tempdir().expect("a directory");
    let rows = |snapshot: &str, map: &[&str], sql: &str| {
        let arguments = ["state", "sql", snapshot, sql, "--format", "csv"];
        let ended = millpond(&[&arguments[..], map].concat());
        assert_eq!(ended.code, 0, "{sql}: {}", ended.stderr);
        let mut rows: Vec<String> = ended.stdout.lines().skip(1).map(str::to_owned).collect();
        rows.sort();
        rows
    };
    let mut compared = 0;
    for golden in millpond_golden::all(&millpond_golden::rocksdb_directory()) {
        let native = golden.directory.to_str().expect("a text");
        let map = golden.moved.map(|(from, to)| format!("{from}={to}"));
        let map: Vec<&str> = map.iter().flat_map(|map| ["--map", map]).collect();
        let canonical = home.path().join(&golden.name);
        let canonical = canonical.to_str().expect("a text");
        let arguments = [
            "state",
            "convert",
            native,
            canonical,
            "--format",
            "canonical",
        ];
        let ended = millpond(&[&arguments[..], &map].concat());
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        for operator in golden.sidecar["operators"].as_array().expect("operators") {
            let uid = operator["uid"].as_str().expect("a uid");
            let states = operator["keyed_states"].as_array();
            let mut tables: Vec<String> = states
                .into_iter()
                .flatten()
                .map(|state| format!("\"{uid}\".{}", state["name"]))
                .collect();
            if operator["timers"].is_object() {
                tables.push(format!("\"{uid}\".timers"));
            }
            for table in tables {
                let all = format!("select * from {table}");
                let found = rows(native, &map, &all);
                assert_eq!(found, rows(canonical, &[], &all), "{native} {table}");
                let count = format!("select count(*) from {table}");
                let counted = rows(native, &map, &count);
                assert_eq!(counted, [found.len().to_string()], "{native} {table}");
                compared += found.len();
            }
        }
    }
    assert!(compared > 1000, "{compared} rows");
}
