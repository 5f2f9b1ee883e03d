//! State outlives the types of the program: what is restored when they have changed.
//!
//! If this fails, a job that was deployed anew loses its state, or reads it as something else.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod standing;

use millpond_fs::{Location, file_system_for};
use millpond_serializer::{FlinkEnum, FlinkKey, FlinkPojo, FlinkType, TimeWindow, VoidNamespace};
use millpond_snapshot::{
    CanonicalReader, KeyedReader, OperatorStateHandle, StateSource, StreamHandle, load,
};
use millpond_state::{
    Error, KeyedBackend, OperatorStateBackend, StateTtlConfig, WrittenKeyedState,
};
use millpond_types::{KeyGroupRange, ManualClock};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const MAX_PARALLELISM: u32 = 128;

/// The class of every version of the type.
const CLASS: &str = "com.example.Account";

#[derive(FlinkEnum, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[flink(
    class = "com.example.Tier",
    crate = "millpond_serializer",
    hash = "name"
)]
enum OldTier {
    Basic,
    Gold,
}

/// Reordered, and with a constant more.
#[derive(FlinkEnum, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[flink(
    class = "com.example.Tier",
    crate = "millpond_serializer",
    hash = "name"
)]
enum Tier {
    Gold,
    Silver,
    Basic,
}

#[derive(FlinkEnum, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[flink(
    class = "com.example.Tier",
    crate = "millpond_serializer",
    hash = "name"
)]
enum ShortTier {
    Gold,
}

#[derive(FlinkPojo, Clone, Debug, PartialEq)]
#[flink(class = "com.example.Address", crate = "millpond_serializer")]
struct OldAddress {
    zip: i32,
    street: String,
}

#[derive(FlinkPojo, Clone, Debug, PartialEq)]
#[flink(class = "com.example.Account", crate = "millpond_serializer")]
struct OldAccount {
    owner: String,
    cents: i64,
    tier: OldTier,
    address: OldAddress,
    tags: Vec<String>,
    nick: Option<String>,
}

#[derive(FlinkPojo, Clone, Debug, PartialEq)]
#[flink(class = "com.example.Address", crate = "millpond_serializer")]
struct Address {
    street: String,
    country: Option<String>,
    zip: i32,
}

fn unknown() -> String {
    "unknown".to_owned()
}

/// Without `cents` and `tags`; with `blocked`, `visits`, `currency`, `labels`.
#[derive(FlinkPojo, Clone, Debug, PartialEq)]
#[flink(class = "com.example.Account", crate = "millpond_serializer")]
struct Account {
    blocked: bool,
    #[flink(default = "unknown")]
    currency: String,
    owner: String,
    tier: Tier,
    address: Address,
    visits: i32,
    #[flink(default)]
    labels: Vec<String>,
    nick: Option<String>,
}

fn old(number: i64) -> OldAccount {
    OldAccount {
        owner: format!("owner {number}"),
        cents: number * 100,
        tier: match number % 2 {
            0 => OldTier::Basic,
            _ => OldTier::Gold,
        },
        address: OldAddress {
            zip: number as i32,
            street: "Am Tal".to_owned(),
        },
        tags: vec!["x".to_owned(); (number % 3) as usize],
        nick: (number % 2 == 0).then(|| "nick".to_owned()),
    }
}

/// What [`old`] is now.
fn new(number: i64) -> Account {
    Account {
        blocked: false,
        currency: "unknown".to_owned(),
        owner: format!("owner {number}"),
        tier: match number % 2 {
            0 => Tier::Basic,
            _ => Tier::Gold,
        },
        address: Address {
            street: "Am Tal".to_owned(),
            country: None,
            zip: number as i32,
        },
        visits: 0,
        labels: vec![],
        nick: (number % 2 == 0).then(|| "nick".to_owned()),
    }
}

