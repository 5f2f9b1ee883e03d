//! What is special about state above a store: its bytes, its bounds, and what it asks the store for.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

use millpond_state::store::{
    ColumnId, KeyValueStore, Keys, MemoryStore, StateMeta, StoreImage, StoredFilter, Visit,
    WriteBatch,
};
use millpond_state::{CacheMemory, Error, ErrorKind, KeyedBackend, StateTtlConfig};
use millpond_types::{KeyGroupRange, ManualClock};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// A store that counts what it is asked for, and fails when told to.
#[derive(Default)]
struct Watched {
    store: MemoryStore,
    gets: AtomicUsize,
    /// Changes that were written.
    changes: AtomicUsize,
    fails: AtomicBool,
    image_fails: AtomicBool,
}

impl Watched {
    fn gets(&self) -> usize {
        self.gets.swap(0, Ordering::Relaxed)
    }

    /// All entries of a column.
    fn entries(&self, column: u32) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut all = Vec::new();
        let mut visit = |key: &[u8], value: &[u8]| {
            all.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        };
        self.store
            .scan(ColumnId(column), &[], None, &mut visit)
            .unwrap();
        all
    }
}

impl KeyValueStore for Watched {
    fn open_column(
        &self,
        meta: &StateMeta,
        filter: Option<StoredFilter>,
    ) -> Result<ColumnId, Error> {
        self.store.open_column(meta, filter)
    }

    fn columns(&self) -> Vec<StateMeta> {
        self.store.columns()
    }

    fn get(&self, column: ColumnId, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.gets.fetch_add(1, Ordering::Relaxed);
        self.store.get(column, key)
    }

    fn multi_get(
        &self,
        column: ColumnId,
        keys: &Keys,
        found: &mut dyn FnMut(usize, Option<&[u8]>),
    ) -> Result<(), Error> {
        self.gets.fetch_add(keys.len(), Ordering::Relaxed);
        self.store.multi_get(column, keys, found)
    }

    fn write(&self, column: ColumnId, batch: &WriteBatch) -> Result<(), Error> {
        if self.fails.load(Ordering::Relaxed) {
            return Err(full("writing"));
        }
        self.changes
            .fetch_add(batch.iter().count(), Ordering::Relaxed);
        self.store.write(column, batch)
    }

    fn scan(
        &self,
        column: ColumnId,
        from: &[u8],
        to: Option<&[u8]>,
        visit: Visit<'_>,
    ) -> Result<(), Error> {
        self.store.scan(column, from, to, visit)
    }

    fn checkpoint(&self) -> Result<Arc<dyn StoreImage>, Error> {
        if self.image_fails.load(Ordering::Relaxed) {
            return Err(full("linking"));
        }
        self.store.checkpoint()
    }
}

fn full(what: &str) -> Error {
    Error::storage(what, std::io::Error::from(std::io::ErrorKind::StorageFull))
}

fn range() -> KeyGroupRange {
    KeyGroupRange::of_subtask(0, 1, 128)
}

fn above<K: millpond_serializer::FlinkKey>(
    store: &Arc<Watched>,
    cache_bytes: usize,
) -> KeyedBackend<K> {
    let store = Arc::clone(store) as Arc<dyn KeyValueStore>;
    KeyedBackend::above(128, range(), store, &CacheMemory::of_each(cache_bytes)).unwrap()
}

fn turn_to<K: millpond_serializer::FlinkKey>(backend: &KeyedBackend<K>, key: &K) {
    backend.set_current_key(key, backend.key_group(key));
}

/// Has all changes written back.
fn write_back<K: millpond_serializer::FlinkKey>(backend: &KeyedBackend<K>) {
    assert!(!backend.freeze().is_empty());
}

