//! Stateless operators: map, filter, flat map.

use std::marker::PhantomData;
use std::sync::Arc;

use millpond_state::StateDescription;

use crate::batch::{Batch, Data, downcast};
use crate::context::{OpenContext, Restores, SnapshotContext};
use crate::element::{Element, NO_TIMESTAMP};
use crate::error::Result;
use crate::operator::{Operator, OperatorSnapshot};
use crate::output::{Collector, Output, Port};

/// Passes on what is no batch of records: the answer of every operator without timers.
pub(crate) fn forward(element: Element, output: &mut Output) {
    output.push(Port::Main, element);
}

/// One record in, one out.
pub struct MapOperator<F, In, Out> {
    function: Arc<F>,
    types: PhantomData<fn(In) -> Out>,
}

impl<F, In, Out> MapOperator<F, In, Out> {
    /// Runs `function` on every record.
    pub fn new(function: Arc<F>) -> Self {
        MapOperator {
            function,
            types: PhantomData,
        }
    }
}

impl<F: Fn(In) -> Out, In: Data, Out: Data> Operator for MapOperator<F, In, Out> {
    fn open(&mut self, context: OpenContext) -> Result<()> {
        context.check_restored(Restores::Nothing)
    }

    fn state(&self) -> StateDescription {
        StateDescription::stateless()
    }

    fn process(&mut self, _input: usize, element: Element, output: &mut Output) -> Result<()> {
        let Element::Records(batch) = element else {
            forward(element, output);
            return Ok(());
        };
        let Batch {
            rows, timestamps, ..
        } = downcast::<In>(batch);
        let rows = rows.into_iter().map(|row| (self.function)(row)).collect();
        let batch = Batch {
            rows,
            timestamps,
            key_groups: Vec::new(),
        };
        output.push(Port::Main, Element::Records(Box::new(batch)));
        Ok(())
    }

    fn snapshot(&mut self, _context: SnapshotContext) -> Result<OperatorSnapshot> {
        Ok(OperatorSnapshot::default())
    }
}

/// Lets through the records for which a predicate holds.
pub struct FilterOperator<F, T> {
    predicate: Arc<F>,
    types: PhantomData<fn(T)>,
}

impl<F, T> FilterOperator<F, T> {
    /// Keeps a record if `predicate` says so.
    pub fn new(predicate: Arc<F>) -> Self {
        FilterOperator {
            predicate,
            types: PhantomData,
        }
    }
}

impl<F: Fn(&T) -> bool, T: Data> Operator for FilterOperator<F, T> {
    fn open(&mut self, context: OpenContext) -> Result<()> {
        context.check_restored(Restores::Nothing)
    }

    fn state(&self) -> StateDescription {
        StateDescription::stateless()
    }

    fn process(&mut self, _input: usize, element: Element, output: &mut Output) -> Result<()> {
        let Element::Records(batch) = element else {
            forward(element, output);
            return Ok(());
        };
        let Batch {
            mut rows,
            mut timestamps,
            ..
        } = downcast::<T>(batch);
        if timestamps.is_empty() {
            rows.retain(|row| (self.predicate)(row));
        } else {
            let keep: Vec<bool> = rows.iter().map(|row| (self.predicate)(row)).collect();
            let mut flags = keep.iter();
            rows.retain(|_| *flags.next().unwrap_or(&false));
            let mut flags = keep.iter();
            timestamps.retain(|_| *flags.next().unwrap_or(&false));
        }
        if !rows.is_empty() {
            let batch = Batch {
                rows,
                timestamps,
                key_groups: Vec::new(),
            };
            output.push(Port::Main, Element::Records(Box::new(batch)));
        }
        Ok(())
    }

    fn snapshot(&mut self, _context: SnapshotContext) -> Result<OperatorSnapshot> {
        Ok(OperatorSnapshot::default())
    }
}

/// One record in, any number out; pauses in the middle of a record that makes many.
pub struct FlatMapOperator<F, In, I: IntoIterator> {
    function: Arc<F>,
    collector: Collector<I::Item>,
    current: Option<I::IntoIter>,
    waiting: std::vec::IntoIter<In>,
    timestamps: std::vec::IntoIter<i64>,
}

impl<F, In, I> FlatMapOperator<F, In, I>
where
    I: IntoIterator<Item: Data>,
{
    /// Emits everything that `function` returns for a record.
    pub fn new(function: Arc<F>) -> Self {
        FlatMapOperator {
            function,
            collector: Collector::default(),
            current: None,
            waiting: Vec::new().into_iter(),
            timestamps: Vec::new().into_iter(),
        }
    }
}

impl<F, In, I> Operator for FlatMapOperator<F, In, I>
where
    F: Fn(In) -> I,
    In: Data,
    I: IntoIterator<Item: Data>,
{
    fn open(&mut self, context: OpenContext) -> Result<()> {
        context.check_restored(Restores::Nothing)
    }

    fn state(&self) -> StateDescription {
        StateDescription::stateless()
    }

    fn process(&mut self, _input: usize, element: Element, output: &mut Output) -> Result<()> {
        let Element::Records(batch) = element else {
            forward(element, output);
            return Ok(());
        };
        let Batch {
            rows, timestamps, ..
        } = downcast::<In>(batch);
        self.waiting = rows.into_iter();
        self.timestamps = timestamps.into_iter();
        self.resume(output)
    }

    fn is_paused(&self) -> bool {
        self.current.is_some() || self.waiting.len() > 0
    }

    fn resume(&mut self, output: &mut Output) -> Result<()> {
        while !self.collector.is_full() {
            if let Some(records) = &mut self.current {
                match records.next() {
                    Some(record) => self.collector.collect(record),
                    None => self.current = None,
                }
            } else if let Some(row) = self.waiting.next() {
                self.collector
                    .set_timestamp(self.timestamps.next().unwrap_or(NO_TIMESTAMP));
                self.current = Some((self.function)(row).into_iter());
            } else {
                break;
            }
        }
        self.collector.flush(output);
        Ok(())
    }

    fn snapshot(&mut self, _context: SnapshotContext) -> Result<OperatorSnapshot> {
        Ok(OperatorSnapshot::default())
    }
}