fn backend<K: FlinkKey>() -> KeyedBackend<K> {
    standing::backend(
        MAX_PARALLELISM,
        KeyGroupRange::of_subtask(0, 1, MAX_PARALLELISM),
    )
}

type File = (Vec<u8>, WrittenKeyedState);

fn snapshot<K: FlinkKey>(backend: &KeyedBackend<K>) -> File {
    let mut bytes = Vec::new();
    let written = backend.freeze().write(&mut bytes).unwrap();
    (bytes, written)
}

fn restore<K: FlinkKey>(backend: &KeyedBackend<K>, file: &File) -> Result<(), Error> {
    let source = StateSource::of_bytes("state", file.0.clone());
    let groups = &file.1.groups;
    let reader = CanonicalReader::open(source, groups, backend.range(), MAX_PARALLELISM).unwrap();
    backend.restore_entries(&mut KeyedReader::Canonical(reader))
}

fn select<K: FlinkKey>(backend: &KeyedBackend<K>, key: &K) {
    backend.set_current_key(key, backend.key_group(key));
}

/// One state of each kind whose values are accounts.
fn old_accounts() -> File {
    let backend = backend::<i64>();
    let mut value = backend.value_state::<OldAccount>("value").unwrap();
    let mut list = backend.list_state::<OldAccount>("list").unwrap();
    let mut map = backend.map_state::<String, OldAccount>("map").unwrap();
    let mut reduced = backend
        .reducing_state::<OldAccount>("reduced", |a, _| a.clone())
        .unwrap();
    for key in 0..50 {
        select(&backend, &key);
        value.update(old(key));
        list.add(old(key));
        list.add(old(key + 1));
        map.put("a".to_owned(), old(key));
        reduced.add(old(key));
    }
    snapshot(&backend)
}

#[test]
fn fields_come_and_go_in_every_kind_of_keyed_state() {
    standing::on_each(|| {
        let file = old_accounts();
        for registered_first in [true, false] {
            let backend = backend::<i64>();
            if !registered_first {
                restore(&backend, &file).unwrap();
            }
            let value = backend.value_state::<Account>("value").unwrap();
            let list = backend.list_state::<Account>("list").unwrap();
            let map = backend.map_state::<String, Account>("map").unwrap();
            let reduced = backend
                .reducing_state::<Account>("reduced", |a, _| a.clone())
                .unwrap();
            if registered_first {
                restore(&backend, &file).unwrap();
            }
            for key in 0..50 {
                select(&backend, &key);
                assert_eq!(value.value(), Some(new(key)));
                assert_eq!(list.get(), [new(key), new(key + 1)]);
                assert_eq!(map.get(&"a".to_owned()), Some(new(key)));
                assert_eq!(reduced.get(), Some(new(key)));
            }
            // What is written from now on is of the new type.
            let again = snapshot(&backend);
            let next = self::backend::<i64>();
            restore(&next, &again).unwrap();
            let value = next.value_state::<Account>("value").unwrap();
            select(&next, &7);
            assert_eq!(value.value(), Some(new(7)));
        }
    });
}

mod other {
    use super::*;

    /// `zip` is of another type.
    #[derive(FlinkPojo, Clone, Debug, PartialEq)]
    #[flink(class = "com.example.Address", crate = "millpond_serializer")]
    pub(super) struct Address {
        zip: i64,
        street: String,
    }

    #[derive(FlinkPojo, Clone, Debug, PartialEq)]
    #[flink(class = "com.example.Account", crate = "millpond_serializer")]
    pub(super) struct Account {
        owner: String,
        address: Address,
    }

    /// A new field without a value that Java could have put into it.
    #[derive(FlinkPojo, Clone, Debug, PartialEq)]
    #[flink(class = "com.example.Account", crate = "millpond_serializer")]
    pub(super) struct NewText {
        owner: String,
        currency: String,
    }
}

