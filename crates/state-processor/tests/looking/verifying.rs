//! Whether damage is found, and soundness is not taken for damage.

use millpond_serializer::{FlinkType, VoidNamespace};
use millpond_snapshot::{KeyedHandle, KeyedStateType, Metadata, StateMeta, StreamHandle};
use millpond_state_processor::{OpenSnapshot, Progress, Threads, Verification, verify};
use millpond_types::{KeyGroup, OperatorId};

use crate::fixture::{Open, bytes, converted, item_named, items, made, open_at, write};

fn check(snapshot: &OpenSnapshot) -> Verification {
    verify(snapshot, Threads::default(), &Progress::default()).expect("a disk that answers")
}

#[test]
fn every_snapshot_of_flink_is_sound_and_what_is_not_known_of_it_is_told() {
    let (mut entries, mut native) = (0, 0);
    for item in items() {
        let found = check(&item.open());
        assert!(found.sound, "{}: {:?}", item.name, found.problems);
        let told = found.unknown.join("\n");
        assert!(told.contains("no checksums"), "{}: {told}", item.name);
        native += u32::from(told.contains("RocksDB"));
        assert_eq!(
            found.checked.hashed_keys, found.checked.entries,
            "{}",
            item.name
        );
        entries += found.checked.entries;
    }
    println!("{entries} entries; {native} snapshots with files of a RocksDB");
    assert!(entries > 5000, "{entries}");
}

#[test]
fn snapshots_of_millpond_are_sound_by_their_checksums() {
    let directory = tempfile::tempdir().expect("a directory");
    for name in [
        "kinds-hashmap-canonical",
        "timers-hashmap-native",
        "opstate-hashmap-canonical",
    ] {
        let to = directory.path().join(name);
        let found = check(&converted(&item_named(&format!("2.3.0/{name}")), &to));
        assert!(found.sound, "{name}: {:?}", found.problems);
        assert!(!found.unknown.join("\n").contains("no checksums"), "{name}");
    }
}

fn count_state() -> Vec<StateMeta> {
    let void = VoidNamespace::serializer_snapshot();
    let long = i64::serializer_snapshot();
    vec![StateMeta::key_value(
        "count",
        KeyedStateType::Value,
        void,
        long,
    )]
}

fn long_key(key: i64) -> Vec<u8> {
    [bytes(key), vec![0]].concat()
}

fn group_of(key: i64) -> u16 {
    use millpond_serializer::FlinkKey;
    KeyGroup::of_hash(key.hash_code(), 128).0
}

#[test]
fn a_key_in_the_wrong_key_group_is_found_and_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let wrong = (group_of(42) + 1) % 128;
    let mut entries = vec![
        (group_of(1), 0, long_key(1), bytes(10i64)),
        (wrong, 0, long_key(42), bytes(20i64)),
    ];
    entries.sort();
    let snapshot = made(
        directory.path(),
        i64::serializer_snapshot(),
        count_state(),
        &entries,
    );
    let found = check(&snapshot);
    assert_eq!(found.problem_count, 1, "{:?}", found.problems);
    let what = &found.problems[0].what;
    let expected = format!(
        "the key 42 of state \"count\" belongs to key group {}",
        group_of(42)
    );
    assert!(
        what.contains(&expected) && what.contains(&format!("lies in {wrong}")),
        "{what}"
    );
}

#[test]
fn a_value_that_its_serializer_cannot_read_is_found_with_its_place_and_hides_no_other() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut entries = vec![
        (group_of(1), 0, long_key(1), vec![1, 2, 3]),
        (group_of(42), 0, long_key(42), vec![0; 9]),
        (group_of(7), 0, long_key(7), bytes(7i64)),
    ];
    entries.sort();
    let snapshot = made(
        directory.path(),
        i64::serializer_snapshot(),
        count_state(),
        &entries,
    );
    let found = check(&snapshot);
    assert_eq!(
        (found.problem_count, found.checked.entries),
        (2, 3),
        "{:?}",
        found.problems
    );
    for problem in &found.problems {
        assert!(problem.what.contains("damaged at offset"), "{problem:?}");
        assert!(
            problem
                .what
                .contains("in an entry of state \"count\", key group"),
            "{problem:?}"
        );
    }
}

