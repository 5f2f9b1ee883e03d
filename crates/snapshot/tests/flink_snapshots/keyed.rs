//! Keyed state that Flink wrote is decoded to the last byte, and written again byte by byte.

use std::collections::BTreeMap;

use crate::fixture::{Golden, decode, decode_all, golden};
use millpond_serializer::{ByteReader, FlinkKey, FlinkType, SerializerSnapshot, skip_value};
use millpond_snapshot::{
    CanonicalReader, CanonicalWriter, Entry, KeyGroupsKind, KeyedFormat, KeyedHandle, KeyedHeader,
    KeyedReader, KeyedStateType, KeyedWriter, LIST_DELIMITER, LoadedSnapshot, NativeHeapReader,
    NativeHeapWriter, OperatorSnapshot, StateKind, StateSource, split_key,
};
use millpond_types::KeyGroup;
use serde_json::{Value, json};

/// Calls `check` for every handle of managed keyed state with key groups.
fn for_each_handle(
    mut check: impl FnMut(&Golden, &LoadedSnapshot, &OperatorSnapshot, &KeyedHandle),
) {
    for golden in golden().iter().filter(|golden| golden.has_state()) {
        let snapshot = golden.load();
        for operator in &snapshot.metadata.operators {
            for (_, subtask) in &operator.subtasks {
                if let Some(handle @ KeyedHandle::KeyGroups { .. }) = &subtask.managed_keyed {
                    check(golden, &snapshot, operator, handle);
                }
            }
        }
    }
}

fn open(
    snapshot: &LoadedSnapshot,
    operator: &OperatorSnapshot,
    handle: &KeyedHandle,
) -> KeyedReader {
    let range = handle.key_groups().expect("not empty");
    snapshot
        .open_keyed(handle, range, operator.max_parallelism)
        .expect("a header")
        .expect("key groups")
}

#[test]
fn canonical_state_is_written_again_byte_by_byte() {
    let mut entries = 0;
    for_each_handle(|golden, snapshot, operator, handle| {
        let KeyedHandle::KeyGroups {
            kind: KeyGroupsKind::Savepoint,
            groups,
            stream,
        } = handle
        else {
            return;
        };
        let bytes = snapshot
            .open(stream)
            .expect("there")
            .read_all()
            .expect("readable");
        let mut reader = open(snapshot, operator, handle);
        let header = reader.header().clone();
        let range = handle.key_groups().expect("not empty");
        let mut writer = CanonicalWriter::new(Vec::new(), &header, range, operator.max_parallelism)
            .expect("a header");
        let mut place = None;
        while let Some(entry) = reader
            .next_entry()
            .unwrap_or_else(|e| panic!("{}: {e}", golden.name))
        {
            if place != Some((entry.key_group, entry.state)) {
                place = Some((entry.key_group, entry.state));
                writer
                    .begin_state(entry.key_group, entry.state)
                    .expect("memory");
            }
            writer.raw_entry(entry.key, entry.value).expect("memory");
            entries += 1;
        }
        let written = writer.finish().expect("memory");
        assert!(written.out == bytes, "{}: other bytes", golden.name);
        assert_eq!(&written.groups, groups, "{}", golden.name);
        assert_eq!(written.bytes, bytes.len() as u64);
    });
    assert!(entries > 5000, "{entries} entries");
}

/// The states of a group of the native format in the order of the file.
fn state_order(header: &KeyedHeader, input: &mut ByteReader<'_>) -> Vec<usize> {
    input.i32().expect("the key group");
    let states = 0..header.states.len();
    states
        .map(|_| {
            let state = input.i16().expect("a state") as usize;
            let meta = &header.states[state];
            let value = meta.value_serializer().expect("one");
            for _ in 0..input.i32().expect("a count") {
                if meta.kind == StateKind::KeyValue {
                    let namespace = meta.namespace_serializer().expect("one");
                    skip_value(namespace, input).expect("a namespace");
                    skip_value(&header.key_serializer, input).expect("a key");
                }
                skip_value(value, input).expect("a value");
            }
            state
        })
        .collect()
}

