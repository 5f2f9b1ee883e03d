//! Streams: what a program connects.

use std::marker::PhantomData;
use std::sync::Arc;

use millpond_connectors::PrintSink;
use millpond_job::{ChainingStrategy, NodeId, NodeKind, Partitioner};
use millpond_operator::functions::broadcast::MapStateDescriptor;
use millpond_operator::functions::window::trigger::{CountTrigger, PurgingTrigger};
use millpond_operator::functions::window::{CountEvictor, GlobalWindows, WindowAssigner};
use millpond_operator::functions::{
    FilterOperator, FlatMapOperator, FunctionOpenContext, KeyedOpenContext, KeyedProcessFunction,
    KeyedProcessOperator, MapOperator, ProcessFunction, ProcessOperator, RunningReduce,
    WatermarkStrategy, WatermarksOperator,
};
use millpond_operator::partition::{
    ByKey, ByReference, ByValue, KeySelector, NullByteKey, PartitionFactory, RoundRobin, ToAll,
    ToSubtask,
};
use millpond_operator::sink::{Sink, SinkOperator};
use millpond_operator::{
    BatchCodec, Data, Operator, OperatorFactory, Result as FunctionResult, SideTag,
};
use millpond_serializer::{FlinkKey, FlinkType};
use millpond_types::OperatorId;

use crate::connected::{BroadcastStream, Connect};
use crate::environment::Environment;
use crate::plan::{NewNode, Upstream};
use crate::windowed::{EvictingWindowedStream, WindowedStream};

/// A stream of records of one type.
///
/// `uid`, `name` and the like concern the operator that makes the stream.
pub struct DataStream<T> {
    env: Environment,
    upstreams: Vec<Upstream>,
    records: PhantomData<fn() -> T>,
}

impl<T> Clone for DataStream<T> {
    fn clone(&self) -> Self {
        DataStream {
            env: self.env.clone(),
            upstreams: self.upstreams.clone(),
            records: PhantomData,
        }
    }
}

fn to_one(subtask: impl Fn(u32) -> u32 + Send + Sync + 'static) -> PartitionFactory {
    Arc::new(move |sender, _, _| Box::new(ToSubtask(subtask(sender))))
}

fn round_robin<T: Data>() -> PartitionFactory {
    Arc::new(|sender, parallelism, _| Box::new(RoundRobin::<T>::new(sender, parallelism)))
}

impl<T: Data> DataStream<T> {
    pub(crate) fn of_node(env: Environment, node: NodeId, side_output: Option<String>) -> Self {
        let upstream = Upstream {
            node,
            side_output,
            partitioner: Partitioner::Forward,
            partition: to_one(|sender| sender),
            codec: BatchCodec::of::<T>(),
            rebalance: round_robin::<T>(),
            explicit: false,
        };
        DataStream {
            env,
            upstreams: vec![upstream],
            records: PhantomData,
        }
    }

    /// Adds an operator behind this stream.
    pub(crate) fn transform<Out: Data>(
        &self,
        name: &str,
        operator: OperatorFactory,
    ) -> DataStream<Out> {
        let node = self.add(name, NodeKind::Operator, operator);
        DataStream::of_node(self.env.clone(), node, None)
    }

    fn add(&self, name: &str, kind: NodeKind, operator: OperatorFactory) -> NodeId {
        self.add_behind(name, kind, operator, self.inputs(0).collect())
    }

    /// The edges out of this stream into logical input `input` of an operator.
    pub(crate) fn inputs(&self, input: usize) -> impl Iterator<Item = (usize, Upstream)> {
        let upstreams = self.upstreams.iter();
        upstreams.map(move |upstream| (input, upstream.clone()))
    }

    /// Adds an operator behind `inputs`.
    pub(crate) fn add_behind(
        &self,
        name: &str,
        kind: NodeKind,
        operator: OperatorFactory,
        inputs: Vec<(usize, Upstream)>,
    ) -> NodeId {
        let new = NewNode {
            name: name.to_owned(),
            kind,
            parallelism: self.env.parallelism(),
            operator,
            coordinator: None,
        };
        self.env
            .plan()
            .borrow_mut()
            .add(new, self.env.max_parallelism(), inputs)
    }

