//! What a user reads of a snapshot, and how.

use millpond_serializer::{ByteWriter, SerializerSnapshot, SnapshotBody};
use millpond_snapshot::{KeyedStateType, StateMeta};
use millpond_state_processor::{Format, OpenSnapshot, ReadOptions, Selection};
use serde_json::{Value, json};

use crate::fixture::{Open, RawEntry, bytes, item_named, made, text, text_of};
use millpond_serializer::{FlinkType, VoidNamespace};

fn select(state: &str, key: Option<&str>) -> Selection {
    Selection {
        state: Some(state.to_owned()),
        key: key.map(str::to_owned),
        ..Selection::default()
    }
}

fn lines(snapshot: &OpenSnapshot, selection: Selection) -> Vec<Value> {
    let text = text(snapshot, Format::JsonLines, selection).expect("readable");
    let parse = |line| serde_json::from_str(line).expect("JSON");
    text.lines().map(parse).collect()
}

#[test]
fn a_key_is_found_by_its_text_in_every_kind_of_state() {
    for release in ["1.15.4", "1.20.5", "2.3.0"] {
        for format in ["canonical", "native"] {
            let item = item_named(&format!("{release}/kinds-hashmap-{format}"));
            let snapshot = item.open();
            let known = item.sidecar["operators"]
                .as_array()
                .and_then(|operators| operators.iter().find(|one| one["uid"] == "all-kinds"))
                .expect("the operator")
                .clone();
            for state in known["keyed_states"].as_array().expect("states") {
                let name = state["name"].as_str().expect("a name");
                let found = lines(&snapshot, select(name, Some("key-1")));
                let row = state["content"]
                    .as_array()
                    .and_then(|rows| rows.iter().find(|row| row[0] == "key-1"));
                let expected = row.map_or(0, |row| match state["kind"] == "map" {
                    true => row[1].as_object().expect("a map").len(),
                    false => 1,
                });
                assert_eq!(found.len(), expected, "{} {name}", item.name);
                for line in &found {
                    let row = row.expect("a row");
                    let value = match line.get("user_key") {
                        None => row[1].clone(),
                        Some(Value::String(name)) => row[1][name].clone(),
                        Some(number) => row[1][number.to_string()].clone(),
                    };
                    assert_eq!((&line["key"], &line["value"]), (&json!("key-1"), &value));
                }
            }
        }
    }
}

#[test]
fn windows_and_user_keys_are_conditions_too() {
    let snapshot = item_named("2.3.0/window-hashmap-canonical").open();
    let selection = Selection {
        key: Some("key-0".to_owned()),
        namespace: Some("[12000,16000]".to_owned()),
        ..Selection::default()
    };
    let found = lines(&snapshot, selection);
    let states: Vec<&Value> = found.iter().map(|line| &line["state"]).collect();
    assert_eq!(states.len(), 2, "{found:?}");
    assert!(states.contains(&&json!("window-contents")));
    assert!(states.contains(&&json!("_timer_state/event_window-timers")));
    assert!(
        found
            .iter()
            .all(|line| line["namespace"] == json!([12000, 16000]))
    );
    let snapshot = item_named("2.3.0/kinds-hashmap-canonical").open();
    let selection = Selection {
        user_key: Some("-2".to_owned()),
        ..select("map-long-long", None)
    };
    let found = lines(&snapshot, selection);
    assert!(
        !found.is_empty() && found.iter().all(|line| line["user_key"] == -2),
        "{found:?}"
    );
}

#[test]
fn what_is_not_there_is_told_with_what_is() {
    let snapshot = item_named("2.3.0/kinds-hashmap-canonical").open();
    let error = |selection| text(&snapshot, Format::JsonLines, selection).expect_err("refused");
    let told = error(select("map-long-lon", None));
    assert!(
        told.contains("there is no state \"map-long-lon\"; there are: "),
        "{told}"
    );
    assert!(told.contains("map-long-long"), "{told}");
    let told = error(Selection {
        operator: Some("nobody".to_owned()),
        ..Selection::default()
    });
    assert!(told.contains("uid, id or name \"nobody\""), "{told}");
    assert!(
        told.contains("\"all-kinds\" (2147cd5db8c4630af0735d302021d9e7)"),
        "{told}"
    );
    let snapshot = item_named("2.3.0/count-longkey-hashmap-canonical").open();
    let told = text(&snapshot, Format::JsonLines, select("count", Some("abc"))).expect_err("text");
    assert!(
        told.contains("the key of state \"count\": expected a value of long"),
        "{told}"
    );
    let id = item_named("1.15.4/kinds-hashmap-canonical").open();
    assert!(
        id.find_operator("all-kinds").is_ok(),
        "a uid is found by its hash"
    );
    assert!(id.find_operator("2147cd5db8c4630af0735d302021d9e7").is_ok());
}

