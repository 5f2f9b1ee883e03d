//! Another maximum parallelism keeps all state, each key in the key group that it then has.

use std::sync::Arc;

use millpond_fs::LocalFileSystem;
use millpond_serializer::{ByteReader, FlinkKey, FlinkType, SerializerSnapshot};
use millpond_snapshot::{LoadedSnapshot, StateKind, split_key};
use millpond_state_processor::{EditOptions, RehashOptions, edit, rehash};
use millpond_types::{KeyGroup, KeyGroupRange};

use crate::fixture::{Content, content, golden, golden_named, load_from, location};

fn rehashed(from: &LoadedSnapshot, max: u32) -> (tempfile::TempDir, LoadedSnapshot) {
    let home = tempfile::tempdir().expect("room");
    let to = home.path().join("out");
    let options = RehashOptions {
        max_parallelism: max,
        for_flink: None,
    };
    rehash(from, Arc::new(LocalFileSystem), &location(&to), &options)
        .unwrap_or_else(|e| panic!("{max}: {e}"));
    let snapshot = load_from(&to);
    assert!(snapshot.verify().is_empty(), "{:?}", snapshot.verify());
    (home, snapshot)
}

fn without_groups(mut content: Content) -> Content {
    content.keyed.iter_mut().for_each(|row| row.2 = 0);
    content.keyed.sort();
    content
}

/// The hash code by the types of this test, not by the code under test.
fn hash_code(snapshot: &SerializerSnapshot, bytes: &[u8]) -> i32 {
    fn of<K: FlinkKey>(bytes: &[u8]) -> i32 {
        K::read(&mut ByteReader::new(bytes))
            .expect("a key")
            .hash_code()
    }
    match snapshot {
        s if *s == String::serializer_snapshot() => of::<String>(bytes),
        s if *s == i64::serializer_snapshot() => of::<i64>(bytes),
        s if *s == i32::serializer_snapshot() => of::<i32>(bytes),
        s if *s == <(String, i64)>::serializer_snapshot() => of::<(String, i64)>(bytes),
        other => panic!("a hash of {}", other.describe()),
    }
}

/// Checks that every key, and the key of every timer, lies in its key group; returns how many.
fn check_groups(snapshot: &LoadedSnapshot, max: u32) -> (usize, usize) {
    let (mut entries, mut timers) = (0, 0);
    for operator in &snapshot.metadata.operators {
        assert_eq!(operator.max_parallelism, max);
        for (_, subtask) in &operator.subtasks {
            let Some(handle) = &subtask.managed_keyed else {
                continue;
            };
            let all = KeyGroupRange::new(KeyGroup(0), KeyGroup((max - 1) as u16));
            let opened = snapshot.open_keyed(handle, all, max).expect("a header");
            let mut reader = opened.expect("key groups");
            let header = reader.header().clone();
            while let Some(entry) = reader.next_entry().expect("whole") {
                let parts = split_key(&header, entry.state, entry.key).expect("a key");
                let hash = hash_code(&header.key_serializer, parts.key);
                assert_eq!(KeyGroup::of_hash(hash, max), entry.key_group);
                entries += 1;
                let kind = header.states[entry.state].kind;
                timers += usize::from(kind == StateKind::PriorityQueue);
            }
        }
    }
    (entries, timers)
}

#[test]
fn every_key_and_every_timer_moves_to_its_new_key_group_and_back() {
    let (mut entries, mut timers) = (0, 0);
    for golden in golden() {
        let from = golden.load();
        let expected = content(&from);
        let old = from
            .metadata
            .operators
            .iter()
            .map(|operator| operator.max_parallelism)
            .max()
            .expect("an operator");
        let (_home, larger) = rehashed(&from, 4096);
        assert!(
            without_groups(content(&larger)) == without_groups(content(&from)),
            "{}",
            golden.name
        );
        let counted = check_groups(&larger, 4096);
        assert!(counted.0 == expected.keyed.len());
        (entries, timers) = (entries + counted.0, timers + counted.1);
        let (_home, back) = rehashed(&larger, old);
        assert!(content(&back) == expected, "{}", golden.name);
        let (_home, odd) = rehashed(&from, 5);
        check_groups(&odd, 5);
    }
    assert!(
        entries > 5000 && timers > 100,
        "{entries} entries, {timers} timers"
    );
}

#[test]
fn a_maximum_parallelism_that_cannot_be_is_refused_before_anything_is_written() {
    let from = golden_named("2.3.0/timers-hashmap-canonical").load();
    let home = tempfile::tempdir().expect("room");
    let to = home.path().join("out");
    for (max_parallelism, message) in [
        (0, "1 to 32768 are possible"),
        (32769, "1 to 32768 are possible"),
        (1, "more than the maximum parallelism 1"),
    ] {
        let options = RehashOptions {
            max_parallelism,
            for_flink: None,
        };
        let error = rehash(&from, Arc::new(LocalFileSystem), &location(&to), &options)
            .expect_err("impossible");
        assert!(error.to_string().contains(message), "{error}");
        assert!(!to.exists());
    }
}

#[test]
fn for_an_older_release_operator_state_is_written_in_the_version_that_it_reads() {
    let from = golden_named("1.20.5/opstate-hashmap-canonical").load();
    let home = tempfile::tempdir().expect("room");
    let release = "1.15".parse().expect("known");
    let options = RehashOptions {
        max_parallelism: 64,
        for_flink: Some(release),
    };
    let (rehashed, edited) = (home.path().join("rehashed"), home.path().join("edited"));
    let fs = Arc::new(LocalFileSystem);
    rehash(&from, fs.clone(), &location(&rehashed), &options).expect("fits");
    let edits = ["uid op-state to other".parse().expect("an edit")];
    let options = EditOptions {
        for_flink: Some(release),
        ..EditOptions::default()
    };
    edit(&from, fs, &location(&edited), &edits, &options).expect("fits");
    for directory in [rehashed, edited] {
        let new = load_from(&directory);
        assert!(new.verify().is_empty());
        assert_eq!(new.metadata.version, 3);
        let elements = |snapshot: &LoadedSnapshot| -> Vec<Vec<u8>> {
            let mut elements: Vec<_> = content(snapshot)
                .lists
                .into_iter()
                .map(|row| row.2)
                .collect();
            elements.sort();
            elements
        };
        assert_eq!(elements(&new), elements(&from));
        let mut files = 0;
        for (_, subtask) in new.metadata.operators.iter().flat_map(|o| &o.subtasks) {
            if let Some(handle) = &subtask.managed_operator {
                let reader = new.open_operator(handle).expect("a header");
                assert_eq!(reader.header().version, 5);
                files += 1;
            }
        }
        assert!(files > 0);
    }
}
