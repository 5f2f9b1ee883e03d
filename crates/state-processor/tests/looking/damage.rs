//! Damaged snapshots: no panic, no hang, no memory beyond them, and how much of it is found.
//!
//! `MILLPOND_FUZZ_SECONDS` (default 2) bounds the search for mutations; `MILLPOND_FUZZ_SEED`
//! repeats one that failed.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millpond_fs::memory::MemoryFileSystem;
use millpond_fs::{FileSystem, Location};
use millpond_snapshot::load;
use millpond_state_processor::{
    Counting, Format, OpenSnapshot, Progress, ReadOptions, Selection, Threads, diff, list, read,
    usage, verify,
};

use crate::fixture::{converted, item_named};

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Damages some bytes: bits, numbers that matter, parts cut out or doubled.
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            if bytes.len() < 16 {
                return;
            }
            let at = self.below(bytes.len() - 8);
            let length = 1 + self.below(8);
            match self.below(5) {
                0 => bytes[at] ^= 1 << self.below(8),
                1 => bytes[at] = self.next() as u8,
                2 => {
                    let numbers = [0, 1, -1, i32::MAX, i32::MIN, 0x7fff, 0x1_0000];
                    let number = numbers[self.below(numbers.len())];
                    bytes[at..at + 4].copy_from_slice(&number.to_be_bytes());
                }
                3 => drop(bytes.drain(at..at + length)),
                _ => {
                    let part = bytes[at..at + length].to_vec();
                    bytes.splice(at..at, part);
                }
            }
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[expect(
    clippy::print_stdout,
    reason = "a test that fails is repeated by its seed"
)]
fn seeded() -> Random {
    let seed = number("MILLPOND_FUZZ_SEED").unwrap_or_else(|| RandomState::new().hash_one(0));
    println!("MILLPOND_FUZZ_SEED={seed}");
    Random(seed)
}

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
    let mut random = seeded();
    let seconds = number("MILLPOND_FUZZ_SECONDS").unwrap_or(2);
    let corpus: Vec<Vec<u8>> = CORPUS.iter().map(|name| metadata_of(name)).collect();
    let whole = open(&corpus[0]).expect("whole");
    let start = Instant::now();
    let (mut opened, mut total) = (0u64, 0u64);
    while start.elapsed() < Duration::from_secs(seconds) {
        let mut bytes = corpus[random.below(corpus.len())].clone();
        random.mutate(&mut bytes);
        total += 1;
        let Some(snapshot) = open(&bytes) else {
            continue;
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
    }
    assert!(
        seconds == 0 || opened * 20 > total,
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
    let mut random = seeded();
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

/// The most memory that this process ever held, where the system tells it.
fn peak_memory_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib = line.split_whitespace().nth(1)?.parse::<u64>().ok()?;
    Some(kib / 1024)
}
