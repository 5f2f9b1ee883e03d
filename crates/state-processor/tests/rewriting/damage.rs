//! Damaged snapshots are refused or rewritten, never a panic, and what is refused leaves nothing.
//!
//! `MILLPOND_FUZZ_SECONDS` (default 2) bounds the search; `MILLPOND_FUZZ_SEED` repeats one that
//! failed.

use std::sync::Arc;
use std::time::Instant;

use millpond_damage::{Damage, time_to_spend};
use millpond_fs::memory::MemoryFileSystem;
use millpond_fs::{FileSystem, Location};
use millpond_snapshot::{KeyedFormat, load};
use millpond_state_processor::{
    ConvertOptions, Edit, EditOptions, Error, RehashOptions, convert, edit, rehash,
};

use crate::fixture::golden_named;

/// Everything that makes a new snapshot, on one whose whole state is inline; returns how many of
/// the ways were refused.
fn rewrite(metadata: &[u8], edits: &[Edit]) -> usize {
    let fs: Arc<dyn FileSystem> = Arc::new(MemoryFileSystem::new());
    let from = Location::parse("/from").expect("a path");
    fs.write_atomic(&from.join("_metadata"), metadata)
        .expect("memory");
    let Ok(snapshot) = load(fs.clone(), &from) else {
        return 5;
    };
    let mut refused = 0;
    let mut check = |name: &str, run: &dyn Fn(&Location) -> Result<(), Error>| {
        let to = Location::parse("/to").expect("a path").join(name);
        if run(&to).is_err() {
            refused += 1;
            assert!(!fs.exists(&to).expect("memory"), "{name} left something");
        }
    };
    let formats = [Some(KeyedFormat::Canonical), Some(KeyedFormat::NativeHeap)];
    for (name, format) in ["canonical", "native"].into_iter().zip(formats) {
        let options = ConvertOptions {
            format,
            ..ConvertOptions::default()
        };
        check(name, &|to| {
            convert(&snapshot, fs.clone(), to, &options).map(drop)
        });
    }
    let options = ConvertOptions {
        parallelism: Some(3),
        ..ConvertOptions::default()
    };
    check("three", &|to| {
        convert(&snapshot, fs.clone(), to, &options).map(drop)
    });
    let options = RehashOptions {
        max_parallelism: 64,
        for_flink: None,
    };
    check("rehashed", &|to| {
        rehash(&snapshot, fs.clone(), to, &options).map(drop)
    });
    check("edited", &|to| {
        edit(&snapshot, fs.clone(), to, edits, &EditOptions::default()).map(drop)
    });
    refused
}

#[test]
fn damaged_snapshots_are_refused_or_rewritten_but_never_a_panic() {
    let cases: Vec<(Vec<u8>, Vec<Edit>)> = [
        (
            "1.15.4/kinds-hashmap-canonical",
            "set all-kinds/map-string-long key=key-0 user_key=u value=6",
        ),
        (
            "2.3.0/timers-hashmap-native",
            "delete timers/_timer_state/event_user-timers where timestamp > 20000",
        ),
        (
            "1.20.5/opstate-hashmap-canonical",
            "set rules-join/rules key=new value=4",
        ),
        (
            "2.3.0/window-hashmap-canonical",
            "delete window-sum/window-contents where value.1 > 3",
        ),
    ]
    .into_iter()
    .map(|(name, edit)| {
        let directory = golden_named(name).directory;
        let bytes = std::fs::read(directory.join("_metadata")).expect("there");
        let edits = vec![edit.parse().expect("an edit")];
        assert_eq!(rewrite(&bytes, &edits), 0, "{name} is not damaged");
        (bytes, edits)
    })
    .collect();
    let mut damage = Damage::seeded();
    let end = Instant::now() + time_to_spend();
    let (mut tried, mut refused) = (0, 0);
    while Instant::now() < end {
        let (bytes, edits) = &cases[damage.below(cases.len())];
        let mut bytes = bytes.clone();
        damage.mutate(&mut bytes);
        refused += rewrite(&bytes, edits);
        tried += 5;
    }
    println!("{refused} of {tried} refused");
    assert!(tried > 0);
}