#[test]
fn keys_and_values_are_those_of_flinks_rocksdb_backend() {
    let store = Arc::new(Watched::default());
    let backend = above::<String>(&store, 1 << 20);
    let mut list = backend.list_state::<String>("list").unwrap();
    let mut map = backend.map_state::<i32, i64>("map").unwrap();
    let timers = backend
        .timers::<millpond_serializer::VoidNamespace>("user-timers")
        .unwrap();
    turn_to(&backend, &"k2".to_owned());
    list.add("e2".to_owned());
    list.add("e7".to_owned());
    map.put(5, 7);
    timers
        .handle()
        .register_event_time(&millpond_serializer::VoidNamespace, 1);
    write_back(&backend);
    // Key group 82, "k2", the void namespace.
    let head = b"\x52\x03k2\x00";
    assert_eq!(
        store.entries(0),
        [(head.to_vec(), b"\x03e2,\x03e7".to_vec())]
    );
    let user_key = [&head[..], &[0, 0, 0, 5]].concat();
    let user_value = [0, 0, 0, 0, 0, 0, 0, 0, 7].to_vec();
    assert_eq!(store.entries(1), [(user_key, user_value)]);
    assert_eq!(store.entries(2), [], "no timer of processing time");
    let timer = [&b"\x52\x80\0\0\0\0\0\0\x01"[..], &head[1..]].concat();
    assert_eq!(store.entries(3), [(timer, Vec::new())]);
    timers.pop_event_timer(1).unwrap();
    map.remove(&5);
    list.clear();
    assert!(backend.freeze().is_empty());
}

#[test]
fn a_new_key_and_one_in_the_cache_cost_one_question_at_most() {
    let store = Arc::new(Watched::default());
    let backend = above::<i64>(&store, 1 << 20);
    let mut value = backend.value_state::<i64>("value").unwrap();
    let mut map = backend.map_state::<i64, i64>("map").unwrap();
    turn_to(&backend, &1);
    for _ in 0..10 {
        assert_eq!(value.value(), None);
    }
    assert_eq!(store.gets(), 1, "that there is none is remembered");
    for number in 0..10 {
        value.update(number);
        map.put(number, number);
        assert_eq!(map.get(&number), Some(number));
    }
    assert_eq!(store.gets(), 10, "each user key of the map");
    write_back(&backend);
    assert_eq!((value.value(), map.get(&3)), (Some(9), Some(3)));
    assert_eq!(store.gets(), 0);
    // What is looked up ahead is asked for together, and then known.
    let keys: Vec<i64> = (0..100).collect();
    let groups = |key: &i64| backend.key_group(key);
    backend.prefetch(keys.iter().map(|key| (key, groups(key))));
    assert_eq!(store.gets(), 99);
    for key in &keys {
        turn_to(&backend, key);
        assert_eq!(value.value().is_some(), *key == 1);
    }
    assert_eq!(store.gets(), 0);
}

#[test]
fn what_is_added_to_a_list_is_not_looked_up_before_it_is_read() {
    const KEYS: i64 = 100;
    let store = Arc::new(Watched::default());
    let backend = above::<i64>(&store, 1 << 20);
    let mut list = backend.list_state::<i32>("list").unwrap();
    let keys: Vec<i64> = (0..KEYS).collect();
    for epoch in 0..3 {
        let groups = keys.iter().map(|key| (key, backend.key_group(key)));
        backend.prefetch(groups);
        for key in &keys {
            turn_to(&backend, key);
            list.add(2 * epoch);
            list.add(2 * epoch + 1);
        }
        write_back(&backend);
    }
    // One that is not written back, and one that follows a list that is known to be none.
    turn_to(&backend, &0);
    list.add(6);
    turn_to(&backend, &1);
    list.clear();
    list.add(7);
    assert_eq!(store.gets(), 0);
    for key in &keys {
        turn_to(&backend, key);
        let expected: &[i32] = match key {
            0 => &[0, 1, 2, 3, 4, 5, 6],
            1 => &[7],
            _ => &[0, 1, 2, 3, 4, 5],
        };
        assert_eq!(list.get(), expected, "key {key}");
        assert_eq!(list.get(), expected, "key {key}, once more");
    }
    assert_eq!(store.gets(), keys.len() - 1, "each list that was not known");
    write_back(&backend);
    let first = [0, 1, 2, 3, 4, 5, 6].map(|element: i32| element.to_be_bytes());
    let group = backend.key_group(&0).0 as u8;
    let key = [&[group][..], &[0; 9]].concat();
    let entries = store.entries(0);
    let found = entries.iter().find(|(found, _)| *found == key);
    assert_eq!(found.map(|(_, value)| value), Some(&first.join(&b',')));
}

