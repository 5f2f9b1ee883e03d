//! Any state content, written and read back in both formats and through any rescale and rehash, is
//! equal.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use millpond_fs::memory::MemoryFileSystem;
use millpond_fs::{FileSystem, Location};
use millpond_serializer::{FlinkKey, FlinkType, TimeWindow, TimerElement, VoidNamespace};
use millpond_snapshot::{KeyedFormat, KeyedStateType, LoadedSnapshot, load};
use millpond_state_processor::{
    ConvertOptions, NewSavepoint, OperatorRows, RehashOptions, SavepointOptions, convert, rehash,
};
use millpond_types::{KeyGroup, OperatorId};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;

use crate::fixture::{Content, content};

/// What an operator holds.
#[derive(Clone, Debug)]
struct State {
    values: BTreeMap<String, i64>,
    lists: BTreeMap<String, Vec<String>>,
    maps: BTreeMap<String, BTreeMap<i64, Option<Vec<u8>>>>,
    windows: BTreeMap<(String, i64), (i64, String)>,
    events: BTreeSet<(String, i64)>,
    processing: BTreeSet<(String, i64)>,
    split: Vec<i64>,
    union: Vec<String>,
    broadcast: BTreeMap<String, i64>,
}

fn keys() -> impl Strategy<Value = String> {
    // Delimiters, texts that begin alike, and characters of every width.
    prop_oneof!["[a-c,]{0,3}", "k[0-9]{1,3}", "[é\u{1f600}\u{0}x]{1,3}"]
}

fn states() -> impl Strategy<Value = State> {
    let keyed = (
        btree_map(keys(), any::<i64>(), 0..30),
        btree_map(keys(), vec(keys(), 1..5), 0..20),
        btree_map(
            keys(),
            btree_map(any::<i64>(), any::<Option<Vec<u8>>>(), 1..5),
            0..20,
        ),
        btree_map((keys(), -3..3i64), (any::<i64>(), keys()), 0..20),
    );
    let timers = (
        btree_set((keys(), any::<i64>()), 0..20),
        btree_set((keys(), any::<i64>()), 0..20),
    );
    let lists = (
        vec(any::<i64>(), 0..7),
        vec(keys(), 0..7),
        btree_map(keys(), any::<i64>(), 0..7),
    );
    (keyed, timers, lists).prop_map(|(keyed, timers, lists)| State {
        values: keyed.0,
        lists: keyed.1,
        maps: keyed.2,
        windows: keyed.3,
        events: timers.0,
        processing: timers.1,
        split: lists.0,
        union: lists.1,
        broadcast: lists.2,
    })
}

fn window(number: i64) -> TimeWindow {
    TimeWindow {
        start: number * 10,
        end: number * 10 + 10,
    }
}

fn write(
    fs: &Arc<dyn FileSystem>,
    directory: &Location,
    state: &State,
    (parallelism, max): (u32, u32),
    format: KeyedFormat,
) -> LoadedSnapshot {
    let options = SavepointOptions {
        format,
        ..SavepointOptions::default()
    };
    let mut savepoint = NewSavepoint::create(fs.clone(), directory, options).expect("room");
    let mut rows = savepoint.keyed_rows::<String>(max);
    let value = rows.value::<i64>("value").expect("new");
    let list = rows.list::<String>("list").expect("new");
    let map = rows.map::<i64, Option<Vec<u8>>>("map").expect("new");
    let windows = rows
        .namespaced::<(i64, String), TimeWindow>("windows", KeyedStateType::Reducing)
        .expect("new");
    let timers = rows.timers::<VoidNamespace>("user-timers").expect("new");
    // Last keys first, so that there is something to sort.
    for (key, number) in state.values.iter().rev() {
        rows.put(&value, key, number).expect("room");
    }
    for (key, entries) in state.maps.iter().rev() {
        for (user_key, user_value) in entries.iter().rev() {
            rows.put_entry(&map, key, user_key, user_value)
                .expect("room");
        }
    }
    // The elements of all lists in turn.
    let longest = state.lists.values().map(Vec::len).max().unwrap_or(0);
    for at in 0..longest {
        for (key, elements) in &state.lists {
            if let Some(element) = elements.get(at) {
                rows.add(&list, key, element).expect("room");
            }
        }
    }
    for ((key, number), sum) in &state.windows {
        rows.put_in(&windows, key, &window(*number), sum)
            .expect("room");
    }
    for (key, time) in &state.events {
        for _ in 0..2 {
            rows.event_timer(&timers, key, &VoidNamespace, *time)
                .expect("room");
        }
    }
    for (key, time) in &state.processing {
        rows.processing_timer(&timers, key, &VoidNamespace, *time)
            .expect("room");
    }
    let operator = OperatorRows::new("op", parallelism, max)
        .and_then(|operator| operator.keyed(rows))
        .and_then(|operator| operator.split("split", state.split.clone()))
        .and_then(|operator| operator.union("union", state.union.clone()))
        .and_then(|operator| operator.broadcast("broadcast", state.broadcast.clone()))
        .expect("fits");
    savepoint.add(operator).expect("room");
    savepoint.finish().expect("room");
    read(fs, directory)
}

