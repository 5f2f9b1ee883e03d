//! Whoever is killed in whatever phase of a snapshot's life: nothing is lost, and nothing stays for
//! ever.
//!
//! If this fails, a kill -9 during checkpoint, upload, subsumption, clean-up or restore loses records
//! or files, or leaves files that `millpond state gc` does not find. `MILLPOND_SEED` plays one run
//! again; `MILLPOND_KILL_SECONDS` (60) or `MILLPOND_KILL_RUNS` say how much is tried.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use millpond_exactness::crash::{Tally, run};
use millpond_exactness::job_process::Bench;
use millpond_exactness::phase::PHASES;
use millpond_exactness::random::{Random, fresh_seed};

/// Runs behind which every phase must have been met.
const ENOUGH_RUNS: u64 = 60;

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is \"{text}\", expected a number")),
    )
}

#[test]
fn a_kill_in_any_phase_loses_nothing_and_leaves_nothing_for_ever() {
    let mut tally = Tally::default();
    let mut failures = Vec::new();
    let mut one = |seed| {
        let bench = Bench::new(env!("CARGO_BIN_EXE_exactness-job"));
        // The other runs are of interest all the same.
        let outcome = catch_unwind(AssertUnwindSafe(|| run(bench, seed, &mut tally)));
        let failure = match outcome {
            Ok(Ok(())) => return,
            Ok(Err(failure)) => failure,
            Err(_) => format!("seed {seed} panicked, see above"),
        };
        eprintln!("{failure}");
        failures.push(failure);
    };
    if let Some(seed) = variable("MILLPOND_SEED") {
        one(seed);
    } else {
        let seed = fresh_seed();
        eprintln!("seed of all runs: {seed}");
        let mut seeds = Random::new(seed);
        let runs = variable("MILLPOND_KILL_RUNS");
        let budget = variable("MILLPOND_KILL_SECONDS").map_or(60, |seconds| seconds.min(60));
        let budget = Duration::from_secs(budget);
        let begin = Instant::now();
        let mut done = 0;
        while runs.map_or(done == 0 || begin.elapsed() < budget, |runs| done < runs) {
            one(seeds.bits());
            done += 1;
        }
    }
    eprintln!("{tally:#?}");
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    if tally.runs >= ENOUGH_RUNS {
        for phase in PHASES {
            assert!(tally.kills_in(phase) > 0, "nobody was killed in {phase:?}");
        }
    }
}
