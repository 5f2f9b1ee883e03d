//! List state: elements per key, in the order in which they were added.

use crate::keyed_table::Cells;
use crate::list_value::ListValue;
use crate::table::Change;
use millpond_serializer::{FlinkType, Namespace, VoidNamespace};
use std::fmt;
use std::rc::Rc;

/// A list for the current key; an empty list and none are the same.
///
/// # Panics
///
/// All methods panic where there is no current key, as in `open`.
pub struct ListState<T: FlinkType, N = VoidNamespace> {
    cells: Rc<dyn Cells<N, ListValue<T>>>,
    namespace: N,
}

impl<T: FlinkType, N: Namespace> ListState<T, N> {
    pub(crate) fn new(cells: Rc<dyn Cells<N, ListValue<T>>>, namespace: N) -> Self {
        ListState { cells, namespace }
    }

    /// Chooses the namespace that all other methods work in.
    pub fn set_namespace(&mut self, namespace: N) {
        self.namespace = namespace;
    }

    /// Returns a copy of the elements.
    pub fn get(&self) -> Vec<T> {
        let mut elements = Vec::new();
        self.cells.read(&self.namespace, &mut |list| {
            elements = list.map_or_else(Vec::new, ListValue::to_vec);
        });
        elements
    }

    /// Calls `visit` for each element without a copy.
    pub fn for_each(&self, mut visit: impl FnMut(&T)) {
        self.cells.read(&self.namespace, &mut |list| {
            if let Some(list) = list {
                list.for_each(&mut visit);
            }
        });
    }

    /// Whether the list has no element.
    pub fn is_empty(&self) -> bool {
        let mut empty = true;
        self.cells.read(&self.namespace, &mut |list| {
            empty = list.is_none_or(ListValue::is_empty)
        });
        empty
    }

    /// Adds an element at the end.
    pub fn add(&mut self, element: T) {
        self.add_all([element]);
    }

    /// Adds elements at the end.
    pub fn add_all(&mut self, elements: impl IntoIterator<Item = T>) {
        // Run before the state is touched: an iterator is the user's code.
        let mut elements: Vec<T> = elements.into_iter().collect();
        if elements.is_empty() {
            return;
        }
        self.cells.modify(&self.namespace, &mut |list| match list {
            Some(list) => {
                list.extend(elements.drain(..));
                Change::Keep
            }
            None => Change::Set(elements.drain(..).collect()),
        });
    }

    /// Replaces all elements.
    pub fn update(&mut self, elements: impl IntoIterator<Item = T>) {
        let list: ListValue<T> = elements.into_iter().collect();
        if list.is_empty() {
            self.cells.remove(&self.namespace);
        } else {
            self.cells.put(&self.namespace, list);
        }
    }

    /// Removes all elements.
    pub fn clear(&mut self) {
        self.cells.remove(&self.namespace);
    }
}

impl<T: FlinkType, N> fmt::Debug for ListState<T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListState").finish_non_exhaustive()
    }
}
