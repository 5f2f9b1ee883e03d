//! The checkpoints that a job has kept, as the table `snapshots` shows them.

use std::path::Path;

use millpond_state_processor::{OpenSnapshot, PathMap};

use crate::fixture::{database, item_named, rows};

fn copy(name: &str, to: &Path) {
    std::fs::create_dir_all(to).expect("room");
    for entry in std::fs::read_dir(item_named(name).directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        std::fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("room");
    }
}

#[test]
fn kept_checkpoints_stand_beside_the_one_that_is_asked() {
    let job = tempfile::tempdir().expect("room");
    for (name, checkpoint) in [
        ("2.3.0/count-stringkey-hashmap-canonical", "chk-1"),
        ("2.3.0/count-stringkey-hashmap-native", "chk-2"),
    ] {
        copy(name, &job.path().join(checkpoint));
    }
    std::fs::create_dir(job.path().join("chk-3")).expect("room");
    std::fs::write(job.path().join("chk-3/_metadata"), b"damage").expect("room");
    let pointer = job.path().join("chk-2").display().to_string();
    let paths = PathMap::default();
    let snapshot = OpenSnapshot::open(&pointer, &paths).expect("a snapshot");
    let database = database(snapshot, &paths);
    let sql = "select location, queried, problem is not null as broken from snapshots \
               order by location";
    let found = rows(&database, sql).expect("an answer");
    let place = |checkpoint: &str| format!("file:{}", job.path().join(checkpoint).display());
    let told: Vec<_> = found
        .iter()
        .map(|row| {
            let location = row["location"].as_str().expect("a text").to_owned();
            (location, row["queried"] == true, row["broken"] == true)
        })
        .collect();
    let expected = [
        (place("chk-1"), false, false),
        (place("chk-2"), true, false),
        (place("chk-3"), false, true),
    ];
    assert_eq!(told, expected);
}
