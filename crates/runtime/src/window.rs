//! The window of a source: how many records it may have in flight.
//!
//! Timely's queues are unbounded, so back-pressure is ours: a source counts the records that it
//! emitted at each tick and forgets them when the frontier at the sinks has passed that tick. The
//! budget is in records, not ticks, and a source that waits for it still answers a barrier at once.

use std::collections::VecDeque;

use crate::time::Time;

/// Records of one source subtask that the sinks have not taken.
#[derive(Debug)]
pub(crate) struct Window {
    in_flight: VecDeque<(Time, u64)>,
    records: u64,
    limit: u64,
}

impl Window {
    /// A window of at most `limit` records.
    pub(crate) fn new(limit: u64) -> Self {
        Window {
            in_flight: VecDeque::new(),
            records: 0,
            limit,
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

    /// The sinks have taken everything before `frontier`; `None` is everything.
    pub(crate) fn taken(&mut self, frontier: Option<Time>) {
        while let Some((time, records)) = self.in_flight.front()
            && frontier.is_none_or(|frontier| *time < frontier)
        {
            self.records -= records;
            self.in_flight.pop_front();
        }
    }

    /// How many more records may be emitted now.
    pub(crate) fn room(&self) -> u64 {
        self.limit.saturating_sub(self.records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_comes_back_when_the_sinks_have_passed_a_tick() {
        let mut window = Window::new(100);
        window.emitted(5, 60);
        window.emitted(6, 60);
        assert_eq!(window.room(), 0);
        window.taken(Some(5));
        assert_eq!(window.room(), 0);
        window.taken(Some(6));
        assert_eq!(window.room(), 40);
        window.taken(None);
        assert_eq!(window.room(), 100);
    }
}
