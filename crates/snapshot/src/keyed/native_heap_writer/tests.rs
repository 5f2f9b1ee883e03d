use super::*;
use crate::{KeyGroupsKind, KeyedReader, StateSource};
use millpond_serializer::{FlinkType, TimerElement, VoidNamespace};

type Row = (u16, usize, Vec<u8>, Vec<u8>);

/// A value, a list, a map and timers; keys are texts.
fn header(compressed: bool) -> KeyedHeader {
    let (text, long) = (String::serializer_snapshot(), i64::serializer_snapshot());
    let void = VoidNamespace::serializer_snapshot();
    let list = SerializerSnapshot::list(text.clone());
    let map = SerializerSnapshot::map(text.clone(), long.clone());
    let timer = SerializerSnapshot::timer(text.clone(), void.clone());
    KeyedHeader {
        compressed,
        key_serializer: text,
        states: vec![
            StateMeta::key_value("value", KeyedStateType::Value, void.clone(), long),
            StateMeta::key_value("list", KeyedStateType::List, void.clone(), list),
            StateMeta::key_value("map", KeyedStateType::Map, void, map),
            StateMeta::priority_queue("_timer_state/event_user-timers", timer),
        ],
    }
}

fn bytes<T: FlinkType>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    value.write(&mut out);
    out
}

fn text(text: &str) -> Vec<u8> {
    bytes(&text.to_owned())
}

/// The entries of one key: all states but the first have several parts.
fn rows_of(group: u16, key: &str, elements: usize) -> Vec<Row> {
    let head = bytes(&(key.to_owned(), VoidNamespace));
    let number = |number: i64| bytes(&number);
    // A ',' inside an element is no delimiter.
    let list: Vec<_> = (0..elements)
        .map(|at| text(&format!("{at},,{key}")))
        .collect();
    let mut rows = vec![(group, 0, head.clone(), number(7))];
    if !list.is_empty() {
        rows.push((group, 1, head.clone(), list.join(&LIST_DELIMITER)));
    }
    for at in 0..elements {
        let user_key = [head.clone(), text(&format!("u{at}"))].concat();
        let value = match at {
            0 => vec![1],
            _ => [vec![0], number(at as i64)].concat(),
        };
        rows.push((group, 2, user_key, value));
    }
    let timer = TimerElement {
        timestamp: -5,
        key: key.to_owned(),
        namespace: VoidNamespace,
    };
    rows.push((group, 3, bytes(&timer), Vec::new()));
    rows
}

fn write(header: &KeyedHeader, groups: KeyGroupRange, rows: &[Row]) -> WrittenKeyed<Vec<u8>> {
    let mut writer = NativeHeapWriter::new(Vec::new(), header, groups).expect("a header");
    let mut place = None;
    for (group, state, key, value) in rows {
        if place != Some((*group, *state)) {
            place = Some((*group, *state));
            writer
                .begin_state(KeyGroup(*group), *state)
                .expect("memory");
        }
        writer.raw_entry(key, value).expect("an entry");
    }
    let bytes = writer.bytes();
    let written = writer.finish().expect("memory");
    assert!(header.compressed || written.bytes >= bytes);
    assert_eq!(written.bytes, written.out.len() as u64);
    written
}

fn read(written: &WrittenKeyed<Vec<u8>>) -> Vec<Row> {
    let source = StateSource::of_bytes("test", written.out.as_slice());
    let range = written.groups.range().expect("not empty");
    let kind = KeyGroupsKind::V2 { id: String::new() };
    let mut reader =
        KeyedReader::open(source, &kind, &written.groups, range, 128).expect("a header");
    assert!(matches!(reader, KeyedReader::NativeHeap(_)));
    let mut rows = Vec::new();
    while let Some(entry) = reader.next_entry().expect("whole") {
        let (key, value) = (entry.key.to_vec(), entry.value.to_vec());
        rows.push((entry.key_group.0, entry.state, key, value));
    }
    rows
}

