//! What a snapshot holds is what was there at its freeze, at any parallelism.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod standing;

use millpond_serializer::{TimeWindow, VoidNamespace};
use millpond_snapshot::{
    CanonicalReader, KeyGroupsKind, KeyedReader, NativeHeapReader, OperatorStateHandle,
    StateSource, StreamHandle,
};
use millpond_state::{
    Error, ErrorKind, KeyedBackend, KeyedFormat, ListState, MapState, OperatorStateBackend,
    ReducingState, TimerService, ValueState, WrittenKeyedState,
};
use millpond_types::KeyGroupRange;
use proptest::prelude::*;
use standing::{Standing, standing};
use std::collections::{BTreeMap, BTreeSet};

const MAX_PARALLELISM: u32 = 300;

/// One of each kind of state.
struct Job {
    backend: KeyedBackend<String>,
    value: ValueState<i64>,
    list: ListState<String>,
    map: MapState<String, i64>,
    sum: ReducingState<i64, TimeWindow>,
    timers: TimerService<String, VoidNamespace>,
}

/// All that a job holds.
#[derive(Clone, Debug, Default, PartialEq)]
struct Content {
    values: BTreeMap<String, i64>,
    lists: BTreeMap<String, Vec<String>>,
    maps: BTreeMap<String, BTreeMap<String, i64>>,
    sums: BTreeMap<(String, TimeWindow), i64>,
    timers: BTreeSet<(i64, String)>,
}

fn range(subtask: u32, parallelism: u32) -> KeyGroupRange {
    KeyGroupRange::of_subtask(subtask, parallelism, MAX_PARALLELISM)
}

fn window(number: i64) -> TimeWindow {
    TimeWindow {
        start: number * 10,
        end: number * 10 + 10,
    }
}

fn register(backend: KeyedBackend<String>) -> Result<Job, Error> {
    Ok(Job {
        value: backend.value_state("value")?,
        list: backend.list_state("list")?,
        map: backend.map_state("map")?,
        sum: backend.reducing_state_in("window-contents", window(0), |a, b| a + b)?,
        timers: backend.timers("user-timers")?,
        backend,
    })
}

impl Job {
    fn new(subtask: u32, parallelism: u32) -> Self {
        register(standing::backend(
            MAX_PARALLELISM,
            range(subtask, parallelism),
        ))
        .unwrap()
    }

    /// Does one step for a key, if the key is one of this subtask.
    fn step(&mut self, key: &str, what: u8, number: i64) {
        let key = key.to_owned();
        let group = self.backend.key_group(&key);
        if !self.backend.range().contains(group) {
            return;
        }
        self.backend.set_current_key(&key, group);
        match what {
            0 => self.value.update(number),
            1 => self.value.clear(),
            2 => self.list.add(number.to_string()),
            3 => self.list.clear(),
            4 => self.map.put(number.to_string(), number),
            5 => self.map.remove(&number.to_string()),
            6 => {
                self.sum.set_namespace(window(number % 3));
                self.sum.add(number);
            }
            7 => self
                .timers
                .handle()
                .register_event_time(&VoidNamespace, number),
            _ => self
                .timers
                .handle()
                .register_processing_time(&VoidNamespace, number),
        }
    }

    fn content(&self) -> Content {
        let mut content = Content::default();
        self.backend
            .for_each_value("value", |key: &String, _: &VoidNamespace, value: &i64| {
                content.values.insert(key.clone(), *value);
            });
        self.backend
            .for_each_value("window-contents", |key: &String, window, value: &i64| {
                content.sums.insert((key.clone(), *window), *value);
            });
        for key in self.backend.keys("list") {
            self.backend
                .set_current_key(&key, self.backend.key_group(&key));
            content.lists.insert(key, self.list.get());
        }
        for key in self.backend.keys("map") {
            self.backend
                .set_current_key(&key, self.backend.key_group(&key));
            content
                .maps
                .insert(key, self.map.entries().into_iter().collect());
        }
        for timer in self.timers.event_timers() {
            content.timers.insert((timer.timestamp, timer.key));
        }
        for timer in self.timers.processing_timers() {
            content.timers.insert((-1 - timer.timestamp, timer.key));
        }
        content
    }

