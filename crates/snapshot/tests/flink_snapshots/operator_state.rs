//! Operator state that Flink wrote is decoded, and written again byte by byte.

use crate::fixture::{decode, golden};
use millpond_serializer::{ByteReader, skip_value};
use millpond_snapshot::{DistributionMode, OperatorStateHandle, OperatorStateWriter};
use serde_json::{Value, json};

fn sorted(mut rows: Vec<Value>) -> Vec<Value> {
    rows.sort_by_key(Value::to_string);
    rows
}

#[test]
fn operator_state_is_written_again_byte_by_byte() {
    let mut elements = 0;
    for golden in golden().iter().filter(|golden| golden.has_state()) {
        let snapshot = golden.load();
        let subtasks = snapshot
            .metadata
            .operators
            .iter()
            .flat_map(|operator| &operator.subtasks);
        for handle in subtasks.filter_map(|(_, subtask)| subtask.managed_operator.as_ref()) {
            let bytes = snapshot
                .open(&handle.stream)
                .expect("there")
                .read_all()
                .expect("there");
            let reader = snapshot.open_operator(handle).expect("a header");
            let mut writer = OperatorStateWriter::new(reader.header()).expect("a header");
            // Flink lists the states of a handle in hash order, and writes them in header order.
            let names: Vec<_> = reader
                .header()
                .states()
                .map(|meta| meta.name.clone())
                .collect();
            for (index, name) in names.iter().enumerate() {
                let state = handle
                    .states
                    .iter()
                    .find(|state| state.name == *name)
                    .expect("listed");
                for offset in &state.offsets {
                    let element = reader.element(*offset).expect("an element");
                    writer.element(index, |out| out.extend_from_slice(&element));
                    elements += 1;
                }
            }
            let (written, states) = writer.finish();
            assert!(written == bytes, "{}: other bytes", golden.name);
            let mut expected = handle.states.clone();
            expected.sort_by_key(|state| names.iter().position(|name| *name == state.name));
            assert_eq!(states, expected, "{}", golden.name);
            let again = OperatorStateHandle {
                states,
                ..handle.clone()
            };
            assert_eq!(again.stream, handle.stream);
        }
    }
    assert!(elements > 100, "{elements} elements");
}

#[test]
fn operator_state_holds_what_flink_put_in() {
    for golden in golden().iter().filter(|golden| golden.has_state()) {
        let (snapshot, sidecar) = (golden.load(), golden.sidecar());
        for known in sidecar["operators"].as_array().expect("operators") {
            let id = known["operator_id"]
                .as_str()
                .expect("an id")
                .parse()
                .expect("an id");
            for state in known["operator_states"].as_array().into_iter().flatten() {
                let operator = snapshot.metadata.operator(id).expect("the operator");
                let mut found = Vec::new();
                for (index, subtask) in &operator.subtasks {
                    let Some(handle) = &subtask.managed_operator else {
                        continue;
                    };
                    let rows = rows(
                        &snapshot.open_operator(handle).expect("a header"),
                        handle,
                        state,
                    );
                    // Every subtask has the whole of a broadcast map.
                    if state["mode"] != "broadcast" || *index == 0 {
                        found.extend(rows);
                    }
                }
                let expected = state["content"].as_array().expect("rows").clone();
                assert_eq!(
                    sorted(found),
                    sorted(expected),
                    "{}: {}",
                    golden.name,
                    state["name"]
                );
            }
        }
    }
}

fn rows(
    reader: &millpond_snapshot::OperatorStateReader,
    handle: &OperatorStateHandle,
    state: &Value,
) -> Vec<Value> {
    let name = state["name"].as_str().expect("a name");
    let Some(offsets) = handle.states.iter().find(|offsets| offsets.name == name) else {
        return Vec::new();
    };
    let mode = match offsets.mode {
        DistributionMode::SplitDistribute => "split",
        DistributionMode::Union => "union",
        DistributionMode::Broadcast => "broadcast",
    };
    assert_eq!(state["mode"], mode);
    let meta = reader.meta(name).expect("in the header");
    let value = meta.value_serializer().expect("one");
    let mut rows = Vec::new();
    for offset in &offsets.offsets {
        let bytes = reader.element(*offset).expect("an element");
        let mut input = ByteReader::new(&bytes);
        if offsets.mode == DistributionMode::Broadcast {
            for _ in 0..input.count(2).expect("a count") {
                let key = decode(meta.key_serializer().expect("one"), &mut input);
                rows.push(json!([key, decode(value, &mut input)]));
            }
        } else {
            rows.push(decode(value, &mut input));
        }
        assert!(input.is_empty());
        if offsets.mode != DistributionMode::Broadcast {
            let mut again = ByteReader::new(&bytes);
            skip_value(value, &mut again).expect("a value");
            assert!(again.is_empty());
        }
    }
    rows
}