/// Sorted by group and state, as they are written.
fn rows(groups: impl Iterator<Item = u16>) -> Vec<Row> {
    let mut rows: Vec<Row> = groups
        .flat_map(|group| {
            let keys = 0..usize::from(group % 4);
            keys.flat_map(move |key| rows_of(group, &format!("{group}-{key}"), key))
        })
        .collect();
    rows.sort_by_key(|row| (row.0, row.1));
    rows
}

#[test]
fn an_empty_group_has_the_bytes_that_flink_writes() {
    let groups = KeyGroupRange::new(KeyGroup(0), KeyGroup(0));
    let mut header = header(false);
    header.states.truncate(3);
    let written = write(&header, groups, &[]);
    let start = written.groups.offsets[0] as usize;
    let mut expected = vec![0, 0, 0, 0];
    for state in 0..3 {
        expected.extend([0, state, 0, 0, 0, 0]);
    }
    assert_eq!(written.out[start..], expected);
}

#[test]
fn what_is_written_is_read_as_the_same_canonical_entries() {
    let groups = KeyGroupRange::of_subtask(1, 2, 128);
    for compressed in [false, true] {
        for rows in [
            rows(groups.iter().map(|group| group.0)),
            rows([70, 71, 99].into_iter()),
        ] {
            let written = write(&header(compressed), groups, &rows);
            assert!(read(&written) == rows, "compressed: {compressed}");
            assert_eq!(written.groups.offsets.len(), groups.len());
            let counted: u64 = written.states.iter().map(WrittenState::entries).sum();
            assert_eq!(counted, rows.len() as u64);
        }
    }
}

#[test]
fn a_state_larger_than_the_buffer_is_written_whole() {
    let groups = KeyGroupRange::new(KeyGroup(3), KeyGroup(4));
    let head = |key: usize| [text(&key.to_string()), vec![0]].concat();
    let mut rows: Vec<Row> = Vec::new();
    for (group, keys) in [(3, 1000), (4, 3)] {
        rows.extend((0..keys).map(|key| {
            let element = text(&"e".repeat(3000));
            (group, 1, head(key), element)
        }));
    }
    let written = write(&header(false), groups, &rows);
    assert!(written.bytes > 2 * BUFFER_BYTES as u64);
    assert!(read(&written) == rows);
}

#[test]
fn a_null_of_a_map_keeps_nothing_of_what_follows_it() {
    let groups = KeyGroupRange::new(KeyGroup(0), KeyGroup(0));
    let key = [text("k"), vec![0], text("u")].concat();
    // Flink's heap backend writes its serializer's null behind the flag, RocksDB nothing.
    let rows = [(0, 2, key.clone(), vec![1, 9, 9])];
    assert_eq!(
        read(&write(&header(false), groups, &rows)),
        [(0, 2, key, vec![1])]
    );
}

#[test]
fn entries_that_would_be_lost_or_are_none_are_refused() {
    let groups = KeyGroupRange::new(KeyGroup(0), KeyGroup(0));
    let refused = |state: usize, rows: &[(Vec<u8>, Vec<u8>)]| {
        let mut writer = NativeHeapWriter::new(Vec::new(), &header(false), groups).expect("memory");
        writer.begin_state(KeyGroup(0), state).expect("memory");
        let (last, before) = rows.split_last().expect("one");
        for (key, value) in before {
            writer.raw_entry(key, value).expect("an entry");
        }
        let error = writer.raw_entry(&last.0, &last.1);
        error.expect_err("not to be written").to_string()
    };
    let map = |key: &str, user: &str| ([text(key), vec![0], text(user)].concat(), vec![1]);
    let apart = [map("a", "1"), map("b", "1"), map("a", "2")];
    assert!(refused(2, &apart).contains("one behind the other"));
    let long = [text("a"), vec![0], vec![7]].concat();
    assert!(refused(0, &[(long, vec![0; 8])]).contains("the end of the key"));
    let list = |value: Vec<u8>| vec![([text("a"), vec![0]].concat(), value)];
    assert!(refused(1, &list([text("a"), vec![b';'], text("b")].concat())).contains("','"));
    assert!(refused(1, &list([text("a"), vec![LIST_DELIMITER]].concat())).contains("end"));
    assert!(refused(1, &list(vec![200])).contains("end"));
    assert!(refused(0, &[(text("ab"), Vec::new())]).contains("end"));
}

