//! What do incremental checkpoints of the heap cost, and what do they save?
//!
//! Counted for `i64` keys with one `i64` each, over 128 key groups, on one thread: millions of
//! `set_current_key` + `update_with` per second where all keys change and where one in a hundred
//! does, memory per key, and the bytes and time of a checkpoint, without tracking and with it. A
//! checkpoint is taken for every half million updates. Surprises would be a cost without tracking, more
//! than 3 % of the bytes for 1 % of the keys, or a rate below half of that without tracking.
//!
//! `cargo bench -p millpond-state --bench incremental_checkpoints [KEYS]` runs it.

#![expect(clippy::print_stdout, reason = "a bench prints what it found")]

use millpond_state::{KeyedBackend, ValueState};
use millpond_types::{CheckpointId, KeyGroup, KeyGroupRange};
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH: usize = 1024;
const BATCHES: usize = 500;
const ROUNDS: usize = 7;

struct Load {
    backend: KeyedBackend<i64>,
    count: ValueState<i64>,
    at: u64,
    batch: Vec<(i64, KeyGroup)>,
    checkpoint: CheckpointId,
}

/// What one round has cost.
struct Round {
    updates_per_us: f64,
    bytes: u64,
    writing: Duration,
}

impl Load {
    fn new(keys: i64, is_tracking: bool) -> Self {
        let range = KeyGroupRange::of_subtask(0, 1, 128);
        let backend = match is_tracking {
            true => KeyedBackend::tracking_changes(128, range),
            false => KeyedBackend::new(128, range),
        };
        let count = backend.value_state("count").expect("a fresh backend");
        let mut load = Load {
            backend,
            count,
            at: 0,
            batch: Vec::with_capacity(BATCH),
            checkpoint: 0,
        };
        for key in 0..keys {
            let group = load.backend.key_group(&key);
            load.update(key, group);
        }
        load
    }

    fn update(&mut self, key: i64, group: KeyGroup) {
        self.backend.set_current_key(&key, group);
        self.count
            .update_with(|count| *count = Some(count.unwrap_or(0) + 1));
    }

    /// Updates the first `hot` keys at random.
    fn batch(&mut self, hot: i64) -> Duration {
        self.batch.clear();
        for _ in 0..BATCH {
            // A sequence without visible order, the same in every run.
            self.at = self
                .at
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let key = ((self.at >> 20) % hot as u64) as i64;
            self.batch.push((key, self.backend.key_group(&key)));
        }
        let start = Instant::now();
        let keys = self.batch.iter().map(|(key, group)| (key, *group));
        self.backend.prefetch(keys);
        for at in 0..BATCH {
            let (key, group) = self.batch[at];
            self.update(key, group);
        }
        self.backend.maintain();
        start.elapsed()
    }

    /// Half a million updates and a checkpoint behind them.
    fn round(&mut self, hot: i64) -> Round {
        while self.backend.maintain() {}
        let spent: Duration = (0..BATCHES).map(|_| self.batch(hot)).sum();
        let base = (self.checkpoint > 0).then_some(self.checkpoint);
        self.checkpoint += 1;
        let frozen = self.backend.freeze_at(self.checkpoint, base);
        let start = Instant::now();
        let out = &mut std::io::sink();
        let written = match base {
            Some(base) if frozen.changed_little_since(base) => {
                frozen.write_changes_since(base, out)
            }
            Some(_) | None => frozen.write(out),
        };
        Round {
            updates_per_us: (BATCHES * BATCH) as f64 / spent.as_secs_f64() / 1e6,
            bytes: written.expect("a sink takes all").bytes,
            writing: start.elapsed(),
        }
    }
}

fn main() {
    let keys = std::env::args().find_map(|argument| argument.parse().ok());
    let keys: i64 = keys.unwrap_or(1_000_000);
    println!("{keys} keys: millions of updates per second, bytes per key in memory, checkpoint");
    for (name, hot) in [("all change", keys), ("1 % change", keys / 100)] {
        for (mode, is_tracking) in [("full", false), ("incremental", true)] {
            let mut load = Load::new(keys, is_tracking);
            load.round(hot);
            let mut rounds: Vec<Round> = (0..ROUNDS).map(|_| load.round(hot)).collect();
            let per_key = load.backend.allocated_bytes() as f64 / keys as f64;
            rounds.sort_by(|a, b| a.updates_per_us.total_cmp(&b.updates_per_us));
            let median = &rounds[ROUNDS / 2];
            let last = &rounds[ROUNDS - 1];
            println!(
                "{name}, {mode}: {:.1} M/s, {per_key:.1} B/key, {} bytes in {:?}",
                median.updates_per_us, last.bytes, last.writing
            );
        }
    }
}
