//! A base and the changes on top of it are the state at the freeze of the checkpoint, whatever became
//! of the checkpoints between.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

use millpond_serializer::{TimeWindow, VoidNamespace};
use millpond_snapshot::{
    CanonicalReader, HeapIncrement, HeapIncrements, KeyedReader, MergedReader, StateSource,
    StreamHandle,
};
use millpond_state::{
    AggregateFunction, AggregatingState, FrozenKeyedState, KeyedBackend, ListState, MapState,
    ReducingState, StateTtlConfig, TimerService, ValueState,
};
use millpond_types::{CheckpointId, KeyGroupRange, ManualClock};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const MAX_PARALLELISM: u32 = 3;

/// The longest of all texts.
#[derive(Clone)]
struct Longest;

impl AggregateFunction for Longest {
    type In = String;
    type Accumulator = String;
    type Out = String;

    fn create_accumulator(&self) -> String {
        String::new()
    }

    fn add(&self, value: String, longest: &mut String) {
        if value.len() > longest.len() {
            *longest = value;
        }
    }

    fn get_result(&self, longest: &String) -> String {
        longest.clone()
    }

    fn merge(&self, a: String, b: String) -> String {
        if a.len() > b.len() { a } else { b }
    }
}

/// One of each kind of state.
struct Job {
    backend: KeyedBackend<String>,
    value: ValueState<i64>,
    list: ListState<i64>,
    map: MapState<i64, String>,
    sum: ReducingState<i64, TimeWindow>,
    longest: AggregatingState<Longest>,
    ttl_value: ValueState<i64>,
    ttl_list: ListState<i64>,
    ttl_map: MapState<i64, i64>,
    timers: TimerService<String, VoidNamespace>,
    clock: Arc<ManualClock>,
}

fn all() -> KeyGroupRange {
    KeyGroupRange::of_subtask(0, 1, MAX_PARALLELISM)
}

fn window(number: i64) -> TimeWindow {
    TimeWindow {
        start: number * 10,
        end: number * 10 + 10,
    }
}

impl Job {
    fn new(backend: KeyedBackend<String>, cleanup_full_snapshot: bool) -> Self {
        let clock = Arc::new(ManualClock::at(0));
        let mut ttl =
            StateTtlConfig::new(Duration::from_millis(100)).cleanup_incrementally(3, true);
        if cleanup_full_snapshot {
            ttl = ttl.cleanup_full_snapshot();
        }
        let states = backend.with_ttl(ttl, clock.clone());
        Job {
            value: backend.value_state("value").unwrap(),
            list: backend.list_state("list").unwrap(),
            map: backend.map_state("map").unwrap(),
            sum: backend
                .reducing_state_in("sum", window(0), |a, b| a + b)
                .unwrap(),
            longest: backend.aggregating_state("longest", Longest).unwrap(),
            ttl_value: states.value_state("ttl-value").unwrap(),
            ttl_list: states.list_state("ttl-list").unwrap(),
            ttl_map: states.map_state("ttl-map").unwrap(),
            timers: backend.timers("user-timers").unwrap(),
            clock,
            backend,
        }
    }

    fn tracking() -> Self {
        Job::new(
            KeyedBackend::tracking_changes(MAX_PARALLELISM, all()),
            false,
        )
    }

    fn set_key(&self, key: u32) {
        let key = format!("key {key}");
        let group = self.backend.key_group(&key);
        self.backend.set_current_key(&key, group);
    }

    fn change(&mut self, key: u32, what: u8, number: i64) {
        self.set_key(key);
        match what {
            0 => self.value.update(number),
            1 => self.value.clear(),
            2 => self.list.add(number),
            3 => self.list.add_all([number, number + 1]),
            4 if number % 2 == 0 => self.list.update([number]),
            4 => self.list.clear(),
            5 => self.map.put(number, format!("value {number}")),
            6 => self.map.remove(&number),
            7 if number % 8 == 0 => self.map.clear(),
            7 => self.map.retain(|user_key, _| *user_key > number),
            8 => {
                self.sum.set_namespace(window(number % 4));
                self.sum.add(number);
            }
            9 => {
                self.sum.set_namespace(window(number % 4));
                self.sum.clear();
            }
            10 => self.longest.add("x".repeat(number as usize)),
            11 => self.ttl_value.update(number),
            12 => self.ttl_list.add(number),
            13 => self.ttl_map.put(number, number),
            14 => self
                .timers
                .handle()
                .register_event_time(&VoidNamespace, number),
            15 => self
                .timers
                .handle()
                .delete_event_time(&VoidNamespace, number),
            16 => while self.timers.pop_event_timer(number / 4).is_some() {},
            17 => {
                // Many at once, so that some groups have more changes than are noted.
                for other in 0..number as u32 * 40 {
                    self.set_key(other);
                    self.value.update(number);
                }
            }
            18 => {
                self.clock.advance(Duration::from_millis(number as u64));
            }
            _ => {
                self.map.update_with(number, |value| *value = None);
                self.ttl_map.remove(&number);
                self.ttl_list.update([number]);
            }
        }
    }
}