/// Changes the metadata of a snapshot, and writes it again.
fn with_metadata(directory: &std::path::Path, change: impl FnOnce(&mut Metadata)) -> Verification {
    let file = directory.join("_metadata");
    let mut metadata = Metadata::read(&std::fs::read(&file).expect("there")).expect("whole");
    change(&mut metadata);
    write(directory, &metadata.write().expect("writable"));
    check(&open_at(directory))
}

#[test]
fn key_groups_twice_and_of_others_are_found() {
    let directory = tempfile::tempdir().expect("a directory");
    let entries = [(group_of(1), 0, long_key(1), bytes(10i64))];
    made(
        directory.path(),
        i64::serializer_snapshot(),
        count_state(),
        &entries,
    );
    let found = with_metadata(directory.path(), |metadata| {
        let operator = &mut metadata.operators[0];
        let (_, subtask) = operator.subtasks[0].clone();
        operator.parallelism = 2;
        operator.subtasks.push((1, subtask));
    });
    let all = format!("{:?}", found.problems);
    assert!(all.contains("key group 0 more than once"), "{all}");
    assert!(
        all.contains("subtask 1 has the key groups 0..=127, where 64..=127 are its own"),
        "{all}"
    );
    let found = with_metadata(directory.path(), |metadata| {
        metadata.operators[0].subtasks.pop();
        metadata.operators[0].subtasks[0].0 = 5;
    });
    assert!(
        format!("{:?}", found.problems).contains("subtask 5 of 2"),
        "{:?}",
        found.problems
    );
}

#[test]
fn bytes_between_the_header_and_the_first_key_group_are_found() {
    let directory = tempfile::tempdir().expect("a directory");
    let entries = [(group_of(1), 0, long_key(1), bytes(10i64))];
    made(
        directory.path(),
        i64::serializer_snapshot(),
        count_state(),
        &entries,
    );
    let found = with_metadata(directory.path(), |metadata| {
        let Some(KeyedHandle::KeyGroups {
            groups,
            stream: StreamHandle::Bytes { data, .. },
            ..
        }) = &mut metadata.operators[0].subtasks[0].1.managed_keyed
        else {
            panic!("keyed state inline");
        };
        let first = groups
            .offsets
            .iter_mut()
            .find(|offset| **offset > 0)
            .expect("a group");
        data.insert(*first as usize, 0);
        *first += 1;
    });
    assert!(
        format!("{:?}", found.problems).contains("the header ends at"),
        "{:?}",
        found.problems
    );
}

#[test]
fn files_that_are_gone_cut_or_changed_are_found() {
    let directory = tempfile::tempdir().expect("a directory");
    let item = item_named("2.3.0/files-kinds-hashmap-canonical");
    for entry in std::fs::read_dir(&item.directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        std::fs::copy(
            &path,
            directory.path().join(path.file_name().expect("a name")),
        )
        .expect("room");
    }
    let file = std::fs::read_dir(directory.path())
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| !path.ends_with("_metadata"))
        .expect("a state file");
    let whole = std::fs::read(&file).expect("there");
    assert!(check(&open_at(directory.path())).sound);
    std::fs::write(&file, &whole[..whole.len() - 1]).expect("room");
    let found = check(&open_at(directory.path()));
    assert!(
        !found.sound && found.problems[0].what.contains("bytes, found"),
        "{:?}",
        found.problems
    );
    std::fs::remove_file(&file).expect("there");
    let found = check(&open_at(directory.path()));
    assert!(!found.sound, "a missing file");
    assert!(
        found
            .problems
            .iter()
            .any(|problem| problem.place.contains("file:"))
    );
}

#[test]
fn counts_that_are_not_those_of_the_trailer_are_found() {
    let directory = tempfile::tempdir().expect("a directory");
    let item = item_named("2.3.0/count-longkey-hashmap-canonical");
    let to = directory.path().join("sp");
    assert!(check(&converted(&item, &to)).sound);
    let found = with_metadata(&to, |metadata| {
        let trailer = metadata.trailer.as_mut().expect("Millpond's");
        let counter = OperatorId::of_uid("counter");
        let operator = trailer
            .operators
            .iter_mut()
            .find(|operator| operator.id == counter);
        let state = &mut operator.expect("the counter").subtasks[0].states;
        let state = state
            .iter_mut()
            .find(|state| state.name == "count")
            .expect("the state");
        state.key_groups[0].entries += 1;
    });
    let all = format!("{:?}", found.problems);
    assert!(
        all.contains("state \\\"count\\\", key group") && all.contains("the trailer says"),
        "{all}"
    );
}
