use super::*;
use crate::{CanonicalWriter, KeyedHeader, KeyedStateType, StateMeta, StateSource};
use millpond_serializer::{FlinkType, SerializerSnapshot, VoidNamespace};
use millpond_types::{KeyGroup, KeyGroupRange};
use std::collections::BTreeMap;

const MAX_PARALLELISM: u32 = 4;

fn range() -> KeyGroupRange {
    KeyGroupRange::of_subtask(0, 1, MAX_PARALLELISM)
}

fn header(names: &[(&str, KeyedStateType)]) -> KeyedHeader {
    let long = i64::serializer_snapshot;
    let value = |kind: &KeyedStateType| match kind {
        KeyedStateType::Map => SerializerSnapshot::map(long(), long()),
        KeyedStateType::List => SerializerSnapshot::list(long()),
        KeyedStateType::Value
        | KeyedStateType::Reducing
        | KeyedStateType::Folding
        | KeyedStateType::Aggregating => long(),
    };
    let meta = |(name, kind): &(&str, KeyedStateType)| {
        StateMeta::key_value(
            name,
            *kind,
            VoidNamespace::serializer_snapshot(),
            value(kind),
        )
    };
    KeyedHeader {
        compressed: false,
        key_serializer: long(),
        states: names.iter().map(meta).collect(),
    }
}

/// Group, state, key, value.
type Change = (u16, usize, ChangesBlock, Vec<(u8, Vec<u8>, Vec<u8>)>);
type Content = BTreeMap<(u16, usize, Vec<u8>), Vec<u8>>;

/// Key group, state and key of each entry, as they came.
type Order = Vec<(u16, usize, Vec<u8>)>;

fn key(key: i64, user_key: Option<i64>) -> Vec<u8> {
    let mut out = Vec::new();
    key.write(&mut out);
    VoidNamespace.write(&mut out);
    if let Some(user_key) = user_key {
        user_key.write(&mut out);
    }
    out
}

fn base(header: &KeyedHeader, content: &Content) -> (HeapIncrement, StateSource) {
    let mut writer =
        CanonicalWriter::new(Vec::new(), header, range(), MAX_PARALLELISM).expect("memory");
    let mut current = None;
    for ((group, state, key), value) in content {
        if current.replace((*group, *state)) != Some((*group, *state)) {
            writer
                .begin_state(KeyGroup(*group), *state)
                .expect("memory");
        }
        writer.raw_entry(key, value).expect("memory");
    }
    let written = writer.finish().expect("memory");
    file(1, written.groups, written.out)
}

fn file(
    checkpoint: CheckpointId,
    groups: KeyGroupOffsets,
    bytes: Vec<u8>,
) -> (HeapIncrement, StateSource) {
    let increment = HeapIncrement {
        checkpoint,
        groups,
        stream: StreamHandle::Bytes {
            name: String::new(),
            data: bytes.clone(),
        },
    };
    (increment, StateSource::of_bytes("file", bytes))
}

fn changes(header: &KeyedHeader, changes: &[Change]) -> (HeapIncrement, StateSource) {
    let mut writer = ChangesWriter::new(Vec::new(), header, range()).expect("memory");
    for (group, state, block, records) in changes {
        let begun = writer.begin_state(KeyGroup(*group), *state, *block);
        begun.expect("memory");
        for (kind, key, value) in records {
            let key = |out: &mut Vec<u8>| out.extend_from_slice(key);
            let value = |out: &mut Vec<u8>| out.extend_from_slice(value);
            let written = match *kind {
                changes_writer::PUT => writer.put(key, value),
                changes_writer::REMOVE => writer.remove(key),
                _ => writer.append(key, value),
            };
            written.expect("memory");
        }
    }
    let written = writer.finish().expect("memory");
    file(2, written.groups, written.out)
}

/// The content, and in which order its states and keys came.
fn read(
    files: Vec<(HeapIncrement, StateSource)>,
    wanted: KeyGroupRange,
) -> Result<(Content, Order), Error> {
    let (increments, sources): (Vec<_>, Vec<_>) = files.into_iter().unzip();
    let mut increments = increments.into_iter();
    let base = HeapIncrements::of_base(increments.next().expect("a base"));
    let increments = increments.fold(base, |files, file| files.with(file));
    let mut reader = MergedReader::open(&increments, sources, wanted, MAX_PARALLELISM)?;
    let (mut content, mut order) = (Content::new(), Vec::new());
    while let Some(entry) = reader.next_entry()? {
        let at = (entry.key_group.0, entry.state, entry.key.to_vec());
        order.push(at.clone());
        let before = content.insert(at, entry.value.to_vec());
        assert_eq!(before, None, "an entry comes once");
    }
    Ok((content, order))
}

