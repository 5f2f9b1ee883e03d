//! Keyed process functions: user code with state and timers of the current key.

use std::ops::Deref;
use std::sync::Arc;

use millpond_serializer::{FlinkKey, FlinkType, VoidNamespace};
use millpond_state::{
    AggregateFunction, AggregatingState, KeyedBackend, ListState, MapState, ReducingState,
    StateDescription, StateTtlConfig, Timer, TimerHandle, TtlStates, ValueState,
};
use millpond_types::CheckpointId;

use crate::batch::{Data, downcast};
use crate::context::{OpenContext, SnapshotContext};
use crate::element::{Element, NO_TIMESTAMP};
use crate::error::Result;
use crate::functions::hooks::checkpoint_hooks;
use crate::functions::keyed_core::{KeyedCore, TimeDomain};
use crate::functions::open::FunctionOpenContext;
use crate::functions::process::ProcessContext;
use crate::functions::rows::Rows;
use crate::operator::{Operator, OperatorSnapshot};
use crate::output::{Collector, Output};
use crate::partition::KeySelector;

/// User code that runs per record with state of the record's key.
///
/// Made by a closure that registers its state, once per subtask.
pub trait KeyedProcessFunction: 'static {
    /// The key.
    type Key: FlinkKey;
    /// Records in.
    type In: Data;
    /// Records out.
    type Out: Data;

    /// Processes one record.
    ///
    /// # Errors
    ///
    /// Any error fails the job with its message.
    fn process_element(
        &mut self,
        value: Self::In,
        context: &mut KeyedContext<'_, Self::Key>,
        out: &mut Collector<Self::Out>,
    ) -> Result<()>;

    /// A timer of the current key has fired.
    ///
    /// # Errors
    ///
    /// As [`KeyedProcessFunction::process_element`].
    fn on_timer(
        &mut self,
        _timestamp: i64,
        _context: &mut KeyedContext<'_, Self::Key>,
        _out: &mut Collector<Self::Out>,
    ) -> Result<()> {
        Ok(())
    }

    checkpoint_hooks!();
}

/// Where a keyed function registers its state; also all that [`FunctionOpenContext`] is.
pub struct KeyedOpenContext<'a, K: FlinkKey> {
    function: FunctionOpenContext<'a>,
    keyed: &'a KeyedBackend<K>,
}

impl<'a, K: FlinkKey> Deref for KeyedOpenContext<'a, K> {
    type Target = FunctionOpenContext<'a>;

    fn deref(&self) -> &FunctionOpenContext<'a> {
        &self.function
    }
}

impl<'a, K: FlinkKey> KeyedOpenContext<'a, K> {
    pub(crate) fn new(function: FunctionOpenContext<'a>, keyed: &'a KeyedBackend<K>) -> Self {
        KeyedOpenContext { function, keyed }
    }

    pub(crate) fn backend(&self) -> &'a KeyedBackend<K> {
        self.keyed
    }

    /// Says what becomes of values of `Old` in a keyed state that now has values of `New`.
    ///
    /// Called before the state is registered; see [`KeyedBackend::migrate_state`].
    pub fn migrate_state<Old: FlinkType, New: FlinkType>(
        &self,
        state: &str,
        function: impl Fn(Old) -> New + Send + Sync + 'static,
    ) {
        self.keyed.migrate_state(state, function);
    }

    /// One value per key.
    ///
    /// # Errors
    ///
    /// The name is taken, or restored state of this name has another type.
    pub fn value_state<V: FlinkType>(&self, name: &str) -> Result<ValueState<V>> {
        Ok(self.keyed.value_state(name)?)
    }

    /// A list per key.
    ///
    /// # Errors
    ///
    /// As [`KeyedOpenContext::value_state`].
    pub fn list_state<T: FlinkType>(&self, name: &str) -> Result<ListState<T>> {
        Ok(self.keyed.list_state(name)?)
    }

    /// A map per key.
    ///
    /// # Errors
    ///
    /// As [`KeyedOpenContext::value_state`].
    pub fn map_state<UK: FlinkType + Ord, UV: FlinkType>(
        &self,
        name: &str,
    ) -> Result<MapState<UK, UV>> {
        Ok(self.keyed.map_state(name)?)
    }

    /// A value per key into which others are reduced.
    ///
    /// # Errors
    ///
    /// As [`KeyedOpenContext::value_state`].
    pub fn reducing_state<V: FlinkType>(
        &self,
        name: &str,
        reduce: impl Fn(&V, &V) -> V + 'static,
    ) -> Result<ReducingState<V>> {
        Ok(self.keyed.reducing_state(name, reduce)?)
    }

    /// An accumulator per key, to which values are added.
    ///
    /// # Errors
    ///
    /// As [`KeyedOpenContext::value_state`].
    pub fn aggregating_state<F: AggregateFunction>(
        &self,
        name: &str,
        function: F,
    ) -> Result<AggregatingState<F>> {
        Ok(self.keyed.aggregating_state(name, function)?)
    }

    /// Returns what registers state whose values have a time-to-live.
    ///
    /// It goes by the clock of the job: processing time.
    pub fn with_ttl(&self, config: StateTtlConfig) -> TtlStates<'a, K> {
        self.keyed.with_ttl(config, self.clock())
    }
}

