//! Savepoints that real Flink wrote are restored, and what they hold is what Flink says.
//!
//! The savepoints and their sidecars are the golden files of the snapshot crate.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod standing;

use millpond_fs::{Location, file_system_for};
use millpond_serializer::{FlinkKey, TimeWindow, VoidNamespace};
use millpond_snapshot::{CanonicalReader, LoadedSnapshot, OperatorSnapshot, StateSource, load};
use millpond_state::{KeyedBackend, OperatorStateBackend, StateTtlConfig, TimerService};
use millpond_types::{KeyGroupRange, ManualClock, OperatorId};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

struct Golden {
    snapshot: LoadedSnapshot,
    sidecar: Value,
}

impl Golden {
    fn open(version: &str, name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../snapshot/tests/golden")
            .join(version);
        let sidecar = std::fs::read(folder.join(format!("{name}.json"))).unwrap();
        let location = Location::parse(folder.join(name).to_str().unwrap()).unwrap();
        Golden {
            snapshot: load(file_system_for(&location).unwrap(), &location).unwrap(),
            sidecar: serde_json::from_slice(&sidecar).unwrap(),
        }
    }

    fn sidecar_of(&self, uid: &str) -> &Value {
        let operators = self.sidecar["operators"].as_array().unwrap();
        operators
            .iter()
            .find(|operator| operator["uid"] == uid)
            .unwrap()
    }

    fn operator(&self, uid: &str) -> &OperatorSnapshot {
        let id: OperatorId = self.sidecar_of(uid)["operator_id"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        self.snapshot
            .metadata
            .operators
            .iter()
            .find(|operator| operator.id == id)
            .unwrap()
    }

    /// Returns the restored backends of all subtasks.
    fn keyed<K: FlinkKey>(&self, uid: &str, parallelism: u32) -> Vec<KeyedBackend<K>> {
        let operator = self.operator(uid);
        let max_parallelism = operator.max_parallelism;
        let subtask = |subtask| {
            let range = KeyGroupRange::of_subtask(subtask, parallelism, max_parallelism);
            let backend = standing::backend(max_parallelism, range);
            for (_, state) in &operator.subtasks {
                if let Some(handle) = &state.managed_keyed {
                    backend.restore(&self.snapshot, handle).unwrap();
                }
            }
            backend
        };
        (0..parallelism).map(subtask).collect()
    }

    /// What Flink says a keyed state holds.
    fn content(&self, uid: &str, state: &str) -> BTreeMap<String, Value> {
        let states = self.sidecar_of(uid)["keyed_states"].as_array().unwrap();
        let state = states.iter().find(|found| found["name"] == state).unwrap();
        let rows = state["content"].as_array().unwrap().iter();
        rows.map(|row| (key_of(row), row.as_array().unwrap().last().unwrap().clone()))
            .collect()
    }
}

/// All but the last part of a row, as text.
fn key_of(row: &Value) -> String {
    let row = row.as_array().unwrap();
    json!(row[..row.len() - 1]).to_string()
}

type Rows = BTreeMap<String, Value>;

fn each_key(backend: &KeyedBackend<String>, state: &str, mut row: impl FnMut() -> Value) -> Rows {
    let keys = backend.keys(state).into_iter();
    keys.map(|key| {
        backend.set_current_key(&key, backend.key_group(&key));
        (json!([key]).to_string(), row())
    })
    .collect()
}

fn kinds(version: &str, name: &str) {
    for parallelism in [1, 2, 3] {
        let golden = Golden::open(version, name);
        let mut found: BTreeMap<&str, Rows> = BTreeMap::new();
        for backend in golden.keyed::<String>("all-kinds", parallelism) {
            let long = backend.value_state::<i64>("value-long").unwrap();
            let string = backend.value_state::<String>("value-string").unwrap();
            let longs = backend.list_state::<i64>("list-long").unwrap();
            let strings = backend.list_state::<String>("list-string").unwrap();
            let map = backend.map_state::<String, i64>("map-string-long").unwrap();
            let numbers = backend.map_state::<i64, i64>("map-long-long").unwrap();
            let sum = backend
                .reducing_state::<i64>("reducing-sum", |a, b| a + b)
                .unwrap();
            let average = backend
                .aggregating_state_in::<_, (i64, i64)>("aggregating-avg", VoidNamespace)
                .unwrap();
            let mut add = |state: &'static str, row: &mut dyn FnMut() -> Value| {
                found
                    .entry(state)
                    .or_default()
                    .extend(each_key(&backend, state, row));
            };
            add("value-long", &mut || json!(long.value()));
            add("value-string", &mut || json!(string.value()));
            add("list-long", &mut || json!(longs.get()));
            add("list-string", &mut || json!(strings.get()));
            add("map-string-long", &mut || {
                json!(map.entries().into_iter().collect::<BTreeMap<_, _>>())
            });
            add("map-long-long", &mut || {
                let entries = numbers.entries().into_iter();
                json!(
                    entries
                        .map(|(key, value)| (key.to_string(), value))
                        .collect::<BTreeMap<_, _>>()
                )
            });
            add("reducing-sum", &mut || json!(sum.get()));
            add("aggregating-avg", &mut || json!(average.value()));
        }
        for (state, rows) in found {
            assert_eq!(rows, golden.content("all-kinds", state), "{name}, {state}");
        }
    }
}

