//! The promises of a [`KeyValueStore`] as assertions: a test for whoever implements one.
//!
//! ```
//! use millpond_state::store::{MemoryStore, conformance};
//! use std::sync::Arc;
//!
//! conformance::check(&mut || Arc::new(MemoryStore::new()));
//! ```

use super::{ColumnId, KeyValueStore, Keys, StoreImage, WriteBatch, prefix_end};
use crate::Error;
use millpond_serializer::{FlinkType, VoidNamespace};
use millpond_snapshot::{KeyedStateType, StateMeta};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// Checks a store that `open` makes, empty, at each call.
///
/// # Panics
///
/// If a promise is not kept.
pub fn check(open: &mut dyn FnMut() -> Arc<dyn KeyValueStore>) {
    columns_are_apart(&*open());
    a_column_is_found_again_by_its_name(&*open());
    appended_bytes_are_joined_by_the_delimiter(&*open());
    a_scan_keeps_to_its_range_and_stops_when_told(&*open());
    an_image_stays_as_it_was(open());
    it_reads_while_it_is_written(open());
    a_run_is_as_its_changes(&*open());
    for seed in 0..4 {
        it_holds_what_a_map_would_hold(&*open(), seed);
    }
}

/// Describes a list state of bytes-like values: any column may be appended to.
pub fn meta(name: &str) -> StateMeta {
    StateMeta::key_value(
        name,
        KeyedStateType::Value,
        VoidNamespace::serializer_snapshot(),
        String::serializer_snapshot(),
    )
}

fn column(store: &dyn KeyValueStore, name: &str) -> ColumnId {
    let opened = store.open_column(&meta(name), None);
    opened.expect("a column opens")
}

fn put(store: &dyn KeyValueStore, column: ColumnId, key: &[u8], value: &[u8]) {
    let mut batch = WriteBatch::new();
    batch.put(|out| out.extend(key), |out| out.extend(value));
    store.write(column, &batch).expect("it writes");
}

fn get(store: &dyn KeyValueStore, column: ColumnId, key: &[u8]) -> Option<Vec<u8>> {
    store.get(column, key).expect("it reads")
}

fn scanned(
    scan: impl FnOnce(&mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>),
) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found = Vec::new();
    scan(&mut |key, value| {
        found.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    });
    found
}

fn all(store: &dyn KeyValueStore, column: ColumnId) -> Vec<(Vec<u8>, Vec<u8>)> {
    scanned(|visit| store.scan(column, &[], None, visit).expect("it scans"))
}

fn all_of_image(image: &dyn StoreImage, column: ColumnId) -> Vec<(Vec<u8>, Vec<u8>)> {
    scanned(|visit| image.scan(column, &[], None, visit).expect("it scans"))
}

fn columns_are_apart(store: &dyn KeyValueStore) {
    let (one, two) = (column(store, "one"), column(store, "_timer_state/two"));
    assert_ne!(one, two);
    put(store, one, b"k", b"1");
    put(store, two, b"k", b"");
    assert_eq!(get(store, one, b"k"), Some(b"1".to_vec()));
    assert_eq!(
        get(store, two, b"k"),
        Some(Vec::new()),
        "an empty value is one"
    );
    assert_eq!(get(store, one, b""), None);
    let names: Vec<String> = store.columns().into_iter().map(|meta| meta.name).collect();
    assert_eq!(names, ["one", "_timer_state/two"]);
}

fn a_column_is_found_again_by_its_name(store: &dyn KeyValueStore) {
    let first = column(store, "state");
    put(store, first, b"k", b"v");
    assert_eq!(column(store, "state"), first);
    assert_eq!(get(store, first, b"k"), Some(b"v".to_vec()));
    assert_eq!(store.columns().len(), 1);
}

fn appended_bytes_are_joined_by_the_delimiter(store: &dyn KeyValueStore) {
    let list = column(store, "list");
    let append = |value: &[u8]| {
        let mut batch = WriteBatch::new();
        batch.append(|out| out.extend(b"k"), |out| out.extend(value));
        store.write(list, &batch).expect("it writes");
    };
    append(b"a");
    assert_eq!(get(store, list, b"k"), Some(b"a".to_vec()));
    append(b",");
    append(b"b");
    assert_eq!(get(store, list, b"k"), Some(b"a,,,b".to_vec()));
    assert_eq!(all(store, list), [(b"k".to_vec(), b"a,,,b".to_vec())]);
    put(store, list, b"k", b"c");
    append(b"d");
    let image = store.checkpoint().expect("an image");
    append(b"e");
    assert_eq!(get(store, list, b"k"), Some(b"c,d,e".to_vec()));
    assert_eq!(
        all_of_image(&*image, list),
        [(b"k".to_vec(), b"c,d".to_vec())]
    );
}

