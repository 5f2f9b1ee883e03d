//! The end of the window, by the watermark or by the clock: the defaults of windows of time.

use millpond_serializer::FlinkKey;

use super::{Trigger, TriggerContext, TriggerResult};
use crate::error::Result;
use crate::functions::window::Window;
use crate::functions::window::state::WindowStates;

/// Fires when the watermark reaches the end of the window, and at once for every record behind it
/// that is not too late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventTimeTrigger;

impl<T, W: Window> Trigger<T, W> for EventTimeTrigger {
    type State = ();

    fn open<K: FlinkKey>(&self, _states: &WindowStates<'_, K, W>) -> Result<()> {
        Ok(())
    }

    fn on_element(
        &self,
        _state: &mut (),
        _record: &T,
        _timestamp: i64,
        window: &W,
        context: &TriggerContext<'_, W>,
    ) -> Result<TriggerResult> {
        if window.max_timestamp() <= context.current_watermark() {
            return Ok(TriggerResult::Fire);
        }
        context.register_event_time_timer(window.max_timestamp());
        Ok(TriggerResult::Continue)
    }

    fn on_event_time(
        &self,
        _state: &mut (),
        time: i64,
        window: &W,
        _context: &TriggerContext<'_, W>,
    ) -> Result<TriggerResult> {
        Ok(if time == window.max_timestamp() {
            TriggerResult::Fire
        } else {
            TriggerResult::Continue
        })
    }

    fn clear(&self, _state: &mut (), window: &W, context: &TriggerContext<'_, W>) -> Result<()> {
        context.delete_event_time_timer(window.max_timestamp());
        Ok(())
    }

    fn can_merge(&self) -> bool {
        true
    }

    fn on_merge(
        &self,
        _state: &mut (),
        window: &W,
        _merged: &[W],
        context: &TriggerContext<'_, W>,
    ) -> Result<()> {
        // Behind the end the record that caused the merge fires.
        if window.max_timestamp() > context.current_watermark() {
            context.register_event_time_timer(window.max_timestamp());
        }
        Ok(())
    }
}

/// Fires when the clock reaches the end of the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessingTimeTrigger;

impl<T, W: Window> Trigger<T, W> for ProcessingTimeTrigger {
    type State = ();

    fn open<K: FlinkKey>(&self, _states: &WindowStates<'_, K, W>) -> Result<()> {
        Ok(())
    }

    fn on_element(
        &self,
        _state: &mut (),
        _record: &T,
        _timestamp: i64,
        window: &W,
        context: &TriggerContext<'_, W>,
    ) -> Result<TriggerResult> {
        context.register_processing_time_timer(window.max_timestamp());
        Ok(TriggerResult::Continue)
    }

    fn on_processing_time(
        &self,
        _state: &mut (),
        _time: i64,
        _window: &W,
        _context: &TriggerContext<'_, W>,
    ) -> Result<TriggerResult> {
        Ok(TriggerResult::Fire)
    }

    fn clear(&self, _state: &mut (), window: &W, context: &TriggerContext<'_, W>) -> Result<()> {
        context.delete_processing_time_timer(window.max_timestamp());
        Ok(())
    }

    fn can_merge(&self) -> bool {
        true
    }

    fn on_merge(
        &self,
        _state: &mut (),
        window: &W,
        _merged: &[W],
        context: &TriggerContext<'_, W>,
    ) -> Result<()> {
        if window.max_timestamp() > context.current_processing_time() {
            context.register_processing_time_timer(window.max_timestamp());
        }
        Ok(())
    }
}
