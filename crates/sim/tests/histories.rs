//! Whatever happens, the laws hold: in 100,000 histories, each from one seed.
//!
//! `MILLPOND_SEED` plays one history again and prints what happened in it; `MILLPOND_SIM_HISTORIES`
//! (100,000) is how many there are, from the seed `MILLPOND_SIM_FIRST` (1) on; `./test --long` takes a fresh one.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use millpond_sim::play;

/// On how many threads histories are played.
const THREADS: u64 = 2;

/// What must happen in some history, or the laws are checked against nothing.
const WORTH_SEEING: [&str; 44] = [
    "a barrier that overtakes records",
    "a cancellation with savepoint",
    "a checkpoint by hand",
    "a checkpoint on top of another",
    "a change of the parallelism",
    "a checkpoint that is superfluous",
    "a cluster without slots",
    "a failure for good",
    "a complete checkpoint",
    "a damaged snapshot",
    "a declined checkpoint",
    "a directory that was replaced",
    "a failed deployment",
    "a failed job",
    "a failed task",
    "a fall back",
    "a file that a checkpoint in progress held",
    "a file that checkpoints share",
    "a job that nothing was retained of",
    "a killed master",
    "a late part",
    "a late part of an older attempt",
    "a lost process",
    "a master that finds what its successor has left",
    "a master that stands still and is killed",
    "a master whose directory is another's",
    "a process that did not end in time",
    "a refusal to go back",
    "a restored record in flight",
    "a restored transaction",
    "a savepoint",
    "a second job that claims a snapshot",
    "a second job that does not claim its snapshot",
    "a second master that is refused",
    "a stop",
    "a superfluous savepoint",
    "a third life of the job",
    "a zombie",
    "an attempt in the slots of the last one",
    "an epoch without snapshot",
    "metadata that cannot be written",
    "other bounds of the parallelism",
    "storage that is out of reach",
    "the end of the input",
];

#[test]
fn whatever_happens_every_record_is_committed_once_and_the_laws_hold() {
    if let Some(seed) = variable("MILLPOND_SEED") {
        let history = play(seed, None, true);
        eprintln!("{}", history.trace.join("\n"));
        assert_eq!(history.violation, None);
        return;
    }
    let histories = variable("MILLPOND_SIM_HISTORIES").unwrap_or(100_000);
    let first = variable("MILLPOND_SIM_FIRST").unwrap_or(1);
    println!("{histories} histories from seed {first} on");
    let next = AtomicU64::new(0);
    let play_some = || {
        let (mut seen, mut events) = (BTreeSet::new(), 0);
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= histories {
                return (seen, events);
            }
            let history = of_seed(first.wrapping_add(number));
            seen.extend(history.0);
            events += history.1;
        }
    };
    let (mut seen, mut events) = (BTreeSet::new(), 0);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(play_some)).collect();
        for thread in threads {
            let (of_thread, more) = thread.join().expect("its laws hold");
            seen.extend(of_thread);
            events += more;
        }
    });
    println!("{histories} histories, {events} events");
    let missing: Vec<_> = WORTH_SEEING.iter().filter(|w| !seen.contains(*w)).collect();
    assert!(
        missing.is_empty() || histories < 10_000,
        "no history has {missing:?}"
    );
}

/// Plays a history; of one that breaks a law, what happened in it is printed.
fn of_seed(seed: u64) -> (BTreeSet<&'static str>, u64) {
    let replay = format!("MILLPOND_SEED={seed} cargo test -p millpond-sim --test histories");
    let Ok(history) = catch_unwind(AssertUnwindSafe(|| play(seed, None, false))) else {
        panic!("a panic; play it again: {replay}");
    };
    if let Some(violation) = history.violation {
        let again = play(seed, None, true);
        let from = again.trace.len().saturating_sub(200);
        eprintln!("{}", again.trace[from..].join("\n"));
        panic!("{violation}; play it again: {replay}");
    }
    (history.seen, history.events)
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{name} is \"{text}\", expected a number")))
}
