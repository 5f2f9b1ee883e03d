//! Two streams that one operator hears.

use std::sync::Arc;

use millpond_job::NodeKind;
use millpond_operator::functions::broadcast::{
    BroadcastFunction, BroadcastProcessFunction, BroadcastStates, KeyedBroadcastOperator,
    KeyedBroadcastProcessFunction, MapStateDescriptor,
};
use millpond_operator::functions::co::{
    CoFlatMapOperator, CoProcessFunction, CoProcessOperator, KeyedCoProcessFunction,
    KeyedCoProcessOperator,
};
use millpond_operator::functions::{FunctionOpenContext, KeyedOpenContext};
use millpond_operator::partition::{ByValue, KeySelector};
use millpond_operator::{Data, OperatorFactory, Result as FunctionResult};
use millpond_serializer::{FlinkKey, FlinkType};

use crate::stream::{DataStream, KeyedStream, factory};

/// A stream that can be the second input behind streams of type `First`.
pub trait Connect<First> {
    /// Both together.
    type Connected;

    /// Puts this stream beside `first`.
    fn connect_to(&self, first: &First) -> Self::Connected;
}

/// Two streams without keys.
pub struct ConnectedStreams<A, B> {
    first: DataStream<A>,
    second: DataStream<B>,
}

impl<A: Data, B: Data> Connect<DataStream<A>> for DataStream<B> {
    type Connected = ConnectedStreams<A, B>;

    fn connect_to(&self, first: &DataStream<A>) -> ConnectedStreams<A, B> {
        ConnectedStreams {
            first: first.clone(),
            second: self.clone(),
        }
    }
}

/// Adds an operator behind two streams.
fn transform<A: Data, B: Data, Out: Data>(
    first: &DataStream<A>,
    second: &DataStream<B>,
    name: &str,
    operator: OperatorFactory,
) -> DataStream<Out> {
    let inputs = first.inputs(0).chain(second.inputs(1)).collect();
    let node = first.add_behind(name, NodeKind::Operator, operator, inputs);
    DataStream::of_node(first.environment().clone(), node, None)
}

impl<A: Data, B: Data> ConnectedStreams<A, B> {
    /// One record out for each record of either input.
    pub fn map<Out: Data>(
        &self,
        first: impl Fn(A) -> Out + Send + Sync + 'static,
        second: impl Fn(B) -> Out + Send + Sync + 'static,
    ) -> DataStream<Out> {
        self.flat_map(
            move |record| std::iter::once(first(record)),
            move |record| std::iter::once(second(record)),
        )
        .name("Co-Map")
    }

    /// Any number of records out for each record of either input.
    pub fn flat_map<I, J>(
        &self,
        first: impl Fn(A) -> I + Send + Sync + 'static,
        second: impl Fn(B) -> J + Send + Sync + 'static,
    ) -> DataStream<I::Item>
    where
        I: IntoIterator<Item: Data, IntoIter: 'static> + 'static,
        J: IntoIterator<Item = I::Item, IntoIter: 'static> + 'static,
    {
        let (first, second) = (Arc::new(first), Arc::new(second));
        let make = move || {
            CoFlatMapOperator::<_, _, A, B, I, J>::new(Arc::clone(&first), Arc::clone(&second))
        };
        transform(&self.first, &self.second, "Co-Flat Map", factory(make))
    }

