//! Tumbling windows: of one length, one after the other, without a gap.

use std::time::Duration;

use millpond_serializer::TimeWindow;

use super::trigger::{EventTimeTrigger, ProcessingTimeTrigger};
use super::{WindowAssigner, at_least_one_ms, event_time, window_start};
use crate::error::Result;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tumbling {
    size_ms: i64,
    offset_ms: i64,
}

impl Tumbling {
    fn of(size: Duration) -> Self {
        Tumbling {
            size_ms: at_least_one_ms(size, "a window"),
            offset_ms: 0,
        }
    }

    fn with_offset(mut self, offset: Duration) -> Self {
        self.offset_ms = (offset.as_millis() % self.size_ms as u128) as i64;
        self
    }

    fn assign(&self, timestamp: i64) -> TimeWindow {
        let start = window_start(timestamp, self.offset_ms, self.size_ms);
        TimeWindow {
            start,
            end: start.wrapping_add(self.size_ms),
        }
    }
}

/// Windows of one length that follow each other without a gap, in event time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TumblingEventTimeWindows(Tumbling);

impl TumblingEventTimeWindows {
    /// Windows of `size`, aligned to 1970-01-01T00:00Z.
    ///
    /// # Panics
    ///
    /// If `size` is less than a millisecond.
    pub fn of(size: Duration) -> Self {
        TumblingEventTimeWindows(Tumbling::of(size))
    }

    /// Shifts all windows, for days that do not begin at midnight UTC.
    #[must_use]
    pub fn with_offset(self, offset: Duration) -> Self {
        TumblingEventTimeWindows(self.0.with_offset(offset))
    }

    /// The window that a timestamp falls into.
    pub fn assign(&self, timestamp: i64) -> TimeWindow {
        self.0.assign(timestamp)
    }
}

impl<T: 'static> WindowAssigner<T> for TumblingEventTimeWindows {
    type Window = TimeWindow;
    type DefaultTrigger = EventTimeTrigger;

    fn name(&self) -> &'static str {
        "TumblingEventTimeWindows"
    }

    fn is_event_time(&self) -> bool {
        true
    }

    fn assign_windows(
        &self,
        _record: &T,
        timestamp: i64,
        _processing_time: i64,
        windows: &mut Vec<TimeWindow>,
    ) -> Result<()> {
        windows.push(self.0.assign(event_time(timestamp)?));
        Ok(())
    }

    fn default_trigger(&self) -> EventTimeTrigger {
        EventTimeTrigger
    }
}

/// Windows of one length that follow each other without a gap, by the clock of the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TumblingProcessingTimeWindows(Tumbling);

impl TumblingProcessingTimeWindows {
    /// Windows of `size`, aligned to 1970-01-01T00:00Z.
    ///
    /// # Panics
    ///
    /// If `size` is less than a millisecond.
    pub fn of(size: Duration) -> Self {
        TumblingProcessingTimeWindows(Tumbling::of(size))
    }

    /// Shifts all windows, for days that do not begin at midnight UTC.
    #[must_use]
    pub fn with_offset(self, offset: Duration) -> Self {
        TumblingProcessingTimeWindows(self.0.with_offset(offset))
    }
}

impl<T: 'static> WindowAssigner<T> for TumblingProcessingTimeWindows {
    type Window = TimeWindow;
    type DefaultTrigger = ProcessingTimeTrigger;

    fn name(&self) -> &'static str {
        "TumblingProcessingTimeWindows"
    }

    fn is_event_time(&self) -> bool {
        false
    }

    fn assign_windows(
        &self,
        _record: &T,
        _timestamp: i64,
        processing_time: i64,
        windows: &mut Vec<TimeWindow>,
    ) -> Result<()> {
        windows.push(self.0.assign(processing_time));
        Ok(())
    }

    fn default_trigger(&self) -> ProcessingTimeTrigger {
        ProcessingTimeTrigger
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_meet_without_a_gap_on_both_sides_of_1970() {
        let windows = TumblingEventTimeWindows::of(Duration::from_secs(1));
        for timestamp in [-1001, -1000, -1, 0, 999, 1000] {
            let window = windows.assign(timestamp);
            assert!(
                window.start <= timestamp && timestamp < window.end,
                "{timestamp}"
            );
            assert_eq!(window.start.rem_euclid(1000), 0);
        }
        let shifted = windows.with_offset(Duration::from_millis(300));
        assert_eq!(shifted.assign(299).end, 300);
        assert_eq!(shifted.assign(300).start, 300);
    }
}
