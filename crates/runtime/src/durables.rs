//! What sinks have prepared and is still to be made durable, in order.
//!
//! A snapshot refers to everything that was prepared up to it and is not committed, also for
//! snapshots before it that failed or are still being written. So it counts only when all of that is
//! durable, not just its own part: each snapshot settles whatever waits, and waits for what another
//! one is settling. What cannot be made durable fails the attempt and not the snapshot: the next one
//! would refer to it as well, and records would be lost that the outside world never kept.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use millpond_operator::{Durable, FunctionError};

/// The outstanding work of one task.
#[derive(Default)]
pub(crate) struct Durables {
    waiting: Mutex<VecDeque<Durable>>,
    /// Held while something is made durable, by threads of the background only.
    turn: Mutex<()>,
}

/// A panic while one of these locks was held has failed the attempt.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Durables {
    /// Adds what a snapshot has prepared; never waits for what is being settled.
    pub(crate) fn add(&self, prepared: impl IntoIterator<Item = Durable>) {
        lock(&self.waiting).extend(prepared);
    }

    /// Makes everything durable that was added so far; returns the time that this took.
    ///
    /// # Errors
    ///
    /// Something cannot be made durable: the attempt must fail.
    pub(crate) fn settle(&self) -> Result<Duration, FunctionError> {
        let _turn = lock(&self.turn);
        let begin = Instant::now();
        loop {
            // The lock is given back before the work begins.
            let next = lock(&self.waiting).pop_front();
            match next {
                Some(durable) => durable()?,
                None => return Ok(begin.elapsed()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::{Arc, mpsc};

    #[test]
    fn a_snapshot_settles_what_those_before_it_have_left() {
        let done = Arc::new(AtomicU32::new(0));
        let durables = Durables::default();
        for _ in 0..2 {
            let done = Arc::clone(&done);
            let count = move || {
                done.fetch_add(1, Ordering::SeqCst);
                Ok(())
            };
            durables.add([Box::new(count) as Durable]);
        }
        durables.settle().expect("all can be done");
        assert_eq!(done.load(Ordering::SeqCst), 2);
        durables.settle().expect("nothing is left");
        assert_eq!(done.load(Ordering::SeqCst), 2, "each is done once");
    }

    #[test]
    fn a_snapshot_waits_for_what_another_one_is_settling_and_the_task_does_not() {
        let durables = Arc::new(Durables::default());
        let (begun, has_begun) = mpsc::channel();
        let (go_on, may_go_on) = mpsc::channel();
        let slow = move || {
            begun.send(()).expect("somebody waits");
            may_go_on.recv().expect("somebody lets it go on");
            Ok(())
        };
        durables.add([Box::new(slow) as Durable]);
        let first = std::thread::spawn({
            let durables = Arc::clone(&durables);
            move || durables.settle().map(drop)
        });
        has_begun.recv().expect("the first one begins");
        durables.add([Box::new(|| Ok(())) as Durable]);
        let second = std::thread::spawn({
            let durables = Arc::clone(&durables);
            move || durables.settle().map(drop)
        });
        assert!(!second.is_finished());
        go_on.send(()).expect("it waits");
        first.join().expect("no panic").expect("done");
        second.join().expect("no panic").expect("done");
        assert!(lock(&durables.waiting).is_empty());
    }
}
