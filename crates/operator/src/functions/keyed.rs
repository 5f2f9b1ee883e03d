//! Keyed process functions: user code with state and timers of the current key.

use std::borrow::Cow;
use std::sync::Arc;

use millpond_serializer::{FlinkKey, FlinkType, VoidNamespace};
use millpond_state::{
    KeyedBackend, ListState, MapState, OperatorListState, OperatorStateBackend, ReducingState,
    TimerHandle, TimerService, ValueState,
};
use millpond_types::{CheckpointId, Clock, KeyGroup};

use crate::batch::{Batch, Data, downcast};
use crate::context::{OpenContext, SnapshotContext, SubtaskInfo};
use crate::element::{Element, NO_TIMESTAMP};
use crate::error::Result;
use crate::functions::restore::{restore_keyed, restore_operator};
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

    /// A snapshot is about to be taken: bring operator state up to date.
    ///
    /// # Errors
    ///
    /// As [`KeyedProcessFunction::process_element`].
    fn snapshot_state(&mut self, _checkpoint: CheckpointId) -> Result<()> {
        Ok(())
    }

    /// A checkpoint is complete. Best effort: it may be skipped.
    ///
    /// # Errors
    ///
    /// As [`KeyedProcessFunction::process_element`].
    fn notify_checkpoint_complete(&mut self, _checkpoint: CheckpointId) -> Result<()> {
        Ok(())
    }
}

/// Where a keyed function registers its state.
pub struct KeyedOpenContext<'a, K: FlinkKey> {
    info: &'a SubtaskInfo,
    keyed: &'a KeyedBackend<K>,
    operator: &'a OperatorStateBackend,
    restored_checkpoint: Option<CheckpointId>,
}

impl<K: FlinkKey> KeyedOpenContext<'_, K> {
    /// Which subtask this is.
    pub fn info(&self) -> &SubtaskInfo {
        self.info
    }

    /// The snapshot that was restored, if one was.
    pub fn restored_checkpoint(&self) -> Option<CheckpointId> {
        self.restored_checkpoint
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

    /// A list of the subtask whose elements are dealt out on restore.
    ///
    /// # Errors
    ///
    /// As [`KeyedOpenContext::value_state`].
    pub fn operator_list_state<T: FlinkType>(&self, name: &str) -> Result<OperatorListState<T>> {
        Ok(self.operator.list_state(name)?)
    }

    /// A list of the subtask that every subtask gets whole on restore.
    ///
    /// # Errors
    ///
    /// As [`KeyedOpenContext::value_state`].
    pub fn union_list_state<T: FlinkType>(&self, name: &str) -> Result<OperatorListState<T>> {
        Ok(self.operator.union_list_state(name)?)
    }
}

/// What a keyed function may ask and do while it processes a record or timer.
pub struct KeyedContext<'a, K: FlinkKey> {
    keyed: &'a KeyedBackend<K>,
    timers: &'a TimerHandle<VoidNamespace>,
    clock: &'a dyn Clock,
    timestamp: i64,
    watermark: i64,
}

impl<K: FlinkKey> KeyedContext<'_, K> {
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

    /// The timestamp of the record or timer in milliseconds, if it has one.
    pub fn timestamp(&self) -> Option<i64> {
        (self.timestamp != NO_TIMESTAMP).then_some(self.timestamp)
    }

    /// The watermark in milliseconds; `i64::MIN` before the first.
    pub fn current_watermark(&self) -> i64 {
        self.watermark
    }

    /// The time of the machine in milliseconds since 1970.
    pub fn current_processing_time(&self) -> i64 {
        self.clock.now_ms() as i64
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

/// How many timers fire before other tasks have their turn.
pub(crate) const TIMERS_PER_SLICE: usize = 1024;

/// What is being fired.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Firing {
    Nothing,
    /// Event-time timers up to this watermark, which is then passed on.
    Event(i64),
    /// Processing-time timers up to this time.
    Processing(i64),
}

struct Opened<F: KeyedProcessFunction> {
    function: F,
    keyed: KeyedBackend<F::Key>,
    operator: OperatorStateBackend,
    timers: TimerService<F::Key, VoidNamespace>,
    handle: TimerHandle<VoidNamespace>,
    clock: Arc<dyn Clock>,
    max_parallelism: u32,
}

/// Runs a [`KeyedProcessFunction`].
pub struct KeyedProcessOperator<F: KeyedProcessFunction, S, O> {
    open: Arc<O>,
    selector: Arc<S>,
    opened: Option<Opened<F>>,
    collector: Collector<F::Out>,
    waiting: Rows<F::In>,
    firing: Firing,
    watermark: i64,
}

/// The rest of a batch.
struct Rows<T> {
    rows: std::vec::IntoIter<T>,
    key_groups: Vec<u16>,
    timestamps: Vec<i64>,
    next: usize,
}

