//! Whatever happens to a job, what it publishes is what an undisturbed run publishes.
//!
//! If this fails, records are lost or counted twice after a kill -9, a stop or a rescaling.
//! `MILLPOND_SEED` plays one run again; `MILLPOND_KILL_SECONDS` (60) or `MILLPOND_KILL_RUNS` say how
//! much is tried.

use std::time::Duration;

use millpond_exactness::disturbance::{Tally, run};
use millpond_exactness::job_process::Bench;
use millpond_exactness::seeds::for_each_seed;

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
    for_each_seed(Duration::MAX, &mut one);
    eprintln!("{tally:?}");
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
