//! Stateless functions of two inputs.

use std::sync::Arc;

use super::waiting::Waiting;
use millpond_state::StateDescription;

use crate::batch::Data;
use crate::context::{OpenContext, Restores, SnapshotContext};
use crate::element::Element;
use crate::error::Result;
use crate::functions::stateless::forward;
use crate::operator::{Operator, OperatorSnapshot};
use crate::output::{Collector, Output};

/// What one record of either input has become, as far as it is not emitted.
enum Current<A, B> {
    First(A),
    Second(B),
}

/// Turns each record of two inputs into any number of records; pauses in the middle of one that
/// makes many.
pub struct CoFlatMapOperator<F, G, A, B, I: IntoIterator, J: IntoIterator> {
    first: Arc<F>,
    second: Arc<G>,
    collector: Collector<I::Item>,
    waiting: Waiting<A, B>,
    current: Option<Current<I::IntoIter, J::IntoIter>>,
}

impl<F, G, A, B, I, J> CoFlatMapOperator<F, G, A, B, I, J>
where
    I: IntoIterator<Item: Data>,
    J: IntoIterator,
{
    /// Emits everything that `first` and `second` return for the records of their inputs.
    pub fn new(first: Arc<F>, second: Arc<G>) -> Self {
        CoFlatMapOperator {
            first,
            second,
            collector: Collector::default(),
            waiting: Waiting::default(),
            current: None,
        }
    }
}

impl<F, G, A, B, I, J> Operator for CoFlatMapOperator<F, G, A, B, I, J>
where
    A: Data,
    B: Data,
    F: Fn(A) -> I,
    G: Fn(B) -> J,
    I: IntoIterator<Item: Data>,
    J: IntoIterator<Item = I::Item>,
{
    fn open(&mut self, context: OpenContext) -> Result<()> {
        context.check_restored(Restores::Nothing)
    }

    fn state(&self) -> StateDescription {
        StateDescription::stateless()
    }

    fn process(&mut self, input: usize, element: Element, output: &mut Output) -> Result<()> {
        let Element::Records(batch) = element else {
            forward(element, output);
            return Ok(());
        };
        self.waiting = Waiting::new(input, batch);
        self.resume(output)
    }

    fn is_paused(&self) -> bool {
        self.current.is_some() || !self.waiting.is_empty()
    }

    fn resume(&mut self, output: &mut Output) -> Result<()> {
        while !self.collector.is_full() {
            let record = match &mut self.current {
                Some(Current::First(records)) => records.next(),
                Some(Current::Second(records)) => records.next(),
                None => None,
            };
            if let Some(record) = record {
                self.collector.collect(record);
                continue;
            }
            let (timestamp, current) = match &mut self.waiting {
                Waiting::First(rows) => match rows.next() {
                    Some(row) => {
                        let records = (self.first)(row.value).into_iter();
                        (row.timestamp, Current::First(records))
                    }
                    None => break,
                },
                Waiting::Second(rows) => match rows.next() {
                    Some(row) => {
                        let records = (self.second)(row.value).into_iter();
                        (row.timestamp, Current::Second(records))
                    }
                    None => break,
                },
            };
            self.collector.set_timestamp(timestamp);
            self.current = Some(current);
        }
        if !self.collector.is_full() {
            // The last record has given all that it became.
            self.current = None;
        }
        self.collector.flush(output);
        Ok(())
    }

    fn snapshot(&mut self, _context: SnapshotContext) -> Result<OperatorSnapshot> {
        Ok(OperatorSnapshot::default())
    }
}
