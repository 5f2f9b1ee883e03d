//! What does a snapshot cost the records that go on meanwhile?
//!
//! Counted for 1e6 and 1e7 `i64` keys with one `i64` each, over 128 key groups: millions of
//! `set_current_key` + `update_with` per second on one thread, bytes per key, the time to freeze,
//! and the slowest batch of 1024 records while another thread writes the snapshot. A surprise
//! would be a freeze of over 1 ms, a batch of over 10 ms, or more than 48 bytes per key.
//!
//! `cargo bench -p millpond-state` runs it.

#![expect(clippy::print_stdout, reason = "a bench prints what it found")]

use millpond_state::{KeyedBackend, ValueState};
use millpond_types::{KeyGroup, KeyGroupRange};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH: usize = 1024;
const ROUNDS: usize = 500;

struct Load {
    backend: KeyedBackend<i64>,
    count: ValueState<i64>,
    keys: i64,
    at: u64,
    batch: Vec<(i64, KeyGroup)>,
}

impl Load {
    fn new(keys: i64) -> Self {
        let backend = KeyedBackend::new(128, KeyGroupRange::of_subtask(0, 1, 128));
        let count = backend.value_state("count").expect("a fresh backend");
        Load {
            backend,
            count,
            keys,
            at: 0,
            batch: Vec::with_capacity(BATCH),
        }
    }

    fn update(&mut self, key: i64, group: KeyGroup) {
        self.backend.set_current_key(&key, group);
        self.count
            .update_with(|count| *count = Some(count.unwrap_or(0) + 1));
    }

    fn fill(&mut self) {
        for key in 0..self.keys {
            let group = self.backend.key_group(&key);
            self.update(key, group);
        }
    }

    /// Runs one batch of random keys; returns what it took.
    fn batch(&mut self) -> Duration {
        self.batch.clear();
        for _ in 0..BATCH {
            // A sequence without visible order, the same in every run.
            self.at = self
                .at
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let key = ((self.at >> 20) % self.keys as u64) as i64;
            self.batch.push((key, self.backend.key_group(&key)));
        }
        let start = Instant::now();
        self.backend
            .prefetch(self.batch.iter().map(|(key, group)| (key, *group)));
        for at in 0..BATCH {
            let (key, group) = self.batch[at];
            self.update(key, group);
        }
        self.backend.maintain();
        start.elapsed()
    }

    /// Returns millions of updates per second: the median of five.
    fn steady(&mut self) -> f64 {
        let mut rates: Vec<f64> = (0..5)
            .map(|_| {
                let spent: Duration = (0..ROUNDS).map(|_| self.batch()).sum();
                (ROUNDS * BATCH) as f64 / spent.as_secs_f64() / 1e6
            })
            .collect();
        rates.sort_by(f64::total_cmp);
        rates[2]
    }

    fn snapshot(&mut self) -> Snapshot {
        let start = Instant::now();
        let frozen = self.backend.freeze();
        let freeze = start.elapsed();
        let done = Arc::new(AtomicBool::new(false));
        let writer = std::thread::spawn({
            let done = Arc::clone(&done);
            move || {
                let start = Instant::now();
                let image = frozen
                    .write(&mut std::io::sink())
                    .expect("a sink takes all");
                done.store(true, Ordering::Release);
                (start.elapsed(), image.bytes)
            }
        });
        let (mut batches, mut spent, mut worst) = (0, Duration::ZERO, Duration::ZERO);
        while !done.load(Ordering::Acquire) {
            let took = self.batch();
            batches += 1;
            spent += took;
            worst = worst.max(took);
        }
        let (written, bytes) = writer.join().expect("the writer does not panic");
        let mut worst_after = Duration::ZERO;
        let start = Instant::now();
        for _ in 0..ROUNDS * 4 {
            worst_after = worst_after.max(self.batch());
        }
        let after = start.elapsed();
        while self.backend.maintain() {}
        let during = (batches * BATCH) as f64 / spent.as_secs_f64() / 1e6;
        Snapshot {
            freeze,
            written,
            bytes,
            during,
            worst,
            worst_after,
            after,
        }
    }
}

struct Snapshot {
    freeze: Duration,
    written: Duration,
    bytes: u64,
    during: f64,
    worst: Duration,
    worst_after: Duration,
    after: Duration,
}

fn main() {
    for keys in [10_000, 1_000_000, 10_000_000] {
        let before = resident_bytes();
        let mut load = Load::new(keys);
        let start = Instant::now();
        load.fill();
        let filled = start.elapsed();
        let per_key = |bytes: usize| bytes as f64 / keys as f64;
        println!(
            "{keys} keys: filled in {filled:.2?}, tables {:.1} bytes/key, resident {:.1} bytes/key",
            per_key(load.backend.allocated_bytes()),
            per_key(resident_bytes().saturating_sub(before)),
        );
        println!("  update_with {:.1} M/s", load.steady());
        for _ in 0..3 {
            let snapshot = load.snapshot();
            println!(
                "  freeze {:.3?}, written in {:.2?} ({} MB), {:.1} M/s meanwhile, slowest batch \
                 {:.2?} while writing, {:.2?} after ({:.2?} for {} records), resident {} MB",
                snapshot.freeze,
                snapshot.written,
                snapshot.bytes / 1_000_000,
                snapshot.during,
                snapshot.worst,
                snapshot.worst_after,
                snapshot.after,
                ROUNDS * 4 * BATCH,
                resident_bytes() / 1_000_000,
            );
        }
        println!("  update_with {:.1} M/s afterwards", load.steady());
    }
}

/// The resident memory of this process in bytes; 0 where the system does not say.
fn resident_bytes() -> usize {
    let Ok(statm) = std::fs::read_to_string("/proc/self/statm") else {
        return 0;
    };
    let pages = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or(0) * 4096
}
