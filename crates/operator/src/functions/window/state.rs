//! State per key and window, and where window functions register it.

use std::cell::Cell;
use std::ops::Deref;
use std::rc::Rc;

use millpond_serializer::{FlinkKey, FlinkType, Namespace};
use millpond_state::{
    AggregateFunction, AggregatingState, KeyedBackend, ListState, MapState, ReducingState,
    ValueState,
};

use super::Window;
use crate::error::{FunctionError, Result};
use crate::functions::keyed::KeyedOpenContext;

/// State of which each window of a key has its own.
///
/// It follows the operator: [`PerWindow::current`] is that of the window being worked on.
pub struct PerWindow<S, W> {
    state: S,
    window: Rc<Cell<W>>,
}

impl<S: OfNamespace<W>, W: Window> PerWindow<S, W> {
    /// The state of the window that is being worked on.
    #[inline]
    pub fn current(&mut self) -> &mut S {
        self.state.choose(self.window.get());
        &mut self.state
    }

    fn of(&mut self, window: W) -> &mut S {
        self.state.choose(window);
        &mut self.state
    }
}

impl<V: FlinkType, W: Window> PerWindow<ReducingState<V, W>, W> {
    /// Moves what the windows in `merged` have into the current window.
    pub fn merge(&mut self, merged: &[W]) {
        let into = self.window.get();
        for window in merged.iter().filter(|window| **window != into) {
            let from = self.of(*window);
            if let Some(value) = from.get() {
                from.clear();
                self.of(into).add(value);
            }
        }
    }
}

impl<T: FlinkType, W: Window> PerWindow<ListState<T, W>, W> {
    /// Moves what the windows in `merged` have to the end of the current window's list.
    pub fn merge(&mut self, merged: &[W]) {
        let into = self.window.get();
        for window in merged.iter().filter(|window| **window != into) {
            let from = self.of(*window);
            let elements = from.get();
            from.clear();
            self.of(into).add_all(elements);
        }
    }
}

impl<F: AggregateFunction, W: Window> PerWindow<AggregatingState<F, W>, W> {
    /// Merges what the windows in `merged` have into the current window.
    pub fn merge(&mut self, merged: &[W]) {
        let into = self.window.get();
        for window in merged.iter().filter(|window| **window != into) {
            let from = self.of(*window);
            if let Some(accumulator) = from.accumulator() {
                from.clear();
                self.of(into).merge(accumulator);
            }
        }
    }
}

/// A state handle whose namespace can be chosen.
pub trait OfNamespace<N> {
    /// Has all other methods work in `namespace`.
    fn choose(&mut self, namespace: N);
}

impl<V: FlinkType, N: Namespace> OfNamespace<N> for ValueState<V, N> {
    fn choose(&mut self, namespace: N) {
        self.set_namespace(namespace);
    }
}

impl<V: FlinkType, N: Namespace> OfNamespace<N> for ReducingState<V, N> {
    fn choose(&mut self, namespace: N) {
        self.set_namespace(namespace);
    }
}

impl<T: FlinkType, N: Namespace> OfNamespace<N> for ListState<T, N> {
    fn choose(&mut self, namespace: N) {
        self.set_namespace(namespace);
    }
}

impl<UK: FlinkType + Ord, UV: FlinkType, N: Namespace> OfNamespace<N> for MapState<UK, UV, N> {
    fn choose(&mut self, namespace: N) {
        self.set_namespace(namespace);
    }
}

impl<F: AggregateFunction, N: Namespace> OfNamespace<N> for AggregatingState<F, N> {
    fn choose(&mut self, namespace: N) {
        self.set_namespace(namespace);
    }
}

/// Registers state per key and window.
pub struct WindowStates<'a, K: FlinkKey, W> {
    keyed: &'a KeyedBackend<K>,
    window: Rc<Cell<W>>,
}

impl<'a, K: FlinkKey, W: Window> WindowStates<'a, K, W> {
    pub(crate) fn new(keyed: &'a KeyedBackend<K>, window: Rc<Cell<W>>) -> Self {
        WindowStates { keyed, window }
    }

    fn per_window<S>(&self, state: S) -> PerWindow<S, W> {
        PerWindow {
            state,
            window: Rc::clone(&self.window),
        }
    }

    /// One value per key and window.
    ///
    /// # Errors
    ///
    /// The name is taken, or restored state of this name has another type.
    pub fn value_state<V: FlinkType>(&self, name: &str) -> Result<PerWindow<ValueState<V, W>, W>> {
        Ok(self.per_window(self.keyed.value_state_in(name, W::default())?))
    }

    /// A list per key and window.
    ///
    /// # Errors
    ///
    /// As [`WindowStates::value_state`].
    pub fn list_state<T: FlinkType>(&self, name: &str) -> Result<PerWindow<ListState<T, W>, W>> {
        Ok(self.per_window(self.keyed.list_state_in(name, W::default())?))
    }

    /// A map per key and window.
    ///
    /// # Errors
    ///
    /// As [`WindowStates::value_state`].
    pub fn map_state<UK: FlinkType + Ord, UV: FlinkType>(
        &self,
        name: &str,
    ) -> Result<PerWindow<MapState<UK, UV, W>, W>> {
        Ok(self.per_window(self.keyed.map_state_in(name, W::default())?))
    }

    /// A value per key and window into which others are reduced.
    ///
    /// # Errors
    ///
    /// As [`WindowStates::value_state`].
    pub fn reducing_state<V: FlinkType>(
        &self,
        name: &str,
        reduce: impl Fn(&V, &V) -> V + 'static,
    ) -> Result<PerWindow<ReducingState<V, W>, W>> {
        let state = self.keyed.reducing_state_in(name, W::default(), reduce)?;
        Ok(self.per_window(state))
    }

    /// An accumulator per key and window, to which values are added.
    ///
    /// # Errors
    ///
    /// As [`WindowStates::value_state`].
    pub fn aggregating_state<F: AggregateFunction>(
        &self,
        name: &str,
        function: F,
    ) -> Result<PerWindow<AggregatingState<F, W>, W>> {
        let state = self.keyed.aggregating_in(name, W::default(), function)?;
        Ok(self.per_window(state))
    }
}

/// Where a window function registers its state: that of keys by the methods of
/// [`KeyedOpenContext`] (Flink's `globalState`), that of windows by
/// [`WindowOpenContext::window_state`].
pub struct WindowOpenContext<'c, 'a, K: FlinkKey, W> {
    pub(super) keyed: &'c KeyedOpenContext<'a, K>,
    pub(super) states: WindowStates<'a, K, W>,
    pub(super) merging: bool,
}

impl<'a, K: FlinkKey, W> Deref for WindowOpenContext<'_, 'a, K, W> {
    type Target = KeyedOpenContext<'a, K>;

    fn deref(&self) -> &KeyedOpenContext<'a, K> {
        self.keyed
    }
}

impl<'a, K: FlinkKey, W: Window> WindowOpenContext<'_, 'a, K, W> {
    /// Registers state per key and window; a function clears it in
    /// [`super::ProcessWindowFunction::clear`].
    ///
    /// # Errors
    ///
    /// The windows merge: state of one window would have no place in another.
    pub fn window_state(&self) -> Result<&WindowStates<'a, K, W>> {
        if self.merging {
            return Err(FunctionError::new(
                "Per-window state is not allowed when using merging windows; use state of the key",
            ));
        }
        Ok(&self.states)
    }
}