    fn snapshot(&self) -> (Vec<u8>, WrittenKeyedState) {
        let mut bytes = Vec::new();
        let written = self.backend.freeze().write(&mut bytes).unwrap();
        assert_eq!(written.bytes, bytes.len() as u64);
        (bytes, written)
    }
}

fn merged(jobs: &[Job]) -> Content {
    let mut all = Content::default();
    for job in jobs {
        let content = job.content();
        all.values.extend(content.values);
        all.lists.extend(content.lists);
        all.maps.extend(content.maps);
        all.sums.extend(content.sums);
        all.timers.extend(content.timers);
    }
    all
}

fn restore_into(
    backend: &KeyedBackend<String>,
    files: &[(Vec<u8>, WrittenKeyedState)],
) -> Result<(), Error> {
    restore_format(backend, files, KeyedFormat::Canonical)
}

fn restore_format(
    backend: &KeyedBackend<String>,
    files: &[(Vec<u8>, WrittenKeyedState)],
    format: KeyedFormat,
) -> Result<(), Error> {
    for (bytes, written) in files {
        let source = StateSource::of_bytes("state", bytes.clone());
        let (groups, range) = (&written.groups, backend.range());
        let mut reader = match format {
            KeyedFormat::Canonical => KeyedReader::Canonical(
                CanonicalReader::open(source, groups, range, MAX_PARALLELISM).unwrap(),
            ),
            KeyedFormat::NativeHeap => {
                KeyedReader::NativeHeap(NativeHeapReader::open(source, groups, range).unwrap())
            }
        };
        backend.restore_entries(&mut reader)?;
    }
    Ok(())
}

#[derive(Clone, Copy, Debug)]
enum Order {
    RegisterFirst,
    RestoreFirst,
}

fn restored(
    files: &[(Vec<u8>, WrittenKeyedState)],
    parallelism: u32,
    order: Order,
    format: KeyedFormat,
) -> Result<Vec<Job>, Error> {
    let subtask = |subtask| {
        let backend = standing::backend(MAX_PARALLELISM, range(subtask, parallelism));
        match order {
            Order::RegisterFirst => {
                let job = register(backend)?;
                restore_format(&job.backend, files, format)?;
                Ok(job)
            }
            Order::RestoreFirst => {
                restore_format(&backend, files, format)?;
                register(backend)
            }
        }
    };
    (0..parallelism).map(subtask).collect()
}

fn steps() -> impl Strategy<Value = Vec<(String, u8, i64)>> {
    let key = prop_oneof!["[a-z]{1,2}", "[é😀,]{0,3}"];
    prop::collection::vec((key, 0u8..9, 0i64..100), 0..300)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_snapshot_in_either_format_restores_at_any_parallelism(
        before in steps(),
        during in steps(),
        old in 1u32..4,
        new in 1u32..4,
        order in prop_oneof![Just(Order::RegisterFirst), Just(Order::RestoreFirst)],
        format in prop_oneof![Just(KeyedFormat::Canonical), Just(KeyedFormat::NativeHeap)],
        carried_in in prop_oneof![Just(KeyedFormat::Canonical), Just(KeyedFormat::NativeHeap)],
        writes_on in prop_oneof![Just(Standing::Heap), Just(Standing::Store)],
        restores_on in prop_oneof![Just(Standing::Heap), Just(Standing::Store)],
    ) {
        let fresh = || (0..old).map(|subtask| Job::new(subtask, old)).collect();
        let mut jobs: Vec<Job> = standing::on(writes_on, fresh);
        for (key, what, number) in &before {
            jobs.iter_mut().for_each(|job| job.step(key, *what, *number));
        }
        let expected = merged(&jobs);
        let images: Vec<_> = jobs.iter().map(|job| job.backend.freeze()).collect();
        for (key, what, number) in &during {
            jobs.iter_mut().for_each(|job| job.step(key, *what, *number));
        }
        let files: Vec<_> = images
            .into_iter()
            .map(|image| {
                let mut bytes = Vec::new();
                let written = image.write_as(format, &mut bytes).unwrap();
                (bytes, written)
            })
            .collect();
        // State that a job has not registered is written again from its bytes, in either format.
        let carried: Vec<_> = (0..new)
            .map(|subtask| {
                let fresh = || standing::backend(MAX_PARALLELISM, range(subtask, new));
                let backend = standing::on(restores_on, fresh);
                restore_format(&backend, &files, format).unwrap();
                let mut bytes = Vec::new();
                let written = backend.freeze().write_as(carried_in, &mut bytes).unwrap();
                (bytes, written)
            })
            .collect();
        let again = standing::on(writes_on, || restored(&carried, old, order, carried_in));
        prop_assert_eq!(merged(&again.unwrap()), expected.clone());
        let restored = standing::on(restores_on, || restored(&files, new, order, format));
        let restored = restored.unwrap();
        prop_assert_eq!(merged(&restored), expected);
        for job in &restored {
            prop_assert!(job.backend.range().len() >= 100);
        }
    }
}

