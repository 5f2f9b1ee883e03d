//! State with a time-to-live: what can be seen when, what is cleaned up by what, and what lies in
//! snapshots.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod standing;

use millpond_serializer::VoidNamespace;
use millpond_snapshot::{CanonicalReader, KeyedReader, NativeHeapReader, StateSource};
use millpond_state::{
    AggregateFunction, AggregatingState, Error, ErrorKind, KeyedBackend, KeyedFormat, ListState,
    MapState, ReducingState, StateTtlConfig, TtlUpdateType, TtlVisibility, ValueState,
};
use millpond_types::{KeyGroupRange, ManualClock};
use standing::{Standing, standing};
use std::sync::Arc;
use std::time::Duration;

struct Average;

impl AggregateFunction for Average {
    type In = i64;
    type Accumulator = (i64, i64);
    type Out = i64;

    fn create_accumulator(&self) -> (i64, i64) {
        (0, 0)
    }

    fn add(&self, value: i64, (sum, count): &mut (i64, i64)) {
        *sum += value;
        *count += 1;
    }

    fn get_result(&self, (sum, count): &(i64, i64)) -> i64 {
        sum / count
    }

    fn merge(&self, a: (i64, i64), b: (i64, i64)) -> (i64, i64) {
        (a.0 + b.0, a.1 + b.1)
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// Ten seconds, and no clean-up but by reading.
fn ten_seconds() -> StateTtlConfig {
    StateTtlConfig::new(10 * SECOND).disable_cleanup_in_background()
}

struct Job {
    clock: Arc<ManualClock>,
    backend: KeyedBackend<i64>,
    value: ValueState<i64>,
    list: ListState<String>,
    map: MapState<String, i64>,
    sum: ReducingState<i64>,
    average: AggregatingState<Average>,
}

fn register(
    backend: KeyedBackend<i64>,
    clock: Arc<ManualClock>,
    config: StateTtlConfig,
) -> Result<Job, Error> {
    let states = backend.with_ttl(config, clock.clone());
    Ok(Job {
        value: states.value_state("value")?,
        list: states.list_state("list")?,
        map: states.map_state("map")?,
        sum: states.reducing_state("sum", |a, b| a + b)?,
        average: states.aggregating_state("average", Average)?,
        clock,
        backend,
    })
}

fn fresh_backend() -> KeyedBackend<i64> {
    standing::backend(128, KeyGroupRange::of_subtask(0, 1, 128))
}

impl Job {
    fn new(config: StateTtlConfig) -> Self {
        let clock = Arc::new(ManualClock::at(1_000_000));
        let job = register(fresh_backend(), clock, config).unwrap();
        job.turn_to(1);
        job
    }

    fn turn_to(&self, key: i64) {
        self.backend
            .set_current_key(&key, self.backend.key_group(&key));
    }

    fn pass(&self, seconds: u32) {
        self.clock.advance(seconds * SECOND);
    }

    /// Writes to all states of the current key.
    fn write(&mut self, number: i64) {
        self.value.update(number);
        self.list.add(number.to_string());
        self.map.put(number.to_string(), number);
        self.sum.add(number);
        self.average.add(number);
    }

    /// What all states of the current key show.
    fn seen(&self) -> Seen {
        Seen {
            value: self.value.value(),
            list: self.list.get(),
            map: self.map.entries(),
            sum: self.sum.get(),
            average: self.average.get(),
        }
    }

    /// How many entries all states hold, expired ones too.
    fn held(&self) -> usize {
        self.backend.entries()
    }

    fn written(&self, format: KeyedFormat) -> KeyedReader {
        written(&self.backend, format)
    }

    fn entries_in_a_snapshot(&self) -> usize {
        let mut reader = self.written(KeyedFormat::Canonical);
        let mut entries = 0;
        while reader.next_entry().unwrap().is_some() {
            entries += 1;
        }
        entries
    }
}

fn written(backend: &KeyedBackend<i64>, format: KeyedFormat) -> KeyedReader {
    let mut bytes = Vec::new();
    let written = backend.freeze().write_as(format, &mut bytes).unwrap();
    let source = StateSource::of_bytes("state", bytes);
    let (groups, range) = (&written.groups, backend.range());
    match format {
        KeyedFormat::Canonical => {
            KeyedReader::Canonical(CanonicalReader::open(source, groups, range, 128).unwrap())
        }
        KeyedFormat::NativeHeap => {
            KeyedReader::NativeHeap(NativeHeapReader::open(source, groups, range).unwrap())
        }
    }
}

#[derive(Debug, Default, PartialEq)]
struct Seen {
    value: Option<i64>,
    list: Vec<String>,
    map: Vec<(String, i64)>,
    sum: Option<i64>,
    average: Option<i64>,
}

fn only(number: i64) -> Seen {
    Seen {
        value: Some(number),
        list: vec![number.to_string()],
        map: vec![(number.to_string(), number)],
        sum: Some(number),
        average: Some(number),
    }
}

#[test]
fn a_value_is_seen_until_its_time_is_over_and_reading_cleans_it_up() {
    standing::on_each(|| {
        let mut job = Job::new(ten_seconds());
        job.write(7);
        job.pass(9);
        assert_eq!(job.seen(), only(7));
        job.pass(1);
        if standing() == Standing::Heap {
            assert_eq!(job.held(), 5, "nobody has looked yet");
        }
        assert_eq!(job.seen(), Seen::default());
        assert_eq!(job.held(), 0);
    });
}

#[test]
fn writing_renews_and_what_has_expired_is_not_added_to() {
    standing::on_each(|| {
        let mut job = Job::new(ten_seconds());
        job.write(1);
        job.pass(6);
        job.write(2);
        job.pass(6);
        let seen = job.seen();
        assert_eq!(
            (seen.value, seen.sum, seen.average),
            (Some(2), Some(3), Some(1))
        );
        assert_eq!(seen.list, ["2"], "each element has its own time");
        assert_eq!(
            seen.map,
            [("2".to_owned(), 2)],
            "each entry has its own time"
        );
        job.pass(10);
        job.write(5);
        assert_eq!(job.seen(), only(5));
    });
}

#[test]
fn reading_renews_only_if_asked_for() {
    standing::on_each(|| {
        for (update_type, is_there) in [
            (TtlUpdateType::OnCreateAndWrite, false),
            (TtlUpdateType::OnReadAndWrite, true),
        ] {
            let mut job = Job::new(ten_seconds().update_type(update_type));
            job.write(3);
            job.pass(6);
            assert_eq!(job.seen(), only(3));
            assert!(job.map.contains(&"3".to_owned()));
            job.pass(6);
            let expected = if is_there { only(3) } else { Seen::default() };
            assert_eq!(job.seen(), expected, "{update_type:?}");
            assert_eq!(job.map.contains(&"3".to_owned()), is_there);
            assert_eq!(job.list.is_empty(), !is_there);
        }
    });
}

#[test]
fn a_list_that_is_read_keeps_what_has_not_expired() {
    standing::on_each(|| {
        let mut job = Job::new(ten_seconds().update_type(TtlUpdateType::OnReadAndWrite));
        job.list.add("old".to_owned());
        job.pass(6);
        job.list.add("new".to_owned());
        job.pass(6);
        assert_eq!(job.list.get(), ["new"]);
        job.pass(9);
        assert_eq!(job.list.get(), ["new"], "reading has renewed it");
        job.pass(10);
        assert_eq!(job.list.get(), [""; 0]);
    });
}

#[test]
fn an_expired_value_may_be_seen_until_it_is_cleaned_up() {
    standing::on_each(|| {
        let visible = TtlVisibility::ReturnExpiredIfNotCleanedUp;
        let mut job = Job::new(ten_seconds().state_visibility(visible));
        job.write(4);
        job.pass(60);
        assert_eq!(job.seen(), only(4), "the last time");
        assert_eq!(job.seen(), Seen::default(), "reading has cleaned it up");

        job.write(4);
        job.pass(60);
        job.sum.add(1);
        job.average.add(6);
        assert_eq!((job.sum.get(), job.average.get()), (Some(5), Some(5)));
        assert_eq!(job.value.update_with(|value| value.take()), Some(4));
        assert_eq!(job.map.get(&"4".to_owned()), Some(4));
        assert_eq!(job.map.get(&"4".to_owned()), None);
    });
}

#[test]
fn changing_in_place_and_removing_see_no_expired_value() {
    standing::on_each(|| {
        let mut job = Job::new(ten_seconds());
        job.write(4);
        job.pass(10);
        job.value.update_with(|value| assert_eq!(*value, None));
        job.map
            .update_with("4".to_owned(), |value| assert_eq!(*value, None));
        job.map.put_all([("5".to_owned(), 5), ("6".to_owned(), 6)]);
        job.map.retain(|key, _| key == "6");
        assert_eq!(
            (job.map.entries(), job.map.len()),
            (vec![("6".to_owned(), 6)], 1)
        );
        job.map.remove(&"6".to_owned());
        assert!(job.map.is_empty());
        job.list.update(["a".to_owned(), "b".to_owned()]);
        assert_eq!(job.list.get(), ["a", "b"]);
        job.list.update([]);
        job.sum.clear();
        job.average.clear();
        assert_eq!(job.seen(), Seen::default());
        assert_eq!(job.held(), 0);
    });
}

#[test]
fn disabled_means_state_without_time_to_live() {
    standing::on_each(|| {
        let mut job = Job::new(StateTtlConfig::disabled());
        job.write(9);
        job.pass(1_000_000);
        assert_eq!(job.seen(), only(9));
        let plain = fresh_backend();
        plain.value_state::<i64>("value").unwrap();
        assert_eq!(
            plain
                .restore_entries(&mut job.written(KeyedFormat::Canonical))
                .ok(),
            Some(())
        );
        assert_eq!(plain.keys("value"), [1]);
    });
}

#[test]
fn every_access_cleans_up_a_few_entries_of_other_keys() {
    let config = ten_seconds().cleanup_incrementally(10, false);
    let mut job = Job::new(config);
    for key in 0..1_000 {
        job.turn_to(key);
        job.value.update(key);
    }
    job.pass(10);
    job.turn_to(5_000);
    let mut held = job.held();
    let mut accesses = 0;
    while held > 0 {
        job.value.value();
        accesses += 1;
        assert!(
            held - job.held() <= 10,
            "an access cleans up ten entries at most"
        );
        held = job.held();
        assert!(accesses < 2_000, "{held} are never cleaned up");
    }
    assert!(accesses >= 100);
    assert_eq!(job.held(), 0);
}

#[test]
fn a_clean_up_leaves_what_has_not_expired_of_lists_and_maps() {
    let mut job = Job::new(ten_seconds().cleanup_incrementally(1_000, false));
    for key in 0..100 {
        job.turn_to(key);
        job.list.add("old".to_owned());
        job.map.put("old".to_owned(), 1);
    }
    job.pass(6);
    for key in 0..50 {
        job.turn_to(key);
        job.list.add("new".to_owned());
        job.map.put("new".to_owned(), 2);
    }
    job.pass(6);
    job.turn_to(1_000);
    for _ in 0..100 {
        assert!(job.list.is_empty());
        assert!(job.map.is_empty());
    }
    assert_eq!(job.held(), 100, "lists and maps of 50 keys");
    // Seen by the snapshot, which leaves nothing out here.
    assert_eq!(job.entries_in_a_snapshot(), 100);
}

#[test]
fn a_record_cleans_up_a_state_that_it_does_not_touch_if_asked_for() {
    for (on_every_record, left) in [(false, 100), (true, 0)] {
        let mut job = Job::new(ten_seconds().cleanup_incrementally(5, on_every_record));
        for key in 0..100 {
            job.turn_to(key);
            job.value.update(key);
        }
        job.pass(10);
        for record in 0..200 {
            job.turn_to(record);
        }
        assert_eq!(job.held(), left, "{on_every_record}");
    }
}

#[test]
fn the_background_cleans_up_by_default() {
    let mut job = Job::new(StateTtlConfig::new(10 * SECOND));
    for key in 0..100 {
        job.turn_to(key);
        job.write(key);
    }
    job.pass(10);
    job.turn_to(1_000);
    for _ in 0..1_000 {
        assert_eq!(job.seen(), Seen::default());
    }
    assert_eq!(job.held(), 0);
}

#[test]
fn a_clean_up_goes_on_while_a_snapshot_is_written_which_keeps_what_it_has() {
    let mut job = Job::new(ten_seconds().cleanup_incrementally(100, false));
    for key in 0..500 {
        job.turn_to(key);
        job.value.update(key);
    }
    let frozen = job.backend.freeze();
    job.pass(10);
    job.turn_to(1_000);
    for _ in 0..200 {
        job.value.value();
    }
    assert_eq!(job.held(), 0);
    let mut bytes = Vec::new();
    let written = frozen.write(&mut bytes).unwrap();
    let entries = written.states.iter().flat_map(|state| &state.key_groups);
    assert_eq!(entries.map(|group| group.entries).sum::<u64>(), 500);
    while job.backend.maintain() {}
    assert_eq!((job.held(), job.backend.keys("value")), (0, vec![]));
}

#[test]
fn a_snapshot_leaves_out_what_has_expired_if_asked_for() {
    for (config, left) in [
        (ten_seconds(), 8),
        (ten_seconds().cleanup_full_snapshot(), 4),
    ] {
        let mut job = Job::new(config);
        job.write(1);
        job.pass(6);
        job.turn_to(2);
        job.list.add("alive".to_owned());
        job.map.put("alive".to_owned(), 1);
        job.turn_to(1);
        job.list.add("alive".to_owned());
        job.map.put("alive".to_owned(), 1);
        job.pass(6);
        // Values of key 1, its list, two entries of its map; a list and a map entry of key 2; less
        // the old ones.
        assert_eq!(job.entries_in_a_snapshot(), left);
        assert_eq!(job.held(), 7, "the state itself stays as it is");
    }
}

#[test]
fn a_restored_value_lives_on_from_its_last_use() {
    standing::on_each(|| {
        for format in [KeyedFormat::Canonical, KeyedFormat::NativeHeap] {
            let mut job = Job::new(ten_seconds());
            job.write(6);
            job.pass(4);
            let mut reader = job.written(format);
            let restored =
                register(fresh_backend(), Arc::clone(&job.clock), ten_seconds()).unwrap();
            restored.backend.restore_entries(&mut reader).unwrap();
            restored.turn_to(1);
            job.pass(5);
            assert_eq!(restored.seen(), only(6), "{format:?}");
            job.pass(1);
            assert_eq!(restored.seen(), Seen::default(), "{format:?}");
        }
    });
}

#[test]
fn a_state_may_get_a_time_to_live_and_what_it_holds_counts_as_used_when_restored() {
    standing::on_each(|| {
        for format in [KeyedFormat::Canonical, KeyedFormat::NativeHeap] {
            let mut without = Job::new(StateTtlConfig::disabled());
            without.write(6);
            without.list.add("more".to_owned());
            without.map.put("more".to_owned(), 7);
            let mut reader = without.written(format);
            without.pass(100);
            let clock = Arc::clone(&without.clock);
            let job = register(fresh_backend(), clock, ten_seconds()).unwrap();
            job.backend.restore_entries(&mut reader).unwrap();
            job.turn_to(1);
            job.pass(9);
            assert_eq!(job.seen(), without.seen(), "{format:?}");
            job.pass(1);
            assert_eq!(job.seen(), Seen::default(), "{format:?}");
        }
    });
}

#[test]
fn a_state_may_lose_its_time_to_live_and_holds_what_was_in_the_snapshot() {
    standing::on_each(|| {
        for format in [KeyedFormat::Canonical, KeyedFormat::NativeHeap] {
            let mut with = Job::new(ten_seconds());
            with.write(6);
            with.list.add("more".to_owned());
            with.map.put("more".to_owned(), 7);
            let expected = with.seen();
            let mut reader = with.written(format);
            let clock = Arc::clone(&with.clock);
            let disabled = StateTtlConfig::disabled();
            let job = register(fresh_backend(), clock, disabled).unwrap();
            job.backend.restore_entries(&mut reader).unwrap();
            job.turn_to(1);
            job.pass(1_000_000);
            assert_eq!(job.seen(), expected, "{format:?}");
        }
    });
}

/// Both at once: the function of the job sees values without times.
#[test]
fn a_type_may_change_while_a_time_to_live_comes_or_goes() {
    standing::on_each(|| {
        for (before, after) in [
            (ten_seconds(), StateTtlConfig::disabled()),
            (StateTtlConfig::disabled(), ten_seconds()),
        ] {
            let mut job = Job::new(before);
            job.write(6);
            let mut reader = job.written(KeyedFormat::Canonical);
            let backend = fresh_backend();
            for state in ["value", "list", "map"] {
                match state {
                    "list" => backend.migrate_state(state, |old: String| old.len() as i32),
                    _ => backend.migrate_state(state, |old: i64| format!("was {old}")),
                }
            }
            let states = backend.with_ttl(after, job.clock.clone());
            let value = states.value_state::<String>("value").unwrap();
            let list = states.list_state::<i32>("list").unwrap();
            let map = states.map_state::<String, String>("map").unwrap();
            backend.restore_entries(&mut reader).unwrap();
            backend.set_current_key(&1, backend.key_group(&1));
            assert_eq!(value.value().as_deref(), Some("was 6"));
            assert_eq!(list.get(), [1]);
            assert_eq!(map.entries(), [("6".to_owned(), "was 6".to_owned())]);
        }
    });
}

#[test]
fn another_type_is_refused_whatever_becomes_of_the_time_to_live() {
    standing::on_each(|| {
        let configs = [ten_seconds(), StateTtlConfig::disabled()];
        for (before, after) in configs
            .iter()
            .flat_map(|one| configs.map(|other| (*one, other)))
        {
            let mut job = Job::new(before);
            job.write(6);
            let backend = fresh_backend();
            let states = backend.with_ttl(after, job.clock.clone());
            let _value = states.value_state::<String>("value").unwrap();
            let mut reader = job.written(KeyedFormat::Canonical);
            let error = backend.restore_entries(&mut reader).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Incompatible { .. }));
            let text = error.to_string();
            for word in ["\"value\"", "Long", "String"] {
                assert!(text.contains(word), "{text}");
            }
        }
    });
}

