//! What two snapshots do not have in common.

use std::collections::BTreeMap;
use std::sync::Arc;

use millpond_fs::{LocalFileSystem, Location};
use millpond_snapshot::KeyedFormat;
use millpond_state_processor::{
    ConvertOptions, Difference, OpenSnapshot, Progress, RehashOptions, Threads, convert, diff,
    rehash,
};
use serde_json::Value;

use crate::fixture::{Open, item_named, open_at};

fn compare(first: &OpenSnapshot, second: &OpenSnapshot) -> Difference {
    diff(
        first,
        second,
        None,
        Threads::default(),
        &Progress::default(),
    )
    .expect("readable")
}

#[test]
fn a_snapshot_equals_itself_in_every_form() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    let location = |name: &str| Location::of_path(&at(name)).expect("a text");
    for case in ["kinds", "timers", "window", "opstate"] {
        let snapshot = item_named(&format!("2.3.0/{case}-hashmap-canonical")).open();
        let fs = || Arc::new(LocalFileSystem);
        let options = ConvertOptions {
            format: Some(KeyedFormat::NativeHeap),
            parallelism: Some(3),
            ..ConvertOptions::default()
        };
        let native = format!("{case}-native");
        convert(snapshot.loaded(), fs(), &location(&native), &options).expect("convertible");
        let hashed = format!("{case}-rehashed");
        let options = RehashOptions {
            max_parallelism: 300,
            for_flink: None,
        };
        rehash(snapshot.loaded(), fs(), &location(&hashed), &options).expect("convertible");
        for other in [
            item_named(&format!("2.3.0/{case}-hashmap-canonical")).open(),
            open_at(&at(&native)),
            open_at(&at(&hashed)),
        ] {
            let found = compare(&snapshot, &other);
            assert!(found.equal, "{case}: {found:#?}");
        }
    }
}

/// Rows of keyed state by what tells them apart.
fn rows(operator: &Value) -> BTreeMap<String, BTreeMap<String, Value>> {
    let mut states = BTreeMap::new();
    for state in operator["keyed_states"].as_array().into_iter().flatten() {
        let mut rows = BTreeMap::new();
        for row in state["content"].as_array().expect("rows") {
            let row = row.as_array().expect("a row");
            let (value, key) = row.split_last().expect("a value");
            let key = serde_json::to_string(key).expect("JSON");
            match value.as_object().filter(|_| state["kind"] == "map") {
                Some(map) => rows.extend(
                    map.iter()
                        .map(|(name, value)| (format!("{key} {name}"), value.clone())),
                ),
                None => {
                    rows.insert(key, value.clone());
                }
            }
        }
        states.insert(state["name"].as_str().expect("a name").to_owned(), rows);
    }
    states
}

#[test]
fn what_differs_between_two_runs_is_counted_to_the_last_key() {
    let (one, other) = (
        item_named("2.3.0/kinds-hashmap-canonical"),
        item_named("2.3.0/nullmap-kinds-rocksdb-canonical"),
    );
    let found = compare(&one.open(), &other.open());
    let operator = |sidecar: &Value| {
        let operators = sidecar["operators"].as_array().expect("operators");
        let found = operators.iter().find(|one| one["uid"] == "all-kinds");
        rows(found.expect("the operator"))
    };
    let (mine, theirs) = (operator(&one.sidecar), operator(&other.sidecar));
    let difference = found
        .operators
        .iter()
        .find(|one| one.uid.as_deref() == Some("all-kinds"));
    let mut differing = 0;
    for (name, mine) in &mine {
        let theirs = &theirs[name];
        let removed = mine.keys().filter(|key| !theirs.contains_key(*key)).count() as u64;
        let added = theirs.keys().filter(|key| !mine.contains_key(*key)).count() as u64;
        let changed = mine
            .iter()
            .filter(|(key, value)| theirs.get(*key).is_some_and(|other| other != *value))
            .count() as u64;
        let state = difference.and_then(|found| found.states.iter().find(|one| one.name == *name));
        let told = state.map_or((0, 0, 0), |one| (one.removed, one.added, one.changed));
        assert_eq!(told, (removed, added, changed), "{name}");
        differing += removed + added + changed;
        if let Some(state) = state {
            let told = state.changed_samples.len() as u64;
            assert_eq!(told, state.changed.min(5), "{name}");
        }
    }
    assert_eq!(found.equal, differing == 0);
    assert!(
        differing > 0,
        "two runs that happen to be equal show nothing"
    );
}

#[test]
fn operators_of_one_side_only_are_named() {
    let one = item_named("2.3.0/kinds-hashmap-canonical").open();
    let other = item_named("2.3.0/count-stringkey-hashmap-canonical").open();
    let found = compare(&one, &other);
    assert!(!found.equal);
    assert_eq!(
        found.removed_operators,
        ["\"all-kinds\" (2147cd5db8c4630af0735d302021d9e7)"]
    );
    assert_eq!(
        found.added_operators,
        ["\"counter\" (0da08f51eaa85fc298e176a139b3649a)"]
    );
    let threads = Threads::default();
    let only = diff(&one, &other, Some("source"), threads, &Progress::default()).expect("there");
    assert!(only.removed_operators.is_empty() && only.added_operators.is_empty());
}
