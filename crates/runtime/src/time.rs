//! Timestamps of the data plane: epoch (high 32 bits) and tick (low 32 bits).
//!
//! Epochs are the parts of an attempt between two barriers. Ticks measure how far the sinks have
//! come, for the window of a source; they come from one clock and begin anew with each epoch. Before
//! they run out (39 hours) the coordinator ends an epoch for nothing else.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Epoch and tick.
pub type Time = u64;

/// Nanoseconds in a tick, as a power of two: 32.8 µs, so that 2^32 ticks are 1.6 days.
const TICK_SHIFT: u32 = 15;

/// The time of `tick` in `epoch`.
pub fn pack(epoch: u32, tick: u32) -> Time {
    u64::from(epoch) << 32 | u64::from(tick)
}

/// The epoch of a time.
pub fn epoch_of(time: Time) -> u32 {
    (time >> 32) as u32
}

/// The last time of an epoch.
pub fn last_of(epoch: u32) -> Time {
    pack(epoch, u32::MAX)
}

/// The clock that all sources of a process share; it counts ticks since the epoch began.
#[derive(Debug)]
pub(crate) struct TickClock {
    started: Instant,
    /// Nanoseconds after `started` at which ticks began anew.
    origin_ns: AtomicU64,
}

impl TickClock {
    /// A clock that begins now.
    pub(crate) fn new() -> Self {
        TickClock {
            started: Instant::now(),
            origin_ns: AtomicU64::new(0),
        }
    }

    /// The present tick.
    pub(crate) fn tick(&self) -> u32 {
        let ns = self.started.elapsed().as_nanos() as u64;
        let since = ns.saturating_sub(self.origin_ns.load(Ordering::Relaxed));
        u32::try_from(since >> TICK_SHIFT).unwrap_or(u32::MAX - 1)
    }

    /// Lets ticks begin anew.
    pub(crate) fn reset(&self) {
        self.origin_ns
            .store(self.started.elapsed().as_nanos() as u64, Ordering::Relaxed);
    }
}

/// Ticks in a duration, at least 1.
pub(crate) fn ticks(duration: Duration) -> u32 {
    ((duration.as_nanos() as u64) >> TICK_SHIFT).clamp(1, u64::from(u32::MAX)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_of_an_epoch_is_before_every_time_of_the_next() {
        assert!(last_of(3) < pack(4, 0));
        assert_eq!(epoch_of(last_of(3)), 3);
        assert_eq!(epoch_of(pack(4, 0)), 4);
    }
}
