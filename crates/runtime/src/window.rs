//! The window of a source: how many records it may have in flight.
//!
//! Timely's queues are unbounded, so back-pressure is ours: a source counts the records that it
//! emitted at each tick and forgets them when the frontier at the sinks has passed that tick. The
//! budget is in records, not ticks, and a source that waits for it still answers a barrier at once.
//!
//! An aligned barrier waits for all that is in flight. So the window is no larger than what the sinks
//! take in [`TARGET`]; Flink calls this buffer debloating. A window that is too small for that shows
//! as records that come back sooner, so it grows by itself.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Time;

/// For how long records may be in flight when the sinks are the slow ones.
const TARGET: Duration = Duration::from_millis(50);

/// Over what time the rate of the sinks is measured.
const PERIOD: Duration = Duration::from_millis(20);

/// The smallest window: some calls of a slow function.
const LEAST: u64 = 128;

/// The window until a rate is known. It grows fast, but all that is emitted before may wait for sinks
/// that turn out to be slow.
const FIRST: u64 = 1024;

/// A tick is worth telling if this part of the window was made at it.
const TICKS_PER_WINDOW: u64 = 8;

/// Records of one source subtask that the sinks have not taken.
#[derive(Debug)]
pub(crate) struct Window {
    in_flight: VecDeque<(Time, u64)>,
    records: u64,
    limit: u64,
    most: u64,
    /// Since when, and how many, the sinks have taken; whether the source has waited for them.
    since_ns: u64,
    taken: u64,
    was_full: bool,
}

impl Window {
    /// A window of at most `most` records.
    pub(crate) fn new(most: u64) -> Self {
        Window {
            in_flight: VecDeque::new(),
            records: 0,
            limit: FIRST.min(most),
            most,
            since_ns: 0,
            taken: 0,
            was_full: false,
        }
    }

    /// Counts records emitted at `time`, which never falls.
    pub(crate) fn emitted(&mut self, time: Time, records: u64) {
        if records == 0 {
            return;
        }
        self.records += records;
        match self.in_flight.back_mut() {
            Some((last, count)) if *last == time => *count += records,
            _ => self.in_flight.push_back((time, records)),
        }
    }

    /// The sinks have taken everything before `frontier`; `None` is everything. `now_ns` is of any
    /// steady clock.
    pub(crate) fn taken(&mut self, frontier: Option<Time>, now_ns: u64) {
        while let Some((time, records)) = self.in_flight.front()
            && frontier.is_none_or(|frontier| *time < frontier)
        {
            self.records -= records;
            self.taken += records;
            self.in_flight.pop_front();
        }
        let elapsed_ns = now_ns.saturating_sub(self.since_ns);
        if u128::from(elapsed_ns) >= PERIOD.as_nanos() && self.taken > 0 {
            self.resize(elapsed_ns);
            (self.since_ns, self.taken, self.was_full) = (now_ns, 0, false);
        }
    }

    /// A source that has not waited says nothing about how much the sinks could take.
    fn resize(&mut self, elapsed_ns: u64) {
        if self.was_full {
            let limit = u128::from(self.taken) * TARGET.as_nanos() / u128::from(elapsed_ns);
            self.limit = (limit as u64).clamp(LEAST.min(self.most), self.most);
        }
    }

    /// A barrier may have overtaken everything that is in flight: it is taken only when the sinks
    /// have passed `time`.
    pub(crate) fn overtaken(&mut self, time: Time) {
        self.in_flight.clear();
        if self.records > 0 {
            self.in_flight.push_back((time, self.records));
        }
    }

    /// Whether so much was emitted at `time`, the latest, that the sinks should be able to pass it.
    pub(crate) fn is_tick_due(&self, time: Time) -> bool {
        let made = match self.in_flight.back() {
            Some((last, records)) if *last == time => *records,
            _ => 0,
        };
        made > 0 && (made * TICKS_PER_WINDOW >= self.limit || self.records >= self.limit)
    }

    /// How many more records may be emitted now.
    pub(crate) fn room(&mut self) -> u64 {
        let room = self.limit.saturating_sub(self.records);
        self.was_full |= room == 0;
        room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn room_comes_back_when_the_sinks_have_passed_a_tick() {
        let mut window = Window::new(100);
        window.emitted(5, 60);
        window.emitted(6, 60);
        assert_eq!(window.room(), 0);
        window.taken(Some(5), 0);
        assert_eq!(window.room(), 0);
        window.taken(Some(6), 0);
        assert_eq!(window.room(), 40);
        window.taken(None, 0);
        assert_eq!(window.room(), 100);
    }

    #[test]
    fn what_a_barrier_has_overtaken_counts_until_the_sinks_have_passed_it_behind_the_barrier() {
        let mut window = Window::new(100);
        window.emitted(5, 30);
        window.emitted(6, 30);
        window.overtaken(1000);
        window.emitted(1001, 10);
        window.taken(Some(7), 0);
        assert_eq!(window.room(), 30);
        window.taken(Some(1001), 0);
        assert_eq!(window.room(), 90);
    }

    #[test]
    fn a_tick_is_due_when_it_holds_a_share_of_the_window_or_fills_it() {
        let mut window = Window::new(80);
        assert!(!window.is_tick_due(5));
        window.emitted(5, 9);
        assert!(!window.is_tick_due(5));
        window.emitted(5, 1);
        assert!(window.is_tick_due(5));
        assert!(!window.is_tick_due(6), "nothing was emitted at it");
        window.emitted(6, 69);
        window.emitted(7, 1);
        assert!(window.is_tick_due(7), "it is full");
        window.taken(Some(6), 0);
        assert!(!window.is_tick_due(7));
    }

    /// Plays sinks of a fixed rate, in records per millisecond, until the window has settled.
    fn settled(per_ms: u64, most: u64, latency_ms: u64) -> u64 {
        let mut window = Window::new(most);
        let mut queue = VecDeque::new();
        let mut queued = 0;
        for ms in 0..2000 {
            let room = window.room();
            if room > 0 {
                window.emitted(ms, room);
                queue.push_back((ms, room));
                queued += room;
            }
            queued -= queued.min(per_ms);
            let mut behind = queued;
            // What the sinks have not taken lies at the end of the queue.
            let first = queue.iter().rev().find_map(|(time, records)| {
                let is_last = behind <= *records;
                behind = behind.saturating_sub(*records);
                is_last.then_some(*time)
            });
            let first = first.filter(|_| queued > 0);
            let frontier = first
                .unwrap_or(ms + 1)
                .min((ms + 1).saturating_sub(latency_ms));
            window.taken(Some(frontier), ms * MS);
        }
        window.limit
    }

    #[test]
    fn the_window_of_slow_sinks_is_what_they_take_in_the_target_and_that_of_fast_ones_is_whole() {
        for per_ms in [10, 50, 200] {
            let limit = settled(per_ms, 16 * 1024, 0);
            let target = per_ms * 50;
            assert!(
                (target / 2..=target * 2).contains(&limit),
                "{limit} at {per_ms}/ms"
            );
        }
        assert_eq!(settled(1, 1024, 0), LEAST);
        // Held back by its own size alone: it grows.
        assert_eq!(settled(100_000, 16 * 1024, 1), 16 * 1024);
    }

    #[test]
    fn a_source_that_waits_for_nothing_keeps_its_window() {
        let mut window = Window::new(1000);
        for ms in 0..200 {
            assert!(window.room() > 0);
            window.emitted(ms, 1);
            window.taken(Some(ms), ms * MS);
        }
        assert_eq!(window.limit, 1000);
    }
}
