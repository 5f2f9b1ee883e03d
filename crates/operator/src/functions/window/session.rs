//! Sessions: a window goes on as long as no gap without records is longer than the limit.
//!
//! Each record makes a window from its own time to a gap later; windows that touch are one.

use std::time::Duration;

use millpond_serializer::TimeWindow;

use super::trigger::{EventTimeTrigger, ProcessingTimeTrigger};
use super::{WindowAssigner, at_least_one_ms, event_time};
use crate::error::Result;

/// Windows that a gap without records ends, in event time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventTimeSessionWindows {
    gap_ms: i64,
}

impl EventTimeSessionWindows {
    /// A session ends when no record has come for `gap`.
    ///
    /// # Panics
    ///
    /// If `gap` is less than a millisecond.
    pub fn with_gap(gap: Duration) -> Self {
        let gap_ms = at_least_one_ms(gap, "the gap of sessions");
        EventTimeSessionWindows { gap_ms }
    }
}

impl<T: 'static> WindowAssigner<T> for EventTimeSessionWindows {
    type Window = TimeWindow;
    type DefaultTrigger = EventTimeTrigger;

    const MERGING: bool = true;

    fn name(&self) -> &'static str {
        "EventTimeSessionWindows"
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
        windows.push(session(event_time(timestamp)?, self.gap_ms));
        Ok(())
    }

    fn default_trigger(&self) -> EventTimeTrigger {
        EventTimeTrigger
    }

    fn merge_windows(&self, windows: Vec<TimeWindow>) -> Vec<(TimeWindow, Vec<TimeWindow>)> {
        merge_time_windows(windows)
    }
}

/// Windows that a gap without records ends, by the clock of the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessingTimeSessionWindows {
    gap_ms: i64,
}

impl ProcessingTimeSessionWindows {
    /// A session ends when no record has come for `gap`.
    ///
    /// # Panics
    ///
    /// If `gap` is less than a millisecond.
    pub fn with_gap(gap: Duration) -> Self {
        let gap_ms = at_least_one_ms(gap, "the gap of sessions");
        ProcessingTimeSessionWindows { gap_ms }
    }
}

impl<T: 'static> WindowAssigner<T> for ProcessingTimeSessionWindows {
    type Window = TimeWindow;
    type DefaultTrigger = ProcessingTimeTrigger;

    const MERGING: bool = true;

    fn name(&self) -> &'static str {
        "ProcessingTimeSessionWindows"
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
        windows.push(session(processing_time, self.gap_ms));
        Ok(())
    }

    fn default_trigger(&self) -> ProcessingTimeTrigger {
        ProcessingTimeTrigger
    }

    fn merge_windows(&self, windows: Vec<TimeWindow>) -> Vec<(TimeWindow, Vec<TimeWindow>)> {
        merge_time_windows(windows)
    }
}

/// The session of one record.
fn session(timestamp: i64, gap_ms: i64) -> TimeWindow {
    TimeWindow {
        start: timestamp,
        end: timestamp.saturating_add(gap_ms),
    }
}

/// Joins windows that overlap or touch; tells the groups of more than one window.
pub(crate) fn merge_time_windows(
    mut windows: Vec<TimeWindow>,
) -> Vec<(TimeWindow, Vec<TimeWindow>)> {
    windows.sort_unstable();
    windows.dedup();
    let mut groups: Vec<(TimeWindow, Vec<TimeWindow>)> = Vec::new();
    for window in windows {
        match groups.last_mut() {
            Some((cover, group)) if window.start <= cover.end => {
                cover.end = cover.end.max(window.end);
                group.push(window);
            }
            Some(_) | None => groups.push((window, vec![window])),
        }
    }
    groups.retain(|(_, group)| group.len() > 1);
    groups
}
