//! Reducing state: one value per key, to which others are added.

use crate::keyed_table::Cells;
use crate::table::Change;
use millpond_serializer::{FlinkType, Namespace, VoidNamespace};
use std::fmt;
use std::rc::Rc;

/// Makes one value of two: the one of the state and the one that is added.
pub(crate) type Reduce<V> = Box<dyn Fn(&V, &V) -> V>;

/// The reduction of all values that were added for the current key.
///
/// # Panics
///
/// All methods panic where there is no current key, as in `open`.
pub struct ReducingState<V, N = VoidNamespace> {
    cells: Rc<dyn Cells<N, V>>,
    namespace: N,
    reduce: Reduce<V>,
}

impl<V: FlinkType, N: Namespace> ReducingState<V, N> {
    pub(crate) fn new(cells: Rc<dyn Cells<N, V>>, namespace: N, reduce: Reduce<V>) -> Self {
        ReducingState {
            cells,
            namespace,
            reduce,
        }
    }

    /// Chooses the namespace that all other methods work in.
    pub fn set_namespace(&mut self, namespace: N) {
        self.namespace = namespace;
    }

    /// Returns a copy of the reduction, or `None` if nothing was added.
    #[inline]
    pub fn get(&self) -> Option<V> {
        self.cells.get(&self.namespace)
    }

    /// Adds a value, with one lookup.
    #[inline]
    pub fn add(&mut self, value: V) {
        let mut value = Some(value);
        let reduce = &self.reduce;
        self.cells.modify(&self.namespace, &mut |current| {
            let Some(added) = value.take() else {
                return Change::Keep;
            };
            match current {
                Some(current) => {
                    *current = reduce(current, &added);
                    Change::Keep
                }
                None => Change::Set(added),
            }
        });
    }

    /// Removes the reduction.
    pub fn clear(&mut self) {
        self.cells.remove(&self.namespace);
    }
}

impl<V, N> fmt::Debug for ReducingState<V, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReducingState").finish_non_exhaustive()
    }
}