#[test]
fn what_does_not_fit_is_refused_with_the_field_before_anything_is_restored() {
    standing::on_each(|| {
        fn refused<T: FlinkType>(expected: &str) {
            let backend = backend::<i64>();
            let fine = backend.list_state::<Account>("list").unwrap();
            let _wrong = backend.value_state::<T>("value").unwrap();
            let error = restore(&backend, &old_accounts()).unwrap_err().to_string();
            assert!(error.contains("state \"value\""), "{error}");
            assert!(error.contains(expected), "{error}");
            assert_eq!(backend.entries(), 0, "nothing is restored");
            select(&backend, &1);
            assert!(fine.get().is_empty());
        }
        refused::<other::Account>("field \"address.zip\": was Integer, now Long");
        refused::<other::NewText>("field \"currency\": is new and would be null");
        // What needs no backend to be refused.
        let why = |why: Result<millpond_serializer::Reader<_>, _>| why.map(drop).unwrap_err();
        let previous = OldTier::serializer_snapshot();
        let lost = ShortTier::reader(&previous).map(drop).unwrap_err();
        assert_eq!(lost.to_string(), "enum constant \"BASIC\" was removed");
        let other_class = why(Account::reader(&OldAddress::serializer_snapshot()));
        let expected = "was Pojo com.example.Address, now Pojo com.example.Account";
        assert_eq!(other_class.to_string(), expected);
        // The same if the state is registered after the restore.
        let backend = backend::<i64>();
        restore(&backend, &old_accounts()).unwrap();
        let error = backend.list_state::<other::Account>("list").unwrap_err();
        let expected = "field \"element.address.zip\": was Integer, now Long";
        assert!(error.to_string().contains(expected), "{error}");
        let map = backend.map_state::<String, other::Account>("map");
        let expected = "field \"value.address.zip\": was Integer, now Long";
        let error = map.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    });
}

#[test]
fn a_function_migrates_values_of_a_type_for_good() {
    standing::on_each(|| {
        let before = backend::<i64>();
        let mut count = before.value_state::<i32>("count").unwrap();
        let mut names = before.list_state::<String>("names").unwrap();
        let mut seen = before.map_state::<String, i32>("seen").unwrap();
        let mut nulls = before.map_state::<String, Option<i32>>("nulls").unwrap();
        let mut sum = before
            .reducing_state_in::<_, i32>("sum", TimeWindow { start: 0, end: 9 }, |a, b| a + b)
            .unwrap();
        select(&before, &5);
        count.update(7);
        names.add("Ada".to_owned());
        seen.put("x".to_owned(), 3);
        nulls.put("x".to_owned(), Some(3));
        nulls.put("y".to_owned(), None);
        sum.add(4);
        let file = snapshot(&before);

        let with_functions = |late: bool, file: &File| {
            let after = backend::<i64>();
            if late {
                restore(&after, file).unwrap();
            }
            after.migrate_state("count", |old: i32| (i64::from(old), "migrated".to_owned()));
            after.migrate_state("names", |old: String| old.len() as i64);
            after.migrate_state("seen", |old: i32| old.to_string());
            after.migrate_state("sum", |old: i32| f64::from(old));
            after.migrate_state("nulls", |old: Option<i32>| old.map(i64::from));
            let count = after.value_state::<(i64, String)>("count").unwrap();
            let names = after.list_state::<i64>("names").unwrap();
            let seen = after.map_state::<String, String>("seen").unwrap();
            let nulls = after.map_state::<String, Option<i64>>("nulls").unwrap();
            let window = TimeWindow { start: 0, end: 9 };
            let sum = after.reducing_state_in::<_, f64>("sum", window, |a, b| a + b);
            let sum = sum.unwrap();
            if !late {
                restore(&after, file).unwrap();
            }
            select(&after, &5);
            assert_eq!(count.value(), Some((7, "migrated".to_owned())));
            assert_eq!(names.get(), [3]);
            assert_eq!(seen.get(&"x".to_owned()), Some("3".to_owned()));
            assert_eq!(sum.get(), Some(4.0));
            assert_eq!(nulls.get(&"x".to_owned()), Some(Some(3)));
            assert_eq!(nulls.get(&"y".to_owned()), Some(None));
            snapshot(&after)
        };
        with_functions(true, &file);
        let migrated = with_functions(false, &file);
        // Values of the new type are not touched again.
        with_functions(false, &migrated);
    });
}

