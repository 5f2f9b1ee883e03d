//! Cases of a strategy, tried until the time is up, from a seed that is printed.

use std::time::Instant;

use millpond_damage::{seed, time_to_spend};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

/// Checks cases for as long as a search may take, one at least; returns how many.
///
/// Each case has a seed of its own, the first that of the search: a case that fails is the first
/// one of the seed that is told with it.
///
/// # Panics
///
/// If a case fails, with the simplest case that does.
pub(crate) fn search<S: Strategy>(
    cases: &S,
    check: impl Fn(S::Value) -> Result<(), TestCaseError>,
) -> u64 {
    let (start, time, seed) = (Instant::now(), time_to_spend(), seed());
    let mut checked = 0;
    while checked == 0 || start.elapsed() < time {
        let of_case = seed.wrapping_add(checked);
        let config = ProptestConfig {
            cases: 1,
            failure_persistence: None,
            ..ProptestConfig::default()
        };
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&of_case.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let result = TestRunner::new_with_rng(config, rng).run(cases, &check);
        result.unwrap_or_else(|error| panic!("MILLPOND_FUZZ_SEED={of_case}: {error}"));
        checked += 1;
    }
    checked
}