/// Group, name of the state, and key, with the value.
type Content = BTreeMap<(u16, String, Vec<u8>), Vec<u8>>;

fn content(mut reader: KeyedReader) -> Content {
    let names: Vec<_> = reader
        .header()
        .states
        .iter()
        .map(|s| s.name.clone())
        .collect();
    let mut content = Content::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let name = names[entry.state].clone();
        let key = (entry.key_group.0, name, entry.key.to_vec());
        assert!(content.insert(key, entry.value.to_vec()).is_none(), "twice");
    }
    content
}

/// All that an image holds.
fn full(frozen: FrozenKeyedState) -> Content {
    let mut out = Vec::new();
    let written = frozen.write(&mut out).unwrap();
    let source = StateSource::of_bytes("full", out);
    let reader = CanonicalReader::open(source, &written.groups, all(), MAX_PARALLELISM).unwrap();
    content(KeyedReader::Canonical(reader))
}

/// The files of a checkpoint.
#[derive(Clone)]
struct Files {
    increments: HeapIncrements,
    sources: Vec<StateSource>,
}

impl Files {
    fn write(
        checkpoint: CheckpointId,
        frozen: FrozenKeyedState,
        base: Option<(CheckpointId, &Files)>,
    ) -> Files {
        let mut out = Vec::new();
        let written = match base {
            Some((base, _)) => frozen.write_changes_since(base, &mut out).unwrap(),
            None => frozen.write(&mut out).unwrap(),
        };
        let file = HeapIncrement {
            checkpoint,
            groups: written.groups,
            stream: StreamHandle::EmptySegment,
        };
        let source = StateSource::of_bytes("file", out);
        match base {
            Some((_, files)) => {
                let mut sources = files.sources.clone();
                sources.push(source);
                let increments = files.increments.with(file);
                Files {
                    increments,
                    sources,
                }
            }
            None => Files {
                increments: HeapIncrements::of_base(file),
                sources: vec![source],
            },
        }
    }

    fn last_bytes(&self) -> u64 {
        self.sources.last().map_or(0, StateSource::len)
    }

    fn open(&self, wanted: KeyGroupRange) -> KeyedReader {
        let sources = self.sources.clone();
        let reader = MergedReader::open(&self.increments, sources, wanted, MAX_PARALLELISM);
        KeyedReader::HeapIncrements(Box::new(reader.unwrap()))
    }
}

#[derive(Clone, Debug)]
enum Step {
    Change(u32, u8, i64),
    /// A checkpoint freezes; later it completes or fails.
    Freeze,
    End {
        completes: bool,
    },
    /// A savepoint freezes, and is written at once.
    Savepoint,
    Maintain,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        30 => (0u32..30, 0u8..20, 0i64..40).prop_map(|(key, what, number)| Step::Change(key, what, number)),
        4 => Just(Step::Freeze),
        4 => any::<bool>().prop_map(|completes| Step::End { completes }),
        1 => Just(Step::Savepoint),
        4 => Just(Step::Maintain),
    ];
    prop::collection::vec(step, 0..200)
}

/// A checkpoint in progress: its number, its base, its image, and what it should hold.
struct Pending {
    checkpoint: CheckpointId,
    base: Option<CheckpointId>,
    frozen: FrozenKeyedState,
    expected: Content,
}