#[test]
fn a_function_to_another_type_than_the_states_is_refused() {
    standing::on_each(|| {
        let backend = backend::<i64>();
        backend.migrate_state("count", |old: i32| i64::from(old));
        let error = backend.value_state::<String>("count").unwrap_err();
        assert!(
            error
                .to_string()
                .contains("migration of state \"count\" to another type than String"),
            "{error}"
        );
    });
}

#[test]
fn a_function_may_start_from_an_earlier_version_of_its_old_type() {
    standing::on_each(|| {
        let after = backend::<i64>();
        after.migrate_state("value", |old: Account| old.owner);
        let owner = after.value_state::<String>("value").unwrap();
        restore(&after, &old_accounts()).unwrap();
        select(&after, &3);
        assert_eq!(owner.value(), Some("owner 3".to_owned()));
    });
}

#[test]
fn values_with_time_to_live_change_and_keep_the_time_of_their_last_use() {
    standing::on_each(|| {
        let config = || StateTtlConfig::new(Duration::from_secs(10));
        let clock = Arc::new(ManualClock::at(1_000));
        let before = backend::<i64>();
        let states = before.with_ttl(config(), clock.clone());
        let mut value = states.value_state::<OldAccount>("value").unwrap();
        let mut list = states.list_state::<i32>("list").unwrap();
        select(&before, &1);
        value.update(old(1));
        list.add(5);
        let file = snapshot(&before);

        let after = backend::<i64>();
        after.migrate_state("list", |old: i32| old.to_string());
        let states = after.with_ttl(config(), clock.clone());
        let value = states.value_state::<Account>("value").unwrap();
        let list = states.list_state::<String>("list").unwrap();
        restore(&after, &file).unwrap();
        select(&after, &1);
        clock.advance(Duration::from_millis(9_999));
        assert_eq!(value.value(), Some(new(1)));
        assert_eq!(list.get(), ["5"]);
        clock.advance(Duration::from_millis(2));
        assert_eq!(value.value(), None);
        assert!(list.get().is_empty());
    });
}

#[test]
fn keys_with_an_enum_are_found_when_it_has_got_constants() {
    standing::on_each(|| {
        type OldKey = (String, OldTier);
        let before = backend::<OldKey>();
        let mut count = before.value_state::<i64>("count").unwrap();
        let mut carried = before.value_state::<i64>("carried").unwrap();
        let timers = before.timers::<VoidNamespace>("user-timers").unwrap();
        for number in 0..20 {
            for tier in [OldTier::Basic, OldTier::Gold] {
                select(&before, &(format!("key {number}"), tier));
                count.update(number);
                carried.update(number + 100);
                timers.handle().register_event_time(&VoidNamespace, number);
            }
        }
        let file = snapshot(&before);

        type Key = (String, Tier);
        // Timers and one state are not registered at first: they are carried on.
        let between = backend::<Key>();
        let count = between.value_state::<i64>("count").unwrap();
        restore(&between, &file).unwrap();
        for number in 0..20 {
            for tier in [Tier::Basic, Tier::Gold] {
                select(&between, &(format!("key {number}"), tier));
                assert_eq!(count.value(), Some(number));
            }
        }
        let after = backend::<Key>();
        let carried = after.value_state::<i64>("carried").unwrap();
        let timers = after.timers::<VoidNamespace>("user-timers").unwrap();
        restore(&after, &snapshot(&between)).unwrap();
        for number in 0..20 {
            for tier in [Tier::Basic, Tier::Gold] {
                select(&after, &(format!("key {number}"), tier));
                assert_eq!(carried.value(), Some(number + 100));
            }
        }
        let mut found: Vec<_> = timers
            .event_timers()
            .into_iter()
            .map(|timer| (timer.key, timer.timestamp))
            .collect();
        found.sort();
        let mut expected: Vec<(Key, i64)> = (0..20)
            .flat_map(|number| {
                [Tier::Basic, Tier::Gold].map(|tier| ((format!("key {number}"), tier), number))
            })
            .collect();
        expected.sort();
        assert_eq!(found, expected);
    });
}

