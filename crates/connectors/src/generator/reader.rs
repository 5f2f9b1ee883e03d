//! Emits the records of some splits of a generator.

use std::sync::Arc;

use millpond_operator::source::{InputStatus, SourceReader};
use millpond_operator::{Collector, Data, Result};
use millpond_types::{CheckpointId, Clock};

use super::split::GeneratorSplit;
use crate::rate::RateLimit;

/// Emits the records of its splits in turn, one of each.
pub struct GeneratorReader<F> {
    function: Arc<F>,
    /// Numbers below this are emitted.
    count: u64,
    limit: Option<RateLimit>,
    clock: Arc<dyn Clock>,
    active: Vec<GeneratorSplit>,
    /// The split of `active` whose turn it is.
    turn: usize,
    ended: Vec<GeneratorSplit>,
    no_more_splits: bool,
}

impl<F> GeneratorReader<F> {
    pub(crate) fn new(
        function: Arc<F>,
        count: Option<u64>,
        records_per_s: Option<u64>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let limit =
            records_per_s.map(|records_per_s| RateLimit::new(records_per_s, clock.now_ms()));
        GeneratorReader {
            function,
            count: count.unwrap_or(u64::MAX),
            limit,
            clock,
            active: Vec::new(),
            turn: 0,
            ended: Vec::new(),
            no_more_splits: false,
        }
    }

    /// Emits up to `budget` records; returns how many it had.
    fn emit<T: Data>(&mut self, budget: usize, out: &mut Collector<T>) -> usize
    where
        F: Fn(u64) -> T,
    {
        let mut emitted = 0;
        while emitted < budget && !self.active.is_empty() {
            if self.turn >= self.active.len() {
                self.turn = 0;
            }
            match self.active[self.turn].advance(self.count) {
                Some(number) => {
                    out.collect((self.function)(number));
                    emitted += 1;
                    self.turn += 1;
                }
                None => self.ended.push(self.active.remove(self.turn)),
            }
        }
        emitted
    }
}

impl<T, F> SourceReader<T, GeneratorSplit> for GeneratorReader<F>
where
    T: Data,
    F: Fn(u64) -> T,
{
    fn add_splits(&mut self, splits: Vec<GeneratorSplit>) -> Result<()> {
        self.active.extend(splits);
        // So that at one parallelism numbers come in order, whatever order the splits come in.
        self.active.sort_by_key(GeneratorSplit::next);
        self.turn = 0;
        let own = self.active.len() + self.ended.len();
        if let (Some(limit), Some(split)) = (&mut self.limit, self.active.first()) {
            limit.share(own as u64, u64::from(split.splits()));
        }
        Ok(())
    }

    fn notify_no_more_splits(&mut self) {
        self.no_more_splits = true;
    }

    fn poll_next(&mut self, limit: usize, out: &mut Collector<T>) -> Result<InputStatus> {
        let budget = match &mut self.limit {
            None => limit,
            Some(rate) => limit.min(rate.due(self.clock.now_ms()) as usize),
        };
        let emitted = self.emit(budget, out);
        if let Some(rate) = &mut self.limit {
            rate.emitted(emitted as u64);
        }
        if self.active.is_empty() {
            return Ok(match self.no_more_splits {
                true => InputStatus::EndOfInput,
                false => InputStatus::NothingAvailable(None),
            });
        }
        Ok(match &self.limit {
            // Less than asked for: the rate holds it back.
            Some(rate) if budget < limit => InputStatus::NothingAvailable(rate.next_ms()),
            Some(_) | None => InputStatus::MoreAvailable,
        })
    }

    fn snapshot_state(&mut self, _checkpoint: CheckpointId) -> Result<Vec<GeneratorSplit>> {
        Ok(self.active.iter().chain(&self.ended).cloned().collect())
    }
}