const COUNT: (&str, KeyedStateType) = ("count", KeyedStateType::Value);
const MAP: (&str, KeyedStateType) = ("map", KeyedStateType::Map);
const LIST: (&str, KeyedStateType) = ("list", KeyedStateType::List);
const PUT: u8 = changes_writer::PUT;
const REMOVE: u8 = changes_writer::REMOVE;
const APPEND: u8 = changes_writer::APPEND;

#[test]
fn changes_replace_remove_append_and_add() {
    let header = header(&[COUNT, LIST]);
    let content = Content::from([
        ((0, 0, key(1, None)), vec![1]),
        ((0, 0, key(2, None)), vec![2]),
        ((0, 1, key(1, None)), vec![1]),
        ((2, 0, key(5, None)), vec![5]),
        ((2, 1, key(5, None)), vec![7]),
    ]);
    let some = ChangesBlock::Some;
    let first = changes(
        &header,
        &[
            (0, 0, some, vec![(PUT, key(1, None), vec![10])]),
            (0, 1, some, vec![(APPEND, key(1, None), vec![2, b',', 3])]),
            (1, 0, some, vec![(PUT, key(9, None), vec![9])]),
            (2, 0, some, vec![(REMOVE, key(5, None), vec![])]),
            (2, 1, some, vec![(REMOVE, key(5, None), vec![])]),
        ],
    );
    let second = changes(
        &header,
        &[
            (
                0,
                0,
                some,
                vec![
                    (REMOVE, key(2, None), vec![]),
                    (REMOVE, key(77, None), vec![]),
                ],
            ),
            (0, 1, some, vec![(APPEND, key(1, None), vec![4])]),
            (2, 1, some, vec![(APPEND, key(5, None), vec![8])]),
        ],
    );
    let files = vec![base(&header, &content), first, second];
    let (merged, _) = read(files.clone(), range()).expect("sound");
    let expected = Content::from([
        ((0, 0, key(1, None)), vec![10]),
        ((0, 1, key(1, None)), vec![1, b',', 2, b',', 3, b',', 4]),
        ((1, 0, key(9, None)), vec![9]),
        ((2, 1, key(5, None)), vec![8]),
    ]);
    assert_eq!(merged, expected);
    // Another parallelism takes its key groups out of the same files.
    let mut parts = Content::new();
    for subtask in 0..3 {
        let wanted = KeyGroupRange::of_subtask(subtask, 3, MAX_PARALLELISM);
        parts.extend(read(files.clone(), wanted).expect("sound").0);
    }
    assert_eq!(parts, expected);
}

#[test]
fn user_keys_of_a_map_stay_together_and_states_come_in_one_run() {
    let header = header(&[MAP, COUNT]);
    let content = Content::from([
        ((0, 0, key(1, Some(10))), vec![0, 1]),
        ((0, 0, key(2, Some(10))), vec![0, 2]),
        ((0, 1, key(2, None)), vec![3]),
    ]);
    let some = ChangesBlock::Some;
    let maps = vec![
        (PUT, key(1, Some(5)), vec![0, 5]),
        (PUT, key(1, Some(20)), vec![0, 6]),
        (PUT, key(2, Some(9)), vec![0, 7]),
        (PUT, key(3, Some(1)), vec![0, 8]),
        (PUT, key(3, Some(2)), vec![0, 9]),
    ];
    let counts = vec![(PUT, key(7, None), vec![7])];
    let changed = changes(&header, &[(0, 0, some, maps), (0, 1, some, counts)]);
    let (merged, order) = read(vec![base(&header, &content), changed], range()).expect("sound");
    assert_eq!(merged.len(), 9);
    let heads: Vec<(usize, Vec<u8>)> = order
        .iter()
        .map(|(_, state, key)| (*state, key[..9].to_vec()))
        .collect();
    let mut runs = heads.clone();
    runs.dedup();
    let mut distinct = heads;
    distinct.sort();
    distinct.dedup();
    assert_eq!(runs.len(), distinct.len(), "{order:?}");
}