    pub(crate) fn environment(&self) -> &Environment {
        &self.env
    }

    /// One record in, one out.
    pub fn map<Out: Data>(
        &self,
        function: impl Fn(T) -> Out + Send + Sync + 'static,
    ) -> DataStream<Out> {
        let function = Arc::new(function);
        self.transform(
            "Map",
            factory(move || MapOperator::new(Arc::clone(&function))),
        )
    }

    /// Lets through the records for which `predicate` holds.
    pub fn filter(&self, predicate: impl Fn(&T) -> bool + Send + Sync + 'static) -> DataStream<T> {
        let predicate = Arc::new(predicate);
        self.transform(
            "Filter",
            factory(move || FilterOperator::new(Arc::clone(&predicate))),
        )
    }

    /// One record in, any number out.
    pub fn flat_map<I>(
        &self,
        function: impl Fn(T) -> I + Send + Sync + 'static,
    ) -> DataStream<I::Item>
    where
        I: IntoIterator<Item: Data, IntoIter: 'static> + 'static,
    {
        let function = Arc::new(function);
        self.transform(
            "Flat Map",
            factory(move || FlatMapOperator::new(Arc::clone(&function))),
        )
    }

    /// User code with operator state; `open` makes it, once per subtask.
    pub fn process<F>(
        &self,
        open: impl Fn(&mut FunctionOpenContext<'_>) -> FunctionResult<F> + Send + Sync + 'static,
    ) -> DataStream<F::Out>
    where
        F: ProcessFunction<In = T>,
    {
        let open = Arc::new(open);
        self.transform(
            "Process",
            factory(move || ProcessOperator::new(Arc::clone(&open))),
        )
    }

    /// Gives records timestamps and emits watermarks.
    pub fn assign_timestamps_and_watermarks(
        &self,
        strategy: WatermarkStrategy<T>,
    ) -> DataStream<T> {
        let interval = self.env.auto_watermark_interval();
        self.transform(
            "Timestamps/Watermarks",
            factory(move || WatermarksOperator::new(strategy.clone(), interval)),
        )
    }

    /// Partitions by a key that is computed from the record.
    pub fn key_by<K: FlinkKey, F>(&self, key: F) -> KeyedStream<T, ByValue<F, K>>
    where
        F: Fn(&T) -> K + Send + Sync + 'static,
    {
        self.keyed(ByValue(key, PhantomData))
    }

    /// Partitions by a key that lies in the record; does not copy it.
    pub fn key_by_ref<K: FlinkKey, F>(&self, key: F) -> KeyedStream<T, ByReference<F, K>>
    where
        F: for<'a> Fn(&'a T) -> &'a K + Send + Sync + 'static,
    {
        self.keyed(ByReference(key, PhantomData))
    }

    fn keyed<S: KeySelector<T>>(&self, selector: S) -> KeyedStream<T, S> {
        let selector = Arc::new(selector);
        let by_key = Arc::clone(&selector);
        let stream = self.partitioned(
            Partitioner::Hash,
            Arc::new(move |_, parallelism, max_parallelism| {
                Box::new(ByKey::<T, S>::new(
                    Arc::clone(&by_key),
                    parallelism,
                    max_parallelism,
                ))
            }),
        );
        KeyedStream { stream, selector }
    }

    /// Cuts all records into windows, in one subtask: there is no key to divide them by.
    pub fn window_all<A: WindowAssigner<T>>(
        &self,
        assigner: A,
    ) -> WindowedStream<T, NullByteKey, A, A::DefaultTrigger> {
        self.keyed(NullByteKey).window(assigner).non_parallel()
    }

    fn partitioned(&self, partitioner: Partitioner, partition: PartitionFactory) -> DataStream<T> {
        let mut stream = self.clone();
        for upstream in &mut stream.upstreams {
            upstream.partitioner = partitioner;
            upstream.partition = Arc::clone(&partition);
            upstream.explicit = true;
        }
        stream
    }

