//! List state: elements per key, in the order in which they were added.

use crate::keyed_table::Cells;
use crate::list_value::ListValue;
use crate::table::Change;
use crate::ttl_list::TtlLists;
use millpond_serializer::{FlinkType, Namespace, VoidNamespace};
use std::fmt;
use std::rc::Rc;

/// A list for the current key; an empty list and none are the same.
///
/// # Panics
///
/// All methods panic where there is no current key, as in `open`.
pub struct ListState<T: FlinkType, N = VoidNamespace> {
    lists: Lists<T, N>,
    namespace: N,
}

enum Lists<T: FlinkType, N> {
    Plain(Rc<dyn Cells<N, ListValue<T>>>),
    Ttl(TtlLists<T, N>),
}

impl<T: FlinkType, N: Namespace> ListState<T, N> {
    pub(crate) fn new(cells: Rc<dyn Cells<N, ListValue<T>>>, namespace: N) -> Self {
        ListState {
            lists: Lists::Plain(cells),
            namespace,
        }
    }

    pub(crate) fn with_ttl(lists: TtlLists<T, N>, namespace: N) -> Self {
        ListState {
            lists: Lists::Ttl(lists),
            namespace,
        }
    }

    /// Chooses the namespace that all other methods work in.
    pub fn set_namespace(&mut self, namespace: N) {
        self.namespace = namespace;
    }

    /// Returns a copy of the elements.
    pub fn get(&self) -> Vec<T> {
        let mut elements = Vec::new();
        match &self.lists {
            Lists::Plain(cells) => cells.read(&self.namespace, &mut |list| {
                elements = list.map_or_else(Vec::new, ListValue::to_vec);
            }),
            Lists::Ttl(_) => self.for_each(|element| elements.push(element.clone())),
        }
        elements
    }

    /// Calls `visit` for each element without a copy.
    pub fn for_each(&self, mut visit: impl FnMut(&T)) {
        match &self.lists {
            Lists::Plain(cells) => cells.read(&self.namespace, &mut |list| {
                if let Some(list) = list {
                    list.for_each(&mut visit);
                }
            }),
            Lists::Ttl(lists) => lists.for_each(&self.namespace, &mut visit),
        }
    }

    /// Whether the list has no element.
    pub fn is_empty(&self) -> bool {
        let mut empty = true;
        match &self.lists {
            Lists::Plain(cells) => cells.read(&self.namespace, &mut |list| {
                empty = list.is_none_or(ListValue::is_empty)
            }),
            Lists::Ttl(_) => self.for_each(|_| empty = false),
        }
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
        match &self.lists {
            Lists::Plain(cells) => cells.append(&self.namespace, &mut |list| match list {
                Some(list) => {
                    list.extend(elements.drain(..));
                    Change::Keep
                }
                None => Change::Set(elements.drain(..).collect()),
            }),
            Lists::Ttl(lists) => lists.add_all(&self.namespace, elements),
        }
    }

    /// Replaces all elements.
    pub fn update(&mut self, elements: impl IntoIterator<Item = T>) {
        match &self.lists {
            Lists::Plain(cells) => {
                let list: ListValue<T> = elements.into_iter().collect();
                if list.is_empty() {
                    cells.remove(&self.namespace);
                } else {
                    cells.put(&self.namespace, list);
                }
            }
            Lists::Ttl(lists) => lists.update(&self.namespace, elements.into_iter()),
        }
    }

    /// Removes all elements.
    pub fn clear(&mut self) {
        match &self.lists {
            Lists::Plain(cells) => cells.remove(&self.namespace),
            Lists::Ttl(lists) => lists.clear(&self.namespace),
        }
    }
}

impl<T: FlinkType, N> fmt::Debug for ListState<T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListState").finish_non_exhaustive()
    }
}