/// Any history of lists is that of vectors, whatever is forgotten and written back meanwhile.
#[test]
fn a_random_history_of_lists_holds_what_vectors_would_hold() {
    for seed in 1..=20_u64 {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut below = |limit: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % limit
        };
        let store = Arc::new(Watched::default());
        let backend = above::<i64>(&store, 3_000);
        let mut list = backend.list_state::<i64>("list").unwrap();
        let mut model = vec![Vec::new(); 60];
        for step in 0..3_000_i64 {
            let key = below(60);
            turn_to(&backend, &(key as i64));
            let expected = &mut model[key as usize];
            match below(20) {
                0 => {
                    list.clear();
                    expected.clear();
                }
                1 => {
                    list.update([step, step]);
                    *expected = vec![step, step];
                }
                2..=5 => assert_eq!(list.get(), *expected, "seed {seed}, step {step}"),
                6 => assert_eq!(list.is_empty(), expected.is_empty(), "seed {seed}"),
                7 => {
                    let keys: Vec<i64> = (0..below(60) as i64).collect();
                    backend.prefetch(keys.iter().map(|key| (key, backend.key_group(key))));
                }
                8 if below(4) == 0 => drop(backend.freeze()),
                9 => drop(backend.maintain()),
                _ => {
                    list.add(step);
                    expected.push(step);
                }
            }
        }
        for (key, expected) in (0..).zip(&model) {
            turn_to(&backend, &key);
            assert_eq!(list.get(), *expected, "seed {seed}");
        }
    }
}

#[test]
fn the_cache_stays_within_its_bounds_and_nothing_is_lost() {
    const KEYS: i64 = 50_000;
    let store = Arc::new(Watched::default());
    let backend = above::<i64>(&store, 100_000);
    let mut value = backend.value_state::<i64>("value").unwrap();
    for round in 1..=2 {
        for key in 0..KEYS {
            turn_to(&backend, &key);
            value.update_with(|value| *value = Some(value.unwrap_or(0) + key));
            if key % 1_000 == 0 {
                let bytes = backend.allocated_bytes();
                assert!(bytes < 200_000, "{bytes} bytes, round {round}");
            }
            backend.maintain();
        }
    }
    for key in (0..KEYS).rev() {
        turn_to(&backend, &key);
        assert_eq!(value.value(), Some(2 * key));
    }
    assert!(store.gets() > KEYS as usize, "most was forgotten meanwhile");
}

#[test]
fn state_that_fits_is_written_once_per_snapshot() {
    const KEYS: i64 = 7_000;
    let store = Arc::new(Watched::default());
    // Twice what the entries take, as all of them change.
    let backend = above::<i64>(&store, 1_000_000);
    let mut value = backend.value_state::<i64>("value").unwrap();
    for snapshot in 1..=3 {
        for _ in 0..4 {
            for key in 0..KEYS {
                turn_to(&backend, &key);
                value.update_with(|value| *value = Some(value.unwrap_or(0) + 1));
                backend.maintain();
            }
        }
        write_back(&backend);
        let changes = store.changes.load(Ordering::Relaxed);
        assert_eq!(changes, snapshot * KEYS as usize);
    }
}

#[test]
fn a_map_that_is_too_large_to_be_held_whole_is_visited_through_the_store() {
    const USER_KEYS: i64 = 10_000;
    let store = Arc::new(Watched::default());
    let backend = above::<i64>(&store, 50_000);
    let mut map = backend.map_state::<i64, String>("map").unwrap();
    for user_key in 0..USER_KEYS {
        turn_to(&backend, &(user_key % 2));
        map.put(user_key, user_key.to_string());
    }
    let sum = |map: &millpond_state::MapState<i64, String>| {
        let mut sum = (0, 0);
        map.for_each(|key, value| {
            assert_eq!(*value, key.to_string());
            sum = (sum.0 + 1, sum.1 + key);
        });
        sum
    };
    let evens = (USER_KEYS / 2, (0..USER_KEYS).step_by(2).sum());
    turn_to(&backend, &0);
    assert_eq!(sum(&map), evens);
    // Changes that are not in the store yet are seen, each once.
    map.put(-2, "-2".to_owned());
    map.remove(&0);
    map.remove(&2);
    assert_eq!(sum(&map), (evens.0 - 1, evens.1 - 4));
    assert_eq!((map.get(&2), map.len() as i64), (None, evens.0 - 1));
    map.retain(|key, _| key % 100 == 0);
    assert_eq!(
        map.keys(),
        (100..USER_KEYS).step_by(100).collect::<Vec<_>>()
    );
    write_back(&backend);
    map.clear();
    map.put(7, "7".to_owned());
    assert_eq!(map.entries(), [(7, "7".to_owned())]);
    write_back(&backend);
    assert_eq!(map.entries(), [(7, "7".to_owned())]);
    turn_to(&backend, &1);
    assert_eq!(
        map.len() as i64,
        USER_KEYS / 2,
        "the other map is as it was"
    );
    let left = store.entries(0).len() as i64;
    assert_eq!(left, USER_KEYS / 2 + 1, "no user key stays behind");
}

