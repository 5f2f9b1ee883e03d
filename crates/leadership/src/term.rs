//! Until when a process is known to lead.
//!
//! A service grants leadership for a time. The leader counts it by the clock of its machine, from before
//! it has asked: so it knows that it leads no more not later than the service does, whoever stood still or
//! was cut off meanwhile, and no clocks of two machines are compared. The clock runs on while the machine
//! sleeps, and is one for all processes of a machine: the masters of jobs, which the leader has started
//! there, are told the same number.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The end of what has no end.
const UNLIMITED: u64 = u64::MAX;

/// What is over, for good.
const OVER: u64 = 0;

/// Milliseconds since this machine was started, those in which it slept included.
pub fn now_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    // Neither is negative.
    now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
}

/// A time for which a process leads. Clones share it.
#[derive(Clone, Debug)]
pub struct Term {
    until_ms: Arc<AtomicU64>,
    /// How long it is each time that it is extended.
    length: Option<Duration>,
}

impl Term {
    /// Lasts as long as the process: nobody else leads before that has ended.
    pub fn unlimited() -> Self {
        Term {
            until_ms: Arc::new(AtomicU64::new(UNLIMITED)),
            length: None,
        }
    }

    /// Lasts until a time of [`now_ms`], and is extended by about `length` again and again.
    pub fn until(until_ms: u64, length: Duration) -> Self {
        Term {
            until_ms: Arc::new(AtomicU64::new(until_ms)),
            length: Some(length),
        }
    }

    /// Whether this process leads.
    pub fn holds(&self) -> bool {
        now_ms() < self.until_ms()
    }

    /// Until when, in terms of [`now_ms`].
    pub fn until_ms(&self) -> u64 {
        self.until_ms.load(Ordering::SeqCst)
    }

    /// How long it is each time; `None` if it has no end.
    pub fn length(&self) -> Option<Duration> {
        self.length
    }

    /// It lasts until this time, if that is later than was known and it is not over yet. What is over stays
    /// so: somebody may have seen that.
    pub fn extend(&self, until_ms: u64) {
        let later = |known: u64| (known > now_ms() && until_ms > known).then_some(until_ms);
        // Nothing is to be done if not.
        let _ = self
            .until_ms
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, later);
    }

    /// It is over, for good.
    pub fn end(&self) {
        self.until_ms.store(OVER, Ordering::SeqCst);
    }

    /// Fails where somebody who leads no more must not go on.
    ///
    /// # Errors
    ///
    /// It is over; for people.
    pub fn check(&self) -> Result<(), String> {
        match self.holds() {
            true => Ok(()),
            false => Err(
                "this job manager is not known to lead any more: another one may go on with the job"
                    .to_owned(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_secs(60);

    #[test]
    fn it_holds_until_its_end_and_no_longer() {
        let now = now_ms();
        assert!(Term::unlimited().holds());
        assert!(Term::until(now + 600_000, LENGTH).holds());
        let over = Term::until(now, LENGTH);
        assert!(!over.holds());
        over.check().expect_err("over");
    }

    #[test]
    fn an_earlier_end_does_not_shorten_it_and_what_is_over_stays_so() {
        let late = now_ms() + 600_000;
        let term = Term::until(late, LENGTH);
        let shared = term.clone();
        shared.extend(late - 1);
        assert_eq!(term.until_ms(), late);
        shared.extend(late + 1);
        assert_eq!(term.until_ms(), late + 1);
        term.end();
        shared.extend(late + 2);
        assert!(!shared.holds());
        let lapsed = Term::until(now_ms(), LENGTH);
        lapsed.extend(late);
        assert!(!lapsed.holds());
    }
}
