//! Functions with broadcast state, keyed state and timers.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use millpond_serializer::{FlinkKey, FlinkType, VoidNamespace};
use millpond_state::{
    BroadcastState, KeyedBackend, ReadOnlyBroadcastState, StateDescription, Timer,
};
use millpond_types::CheckpointId;

use super::states::{BroadcastStates, MapStateDescriptor, Registered};
use crate::batch::Data;
use crate::context::{OpenContext, SnapshotContext};
use crate::element::{Element, NO_TIMESTAMP};
use crate::error::Result;
use crate::functions::co::Waiting;
use crate::functions::hooks::checkpoint_hooks;
use crate::functions::keyed::{KeyedContext, KeyedOpenContext};
use crate::functions::keyed_core::{KeyedCore, TimeDomain};
use crate::functions::process::ProcessContext;
use crate::operator::{Operator, OperatorSnapshot};
use crate::output::{Collector, Output};
use crate::partition::KeySelector;

/// User code that processes a keyed stream by what a broadcast stream has made known.
///
/// Made by a closure that registers its keyed state, once per subtask.
pub trait KeyedBroadcastProcessFunction: 'static {
    /// The key.
    type Key: FlinkKey;
    /// Records in.
    type In: Data;
    /// Broadcast records.
    type Broadcast: Data;
    /// Records out.
    type Out: Data;

    /// Processes one record with state and timers of its key; broadcast state may be read.
    ///
    /// # Errors
    ///
    /// Any error fails the job with its message.
    fn process_element(
        &mut self,
        value: Self::In,
        context: &mut KeyedReadOnlyContext<'_, Self::Key>,
        out: &mut Collector<Self::Out>,
    ) -> Result<()>;

    /// Processes one broadcast record, in every subtask; broadcast state may be changed.
    ///
    /// # Errors
    ///
    /// As [`KeyedBroadcastProcessFunction::process_element`].
    fn process_broadcast_element(
        &mut self,
        value: Self::Broadcast,
        context: &mut KeyedBroadcastContext<'_, Self::Key>,
        out: &mut Collector<Self::Out>,
    ) -> Result<()>;

    /// A timer of the current key has fired; broadcast state may be read.
    ///
    /// # Errors
    ///
    /// As [`KeyedBroadcastProcessFunction::process_element`].
    fn on_timer(
        &mut self,
        _timestamp: i64,
        _context: &mut KeyedReadOnlyContext<'_, Self::Key>,
        _out: &mut Collector<Self::Out>,
    ) -> Result<()> {
        Ok(())
    }

    checkpoint_hooks!();
}

/// What a keyed function with broadcast state may ask and do while it processes a record or timer;
/// also all that [`KeyedContext`] is.
pub struct KeyedReadOnlyContext<'a, K: FlinkKey> {
    keyed: KeyedContext<'a, K>,
    states: &'a Registered,
}

impl<'a, K: FlinkKey> Deref for KeyedReadOnlyContext<'a, K> {
    type Target = KeyedContext<'a, K>;

    fn deref(&self) -> &KeyedContext<'a, K> {
        &self.keyed
    }
}

impl<K: FlinkKey> DerefMut for KeyedReadOnlyContext<'_, K> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.keyed
    }
}

impl<K: FlinkKey> KeyedReadOnlyContext<'_, K> {
    /// A broadcast state, to read.
    ///
    /// # Errors
    ///
    /// The stream was not broadcast with this descriptor.
    pub fn broadcast_state<BK: FlinkType + Ord, BV: FlinkType>(
        &self,
        descriptor: &MapStateDescriptor<BK, BV>,
    ) -> Result<ReadOnlyBroadcastState<BK, BV>> {
        self.states.read(descriptor)
    }
}

/// What a keyed function may ask and do while it processes a broadcast record, which has no key;
/// also all that [`ProcessContext`] is.
pub struct KeyedBroadcastContext<'a, K: FlinkKey> {
    process: ProcessContext<'a>,
    keyed: &'a KeyedBackend<K>,
    states: &'a Registered,
}

impl<'a, K: FlinkKey> Deref for KeyedBroadcastContext<'a, K> {
    type Target = ProcessContext<'a>;

    fn deref(&self) -> &ProcessContext<'a> {
        &self.process
    }
}

impl<K: FlinkKey> KeyedBroadcastContext<'_, K> {
    /// A broadcast state, to change.
    ///
    /// # Errors
    ///
    /// The stream was not broadcast with this descriptor.
    pub fn broadcast_state<BK: FlinkType + Ord, BV: FlinkType>(
        &mut self,
        descriptor: &MapStateDescriptor<BK, BV>,
    ) -> Result<BroadcastState<BK, BV>> {
        self.states.get(descriptor)
    }

    /// Calls `apply` for each key of this subtask that has a value in the keyed state `state`, with
    /// it as the current key: all keyed state is then that of the key. In no particular order.
    ///
    /// # Errors
    ///
    /// Whatever `apply` returns.
    pub fn apply_to_keyed_state(
        &mut self,
        state: &str,
        mut apply: impl FnMut(&K) -> Result<()>,
    ) -> Result<()> {
        for key in self.keyed.keys(state) {
            self.keyed.set_current_key(&key, self.keyed.key_group(&key));
            apply(&key)?;
        }
        Ok(())
    }
}

struct Opened<F: KeyedBroadcastProcessFunction> {
    core: KeyedCore<F::Key, VoidNamespace>,
    states: Registered,
    function: F,
}