fn run(steps: Vec<Step>) {
    let mut job = Job::tracking();
    let mut next = 1;
    let mut pending: Vec<Pending> = Vec::new();
    let mut complete: Option<(CheckpointId, Files)> = None;
    for step in steps {
        match step {
            Step::Change(key, what, number) => job.change(key, what, number),
            Step::Maintain => {
                job.backend.maintain();
            }
            Step::Savepoint => drop(full(job.backend.freeze())),
            // Two at a time.
            Step::Freeze if pending.len() < 2 => {
                let base = complete.as_ref().map(|(checkpoint, _)| *checkpoint);
                let expected = full(job.backend.freeze());
                let frozen = job.backend.freeze_at(next, base);
                pending.push(Pending {
                    checkpoint: next,
                    base,
                    frozen,
                    expected,
                });
                next += 1;
            }
            Step::End { completes } if !pending.is_empty() => {
                // One that completes ends those before it, one that fails is any.
                let ended = pending.remove(if completes { pending.len() - 1 } else { 0 });
                if !completes {
                    continue;
                }
                pending.clear();
                let (checkpoint, frozen) = (ended.checkpoint, ended.frozen);
                // The first base is the only one, so that changes become many.
                let base = complete
                    .as_ref()
                    .filter(|(base, _)| Some(*base) == ended.base);
                let base = base.map(|(base, files)| (*base, files));
                let files = Files::write(checkpoint, frozen, base);
                assert_eq!(content(files.open(all())), ended.expected);
                complete = Some((checkpoint, files));
            }
            Step::Freeze | Step::End { .. } => {}
        }
    }
    let Some((_, files)) = complete else { return };
    // Restored at another parallelism, into what tracks nothing.
    let expected = content(files.open(all()));
    let mut restored = Content::new();
    for subtask in 0..2 {
        let range = KeyGroupRange::of_subtask(subtask, 2, MAX_PARALLELISM);
        let job = Job::new(KeyedBackend::new(MAX_PARALLELISM, range), false);
        job.backend.restore_entries(&mut files.open(range)).unwrap();
        let mut out = Vec::new();
        let written = job.backend.freeze().write(&mut out).unwrap();
        let source = StateSource::of_bytes("part", out);
        let reader = CanonicalReader::open(source, &written.groups, range, MAX_PARALLELISM);
        restored.extend(content(KeyedReader::Canonical(reader.unwrap())));
    }
    assert_eq!(restored, expected);
}

proptest! {
    #[test]
    fn a_base_and_its_changes_are_the_state_at_the_freeze(steps in steps()) {
        run(steps);
    }
}

/// A job with `keys` keys of each of three kinds, and a checkpoint of all of it.
fn with_base(keys: u32) -> (Job, Files) {
    let mut job = Job::tracking();
    for key in 0..keys {
        job.change(key, 0, 1);
        job.change(key, 5, 1);
        job.change(key, 12, 1);
    }
    let frozen = job.backend.freeze_at(1, None);
    let files = Files::write(1, frozen, None);
    (job, files)
}

#[test]
fn one_in_a_hundred_changed_keys_takes_less_than_three_in_a_hundred_bytes() {
    let (mut job, files) = with_base(10_000);
    for key in (0..10_000).step_by(100) {
        job.change(key, 0, 2);
        job.change(key, 5, 1);
        job.change(key, 12, 2);
    }
    let frozen = job.backend.freeze_at(2, Some(1));
    assert!(frozen.changed_little_since(1));
    let expected = full(job.backend.freeze());
    let changed = Files::write(2, frozen, Some((1, &files)));
    let (base, changes) = (files.last_bytes(), changed.last_bytes());
    assert!(changes * 100 < base * 3, "{changes} of {base} bytes");
    assert_eq!(content(changed.open(all())), expected);
}

#[test]
fn of_a_large_map_and_a_long_list_what_has_changed_is_written() {
    let (mut job, _) = with_base(10);
    job.set_key(3);
    for number in 0..20_000 {
        job.map.put(number, "a value".to_owned());
        job.list.add(number);
    }
    let files = Files::write(2, job.backend.freeze_at(2, None), None);
    job.set_key(3);
    job.map.put(77, "another".to_owned());
    job.map.remove(&78);
    job.list.add(1);
    let frozen = job.backend.freeze_at(3, Some(2));
    assert!(frozen.changed_little_since(2));
    let expected = full(job.backend.freeze());
    let changed = Files::write(3, frozen, Some((2, &files)));
    assert_eq!(content(changed.open(all())), expected);
    // The header takes most of it.
    let nothing = Files::write(4, job.backend.freeze_at(4, Some(3)), Some((3, &changed)));
    let bytes = changed.last_bytes() - nothing.last_bytes();
    assert!(bytes < 200, "{bytes} bytes");
}