#[test]
fn a_limit_ends_every_format_and_time_to_live_is_shown_when_asked_for() {
    let snapshot = item_named("2.3.0/ttl-hashmap-canonical").open();
    let read = |format, ttl, limit| {
        let options = ReadOptions {
            selection: select("ttl-value", None),
            format,
            ttl,
            limit,
        };
        text_of(&snapshot, &options).expect("readable")
    };
    assert_eq!(read(Format::JsonLines, false, Some(3)).lines().count(), 3);
    assert_eq!(read(Format::Csv, false, Some(3)).lines().count(), 4);
    assert_eq!(read(Format::Table, false, Some(3)).lines().count(), 4);
    assert_eq!(read(Format::JsonLines, false, Some(0)), "");
    let document: Value = serde_json::from_str(&read(Format::Json, false, Some(3))).expect("JSON");
    let rows = &document["operators"][0]["keyed_states"][0]["content"];
    let other = &document["operators"][1]["keyed_states"][0]["content"];
    let rows = rows.as_array().or(other.as_array()).expect("rows");
    assert_eq!(rows.len(), 3);
    let line = read(Format::JsonLines, true, Some(1));
    let line: Value = serde_json::from_str(&line).expect("JSON");
    assert!(
        line["value"]["value"].is_i64() && line["value"]["last_access"].is_i64(),
        "{line}"
    );
}

fn kryo(class: &str) -> SerializerSnapshot {
    SerializerSnapshot {
        class: "org.apache.flink.api.java.typeutils.runtime.kryo.KryoSerializerSnapshot".to_owned(),
        version: 2,
        body: SnapshotBody::Kryo {
            class: class.to_owned(),
            maps: [vec![], vec![], vec![]],
        },
    }
}

fn entry(group: u16, state: usize, key: &[u8], value: &[u8]) -> RawEntry {
    (group, state, key.to_vec(), value.to_vec())
}

#[test]
fn what_only_java_reads_is_shown_as_bytes_with_its_class() {
    let directory = tempfile::tempdir().expect("a directory");
    let void = VoidNamespace::serializer_snapshot;
    let states = vec![
        StateMeta::key_value("cart", KeyedStateType::Value, void(), kryo("com.acme.Cart")),
        StateMeta::key_value(
            "carts",
            KeyedStateType::List,
            void(),
            SerializerSnapshot::list(kryo("com.acme.Cart")),
        ),
    ];
    let key = |text: &str| [bytes(text.to_owned()), vec![0]].concat();
    let entries = [
        entry(82, 0, &key("k2"), &[1, 2, 3]),
        entry(82, 1, &key("k2"), &[9]),
    ];
    let snapshot = made(
        directory.path(),
        String::serializer_snapshot(),
        states,
        &entries,
    );
    let found = lines(&snapshot, Selection::default());
    let cart = |hex: &str| json!({"opaque": "Kryo com.acme.Cart", "hex": hex});
    assert_eq!(found[0]["value"], cart("010203"));
    assert_eq!(found[1]["value"], cart("09"));
    assert_eq!(found[0]["key"], "k2");
}

#[test]
fn keys_that_only_java_reads_end_where_a_namespace_of_fixed_length_begins() {
    let directory = tempfile::tempdir().expect("a directory");
    let void = VoidNamespace::serializer_snapshot();
    let states = vec![StateMeta::key_value(
        "count",
        KeyedStateType::Value,
        void,
        i64::serializer_snapshot(),
    )];
    let entries = [entry(5, 0, &[0xca, 0xfe, 0], &bytes(3i64))];
    let snapshot = made(directory.path(), kryo("com.acme.Id"), states, &entries);
    let found = lines(&snapshot, Selection::default());
    let key = json!({"opaque": "Kryo com.acme.Id", "hex": "cafe"});
    assert_eq!((&found[0]["key"], &found[0]["value"]), (&key, &json!(3)));
}

#[test]
fn csv_is_quoted_and_a_table_moves_no_cursor() {
    let directory = tempfile::tempdir().expect("a directory");
    let void = VoidNamespace::serializer_snapshot();
    let string = String::serializer_snapshot;
    let states = vec![StateMeta::key_value(
        "text",
        KeyedStateType::Value,
        void,
        string(),
    )];
    let mut key = Vec::new();
    key.put_string_value("k2");
    key.push(0);
    let value = bytes("a,\"b\"\n\u{1b}[2J".to_owned());
    let snapshot = made(
        directory.path(),
        string(),
        states,
        &[entry(82, 0, &key, &value)],
    );
    let csv = text(&snapshot, Format::Csv, Selection::default()).expect("readable");
    let rest = csv.split_once(",text,").expect("a row").1;
    assert_eq!(rest, "k2,,,\"a,\"\"b\"\"\n\u{1b}[2J\"\n");
    let table = text(&snapshot, Format::Table, Selection::default()).expect("readable");
    assert!(table.contains("a,\"b\"\\n\\u{1b}[2J"), "{table}");
    let lines: Vec<&str> = table.lines().collect();
    let columns = |line: &str| line.split("  ").filter(|cell| !cell.is_empty()).count();
    assert_eq!(
        (lines.len(), columns(lines[0]), columns(lines[1])),
        (2, 4, 4),
        "{table}"
    );
    assert_eq!(lines[0].find("value"), lines[1].find("a,"), "{table}");
}