#[test]
fn a_store_that_fails_ends_the_function_and_the_snapshot_with_its_reason() {
    let store = Arc::new(Watched::default());
    let backend = above::<i64>(&store, 10_000);
    let mut value = backend.value_state::<i64>("value").unwrap();
    turn_to(&backend, &1);
    value.update(1);
    store.fails.store(true, Ordering::Relaxed);
    let error = backend.freeze().write(&mut std::io::sink()).unwrap_err();
    let text = chain(&error);
    assert!(text.contains("writing failed"), "{text}");
    let is_broken = |error: &Error| matches!(error.kind(), ErrorKind::Broken { .. });
    assert!(is_broken(&error), "{text}");
    // What was lost is in no later image either.
    store.fails.store(false, Ordering::Relaxed);
    let error = backend.freeze().write(&mut std::io::sink()).unwrap_err();
    assert!(is_broken(&error), "{}", chain(&error));
    let goes_on = catch_unwind(AssertUnwindSafe(|| {
        for key in 0..100_000 {
            turn_to(&backend, &key);
            value.update(key);
        }
    }));
    let panic = goes_on.unwrap_err();
    let message = panic.downcast_ref::<String>().unwrap();
    assert!(
        message.starts_with("writing state back failed"),
        "{message}"
    );
}

#[test]
fn an_image_that_cannot_be_taken_costs_one_checkpoint() {
    let store = Arc::new(Watched::default());
    let backend = above::<i64>(&store, 10_000);
    let mut value = backend.value_state::<i64>("value").unwrap();
    turn_to(&backend, &1);
    value.update(1);
    store.image_fails.store(true, Ordering::Relaxed);
    let error = backend.freeze().write(&mut std::io::sink()).unwrap_err();
    let text = chain(&error);
    assert!(text.contains("linking failed"), "{text}");
    assert!(matches!(error.kind(), ErrorKind::Storage { .. }), "{text}");
    turn_to(&backend, &2);
    value.update(2);
    store.image_fails.store(false, Ordering::Relaxed);
    backend.freeze().write(&mut std::io::sink()).unwrap();
    assert_eq!(store.entries(0).len(), 2);
}

fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[test]
fn a_store_may_drop_what_has_expired() {
    let store = Arc::new(Watched::default());
    let backend = above::<i64>(&store, 1 << 20);
    let clock = Arc::new(ManualClock::at(1_000));
    let ttl = backend.with_ttl(StateTtlConfig::new(Duration::from_secs(1)), clock.clone());
    let mut value = ttl.value_state::<String>("value").unwrap();
    let mut list = ttl.list_state::<i32>("list").unwrap();
    let mut map = ttl.map_state::<i32, i32>("map").unwrap();
    turn_to(&backend, &1);
    value.update("old".to_owned());
    list.add(1);
    map.put(1, 1);
    clock.advance(Duration::from_millis(600));
    list.add(2);
    map.put(2, 2);
    write_back(&backend);
    let held = || [0, 1, 2].map(|column| store.entries(column).len());
    assert_eq!(held(), [1, 1, 2]);
    clock.advance(Duration::from_millis(600));
    store.store.compact();
    assert_eq!(held(), [0, 1, 1]);
    let list_bytes = store.entries(1)[0].1.len();
    assert_eq!(list_bytes, 8 + 4, "one element is left");
    assert_eq!(value.value(), None);
    assert_eq!((list.get(), map.entries()), (vec![2], vec![(2, 2)]));
}
