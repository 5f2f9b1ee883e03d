//! Windows: the records of a key, cut into pieces that can be computed.
//!
//! ```text
//! record ─▶ assigner: which windows ─▶ contents: add ─▶ trigger: fire? ─▶ function ─▶ out
//!                                          │  namespace: the window          ▲
//!                          timers "window-timers": trigger, cleanup ─────────┘
//! ```
//!
//! All state has the names, namespaces and serializers of Flink's windows, so that a job with
//! windows moves between the engines:
//!
//! | state | kind | namespace | holds |
//! | --- | --- | --- | --- |
//! | `window-contents` | reducing, aggregating or list | the window | what was added |
//! | `merging-window-set` | list | none | pairs: a merged window, and that in which its contents lie |
//! | `count`, `fire-time` | reducing | the window | state of the triggers |
//! | `window-timers` | timers of both domains | the window | when triggers fire and windows end |
//!
//! Source: Flink 2.3.0, classes `WindowOperator`, `EvictingWindowOperator` and the packages
//! `windowing.assigners` and `windowing.triggers`.

mod contents;
mod evictor;
mod function;
mod global;
mod merging;
mod operator;
mod session;
mod sliding;
mod state;
pub mod trigger;
mod tumbling;

pub use contents::{
    AggregateContents, EvictedContents, ListContents, ReduceContents, WindowContents,
};
pub use evictor::{CountEvictor, Evictor, TimeEvictor};
pub use function::{
    AggregateElements, EachElement, EmitResult, ProcessWindowFunction, ReduceElements, WholeWindow,
    WindowContext, WindowFunction,
};
pub use global::GlobalWindows;
pub use operator::{WindowDefinition, WindowOperator};
pub use session::{EventTimeSessionWindows, ProcessingTimeSessionWindows};
pub use sliding::{SlidingEventTimeWindows, SlidingProcessingTimeWindows};
pub use state::{PerWindow, WindowOpenContext, WindowStates};
pub use tumbling::{TumblingEventTimeWindows, TumblingProcessingTimeWindows};

use std::time::Duration;

use millpond_serializer::{GlobalWindow, Namespace, TimeWindow};

use crate::element::NO_TIMESTAMP;
use crate::error::{FunctionError, Result};
use trigger::Trigger;

/// What records of a key are grouped by. The default value is a placeholder and no window.
pub trait Window: Namespace + Copy + Default {
    /// The last millisecond that belongs to the window: what it emits has this timestamp.
    fn max_timestamp(&self) -> i64;
}

impl Window for TimeWindow {
    fn max_timestamp(&self) -> i64 {
        TimeWindow::max_timestamp(*self)
    }
}

impl Window for GlobalWindow {
    fn max_timestamp(&self) -> i64 {
        GlobalWindow::max_timestamp(*self)
    }
}

/// Says which windows a record belongs to.
pub trait WindowAssigner<T>: Clone + Send + Sync + 'static {
    /// Its windows.
    type Window: Window;
    /// What fires its windows unless the program says otherwise.
    type DefaultTrigger: Trigger<T, Self::Window>;

    /// Whether a window may grow as records come, and then swallow others.
    const MERGING: bool = false;

    /// The name of the operator, for people.
    fn name(&self) -> &'static str;

    /// Whether windows end by the watermark, or else by the clock.
    fn is_event_time(&self) -> bool;

    /// Appends the windows of a record to `windows`; times are in milliseconds.
    ///
    /// # Errors
    ///
    /// The record has no timestamp and needs one.
    fn assign_windows(
        &self,
        record: &T,
        timestamp: i64,
        processing_time: i64,
        windows: &mut Vec<Self::Window>,
    ) -> Result<()>;

    /// What fires its windows unless the program says otherwise.
    fn default_trigger(&self) -> Self::DefaultTrigger;

    /// For a merging assigner: which of `windows` are one window, each such group with what it
    /// becomes. A window that stays alone is not mentioned.
    fn merge_windows(&self, _windows: Vec<Self::Window>) -> Vec<(Self::Window, Vec<Self::Window>)> {
        Vec::new()
    }
}

/// The timestamp of a record, which event time needs.
pub(crate) fn event_time(timestamp: i64) -> Result<i64> {
    if timestamp == NO_TIMESTAMP {
        return Err(FunctionError::new(
            "Record has Long.MIN_VALUE timestamp (= no timestamp marker); \
             call assign_timestamps_and_watermarks before the window",
        ));
    }
    Ok(timestamp)
}

/// A length of time in milliseconds.
///
/// # Panics
///
/// If it is less than one millisecond; `what` names it.
pub(crate) fn at_least_one_ms(length: Duration, what: &str) -> i64 {
    let ms = i64::try_from(length.as_millis()).unwrap_or(i64::MAX);
    assert!(ms > 0, "{what} must be at least 1 ms, found {length:?}");
    ms
}

/// The start of the window of `size_ms` that a timestamp falls into, shifted by `offset_ms`.
pub(crate) fn window_start(timestamp: i64, offset_ms: i64, size_ms: i64) -> i64 {
    timestamp.wrapping_sub(timestamp.wrapping_sub(offset_ms).rem_euclid(size_ms))
}