fn some_content() -> Job {
    let mut job = Job::new(0, 1);
    for number in 0..200 {
        job.step(&format!("k{}", number % 50), (number % 9) as u8, number);
    }
    job
}

#[test]
fn states_stand_in_the_order_of_registration_and_both_timer_queues_are_listed() {
    standing::on_each(|| {
        let (bytes, written) = Job::new(0, 1).snapshot();
        let reader = CanonicalReader::open(
            StateSource::of_bytes("state", bytes),
            &written.groups,
            range(0, 1),
            MAX_PARALLELISM,
        )
        .unwrap();
        let names: Vec<_> = reader
            .header()
            .states
            .iter()
            .map(|meta| meta.name.as_str())
            .collect();
        let timers = [
            "_timer_state/processing_user-timers",
            "_timer_state/event_user-timers",
        ];
        assert_eq!(
            names,
            [&["value", "list", "map", "window-contents"][..], &timers].concat()
        );
        assert!(written.groups.offsets.iter().all(|offset| *offset == 0));
    });
}

#[test]
fn the_counts_of_a_snapshot_are_those_of_its_entries() {
    standing::on_each(|| {
        let job = some_content();
        let (bytes, written) = job.snapshot();
        let header_bytes = written
            .groups
            .offsets
            .iter()
            .filter(|offset| **offset > 0)
            .min()
            .unwrap();
        let entry_bytes: u64 = written
            .states
            .iter()
            .flat_map(|state| &state.key_groups)
            .map(|group| group.bytes)
            .sum();
        assert!(entry_bytes < bytes.len() as u64 - *header_bytes as u64);
        let entries = |name: &str| {
            let state = written
                .states
                .iter()
                .find(|state| state.name == name)
                .unwrap();
            state
                .key_groups
                .iter()
                .map(|group| group.entries)
                .sum::<u64>() as usize
        };
        let content = job.content();
        assert_eq!(entries("value"), content.values.len());
        assert_eq!(entries("list"), content.lists.len());
        assert_eq!(
            entries("map"),
            content.maps.values().map(BTreeMap::len).sum::<usize>()
        );
        assert_eq!(entries("window-contents"), content.sums.len());
    });
}

#[test]
fn state_that_the_job_does_not_register_is_carried_on() {
    standing::on_each(|| {
        let job = some_content();
        let files = [job.snapshot()];
        let backend = standing::backend(MAX_PARALLELISM, range(0, 1));
        let _value = backend.value_state::<i64>("value").unwrap();
        restore_into(&backend, &files).unwrap();
        let mut bytes = Vec::new();
        let written = backend.freeze().write(&mut bytes).unwrap();
        let again = restored(
            &[(bytes, written)],
            1,
            Order::RegisterFirst,
            KeyedFormat::Canonical,
        )
        .unwrap();
        assert_eq!(merged(&again), job.content());
    });
}

