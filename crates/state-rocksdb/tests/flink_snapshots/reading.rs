//! What is read of files that Flink's RocksDB wrote is what their sidecars say, to the last row.
//!
//! `MILLPOND_GOLDEN` may name a directory with more of both than the tree holds.

use millpond_golden::check_content;
use millpond_snapshot::KeyedReader;
use millpond_state_processor::{Progress, Threads, list, usage, verify};
use millpond_types::{KeyGroup, KeyGroupRange};

use crate::fixture::{Open, document, item_named, items, rocksdb};

#[test]
fn every_snapshot_in_files_of_rocksdb_holds_exactly_what_its_sidecar_says() {
    let (mut snapshots, mut rows) = (0, 0);
    for item in items() {
        let found = document(&item.open()).unwrap_or_else(|error| panic!("{}: {error}", item.name));
        rows += check_content(&item, &found);
        snapshots += 1;
    }
    println!("{snapshots} snapshots, {rows} rows");
    assert!(rows > 1000, "{rows} rows");
}

#[test]
fn every_one_is_sound_by_its_entries_and_their_key_groups() {
    let mut entries = 0;
    for item in items() {
        let snapshot = item.open();
        let found = verify(&snapshot, Threads::default(), &Progress::default()).expect("a disk");
        assert!(found.sound, "{}: {:?}", item.name, found.problems);
        assert!(
            !found.unknown.join("\n").contains("RocksDB"),
            "{}",
            item.name
        );
        assert_eq!(
            found.checked.hashed_keys, found.checked.entries,
            "{}",
            item.name
        );
        entries += found.checked.entries;
    }
    assert!(entries > 1000, "{entries}");
}

#[test]
fn listings_count_what_is_in_the_files() {
    let item = item_named("2.3.0/timers-rocksdb-native");
    let snapshot = item.open();
    let counting = millpond_state_processor::Counting::Full;
    let (threads, progress) = (Threads::default(), Progress::default());
    let listing = list(&snapshot, counting, threads, &progress).expect("whole");
    let timers = item.sidecar["operators"].as_array().expect("operators");
    let timers = timers.iter().find(|operator| operator["uid"] == "timers");
    let timers = &timers.expect("an operator")["timers"];
    let known = |kind: &str| timers[kind].as_array().expect("rows").len() as u64;
    let listed = serde_json::to_value(&listing).expect("JSON");
    let operators = listed["operators"].as_array().expect("operators");
    let operator = operators
        .iter()
        .find(|operator| operator["uid"] == "timers");
    let queues = &operator.expect("it is listed")["timers"][0];
    assert_eq!(queues["event"], known("event"), "{listed:#}");
    assert_eq!(queues["processing"], known("processing"), "{listed:#}");
    let used = usage(&snapshot, 3, threads, &progress).expect("whole");
    assert!(
        used.operators
            .iter()
            .all(|operator| operator.unreadable.is_none())
    );
}

/// Rescaling: any cut of the key groups yields each entry once, in the order of key groups.
#[test]
fn any_cut_of_the_key_groups_yields_each_entry_once_and_in_order() {
    for name in [
        "1.15.4/checkpoint-incremental-rocksdb",
        "1.20.5/kinds-rocksdb-native",
        "2.3.0/checkpoint-incremental-rocksdb",
        "2.3.0/maxpar32768-count-rocksdb-native",
    ] {
        let snapshot = item_named(name).open();
        let loaded = snapshot.loaded();
        for operator in &snapshot.metadata().operators {
            let max = operator.max_parallelism;
            let read = |wanted: KeyGroupRange| {
                let mut found = Vec::new();
                let mut last = None;
                for (_, subtask) in &operator.subtasks {
                    let Some(handle) = &subtask.managed_keyed else {
                        continue;
                    };
                    let opened = loaded.open_keyed(handle, wanted, max).expect("whole");
                    let Some(mut reader) = opened else {
                        continue;
                    };
                    assert!(matches!(reader, KeyedReader::RocksDb(_)));
                    while let Some(entry) = reader.next_entry().expect("whole") {
                        assert!(wanted.contains(entry.key_group));
                        let place = (entry.key_group, entry.state);
                        assert!(last.is_none_or(|last| last <= place), "{last:?} {place:?}");
                        last = Some(place);
                        found.push((place, entry.key.to_vec(), entry.value.to_vec()));
                    }
                }
                found
            };
            let whole = read(KeyGroupRange::of_subtask(0, 1, max));
            for parallelism in [2, 3, 7, 128] {
                let parts = (0..parallelism)
                    .map(|index| KeyGroupRange::of_subtask(index, parallelism, max));
                let joined: Vec<_> = parts.flat_map(read).collect();
                assert_eq!(joined, whole, "{name} at parallelism {parallelism}");
            }
            let last = KeyGroup((max - 1) as u16);
            let of_last = read(KeyGroupRange::new(last, last));
            let expected = whole.iter().filter(|entry| entry.0.0 == last);
            assert!(of_last.iter().eq(expected));
        }
    }
}

#[test]
fn without_rocksdb_the_state_is_named_with_the_feature_to_build_with() {
    let item = item_named("2.3.0/kinds-rocksdb-native");
    let snapshot = item.try_open().expect("metadata");
    let error = document(&snapshot).expect_err("refused");
    assert!(error.contains("--features rocksdb"), "{error}");
    let with = snapshot.with_rocksdb(Some(rocksdb()));
    assert!(document(&with).is_ok());
}