#[derive(FlinkPojo, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[flink(
    class = "com.example.Key",
    crate = "millpond_serializer",
    hash = "fields"
)]
struct OldPojoKey {
    id: i64,
}

#[derive(FlinkPojo, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[flink(
    class = "com.example.Key",
    crate = "millpond_serializer",
    hash = "fields"
)]
struct PojoKey {
    id: i64,
    region: Option<String>,
}

#[test]
fn keys_do_not_migrate() {
    standing::on_each(|| {
        let before = backend::<OldPojoKey>();
        let mut count = before.value_state::<i64>("count").unwrap();
        let mut map = before.map_state::<OldPojoKey, i64>("map").unwrap();
        select(&before, &OldPojoKey { id: 1 });
        count.update(1);
        map.put(OldPojoKey { id: 2 }, 2);
        let file = snapshot(&before);
        let same = backend::<OldPojoKey>();
        let count = same.value_state::<i64>("count").unwrap();
        restore(&same, &file).unwrap();
        select(&same, &OldPojoKey { id: 1 });
        assert_eq!(count.value(), Some(1));
        let error = restore(&backend::<PojoKey>(), &file)
            .unwrap_err()
            .to_string();
        assert!(error.contains("keys do not migrate"), "{error}");
        let error = same.map_state::<PojoKey, i64>("map").unwrap_err();
        let expected = "only the values of a map migrate";
        assert!(error.to_string().contains(expected), "{error}");
    });
}

#[test]
fn operator_lists_and_broadcast_maps_migrate_too() {
    let before = OperatorStateBackend::new();
    let mut list = before.list_state::<OldAccount>("list").unwrap();
    let mut union = before.union_list_state::<i32>("union").unwrap();
    let mut broadcast = before
        .broadcast_state::<OldTier, OldAccount>("broadcast")
        .unwrap();
    list.update([old(1), old(2)]);
    union.add(5);
    broadcast.put(OldTier::Basic, old(3));
    broadcast.put(OldTier::Gold, old(4));
    let mut bytes = Vec::new();
    let written = before.freeze().write(&mut bytes).unwrap();
    let handle = OperatorStateHandle {
        states: written.offsets,
        stream: StreamHandle::Bytes {
            name: "inline".to_owned(),
            data: Vec::new(),
        },
        merged: None,
    };
    for registered_first in [true, false] {
        let after = OperatorStateBackend::new();
        after.migrate_state("union", |old: i32| old.to_string());
        if !registered_first {
            after.restore_bytes(bytes.clone(), &handle).unwrap();
        }
        let list = after.list_state::<Account>("list").unwrap();
        let union = after.union_list_state::<String>("union").unwrap();
        let broadcast = after.broadcast_state::<Tier, Account>("broadcast").unwrap();
        if registered_first {
            after.restore_bytes(bytes.clone(), &handle).unwrap();
        }
        assert_eq!(list.get(), [new(1), new(2)]);
        assert_eq!(union.get(), ["5"]);
        assert_eq!(broadcast.get(&Tier::Basic), Some(new(3)));
        assert_eq!(broadcast.get(&Tier::Gold), Some(new(4)));
    }
    let wrong = OperatorStateBackend::new();
    wrong.restore_bytes(bytes, &handle).unwrap();
    let error = wrong.list_state::<other::Account>("list").unwrap_err();
    let expected = "field \"address.zip\": was Integer, now Long";
    assert!(error.to_string().contains(expected), "{error}");
}