#[test]
fn state_of_another_type_is_refused_by_name() {
    standing::on_each(|| {
        let files = [some_content().snapshot()];
        let expect = |error: Error, state: &str, expected: &str, found: &str| {
            let ErrorKind::Incompatible {
                state: s,
                expected: e,
                found: f,
            } = error.kind()
            else {
                panic!("{error}");
            };
            assert_eq!((s.as_str(), e.as_str()), (state, expected));
            assert!(f.starts_with(found), "{f}");
        };
        let backend = || standing::backend::<String>(MAX_PARALLELISM, range(0, 1));
        // Registered after the restore.
        let late = backend();
        restore_into(&late, &files).unwrap();
        expect(
            late.value_state::<String>("value").unwrap_err(),
            "value",
            "String",
            "Long",
        );
        expect(
            late.value_state::<i64>("list").unwrap_err(),
            "list",
            "VALUE state",
            "LIST state",
        );
        expect(
            late.map_state::<String, i32>("map").unwrap_err(),
            "map",
            "Map<String, Integer>",
            "Map<String, Long>",
        );
        // Registered before.
        let early = backend();
        let _state = early.value_state::<i32>("value").unwrap();
        expect(
            restore_into(&early, &files).unwrap_err(),
            "value",
            "Integer",
            "Long",
        );
        assert_eq!(early.entries(), 0);
        // Another key.
        let longs = standing::backend::<i64>(MAX_PARALLELISM, range(0, 1));
        let source = StateSource::of_bytes("state", files[0].0.clone());
        let reader =
            CanonicalReader::open(source, &files[0].1.groups, longs.range(), MAX_PARALLELISM)
                .unwrap();
        let error = longs
            .restore_entries(&mut KeyedReader::Canonical(reader))
            .unwrap_err();
        expect(error, "the key", "Long", "String");
    });
}

#[test]
fn damage_is_an_error_and_no_panic() {
    standing::on_each(|| {
        let (bytes, written) = some_content().snapshot();
        for at in (0..bytes.len()).step_by(3) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x55;
            let backend = standing::backend(MAX_PARALLELISM, range(0, 1));
            let job = register(backend).unwrap();
            let source = StateSource::of_bytes("state", damaged);
            let kind = KeyGroupsKind::Savepoint;
            let opened =
                KeyedReader::open(source, &kind, &written.groups, range(0, 1), MAX_PARALLELISM);
            if let Ok(mut reader) = opened {
                // Some damage only changes values; the checksum of the file finds that.
                let _either = job.backend.restore_entries(&mut reader);
            }
        }
    });
}

/// A value whose serializer fails.
#[derive(Clone)]
struct Unwritable;

impl millpond_serializer::FlinkType for Unwritable {
    fn serializer_snapshot() -> millpond_serializer::SerializerSnapshot {
        i64::serializer_snapshot()
    }

    fn fixed_length() -> Option<usize> {
        Some(8)
    }

    fn write(&self, _out: &mut Vec<u8>) {
        panic!("no bytes for this");
    }

    fn read(
        _input: &mut millpond_serializer::ByteReader<'_>,
    ) -> Result<Self, millpond_serializer::Error> {
        Ok(Unwritable)
    }
}

#[test]
fn a_serializer_that_fails_declines_the_checkpoint_and_harms_nothing() {
    let backend = standing::backend(MAX_PARALLELISM, range(0, 1));
    let mut bad = backend.value_state::<Unwritable>("bad").unwrap();
    let mut good = backend.value_state::<i64>("good").unwrap();
    backend.set_current_key(&1i64, backend.key_group(&1));
    bad.update(Unwritable);
    good.update(5);
    let error = backend.freeze().write(&mut std::io::sink()).unwrap_err();
    let expected = ErrorKind::Serializer {
        state: "bad".to_owned(),
        reason: "no bytes for this".to_owned(),
    };
    assert_eq!(*error.kind(), expected);
    bad.clear();
    assert_eq!(good.value(), Some(5));
    assert!(backend.freeze().write(&mut std::io::sink()).is_ok());
    while backend.maintain() {}
}

#[test]
fn a_disk_that_is_full_fails_the_snapshot_only() {
    standing::on_each(|| {
        struct Full;
        impl std::io::Write for Full {
            fn write(&mut self, _bytes: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let job = some_content();
        let expected = job.content();
        let error = job.backend.freeze().write(&mut Full).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Storage { .. }), "{error}");
        while job.backend.maintain() {}
        assert_eq!(job.content(), expected);
    });
}

