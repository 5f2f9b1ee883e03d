//! Whoever is killed in whatever phase of a snapshot's life: nothing is lost, and nothing stays for
//! ever.
//!
//! If this fails, a kill -9 during checkpoint, upload, subsumption, clean-up or restore loses records
//! or files, or leaves files that `millpond state gc` does not find. `MILLPOND_SEED` plays one run
//! again; `MILLPOND_KILL_SECONDS` (60) or `MILLPOND_KILL_RUNS` say how much is tried.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use millpond_exactness::crash::{Tally, run};
use millpond_exactness::job_process::Bench;
use millpond_exactness::phase::PHASES;
use millpond_exactness::seeds::for_each_seed;

/// Runs behind which every phase must have been met.
const ENOUGH_RUNS: u64 = 60;

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
    for_each_seed(Duration::from_secs(60), &mut one);
    eprintln!("{tally:#?}");
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    if tally.runs >= ENOUGH_RUNS {
        for phase in PHASES {
            assert!(tally.kills_in(phase) > 0, "nobody was killed in {phase:?}");
        }
    }
}