#[test]
fn every_kind_of_keyed_state_is_restored_from_savepoints_of_flink() {
    standing::on_each(|| {
        kinds("2.3.0", "kinds-hashmap-canonical");
        kinds("2.3.0", "kinds-hashmap-native");
        kinds("2.3.0", "kinds-rocksdb-canonical");
        kinds("2.3.0", "files-kinds-hashmap-canonical");
        kinds("2.3.0", "maxpar32768-kinds-hashmap-canonical");
        kinds("1.20.5", "kinds-hashmap-canonical");
        kinds("1.15.4", "kinds-hashmap-canonical");
    });
}

#[test]
fn null_values_in_a_map_are_options_and_else_refused_by_name() {
    for version in ["2.3.0", "1.20.5"] {
        let golden = Golden::open(version, "nullmap-kinds-rocksdb-canonical");
        let mut found = Rows::new();
        let mut refused = Vec::new();
        for backend in golden.keyed::<String>("all-kinds", 2) {
            refused.extend(backend.map_state::<String, i64>("map-string-long").err());
        }
        for backend in golden.keyed::<String>("all-kinds", 2) {
            let map = backend
                .map_state::<String, Option<i64>>("map-string-long")
                .unwrap();
            let row = || json!(map.entries().into_iter().collect::<BTreeMap<_, _>>());
            found.extend(each_key(&backend, "map-string-long", row));
        }
        assert!(
            found
                .values()
                .any(|map| map.as_object().unwrap().values().any(Value::is_null))
        );
        assert_eq!(found, golden.content("all-kinds", "map-string-long"));
        let error = refused.first().unwrap();
        assert!(error.to_string().contains("map-string-long"), "{error}");
        let cause = std::error::Error::source(error).unwrap().to_string();
        assert!(cause.contains("null"), "{cause}");
    }
}

fn timers_of<N>(
    service: &TimerService<String, N>,
    row: impl Fn(String, N, i64) -> Value,
) -> (Vec<Value>, Vec<Value>)
where
    N: millpond_serializer::Namespace,
{
    let rows = |timers: Vec<millpond_state::Timer<String, N>>| {
        let rows = timers.into_iter();
        rows.map(|timer| row(timer.key, timer.namespace, timer.timestamp))
            .collect()
    };
    (
        rows(service.event_timers()),
        rows(service.processing_timers()),
    )
}

