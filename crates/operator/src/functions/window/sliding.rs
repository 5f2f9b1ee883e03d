//! Sliding windows: of one length, one beginning every slide; a record lies in several.

use std::time::Duration;

use millpond_serializer::TimeWindow;

use super::trigger::{EventTimeTrigger, ProcessingTimeTrigger};
use super::{WindowAssigner, at_least_one_ms, event_time, window_start};
use crate::error::Result;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sliding {
    size_ms: i64,
    slide_ms: i64,
    offset_ms: i64,
}

impl Sliding {
    fn of(size: Duration, slide: Duration) -> Self {
        Sliding {
            size_ms: at_least_one_ms(size, "a window"),
            slide_ms: at_least_one_ms(slide, "the slide of a window"),
            offset_ms: 0,
        }
    }

    fn with_offset(mut self, offset: Duration) -> Self {
        self.offset_ms = (offset.as_millis() % self.slide_ms as u128) as i64;
        self
    }

    /// The newest first, as Flink has it.
    fn assign(&self, timestamp: i64, windows: &mut Vec<TimeWindow>) {
        let mut start = window_start(timestamp, self.offset_ms, self.slide_ms);
        while start > timestamp.saturating_sub(self.size_ms) {
            windows.push(TimeWindow {
                start,
                end: start.wrapping_add(self.size_ms),
            });
            start = start.saturating_sub(self.slide_ms);
        }
    }
}

/// Windows of one length, one beginning every slide, in event time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlidingEventTimeWindows(Sliding);

impl SlidingEventTimeWindows {
    /// Windows of `size`, one every `slide`, aligned to 1970-01-01T00:00Z. With a slide longer than
    /// the size there are records that lie in no window.
    ///
    /// # Panics
    ///
    /// If `size` or `slide` is less than a millisecond.
    pub fn of(size: Duration, slide: Duration) -> Self {
        SlidingEventTimeWindows(Sliding::of(size, slide))
    }

    /// Shifts all windows.
    #[must_use]
    pub fn with_offset(self, offset: Duration) -> Self {
        SlidingEventTimeWindows(self.0.with_offset(offset))
    }
}

impl<T: 'static> WindowAssigner<T> for SlidingEventTimeWindows {
    type Window = TimeWindow;
    type DefaultTrigger = EventTimeTrigger;

    fn name(&self) -> &'static str {
        "SlidingEventTimeWindows"
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
        self.0.assign(event_time(timestamp)?, windows);
        Ok(())
    }

    fn default_trigger(&self) -> EventTimeTrigger {
        EventTimeTrigger
    }
}

/// Windows of one length, one beginning every slide, by the clock of the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlidingProcessingTimeWindows(Sliding);

impl SlidingProcessingTimeWindows {
    /// Windows of `size`, one every `slide`, aligned to 1970-01-01T00:00Z.
    ///
    /// # Panics
    ///
    /// If `size` or `slide` is less than a millisecond.
    pub fn of(size: Duration, slide: Duration) -> Self {
        SlidingProcessingTimeWindows(Sliding::of(size, slide))
    }

    /// Shifts all windows.
    #[must_use]
    pub fn with_offset(self, offset: Duration) -> Self {
        SlidingProcessingTimeWindows(self.0.with_offset(offset))
    }
}

impl<T: 'static> WindowAssigner<T> for SlidingProcessingTimeWindows {
    type Window = TimeWindow;
    type DefaultTrigger = ProcessingTimeTrigger;

    fn name(&self) -> &'static str {
        "SlidingProcessingTimeWindows"
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
        self.0.assign(processing_time, windows);
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
    fn a_record_lies_in_every_window_that_holds_its_time_and_in_no_other() {
        for (size, slide, offset) in [(10, 5, 0), (10, 3, 1), (7, 7, 2), (4, 10, 0)] {
            let ms = Duration::from_millis;
            let windows = Sliding::of(ms(size), ms(slide)).with_offset(ms(offset));
            for timestamp in -30..30i64 {
                let mut found = Vec::new();
                windows.assign(timestamp, &mut found);
                let mut expected = Vec::new();
                for start in (-60..60i64).rev() {
                    let begins = (start - offset as i64).rem_euclid(slide as i64) == 0;
                    if begins && start <= timestamp && timestamp < start + size as i64 {
                        expected.push(TimeWindow {
                            start,
                            end: start + size as i64,
                        });
                    }
                }
                assert_eq!(found, expected, "{timestamp} of {windows:?}");
            }
        }
    }
}
