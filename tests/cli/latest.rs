//! `millpond latest`: what it names, and its exit codes.

use std::path::{Path, PathBuf};

use super::millpond;

/// Copies a snapshot that Flink wrote to `to`; its checkpoint id is its own.
fn copy(name: &str, to: &Path) -> PathBuf {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/snapshot/tests/golden");
    std::fs::create_dir_all(to).expect("room");
    for entry in std::fs::read_dir(golden.join(name)).expect("a directory") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name");
        std::fs::copy(&path, to.join(name)).expect("room");
    }
    to.join("_metadata")
}

const CANONICAL: &str = "2.3.0/count-stringkey-hashmap-canonical";

#[test]
fn the_newest_snapshot_is_named_and_a_damaged_one_is_not_passed_over_unasked() {
    let home = tempfile::tempdir().expect("room");
    let directory = home.path().display().to_string();
    let ended = millpond(&["latest", &directory]);
    assert_eq!((ended.code, ended.stdout.as_str()), (1, ""));
    assert!(
        ended.stderr.contains("there is no snapshot"),
        "{}",
        ended.stderr
    );

    copy(CANONICAL, &home.path().join("savepoint-1"));
    // What a kill leaves is no snapshot.
    std::fs::create_dir(home.path().join("chk-7")).expect("room");
    std::fs::write(home.path().join("chk-7/._metadata.inprogress"), "x").expect("room");
    let first = format!("file:{}", home.path().join("savepoint-1").display());
    millpond(&["latest", &directory]).told(&[&first]);

    let metadata = copy(CANONICAL, &home.path().join("savepoint-2"));
    let second = format!("file:{}", home.path().join("savepoint-2").display());
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(60);
    let touch = |path: &Path| {
        let file = std::fs::File::options().append(true).open(path);
        file.and_then(|file| file.set_modified(later))
            .expect("a file");
    };
    touch(&metadata);
    millpond(&["latest", &directory]).told(&[&second]);

    std::fs::write(&metadata, b"cut").expect("room");
    touch(&metadata);
    let ended = millpond(&["latest", &directory]);
    assert_eq!((ended.code, ended.stdout.as_str()), (3, ""));
    assert!(ended.stderr.contains("savepoint-2"), "{}", ended.stderr);
    assert!(ended.stderr.contains("--fallback"), "{}", ended.stderr);
    let ended = millpond(&["latest", "--fallback", &directory]);
    assert_eq!((ended.code, ended.stdout.trim_end()), (0, &*first));
    let ended = millpond(&["latest", "--fallback", "--json", &directory]);
    let told: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(told["snapshot"]["path"], first);
    assert_eq!(told["damaged"][0]["path"], second);
}

#[test]
fn what_cannot_be_read_is_no_answer_and_a_mistake_has_a_code_of_its_own() {
    assert_eq!(millpond(&["latest", "/no/such/directory"]).code, 1);
    let ended = millpond(&["latest"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (2, ""));
    assert_eq!(millpond(&["latest", "--fallbak", "/"]).code, 2);
}
