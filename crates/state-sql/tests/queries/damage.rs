//! Damaged snapshots: an error that says where, never a panic, never a wrong answer to a whole one.
//!
//! `MILLPOND_FUZZ_SECONDS` (default 2) bounds the search for mutations; `MILLPOND_FUZZ_SEED`
//! repeats one that failed.

use std::sync::Arc;

use millpond_damage::Damage;
use millpond_fs::memory::MemoryFileSystem;
use millpond_fs::{FileSystem, Location};
use millpond_snapshot::load;
use millpond_state_processor::{OpenSnapshot, PathMap};
use millpond_state_sql::ErrorKind;

use crate::fixture::{database, item_named, rows};

/// Opens metadata, with all state inline, from memory.
fn open(metadata: &[u8]) -> Option<OpenSnapshot> {
    let fs = MemoryFileSystem::new();
    let file = Location::parse("file:///sp/_metadata").expect("a location");
    fs.write_atomic(&file, metadata).expect("memory");
    let loaded = load(Arc::new(fs), &file).ok()?;
    Some(OpenSnapshot::of_loaded(loaded))
}

fn metadata_of(name: &str) -> Vec<u8> {
    std::fs::read(item_named(name).directory.join("_metadata")).expect("there")
}

#[test]
fn damage_in_a_value_is_told_with_its_place() {
    let mut bytes = metadata_of("2.3.0/count-stringkey-hashmap-canonical");
    // The entry of "key-1": key group, length of the text plus one, the text, a void namespace.
    let key = b"\x06key-1\0";
    let at = bytes
        .windows(key.len())
        .position(|part| part == key)
        .expect("the key");
    // The length of the value, which is a long.
    assert_eq!(bytes[at + key.len()..][..4], 8_i32.to_be_bytes());
    bytes[at] = 0x7f;
    let database = database(open(&bytes).expect("metadata"), &PathMap::default());
    let error = rows(&database, "select * from counter.count").expect_err("damage");
    let ErrorKind::Snapshot(below) = error.kind() else {
        panic!("{error:?}");
    };
    assert!(below.is_damage(), "{error}");
    assert!(error.to_string().contains("state \"count\""), "{error}");
}

#[test]
fn a_missing_file_is_damage() {
    let item = item_named("2.3.0/files-kinds-hashmap-canonical");
    let copied = tempfile::tempdir().expect("room");
    let from = item.directory.join("_metadata");
    std::fs::copy(from, copied.path().join("_metadata")).expect("room");
    let pointer = copied.path().display().to_string();
    let paths = PathMap::default();
    let snapshot = OpenSnapshot::open(&pointer, &paths).expect("metadata");
    let database = database(snapshot, &paths);
    let error = rows(&database, "select * from \"all-kinds\".\"value-long\"").expect_err("no file");
    assert!(
        matches!(error.kind(), ErrorKind::Snapshot(below) if below.is_damage()),
        "{error:?}"
    );
}

#[test]
fn every_table_survives_random_damage() {
    let corpus = [
        "1.15.4/kinds-hashmap-canonical",
        "1.20.5/opstate-hashmap-canonical",
        "2.3.0/timers-hashmap-native",
        "2.3.0/window-hashmap-canonical",
        "2.3.0/newsource-count-hashmap-canonical",
        "1.20.5/ttl-hashmap-canonical",
    ]
    .map(metadata_of);
    let (mut asked, mut refused) = (0, 0);
    Damage::seeded().search(&corpus, |_, bytes| {
        let Some(snapshot) = open(bytes) else {
            return;
        };
        let database = database(snapshot, &PathMap::default());
        let mut tables: Vec<String> = rows(&database, "show tables")
            .unwrap_or_default()
            .iter()
            .map(|row| {
                let part = |name: &str| row[name].as_str().unwrap_or("").replace('"', "\"\"");
                format!("\"{}\".\"{}\"", part("table_schema"), part("table_name"))
            })
            .collect();
        tables.retain(|table| !table.starts_with("\"information_schema\""));
        for table in tables {
            // Any answer will do, as long as there is one.
            asked += 1;
            refused += u64::from(rows(&database, &format!("select * from {table}")).is_err());
            rows(&database, &format!("select count(*) from {table}")).ok();
        }
    });
    println!("{asked} queries, {refused} refused");
    assert!(asked > 0);
}