fn assert_timers(found: (Vec<Value>, Vec<Value>), sidecar: &Value) {
    let sorted = |rows: &[Value]| {
        let mut rows: Vec<String> = rows.iter().map(Value::to_string).collect();
        rows.sort();
        rows
    };
    for (found, domain) in [(found.0, "event"), (found.1, "processing")] {
        let expected = sidecar["timers"][domain]
            .as_array()
            .cloned()
            .unwrap_or_default();
        assert_eq!(sorted(&found), sorted(&expected), "{domain} time");
    }
}

#[test]
fn timers_are_restored_from_savepoints_of_flink() {
    standing::on_each(|| {
        for name in ["timers-hashmap-canonical", "timers-hashmap-native"] {
            let golden = Golden::open("2.3.0", name);
            let mut all = (Vec::new(), Vec::new());
            for backend in golden.keyed::<String>("timers", 3) {
                let timers = backend.timers::<VoidNamespace>("user-timers").unwrap();
                let (event, processing) = timers_of(&timers, |key, _, time| json!([key, time]));
                all.0.extend(event);
                all.1.extend(processing);
            }
            assert_timers(all, golden.sidecar_of("timers"));
        }
    });
}

#[test]
fn windows_are_restored_from_savepoints_of_flink() {
    standing::on_each(|| {
        let golden = Golden::open("2.3.0", "window-hashmap-canonical");
        let mut contents = Rows::new();
        let mut all = (Vec::new(), Vec::new());
        for backend in golden.keyed::<String>("window-sum", 2) {
            let none = TimeWindow { start: 0, end: 0 };
            type Sum = (String, i64, i64);
            let _contents = backend
                .reducing_state_in::<TimeWindow, Sum>("window-contents", none, |a, _| a.clone())
                .unwrap();
            backend.for_each_value("window-contents", |key: &String, window, value: &Sum| {
                let TimeWindow { start, end } = window;
                contents.insert(json!([key, [start, end]]).to_string(), json!(value));
            });
            let timers = backend.timers::<TimeWindow>("window-timers").unwrap();
            let row =
                |key, window: TimeWindow, time| json!([key, [window.start, window.end], time]);
            let (event, processing) = timers_of(&timers, row);
            all.0.extend(event);
            all.1.extend(processing);
        }
        assert_eq!(contents, golden.content("window-sum", "window-contents"));
        assert_timers(all, golden.sidecar_of("window-sum"));
    });
}

#[test]
fn operator_state_is_restored_from_savepoints_of_flink() {
    for name in [
        "opstate-hashmap-canonical",
        "files-opstate-hashmap-canonical",
    ] {
        let golden = Golden::open("2.3.0", name);
        let backend = OperatorStateBackend::new();
        for (_, subtask) in &golden.operator("op-state").subtasks {
            backend
                .restore(&golden.snapshot, subtask.managed_operator.as_ref().unwrap())
                .unwrap();
        }
        let split = backend.list_state::<String>("split-list").unwrap().get();
        let union = backend
            .union_list_state::<(String, i64)>("union-list")
            .unwrap()
            .get();
        let sorted = |value: Value| {
            let mut rows: Vec<_> = value
                .as_array()
                .unwrap()
                .iter()
                .map(Value::to_string)
                .collect();
            rows.sort();
            rows
        };
        let states = golden.sidecar_of("op-state")["operator_states"]
            .as_array()
            .unwrap();
        let expected = |name: &str| {
            let state = states.iter().find(|state| state["name"] == name).unwrap();
            sorted(state["content"].clone())
        };
        assert_eq!(sorted(json!(split)), expected("split-list"));
        assert_eq!(sorted(json!(union)), expected("union-list"));
    }
}

