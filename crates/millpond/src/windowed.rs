//! Streams cut into windows: what is computed of a window, and when.

use std::sync::Arc;
use std::time::Duration;

use millpond_operator::functions::window::trigger::Trigger;
use millpond_operator::functions::window::{
    AggregateContents, AggregateElements, EachElement, EmitResult, EvictedContents, Evictor,
    ListContents, ProcessWindowFunction, ReduceContents, ReduceElements, WholeWindow,
    WindowAssigner, WindowContents, WindowDefinition, WindowFunction, WindowOpenContext,
    WindowOperator,
};
use millpond_operator::partition::KeySelector;
use millpond_operator::{Data, Result as FunctionResult, SideTag};
use millpond_serializer::FlinkType;
use millpond_state::AggregateFunction;

use crate::stream::{DataStream, factory};

/// A keyed stream cut into windows.
pub struct WindowedStream<T, S, A, G> {
    stream: DataStream<T>,
    selector: Arc<S>,
    assigner: A,
    trigger: G,
    allowed_lateness_ms: i64,
    late_data: Option<SideTag<T>>,
    non_parallel: bool,
}

impl<T: Data, S, A: WindowAssigner<T>> WindowedStream<T, S, A, A::DefaultTrigger> {
    pub(crate) fn new(stream: DataStream<T>, selector: Arc<S>, assigner: A) -> Self {
        WindowedStream {
            stream,
            selector,
            trigger: assigner.default_trigger(),
            assigner,
            allowed_lateness_ms: 0,
            late_data: None,
            non_parallel: false,
        }
    }
}

