//! `millpond state convert`, `rehash` and `edit`: new snapshots out of old ones.

use std::path::{Path, PathBuf};

use super::millpond;

fn golden(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/snapshot/tests/golden");
    root.join(name).display().to_string()
}

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Home(tempfile::tempdir().expect("room"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }
}

/// The JSON of `ls`.
fn listing(snapshot: &str) -> serde_json::Value {
    let ended = millpond(&["state", "ls", snapshot, "--json"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    serde_json::from_str(&ended.stdout).expect("JSON")
}

#[test]
fn a_snapshot_is_converted_rehashed_and_edited_in_a_row() {
    let home = Home::new();
    let from = golden("2.3.0/count-stringkey-hashmap-native");
    let (first, second, third) = (home.text("first"), home.text("second"), home.text("third"));
    let canonical = ["--format", "canonical", "--parallelism", "3"];
    let release = ["--for-flink", "1.20"];
    let steps: [&[&str]; 3] = [
        &[&["convert", &from, &first], &canonical[..], &release].concat(),
        &["rehash", &first, &second, "--max-parallelism", "4096"],
        &[
            "edit",
            &second,
            &third,
            "set counter/count key=key-0 value=77",
            "uid counter to \"the counter\"",
            "--log",
            &home.text("edits.json"),
        ],
    ];
    for (step, directory) in steps.iter().zip([&first, &second, &third]) {
        let ended = millpond(&[&["state"], *step].concat());
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
        let told = format!("Snapshot written. Path: file:{directory}\n");
        assert!(ended.stdout.starts_with(&told), "{}", ended.stdout);
    }
    let listing = listing(&third);
    let operators = listing["operators"].as_array().expect("a list");
    let counter = operators
        .iter()
        .find(|operator| operator["uid"] == "the counter");
    let counter = counter.expect("renamed");
    assert_eq!(counter["parallelism"], 3);
    assert_eq!(counter["max_parallelism"], 4096);
    let log = std::fs::read_to_string(home.path("edits.json")).expect("written");
    let log: serde_json::Value = serde_json::from_str(&log).expect("JSON");
    assert_eq!(log["parent"], format!("file:{second}"));
    assert_eq!(log["edits"].as_array().map(Vec::len), Some(2));
    assert!(!home.path("third.edits.json").exists());
}

#[test]
fn what_makes_no_sense_is_told_and_nothing_is_written() {
    let home = Home::new();
    let from = golden("2.3.0/count-stringkey-hashmap-canonical");
    let to = home.text("out");
    for (arguments, code, told) in [
        (&["convert", &from][..], 2, "more arguments"),
        (
            &["convert", &from, &to, "--format", "csv"],
            2,
            "not \"csv\"",
        ),
        (&["convert", &from, &to, "--for-flink", "3"], 2, "not \"3\""),
        (
            &["convert", &from, &to, "--parallelism", "0"],
            2,
            "1 to 32768",
        ),
        (&["rehash", &from, &to], 2, "more arguments"),
        (
            &["rehash", &from, &to, "--max-parallelism", "1"],
            1,
            "parallelism 2",
        ),
        (&["edit", &from, &to], 2, "more arguments"),
        (
            &["edit", &from, &to, "unset a/b"],
            2,
            "expected set, delete",
        ),
        (
            &["edit", &from, &to, "drop nobody"],
            1,
            "no operator \"nobody\"",
        ),
        (&["convert", "/no/such", &to], 1, "/no/such"),
    ] {
        let ended = millpond(&[&["state"], arguments].concat());
        assert_eq!(ended.code, code, "{arguments:?}: {}", ended.stderr);
        assert!(
            ended.stderr.contains(told),
            "{arguments:?}: {}",
            ended.stderr
        );
        assert_eq!(ended.stdout, "");
        assert!(!home.path("out").exists(), "{arguments:?}");
    }
}
