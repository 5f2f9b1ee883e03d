//! `millpond state`: what it prints of snapshots that Flink wrote, and how it exits.

use std::path::{Path, PathBuf};

use super::millpond;

pub(super) fn golden(name: &str) -> String {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/snapshot/tests/golden");
    golden.join(name).to_str().expect("a text").to_owned()
}

pub(super) fn count() -> String {
    golden("2.3.0/count-stringkey-hashmap-canonical")
}

/// A copy of a snapshot, to be damaged.
pub(super) fn copy(name: &str, to: &Path) -> PathBuf {
    for entry in std::fs::read_dir(golden(name)).expect("a directory") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name");
        std::fs::copy(&path, to.join(name)).expect("room");
    }
    to.join("_metadata")
}

#[test]
fn ls_shows_operators_states_and_who_wrote_them() {
    let ended = millpond(&["state", "ls", &count()]);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    for part in [
        "written by Flink 2.1 to 2.3 (metadata version 6)",
        "counter  0da08f51eaa85fc298e176a139b3649a  parallelism 2 of 128",
        "(string) -> long",
        "keyed state is canonical",
    ] {
        assert!(ended.stdout.contains(part), "{part}: {}", ended.stdout);
    }
    let ended = millpond(&["state", "ls", &count(), "--json"]);
    let listing: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(listing["operators"][0]["keyed_states"][0]["name"], "count");
}

#[test]
fn read_shows_one_key_in_each_format() {
    let read = |format: &str| {
        let ended = millpond(&[
            "state",
            "read",
            &count(),
            "--uid",
            "counter",
            "--where",
            "key=key-1",
            "--format",
            format,
        ]);
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{format}");
        ended.stdout
    };
    assert!(
        read("csv")
            .starts_with("operator,state,key,namespace,user_key,value\ncounter,count,key-1,,,")
    );
    assert!(
        read("jsonl").starts_with(
            "{\"operator\":\"counter\",\"state\":\"count\",\"key\":\"key-1\",\"value\":"
        )
    );
    assert!(read("table").starts_with("operator  state  key    value\ncounter   count  key-1  "));
    let document: serde_json::Value = serde_json::from_str(&read("json")).expect("JSON");
    let content = &document["operators"][0]["keyed_states"][0]["content"];
    assert_eq!(content[0][0], "key-1");
}

#[test]
fn exit_codes_tell_sound_from_damaged_and_equal_from_different() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = copy("2.3.0/count-stringkey-hashmap-canonical", directory.path());
    let copied = directory.path().to_str().expect("a text");
    assert_eq!(millpond(&["state", "verify", copied]).code, 0);
    assert_eq!(millpond(&["state", "diff", copied, &count()]).code, 0);
    let other = golden("2.3.0/kinds-hashmap-canonical");
    let ended = millpond(&["state", "diff", copied, &other]);
    assert_eq!(ended.code, 1);
    assert!(
        ended.stdout.contains("+ operator \"all-kinds\""),
        "{}",
        ended.stdout
    );
    let mut bytes = std::fs::read(&file).expect("there");
    // The name of the state: "count" in front of its kind.
    let at = bytes
        .windows(9)
        .position(|part| part == b"\0\x05count\0\0")
        .expect("the state");
    bytes[at + 7] = 0x7f;
    std::fs::write(&file, bytes).expect("room");
    let ended = millpond(&["state", "verify", copied]);
    assert_eq!(ended.code, 3, "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains("is DAMAGED"), "{}", ended.stdout);
    assert!(
        ended.stdout.contains("a state kind of 0 to 4"),
        "{}",
        ended.stdout
    );
    let ended = millpond(&["state", "read", copied]);
    assert_eq!(ended.code, 3, "{}", ended.stderr);
}

#[test]
fn mistakes_are_told_on_standard_error_with_exit_code_2() {
    for (arguments, told) in [
        (&["state", "look"][..], "no command \"look\""),
        (&["state", "ls"], "more arguments"),
        (
            &["state", "read", &count(), "--format", "xml"],
            "not \"xml\"",
        ),
        (
            &["state", "read", &count(), "--where", "age=3"],
            "--where takes",
        ),
        (
            &["state", "read", &count(), "--uid", "nobody"],
            "uid, id or name \"nobody\"",
        ),
        (&["state", "verify", &count(), "--nonsense"], "nonsense"),
    ] {
        let ended = millpond(arguments);
        assert_eq!(ended.code, 2, "{arguments:?}: {}", ended.stderr);
        assert!(
            ended.stderr.contains(told),
            "{arguments:?}: {}",
            ended.stderr
        );
        assert_eq!(ended.stdout, "", "{arguments:?}");
    }
    let ended = millpond(&["state", "ls", "/nowhere/at/all"]);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("/nowhere/at/all"), "{}", ended.stderr);
}

#[test]
fn files_of_a_rocksdb_are_named_and_never_answered_for() {
    let native = golden("2.3.0/metadata-only/timers-rocksdb-native");
    let ended = millpond(&["state", "read", &native]);
    assert_ne!(ended.code, 0);
    assert_eq!(ended.stdout, "");
    assert!(!ended.stderr.is_empty());
}

#[test]
fn gc_deletes_nothing_unless_told_to() {
    let directory = tempfile::tempdir().expect("a directory");
    let checkpoint = directory.path().join("chk-1");
    std::fs::create_dir(&checkpoint).expect("room");
    copy("2.3.0/count-stringkey-hashmap-canonical", &checkpoint);
    let orphan = checkpoint.join("orphan");
    std::fs::write(&orphan, b"12345").expect("room");
    let path = directory.path().to_str().expect("a text");
    let ended = millpond(&["state", "gc", path]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stdout.contains("0 files unreferenced") && ended.stdout.contains("1 younger"));
    let ended = millpond(&["state", "gc", path, "--older-than", "0"]);
    assert!(
        ended.stdout.contains("1 file unreferenced, 5 B"),
        "{}",
        ended.stdout
    );
    assert!(orphan.exists());
    let ended = millpond(&["state", "gc", path, "--older-than", "0", "--delete"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(!orphan.exists() && checkpoint.join("_metadata").exists());
}

#[test]
fn output_goes_to_a_file_if_one_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("rows.csv").display().to_string();
    let one = ["--where", "key=key-1", "--format", "csv", "-o", &file];
    let ended = millpond(&[&["state", "read", &count()], &one[..]].concat());
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (0, ""),
        "{}",
        ended.stderr
    );
    let text = std::fs::read_to_string(&file).expect("written");
    assert!(text.starts_with("operator,state,key,namespace,user_key,value\ncounter,count,key-1,"));
}

#[cfg(not(feature = "sql"))]
#[test]
fn without_the_feature_it_is_told_how_to_build_what_has_it() {
    for arguments in [
        &["sql", &count(), "select 1"][..],
        &[
            "read",
            &count(),
            "--format",
            "parquet",
            "-o",
            "/nowhere/at/all",
        ],
    ] {
        let ended = millpond(&[&["state"], arguments].concat());
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (1, ""),
            "{arguments:?}"
        );
        for part in ["was built without", "cargo build --release --features sql"] {
            assert!(ended.stderr.contains(part), "{part} in {}", ended.stderr);
        }
    }
}