impl<T, S, A, G> WindowedStream<T, S, A, G>
where
    T: Data,
    S: KeySelector<T>,
    A: WindowAssigner<T>,
    G: Trigger<T, A::Window>,
{
    pub(crate) fn non_parallel(mut self) -> Self {
        self.non_parallel = true;
        self
    }

    /// Has another trigger say when windows are computed.
    ///
    /// # Panics
    ///
    /// If the windows merge and the trigger cannot.
    pub fn trigger<H: Trigger<T, A::Window>>(self, trigger: H) -> WindowedStream<T, S, A, H> {
        assert!(
            !A::MERGING || trigger.can_merge(),
            "A merging window assigner cannot be used with a trigger that does not support merging."
        );
        WindowedStream {
            stream: self.stream,
            selector: self.selector,
            assigner: self.assigner,
            trigger,
            allowed_lateness_ms: self.allowed_lateness_ms,
            late_data: self.late_data,
            non_parallel: self.non_parallel,
        }
    }

    /// Keeps windows for so long behind their end; each record that comes then fires again. Without
    /// effect on windows of processing time.
    #[must_use]
    pub fn allowed_lateness(mut self, lateness: Duration) -> Self {
        self.allowed_lateness_ms = i64::try_from(lateness.as_millis()).unwrap_or(i64::MAX);
        self
    }

    /// Sends records that no window takes any more to a side output, rather than drop them.
    #[must_use]
    pub fn side_output_late_data(mut self, tag: &SideTag<T>) -> Self {
        self.late_data = Some(tag.clone());
        self
    }

    /// Keeps all records of a window, and has `evictor` remove some before it is computed.
    pub fn evictor<E: Evictor<T, A::Window>>(
        self,
        evictor: E,
    ) -> EvictingWindowedStream<T, S, A, G, E> {
        EvictingWindowedStream {
            windows: self,
            evictor,
        }
    }

    fn compute<C, F>(
        &self,
        contents: C,
        open: impl Fn(&WindowOpenContext<'_, '_, S::Key, A::Window>) -> FunctionResult<F>
        + Send
        + Sync
        + 'static,
    ) -> DataStream<F::Out>
    where
        C: WindowContents<A::Window, In = T>,
        F: WindowFunction<S::Key, A::Window, C::Elements>,
    {
        let definition = Arc::new(WindowDefinition {
            assigner: self.assigner.clone(),
            trigger: self.trigger.clone(),
            contents,
            allowed_lateness_ms: self.allowed_lateness_ms,
            late_data: self.late_data.clone(),
        });
        let (open, selector) = (Arc::new(open), Arc::clone(&self.selector));
        let make = move || {
            let (selector, definition) = (Arc::clone(&selector), Arc::clone(&definition));
            WindowOperator::new(selector, definition, Arc::clone(&open))
        };
        let stream = self.stream.transform(self.assigner.name(), factory(make));
        if self.non_parallel {
            stream.set_parallelism(1).set_max_parallelism(1)
        } else {
            stream
        }
    }

    /// Emits for every window what its records have been reduced to.
    pub fn reduce(&self, reduce: impl Fn(&T, &T) -> T + Send + Sync + 'static) -> DataStream<T>
    where
        T: FlinkType,
    {
        self.reduce_with(reduce, |_, _, value| value)
    }

    /// As [`WindowedStream::reduce`]; `emit` makes the result of key, window and reduced value.
    pub fn reduce_with<Out: Data>(
        &self,
        reduce: impl Fn(&T, &T) -> T + Send + Sync + 'static,
        emit: impl Fn(&S::Key, A::Window, T) -> Out + Send + Sync + 'static,
    ) -> DataStream<Out>
    where
        T: FlinkType,
    {
        let emit = Arc::new(emit);
        let open = move |_: &WindowOpenContext<'_, '_, S::Key, A::Window>| {
            Ok(EmitResult(Arc::clone(&emit)))
        };
        self.compute(ReduceContents::new(Arc::new(reduce)), open)
    }

    /// As [`WindowedStream::reduce`]; the function that `open` makes gets the one reduced value.
    pub fn reduce_and_process<F>(
        &self,
        reduce: impl Fn(&T, &T) -> T + Send + Sync + 'static,
        open: impl Fn(&WindowOpenContext<'_, '_, S::Key, A::Window>) -> FunctionResult<F>
        + Send
        + Sync
        + 'static,
    ) -> DataStream<F::Out>
    where
        T: FlinkType,
        F: ProcessWindowFunction<Key = S::Key, Window = A::Window, In = T>,
    {
        let contents = ReduceContents::new(Arc::new(reduce));
        self.compute(contents, move |context| open(context).map(EachElement))
    }

    /// Emits for every window the result of an aggregation.
    pub fn aggregate<Agg>(&self, aggregate: Agg) -> DataStream<Agg::Out>
    where
        Agg: AggregateFunction<In = T, Out: Data> + Send + Sync,
    {
        self.aggregate_with(aggregate, |_, _, result| result)
    }

    /// As [`WindowedStream::aggregate`]; `emit` makes what goes out of key, window and result.
    pub fn aggregate_with<Agg, Out: Data>(
        &self,
        aggregate: Agg,
        emit: impl Fn(&S::Key, A::Window, Agg::Out) -> Out + Send + Sync + 'static,
    ) -> DataStream<Out>
    where
        Agg: AggregateFunction<In = T> + Send + Sync,
    {
        let emit = Arc::new(emit);
        let open = move |_: &WindowOpenContext<'_, '_, S::Key, A::Window>| {
            Ok(EmitResult(Arc::clone(&emit)))
        };
        self.compute(AggregateContents::new(Arc::new(aggregate)), open)
    }

    /// As [`WindowedStream::aggregate`]; the function that `open` makes gets the one result.
    pub fn aggregate_and_process<Agg, F>(
        &self,
        aggregate: Agg,
        open: impl Fn(&WindowOpenContext<'_, '_, S::Key, A::Window>) -> FunctionResult<F>
        + Send
        + Sync
        + 'static,
    ) -> DataStream<F::Out>
    where
        Agg: AggregateFunction<In = T> + Send + Sync,
        F: ProcessWindowFunction<Key = S::Key, Window = A::Window, In = Agg::Out>,
    {
        let contents = AggregateContents::new(Arc::new(aggregate));
        self.compute(contents, move |context| open(context).map(EachElement))
    }

    /// Keeps all records of a window for the function that `open` makes, once per subtask.
    pub fn process<F>(
        &self,
        open: impl Fn(&WindowOpenContext<'_, '_, S::Key, A::Window>) -> FunctionResult<F>
        + Send
        + Sync
        + 'static,
    ) -> DataStream<F::Out>
    where
        T: FlinkType,
        F: ProcessWindowFunction<Key = S::Key, Window = A::Window, In = T>,
    {
        self.compute(ListContents::default(), move |context| {
            open(context).map(WholeWindow)
        })
    }
}

/// A keyed stream cut into windows that keep all of their records, for an evictor.
pub struct EvictingWindowedStream<T, S, A, G, E> {
    windows: WindowedStream<T, S, A, G>,
    evictor: E,
}

impl<T, S, A, G, E> EvictingWindowedStream<T, S, A, G, E>
where
    T: Data + FlinkType,
    S: KeySelector<T>,
    A: WindowAssigner<T>,
    G: Trigger<T, A::Window>,
    E: Evictor<T, A::Window>,
{
    fn contents(&self) -> EvictedContents<T, E> {
        EvictedContents::new(self.evictor.clone())
    }

    /// Emits for every window what its records have been reduced to.
    pub fn reduce(&self, reduce: impl Fn(&T, &T) -> T + Send + Sync + 'static) -> DataStream<T> {
        self.reduce_with(reduce, |_, _, value| value)
    }

    /// As [`EvictingWindowedStream::reduce`]; `emit` makes the result of key, window and value.
    pub fn reduce_with<Out: Data>(
        &self,
        reduce: impl Fn(&T, &T) -> T + Send + Sync + 'static,
        emit: impl Fn(&S::Key, A::Window, T) -> Out + Send + Sync + 'static,
    ) -> DataStream<Out> {
        let (reduce, emit) = (Arc::new(reduce), Arc::new(emit));
        let open = move |_: &WindowOpenContext<'_, '_, S::Key, A::Window>| {
            let emit = EmitResult(Arc::clone(&emit));
            Ok(ReduceElements(emit, Arc::clone(&reduce)))
        };
        self.windows.compute(self.contents(), open)
    }

    /// Emits for every window the result of an aggregation.
    pub fn aggregate<Agg>(&self, aggregate: Agg) -> DataStream<Agg::Out>
    where
        Agg: AggregateFunction<In = T, Out: Data> + Send + Sync,
    {
        self.aggregate_with(aggregate, |_, _, result| result)
    }

    /// As [`EvictingWindowedStream::aggregate`]; `emit` makes what goes out of key, window and
    /// result.
    pub fn aggregate_with<Agg, Out: Data>(
        &self,
        aggregate: Agg,
        emit: impl Fn(&S::Key, A::Window, Agg::Out) -> Out + Send + Sync + 'static,
    ) -> DataStream<Out>
    where
        Agg: AggregateFunction<In = T> + Send + Sync,
    {
        let (aggregate, emit) = (Arc::new(aggregate), Arc::new(emit));
        let open = move |_: &WindowOpenContext<'_, '_, S::Key, A::Window>| {
            let emit = EmitResult(Arc::clone(&emit));
            Ok(AggregateElements(emit, Arc::clone(&aggregate)))
        };
        self.windows.compute(self.contents(), open)
    }

    /// Gives all records that are left to the function that `open` makes, once per subtask.
    pub fn process<F>(
        &self,
        open: impl Fn(&WindowOpenContext<'_, '_, S::Key, A::Window>) -> FunctionResult<F>
        + Send
        + Sync
        + 'static,
    ) -> DataStream<F::Out>
    where
        F: ProcessWindowFunction<Key = S::Key, Window = A::Window, In = T>,
    {
        self.windows.compute(self.contents(), move |context| {
            open(context).map(WholeWindow)
        })
    }
}