fn a_scan_keeps_to_its_range_and_stops_when_told(store: &dyn KeyValueStore) {
    let state = column(store, "state");
    let keys: [&[u8]; 6] = [&[0], &[0, 0], &[1], &[1, 0xff], &[2], &[0xff, 0xff]];
    for key in keys {
        put(store, state, key, key);
    }
    let within = |from: &[u8], to: Option<&[u8]>| -> Vec<Vec<u8>> {
        let found = scanned(|visit| store.scan(state, from, to, visit).expect("it scans"));
        assert!(found.iter().all(|(key, value)| key == value));
        found.into_iter().map(|(key, _)| key).collect()
    };
    assert_eq!(within(&[], None), keys);
    assert_eq!(within(&[1], prefix_end(&[1]).as_deref()), keys[2..4]);
    assert_eq!(within(&[0, 0], Some(&[1])), keys[1..2]);
    assert_eq!(within(&[0xff], prefix_end(&[0xff]).as_deref()), keys[5..]);
    assert!(within(&[1], Some(&[1])).is_empty());
    assert!(within(&[3], Some(&[1])).is_empty());
    let mut seen = 0;
    let stopped = store.scan(state, &[], None, &mut |_, _| {
        seen += 1;
        if seen == 2 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    stopped.expect("it scans");
    assert_eq!(seen, 2);
}

fn an_image_stays_as_it_was(store: Arc<dyn KeyValueStore>) {
    let state = column(&*store, "state");
    put(&*store, state, b"stays", b"1");
    put(&*store, state, b"goes", b"1");
    let first = store.checkpoint().expect("an image");
    let mut batch = WriteBatch::new();
    batch.delete(|key| key.extend(b"absent"));
    batch.delete(|key| key.extend(b"goes"));
    batch.put(|key| key.extend(b"new"), |value| value.extend(b"2"));
    store.write(state, &batch).expect("it writes");
    let later = column(&*store, "later");
    put(&*store, later, b"k", b"v");
    let second = store.checkpoint().expect("another image");
    let entry = |key: &[u8], value: &[u8]| (key.to_vec(), value.to_vec());
    let of_first = [entry(b"goes", b"1"), entry(b"stays", b"1")];
    let of_second = [entry(b"new", b"2"), entry(b"stays", b"1")];
    assert_eq!(all_of_image(&*first, state), of_first);
    assert_eq!(all_of_image(&*first, later), [], "it was not there yet");
    drop(store);
    assert_eq!(
        all_of_image(&*first, state),
        of_first,
        "an image outlives its store"
    );
    drop(first);
    assert_eq!(all_of_image(&*second, state), of_second);
    assert_eq!(all_of_image(&*second, later), [entry(b"k", b"v")]);
}

fn it_reads_while_it_is_written(store: Arc<dyn KeyValueStore>) {
    const KEYS: u32 = 2_000;
    let state = column(&*store, "state");
    let value_of = |key: u32| key.to_be_bytes().repeat(3);
    let reader = Arc::clone(&store);
    let writer = std::thread::spawn(move || {
        for first in (0..KEYS).step_by(100) {
            let mut batch = WriteBatch::new();
            for key in first..first + 100 {
                let bytes = key.to_be_bytes();
                batch.put(|out| out.extend(bytes), |out| out.extend(value_of(key)));
            }
            store.write(state, &batch).expect("it writes");
        }
    });
    let mut done = false;
    while !done {
        done = writer.is_finished();
        let mut keys = Keys::new();
        (0..KEYS).for_each(|key| keys.push(|out| out.extend(key.to_be_bytes())));
        let mut found = 0;
        let read = reader.multi_get(state, &keys, &mut |at, value| {
            if let Some(value) = value {
                assert_eq!(value, value_of(at as u32));
                found += 1;
            }
        });
        read.expect("it reads");
        assert!(!done || found == KEYS, "{found} of {KEYS} keys");
    }
    writer.join().expect("it writes");
}

fn a_run_is_as_its_changes(store: &dyn KeyValueStore) {
    const BATCHES: u32 = 4;
    const KEYS: u32 = 10_000;
    let state = column(store, "state");
    let mut model = Model::new();
    for round in 0..5_u32 {
        // What is written one by one lies below what a run brings, and above it.
        for key in [0, 1, BATCHES * KEYS - 1] {
            let (key, value) = (key.to_be_bytes().to_vec(), vec![b'-'; round as usize + 1]);
            put(store, state, &key, &value);
            model.insert(key, value);
        }
        let mut batches = 0..BATCHES;
        let run = store.write_run(state, &mut |batch| {
            assert!(batch.is_empty());
            let Some(first) = batches.next() else {
                return Ok(false);
            };
            for key in first * KEYS..(first + 1) * KEYS {
                let (key, what) = (key.to_be_bytes().to_vec(), (key + round) % 7);
                let value = format!("{round}{}", "v".repeat(100)).into_bytes();
                match what {
                    0 => {
                        batch.delete(|out| out.extend(&key));
                        model.remove(&key);
                    }
                    1 => {
                        batch.append(|out| out.extend(&key), |out| out.extend(&value));
                        let old = model.entry(key).or_default();
                        let delimiter: &[u8] = if old.is_empty() { b"" } else { b"," };
                        *old = [old, delimiter, &value].concat();
                    }
                    // Not every key changes in every run.
                    2 => {}
                    _ => {
                        batch.put(|out| out.extend(&key), |out| out.extend(&value));
                        model.insert(key, value);
                    }
                }
            }
            Ok(true)
        });
        run.expect("it writes");
        let expected: Vec<_> = model.clone().into_iter().collect();
        assert!(all(store, state) == expected, "after run {round}");
        let image = store.checkpoint().expect("an image");
        assert!(all_of_image(&*image, state) == expected, "image {round}");
    }
    let failed = store.write_run(state, &mut |batch| {
        batch.put(|out| out.extend(b"k"), |out| out.extend(vec![0; 4 << 20]));
        match batch.len() {
            1 => Err(Error::storage("failing", "on purpose")),
            _ => Ok(true),
        }
    });
    assert!(failed.is_err(), "an error ends a run");
}

fn it_holds_what_a_map_would_hold(store: &dyn KeyValueStore, seed: u64) {
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut below = |limit: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % limit as u64) as usize
    };
    let state = column(store, "state");
    let mut model = Model::new();
    for round in 0..60_usize {
        let mut changes = BTreeMap::new();
        for _ in 0..below(40) {
            let key: Vec<u8> = (0..below(3)).map(|_| below(4) as u8 * 85).collect();
            changes.insert(key, below(4));
        }
        let mut batch = WriteBatch::new();
        for (key, what) in &changes {
            let value = format!("{seed}.{round}").into_bytes();
            match what {
                0 => {
                    batch.delete(|out| out.extend(key));
                    model.remove(key);
                }
                1 => {
                    batch.append(|out| out.extend(key), |out| out.extend(&value));
                    let whole = match model.get(key) {
                        Some(old) => [old, &b","[..], &value].concat(),
                        None => value,
                    };
                    model.insert(key.clone(), whole);
                }
                _ => {
                    batch.put(|out| out.extend(key), |out| out.extend(&value));
                    model.insert(key.clone(), value);
                }
            }
        }
        store.write(state, &batch).expect("it writes");
        if round % 10 == 9 {
            let image = store.checkpoint().expect("an image");
            let expected: Vec<_> = model.clone().into_iter().collect();
            assert_eq!(all_of_image(&*image, state), expected, "seed {seed}");
        }
        let mut keys = Keys::new();
        for key in changes.keys() {
            keys.push(|out| out.extend(key));
        }
        let mut answers = 0;
        let read = store.multi_get(state, &keys, &mut |at, value| {
            answers += 1;
            let expected = model.get(keys.get(at)).map(Vec::as_slice);
            assert_eq!(value, expected, "seed {seed}");
        });
        read.expect("it reads");
        assert_eq!(answers, keys.len(), "each key is answered once");
    }
    let expected: Vec<_> = model.into_iter().collect();
    assert_eq!(all(store, state), expected, "seed {seed}");
}
