//! The global window: all records of a key, for good; only a trigger other than the default fires.

use millpond_serializer::GlobalWindow;

use super::WindowAssigner;
use super::trigger::NeverTrigger;
use crate::error::Result;

/// Puts all records of a key into one window that never ends.
///
/// It fires by the trigger alone that the program gives it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GlobalWindows;

impl GlobalWindows {
    /// The assigner.
    pub fn create() -> Self {
        GlobalWindows
    }
}

impl<T: 'static> WindowAssigner<T> for GlobalWindows {
    type Window = GlobalWindow;
    type DefaultTrigger = NeverTrigger;

    fn name(&self) -> &'static str {
        "GlobalWindows"
    }

    fn is_event_time(&self) -> bool {
        false
    }

    fn assign_windows(
        &self,
        _record: &T,
        _timestamp: i64,
        _processing_time: i64,
        windows: &mut Vec<GlobalWindow>,
    ) -> Result<()> {
        windows.push(GlobalWindow);
        Ok(())
    }

    fn default_trigger(&self) -> NeverTrigger {
        NeverTrigger
    }
}
