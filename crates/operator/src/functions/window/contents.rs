//! How the records of a window are kept: reduced, aggregated, or all of them.

use std::marker::PhantomData;
use std::sync::Arc;

use millpond_serializer::{FlinkKey, FlinkType, StreamRecord};
use millpond_state::{AggregateFunction, KeyedBackend, ListState, ReducingState, ValueState};

use super::{Evictor, Window};
use crate::batch::Data;
use crate::element::NO_TIMESTAMP;
use crate::error::Result;

/// The state that holds the contents of windows.
const WINDOW_CONTENTS: &str = "window-contents";

/// A way to keep the records of a window; [`WindowContents::State`] is the state of one subtask.
pub trait WindowContents<W: Window>: Send + Sync + 'static {
    /// The records.
    type In: Data;
    /// What the function gets of a window.
    type Elements;
    /// The handle of the state `window-contents`.
    type State: 'static;

    /// Registers the state.
    ///
    /// # Errors
    ///
    /// Restored state of this name has another type.
    fn open<K: FlinkKey>(&self, keyed: &KeyedBackend<K>) -> Result<Self::State>;

    /// Adds a record to the contents in `namespace`.
    fn add(&self, state: &mut Self::State, namespace: W, record: Self::In, timestamp: i64);

    /// Gives the contents in `namespace` to `emit`, if there are any. `window` is the window that
    /// they are of.
    ///
    /// # Errors
    ///
    /// Whatever `emit` returns.
    fn fire(
        &self,
        state: &mut Self::State,
        namespace: W,
        window: &W,
        emit: impl FnOnce(Self::Elements) -> Result<()>,
    ) -> Result<()>;

    /// Removes the contents in `namespace`.
    fn clear(&self, state: &mut Self::State, namespace: W);

    /// Moves the contents of other namespaces into `namespace`.
    fn merge(&self, state: &mut Self::State, namespace: W, others: &[W]);
}

/// Keeps one value, to which records are reduced.
pub struct ReduceContents<T, R> {
    reduce: Arc<R>,
    records: PhantomData<fn(T)>,
}

impl<T, R> ReduceContents<T, R> {
    /// Reduces by `reduce`.
    pub fn new(reduce: Arc<R>) -> Self {
        ReduceContents {
            reduce,
            records: PhantomData,
        }
    }
}

impl<T, R, W> WindowContents<W> for ReduceContents<T, R>
where
    T: Data + FlinkType,
    R: Fn(&T, &T) -> T + Send + Sync + 'static,
    W: Window,
{
    type In = T;
    type Elements = T;
    type State = ReducingState<T, W>;

    fn open<K: FlinkKey>(&self, keyed: &KeyedBackend<K>) -> Result<Self::State> {
        let reduce = Arc::clone(&self.reduce);
        let reduce = move |a: &T, b: &T| reduce(a, b);
        Ok(keyed.reducing_state_in(WINDOW_CONTENTS, W::default(), reduce)?)
    }

    fn add(&self, state: &mut Self::State, namespace: W, record: T, _timestamp: i64) {
        state.set_namespace(namespace);
        state.add(record);
    }

    fn fire(
        &self,
        state: &mut Self::State,
        namespace: W,
        _window: &W,
        emit: impl FnOnce(T) -> Result<()>,
    ) -> Result<()> {
        state.set_namespace(namespace);
        state.get().map_or(Ok(()), emit)
    }

    fn clear(&self, state: &mut Self::State, namespace: W) {
        state.set_namespace(namespace);
        state.clear();
    }

    fn merge(&self, state: &mut Self::State, namespace: W, others: &[W]) {
        for other in others {
            state.set_namespace(*other);
            if let Some(value) = state.get() {
                state.clear();
                state.set_namespace(namespace);
                state.add(value);
            }
        }
    }
}

/// Keeps the accumulator of an aggregation.
pub struct AggregateContents<A> {
    aggregate: Arc<A>,
}

impl<A> AggregateContents<A> {
    /// Aggregates by `aggregate`.
    pub fn new(aggregate: Arc<A>) -> Self {
        AggregateContents { aggregate }
    }
}