fn read(fs: &Arc<dyn FileSystem>, directory: &Location) -> LoadedSnapshot {
    let snapshot = load(fs.clone(), directory).expect("whole");
    assert!(snapshot.verify().is_empty(), "{:?}", snapshot.verify());
    snapshot
}

fn bytes<T: FlinkType>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    value.write(&mut out);
    out
}

/// The same content, said by this test.
fn expected(state: &State, max: u32) -> Content {
    let id = OperatorId::of_uid("op").to_string();
    let mut content = Content::default();
    let mut push = |name: &str, key: &String, entry: Vec<u8>, value: Vec<u8>| {
        let group = KeyGroup::of_hash(key.hash_code(), max).0;
        content
            .keyed
            .push((id.clone(), name.to_owned(), group, entry, value));
    };
    let head = |key: &String| bytes(&(key.clone(), VoidNamespace));
    for (key, number) in &state.values {
        push("value", key, head(key), bytes(number));
    }
    for (key, elements) in &state.lists {
        let elements: Vec<_> = elements.iter().map(bytes).collect();
        push("list", key, head(key), elements.join(&b','));
    }
    for (key, entries) in &state.maps {
        for (user_key, value) in entries {
            push(
                "map",
                key,
                [head(key), bytes(user_key)].concat(),
                bytes(value),
            );
        }
    }
    for ((key, number), sum) in &state.windows {
        let entry = bytes(&(key.clone(), window(*number)));
        push("windows", key, entry, bytes(sum));
    }
    for (kind, timers) in [("event", &state.events), ("processing", &state.processing)] {
        for (key, timestamp) in timers {
            let timer = TimerElement {
                timestamp: *timestamp,
                key: key.clone(),
                namespace: VoidNamespace,
            };
            let name = format!("_timer_state/{kind}_user-timers");
            push(&name, key, bytes(&timer), Vec::new());
        }
    }
    let list = |name: &str, element: Vec<u8>| (id.clone(), name.to_owned(), element);
    let split = state
        .split
        .iter()
        .map(|element| list("split", bytes(element)));
    let union = state
        .union
        .iter()
        .map(|element| list("union", bytes(element)));
    content.lists = split.chain(union).collect();
    let mut map = (state.broadcast.len() as i32).to_be_bytes().to_vec();
    for (key, value) in &state.broadcast {
        map.extend(bytes(&(key.clone(), *value)));
    }
    content
        .maps
        .insert((id.clone(), "broadcast".to_owned()), map);
    content.keyed.sort();
    content.lists.sort();
    content
}

fn parallelisms() -> impl Strategy<Value = (u32, u32)> {
    prop_oneof![
        Just(1u32),
        Just(5),
        Just(127),
        Just(128),
        Just(129),
        Just(300)
    ]
    .prop_flat_map(|max| (1..=max.min(5), Just(max)))
}

fn formats() -> impl Strategy<Value = KeyedFormat> {
    prop_oneof![Just(KeyedFormat::Canonical), Just(KeyedFormat::NativeHeap)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn any_content_is_equal_in_every_format_and_through_every_rescale_and_rehash(
        state in states(),
        written in parallelisms(),
        format in formats(),
        other_format in formats(),
        other_parallelism in 1u32..6,
        other_max in 6u32..2000,
    ) {
        let fs: Arc<dyn FileSystem> = Arc::new(MemoryFileSystem::new());
        let directory = |name: &str| Location::parse("/snapshots").expect("a path").join(name);
        let first = write(&fs, &directory("first"), &state, written, format);
        prop_assert_eq!(content(&first), expected(&state, written.1));

        let options = ConvertOptions {
            format: Some(other_format),
            parallelism: Some(other_parallelism),
            ..ConvertOptions::default()
        };
        convert(&first, fs.clone(), &directory("converted"), &options).expect("fits");
        let converted = read(&fs, &directory("converted"));
        prop_assert_eq!(content(&converted), expected(&state, written.1));

        let options = RehashOptions { max_parallelism: other_max, for_flink: None };
        rehash(&converted, fs.clone(), &directory("rehashed"), &options).expect("fits");
        let rehashed = read(&fs, &directory("rehashed"));
        prop_assert_eq!(content(&rehashed), expected(&state, other_max));
    }
}
