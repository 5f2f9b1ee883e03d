//! Aggregating state: an accumulator per key, to which values are added.

use crate::AggregateFunction;
use crate::keyed_table::Cells;
use crate::table::Change;
use millpond_serializer::{Namespace, VoidNamespace};
use std::fmt;
use std::rc::Rc;

/// The aggregation of all values that were added for the current key.
///
/// What lies in snapshots is the accumulator.
///
/// # Panics
///
/// All methods panic where there is no current key, as in `open`.
pub struct AggregatingState<F: AggregateFunction, N = VoidNamespace> {
    cells: Rc<dyn Cells<N, F::Accumulator>>,
    namespace: N,
    function: F,
}

impl<F: AggregateFunction, N: Namespace> AggregatingState<F, N> {
    pub(crate) fn new(cells: Rc<dyn Cells<N, F::Accumulator>>, namespace: N, function: F) -> Self {
        AggregatingState {
            cells,
            namespace,
            function,
        }
    }

    /// Chooses the namespace that all other methods work in.
    pub fn set_namespace(&mut self, namespace: N) {
        self.namespace = namespace;
    }

    /// Returns the result of what was added, or `None` if nothing was.
    pub fn get(&self) -> Option<F::Out> {
        let mut result = None;
        self.cells.read(&self.namespace, &mut |accumulator| {
            result = accumulator.map(|accumulator| self.function.get_result(accumulator));
        });
        result
    }

    /// Returns a copy of the accumulator, or `None` if nothing was added.
    pub fn accumulator(&self) -> Option<F::Accumulator> {
        self.cells.get(&self.namespace)
    }

    /// Adds a value, with one lookup.
    pub fn add(&mut self, value: F::In) {
        let mut value = Some(value);
        let function = &self.function;
        self.cells.modify(&self.namespace, &mut |accumulator| {
            let Some(value) = value.take() else {
                return Change::Keep;
            };
            match accumulator {
                Some(accumulator) => {
                    function.add(value, accumulator);
                    Change::Keep
                }
                None => {
                    let mut accumulator = function.create_accumulator();
                    function.add(value, &mut accumulator);
                    Change::Set(accumulator)
                }
            }
        });
    }

    /// Adds all that another accumulator holds.
    pub fn merge(&mut self, other: F::Accumulator) {
        let mut other = Some(other);
        let function = &self.function;
        self.cells.update_with(&self.namespace, &mut |accumulator| {
            let own = accumulator.take();
            *accumulator = match (own, other.take()) {
                (Some(own), Some(other)) => Some(function.merge(own, other)),
                (one, None) | (None, one) => one,
            };
        });
    }

    /// Removes the accumulator.
    pub fn clear(&mut self) {
        self.cells.remove(&self.namespace);
    }
}

impl<F: AggregateFunction, N> fmt::Debug for AggregatingState<F, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AggregatingState").finish_non_exhaustive()
    }
}