/// Values that may be null: with a time-to-live they are null within what has the time.
#[test]
fn null_values_of_a_map_keep_their_places() {
    let clock = Arc::new(ManualClock::at(1_000_000));
    let configs = [ten_seconds(), StateTtlConfig::disabled()];
    for (before, after) in configs
        .iter()
        .flat_map(|one| configs.map(|other| (*one, other)))
    {
        let fill = |config| {
            let backend = fresh_backend();
            let states = backend.with_ttl(config, clock.clone());
            let map = states.map_state::<i64, Option<String>>("map").unwrap();
            backend.set_current_key(&1, backend.key_group(&1));
            (backend, map)
        };
        let (backend, mut map) = fill(before);
        map.put(1, None);
        map.put(2, Some("two".to_owned()));
        for format in [KeyedFormat::Canonical, KeyedFormat::NativeHeap] {
            let mut reader = written(&backend, format);
            let (backend, map) = fill(after);
            backend.restore_entries(&mut reader).unwrap();
            assert_eq!(map.entries(), [(1, None), (2, Some("two".to_owned()))]);
        }
    }
}

#[test]
fn an_iteration_over_all_keys_shows_user_values() {
    standing::on_each(|| {
        let mut job = Job::new(ten_seconds());
        job.value.update(8);
        let mut found = Vec::new();
        let is_there =
            job.backend
                .for_each_value("value", |key: &i64, _: &VoidNamespace, value: &i64| {
                    found.push((*key, *value));
                });
        assert!(is_there);
        assert_eq!(found, [(1, 8)]);
    });
}

#[test]
fn a_state_may_be_looked_at_while_it_is_being_looked_at() {
    standing::on_each(|| {
        let config = ten_seconds().update_type(TtlUpdateType::OnReadAndWrite);
        let mut job = Job::new(config.cleanup_incrementally(5, false));
        job.write(3);
        job.pass(1);
        let clock = Arc::clone(&job.clock);
        let value = job.value.with(|value| {
            clock.advance(SECOND);
            (value.copied(), job.value.value())
        });
        assert_eq!(value, (Some(3), Some(3)));
        job.list.for_each(|element| {
            clock.advance(SECOND);
            assert_eq!((element.as_str(), job.list.get().len()), ("3", 1));
        });
        job.map.for_each(|key, value| {
            clock.advance(SECOND);
            assert_eq!((job.map.get(key), job.map.len()), (Some(*value), 1));
        });
        job.pass(8);
        assert_eq!(job.map.len(), 1, "reading has renewed it");
    });
}
