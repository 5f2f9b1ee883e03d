//! Value state: one value per key.

use crate::keyed_table::Cells;
use millpond_serializer::{FlinkType, Namespace, VoidNamespace};
use std::fmt;
use std::rc::Rc;

/// One value for the current key.
///
/// Each state has one handle, and what changes a value takes it by `&mut`: a closure that looks at
/// a value cannot reach the same state again.
///
/// # Panics
///
/// All methods panic where there is no current key, as in `open`.
pub struct ValueState<V, N = VoidNamespace> {
    cells: Rc<dyn Cells<N, V>>,
    namespace: N,
}

impl<V: FlinkType, N: Namespace> ValueState<V, N> {
    pub(crate) fn new(cells: Rc<dyn Cells<N, V>>, namespace: N) -> Self {
        ValueState { cells, namespace }
    }

    /// Chooses the namespace that all other methods work in.
    pub fn set_namespace(&mut self, namespace: N) {
        self.namespace = namespace;
    }

    /// Returns a copy of the value, or `None` if the key has none.
    #[inline]
    pub fn value(&self) -> Option<V> {
        self.cells.get(&self.namespace)
    }

    /// Lets `read` look at the value without a copy.
    pub fn with<R>(&self, read: impl FnOnce(Option<&V>) -> R) -> R {
        let mut read = Some(read);
        let mut result = None;
        self.cells.read(&self.namespace, &mut |value| {
            result = read.take().map(|read| read(value));
        });
        result.expect("a value is read once")
    }

    /// Sets the value.
    #[inline]
    pub fn update(&mut self, value: V) {
        self.cells.put(&self.namespace, value);
    }

    /// Lets `change` set, change or take the value, with one lookup.
    ///
    /// # Examples
    ///
    /// ```
    /// # use millpond_state::{KeyedBackend, ValueState};
    /// # use millpond_types::KeyGroupRange;
    /// # let backend = KeyedBackend::<i64>::new(128, KeyGroupRange::of_subtask(0, 1, 128));
    /// let mut count: ValueState<i64> = backend.value_state("count")?;
    /// backend.set_current_key(&7, backend.key_group(&7));
    /// let now = count.update_with(|count| *count.insert(count.unwrap_or(0) + 1));
    /// assert_eq!((now, count.value()), (1, Some(1)));
    /// # Ok::<(), millpond_state::Error>(())
    /// ```
    #[inline]
    pub fn update_with<R>(&mut self, change: impl FnOnce(&mut Option<V>) -> R) -> R {
        let mut change = Some(change);
        let mut result = None;
        self.cells.update_with(&self.namespace, &mut |value| {
            result = change.take().map(|change| change(value));
        });
        result.expect("a value is changed once")
    }

    /// Removes the value.
    pub fn clear(&mut self) {
        self.cells.remove(&self.namespace);
    }
}

impl<V, N> fmt::Debug for ValueState<V, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValueState").finish_non_exhaustive()
    }
}