/// What a keyed function may ask and do while it processes a record or timer; also all that
/// [`ProcessContext`] is.
pub struct KeyedContext<'a, K: FlinkKey> {
    process: ProcessContext<'a>,
    keyed: &'a KeyedBackend<K>,
    timers: &'a TimerHandle<VoidNamespace>,
    time_domain: Option<TimeDomain>,
}

impl<'a, K: FlinkKey> Deref for KeyedContext<'a, K> {
    type Target = ProcessContext<'a>;

    fn deref(&self) -> &ProcessContext<'a> {
        &self.process
    }
}

impl<'a, K: FlinkKey> KeyedContext<'a, K> {
    /// The context of records; [`KeyedContext::set_timestamp`] tells of which one.
    pub(crate) fn of_records(core: &'a KeyedCore<K, VoidNamespace>) -> Self {
        KeyedContext {
            process: ProcessContext::new(&*core.clock, NO_TIMESTAMP, core.watermark),
            keyed: &core.keyed,
            timers: &core.handle,
            time_domain: None,
        }
    }

    /// The context of a timer.
    pub(crate) fn of_timer(
        core: &'a KeyedCore<K, VoidNamespace>,
        timestamp: i64,
        domain: TimeDomain,
    ) -> Self {
        let mut context = KeyedContext::of_records(core);
        context.set_timestamp(timestamp);
        context.time_domain = Some(domain);
        context
    }

    #[inline]
    pub(crate) fn set_timestamp(&mut self, timestamp: i64) {
        self.process.set_timestamp(timestamp);
    }

    /// The key of the record or timer.
    ///
    /// # Panics
    ///
    /// Never: functions are called with a current key.
    pub fn current_key(&self) -> K {
        self.keyed
            .current_key()
            .expect("functions are called with a current key")
    }

    /// Which clock the timer goes by that has fired; `None` while a record is processed.
    pub fn time_domain(&self) -> Option<TimeDomain> {
        self.time_domain
    }

    /// Fires once the watermark reaches `timestamp`. One timer per key and timestamp.
    pub fn register_event_time_timer(&mut self, timestamp: i64) {
        self.timers.register_event_time(&VoidNamespace, timestamp);
    }

    /// Deletes a timer; without effect if there is none.
    pub fn delete_event_time_timer(&mut self, timestamp: i64) {
        self.timers.delete_event_time(&VoidNamespace, timestamp);
    }

    /// Fires once the machine's time reaches `timestamp`.
    pub fn register_processing_time_timer(&mut self, timestamp: i64) {
        self.timers
            .register_processing_time(&VoidNamespace, timestamp);
    }

    /// Deletes a timer; without effect if there is none.
    pub fn delete_processing_time_timer(&mut self, timestamp: i64) {
        self.timers
            .delete_processing_time(&VoidNamespace, timestamp);
    }
}

/// Runs a [`KeyedProcessFunction`].
pub struct KeyedProcessOperator<F: KeyedProcessFunction, S, O> {
    open: Arc<O>,
    selector: Arc<S>,
    opened: Option<(KeyedCore<F::Key, VoidNamespace>, F)>,
    collector: Collector<F::Out>,
    waiting: Rows<F::In>,
}

