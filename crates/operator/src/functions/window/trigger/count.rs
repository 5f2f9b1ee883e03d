//! A number of records.

use millpond_serializer::FlinkKey;
use millpond_state::ReducingState;

use super::{Trigger, TriggerContext, TriggerResult};
use crate::error::Result;
use crate::functions::window::Window;
use crate::functions::window::state::{PerWindow, WindowStates};

/// Fires when a window has got as many records as given, and counts anew.
///
/// Its state is the reducing state `count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountTrigger {
    max_count: i64,
}

impl CountTrigger {
    /// Fires every `max_count` records.
    pub fn of(max_count: u32) -> Self {
        CountTrigger {
            max_count: i64::from(max_count),
        }
    }
}

impl<T, W: Window> Trigger<T, W> for CountTrigger {
    type State = PerWindow<ReducingState<i64, W>, W>;

    fn open<K: FlinkKey>(&self, states: &WindowStates<'_, K, W>) -> Result<Self::State> {
        states.reducing_state("count", |a: &i64, b: &i64| a.wrapping_add(*b))
    }

    fn on_element(
        &self,
        count: &mut Self::State,
        _record: &T,
        _timestamp: i64,
        _window: &W,
        _context: &TriggerContext<'_, W>,
    ) -> Result<TriggerResult> {
        let count = count.current();
        count.add(1);
        if count.get().is_some_and(|count| count >= self.max_count) {
            count.clear();
            return Ok(TriggerResult::Fire);
        }
        Ok(TriggerResult::Continue)
    }

    fn clear(
        &self,
        count: &mut Self::State,
        _window: &W,
        _context: &TriggerContext<'_, W>,
    ) -> Result<()> {
        count.current().clear();
        Ok(())
    }

    fn can_merge(&self) -> bool {
        true
    }

    fn on_merge(
        &self,
        count: &mut Self::State,
        _window: &W,
        merged: &[W],
        _context: &TriggerContext<'_, W>,
    ) -> Result<()> {
        count.merge(merged);
        Ok(())
    }
}