    /// Spreads the records round robin over the subtasks of the next operator.
    pub fn rebalance(&self) -> DataStream<T> {
        self.partitioned(Partitioner::Rebalance, round_robin::<T>())
    }

    /// Sends every record to every subtask of the next operator.
    pub fn broadcast(&self) -> DataStream<T> {
        self.partitioned(
            Partitioner::Broadcast,
            Arc::new(|_, parallelism, _| Box::new(ToAll(parallelism))),
        )
    }

    /// Sends every record to the first subtask of the next operator.
    pub fn global(&self) -> DataStream<T> {
        self.partitioned(Partitioner::Global, to_one(|_| 0))
    }

    /// Subtask i to subtask i of the next operator, which must have the same parallelism.
    pub fn forward(&self) -> DataStream<T> {
        self.partitioned(Partitioner::Forward, to_one(|sender| sender))
    }

    /// Sends every record to every subtask of the next operator, which keeps what they make known
    /// in the broadcast state of `descriptor`; see [`DataStream::connect`].
    pub fn broadcast_with<K: FlinkType + Ord, V: FlinkType>(
        &self,
        descriptor: &MapStateDescriptor<K, V>,
    ) -> BroadcastStream<T> {
        BroadcastStream::new(self, descriptor)
    }

    /// Has the next operator hear another stream as well, of records of another type: one without
    /// keys as this one, or one that is broadcast.
    pub fn connect<Other: Connect<Self>>(&self, other: &Other) -> Other::Connected {
        other.connect_to(self)
    }

    /// The records of both streams, in no order between them.
    pub fn union(&self, other: &DataStream<T>) -> DataStream<T> {
        let mut stream = self.clone();
        stream.upstreams.extend(other.upstreams.iter().cloned());
        stream
    }

    /// A side output of the operator that makes this stream.
    pub fn side_output<S: Data>(&self, tag: &SideTag<S>) -> DataStream<S> {
        let node = self.upstreams[0].node;
        DataStream::of_node(self.env.clone(), node, Some(tag.name().to_owned()))
    }

    /// Writes the records to a sink.
    pub fn sink_to<S: Sink<Record = T>>(&self, sink: S) -> DataStreamSink {
        let sink = Arc::new(sink);
        let operator = factory(move || SinkOperator::new(Arc::clone(&sink)));
        let node = self.add("Sink: Writer", NodeKind::Sink, operator);
        DataStreamSink {
            env: self.env.clone(),
            node,
        }
    }

    /// Writes the records to standard output, a line each.
    pub fn print(&self) -> DataStreamSink
    where
        T: std::fmt::Display,
    {
        self.sink_to(PrintSink::new()).name("Print to Std. Out")
    }
}

pub(crate) fn factory<O: Operator + 'static>(
    make: impl Fn() -> O + Send + Sync + 'static,
) -> OperatorFactory {
    Arc::new(move || Box::new(make()))
}

/// The methods that concern the operator behind a stream or sink.
macro_rules! operator_settings {
    ($node:expr) => {
        /// Identifies the operator's state across versions of the program.
        pub fn uid(self, uid: &str) -> Self {
            self.set(|node| node.uid = Some(uid.to_owned()))
        }

        /// Sets the operator's id in snapshots literally, for one that was generated.
        pub fn uid_hash(self, id: OperatorId) -> Self {
            self.set(|node| node.uid_hash = Some(id))
        }

        /// Names the operator for people.
        pub fn name(self, name: &str) -> Self {
            self.set(|node| node.name = name.to_owned())
        }

        /// Sets the number of subtasks.
        pub fn set_parallelism(self, parallelism: u32) -> Self {
            self.set(|node| node.parallelism = parallelism)
        }

        /// Sets the number of key groups, the limit of any later parallelism.
        pub fn set_max_parallelism(self, max_parallelism: u32) -> Self {
            let of_nobodys_choice = self.env.is_reactive().then(|| self.env.parallelism());
            self.set(|node| {
                node.max_parallelism = Some(max_parallelism);
                if of_nobodys_choice == Some(node.parallelism) {
                    node.parallelism = node.parallelism.min(max_parallelism);
                }
            })
        }

        /// Does not chain the operator with those before it.
        pub fn start_new_chain(self) -> Self {
            self.set(|node| node.chaining = ChainingStrategy::Head)
        }

        /// Chains the operator with no other.
        pub fn disable_chaining(self) -> Self {
            self.set(|node| node.chaining = ChainingStrategy::Never)
        }

        fn set(self, change: impl FnOnce(&mut millpond_job::StreamNode)) -> Self {
            let node: fn(&Self) -> NodeId = $node;
            change(self.env.plan().borrow_mut().node(node(&self)));
            self
        }
    };
}