#[test]
fn broadcast_state_is_restored_from_savepoints_of_flink_and_comes_back_from_ours() {
    for (version, name) in [
        ("2.3.0", "opstate-hashmap-canonical"),
        ("2.3.0", "files-opstate-hashmap-canonical"),
        ("1.20.5", "opstate-hashmap-canonical"),
        ("1.15.4", "opstate-hashmap-canonical"),
    ] {
        let golden = Golden::open(version, name);
        let states = &golden.sidecar_of("rules-join")["operator_states"];
        let expected = states[0]["content"].clone();
        for (_, subtask) in &golden.operator("rules-join").subtasks {
            let handle = subtask.managed_operator.as_ref().unwrap();
            let backend = OperatorStateBackend::new();
            backend.restore(&golden.snapshot, handle).unwrap();
            let rules = backend.broadcast_state::<String, i64>("rules").unwrap();
            assert_eq!(json!(rules.entries()), expected, "{version}, {name}");

            let mut bytes = Vec::new();
            let written = backend.freeze().write(&mut bytes).unwrap();
            let handle = millpond_snapshot::OperatorStateHandle {
                states: written.offsets,
                ..handle.clone()
            };
            let again = OperatorStateBackend::new();
            again.restore_bytes(bytes, &handle).unwrap();
            let again = again.broadcast_state::<String, i64>("rules").unwrap();
            assert_eq!(json!(again.entries()), expected, "{version}, {name}");

            let other = OperatorStateBackend::new();
            other
                .restore(&golden.snapshot, handle_of(&golden, "rules-join"))
                .unwrap();
            let error = other
                .broadcast_state::<String, String>("rules")
                .unwrap_err();
            assert!(error.to_string().contains("rules"), "{error}");
            let error = other.list_state::<String>("rules").unwrap_err();
            assert!(error.to_string().contains("a broadcast map"), "{error}");
        }
    }
}

/// The operator state of the first subtask of an operator.
fn handle_of<'a>(golden: &'a Golden, uid: &str) -> &'a millpond_snapshot::OperatorStateHandle {
    let operator = golden.operator(uid);
    let mut handles = operator.subtasks.iter();
    handles
        .find_map(|(_, state)| state.managed_operator.as_ref())
        .unwrap()
}

/// 30 years, as the state in these savepoints has.
fn thirty_years() -> StateTtlConfig {
    StateTtlConfig::new(std::time::Duration::from_millis(946_080_000_000))
}

fn ttl(version: &str, name: &str, config: StateTtlConfig) {
    let golden = Golden::open(version, name);
    let clock = Arc::new(ManualClock::at(0));
    for parallelism in [1, 2, 3] {
        let mut found: BTreeMap<&str, Rows> = BTreeMap::new();
        for backend in golden.keyed::<String>("with-ttl", parallelism) {
            let states = backend.with_ttl(config, clock.clone());
            let value = states.value_state::<i64>("ttl-value").unwrap();
            let list = states.list_state::<String>("ttl-list").unwrap();
            let map = states.map_state::<String, i64>("ttl-map").unwrap();
            let mut add = |state: &'static str, row: &mut dyn FnMut() -> Value| {
                found
                    .entry(state)
                    .or_default()
                    .extend(each_key(&backend, state, row));
            };
            add("ttl-value", &mut || json!(value.value()));
            add("ttl-list", &mut || json!(list.get()));
            add("ttl-map", &mut || {
                json!(map.entries().into_iter().collect::<BTreeMap<_, _>>())
            });
        }
        for (state, rows) in found {
            assert_eq!(
                rows,
                golden.content("with-ttl", state),
                "{version} {name} {state}"
            );
            assert_eq!(rows.len(), 20);
        }
    }
}

#[test]
fn state_with_time_to_live_is_restored_from_all_versions_and_formats() {
    standing::on_each(|| {
        for version in ["1.15.4", "1.20.5", "2.3.0"] {
            for name in ["ttl-hashmap-canonical", "ttl-hashmap-native"] {
                ttl(version, name, thirty_years());
                // As Flink 2 does, a state may lose its time-to-live.
                ttl(version, name, StateTtlConfig::disabled());
            }
        }
    });
}

