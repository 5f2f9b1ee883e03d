//! Back-pressure between tasks: what a sender has sent and a receiver has not taken.
//!
//! The window of a source bounds what it has in flight, but operators amplify: one watermark may
//! fire ten million timers into a slow sink. So a task pauses while a receiver is too far behind
//! with what this task has sent.
//!
//! Each pair of sending and receiving subtask of an edge has a count of its own. Both ends of a
//! pair count for themselves, in total since the attempt began: the sender what it has sent, the
//! receiver what it has taken. Within a process they see each other's count; a receiver in another
//! process tells the sender its count now and then (`credits`). What has been told is never too
//! much, and at most [`RECORDS_PER_CREDIT`] too little, so a receiver that has taken everything
//! holds nobody back.
//!
//! Why no pair can stop the job: look at the tasks in the lowest epoch, and among them at the one
//! farthest downstream that has work. A task takes its records epoch by epoch, so what a receiver
//! has of this sender lies in the receiver's stash only if the sender is an epoch ahead of it, and
//! this one is ahead of nobody. Its receivers are in the same epoch (a barrier does not overtake the
//! sender) and have its records in their queues, where they take them, or wait for receivers of
//! their own, farther downstream. Sinks wait for none. One count for all senders of a receiver, on
//! the other hand, would let what the fast ones have sent behind the barrier hold back the slow one
//! that has yet to reach it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// How many records of one sender may wait at one receiver before the sender pauses.
const RECORDS_PER_PAIR: u64 = 32 * 1024;

/// How many records a receiver takes of a sender in another process before it tells the sender.
const RECORDS_PER_CREDIT: u64 = RECORDS_PER_PAIR / 4;

/// Records of one sender that one receiver has yet to take.
#[derive(Clone, Debug, Default)]
pub(crate) struct Backlog(Arc<Counts>);

/// Totals since the attempt began.
#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    taken: AtomicU64,
}

impl Backlog {
    /// The sender has sent records.
    pub(crate) fn sent(&self, records: usize) {
        self.0.sent.fetch_add(records as u64, Ordering::Relaxed);
    }

    /// The receiver, in this process, has begun to process records.
    fn taken(&self, records: usize) {
        self.0.taken.fetch_add(records as u64, Ordering::Relaxed);
    }

    /// The receiver, in another process, has told how many it has taken in total.
    pub(crate) fn credited(&self, total: u64) {
        self.0.taken.fetch_max(total, Ordering::Relaxed);
    }

    /// Whether the sender should pause.
    pub(crate) fn is_congested(&self) -> bool {
        let taken = self.0.taken.load(Ordering::Relaxed);
        let sent = self.0.sent.load(Ordering::Relaxed);
        sent.saturating_sub(taken) > RECORDS_PER_PAIR
    }
}

/// The backlogs of the senders of this process, by pair.
#[derive(Debug, Default)]
pub(crate) struct Backlogs(Mutex<HashMap<Pair, Backlog>>);

/// One sender and one receiver of an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Pair {
    /// The edge, by its place in the job graph.
    pub(crate) edge: usize,
    /// The sending subtask.
    pub(crate) sender: u32,
    /// The receiving subtask.
    pub(crate) receiver: u32,
}

impl Backlogs {
    /// The one backlog of a pair, for whichever end asks first.
    pub(crate) fn of(&self, pair: Pair) -> Backlog {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(pair).or_default().clone()
    }
}

/// The receiving end of a pair.
#[derive(Debug)]
pub(crate) enum Intake {
    /// The sender is in this process, and sees it.
    Local(Backlog),
    /// The sender is in another process, and is told.
    Remote {
        /// The pair.
        pair: Pair,
        /// Taken in total.
        taken: u64,
        /// The total that the sender was told last.
        told: u64,
    },
}

/// What a receiver tells a sender in another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Credit {
    /// The pair.
    pub(crate) pair: Pair,
    /// How many of the pair's records have been taken since the attempt began.
    pub(crate) taken: u64,
}

impl Intake {
    /// The end of a pair whose sender is in another process.
    pub(crate) fn remote(pair: Pair) -> Self {
        Intake::Remote {
            pair,
            taken: 0,
            told: 0,
        }
    }

    /// The receiver has begun to process records; returns what the sender is to be told now.
    pub(crate) fn taken(&mut self, records: usize) -> Option<Credit> {
        match self {
            Intake::Local(backlog) => {
                backlog.taken(records);
                None
            }
            Intake::Remote { pair, taken, told } => {
                *taken += records as u64;
                if *taken - *told < RECORDS_PER_CREDIT {
                    return None;
                }
                *told = *taken;
                Some(Credit {
                    pair: *pair,
                    taken: *taken,
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIR: Pair = Pair {
        edge: 3,
        sender: 0,
        receiver: 1,
    };

    #[test]
    fn senders_pause_while_a_receiver_of_their_process_is_far_behind() {
        let backlogs = Backlogs::default();
        let sender = backlogs.of(PAIR);
        let mut receiver = Intake::Local(backlogs.of(PAIR));
        sender.sent(RECORDS_PER_PAIR as usize + 1);
        assert!(sender.is_congested());
        assert!(!backlogs.of(Pair { sender: 1, ..PAIR }).is_congested());
        assert_eq!(receiver.taken(1), None);
        assert!(!sender.is_congested());
    }

    #[test]
    fn a_receiver_that_has_taken_everything_holds_no_sender_of_another_process_back() {
        for batch in [1, 7, 1000, 1024, 50_000] {
            let (sender, mut receiver) = (Backlog::default(), Intake::remote(PAIR));
            let (mut sent, mut credits) = (0, 0);
            while sent < 10 * RECORDS_PER_PAIR {
                assert!(!sender.is_congested(), "after {sent} in batches of {batch}");
                sender.sent(batch);
                sent += batch as u64;
                if let Some(credit) = receiver.taken(batch) {
                    assert_eq!((credit.pair, credit.taken), (PAIR, sent));
                    sender.credited(credit.taken);
                    credits += 1;
                }
            }
            assert!(credits <= sent / RECORDS_PER_CREDIT, "no credit per record");
        }
    }

    #[test]
    fn a_credit_that_comes_late_or_twice_takes_nothing_back() {
        let sender = Backlog::default();
        sender.sent(3 * RECORDS_PER_PAIR as usize);
        for total in [2, 3, 3, 1] {
            sender.credited(total * RECORDS_PER_PAIR);
        }
        assert!(!sender.is_congested());
    }
}
