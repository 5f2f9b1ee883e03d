//! Whatever happens to a job, what it publishes is what an undisturbed run publishes.
//!
//! If this fails, records are lost or counted twice after a kill -9, a stop or a rescaling.
//! `MILLPOND_SEED` plays one run again; `MILLPOND_KILL_SECONDS` (60) or `MILLPOND_KILL_RUNS` say how
//! much is tried.

use std::time::{Duration, Instant};

use millpond_exactness::disturbance::{Tally, run};
use millpond_exactness::job_process::Bench;
use millpond_exactness::random::{Random, fresh_seed};

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is \"{text}\", expected a number")),
    )
}

#[test]
fn disturbed_jobs_publish_what_undisturbed_ones_do() {
    let mut tally = Tally::default();
    let mut failures = Vec::new();
    let mut one = |seed| {
        let bench = Bench::new(env!("CARGO_BIN_EXE_exactness-job"));
        if let Err(failure) = run(bench, seed, &mut tally) {
            eprintln!("{failure}");
            failures.push(failure);
        }
    };
    if let Some(seed) = variable("MILLPOND_SEED") {
        one(seed);
    } else {
        let seed = fresh_seed();
        eprintln!("seed of all runs: {seed}");
        let mut seeds = Random::new(seed);
        let runs = variable("MILLPOND_KILL_RUNS");
        let budget = Duration::from_secs(variable("MILLPOND_KILL_SECONDS").unwrap_or(60));
        let begin = Instant::now();
        let mut done = 0;
        while runs.map_or(done == 0 || begin.elapsed() < budget, |runs| done < runs) {
            one(seeds.bits());
            done += 1;
        }
    }
    eprintln!("{tally:?}");
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