impl<T> DataStream<T> {
    operator_settings!(|stream| stream.upstreams[0].node);
}

/// A stream that ends in a sink.
pub struct DataStreamSink {
    env: Environment,
    node: NodeId,
}

impl DataStreamSink {
    operator_settings!(|sink| sink.node);
}

/// A stream that is partitioned by key.
pub struct KeyedStream<T, S> {
    stream: DataStream<T>,
    selector: Arc<S>,
}

impl<T: Data, S: KeySelector<T>> KeyedStream<T, S> {
    /// User code with state and timers of the key; `open` makes it, once per subtask.
    pub fn process<F>(
        &self,
        open: impl Fn(&mut KeyedOpenContext<'_, S::Key>) -> FunctionResult<F> + Send + Sync + 'static,
    ) -> DataStream<F::Out>
    where
        F: KeyedProcessFunction<Key = S::Key, In = T>,
    {
        let (open, selector) = (Arc::new(open), Arc::clone(&self.selector));
        let make = move || KeyedProcessOperator::new(Arc::clone(&open), Arc::clone(&selector));
        self.stream.transform("KeyedProcess", factory(make))
    }

    /// Emits for every record what all records of its key have been reduced to so far.
    pub fn reduce(&self, reduce: impl Fn(&T, &T) -> T + Send + Sync + 'static) -> DataStream<T>
    where
        T: FlinkType,
    {
        let reduce = Arc::new(reduce);
        let stream = self.process(move |context| {
            let reduce = Arc::clone(&reduce);
            RunningReduce::open(context, move |a: &T, b: &T| reduce(a, b))
        });
        stream.name("Keyed Reduce")
    }

    /// Has the next operator hear another stream as well, of records of another type: one with the
    /// same keys, or one that is broadcast.
    pub fn connect<Other: Connect<Self>>(&self, other: &Other) -> Other::Connected {
        other.connect_to(self)
    }

    pub(crate) fn partitioned(&self) -> &DataStream<T> {
        &self.stream
    }

    pub(crate) fn selector(&self) -> &Arc<S> {
        &self.selector
    }

    /// Cuts the records of each key into windows.
    pub fn window<A: WindowAssigner<T>>(
        &self,
        assigner: A,
    ) -> WindowedStream<T, S, A, A::DefaultTrigger> {
        WindowedStream::new(self.stream.clone(), Arc::clone(&self.selector), assigner)
    }

    /// Cuts the records of each key into windows of `size` records.
    pub fn count_window(
        &self,
        size: u32,
    ) -> WindowedStream<T, S, GlobalWindows, PurgingTrigger<CountTrigger>> {
        self.window(GlobalWindows::create())
            .trigger(PurgingTrigger::of(CountTrigger::of(size)))
    }

    /// Takes the last `size` records of a key, whenever `slide` more have come.
    pub fn count_window_sliding(
        &self,
        size: u32,
        slide: u32,
    ) -> EvictingWindowedStream<T, S, GlobalWindows, CountTrigger, CountEvictor> {
        self.window(GlobalWindows::create())
            .trigger(CountTrigger::of(slide))
            .evictor(CountEvictor::of(size))
    }
}
