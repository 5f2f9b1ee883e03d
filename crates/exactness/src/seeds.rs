//! The seeds of a random suite: one that is given, or fresh ones while there is time.

use std::time::{Duration, Instant};

use crate::random::{Random, fresh_seed};

/// Runs `one` with the seed of `MILLPOND_SEED`; else with fresh seeds, `MILLPOND_KILL_RUNS` times or
/// for `MILLPOND_KILL_SECONDS` (60, at most `most`), at least once. Prints the seed of all seeds.
///
/// # Panics
///
/// If one of these is no number.
pub fn for_each_seed(most: Duration, one: impl FnMut(u64)) {
    for_each_seed_or("MILLPOND_KILL_RUNS", most, one);
}

/// As [`for_each_seed`], with another variable that says how many runs.
///
/// # Panics
///
/// If one of them is no number.
pub fn for_each_seed_or(runs: &str, most: Duration, mut one: impl FnMut(u64)) {
    if let Some(seed) = variable("MILLPOND_SEED") {
        return one(seed);
    }
    let seed = fresh_seed();
    eprintln!("seed of all runs: {seed}");
    let mut seeds = Random::new(seed);
    let runs = variable(runs);
    let budget = Duration::from_secs(variable("MILLPOND_KILL_SECONDS").unwrap_or(60)).min(most);
    let begin = Instant::now();
    let mut done = 0;
    while runs.map_or(done == 0 || begin.elapsed() < budget, |runs| done < runs) {
        one(seeds.bits());
        done += 1;
    }
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is \"{text}\", expected a number")),
    )
}
