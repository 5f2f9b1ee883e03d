//! Triggers: when a window is computed, and when what it holds is thrown away.

mod continuous;
mod count;
mod never;
mod purging;
mod time;

pub use continuous::{ContinuousEventTimeTrigger, ContinuousProcessingTimeTrigger};
pub use count::CountTrigger;
pub use never::NeverTrigger;
pub use purging::PurgingTrigger;
pub use time::{EventTimeTrigger, ProcessingTimeTrigger};

use millpond_serializer::FlinkKey;
use millpond_state::TimerHandle;
use millpond_types::Clock;

use super::Window;
use super::state::WindowStates;
use crate::error::Result;

/// What a trigger wants done with a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TriggerResult {
    /// Nothing.
    Continue,
    /// Compute it, and keep what it holds.
    Fire,
    /// Throw away what it holds.
    Purge,
    /// Compute it, then throw away what it holds.
    FireAndPurge,
}

impl TriggerResult {
    /// Whether the window is to be computed.
    pub fn is_fire(self) -> bool {
        matches!(self, TriggerResult::Fire | TriggerResult::FireAndPurge)
    }

    /// Whether what the window holds is to be thrown away.
    pub fn is_purge(self) -> bool {
        matches!(self, TriggerResult::Purge | TriggerResult::FireAndPurge)
    }
}

/// Decides when windows are computed.
///
/// The trigger itself is the same for all subtasks; what it remembers of a window lies in state,
/// whose handles are its [`Trigger::State`].
///
/// # Examples
///
/// Fires at the first record and at every hundredth.
///
/// ```
/// use millpond_operator::Result;
/// use millpond_operator::functions::window::trigger::{Trigger, TriggerContext, TriggerResult};
/// use millpond_operator::functions::window::{PerWindow, Window, WindowStates};
/// use millpond_serializer::FlinkKey;
/// use millpond_state::ValueState;
///
/// #[derive(Clone)]
/// struct FirstAndEveryHundredth;
///
/// impl<T, W: Window> Trigger<T, W> for FirstAndEveryHundredth {
///     type State = PerWindow<ValueState<i64, W>, W>;
///
///     fn open<K: FlinkKey>(&self, states: &WindowStates<'_, K, W>) -> Result<Self::State> {
///         states.value_state("seen")
///     }
///
///     fn on_element(
///         &self,
///         seen: &mut Self::State,
///         _record: &T,
///         _timestamp: i64,
///         _window: &W,
///         _context: &TriggerContext<'_, W>,
///     ) -> Result<TriggerResult> {
///         let before = seen.current().value().unwrap_or(0);
///         seen.current().update(before + 1);
///         Ok(if before % 100 == 0 { TriggerResult::Fire } else { TriggerResult::Continue })
///     }
///
///     fn clear(
///         &self,
///         seen: &mut Self::State,
///         _window: &W,
///         _context: &TriggerContext<'_, W>,
///     ) -> Result<()> {
///         seen.current().clear();
///         Ok(())
///     }
/// }
/// ```
pub trait Trigger<T, W: Window>: Clone + Send + Sync + 'static {
    /// Handles of what it remembers per key and window.
    type State: 'static;

    /// Registers what it remembers.
    ///
    /// # Errors
    ///
    /// A name is taken, or restored state of this name has another type.
    fn open<K: FlinkKey>(&self, states: &WindowStates<'_, K, W>) -> Result<Self::State>;

    /// A record was added to `window`; `timestamp` is in milliseconds, or
    /// [`crate::NO_TIMESTAMP`].
    ///
    /// # Errors
    ///
    /// Any error fails the job with its message, here as below.
    fn on_element(
        &self,
        state: &mut Self::State,
        record: &T,
        timestamp: i64,
        window: &W,
        context: &TriggerContext<'_, W>,
    ) -> Result<TriggerResult>;

    /// An event-time timer of `window` has fired.
    ///
    /// # Errors
    ///
    /// As [`Trigger::on_element`].
    fn on_event_time(
        &self,
        _state: &mut Self::State,
        _time: i64,
        _window: &W,
        _context: &TriggerContext<'_, W>,
    ) -> Result<TriggerResult> {
        Ok(TriggerResult::Continue)
    }

    /// A processing-time timer of `window` has fired.
    ///
    /// # Errors
    ///
    /// As [`Trigger::on_element`].
    fn on_processing_time(
        &self,
        _state: &mut Self::State,
        _time: i64,
        _window: &W,
        _context: &TriggerContext<'_, W>,
    ) -> Result<TriggerResult> {
        Ok(TriggerResult::Continue)
    }

    /// The window ends: forget all state and timers of it.
    ///
    /// # Errors
    ///
    /// As [`Trigger::on_element`].
    fn clear(
        &self,
        state: &mut Self::State,
        window: &W,
        context: &TriggerContext<'_, W>,
    ) -> Result<()>;

    /// Whether [`Trigger::on_merge`] does what merging windows need.
    fn can_merge(&self) -> bool {
        false
    }

    /// The windows in `merged` have become `window`: take over what is remembered of them.
    ///
    /// # Errors
    ///
    /// As [`Trigger::on_element`].
    fn on_merge(
        &self,
        _state: &mut Self::State,
        _window: &W,
        _merged: &[W],
        _context: &TriggerContext<'_, W>,
    ) -> Result<()> {
        Ok(())
    }
}

/// What a trigger may ask and do about one window of the current key.
pub struct TriggerContext<'a, W> {
    pub(super) timers: &'a TimerHandle<W>,
    pub(super) clock: &'a dyn Clock,
    pub(super) watermark: i64,
    pub(super) window: W,
}

impl<W: Window> TriggerContext<'_, W> {
    /// The watermark in milliseconds; `i64::MIN` before the first.
    pub fn current_watermark(&self) -> i64 {
        self.watermark
    }

    /// The time of the machine in milliseconds since 1970.
    pub fn current_processing_time(&self) -> i64 {
        self.clock.now_ms() as i64
    }

    /// Has [`Trigger::on_event_time`] called once the watermark reaches `timestamp`.
    pub fn register_event_time_timer(&self, timestamp: i64) {
        self.timers.register_event_time(&self.window, timestamp);
    }

    /// Deletes a timer; without effect if there is none.
    pub fn delete_event_time_timer(&self, timestamp: i64) {
        self.timers.delete_event_time(&self.window, timestamp);
    }

    /// Has [`Trigger::on_processing_time`] called once the machine's time reaches `timestamp`.
    pub fn register_processing_time_timer(&self, timestamp: i64) {
        self.timers
            .register_processing_time(&self.window, timestamp);
    }

    /// Deletes a timer; without effect if there is none.
    pub fn delete_processing_time_timer(&self, timestamp: i64) {
        self.timers.delete_processing_time(&self.window, timestamp);
    }
}
