//! The content of a `count` job's snapshot: offsets of the source and counts of the keys.

use std::collections::BTreeMap;
use std::path::Path;

use millpond::serializer::ByteReader;
use millpond::types::{KeyGroup, KeyGroupRange};
use millpond_fs::{Location, file_system_for};
use millpond_snapshot::{LoadedSnapshot, load, split_key};
use millpond_types::OperatorId;
use serde_json::Value;

/// What a `count` job holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CountState {
    /// The elements of the list `offsets`, ascending.
    pub offsets: Vec<i64>,
    /// The key's bytes and the count.
    pub counts: BTreeMap<Vec<u8>, i64>,
}

/// Reads the snapshot in `directory`.
///
/// # Panics
///
/// If it is not the snapshot of a `count` job.
pub fn read(directory: &Path, source: OperatorId, counter: OperatorId) -> CountState {
    let location = Location::of_path(directory).expect("a path");
    let snapshot = load(file_system_for(&location).expect("a local path"), &location)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    CountState {
        offsets: offsets(&snapshot, source),
        counts: counts(&snapshot, counter),
    }
}

fn offsets(snapshot: &LoadedSnapshot, source: OperatorId) -> Vec<i64> {
    let operator = snapshot.metadata.operator(source).expect("the source");
    let mut offsets = Vec::new();
    for (_, subtask) in &operator.subtasks {
        let Some(handle) = &subtask.managed_operator else {
            continue;
        };
        let reader = snapshot.open_operator(handle).expect("operator state");
        for state in handle.states.iter().filter(|state| state.name == "offsets") {
            for offset in &state.offsets {
                let element = reader.element(*offset).expect("an element");
                offsets.push(ByteReader::new(&element).i64().expect("8 bytes"));
            }
        }
    }
    offsets.sort_unstable();
    offsets
}

fn counts(snapshot: &LoadedSnapshot, counter: OperatorId) -> BTreeMap<Vec<u8>, i64> {
    let operator = snapshot.metadata.operator(counter).expect("the counter");
    let max_parallelism = operator.max_parallelism;
    let all = KeyGroupRange::new(KeyGroup(0), KeyGroup((max_parallelism - 1) as u16));
    let mut counts = BTreeMap::new();
    for (_, subtask) in &operator.subtasks {
        let Some(handle) = &subtask.managed_keyed else {
            continue;
        };
        let opened = snapshot
            .open_keyed(handle, all, max_parallelism)
            .expect("keyed state");
        let Some(mut reader) = opened else { continue };
        let header = reader.header().clone();
        while let Some(entry) = reader.next_entry().expect("an entry") {
            assert_eq!(header.states[entry.state].name, "count");
            let key = split_key(&header, entry.state, entry.key)
                .expect("a key")
                .key
                .to_vec();
            let count = ByteReader::new(entry.value).i64().expect("8 bytes");
            let before = counts.insert(key, count);
            assert_eq!(before, None, "a key lies in the snapshot once");
        }
    }
    counts
}

/// The same, as the sidecar of a fixture tells it.
///
/// # Panics
///
/// If it is not the sidecar of a `count` job.
pub fn of_sidecar(sidecar: &Value) -> (CountState, OperatorId, OperatorId) {
    let operator = |uid: &str| {
        let operators = sidecar["operators"].as_array().expect("operators");
        operators
            .iter()
            .find(|operator| operator["uid"] == uid)
            .expect("an operator")
    };
    let id = |uid: &str| {
        let id = operator(uid)["operator_id"].as_str().expect("an id");
        id.parse::<OperatorId>().expect("an id")
    };
    let content = operator("source")["operator_states"][0]["content"]
        .as_array()
        .expect("offsets");
    let mut offsets: Vec<i64> = content
        .iter()
        .map(|offset| offset.as_i64().expect("an offset"))
        .collect();
    offsets.sort_unstable();
    let key_type = operator("counter")["key_type"].as_str().expect("a type");
    let rows = operator("counter")["keyed_states"][0]["content"]
        .as_array()
        .expect("counts");
    let counts = rows.iter().map(|row| {
        (
            key_bytes(key_type, &row[0]),
            row[1].as_i64().expect("a count"),
        )
    });
    (
        CountState {
            offsets,
            counts: counts.collect(),
        },
        id("source"),
        id("counter"),
    )
}

fn key_bytes(key_type: &str, key: &Value) -> Vec<u8> {
    use millpond::serializer::FlinkType;
    let mut bytes = Vec::new();
    let text = |key: &Value| key.as_str().expect("a text").to_owned();
    let long = |key: &Value| key.as_i64().expect("a number");
    match key_type {
        "string" => text(key).write(&mut bytes),
        "long" => long(key).write(&mut bytes),
        "int" => i32::try_from(long(key)).expect("an int").write(&mut bytes),
        "tuple(string,long)" => (text(&key[0]), long(&key[1])).write(&mut bytes),
        other => panic!("keys of type {other}"),
    }
    bytes
}