#[test]
fn checkpoints_that_fail_keep_the_base_until_there_are_too_many() {
    let (mut job, files) = with_base(2_000);
    for failed in 2..10 {
        job.change(failed, 0, 5);
        drop(job.backend.freeze_at(i64::from(failed), Some(1)));
    }
    job.change(100, 1, 0);
    let frozen = job.backend.freeze_at(10, Some(1));
    assert!(!frozen.changed_little_since(1), "eight have failed");
    let expected = full(job.backend.freeze());
    let changed = Files::write(10, frozen, Some((1, &files)));
    assert_eq!(
        content(changed.open(all())),
        expected,
        "written whole, it is right still"
    );
    let frozen = job.backend.freeze_at(11, Some(10));
    assert!(frozen.changed_little_since(10));
    let changed = Files::write(11, frozen, Some((10, &changed)));
    assert_eq!(content(changed.open(all())), expected);
}

#[test]
fn what_comes_and_goes_between_two_checkpoints_leaves_no_trace() {
    let (mut job, files) = with_base(10);
    let before = Files::write(2, job.backend.freeze_at(2, Some(1)), Some((1, &files)));
    for key in 0..200 {
        job.set_key(key);
        job.sum.set_namespace(window(9));
        job.sum.add(1);
        job.sum.clear();
        job.timers.handle().register_event_time(&VoidNamespace, 5);
        job.timers.handle().delete_event_time(&VoidNamespace, 5);
        job.map.put(99, "value".to_owned());
        job.map.remove(&99);
    }
    let after = Files::write(3, job.backend.freeze_at(3, Some(2)), Some((2, &before)));
    assert_eq!(after.last_bytes(), before.last_bytes());
}

#[test]
fn a_state_that_is_registered_behind_the_base_is_written_whole() {
    let (job, files) = with_base(100);
    let backend = KeyedBackend::<String>::tracking_changes(MAX_PARALLELISM, all());
    backend.restore_entries(&mut files.open(all())).unwrap();
    // Nothing is registered: all of it is kept as bytes, and part of the base.
    let base = Files::write(1, backend.freeze_at(1, None), None);
    let restored = content(base.open(all()));
    assert_eq!(restored, content(files.open(all())));
    // Registered, it is described anew.
    let mut late: ValueState<i64> = backend.value_state("value").unwrap();
    backend.set_current_key(&"key 5".to_owned(), backend.key_group(&"key 5".to_owned()));
    late.update(55);
    let frozen = backend.freeze_at(2, Some(1));
    let expected = full(backend.freeze());
    let changed = Files::write(2, frozen, Some((1, &base)));
    assert_eq!(content(changed.open(all())), expected);
    drop(job);
}

#[test]
fn what_has_expired_is_gone_after_a_restore() {
    let backend = KeyedBackend::tracking_changes(MAX_PARALLELISM, all());
    let mut job = Job::new(backend, true);
    for key in 0..50 {
        job.change(key, 11, 1);
        job.change(key, 12, 1);
        job.change(key, 13, 1);
    }
    let files = Files::write(1, job.backend.freeze_at(1, None), None);
    job.clock.advance(Duration::from_millis(60));
    for key in 0..25 {
        job.change(key, 12, 2);
        job.change(key, 13, 2);
    }
    job.clock.advance(Duration::from_millis(60));
    // The clean-up notes what it removes, and what is expired is not written.
    job.change(60, 0, 1);
    let changed = Files::write(2, job.backend.freeze_at(2, Some(1)), Some((1, &files)));
    let mut restored = Job::new(KeyedBackend::new(MAX_PARALLELISM, all()), true);
    restored.clock.advance(Duration::from_millis(120));
    restored
        .backend
        .restore_entries(&mut changed.open(all()))
        .unwrap();
    for key in 0..50 {
        let lists: Vec<Vec<i64>> = [&mut job, &mut restored]
            .into_iter()
            .map(|job| {
                job.set_key(key);
                assert_eq!(job.ttl_value.value(), None);
                let maps = job.ttl_map.keys();
                assert_eq!(maps, if key < 25 { vec![2] } else { vec![] });
                job.ttl_list.get()
            })
            .collect();
        assert_eq!(lists[0], lists[1]);
    }
}