#[test]
fn the_class_of_the_test_is_the_one_of_its_types() {
    assert_eq!(<Account as millpond_serializer::JavaClass>::CLASS, CLASS);
}

/// `Person` of the golden files, as Java declares it.
#[derive(FlinkPojo, Clone, Debug, PartialEq)]
#[flink(class = "Person", crate = "millpond_serializer")]
struct Person {
    name: Option<String>,
    age: Option<i32>,
    score: i64,
    ratio: f64,
    active: bool,
    note: Option<String>,
}

/// Without `ratio` and `note`, with `town` and `visits`.
#[derive(FlinkPojo, Clone, Debug, PartialEq)]
#[flink(class = "Person", crate = "millpond_serializer")]
struct LaterPerson {
    active: bool,
    age: Option<i32>,
    name: String,
    score: i64,
    town: Option<String>,
    visits: i64,
}

/// What real Flink says its savepoint holds, and what a Rust type reads of it.
fn persons<P: FlinkType>(version: &str, name: &str) -> BTreeMap<String, (Value, P)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../snapshot/tests/golden")
        .join(version);
    let sidecar = std::fs::read(folder.join(format!("{name}.json"))).unwrap();
    let sidecar: Value = serde_json::from_slice(&sidecar).unwrap();
    let location = Location::parse(folder.join(name).to_str().unwrap()).unwrap();
    let loaded = load(file_system_for(&location).unwrap(), &location).unwrap();
    let operators = sidecar["operators"].as_array().unwrap();
    let operator = operators
        .iter()
        .find(|operator| operator["uid"] == "all-kinds")
        .unwrap();
    let states = operator["keyed_states"].as_array().unwrap();
    let state = states
        .iter()
        .find(|state| state["name"] == "value-pojo")
        .unwrap();
    let id = operator["operator_id"].as_str().unwrap().parse().unwrap();
    let restored = loaded
        .metadata
        .operators
        .iter()
        .find(|found| found.id == id);
    let restored = restored.unwrap();
    let backend = standing::backend::<String>(
        restored.max_parallelism,
        KeyGroupRange::of_subtask(0, 1, restored.max_parallelism),
    );
    let value = backend.value_state::<P>("value-pojo").unwrap();
    for (_, subtask) in &restored.subtasks {
        backend
            .restore(&loaded, subtask.managed_keyed.as_ref().unwrap())
            .unwrap();
    }
    let rows = state["content"].as_array().unwrap();
    assert_eq!(backend.keys("value-pojo").len(), rows.len());
    rows.iter()
        .map(|row| {
            let key = row[0].as_str().unwrap().to_owned();
            select(&backend, &key);
            (key, (row[1].clone(), value.value().unwrap()))
        })
        .collect()
}

#[test]
fn a_pojo_that_flink_wrote_is_read_as_it_was_and_with_fields_added_and_removed() {
    standing::on_each(|| {
        for version in ["1.15.4", "1.20.5", "2.3.0"] {
            for name in [
                "kinds-hashmap-canonical",
                "kinds-rocksdb-canonical",
                "kinds-hashmap-native",
            ] {
                let found = persons::<Person>(version, name);
                assert!(!found.is_empty());
                for (flink, person) in found.values() {
                    let ours = json!({
                        "name": person.name, "age": person.age, "score": person.score,
                        "ratio": person.ratio, "active": person.active, "note": person.note,
                    });
                    assert_eq!(&ours, flink, "{version} {name}");
                }
                for (flink, person) in persons::<LaterPerson>(version, name).values() {
                    let ours = json!([person.name, person.age, person.score, person.active]);
                    let theirs =
                        json!([flink["name"], flink["age"], flink["score"], flink["active"]]);
                    assert_eq!(ours, theirs, "{version} {name}");
                    assert_eq!((&person.town, person.visits), (&None, 0));
                }
            }
        }
    });
}