#[test]
fn native_heap_state_is_written_again_byte_by_byte() {
    let mut entries = 0;
    for_each_handle(|golden, snapshot, operator, handle| {
        let KeyedHandle::KeyGroups { groups, stream, .. } = handle else {
            return;
        };
        if !matches!(open(snapshot, operator, handle), KeyedReader::NativeHeap(_)) {
            return;
        }
        let source = snapshot.open(stream).expect("there");
        let bytes = source.read_all().expect("readable");
        let range = handle.key_groups().expect("not empty");
        let mut reader = NativeHeapReader::open(source, groups, range).expect("a header");
        let header = reader.header().clone();
        let mut content: BTreeMap<(KeyGroup, usize), Vec<_>> = BTreeMap::new();
        while let Some(entry) = reader.next_entry().expect("whole") {
            let place = content.entry((entry.key_group, entry.state)).or_default();
            place.push((entry.key.to_vec(), entry.value.to_vec()));
            entries += 1;
        }
        let mut writer = NativeHeapWriter::new(Vec::new(), &header, range).expect("a header");
        for (group, offset) in groups.iter() {
            let mut input = ByteReader::new(&bytes[offset as usize..]);
            for state in state_order(&header, &mut input) {
                writer.begin_state(group, state).expect("memory");
                for (key, value) in content.remove(&(group, state)).unwrap_or_default() {
                    writer.raw_entry(&key, &value).expect("an entry");
                }
            }
        }
        let written = writer.finish().expect("memory");
        assert!(written.out == bytes, "{}: other bytes", golden.name);
        assert_eq!(&written.groups, groups, "{}", golden.name);
    });
    assert!(entries > 2000, "{entries} entries");
}

/// Everything that a reader yields, sorted.
fn all(mut reader: KeyedReader) -> Vec<(KeyGroup, usize, Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    while let Some(entry) = reader.next_entry().expect("whole") {
        let (key, value) = (entry.key.to_vec(), entry.value.to_vec());
        rows.push((entry.key_group, entry.state, key, value));
    }
    rows.sort();
    rows
}

/// A null in a map keeps nothing behind its flag on the way through the native format.
fn without_rest_of_nulls(header: &KeyedHeader, rows: &mut [(KeyGroup, usize, Vec<u8>, Vec<u8>)]) {
    for (_, state, _, value) in rows {
        if header.states[*state].keyed_state_type() == Some(KeyedStateType::Map) && value[0] == 1 {
            value.truncate(1);
        }
    }
}

#[test]
fn either_format_is_written_as_the_other_one_and_holds_the_same() {
    let mut entries = 0;
    for_each_handle(|golden, snapshot, operator, handle| {
        let (range, max) = (
            handle.key_groups().expect("not empty"),
            operator.max_parallelism,
        );
        let header = open(snapshot, operator, handle).header().clone();
        let mut expected = all(open(snapshot, operator, handle));
        without_rest_of_nulls(&header, &mut expected);
        for format in [KeyedFormat::Canonical, KeyedFormat::NativeHeap] {
            let mut reader = open(snapshot, operator, handle);
            let mut writer =
                KeyedWriter::new(format, Vec::new(), &header, range, max).expect("a header");
            let mut place = None;
            while let Some(entry) = reader.next_entry().expect("whole") {
                if place != Some((entry.key_group, entry.state)) {
                    place = Some((entry.key_group, entry.state));
                    writer
                        .begin_state(entry.key_group, entry.state)
                        .expect("memory");
                }
                writer.raw_entry(entry.key, entry.value).expect("an entry");
            }
            let written = writer.finish().expect("memory");
            let source = StateSource::of_bytes("written", written.out.as_slice());
            let again = match format {
                KeyedFormat::Canonical => {
                    CanonicalReader::open(source, &written.groups, range, max)
                        .map(KeyedReader::Canonical)
                }
                KeyedFormat::NativeHeap => NativeHeapReader::open(source, &written.groups, range)
                    .map(KeyedReader::NativeHeap),
                KeyedFormat::NativeRocksDb => unreachable!("no stream"),
            };
            let mut found = all(again.expect("a header"));
            without_rest_of_nulls(&header, &mut found);
            assert!(found == expected, "{} as {format:?}", golden.name);
            entries += found.len();
        }
    });
    assert!(entries > 10_000, "{entries} entries");
}