impl<A, W> WindowContents<W> for AggregateContents<A>
where
    A: AggregateFunction<In: Data> + Send + Sync,
    W: Window,
{
    type In = A::In;
    type Elements = A::Out;
    type State = ValueState<A::Accumulator, W>;

    fn open<K: FlinkKey>(&self, keyed: &KeyedBackend<K>) -> Result<Self::State> {
        Ok(keyed.aggregating_state_in(WINDOW_CONTENTS, W::default())?)
    }

    fn add(&self, state: &mut Self::State, namespace: W, record: A::In, _timestamp: i64) {
        state.set_namespace(namespace);
        state.update_with(|accumulator| {
            let accumulator =
                accumulator.get_or_insert_with(|| self.aggregate.create_accumulator());
            self.aggregate.add(record, accumulator);
        });
    }

    fn fire(
        &self,
        state: &mut Self::State,
        namespace: W,
        _window: &W,
        emit: impl FnOnce(A::Out) -> Result<()>,
    ) -> Result<()> {
        state.set_namespace(namespace);
        let result = state.with(|accumulator| Some(self.aggregate.get_result(accumulator?)));
        result.map_or(Ok(()), emit)
    }

    fn clear(&self, state: &mut Self::State, namespace: W) {
        state.set_namespace(namespace);
        state.clear();
    }

    fn merge(&self, state: &mut Self::State, namespace: W, others: &[W]) {
        for other in others {
            state.set_namespace(*other);
            let Some(other) = state.value() else { continue };
            state.clear();
            state.set_namespace(namespace);
            let merged = match state.value() {
                Some(accumulator) => self.aggregate.merge(accumulator, other),
                None => other,
            };
            state.update(merged);
        }
    }
}

/// Keeps all records.
pub struct ListContents<T> {
    records: PhantomData<fn(T)>,
}

impl<T> Default for ListContents<T> {
    fn default() -> Self {
        ListContents {
            records: PhantomData,
        }
    }
}

impl<T: Data + FlinkType, W: Window> WindowContents<W> for ListContents<T> {
    type In = T;
    type Elements = Vec<T>;
    type State = ListState<T, W>;

    fn open<K: FlinkKey>(&self, keyed: &KeyedBackend<K>) -> Result<Self::State> {
        Ok(keyed.list_state_in(WINDOW_CONTENTS, W::default())?)
    }

    fn add(&self, state: &mut Self::State, namespace: W, record: T, _timestamp: i64) {
        state.set_namespace(namespace);
        state.add(record);
    }

    fn fire(
        &self,
        state: &mut Self::State,
        namespace: W,
        _window: &W,
        emit: impl FnOnce(Vec<T>) -> Result<()>,
    ) -> Result<()> {
        state.set_namespace(namespace);
        let elements = state.get();
        if elements.is_empty() {
            return Ok(());
        }
        emit(elements)
    }

    fn clear(&self, state: &mut Self::State, namespace: W) {
        state.set_namespace(namespace);
        state.clear();
    }

    fn merge(&self, state: &mut Self::State, namespace: W, others: &[W]) {
        merge_lists(state, namespace, others);
    }
}

fn merge_lists<T: FlinkType, W: Window>(state: &mut ListState<T, W>, namespace: W, others: &[W]) {
    for other in others {
        state.set_namespace(*other);
        let elements = state.get();
        state.clear();
        state.set_namespace(namespace);
        state.add_all(elements);
    }
}

/// Keeps all records with their timestamps, for an evictor.
pub struct EvictedContents<T, E> {
    evictor: E,
    records: PhantomData<fn(T)>,
}

impl<T, E> EvictedContents<T, E> {
    /// Has `evictor` remove records when a window fires.
    pub fn new(evictor: E) -> Self {
        EvictedContents {
            evictor,
            records: PhantomData,
        }
    }
}

impl<T, E, W> WindowContents<W> for EvictedContents<T, E>
where
    T: Data + FlinkType,
    E: Evictor<T, W>,
    W: Window,
{
    type In = T;
    type Elements = Vec<T>;
    type State = ListState<StreamRecord<T>, W>;

    fn open<K: FlinkKey>(&self, keyed: &KeyedBackend<K>) -> Result<Self::State> {
        Ok(keyed.list_state_in(WINDOW_CONTENTS, W::default())?)
    }

    fn add(&self, state: &mut Self::State, namespace: W, record: T, timestamp: i64) {
        state.set_namespace(namespace);
        state.add(StreamRecord {
            timestamp: (timestamp != NO_TIMESTAMP).then_some(timestamp),
            value: record,
        });
    }

    fn fire(
        &self,
        state: &mut Self::State,
        namespace: W,
        window: &W,
        emit: impl FnOnce(Vec<T>) -> Result<()>,
    ) -> Result<()> {
        state.set_namespace(namespace);
        let mut records = state.get();
        if records.is_empty() {
            return Ok(());
        }
        self.evictor.evict_before(&mut records, window);
        emit(records.iter().map(|record| record.value.clone()).collect())?;
        self.evictor.evict_after(&mut records, window);
        state.update(records);
        Ok(())
    }

    fn clear(&self, state: &mut Self::State, namespace: W) {
        state.set_namespace(namespace);
        state.clear();
    }

    fn merge(&self, state: &mut Self::State, namespace: W, others: &[W]) {
        merge_lists(state, namespace, others);
    }
}
