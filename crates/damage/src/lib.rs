//! Damaged bytes for tests: what every reader of outside bytes must survive.
//!
//! [`Damage`] takes bytes that are whole and damages them at random. `MILLPOND_FUZZ_SECONDS`
//! (default 2) bounds a search; `MILLPOND_FUZZ_SEED` repeats one that failed. Fuzzing that is guided
//! by coverage is in `fuzz/`; this runs in every test.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

/// A source of damage: SplitMix64.
#[derive(Debug)]
pub struct Damage(u64);

impl Damage {
    /// Begins with [`seed`].
    pub fn seeded() -> Self {
        Damage(seed())
    }

    /// The next random number.
    #[expect(clippy::should_implement_trait, reason = "it never ends")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A random number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Damages some bytes: bits, numbers that matter in either order, parts cut out or doubled.
    /// Fewer than 16 bytes stay as they are.
    pub fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            if bytes.len() < 16 {
                return;
            }
            let at = self.below(bytes.len() - 8);
            let length = 1 + self.below(8);
            match self.below(6) {
                0 => bytes[at] ^= 1 << self.below(8),
                1 => bytes[at] = self.next() as u8,
                kind @ (2 | 3) => {
                    let numbers = [0, 1, -1, i32::MAX, i32::MIN, 0x7fff, 0x1_0000];
                    let number = numbers[self.below(numbers.len())];
                    bytes[at..at + 4].copy_from_slice(&match kind {
                        2 => number.to_be_bytes(),
                        _ => number.to_le_bytes(),
                    });
                }
                4 => drop(bytes.drain(at..at + length)),
                _ => {
                    let part = bytes[at..at + length].to_vec();
                    bytes.splice(at..at, part);
                }
            }
        }
    }

    /// Damages what is in `corpus` until the time is up, and gives each to `check`; returns how
    /// many there were.
    pub fn search(&mut self, corpus: &[Vec<u8>], mut check: impl FnMut(&mut Self, &[u8])) -> u64 {
        let (start, time) = (Instant::now(), time_to_spend());
        let mut total = 0;
        while start.elapsed() < time {
            let mut bytes = corpus[self.below(corpus.len())].clone();
            self.mutate(&mut bytes);
            check(self, &bytes);
            total += 1;
        }
        total
    }
}

/// The seed of the environment, or a fresh one; prints it.
#[expect(
    clippy::print_stdout,
    reason = "a test that fails is repeated by its seed"
)]
pub fn seed() -> u64 {
    let seed = number("MILLPOND_FUZZ_SEED").unwrap_or_else(|| RandomState::new().hash_one(0));
    println!("MILLPOND_FUZZ_SEED={seed}");
    seed
}

/// How long a search may take.
pub fn time_to_spend() -> Duration {
    Duration::from_secs(number("MILLPOND_FUZZ_SECONDS").unwrap_or(2))
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The most memory that this process ever held, where the system tells it.
pub fn peak_memory_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib = line.split_whitespace().nth(1)?.parse::<u64>().ok()?;
    Some(kib / 1024)
}