/// The hash of a key of one of the types whose Java hash is fixed.
fn hash_code(snapshot: &SerializerSnapshot, bytes: &[u8]) -> i32 {
    fn of<K: FlinkKey>(bytes: &[u8]) -> i32 {
        let mut input = ByteReader::new(bytes);
        let key = K::read(&mut input).expect("a key");
        assert!(input.is_empty());
        let mut again = Vec::new();
        key.write(&mut again);
        assert_eq!(again, bytes);
        key.hash_code()
    }
    match snapshot {
        s if *s == String::serializer_snapshot() => of::<String>(bytes),
        s if *s == i64::serializer_snapshot() => of::<i64>(bytes),
        s if *s == i32::serializer_snapshot() => of::<i32>(bytes),
        s if *s == <(String, i64)>::serializer_snapshot() => of::<(String, i64)>(bytes),
        other => panic!("a hash of {}", other.describe()),
    }
}

#[test]
fn every_key_hashes_to_the_key_group_that_it_lies_in() {
    for_each_handle(|golden, snapshot, operator, handle| {
        let mut reader = open(snapshot, operator, handle);
        let header = reader.header().clone();
        while let Some(entry) = reader.next_entry().expect("read before") {
            let parts = split_key(&header, entry.state, entry.key).expect("a key");
            let hash = hash_code(&header.key_serializer, parts.key);
            let group = KeyGroup::of_hash(hash, operator.max_parallelism);
            assert_eq!(group, entry.key_group, "{}", golden.name);
        }
    });
}

/// State name to rows of the sidecar; a map's rows are one per user key.
type Content = BTreeMap<String, Vec<Value>>;

fn row(header: &KeyedHeader, entry: &Entry<'_>) -> Value {
    let meta = &header.states[entry.state];
    let serializer = meta.value_serializer().expect("one");
    if meta.kind == StateKind::PriorityQueue {
        let mut element = ByteReader::new(entry.key);
        let timestamp = element.i64().expect("8 bytes") ^ i64::MIN;
        let key = decode(&serializer.nested()[0], &mut element);
        let namespace = decode(&serializer.nested()[1], &mut element);
        assert!(element.is_empty() && entry.value.is_empty());
        return match namespace.is_null() {
            true => json!([key, timestamp]),
            false => json!([key, namespace, timestamp]),
        };
    }
    let parts = split_key(header, entry.state, entry.key).expect("a key");
    let key = decode_all(&header.key_serializer, parts.key);
    let namespace = decode_all(meta.namespace_serializer().expect("one"), parts.namespace);
    // With time-to-live the elements of lists and maps carry it, not the list or map.
    let value = match meta.keyed_state_type() {
        Some(KeyedStateType::List) => {
            let mut input = ByteReader::new(entry.value);
            let mut list = vec![decode(&serializer.nested()[0], &mut input)];
            while !input.is_empty() {
                assert_eq!(input.u8(), Ok(LIST_DELIMITER));
                list.push(decode(&serializer.nested()[0], &mut input));
            }
            Value::from(list)
        }
        Some(KeyedStateType::Map) => {
            let user_key = decode_all(&serializer.nested()[0], parts.user_key);
            let user_key = user_key
                .as_str()
                .map_or(user_key.to_string(), str::to_owned);
            match entry.value {
                [1, ..] => json!({ user_key: null }),
                [0, value @ ..] => json!({ user_key: decode_all(&serializer.nested()[1], value) }),
                other => panic!("a map value {other:?}"),
            }
        }
        _ => decode_all(serializer, entry.value),
    };
    match namespace.is_null() {
        true => json!([key, value]),
        false => json!([key, namespace, value]),
    }
}

