//! Every firing throws away what the window holds.

use millpond_serializer::FlinkKey;

use super::{Trigger, TriggerContext, TriggerResult};
use crate::error::Result;
use crate::functions::window::Window;
use crate::functions::window::state::WindowStates;

/// Fires when another trigger does, and then throws away what the window holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PurgingTrigger<G>(G);

impl<G> PurgingTrigger<G> {
    /// Purges whenever `trigger` fires.
    pub fn of(trigger: G) -> Self {
        PurgingTrigger(trigger)
    }
}

fn purging(result: TriggerResult) -> TriggerResult {
    if result.is_fire() {
        TriggerResult::FireAndPurge
    } else {
        result
    }
}

impl<T, W: Window, G: Trigger<T, W>> Trigger<T, W> for PurgingTrigger<G> {
    type State = G::State;

    fn open<K: FlinkKey>(&self, states: &WindowStates<'_, K, W>) -> Result<G::State> {
        self.0.open(states)
    }

    fn on_element(
        &self,
        state: &mut G::State,
        record: &T,
        timestamp: i64,
        window: &W,
        context: &TriggerContext<'_, W>,
    ) -> Result<TriggerResult> {
        let result = self
            .0
            .on_element(state, record, timestamp, window, context)?;
        Ok(purging(result))
    }

    fn on_event_time(
        &self,
        state: &mut G::State,
        time: i64,
        window: &W,
        context: &TriggerContext<'_, W>,
    ) -> Result<TriggerResult> {
        Ok(purging(self.0.on_event_time(state, time, window, context)?))
    }

    fn on_processing_time(
        &self,
        state: &mut G::State,
        time: i64,
        window: &W,
        context: &TriggerContext<'_, W>,
    ) -> Result<TriggerResult> {
        let result = self.0.on_processing_time(state, time, window, context)?;
        Ok(purging(result))
    }

    fn clear(
        &self,
        state: &mut G::State,
        window: &W,
        context: &TriggerContext<'_, W>,
    ) -> Result<()> {
        self.0.clear(state, window, context)
    }

    fn can_merge(&self) -> bool {
        self.0.can_merge()
    }

    fn on_merge(
        &self,
        state: &mut G::State,
        window: &W,
        merged: &[W],
        context: &TriggerContext<'_, W>,
    ) -> Result<()> {
        self.0.on_merge(state, window, merged, context)
    }
}
