//! The clock, handed in wherever time matters, so that a run can be replayed.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The wall clock and the steady clock at the first call.
static START: OnceLock<(u64, Instant)> = OnceLock::new();

/// A source of time.
pub trait Clock: Send + Sync {
    /// Returns the milliseconds since 1970-01-01T00:00Z.
    fn now_ms(&self) -> u64;
}

/// The clock of the machine, read once: from then on it never goes back.
///
/// A wall clock that is set back would stop checkpoints and watermarks until it has caught up.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        let (start_ms, started) = *START.get_or_init(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH);
            let start_ms = since.unwrap_or(Duration::ZERO).as_millis() as u64;
            (start_ms, Instant::now())
        });
        start_ms + started.elapsed().as_millis() as u64
    }
}

/// A clock that moves only when told to; for tests.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// Returns a clock that stands at `now_ms`.
    pub fn at(now_ms: u64) -> Self {
        ManualClock(AtomicU64::new(now_ms))
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_millis() as u64, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}