#[test]
#[should_panic(expected = "key group 3 after key group 4")]
fn a_group_that_comes_too_late_is_refused() {
    let groups = KeyGroupRange::of_subtask(0, 1, 128);
    let mut writer = NativeHeapWriter::new(Vec::new(), &header(false), groups).expect("memory");
    writer.begin_state(KeyGroup(4), 0).expect("memory");
    writer.begin_state(KeyGroup(3), 0).expect("memory");
}

#[test]
fn a_state_in_two_parts_is_refused() {
    let groups = KeyGroupRange::of_subtask(0, 1, 128);
    let mut writer = NativeHeapWriter::new(Vec::new(), &header(false), groups).expect("memory");
    writer.begin_state(KeyGroup(4), 1).expect("memory");
    writer.begin_state(KeyGroup(4), 0).expect("memory");
    let error = writer.begin_state(KeyGroup(4), 1).expect_err("again");
    assert!(error.to_string().contains("in two parts in key group 4"));
}

/// Several mebibytes in one key group: values, a list and a map that is larger than the window.
#[test]
fn key_groups_larger_than_the_window_are_read_entry_by_entry() {
    let mut rows: Vec<Row> = Vec::new();
    for key in 0..20_000 {
        let head = bytes(&(format!("key-{key}"), VoidNamespace));
        rows.push((3, 0, head, bytes(&i64::from(key))));
    }
    let long = text(&"x".repeat(3 << 20));
    rows.push((3, 1, bytes(&("long".to_owned(), VoidNamespace)), long));
    let head = bytes(&("map".to_owned(), VoidNamespace));
    for at in 0..120_000u32 {
        let user_key = [head.clone(), text(&format!("user key {at}"))].concat();
        let value = [vec![0], bytes(&i64::from(at.wrapping_mul(2_654_435_761)))].concat();
        rows.push((3, 2, user_key, value));
    }
    rows.push((
        4,
        0,
        bytes(&("next".to_owned(), VoidNamespace)),
        bytes(&1i64),
    ));
    let groups = KeyGroupRange::new(KeyGroup(3), KeyGroup(4));
    for compressed in [false, true] {
        let header = header(compressed);
        let written = write(&header, groups, &rows);
        let source = StateSource::of_bytes("large", written.out.clone());
        let kind = KeyGroupsKind::V2 { id: String::new() };
        let read = |source: StateSource| {
            let mut reader = KeyedReader::open(source, &kind, &written.groups, groups, 128)?;
            let mut found: Vec<Row> = Vec::new();
            while let Some(entry) = reader.next_entry()? {
                let (key, value) = (entry.key.to_vec(), entry.value.to_vec());
                found.push((entry.key_group.0, entry.state, key, value));
            }
            Ok::<_, Error>(found)
        };
        assert!(
            read(source).expect("whole") == rows,
            "compressed: {compressed}"
        );
        // A count that lies, in front of the values of the first group.
        let mut damaged = written.out;
        let at = written.groups.offsets[0] as usize + 6;
        if !compressed {
            damaged[at..at + 4].copy_from_slice(&i32::MAX.to_be_bytes());
            let error = read(StateSource::of_bytes("large", damaged)).expect_err("too many");
            assert!(error.to_string().contains("a count of 0 to"), "{error}");
        }
    }
}
