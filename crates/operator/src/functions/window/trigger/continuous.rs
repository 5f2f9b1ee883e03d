//! Again and again while a window is open: early results.
//!
//! The next time is the reducing state `fire-time`. Timers of windows that were merged stay behind
//! and fire for a window that is no more, which is nothing; so it is in Flink.

use std::time::Duration;

use millpond_serializer::FlinkKey;
use millpond_state::ReducingState;

use super::{Trigger, TriggerContext, TriggerResult};
use crate::error::Result;
use crate::functions::window::state::{PerWindow, WindowStates};
use crate::functions::window::{Window, at_least_one_ms};

type FireTime<W> = PerWindow<ReducingState<i64, W>, W>;

fn open<K: FlinkKey, W: Window>(states: &WindowStates<'_, K, W>) -> Result<FireTime<W>> {
    states.reducing_state("fire-time", |a: &i64, b: &i64| *a.min(b))
}

/// Notes when the next firing is, and returns it.
fn next_fire_time<W: Window>(
    fire_time: &mut FireTime<W>,
    time: i64,
    interval_ms: i64,
    window: &W,
) -> i64 {
    let next = time.saturating_add(interval_ms).min(window.max_timestamp());
    fire_time.current().add(next);
    next
}

/// Fires whenever the watermark has gone on by an interval, and at the end of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContinuousEventTimeTrigger {
    interval_ms: i64,
}

impl ContinuousEventTimeTrigger {
    /// Fires at the multiples of `interval`.
    ///
    /// # Panics
    ///
    /// If `interval` is less than a millisecond.
    pub fn of(interval: Duration) -> Self {
        ContinuousEventTimeTrigger {
            interval_ms: at_least_one_ms(interval, "the interval of a trigger"),
        }
    }
}

impl<T, W: Window> Trigger<T, W> for ContinuousEventTimeTrigger {
    type State = FireTime<W>;

    fn open<K: FlinkKey>(&self, states: &WindowStates<'_, K, W>) -> Result<FireTime<W>> {
        open(states)
    }

    fn on_element(
        &self,
        fire_time: &mut FireTime<W>,
        _record: &T,
        timestamp: i64,
        window: &W,
        context: &TriggerContext<'_, W>,
    ) -> Result<TriggerResult> {
        if window.max_timestamp() <= context.current_watermark() {
            return Ok(TriggerResult::Fire);
        }
        context.register_event_time_timer(window.max_timestamp());
        if fire_time.current().get().is_none() {
            // Towards zero, as Java divides: before 1970 one interval later.
            let start = timestamp - timestamp % self.interval_ms;
            let next = next_fire_time(fire_time, start, self.interval_ms, window);
            context.register_event_time_timer(next);
        }
        Ok(TriggerResult::Continue)
    }

    fn on_event_time(
        &self,
        fire_time: &mut FireTime<W>,
        time: i64,
        window: &W,
        context: &TriggerContext<'_, W>,
    ) -> Result<TriggerResult> {
        if time == window.max_timestamp() {
            return Ok(TriggerResult::Fire);
        }
        if fire_time.current().get() == Some(time) {
            fire_time.current().clear();
            let next = next_fire_time(fire_time, time, self.interval_ms, window);
            context.register_event_time_timer(next);
            return Ok(TriggerResult::Fire);
        }
        Ok(TriggerResult::Continue)
    }

    fn clear(
        &self,
        fire_time: &mut FireTime<W>,
        _window: &W,
        context: &TriggerContext<'_, W>,
    ) -> Result<()> {
        if let Some(time) = fire_time.current().get() {
            context.delete_event_time_timer(time);
            fire_time.current().clear();
        }
        Ok(())
    }

    fn can_merge(&self) -> bool {
        true
    }

    fn on_merge(
        &self,
        fire_time: &mut FireTime<W>,
        _window: &W,
        merged: &[W],
        context: &TriggerContext<'_, W>,
    ) -> Result<()> {
        fire_time.merge(merged);
        if let Some(time) = fire_time.current().get() {
            context.register_event_time_timer(time);
        }
        Ok(())
    }
}

/// Fires whenever the clock has gone on by an interval, and at the end of a window of processing
/// time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContinuousProcessingTimeTrigger {
    interval_ms: i64,
}

impl ContinuousProcessingTimeTrigger {
    /// Fires at the multiples of `interval`.
    ///
    /// # Panics
    ///
    /// If `interval` is less than a millisecond.
    pub fn of(interval: Duration) -> Self {
        ContinuousProcessingTimeTrigger {
            interval_ms: at_least_one_ms(interval, "the interval of a trigger"),
        }
    }
}

impl<T, W: Window> Trigger<T, W> for ContinuousProcessingTimeTrigger {
    type State = FireTime<W>;

    fn open<K: FlinkKey>(&self, states: &WindowStates<'_, K, W>) -> Result<FireTime<W>> {
        open(states)
    }

    fn on_element(
        &self,
        fire_time: &mut FireTime<W>,
        _record: &T,
        _timestamp: i64,
        window: &W,
        context: &TriggerContext<'_, W>,
    ) -> Result<TriggerResult> {
        if fire_time.current().get().is_none() {
            let now = context.current_processing_time();
            let start = now - now % self.interval_ms;
            let next = next_fire_time(fire_time, start, self.interval_ms, window);
            context.register_processing_time_timer(next);
        }
        Ok(TriggerResult::Continue)
    }

    fn on_processing_time(
        &self,
        fire_time: &mut FireTime<W>,
        time: i64,
        window: &W,
        context: &TriggerContext<'_, W>,
    ) -> Result<TriggerResult> {
        if time == window.max_timestamp() {
            return Ok(TriggerResult::Fire);
        }
        if fire_time.current().get() == Some(time) {
            fire_time.current().clear();
            let next = next_fire_time(fire_time, time, self.interval_ms, window);
            context.register_processing_time_timer(next);
            return Ok(TriggerResult::Fire);
        }
        Ok(TriggerResult::Continue)
    }

    fn clear(
        &self,
        fire_time: &mut FireTime<W>,
        _window: &W,
        context: &TriggerContext<'_, W>,
    ) -> Result<()> {
        if let Some(time) = fire_time.current().get() {
            context.delete_processing_time_timer(time);
            fire_time.current().clear();
        }
        Ok(())
    }

    fn can_merge(&self) -> bool {
        true
    }

    fn on_merge(
        &self,
        fire_time: &mut FireTime<W>,
        _window: &W,
        merged: &[W],
        context: &TriggerContext<'_, W>,
    ) -> Result<()> {
        fire_time.merge(merged);
        if let Some(time) = fire_time.current().get() {
            context.register_processing_time_timer(time);
        }
        Ok(())
    }
}