#[test]
fn state_of_flink_may_get_a_time_to_live() {
    let golden = Golden::open("2.3.0", "kinds-hashmap-native");
    let clock = Arc::new(ManualClock::at(5_000));
    for backend in golden.keyed::<String>("all-kinds", 1) {
        let minute = StateTtlConfig::new(std::time::Duration::from_secs(60));
        let states = backend.with_ttl(minute, clock.clone());
        let long = states.value_state::<i64>("value-long").unwrap();
        let list = states.list_state::<String>("list-string").unwrap();
        let found = each_key(&backend, "value-long", || json!(long.value()));
        assert_eq!(found, golden.content("all-kinds", "value-long"));
        let found = each_key(&backend, "list-string", || json!(list.get()));
        assert_eq!(found, golden.content("all-kinds", "list-string"));
        clock.advance(std::time::Duration::from_secs(60));
        let found = each_key(&backend, "value-long", || json!(long.value()));
        assert!(found.values().all(Value::is_null), "{found:?}");
    }
}

#[test]
fn an_expired_state_of_flink_is_not_seen_and_one_of_another_type_is_refused() {
    let golden = Golden::open("2.3.0", "ttl-hashmap-canonical");
    let clock = Arc::new(ManualClock::at(u64::from(u32::MAX) * 1_000));
    for backend in golden.keyed::<String>("with-ttl", 1) {
        let minute = StateTtlConfig::new(std::time::Duration::from_secs(60));
        let states = backend.with_ttl(minute, clock.clone());
        let value = states.value_state::<i64>("ttl-value").unwrap();
        for key in backend.keys("ttl-value") {
            backend.set_current_key(&key, backend.key_group(&key));
            assert_eq!(value.value(), None);
        }
        assert!(backend.keys("ttl-value").is_empty());
        let error = backend.map_state::<String, String>("ttl-map").unwrap_err();
        let text = error.to_string();
        for word in ["\"ttl-map\"", "Long", "String"] {
            assert!(text.contains(word), "{text}");
        }
    }
}

#[test]
fn what_was_restored_with_time_to_live_is_written_as_it_was() {
    standing::on_each(|| {
        for (version, name) in [
            ("1.15.4", "ttl-hashmap-canonical"),
            ("2.3.0", "ttl-hashmap-canonical"),
        ] {
            let golden = Golden::open(version, name);
            let operator = golden.operator("with-ttl");
            let entries = |backend: &KeyedBackend<String>| {
                let mut bytes = Vec::new();
                let written = backend.freeze().write(&mut bytes).unwrap();
                let source = StateSource::of_bytes("state", bytes);
                let range = backend.range();
                let mut reader =
                    CanonicalReader::open(source, &written.groups, range, operator.max_parallelism)
                        .unwrap();
                let mut metas = reader.header().states.clone();
                for meta in &mut metas {
                    meta.options.sort();
                    meta.serializers.sort_by(|a, b| a.0.cmp(&b.0));
                }
                let mut found = Vec::new();
                while let Some(entry) = reader.next_entry().unwrap() {
                    let state = metas[entry.state].name.clone();
                    found.push((state, entry.key.to_vec(), entry.value.to_vec()));
                }
                found.sort();
                metas.sort_by(|a, b| a.name.cmp(&b.name));
                (metas, found)
            };
            for backend in golden.keyed::<String>("with-ttl", 1) {
                // As bytes, before any state is registered.
                let before = entries(&backend);
                assert_eq!(before.1.len(), 20 + 20 + 60);
                let states = backend.with_ttl(thirty_years(), Arc::new(ManualClock::at(0)));
                states.value_state::<i64>("ttl-value").unwrap();
                states.list_state::<String>("ttl-list").unwrap();
                states.map_state::<String, i64>("ttl-map").unwrap();
                assert_eq!(entries(&backend), before, "{version}");
            }
        }
    });
}
