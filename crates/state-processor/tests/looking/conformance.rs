//! What is read of a snapshot of Flink is what its sidecar says, to the last row.
//!
//! The sidecars were made beside the snapshots by the jobs that wrote them, and restored by real
//! Flink. `MILLPOND_GOLDEN` may name a directory with more of both than the tree holds.

use std::collections::BTreeMap;

use millpond_state_processor::{
    Format, OpenSnapshot, Progress, ReadOptions, Selection, Threads, read,
};
use serde_json::Value;

use crate::fixture::{Item, item_named, items, text};

fn document(item: &Item, snapshot: &OpenSnapshot) -> Result<Value, String> {
    let text = text(snapshot, Format::Json, Selection::default())?;
    Ok(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", item.name)))
}

fn sorted(rows: &Value) -> Vec<String> {
    let mut rows: Vec<String> = rows
        .as_array()
        .map(|rows| rows.iter().map(Value::to_string).collect())
        .unwrap_or_default();
    rows.sort();
    rows
}

/// What of an operator is compared: everything that a sidecar says of state, rows in any order.
pub(crate) fn state(operator: &Value) -> BTreeMap<String, (Vec<String>, Vec<String>)> {
    let mut states = BTreeMap::new();
    let words =
        |state: &Value, names: &[&str]| names.iter().map(|name| state[*name].to_string()).collect();
    for state in operator["keyed_states"].as_array().into_iter().flatten() {
        let described = words(state, &["kind", "namespace", "types"]);
        let name = format!("keyed {}", state["name"]);
        states.insert(name, (described, sorted(&state["content"])));
    }
    for state in operator["operator_states"].as_array().into_iter().flatten() {
        let described = words(state, &["mode", "types"]);
        let name = format!("operator {}", state["name"]);
        states.insert(name, (described, sorted(&state["content"])));
    }
    if operator["timers"].is_object() {
        let timers = &operator["timers"];
        for kind in ["event", "processing"] {
            let described = words(timers, &["service", "namespace"]);
            states.insert(format!("timers {kind}"), (described, sorted(&timers[kind])));
        }
    }
    states
}

#[test]
fn every_readable_snapshot_of_flink_holds_exactly_what_its_sidecar_says() {
    let (mut equal, mut rows, mut refused) = (BTreeMap::<String, u32>::new(), 0, Vec::new());
    for item in items() {
        let snapshot = item.open();
        let found = match document(&item, &snapshot) {
            Ok(found) => found,
            Err(error) => {
                // Nothing but the files of a RocksDB, and said so.
                let native = item.name.contains("rocksdb") && !item.name.contains("canonical");
                assert!(native, "{}: {error}", item.name);
                assert!(error.contains("RocksDB"), "{}: {error}", item.name);
                refused.push(item.name);
                continue;
            }
        };
        let operators = found["operators"].as_array().expect("operators");
        let known = item.sidecar["operators"].as_array().expect("operators");
        assert_eq!(operators.len(), known.len(), "{}", item.name);
        for known in known {
            let id = &known["operator_id"];
            let operator = operators
                .iter()
                .find(|operator| operator["operator_id"] == *id)
                .unwrap_or_else(|| panic!("{}: operator {id}", item.name));
            if !operator["uid"].is_null() {
                assert_eq!(operator["uid"], known["uid"], "{}", item.name);
            }
            let (mut found, expected) = (state(operator), state(known));
            if known["note"].is_string() {
                // A source of the new kind: the sidecar leaves out what only it understands.
                let splits = found.remove("operator \"SourceReaderState\"");
                assert!(
                    splits.is_some_and(|(_, rows)| !rows.is_empty()),
                    "{}",
                    item.name
                );
                assert!(operator["coordinator"]["enumerator_version"].is_i64());
            }
            for (name, expected) in &expected {
                assert_eq!(found.get(name), Some(expected), "{} {id} {name}", item.name);
                rows += expected.1.len();
            }
            assert_eq!(
                found.keys().collect::<Vec<_>>(),
                expected.keys().collect::<Vec<_>>(),
                "{} {id}",
                item.name
            );
            if let Some(key_type) = known.get("key_type") {
                assert_eq!(&operator["key_type"], key_type, "{} {id}", item.name);
            }
        }
        let release = item.name.split('/').next().expect("a release").to_owned();
        *equal.entry(release).or_default() += 1;
    }
    println!(
        "equal: {equal:?}, {rows} rows; refused as RocksDB: {}",
        refused.len()
    );
    assert!(equal.values().sum::<u32>() >= 40, "{equal:?}");
    assert!(rows > 5000, "{rows} rows");
}

#[test]
fn any_number_of_threads_writes_the_same_document() {
    let snapshot = item_named("2.3.0/kinds-rocksdb-canonical").open();
    let options = ReadOptions {
        selection: Selection::default(),
        format: Format::Json,
        ttl: false,
        limit: None,
    };
    let text = |threads: usize| {
        let mut text = Vec::new();
        let threads = Threads(threads.try_into().expect("not zero"));
        read(
            &snapshot,
            &options,
            threads,
            &Progress::default(),
            &mut text,
        )
        .expect("whole");
        text
    };
    assert_eq!(text(1), text(7));
}