/// Runs a [`KeyedBroadcastProcessFunction`].
pub struct KeyedBroadcastOperator<F: KeyedBroadcastProcessFunction, S, O> {
    open: Arc<O>,
    selector: Arc<S>,
    states: BroadcastStates,
    opened: Option<Opened<F>>,
    collector: Collector<F::Out>,
    waiting: Waiting<F::In, F::Broadcast>,
}

impl<F, S, O> KeyedBroadcastOperator<F, S, O>
where
    F: KeyedBroadcastProcessFunction,
    S: KeySelector<F::In, Key = F::Key>,
    O: Fn(&mut KeyedOpenContext<'_, F::Key>) -> Result<F>,
{
    /// Runs the function that `open` makes, on the key that `selector` finds.
    pub fn new(open: Arc<O>, selector: Arc<S>, states: BroadcastStates) -> Self {
        KeyedBroadcastOperator {
            open,
            selector,
            states,
            opened: None,
            collector: Collector::default(),
            waiting: Waiting::default(),
        }
    }

    fn opened(&mut self) -> &mut Opened<F> {
        self.opened.as_mut().expect("an operator is opened first")
    }

    fn process_waiting(&mut self) -> Result<()> {
        let Opened {
            core,
            states,
            function,
        } = self.opened.as_mut().expect("an operator is opened first");
        let out = &mut self.collector;
        match &mut self.waiting {
            Waiting::First(rows) => {
                let keyed = KeyedContext::of_records(core);
                let mut context = KeyedReadOnlyContext { keyed, states };
                while !out.is_full() {
                    let Some(row) = rows.next() else { break };
                    core.set_key(&self.selector.key(&row.value), row.key_group);
                    context.keyed.set_timestamp(row.timestamp);
                    out.set_timestamp(row.timestamp);
                    function.process_element(row.value, &mut context, out)?;
                }
            }
            Waiting::Second(rows) => {
                let mut context = KeyedBroadcastContext {
                    process: ProcessContext::new(&*core.clock, NO_TIMESTAMP, core.watermark),
                    keyed: &core.keyed,
                    states,
                };
                while !out.is_full() {
                    let Some(row) = rows.next() else { break };
                    context.process.set_timestamp(row.timestamp);
                    out.set_timestamp(row.timestamp);
                    function.process_broadcast_element(row.value, &mut context, out)?;
                }
            }
        }
        Ok(())
    }
}

impl<F, S, O> Operator for KeyedBroadcastOperator<F, S, O>
where
    F: KeyedBroadcastProcessFunction,
    S: KeySelector<F::In, Key = F::Key>,
    O: Fn(&mut KeyedOpenContext<'_, F::Key>) -> Result<F>,
{
    fn open(&mut self, context: OpenContext) -> Result<()> {
        let (core, (states, function)) = KeyedCore::open(&context, "user-timers", |open| {
            let states = self.states.register(open.operator())?;
            Ok((states, (self.open)(open)?))
        })?;
        self.opened = Some(Opened {
            core,
            states,
            function,
        });
        Ok(())
    }

    fn state(&self) -> StateDescription {
        let opened = self.opened.as_ref();
        opened.map(|opened| opened.core.state()).unwrap_or_default()
    }

    fn process(&mut self, input: usize, element: Element, output: &mut Output) -> Result<()> {
        match element {
            Element::Records(batch) => {
                self.waiting = Waiting::new(input, batch);
                self.resume(output)
            }
            Element::Watermark(watermark) => {
                self.opened().core.advance_watermark(watermark);
                self.resume(output)
            }
            Element::Idle(_) | Element::EndOfData => Ok(()),
        }
    }

    fn is_paused(&self) -> bool {
        let firing = self
            .opened
            .as_ref()
            .is_some_and(|opened| opened.core.is_firing());
        !self.waiting.is_empty() || firing
    }

    fn resume(&mut self, output: &mut Output) -> Result<()> {
        if !self.waiting.is_empty() {
            self.process_waiting()?;
            self.collector.flush(output);
            return Ok(());
        }
        let Opened {
            core,
            states,
            function,
        } = self.opened.as_mut().expect("an operator is opened first");
        let on_timer = |core: &KeyedCore<F::Key, VoidNamespace>,
                        timer: Timer<F::Key>,
                        domain: TimeDomain,
                        out: &mut Collector<F::Out>| {
            let keyed = KeyedContext::of_timer(core, timer.timestamp, domain);
            let mut context = KeyedReadOnlyContext { keyed, states };
            function.on_timer(timer.timestamp, &mut context, out)
        };
        core.fire(&mut self.collector, output, on_timer)
    }

    fn next_processing_time(&self) -> Option<u64> {
        self.opened.as_ref()?.core.next_processing_time()
    }

    fn on_processing_time(&mut self, now_ms: u64, output: &mut Output) -> Result<()> {
        self.opened().core.advance_processing_time(now_ms);
        self.resume(output)
    }

    fn snapshot(&mut self, context: SnapshotContext) -> Result<OperatorSnapshot> {
        let opened = self.opened();
        opened.function.snapshot_state(context.id)?;
        Ok(opened.core.snapshot(context))
    }

    fn notify_complete(&mut self, checkpoint: CheckpointId) -> Result<()> {
        self.opened()
            .function
            .notify_checkpoint_complete(checkpoint)
    }

    fn notify_aborted(&mut self, checkpoint: CheckpointId) -> Result<()> {
        self.opened().function.notify_checkpoint_aborted(checkpoint)
    }

    fn maintain(&mut self) -> bool {
        self.opened
            .as_ref()
            .is_some_and(|opened| opened.core.keyed.maintain())
    }
}
