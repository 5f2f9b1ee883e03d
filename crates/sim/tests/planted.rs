//! Tests of the test: each bug that is planted is found, within so many histories as some seconds play.

use millpond_sim::{Bug, play};

/// Within how many histories a bug has to be found.
fn histories(bug: Bug) -> u64 {
    if bug == Bug::ForgottenSuccessor {
        // A master has to wake up between the death of its successor and the next start.
        100_000
    } else {
        10_000
    }
}

#[test]
fn each_planted_bug_is_found() {
    for bug in Bug::ALL {
        let found = (0..histories(bug)).find_map(|seed| {
            let violation = play(seed, Some(bug), false).violation?;
            Some((seed, violation))
        });
        let Some((seed, violation)) = found else {
            panic!("{bug:?} is not found in {} histories", histories(bug));
        };
        println!("{bug:?}: in history {seed}, {violation}");
    }
}

#[test]
fn a_seed_gives_the_same_history_again_traced_or_not() {
    for seed in 0..200 {
        let (once, again) = (play(seed, None, true), play(seed, None, true));
        assert_eq!(once.trace, again.trace, "seed {seed}");
        let untraced = play(seed, None, false);
        assert_eq!(once.events, untraced.events, "seed {seed}");
        assert_eq!(once.violation, untraced.violation, "seed {seed}");
    }
}
