//! Input A: a source function that keeps its offsets in operator list state.

use std::path::PathBuf;
use std::sync::Arc;

use millpond::prelude::{
    Collector, FunctionOpenContext, FunctionResult, InputStatus, OperatorListState, SourceFunction,
};
use millpond::types::Clock;
use millpond_exactness::workload::{Event, Input, SPLITS, event};

use crate::arguments::Arguments;

/// Makes the records of some splits, always the lowest number next, so that event time rises
/// whatever splits a subtask has got.
pub(crate) struct Numbers {
    offsets: OperatorListState<i64>,
    /// The next number of each split; number n belongs to split n modulo the number of splits.
    next: Vec<u64>,
    end: u64,
    endless: bool,
    /// The record in front of which it stops, until a file is there.
    hold: Option<(u64, PathBuf)>,
    keys: u64,
    /// Records per second of this subtask.
    rate: Option<f64>,
    started_ms: u64,
    emitted: u64,
    clock: Arc<dyn Clock>,
}

impl Numbers {
    pub(crate) fn open(
        context: &mut FunctionOpenContext<'_>,
        arguments: &Arguments,
    ) -> FunctionResult<Self> {
        let offsets = context.operator_list_state::<i64>("offsets")?;
        let info = context.info();
        let (subtask, parallelism) = (u64::from(info.subtask), u64::from(info.parallelism));
        let next: Vec<u64> = match context.restored_checkpoint() {
            Some(_) => offsets.get().iter().map(|next| *next as u64).collect(),
            None => (0..SPLITS)
                .filter(|split| split % parallelism == subtask)
                .collect(),
        };
        let clock = context.clock();
        let hold_at = arguments
            .hold_at
            .unwrap_or(arguments.records_a.saturating_sub(1));
        let share = next.len() as f64 / SPLITS as f64;
        Ok(Numbers {
            offsets,
            next,
            end: arguments.records_a,
            endless: arguments.endless,
            hold: arguments.hold.clone().map(|file| (hold_at, file)),
            keys: arguments.keys,
            rate: arguments.rate.map(|rate| rate as f64 * share),
            started_ms: clock.now_ms(),
            emitted: 0,
            clock,
        })
    }

    /// The number in front of which it stops for now.
    fn reach(&mut self) -> u64 {
        self.hold.take_if(|(_, file)| file.exists());
        let hold_at = self.hold.as_ref().map(|(at, _)| *at);
        hold_at.unwrap_or(self.end).min(self.end)
    }

    fn allowed(&self, limit: usize) -> u64 {
        let Some(rate) = self.rate else {
            return limit as u64;
        };
        let elapsed_s = self.clock.now_ms().saturating_sub(self.started_ms) as f64 / 1000.0;
        ((elapsed_s * rate) as u64)
            .saturating_sub(self.emitted)
            .min(limit as u64)
    }
}

impl SourceFunction for Numbers {
    type Out = Event;

    fn poll_next(
        &mut self,
        limit: usize,
        out: &mut Collector<Event>,
    ) -> FunctionResult<InputStatus> {
        let (reach, allowed) = (self.reach(), self.allowed(limit));
        let soon = InputStatus::NothingAvailable(Some(self.clock.now_ms() + 1));
        for _ in 0..allowed {
            let lowest = self.next.iter_mut().filter(|next| **next < reach).min();
            let Some(next) = lowest else {
                return Ok(match (self.hold.is_some(), self.endless) {
                    (true, _) => soon,
                    (false, true) => InputStatus::NothingAvailable(None),
                    (false, false) => InputStatus::EndOfInput,
                });
            };
            out.collect(event(Input::A, *next, self.keys));
            *next += SPLITS;
            self.emitted += 1;
        }
        let is_over = self.next.iter().all(|next| *next >= reach) && self.hold.is_none();
        if allowed == 0 && is_over && !self.endless {
            return Ok(InputStatus::EndOfInput);
        }
        Ok(match allowed {
            0 => soon,
            _ => InputStatus::MoreAvailable,
        })
    }

    fn snapshot_state(&mut self, _checkpoint: i64) -> FunctionResult<()> {
        self.offsets
            .update(self.next.iter().map(|next| *next as i64));
        Ok(())
    }

    fn pending_records(&self) -> Option<u64> {
        Some(
            self.next
                .iter()
                .map(|next| self.end.saturating_sub(*next).div_ceil(SPLITS))
                .sum(),
        )
    }
}
