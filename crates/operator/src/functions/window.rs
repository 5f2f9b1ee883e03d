//! Tumbling event-time windows with reduce.
//!
//! The window's value is the reducing state `window-contents` in the namespace of the window, its
//! end a timer of the service `window-timers`, so that a window job moves to Flink and back.
//! Source: Flink 2.3.0, classes `WindowOperator` and `TumblingEventTimeWindows`.

use std::sync::Arc;
use std::time::Duration;

use millpond_serializer::{FlinkType, TimeWindow};
use millpond_state::{KeyedBackend, ReducingState, TimerHandle, TimerService};
use millpond_types::KeyGroup;

use crate::batch::{Batch, Data, downcast};
use crate::context::{OpenContext, Restores, SnapshotContext};
use crate::element::{Element, NO_TIMESTAMP};
use crate::error::{FunctionError, Result};
use crate::functions::keyed::TIMERS_PER_SLICE;
use crate::functions::restore::restore_keyed;
use crate::operator::{Operator, OperatorSnapshot};
use crate::output::{Collector, Output};
use crate::partition::KeySelector;

/// Windows of one length that follow each other without a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TumblingEventTimeWindows {
    size_ms: i64,
    offset_ms: i64,
}

impl TumblingEventTimeWindows {
    /// Windows of `size`, aligned to 1970-01-01T00:00Z.
    ///
    /// # Panics
    ///
    /// If `size` is less than a millisecond.
    pub fn of(size: Duration) -> Self {
        let size_ms = size.as_millis() as i64;
        assert!(size_ms > 0, "a window must be at least 1 ms long");
        TumblingEventTimeWindows {
            size_ms,
            offset_ms: 0,
        }
    }

    /// Shifts all windows, for days that do not begin at midnight UTC.
    #[must_use]
    pub fn with_offset(mut self, offset: Duration) -> Self {
        self.offset_ms = offset.as_millis() as i64 % self.size_ms;
        self
    }

    /// The window that a timestamp falls into.
    pub fn assign(&self, timestamp: i64) -> TimeWindow {
        let start = timestamp - (timestamp - self.offset_ms).rem_euclid(self.size_ms);
        TimeWindow {
            start,
            end: start + self.size_ms,
        }
    }
}

struct Opened<K: millpond_serializer::FlinkKey, T> {
    keyed: KeyedBackend<K>,
    contents: ReducingState<T, TimeWindow>,
    timers: TimerService<K, TimeWindow>,
    handle: TimerHandle<TimeWindow>,
    max_parallelism: u32,
}

/// Reduces the records of each key and window, and emits when the watermark passes the window.
pub struct WindowReduceOperator<T, S: KeySelector<T>, R, E, Out> {
    selector: Arc<S>,
    assigner: TumblingEventTimeWindows,
    reduce: Arc<R>,
    emit: Arc<E>,
    opened: Option<Opened<S::Key, T>>,
    collector: Collector<Out>,
    firing: Option<i64>,
    watermark: i64,
    late_records: u64,
}

impl<T, S, R, E, Out> WindowReduceOperator<T, S, R, E, Out>
where
    T: Data + FlinkType,
    S: KeySelector<T>,
    R: Fn(&T, &T) -> T + 'static,
    E: Fn(&S::Key, TimeWindow, T) -> Out,
    Out: Data,
{
    /// `emit` makes the result of a key, a window and its reduced value.
    pub fn new(
        selector: Arc<S>,
        assigner: TumblingEventTimeWindows,
        reduce: Arc<R>,
        emit: Arc<E>,
    ) -> Self {
        WindowReduceOperator {
            selector,
            assigner,
            reduce,
            emit,
            opened: None,
            collector: Collector::default(),
            firing: None,
            watermark: i64::MIN,
            late_records: 0,
        }
    }

    fn add(&mut self, batch: Batch<T>) -> Result<()> {
        let opened = self.opened.as_mut().expect("an operator is opened first");
        let Batch {
            rows,
            timestamps,
            key_groups,
        } = batch;
        for (index, row) in rows.into_iter().enumerate() {
            let timestamp = timestamps.get(index).copied().unwrap_or(NO_TIMESTAMP);
            if timestamp == NO_TIMESTAMP {
                return Err(FunctionError::new(
                    "Record has Long.MIN_VALUE timestamp (= no timestamp marker); \
                     call assign_timestamps_and_watermarks before the window",
                ));
            }
            let window = self.assigner.assign(timestamp);
            let last = window.end - 1;
            if last <= self.watermark {
                self.late_records += 1;
                continue;
            }
            {
                let key = self.selector.key(&row);
                let group = match key_groups.get(index) {
                    Some(group) => KeyGroup(*group),
                    None => {
                        use millpond_serializer::FlinkKey;
                        KeyGroup::of_hash(key.hash_code(), opened.max_parallelism)
                    }
                };
                opened.keyed.set_current_key(&key, group);
            }
            opened.contents.set_namespace(window);
            opened.contents.add(row);
            opened.handle.register_event_time(&window, last);
        }
        Ok(())
    }
}