impl<F, S, O> KeyedProcessOperator<F, S, O>
where
    F: KeyedProcessFunction,
    S: KeySelector<F::In, Key = F::Key>,
    O: Fn(&mut KeyedOpenContext<'_, F::Key>) -> Result<F>,
{
    /// Runs the function that `open` makes, on the key that `selector` finds.
    pub fn new(open: Arc<O>, selector: Arc<S>) -> Self {
        KeyedProcessOperator {
            open,
            selector,
            opened: None,
            collector: Collector::default(),
            waiting: Rows::default(),
        }
    }

    fn opened(&mut self) -> &mut (KeyedCore<F::Key, VoidNamespace>, F) {
        self.opened.as_mut().expect("an operator is opened first")
    }

    fn process_waiting(&mut self) -> Result<()> {
        let (core, function) = self.opened.as_mut().expect("an operator is opened first");
        let mut context = KeyedContext::of_records(core);
        while !self.collector.is_full() {
            core.prefetch(&self.waiting, &*self.selector);
            let Some(row) = self.waiting.next() else {
                break;
            };
            core.set_key(&self.selector.key(&row.value), row.key_group);
            context.set_timestamp(row.timestamp);
            self.collector.set_timestamp(row.timestamp);
            function.process_element(row.value, &mut context, &mut self.collector)?;
        }
        Ok(())
    }
}

impl<F, S, O> Operator for KeyedProcessOperator<F, S, O>
where
    F: KeyedProcessFunction,
    S: KeySelector<F::In, Key = F::Key>,
    O: Fn(&mut KeyedOpenContext<'_, F::Key>) -> Result<F>,
{
    fn open(&mut self, context: OpenContext) -> Result<()> {
        let opened = KeyedCore::open(&context, "user-timers", |open| (self.open)(open))?;
        self.opened = Some(opened);
        Ok(())
    }

    fn state(&self) -> StateDescription {
        let opened = self.opened.as_ref();
        opened.map(|(core, _)| core.state()).unwrap_or_default()
    }

    fn process(&mut self, _input: usize, element: Element, output: &mut Output) -> Result<()> {
        match element {
            Element::Records(batch) => {
                self.waiting = Rows::new(downcast(batch));
                self.resume(output)
            }
            Element::Watermark(watermark) => {
                self.opened().0.advance_watermark(watermark);
                self.resume(output)
            }
            Element::Idle(_) | Element::EndOfData => Ok(()),
        }
    }

    fn is_paused(&self) -> bool {
        let firing = self
            .opened
            .as_ref()
            .is_some_and(|(core, _)| core.is_firing());
        !self.waiting.is_empty() || firing
    }

    fn resume(&mut self, output: &mut Output) -> Result<()> {
        if !self.waiting.is_empty() {
            self.process_waiting()?;
            self.collector.flush(output);
            return Ok(());
        }
        let (core, function) = self.opened.as_mut().expect("an operator is opened first");
        let on_timer = |core: &KeyedCore<F::Key, VoidNamespace>,
                        timer: Timer<F::Key>,
                        domain: TimeDomain,
                        out: &mut Collector<F::Out>| {
            let mut context = KeyedContext::of_timer(core, timer.timestamp, domain);
            function.on_timer(timer.timestamp, &mut context, out)
        };
        core.fire(&mut self.collector, output, on_timer)
    }

    fn next_processing_time(&self) -> Option<u64> {
        self.opened.as_ref()?.0.next_processing_time()
    }

    fn on_processing_time(&mut self, now_ms: u64, output: &mut Output) -> Result<()> {
        self.opened().0.advance_processing_time(now_ms);
        self.resume(output)
    }

    fn snapshot(&mut self, context: SnapshotContext) -> Result<OperatorSnapshot> {
        let (core, function) = self.opened();
        function.snapshot_state(context.id)?;
        Ok(core.snapshot(context))
    }

    fn notify_complete(&mut self, checkpoint: CheckpointId) -> Result<()> {
        self.opened().1.notify_checkpoint_complete(checkpoint)
    }

    fn notify_aborted(&mut self, checkpoint: CheckpointId) -> Result<()> {
        self.opened().1.notify_checkpoint_aborted(checkpoint)
    }

    fn maintain(&mut self) -> bool {
        self.opened
            .as_ref()
            .is_some_and(|(core, _)| core.keyed.maintain())
    }
}
