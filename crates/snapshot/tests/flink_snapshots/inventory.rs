//! The inventory of a snapshot that Flink wrote names the states of its sidecar, and counts them.

use std::collections::BTreeMap;

use millpond_snapshot::{KeyedHandle, OperatorInventory, StateKind, StateMeta};
use serde_json::Value;

use crate::fixture::golden;

fn strings<'a>(of: &'a Value, list: &str, key: &str) -> Vec<&'a str> {
    let items = of[list].as_array().map_or(&[][..], Vec::as_slice);
    items.iter().filter_map(|item| item[key].as_str()).collect()
}

fn rows(of: &Value) -> u64 {
    of.as_array().map_or(0, |rows| rows.len() as u64)
}

/// How many rows of the sidecar each keyed state has; timers by their state names.
fn expected_keyed(operator: &Value) -> BTreeMap<String, u64> {
    let mut expected = BTreeMap::new();
    for state in operator["keyed_states"].as_array().into_iter().flatten() {
        let content = state["content"].as_array().map_or(&[][..], Vec::as_slice);
        let entries = match state["kind"].as_str() {
            // One entry per user key.
            Some("map") => content
                .iter()
                .filter_map(|row| row.as_array()?.last()?.as_object())
                .map(|map| map.len() as u64)
                .sum(),
            _ => content.len() as u64,
        };
        let name = state["name"].as_str().expect("a name").to_owned();
        expected.insert(name, entries);
    }
    if let Some(service) = operator["timers"]["service"].as_str() {
        for (domain, of) in [("event", "event"), ("processing", "processing")] {
            let timers = rows(&operator["timers"][of]);
            expected.insert(format!("_timer_state/{domain}_{service}"), timers);
        }
    }
    expected
}

fn found_keyed(inventory: &OperatorInventory) -> BTreeMap<String, u64> {
    let keyed = inventory.states.iter().filter(|state| state.is_keyed());
    keyed
        .map(|state| {
            assert_eq!(state.metas.len(), 1, "all subtasks agree");
            (state.name().to_owned(), state.entries.expect("counted"))
        })
        .collect()
}

#[test]
fn the_named_states_of_flinks_snapshots_are_those_of_their_sidecars() {
    let mut states = 0;
    for golden in golden().iter().filter(|golden| golden.has_state()) {
        let snapshot = golden.load();
        let supported = snapshot.metadata.operators.iter().all(|operator| {
            let mut keyed = operator.subtasks.iter().map(|(_, s)| &s.managed_keyed);
            keyed.all(|handle| matches!(handle, None | Some(KeyedHandle::KeyGroups { .. })))
        });
        if !supported {
            continue;
        }
        let mut inventory = snapshot
            .inventory()
            .unwrap_or_else(|error| panic!("{}: {error}", golden.name));
        let sidecar = golden.sidecar();
        for operator in sidecar["operators"].as_array().expect("operators") {
            let id = operator["operator_id"].as_str().expect("an id");
            let found = inventory
                .iter_mut()
                .find(|found| found.id.to_string() == id)
                .unwrap_or_else(|| panic!("{}: no operator {id}", golden.name));
            assert_eq!(found.unreadable, [""; 0], "{}", golden.name);
            snapshot.count_entries(found).expect("readable");
            let expected = expected_keyed(operator);
            let mut keyed = found_keyed(found);
            // Flink registers both queues of a service; sidecars tell of those with timers.
            keyed.retain(|name, entries| *entries > 0 || expected.contains_key(name));
            assert_eq!(keyed, expected, "{} {id}", golden.name);
            for name in strings(operator, "operator_states", "name") {
                let state = found.state(name, false).expect("an operator state");
                let content = operator["operator_states"].as_array().into_iter().flatten();
                let content = content.filter(|state| state["name"] == name);
                let expected: u64 = content.map(|state| rows(&state["content"])).sum();
                assert_eq!(state.entries, Some(expected), "{} {name}", golden.name);
            }
            states += found.states.len();
        }
    }
    assert!(states > 100, "{states}");
}

#[test]
fn metas_in_another_order_describe_the_same_state() {
    let meta = StateMeta {
        name: "a".to_owned(),
        kind: StateKind::KeyValue,
        options: vec![
            ("x".to_owned(), "1".to_owned()),
            ("y".to_owned(), "2".to_owned()),
        ],
        serializers: Vec::new(),
    };
    let mut other = meta.clone();
    other.options.reverse();
    assert!(meta.describes_same(&other));
    other.options.pop();
    assert!(!meta.describes_same(&other) && !other.describes_same(&meta));
}
