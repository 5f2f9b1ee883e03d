//! Which operations were triggered here and whose result nobody has fetched yet.
//!
//! The process of a job stays after the job's end until every caller knows what became of its
//! operation. A caller that never asks must not hold it, nor fill the memory: the wait and the
//! number of entries are bounded.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millpond_types::{JobId, TriggerId};

/// How many operations are remembered; beyond that the oldest are forgotten.
const REMEMBERED: usize = 256;

/// An operation that was triggered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Triggered {
    /// A savepoint, possibly with stop or cancel behind it.
    Savepoint(JobId, TriggerId),
    /// A checkpoint.
    Checkpoint(JobId, TriggerId),
    /// A removal of a savepoint.
    Disposal(TriggerId),
}

/// The operations whose result nobody has fetched.
#[derive(Default)]
pub(crate) struct Results {
    pending: Mutex<VecDeque<Triggered>>,
    fetched: Condvar,
}

impl Results {
    pub(crate) fn triggered(&self, operation: Triggered) {
        let mut pending = self.lock();
        if !pending.contains(&operation) {
            pending.push_back(operation);
            if pending.len() > REMEMBERED {
                pending.pop_front();
            }
        }
    }

    pub(crate) fn fetched(&self, operation: Triggered) {
        self.lock().retain(|other| *other != operation);
        self.fetched.notify_all();
    }

    pub(crate) fn pending(&self) -> usize {
        self.lock().len()
    }

    pub(crate) fn wait(&self, limit: Duration) -> bool {
        let waited = self
            .fetched
            .wait_timeout_while(self.lock(), limit, |pending| !pending.is_empty());
        let (pending, _) = waited.unwrap_or_else(PoisonError::into_inner);
        pending.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Triggered>> {
        // Every change is one call on the queue, so a panic elsewhere leaves it whole.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_ends_when_every_result_has_been_fetched_once() {
        let results = Results::default();
        assert!(results.wait(Duration::ZERO));
        let job = JobId([1; 16]);
        let operations = [
            Triggered::Savepoint(job, TriggerId([2; 16])),
            Triggered::Disposal(TriggerId([2; 16])),
        ];
        for operation in operations.into_iter().chain(operations) {
            results.triggered(operation);
        }
        assert_eq!(results.pending(), 2);
        assert!(!results.wait(Duration::ZERO));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| results.wait(Duration::from_secs(60)));
            for operation in operations {
                results.fetched(operation);
            }
            assert!(waiting.join().expect("no panic"));
        });
    }

    #[test]
    fn results_that_nobody_fetches_are_forgotten_in_the_end() {
        let results = Results::default();
        for number in 0..=REMEMBERED as u64 {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&number.to_be_bytes());
            results.triggered(Triggered::Disposal(TriggerId(id)));
        }
        assert_eq!(results.pending(), REMEMBERED);
    }
}
