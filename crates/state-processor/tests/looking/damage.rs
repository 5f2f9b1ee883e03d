//! Damaged snapshots: no panic, no hang, no memory beyond them, and how much of it is found.
//!
//! `MILLPOND_FUZZ_SECONDS` (default 2) bounds the search for mutations; `MILLPOND_FUZZ_SEED`
//! repeats one that failed.

use std::io;
use std::sync::Arc;

use millpond_damage::{Damage, peak_memory_mib};
use millpond_fs::memory::MemoryFileSystem;
use millpond_fs::{FileSystem, Location};
use millpond_snapshot::load;
use millpond_state_processor::{
    Counting, Format, OpenSnapshot, Progress, ReadOptions, Selection, Threads, diff, list, read,
    usage, verify,
};

use crate::fixture::{converted, item_named};

fn one_thread() -> Threads {
    Threads(std::num::NonZero::new(1).expect("not zero"))
}

/// Opens metadata, with all state inline, from memory.
fn open(metadata: &[u8]) -> Option<OpenSnapshot> {
    let fs = MemoryFileSystem::new();
    let file = Location::parse("file:///sp/_metadata").expect("a location");
    fs.write_atomic(&file, metadata).expect("memory");
    let loaded = load(Arc::new(fs), &file).ok()?;
    Some(OpenSnapshot::of_loaded(loaded))
}

/// Whether opening or verifying finds something wrong.
fn is_found(metadata: &[u8]) -> bool {
    match open(metadata) {
        None => true,
        Some(snapshot) => match verify(&snapshot, one_thread(), &Progress::default()) {
            Ok(found) => !found.sound,
            Err(_) => true,
        },
    }
}

const CORPUS: [&str; 8] = [
    "1.15.4/kinds-hashmap-canonical",
    "1.20.5/opstate-hashmap-canonical",
    "2.3.0/timers-hashmap-native",
    "2.3.0/window-hashmap-canonical",
    "2.3.0/kinds-hashmap-native",
    "2.3.0/newsource-count-hashmap-canonical",
    "1.20.5/ttl-hashmap-canonical",
    "2.3.0/nullmap-kinds-rocksdb-canonical",
];

fn metadata_of(name: &str) -> Vec<u8> {
    std::fs::read(item_named(name).directory.join("_metadata")).expect("there")
}

#[test]
fn every_command_survives_random_damage() {
    let corpus: Vec<Vec<u8>> = CORPUS.iter().map(|name| metadata_of(name)).collect();
    let whole = open(&corpus[0]).expect("whole");
    let mut opened = 0u64;
    let total = Damage::seeded().search(&corpus, |random, bytes| {
        let Some(snapshot) = open(bytes) else {
            return;
        };
        opened += 1;
        let progress = Progress::default();
        let formats = [Format::Json, Format::JsonLines, Format::Csv, Format::Table];
        let options = ReadOptions {
            selection: Selection::default(),
            format: formats[random.below(4)],
            ttl: true,
            limit: None,
        };
        // Any answer will do, as long as there is one.
        read(
            &snapshot,
            &options,
            one_thread(),
            &progress,
            &mut io::sink(),
        )
        .ok();
        verify(&snapshot, one_thread(), &progress).ok();
        list(&snapshot, Counting::Full, one_thread(), &progress).ok();
        usage(&snapshot, 3, one_thread(), &progress).ok();
        diff(&whole, &snapshot, None, one_thread(), &progress).ok();
    });
    assert!(
        // A few say nothing about all.
        total < 100 || opened * 20 > total,
        "{opened} of {total} could be opened"
    );
    assert!(
        peak_memory_mib().is_none_or(|peak| peak < 1024),
        "{:?} MiB",
        peak_memory_mib()
    );
}

/// The share that the documentation tells.
#[test]
fn verify_finds_most_changed_bytes_and_with_a_trailer_all() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut random = Damage::seeded();
    let (mut found, mut in_state, mut total, mut of_state) = (0u32, 0u32, 0u32, 0u32);
    let (mut found_with_trailer, mut with_trailer) = (0u32, 0u32);
    for name in CORPUS {
        let whole = metadata_of(name);
        assert!(!is_found(&whole), "{name} is sound");
        let state = keyed_state(&whole);
        for round in 0..60 {
            let mut bytes = whole.clone();
            // Every other time within keyed state.
            let at = match (round % 2 == 0, &state) {
                (true, Some(state)) => state.start + random.below(state.len()),
                _ => random.below(bytes.len()),
            };
            bytes[at] ^= 1 + random.below(255) as u8;
            let is_found = is_found(&bytes);
            if state.as_ref().is_some_and(|state| state.contains(&at)) {
                of_state += 1;
                in_state += u32::from(is_found);
            }
            if round % 2 == 1 {
                total += 1;
                found += u32::from(is_found);
            }
        }
        let to = directory.path().join(name.replace('/', "-"));
        converted(&item_named(name), &to);
        let whole = std::fs::read(to.join("_metadata")).expect("written");
        for _ in 0..30 {
            let mut bytes = whole.clone();
            let at = random.below(bytes.len());
            bytes[at] ^= 1 + random.below(255) as u8;
            with_trailer += 1;
            found_with_trailer += u32::from(is_found(&bytes));
        }
    }
    let percent = |part: u32, whole: u32| 100.0 * f64::from(part) / f64::from(whole.max(1));
    println!(
        "changed bytes found: {:.0} % of _metadata without trailer ({total}), {:.0} % of keyed \
         state ({of_state}), {:.1} % with trailer ({with_trailer})",
        percent(found, total),
        percent(in_state, of_state),
        percent(found_with_trailer, with_trailer),
    );
    assert_eq!(found_with_trailer, with_trailer, "checksums find all");
    assert!(percent(in_state, of_state) > 40.0);
}

/// Where the longest inline keyed state lies in metadata.
fn keyed_state(metadata: &[u8]) -> Option<std::ops::Range<usize>> {
    use millpond_snapshot::{KeyedHandle, Metadata, StreamHandle};
    let read = Metadata::read(metadata).expect("whole");
    let subtasks = read
        .operators
        .iter()
        .flat_map(|operator| &operator.subtasks);
    let data = subtasks.filter_map(|(_, subtask)| match &subtask.managed_keyed {
        Some(KeyedHandle::KeyGroups {
            stream: StreamHandle::Bytes { data, .. },
            ..
        }) => Some(data),
        _ => None,
    });
    let longest = data.max_by_key(|data| data.len())?;
    let start = metadata
        .windows(longest.len())
        .position(|part| part == longest.as_slice())?;
    Some(start..start + longest.len())
}
