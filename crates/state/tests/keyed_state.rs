//! Each kind of keyed state shows the values of the current key, and only those.

mod standing;

use millpond_serializer::{TimeWindow, VoidNamespace};
use millpond_state::{ErrorKind, KeyedBackend, ReducingState};
use millpond_types::KeyGroupRange;

fn backend() -> KeyedBackend<String> {
    standing::backend(128, KeyGroupRange::of_subtask(0, 1, 128))
}

fn choose(backend: &KeyedBackend<String>, key: &str) {
    let key = key.to_owned();
    backend.set_current_key(&key, backend.key_group(&key));
}

#[test]
fn a_value_belongs_to_its_key() {
    standing::on_each(|| {
        let backend = backend();
        let mut state = backend.value_state::<String>("v").unwrap();
        choose(&backend, "a");
        state.update("x".to_owned());
        choose(&backend, "b");
        assert_eq!(state.value(), None);
        assert_eq!(
            state.update_with(|value| value.replace("y".to_owned())),
            None
        );
        assert_eq!(state.with(|value| value.map(String::len)), Some(1));
        choose(&backend, "a");
        assert_eq!(state.value().as_deref(), Some("x"));
        state.update_with(|value| *value = None);
        assert_eq!(state.value(), None);
        assert_eq!(backend.keys("v"), ["b"]);
        choose(&backend, "b");
        state.clear();
        assert_eq!(backend.entries(), 0);
    });
}

#[test]
fn a_list_keeps_its_order_when_it_grows_long() {
    standing::on_each(|| {
        let backend = backend();
        let mut state = backend.list_state::<i64>("l").unwrap();
        choose(&backend, "a");
        assert!(state.is_empty());
        (0..20).for_each(|element| state.add(element));
        state.add_all(20..100);
        assert_eq!(state.get(), (0..100).collect::<Vec<_>>());
        state.update([7, 8]);
        assert_eq!(state.get(), [7, 8]);
        state.update([]);
        assert_eq!((state.get(), backend.entries()), (vec![], 0));
    });
}

#[test]
fn a_map_is_a_map_when_it_is_small_and_when_it_is_large() {
    standing::on_each(|| {
        let backend = backend();
        let mut state = backend.map_state::<i64, String>("m").unwrap();
        choose(&backend, "a");
        for key in (0..40).rev() {
            state.put(key, key.to_string());
            assert_eq!(state.len(), 40 - key as usize);
        }
        assert!(state.contains(&39) && !state.contains(&40));
        assert_eq!(state.keys(), (0..40).collect::<Vec<_>>());
        state.update_with(3, |value| *value = value.take().map(|value| value + "!"));
        state.update_with(4, |value| *value = None);
        state.update_with(41, |value| *value = Some("new".to_owned()));
        assert_eq!(state.get(&3).as_deref(), Some("3!"));
        assert_eq!(
            (state.get(&4), state.get(&41).as_deref()),
            (None, Some("new"))
        );
        choose(&backend, "b");
        assert!(state.is_empty());
        choose(&backend, "a");
        state.retain(|key, _| key % 2 == 0);
        assert_eq!(
            state.keys(),
            (0..40)
                .filter(|key| key % 2 == 0 && *key != 4)
                .collect::<Vec<_>>()
        );
        state.retain(|key, _| *key < 10);
        assert_eq!(state.keys(), [0, 2, 6, 8]);
        for key in state.keys() {
            state.remove(&key);
        }
        assert_eq!(backend.entries(), 0, "the map goes with its last entry");
    });
}

#[test]
fn a_reduction_is_kept_per_key_and_window() {
    standing::on_each(|| {
        let backend = backend();
        let first = TimeWindow { start: 0, end: 10 };
        let second = TimeWindow { start: 10, end: 20 };
        let mut state: ReducingState<i64, TimeWindow> = backend
            .reducing_state_in("window-contents", first, |a, b| a + b)
            .unwrap();
        choose(&backend, "a");
        state.add(1);
        state.add(2);
        state.set_namespace(second);
        state.add(10);
        choose(&backend, "b");
        assert_eq!(state.get(), None);
        choose(&backend, "a");
        assert_eq!(state.get(), Some(10));
        state.clear();
        state.set_namespace(first);
        assert_eq!(state.get(), Some(3));
    });
}

#[test]
fn a_name_is_registered_once() {
    standing::on_each(|| {
        let backend = backend();
        let _state = backend.value_state::<i64>("s").unwrap();
        let error = backend.list_state::<i64>("s").unwrap_err();
        assert_eq!(
            *error.kind(),
            ErrorKind::Registered {
                state: "s".to_owned()
            }
        );
        backend.timers::<VoidNamespace>("user-timers").unwrap();
        assert!(backend.timers::<VoidNamespace>("user-timers").is_err());
    });
}

#[test]
fn what_is_written_during_a_snapshot_is_there_afterwards() {
    let backend = backend();
    let mut state = backend.value_state::<i64>("v").unwrap();
    let keys: Vec<String> = (0..500).map(|key| key.to_string()).collect();
    for key in &keys {
        choose(&backend, key);
        state.update(1);
    }
    let frozen = backend.freeze();
    for (index, key) in keys.iter().enumerate() {
        choose(&backend, key);
        match index % 3 {
            0 => state.update(2),
            1 => state.clear(),
            _ => {}
        }
    }
    assert_eq!(frozen.entries(), 500);
    assert!(
        !backend.maintain(),
        "there is nothing to merge while the image lives"
    );
    drop(frozen);
    while backend.maintain() {}
    for (index, key) in keys.iter().enumerate() {
        choose(&backend, key);
        assert_eq!(state.value(), [Some(2), None, Some(1)][index % 3]);
    }
}