impl<T> Rows<T> {
    fn new(batch: Batch<T>) -> Self {
        let Batch {
            rows,
            timestamps,
            key_groups,
        } = batch;
        Rows {
            rows: rows.into_iter(),
            key_groups,
            timestamps,
            next: 0,
        }
    }
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
            waiting: Rows::new(Batch::default()),
            firing: Firing::Nothing,
            watermark: i64::MIN,
        }
    }

    fn opened(&mut self) -> &mut Opened<F> {
        self.opened.as_mut().expect("an operator is opened first")
    }

    /// Has the state of a whole batch on its way to the caches before the first record needs it.
    fn prefetch(&mut self, batch: &Batch<F::In>) {
        let Some(opened) = &self.opened else { return };
        if batch.key_groups.len() != batch.rows.len() {
            return;
        }
        let keys: Vec<Cow<'_, F::Key>> = batch
            .rows
            .iter()
            .map(|row| self.selector.key(row))
            .collect();
        let groups = batch.key_groups.iter().map(|group| KeyGroup(*group));
        std::hint::black_box(
            opened
                .keyed
                .prefetch(keys.iter().map(|key| &**key).zip(groups)),
        );
    }

    fn process_waiting(&mut self) -> Result<()> {
        let Opened {
            function,
            keyed,
            handle,
            clock,
            max_parallelism,
            ..
        } = self.opened.as_mut().expect("an operator is opened first");
        let waiting = &mut self.waiting;
        let has_timestamps = !waiting.timestamps.is_empty();
        let mut context = KeyedContext {
            keyed,
            timers: handle,
            clock: &**clock,
            timestamp: NO_TIMESTAMP,
            watermark: self.watermark,
        };
        while !self.collector.is_full() {
            let Some(row) = waiting.rows.next() else {
                break;
            };
            {
                let key = self.selector.key(&row);
                let group = match waiting.key_groups.get(waiting.next) {
                    Some(group) => KeyGroup(*group),
                    None => KeyGroup::of_hash(key.hash_code(), *max_parallelism),
                };
                keyed.set_current_key(&key, group);
            }
            if has_timestamps {
                context.timestamp = waiting.timestamps[waiting.next];
                self.collector.set_timestamp(context.timestamp);
            }
            waiting.next += 1;
            function.process_element(row, &mut context, &mut self.collector)?;
        }
        if !has_timestamps {
            self.collector.set_timestamp(NO_TIMESTAMP);
        }
        Ok(())
    }

    fn fire(&mut self, output: &mut Output) -> Result<()> {
        let firing = self.firing;
        // Timers may emit nothing: their number is bounded too.
        for _ in 0..TIMERS_PER_SLICE {
            if self.collector.is_full() {
                break;
            }
            let watermark = self.watermark;
            let opened = self.opened.as_mut().expect("an operator is opened first");
            let timer = match firing {
                Firing::Nothing => None,
                Firing::Event(watermark) => opened.timers.pop_event_timer(watermark),
                Firing::Processing(now) => opened.timers.pop_processing_timer(now),
            };
            let Some(timer) = timer else {
                self.firing = Firing::Nothing;
                break;
            };
            opened
                .keyed
                .set_current_key(&timer.key, opened.keyed.key_group(&timer.key));
            let timestamp = match firing {
                Firing::Event(_) => timer.timestamp,
                Firing::Nothing | Firing::Processing(_) => NO_TIMESTAMP,
            };
            self.collector.set_timestamp(timestamp);
            let mut context = KeyedContext {
                keyed: &opened.keyed,
                timers: &opened.handle,
                clock: &*opened.clock,
                timestamp,
                watermark,
            };
            opened
                .function
                .on_timer(timer.timestamp, &mut context, &mut self.collector)?;
        }
        self.collector.flush(output);
        if let (Firing::Event(watermark), Firing::Nothing) = (firing, self.firing) {
            output.watermark(watermark);
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
        let info = context.info;
        let keyed = KeyedBackend::new(info.max_parallelism, info.key_groups());
        let operator = OperatorStateBackend::new();
        if let Some(restored) = &context.restored {
            restore_keyed(&keyed, restored)?;
            restore_operator(&operator, restored)?;
        }
        let mut open = KeyedOpenContext {
            info: &info,
            keyed: &keyed,
            operator: &operator,
            restored_checkpoint: context
                .restored
                .as_ref()
                .map(|restored| restored.checkpoint),
        };
        let function = (self.open)(&mut open)?;
        let timers = keyed.timers("user-timers")?;
        self.opened = Some(Opened {
            function,
            handle: timers.handle(),
            timers,
            keyed,
            operator,
            clock: context.clock,
            max_parallelism: info.max_parallelism,
        });
        Ok(())
    }

    fn process(&mut self, _input: usize, element: Element, output: &mut Output) -> Result<()> {
        match element {
            Element::Records(batch) => {
                let batch = downcast(batch);
                self.prefetch(&batch);
                self.waiting = Rows::new(batch);
                self.resume(output)
            }
            Element::Watermark(watermark) => {
                self.watermark = watermark;
                self.firing = Firing::Event(watermark);
                self.resume(output)
            }
            Element::Idle(_) | Element::EndOfData => Ok(()),
        }
    }

    fn is_paused(&self) -> bool {
        self.waiting.rows.len() > 0 || self.firing != Firing::Nothing
    }

    fn resume(&mut self, output: &mut Output) -> Result<()> {
        if self.waiting.rows.len() > 0 {
            self.process_waiting()?;
            self.collector.flush(output);
            return Ok(());
        }
        self.fire(output)
    }

    fn next_processing_time(&self) -> Option<u64> {
        let next = self.opened.as_ref()?.timers.next_processing_time()?;
        Some(next.max(0) as u64)
    }

    fn on_processing_time(&mut self, now_ms: u64, output: &mut Output) -> Result<()> {
        self.firing = Firing::Processing(now_ms as i64);
        self.resume(output)
    }

    fn snapshot(&mut self, context: SnapshotContext) -> Result<OperatorSnapshot> {
        let opened = self.opened();
        opened.function.snapshot_state(context.id)?;
        Ok(OperatorSnapshot {
            keyed: Some(opened.keyed.freeze()),
            operator: Some(opened.operator.freeze()),
            ..OperatorSnapshot::default()
        })
    }

    fn notify_complete(&mut self, checkpoint: CheckpointId) -> Result<()> {
        self.opened()
            .function
            .notify_checkpoint_complete(checkpoint)
    }

    fn maintain(&mut self) -> bool {
        self.opened
            .as_ref()
            .is_some_and(|opened| opened.keyed.maintain())
    }
}
