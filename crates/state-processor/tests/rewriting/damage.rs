//! Damaged snapshots are refused or rewritten, never a panic, and what is refused leaves nothing.
//!
//! `MILLPOND_FUZZ_SECONDS` (default 2) bounds the search; `MILLPOND_FUZZ_SEED` repeats one that
//! failed.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use millpond_fs::memory::MemoryFileSystem;
use millpond_fs::{FileSystem, Location};
use millpond_snapshot::{KeyedFormat, load};
use millpond_state_processor::{
    ConvertOptions, Edit, EditOptions, Error, RehashOptions, convert, edit, rehash,
};

use crate::fixture::golden_named;

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

    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(3) {
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
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    let seed = number("MILLPOND_FUZZ_SEED").unwrap_or_else(|| RandomState::new().hash_one(0));
    let seconds = number("MILLPOND_FUZZ_SECONDS").unwrap_or(2);
    println!("MILLPOND_FUZZ_SEED={seed}");
    let mut random = Random(seed);
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
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut tried, mut refused) = (0, 0);
    while Instant::now() < end {
        let (bytes, edits) = &cases[random.below(cases.len())];
        let mut bytes = bytes.clone();
        random.mutate(&mut bytes);
        refused += rewrite(&bytes, edits);
        tried += 5;
    }
    println!("{refused} of {tried} refused");
    assert!(tried > 0);
}
