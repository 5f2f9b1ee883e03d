//! What a worker process knows of the job master's will, shared by its worker threads.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::Thread;

use millpond_job::gateway::{Attempt, Epoch};
use millpond_job::{EpochEnd, ToWorker};
use millpond_types::CheckpointId;

use crate::congestion::Backlogs;
use crate::time::TickClock;

/// How many ended epochs are remembered for operators that are behind.
const REMEMBERED_EPOCHS: usize = 4096;

/// A notification that every task of a worker must hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// The checkpoint is complete.
    Complete(CheckpointId),
    /// The checkpoint will never complete.
    Aborted(CheckpointId),
}

/// The master's will, as far as this process has heard it.
pub(crate) struct Control {
    pub(crate) attempt: Attempt,
    pub(crate) ticks: TickClock,
    pub(crate) backlogs: Backlogs,
    version: AtomicU64,
    announcements: Mutex<BTreeMap<Epoch, EpochEnd>>,
    /// Sources may end the epochs below this one.
    advanced: AtomicU32,
    notices: Vec<Mutex<VecDeque<Notice>>>,
    end_of_input: AtomicBool,
    cancelled: AtomicBool,
    threads: Mutex<Vec<Thread>>,
}

/// A panic while one of these locks was held has already failed the attempt.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Control {
    /// Nothing has been heard yet.
    pub(crate) fn new(attempt: Attempt, workers: usize) -> Self {
        Control {
            attempt,
            ticks: TickClock::new(),
            backlogs: Backlogs::default(),
            version: AtomicU64::new(0),
            announcements: Mutex::new(BTreeMap::new()),
            advanced: AtomicU32::new(0),
            notices: (0..workers).map(|_| Mutex::default()).collect(),
            end_of_input: AtomicBool::new(false),
            cancelled: AtomicBool::new(false),
            threads: Mutex::default(),
        }
    }

    /// Takes a message; returns the epoch whose announcement is to be confirmed.
    pub(crate) fn deliver(&self, message: ToWorker) -> Option<Epoch> {
        let mut confirm = None;
        match message {
            ToWorker::Announce {
                attempt,
                epoch,
                end,
            } if attempt == self.attempt => {
                let mut announcements = lock(&self.announcements);
                announcements.insert(epoch, end);
                while announcements.len() > REMEMBERED_EPOCHS {
                    announcements.pop_first();
                }
                confirm = Some(epoch);
            }
            ToWorker::Advance { attempt, epoch } if attempt == self.attempt => {
                self.ticks.reset();
                self.advanced.fetch_max(epoch + 1, Ordering::SeqCst);
            }
            ToWorker::NotifyComplete {
                attempt,
                checkpoint,
            } if attempt == self.attempt => {
                self.notify(Notice::Complete(checkpoint));
            }
            ToWorker::NotifyAborted {
                attempt,
                checkpoint,
            } if attempt == self.attempt => {
                self.notify(Notice::Aborted(checkpoint));
            }
            ToWorker::EndOfInput { attempt } if attempt == self.attempt => {
                self.end_of_input.store(true, Ordering::SeqCst);
            }
            ToWorker::Cancel { attempt } if attempt == self.attempt => self.cancel(),
            // Of an older attempt.
            ToWorker::Announce { .. }
            | ToWorker::Advance { .. }
            | ToWorker::NotifyComplete { .. }
            | ToWorker::NotifyAborted { .. }
            | ToWorker::EndOfInput { .. }
            | ToWorker::Cancel { .. } => return None,
        }
        self.version.fetch_add(1, Ordering::SeqCst);
        self.wake();
        confirm
    }

    fn notify(&self, notice: Notice) {
        for queue in &self.notices {
            lock(queue).push_back(notice);
        }
    }

    /// Changes whenever something was delivered.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::SeqCst)
    }

    /// What the end of `epoch` is, if it has been announced.
    pub(crate) fn announced(&self, epoch: Epoch) -> Option<EpochEnd> {
        lock(&self.announcements).get(&epoch).cloned()
    }

    /// Whether sources may end `epoch`.
    pub(crate) fn may_advance(&self, epoch: Epoch) -> bool {
        epoch < self.advanced.load(Ordering::SeqCst)
    }

    /// The next notification for worker `local` of this process.
    pub(crate) fn next_notice(&self, local: usize) -> Option<Notice> {
        lock(&self.notices[local]).pop_front()
    }

    /// Ends the attempt: workers leave their loops.
    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// Whether all sources have ended, and the job ends without a last checkpoint.
    pub(crate) fn is_end_of_input(&self) -> bool {
        self.end_of_input.load(Ordering::SeqCst)
    }

    /// Whether the attempt is to end now.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }

    /// Registers the calling thread as a worker to be woken.
    pub(crate) fn register_thread(&self) {
        lock(&self.threads).push(std::thread::current());
        // What came before the registration woke nobody.
        std::thread::current().unpark();
    }

    fn wake(&self) {
        for thread in lock(&self.threads).iter() {
            thread.unpark();
        }
    }
}