impl<T, S, R, E, Out> Operator for WindowReduceOperator<T, S, R, E, Out>
where
    T: Data + FlinkType,
    S: KeySelector<T>,
    R: Fn(&T, &T) -> T + 'static,
    E: Fn(&S::Key, TimeWindow, T) -> Out,
    Out: Data,
{
    fn open(&mut self, context: OpenContext) -> Result<()> {
        context.check_restored(Restores::KeyedState)?;
        let info = context.info;
        let keyed = KeyedBackend::new(info.max_parallelism, info.key_groups());
        if let Some(restored) = &context.restored {
            restore_keyed(&keyed, restored)?;
        }
        let reduce = Arc::clone(&self.reduce);
        let window = TimeWindow { start: 0, end: 0 };
        let contents =
            keyed.reducing_state_in("window-contents", window, move |a: &T, b: &T| reduce(a, b))?;
        let timers = keyed.timers("window-timers")?;
        self.opened = Some(Opened {
            handle: timers.handle(),
            timers,
            contents,
            keyed,
            max_parallelism: info.max_parallelism,
        });
        Ok(())
    }

    fn process(&mut self, _input: usize, element: Element, output: &mut Output) -> Result<()> {
        match element {
            Element::Records(batch) => self.add(downcast(batch)),
            Element::Watermark(watermark) => {
                self.watermark = watermark;
                self.firing = Some(watermark);
                self.resume(output)
            }
            Element::Idle(_) | Element::EndOfData => Ok(()),
        }
    }

    fn is_paused(&self) -> bool {
        self.firing.is_some()
    }

    fn resume(&mut self, output: &mut Output) -> Result<()> {
        let Some(watermark) = self.firing else {
            return Ok(());
        };
        let opened = self.opened.as_mut().expect("an operator is opened first");
        for _ in 0..TIMERS_PER_SLICE {
            if self.collector.is_full() {
                break;
            }
            let Some(timer) = opened.timers.pop_event_timer(watermark) else {
                self.firing = None;
                break;
            };
            opened
                .keyed
                .set_current_key(&timer.key, opened.keyed.key_group(&timer.key));
            opened.contents.set_namespace(timer.namespace);
            if let Some(value) = opened.contents.get() {
                self.collector.set_timestamp(timer.namespace.end - 1);
                self.collector
                    .collect((self.emit)(&timer.key, timer.namespace, value));
                opened.contents.clear();
            }
        }
        self.collector.flush(output);
        if self.firing.is_none() {
            output.watermark(watermark);
        }
        Ok(())
    }

    fn snapshot(&mut self, _context: SnapshotContext) -> Result<OperatorSnapshot> {
        let opened = self.opened.as_mut().expect("an operator is opened first");
        Ok(OperatorSnapshot {
            keyed: Some(opened.keyed.freeze()),
            ..OperatorSnapshot::default()
        })
    }

    fn maintain(&mut self) -> bool {
        self.opened
            .as_ref()
            .is_some_and(|opened| opened.keyed.maintain())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_meet_without_a_gap_on_both_sides_of_1970() {
        let windows = TumblingEventTimeWindows::of(Duration::from_secs(1));
        for timestamp in [-1001, -1000, -1, 0, 999, 1000] {
            let window = windows.assign(timestamp);
            assert!(
                window.start <= timestamp && timestamp < window.end,
                "{timestamp}"
            );
            assert_eq!(window.start.rem_euclid(1000), 0);
        }
        let shifted = windows.with_offset(Duration::from_millis(300));
        assert_eq!(shifted.assign(299).end, 300);
        assert_eq!(shifted.assign(300).start, 300);
    }
}
