//! What of a snapshot is compared with its sidecar: all that the sidecar says, rows in any order.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{Golden, list};

/// The states of an operator by kind and name: what describes them, and their rows, sorted.
pub type Content = BTreeMap<String, (Vec<String>, Vec<String>)>;

/// What is in an operator of a document or a sidecar.
pub fn content_of(operator: &Value) -> Content {
    let mut states = Content::new();
    let words =
        |state: &Value, names: &[&str]| names.iter().map(|name| state[*name].to_string()).collect();
    for state in list(&operator["keyed_states"]) {
        let described = words(state, &["kind", "namespace", "types"]);
        let name = format!("keyed {}", state["name"]);
        states.insert(name, (described, sorted(&state["content"])));
    }
    for state in list(&operator["operator_states"]) {
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

fn sorted(rows: &Value) -> Vec<String> {
    let mut rows: Vec<String> = list(rows).iter().map(Value::to_string).collect();
    rows.sort();
    rows
}

/// Checks that a document, as `millpond state read --format json` prints it, holds what the sidecar
/// says, to the last row; returns how many rows.
///
/// # Panics
///
/// If it does not.
pub fn check_content(golden: &Golden, found: &Value) -> usize {
    let name = &golden.name;
    let operators = list(&found["operators"]);
    let known = list(&golden.sidecar["operators"]);
    assert_eq!(operators.len(), known.len(), "{name}");
    let mut rows = 0;
    for known in known {
        let id = &known["operator_id"];
        let operator = operators
            .iter()
            .find(|operator| operator["operator_id"] == *id)
            .unwrap_or_else(|| panic!("{name}: operator {id}"));
        if !operator["uid"].is_null() {
            assert_eq!(operator["uid"], known["uid"], "{name}");
        }
        let (mut found, expected) = (content_of(operator), content_of(known));
        if known["note"].is_string() {
            // A source of the new kind: the sidecar leaves out what only it understands.
            let splits = found.remove("operator \"SourceReaderState\"");
            assert!(splits.is_some_and(|(_, rows)| !rows.is_empty()), "{name}");
            assert!(
                operator["coordinator"]["enumerator_version"].is_i64(),
                "{name}"
            );
        }
        for (state, expected) in &expected {
            assert_eq!(found.get(state), Some(expected), "{name} {id} {state}");
            rows += expected.1.len();
        }
        let names = |states: &Content| states.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&found), names(&expected), "{name} {id}");
        if let Some(key_type) = known.get("key_type") {
            assert_eq!(&operator["key_type"], key_type, "{name} {id}");
        }
    }
    rows
}
