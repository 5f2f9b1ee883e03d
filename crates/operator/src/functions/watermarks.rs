//! Event time: timestamps and watermarks, assigned behind a source.

use std::sync::Arc;
use std::time::Duration;

use millpond_state::StateDescription;
use millpond_types::Clock;

use crate::batch::{Batch, Data, downcast};
use crate::context::{OpenContext, Restores, SnapshotContext};
use crate::element::{Element, MAX_WATERMARK};
use crate::error::Result;
use crate::operator::{Operator, OperatorSnapshot};
use crate::output::{Output, Port};

/// How timestamps and watermarks are made, with Flink's words.
pub struct WatermarkStrategy<T> {
    timestamp: Arc<dyn Fn(&T) -> i64 + Send + Sync>,
    out_of_orderness_ms: i64,
    idle_after: Option<Duration>,
}

impl<T> Clone for WatermarkStrategy<T> {
    fn clone(&self) -> Self {
        WatermarkStrategy {
            timestamp: Arc::clone(&self.timestamp),
            out_of_orderness_ms: self.out_of_orderness_ms,
            idle_after: self.idle_after,
        }
    }
}

impl<T: Data> WatermarkStrategy<T> {
    /// Records come at most `bound` behind the newest before them; `timestamp` is in milliseconds.
    pub fn for_bounded_out_of_orderness(
        bound: Duration,
        timestamp: impl Fn(&T) -> i64 + Send + Sync + 'static,
    ) -> Self {
        WatermarkStrategy {
            timestamp: Arc::new(timestamp),
            out_of_orderness_ms: bound.as_millis() as i64,
            idle_after: None,
        }
    }

    /// Timestamps never fall.
    pub fn for_monotonous_timestamps(
        timestamp: impl Fn(&T) -> i64 + Send + Sync + 'static,
    ) -> Self {
        Self::for_bounded_out_of_orderness(Duration::ZERO, timestamp)
    }

    /// A source subtask without records for this long holds no watermark back.
    #[must_use]
    pub fn with_idleness(mut self, idle_after: Duration) -> Self {
        self.idle_after = Some(idle_after);
        self
    }
}

/// Gives records their timestamps and emits watermarks at an interval.
pub struct WatermarksOperator<T> {
    strategy: WatermarkStrategy<T>,
    interval_ms: u64,
    clock: Option<Arc<dyn Clock>>,
    /// The highest timestamp seen.
    highest: Option<i64>,
    emitted: i64,
    next_emission_ms: u64,
    last_record_ms: u64,
    idle: bool,
}

impl<T: Data> WatermarksOperator<T> {
    /// Emits every `interval` (Flink's `pipeline.auto-watermark-interval`).
    pub fn new(strategy: WatermarkStrategy<T>, interval: Duration) -> Self {
        WatermarksOperator {
            strategy,
            interval_ms: (interval.as_millis() as u64).max(1),
            clock: None,
            highest: None,
            emitted: i64::MIN,
            next_emission_ms: 0,
            last_record_ms: 0,
            idle: false,
        }
    }

    fn now_ms(&self) -> u64 {
        self.clock.as_ref().map_or(0, |clock| clock.now_ms())
    }

    fn emit(&mut self, output: &mut Output) {
        let Some(highest) = self.highest else { return };
        let watermark = highest
            .saturating_sub(self.strategy.out_of_orderness_ms)
            .saturating_sub(1);
        if watermark > self.emitted {
            self.emitted = watermark;
            output.watermark(watermark);
        }
    }
}

impl<T: Data> Operator for WatermarksOperator<T> {
    fn open(&mut self, context: OpenContext) -> Result<()> {
        context.check_restored(Restores::Nothing)?;
        self.clock = Some(context.clock);
        let now_ms = self.now_ms();
        self.next_emission_ms = now_ms + self.interval_ms;
        self.last_record_ms = now_ms;
        Ok(())
    }

    fn state(&self) -> StateDescription {
        StateDescription::stateless()
    }

    fn process(&mut self, _input: usize, element: Element, output: &mut Output) -> Result<()> {
        match element {
            Element::Records(batch) => {
                let Batch { rows, .. } = downcast::<T>(batch);
                let timestamps: Vec<i64> = rows
                    .iter()
                    .map(|row| (self.strategy.timestamp)(row))
                    .collect();
                self.highest = self.highest.max(timestamps.iter().copied().max());
                if self.idle {
                    self.idle = false;
                    output.push(Port::Main, Element::Idle(false));
                }
                self.last_record_ms = self.now_ms();
                let batch = Batch {
                    rows,
                    timestamps,
                    key_groups: Vec::new(),
                };
                output.push(Port::Main, Element::Records(Box::new(batch)));
            }
            // The one watermark that a source makes: its end.
            Element::Watermark(MAX_WATERMARK) => output.watermark(MAX_WATERMARK),
            Element::Watermark(_) | Element::Idle(_) | Element::EndOfData => {}
        }
        Ok(())
    }

    fn held_back(&mut self, now_ms: u64) {
        self.last_record_ms = now_ms;
    }

    fn next_processing_time(&self) -> Option<u64> {
        Some(self.next_emission_ms)
    }

    fn on_processing_time(&mut self, now_ms: u64, output: &mut Output) -> Result<()> {
        self.next_emission_ms = now_ms + self.interval_ms;
        self.emit(output);
        if let Some(idle_after) = self.strategy.idle_after
            && !self.idle
            && now_ms.saturating_sub(self.last_record_ms) >= idle_after.as_millis() as u64
        {
            self.idle = true;
            output.push(Port::Main, Element::Idle(true));
        }
        Ok(())
    }

    fn snapshot(&mut self, _context: SnapshotContext) -> Result<OperatorSnapshot> {
        Ok(OperatorSnapshot::default())
    }
}