#[test]
fn a_subtask_gets_the_operator_state_that_its_handles_list() {
    let mut files = Vec::new();
    for subtask in 0..2i64 {
        let backend = OperatorStateBackend::new();
        let mut split = backend.list_state::<String>("split").unwrap();
        let mut union = backend.union_list_state::<i64>("union").unwrap();
        (0..5).for_each(|number| split.add(format!("{subtask}-{number}")));
        union.add(subtask);
        let mut bytes = Vec::new();
        let written = backend.freeze().write(&mut bytes).unwrap();
        assert_eq!(written.bytes, bytes.len() as u64);
        let stream = StreamHandle::Bytes {
            name: subtask.to_string(),
            data: bytes,
        };
        files.push(OperatorStateHandle {
            states: written.offsets,
            stream,
            merged: None,
        });
    }
    // Another subtask's elements come along, and not all of its own file's.
    let part = |file: usize, split: std::ops::Range<usize>| {
        let mut handle = files[file].clone();
        handle.states[0].offsets = handle.states[0].offsets[split].to_vec();
        handle
    };
    let assigned = [
        vec![part(0, 0..3), part(1, 0..0)],
        vec![part(1, 1..5), part(0, 3..5)],
        vec![part(1, 0..1)],
    ];
    for registered_first in [true, false] {
        let mut all = Vec::new();
        for handles in &assigned {
            let backend = OperatorStateBackend::new();
            let register = || {
                let split = backend.list_state::<String>("split").unwrap();
                (split, backend.union_list_state::<i64>("union").unwrap())
            };
            let early = registered_first.then(register);
            for handle in handles {
                let StreamHandle::Bytes { data, .. } = &handle.stream else {
                    panic!("above")
                };
                backend.restore_bytes(data.clone(), handle).unwrap();
            }
            let (split, union) = early.unwrap_or_else(register);
            assert_eq!(union.get().len(), handles.len());
            all.extend(split.get());
        }
        all.sort();
        let expected: Vec<_> = (0..2)
            .flat_map(|s| (0..5).map(move |n| format!("{s}-{n}")))
            .collect();
        assert_eq!(all, expected);
    }
}

#[test]
fn operator_state_that_is_not_registered_is_carried_on_without_its_neighbours() {
    let backend = OperatorStateBackend::new();
    backend
        .list_state::<String>("a")
        .unwrap()
        .update(["x".to_owned(), "yy".to_owned()]);
    backend.union_list_state::<i64>("b").unwrap().add(7);
    let carry = |backend: OperatorStateBackend, keep: usize| {
        let mut data = Vec::new();
        let mut states = backend.freeze().write(&mut data).unwrap().offsets;
        states[0].offsets.truncate(keep);
        let stream = StreamHandle::Bytes {
            name: String::new(),
            data: Vec::new(),
        };
        let carried = OperatorStateBackend::new();
        carried
            .restore_bytes(
                data,
                &OperatorStateHandle {
                    states,
                    stream,
                    merged: None,
                },
            )
            .unwrap();
        carried
    };
    let carried = carry(carry(backend, 1), 2);
    assert_eq!(carried.freeze().bytes(), 2 + 8);
    assert_eq!(carried.list_state::<String>("a").unwrap().get(), ["x"]);
    assert_eq!(carried.union_list_state::<i64>("b").unwrap().get(), [7]);
    let error = carry(carried, 1).list_state::<i64>("a").unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Incompatible { .. }),
        "{error}"
    );
}

#[test]
fn a_map_of_options_keeps_its_nulls_under_the_serializer_of_the_plain_value() {
    standing::on_each(|| {
        let fresh = || standing::backend::<String>(MAX_PARALLELISM, range(0, 1));
        let backend = fresh();
        let mut map = backend.map_state::<i64, Option<String>>("map").unwrap();
        let key = "k".to_owned();
        backend.set_current_key(&key, backend.key_group(&key));
        map.put(1, None);
        map.put(2, Some("two".to_owned()));
        for format in [KeyedFormat::Canonical, KeyedFormat::NativeHeap] {
            let mut bytes = Vec::new();
            let written = backend.freeze().write_as(format, &mut bytes).unwrap();
            let files = [(bytes, written)];
            let again = fresh();
            restore_format(&again, &files, format).unwrap();
            let map = again.map_state::<i64, Option<String>>("map").unwrap();
            again.set_current_key(&key, again.key_group(&key));
            assert_eq!(map.entries(), [(1, None), (2, Some("two".to_owned()))]);
            if standing() == Standing::Store {
                // Bytes go into a store unread: a null is found when it is read.
                continue;
            }
            let plain = fresh();
            restore_format(&plain, &files, format).unwrap();
            let error = plain.map_state::<i64, String>("map").unwrap_err();
            assert!(
                matches!(error.kind(), ErrorKind::Unsupported { .. }),
                "{error}"
            );
        }
    });
}