#[test]
fn all_of_a_state_makes_older_files_void_and_may_describe_it_anew() {
    let older = header(&[COUNT]);
    let content = Content::from([
        ((0, 0, key(1, None)), vec![1]),
        ((3, 0, key(4, None)), vec![4]),
    ]);
    let newer = header(&[
        ("new", KeyedStateType::Value),
        ("count", KeyedStateType::List),
    ]);
    let all = ChangesBlock::All;
    let every = |group| (group, 1, all, vec![]);
    let changed = |groups: &[u16]| {
        let mut blocks: Vec<Change> = groups.iter().map(|group| every(*group)).collect();
        blocks[0].3.push((PUT, key(8, None), vec![8]));
        changes(&newer, &blocks)
    };
    let whole = vec![base(&older, &content), changed(&[0, 1, 2, 3])];
    let (merged, _) = read(whole, range()).expect("sound");
    assert_eq!(merged, Content::from([((0, 1, key(8, None)), vec![8])]));
    let partly = vec![base(&older, &content), changed(&[0, 1, 2])];
    let error = read(partly, range()).expect_err("an entry of the older description is left");
    assert!(error.to_string().contains("describe anew"), "{error}");
}

#[test]
fn a_handle_carries_the_files_and_is_told_from_one_of_rocksdb() {
    let header = header(&[COUNT]);
    let (base, _) = base(&header, &Content::new());
    let (changed, _) = changes(&header, &[]);
    let increments = HeapIncrements::of_base(base).with(changed);
    let mut list = Vec::new();
    increments.write_list(&mut list);
    let mut handle = IncrementalHandle {
        checkpoint_id: 2,
        backend_id: "backend".to_owned(),
        range: (0, 4),
        meta: StreamHandle::EmptySegment,
        shared: increments.shared(),
        private: Vec::new(),
        v2: None,
    };
    assert!(HeapIncrements::are_in(&handle));
    assert_eq!(
        HeapIncrements::read(&handle, &list).expect("sound"),
        increments
    );
    for length in 0..list.len() {
        assert!(HeapIncrements::read(&handle, &list[..length]).is_err());
    }
    handle.shared.reverse();
    assert!(
        HeapIncrements::read(&handle, &list).is_err(),
        "the base comes first"
    );
    handle.shared = vec![NamedStream {
        name: "000012.sst".to_owned(),
        stream: StreamHandle::EmptySegment,
    }];
    assert!(!HeapIncrements::are_in(&handle));
}

#[test]
fn random_damage_is_an_error_or_other_entries_but_no_panic() {
    let header = header(&[COUNT, LIST, MAP]);
    let content = (0..3)
        .flat_map(|group| (0..20).map(move |number| (group, number)))
        .map(|(group, number)| ((group, 0, key(number, None)), vec![1; 8]))
        .collect();
    let block = |group, state, block, changes| (group, state, block, changes);
    let some = ChangesBlock::Some;
    let changed = changes(
        &header,
        &[
            block(
                0,
                0,
                some,
                vec![
                    (PUT, key(3, None), vec![2; 8]),
                    (REMOVE, key(4, None), vec![]),
                ],
            ),
            block(0, 1, some, vec![(APPEND, key(5, None), vec![3; 8])]),
            block(
                2,
                2,
                ChangesBlock::All,
                vec![(PUT, key(6, Some(7)), vec![0; 9])],
            ),
        ],
    );
    let whole = [base(&header, &content), changed];
    let whole = whole.map(|(file, source)| (file, source.read_all().expect("memory")));
    let mut damage = millpond_damage::Damage::seeded();
    let until = std::time::Instant::now() + millpond_damage::time_to_spend();
    while std::time::Instant::now() < until {
        let mut files = whole.clone();
        let damaged = damage.below(2);
        damage.mutate(&mut files[damaged].1);
        let [(base, bytes), (changed, changes)] = files;
        let increments = HeapIncrements::of_base(base).with(changed);
        let sources = [bytes, changes].map(|bytes| StateSource::of_bytes("damaged", bytes));
        let opened = MergedReader::open(&increments, sources.into(), range(), MAX_PARALLELISM);
        let Ok(mut reader) = opened else { continue };
        let mut entries = 0;
        while let Ok(Some(_)) = reader.next_entry() {
            entries += 1;
            assert!(entries < 10_000, "it comes to an end");
        }
    }
}

#[test]
fn a_new_base_is_due_when_changes_are_many_or_large() {
    let file = |bytes: usize| HeapIncrement {
        checkpoint: 1,
        groups: KeyGroupOffsets {
            first: 0,
            offsets: Vec::new(),
        },
        stream: StreamHandle::Bytes {
            name: String::new(),
            data: vec![0; bytes],
        },
    };
    let mut many = HeapIncrements::of_base(file(1000));
    for _ in 0..MAX_CHANGES {
        assert!(!many.are_many());
        many = many.with(file(1));
    }
    assert!(many.are_many());
    let half = HeapIncrements::of_base(file(1000)).with(file(500));
    assert!(!half.are_many());
    assert!(half.with(file(1)).are_many());
}
