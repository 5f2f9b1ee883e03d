//! Never: the default of global windows.

use millpond_serializer::FlinkKey;

use super::{Trigger, TriggerContext, TriggerResult};
use crate::error::Result;
use crate::functions::window::Window;
use crate::functions::window::state::WindowStates;

/// Fires never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NeverTrigger;

impl<T, W: Window> Trigger<T, W> for NeverTrigger {
    type State = ();

    fn open<K: FlinkKey>(&self, _states: &WindowStates<'_, K, W>) -> Result<()> {
        Ok(())
    }

    fn on_element(
        &self,
        _state: &mut (),
        _record: &T,
        _timestamp: i64,
        _window: &W,
        _context: &TriggerContext<'_, W>,
    ) -> Result<TriggerResult> {
        Ok(TriggerResult::Continue)
    }

    fn clear(&self, _state: &mut (), _window: &W, _context: &TriggerContext<'_, W>) -> Result<()> {
        Ok(())
    }

    fn can_merge(&self) -> bool {
        true
    }
}