    /// User code with operator state; `open` makes it, once per subtask.
    pub fn process<F>(
        &self,
        open: impl Fn(&mut FunctionOpenContext<'_>) -> FunctionResult<F> + Send + Sync + 'static,
    ) -> DataStream<F::Out>
    where
        F: CoProcessFunction<In1 = A, In2 = B>,
    {
        let open = Arc::new(open);
        let make = move || CoProcessOperator::new(Arc::clone(&open));
        transform(&self.first, &self.second, "Co-Process", factory(make))
    }

    /// Partitions both streams by keys that are computed from their records.
    pub fn key_by<K: FlinkKey, F, G>(
        &self,
        first: F,
        second: G,
    ) -> KeyedConnectedStreams<A, B, ByValue<F, K>, ByValue<G, K>>
    where
        F: Fn(&A) -> K + Send + Sync + 'static,
        G: Fn(&B) -> K + Send + Sync + 'static,
    {
        self.first
            .key_by(first)
            .connect(&self.second.key_by(second))
    }
}

/// Two streams that are partitioned by the same key.
pub struct KeyedConnectedStreams<A, B, S1, S2> {
    first: DataStream<A>,
    second: DataStream<B>,
    selectors: (Arc<S1>, Arc<S2>),
}

impl<A, B, S1, S2> Connect<KeyedStream<A, S1>> for KeyedStream<B, S2>
where
    A: Data,
    B: Data,
    S1: KeySelector<A>,
    S2: KeySelector<B, Key = S1::Key>,
{
    type Connected = KeyedConnectedStreams<A, B, S1, S2>;

    fn connect_to(&self, first: &KeyedStream<A, S1>) -> Self::Connected {
        KeyedConnectedStreams {
            first: first.partitioned().clone(),
            second: self.partitioned().clone(),
            selectors: (Arc::clone(first.selector()), Arc::clone(self.selector())),
        }
    }
}

impl<A, B, S1, S2> KeyedConnectedStreams<A, B, S1, S2>
where
    A: Data,
    B: Data,
    S1: KeySelector<A>,
    S2: KeySelector<B, Key = S1::Key>,
{
    /// User code with state and timers of the key, which both inputs have in common; `open` makes
    /// it, once per subtask.
    pub fn process<F>(
        &self,
        open: impl Fn(&mut KeyedOpenContext<'_, S1::Key>) -> FunctionResult<F> + Send + Sync + 'static,
    ) -> DataStream<F::Out>
    where
        F: KeyedCoProcessFunction<Key = S1::Key, In1 = A, In2 = B>,
    {
        let (open, selectors) = (Arc::new(open), self.selectors.clone());
        let make = move || KeyedCoProcessOperator::new(Arc::clone(&open), selectors.clone());
        transform(&self.first, &self.second, "Co-Keyed-Process", factory(make))
    }
}

/// A stream that every subtask hears, with the broadcast states that it changes.
pub struct BroadcastStream<T> {
    stream: DataStream<T>,
    states: BroadcastStates,
}

impl<T: Data> BroadcastStream<T> {
    pub(crate) fn new<K: FlinkType + Ord, V: FlinkType>(
        stream: &DataStream<T>,
        descriptor: &MapStateDescriptor<K, V>,
    ) -> Self {
        let stream = BroadcastStream {
            stream: stream.broadcast(),
            states: BroadcastStates::default(),
        };
        stream.with(descriptor)
    }

    /// Adds another broadcast state.
    #[must_use]
    pub fn with<K: FlinkType + Ord, V: FlinkType>(
        mut self,
        descriptor: &MapStateDescriptor<K, V>,
    ) -> Self {
        self.states.add(descriptor);
        self
    }
}

/// A stream without keys, and a broadcast stream.
pub struct BroadcastConnectedStream<A, B> {
    first: DataStream<A>,
    second: DataStream<B>,
    states: BroadcastStates,
}

impl<A: Data, B: Data> Connect<DataStream<A>> for BroadcastStream<B> {
    type Connected = BroadcastConnectedStream<A, B>;

    fn connect_to(&self, first: &DataStream<A>) -> Self::Connected {
        BroadcastConnectedStream {
            first: first.clone(),
            second: self.stream.clone(),
            states: self.states.clone(),
        }
    }
}

impl<A: Data, B: Data> BroadcastConnectedStream<A, B> {
    /// User code with broadcast state; `open` makes it, once per subtask.
    pub fn process<F>(
        &self,
        open: impl Fn(&mut FunctionOpenContext<'_>) -> FunctionResult<F> + Send + Sync + 'static,
    ) -> DataStream<F::Out>
    where
        F: BroadcastProcessFunction<In = A, Broadcast = B>,
    {
        let states = self.states.clone();
        let open = Arc::new(move |context: &mut FunctionOpenContext<'_>| {
            BroadcastFunction::open(context, &states, &open)
        });
        let make = move || CoProcessOperator::new(Arc::clone(&open));
        let (first, second) = (&self.first, &self.second);
        transform(first, second, "Co-Process-Broadcast", factory(make))
    }
}

/// A keyed stream, and a broadcast stream.
pub struct KeyedBroadcastConnectedStream<A, B, S> {
    first: DataStream<A>,
    second: DataStream<B>,
    selector: Arc<S>,
    states: BroadcastStates,
}

impl<A: Data, B: Data, S: KeySelector<A>> Connect<KeyedStream<A, S>> for BroadcastStream<B> {
    type Connected = KeyedBroadcastConnectedStream<A, B, S>;

    fn connect_to(&self, first: &KeyedStream<A, S>) -> Self::Connected {
        KeyedBroadcastConnectedStream {
            first: first.partitioned().clone(),
            second: self.stream.clone(),
            selector: Arc::clone(first.selector()),
            states: self.states.clone(),
        }
    }
}

impl<A: Data, B: Data, S: KeySelector<A>> KeyedBroadcastConnectedStream<A, B, S> {
    /// User code with broadcast state, and state and timers of the key; `open` makes it, once per
    /// subtask.
    pub fn process<F>(
        &self,
        open: impl Fn(&mut KeyedOpenContext<'_, S::Key>) -> FunctionResult<F> + Send + Sync + 'static,
    ) -> DataStream<F::Out>
    where
        F: KeyedBroadcastProcessFunction<Key = S::Key, In = A, Broadcast = B>,
    {
        let (open, selector) = (Arc::new(open), Arc::clone(&self.selector));
        let states = self.states.clone();
        let make = move || {
            let (open, selector) = (Arc::clone(&open), Arc::clone(&selector));
            KeyedBroadcastOperator::new(open, selector, states.clone())
        };
        let (first, second) = (&self.first, &self.second);
        transform(first, second, "Co-Process-Broadcast-Keyed", factory(make))
    }
}
