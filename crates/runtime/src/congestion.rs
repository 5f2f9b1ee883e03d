//! Back-pressure between tasks of one process: what a sender has sent and a receiver has not taken.
//!
//! The window of a source bounds what it has in flight, but operators amplify: one watermark may
//! fire ten million timers into a slow sink. So a task pauses while a receiver of its own process
//! is too far behind with what this task has sent.
//! Receivers in other processes are not counted.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// How many records of one sender may wait at one receiver before the sender pauses.
const RECORDS_PER_PAIR: u64 = 32 * 1024;

/// Records of one sender that wait at one receiver.
#[derive(Clone, Debug, Default)]
pub(crate) struct Backlog(Arc<AtomicU64>);

impl Backlog {
    /// A sender has sent records.
    pub(crate) fn sent(&self, records: usize) {
        self.0.fetch_add(records as u64, Ordering::Relaxed);
    }

    /// The receiver has begun to process records.
    pub(crate) fn taken(&self, records: usize) {
        self.0.fetch_sub(records as u64, Ordering::Relaxed);
    }

    /// Whether senders should pause.
    pub(crate) fn is_congested(&self) -> bool {
        self.0.load(Ordering::Relaxed) > RECORDS_PER_PAIR
    }
}

/// The backlogs of this process, by edge, sending and receiving subtask.
///
/// Each pair has its own: what waits in a receiver's stash, behind a barrier, must never hold back
/// a sender that has yet to reach that barrier.
#[derive(Debug, Default)]
pub(crate) struct Backlogs(Mutex<HashMap<(usize, u32, u32), Backlog>>);

impl Backlogs {
    /// The one backlog of a pair, for whichever end asks first.
    pub(crate) fn of(&self, edge: usize, sender: u32, receiver: u32) -> Backlog {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry((edge, sender, receiver)).or_default().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senders_pause_while_a_receiver_is_far_behind() {
        let backlogs = Backlogs::default();
        let (sender, receiver) = (backlogs.of(3, 0, 1), backlogs.of(3, 0, 1));
        sender.sent(RECORDS_PER_PAIR as usize + 1);
        assert!(sender.is_congested());
        assert!(!backlogs.of(3, 1, 1).is_congested());
        receiver.taken(1);
        assert!(!sender.is_congested());
    }
}