fn sorted(mut rows: Vec<Value>) -> Vec<Value> {
    rows.sort_by_key(Value::to_string);
    rows
}

/// The sidecar's content in the form of [`row`].
fn expected(operator: &Value) -> Content {
    let mut content = Content::new();
    for state in operator["keyed_states"].as_array().into_iter().flatten() {
        let mut rows = Vec::new();
        for row in state["content"].as_array().expect("rows") {
            match row.as_array().map(Vec::as_slice) {
                Some([key, Value::Object(map)]) if state["kind"] == "map" => {
                    rows.extend(
                        map.iter()
                            .map(|(name, value)| json!([key, { name: value }])),
                    );
                }
                _ => rows.push(row.clone()),
            }
        }
        content.insert(state["name"].as_str().expect("a name").to_owned(), rows);
    }
    let timers = &operator["timers"];
    if let Some(service) = timers["service"].as_str() {
        for kind in ["event", "processing"] {
            let rows = timers[kind].as_array().expect("rows").clone();
            content.insert(format!("_timer_state/{kind}_{service}"), rows);
        }
    }
    content.retain(|_, rows| !rows.is_empty());
    content
        .into_iter()
        .map(|(name, rows)| (name, sorted(rows)))
        .collect()
}

#[test]
fn canonical_and_native_state_hold_what_flink_put_in() {
    let mut checked = 0;
    for golden in golden().iter().filter(|golden| golden.has_state()) {
        let snapshot = golden.load();
        let sidecar = golden.sidecar();
        for known in sidecar["operators"].as_array().expect("operators") {
            let id = known["operator_id"]
                .as_str()
                .expect("an id")
                .parse()
                .expect("an id");
            let expected = expected(known);
            if expected.is_empty() {
                continue;
            }
            let operator = snapshot.metadata.operator(id).expect("the operator");
            let mut found = Content::new();
            for (_, subtask) in &operator.subtasks {
                let Some(handle) = &subtask.managed_keyed else {
                    continue;
                };
                let mut reader = open(&snapshot, operator, handle);
                let header = reader.header().clone();
                while let Some(entry) = reader
                    .next_entry()
                    .unwrap_or_else(|e| panic!("{}: {e}", golden.name))
                {
                    let name = header.states[entry.state].name.clone();
                    found.entry(name).or_default().push(row(&header, &entry));
                    checked += 1;
                }
            }
            let found: Content = found
                .into_iter()
                .map(|(name, rows)| (name, sorted(rows)))
                .collect();
            assert_eq!(found, expected, "{} operator {id}", golden.name);
        }
    }
    assert!(checked > 5000, "{checked} entries");
}

#[test]
fn any_range_of_key_groups_is_read_as_a_part_of_the_whole() {
    let mut seen = 0;
    for_each_handle(|golden, snapshot, operator, handle| {
        if operator.max_parallelism > 128 || !golden.name.contains("count-stringkey") {
            return;
        }
        let all = |first: u16, last: u16| {
            let range = millpond_types::KeyGroupRange::new(KeyGroup(first), KeyGroup(last));
            let mut rows = Vec::new();
            let opened = snapshot.open_keyed(handle, range, 128).expect("a header");
            if let Some(mut reader) = opened {
                while let Some(entry) = reader.next_entry().expect("read before") {
                    rows.push((entry.key_group, entry.key.to_vec(), entry.value.to_vec()));
                }
            }
            rows
        };
        let whole = all(0, 127);
        seen += whole.len();
        for cut in [1, 20, 63, 64, 100, 127] {
            let parts = [all(0, cut - 1), all(cut, 127)].concat();
            assert_eq!(parts, whole, "{} cut at {cut}", golden.name);
        }
    });
    assert!(seen > 0);
}
