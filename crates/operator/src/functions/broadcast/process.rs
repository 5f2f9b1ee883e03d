//! Functions with broadcast state and no keys.

use std::ops::Deref;

use millpond_serializer::FlinkType;
use millpond_state::{BroadcastState, ReadOnlyBroadcastState};
use millpond_types::CheckpointId;

use super::states::{BroadcastStates, MapStateDescriptor, Registered};
use crate::batch::Data;
use crate::error::Result;
use crate::functions::co::CoProcessFunction;
use crate::functions::hooks::checkpoint_hooks;
use crate::functions::open::FunctionOpenContext;
use crate::functions::process::ProcessContext;
use crate::output::Collector;

/// User code that processes a stream by what a broadcast stream has made known.
///
/// Made by a closure that registers its other state, once per subtask.
pub trait BroadcastProcessFunction: 'static {
    /// Records in.
    type In: Data;
    /// Broadcast records.
    type Broadcast: Data;
    /// Records out.
    type Out: Data;

    /// Processes one record; broadcast state may be read.
    ///
    /// # Errors
    ///
    /// Any error fails the job with its message.
    fn process_element(
        &mut self,
        value: Self::In,
        context: &ReadOnlyContext<'_>,
        out: &mut Collector<Self::Out>,
    ) -> Result<()>;

    /// Processes one broadcast record, in every subtask; broadcast state may be changed.
    ///
    /// # Errors
    ///
    /// As [`BroadcastProcessFunction::process_element`].
    fn process_broadcast_element(
        &mut self,
        value: Self::Broadcast,
        context: &mut BroadcastContext<'_>,
        out: &mut Collector<Self::Out>,
    ) -> Result<()>;

    checkpoint_hooks!();
}

/// What a function with broadcast state may ask while it processes a record of the other input;
/// also all that [`ProcessContext`] is.
pub struct ReadOnlyContext<'a> {
    process: &'a ProcessContext<'a>,
    states: &'a Registered,
}

impl<'a> Deref for ReadOnlyContext<'a> {
    type Target = ProcessContext<'a>;

    fn deref(&self) -> &ProcessContext<'a> {
        self.process
    }
}

impl ReadOnlyContext<'_> {
    /// A broadcast state, to read.
    ///
    /// # Errors
    ///
    /// The stream was not broadcast with this descriptor.
    pub fn broadcast_state<K: FlinkType + Ord, V: FlinkType>(
        &self,
        descriptor: &MapStateDescriptor<K, V>,
    ) -> Result<ReadOnlyBroadcastState<K, V>> {
        self.states.read(descriptor)
    }
}

/// What a function may ask and do while it processes a broadcast record; also all that
/// [`ProcessContext`] is.
pub struct BroadcastContext<'a> {
    process: &'a ProcessContext<'a>,
    states: &'a Registered,
}

impl<'a> Deref for BroadcastContext<'a> {
    type Target = ProcessContext<'a>;

    fn deref(&self) -> &ProcessContext<'a> {
        self.process
    }
}

impl BroadcastContext<'_> {
    /// A broadcast state, to change.
    ///
    /// # Errors
    ///
    /// The stream was not broadcast with this descriptor.
    pub fn broadcast_state<K: FlinkType + Ord, V: FlinkType>(
        &mut self,
        descriptor: &MapStateDescriptor<K, V>,
    ) -> Result<BroadcastState<K, V>> {
        self.states.get(descriptor)
    }
}

/// Makes a [`CoProcessFunction`] of a function with broadcast state.
pub struct BroadcastFunction<F> {
    function: F,
    states: Registered,
}

impl<F> BroadcastFunction<F> {
    /// Registers the broadcast states and has `open` make the function.
    ///
    /// # Errors
    ///
    /// Restored state of another type; whatever `open` returns.
    pub fn open(
        context: &mut FunctionOpenContext<'_>,
        states: &BroadcastStates,
        open: impl FnOnce(&mut FunctionOpenContext<'_>) -> Result<F>,
    ) -> Result<Self> {
        let states = states.register(context.operator())?;
        let function = open(context)?;
        Ok(BroadcastFunction { function, states })
    }
}

impl<F: BroadcastProcessFunction> CoProcessFunction for BroadcastFunction<F> {
    type In1 = F::In;
    type In2 = F::Broadcast;
    type Out = F::Out;

    fn process_element1(
        &mut self,
        value: F::In,
        process: &ProcessContext<'_>,
        out: &mut Collector<F::Out>,
    ) -> Result<()> {
        let states = &self.states;
        let context = ReadOnlyContext { process, states };
        self.function.process_element(value, &context, out)
    }

    fn process_element2(
        &mut self,
        value: F::Broadcast,
        process: &ProcessContext<'_>,
        out: &mut Collector<F::Out>,
    ) -> Result<()> {
        let states = &self.states;
        let mut context = BroadcastContext { process, states };
        self.function
            .process_broadcast_element(value, &mut context, out)
    }

    fn snapshot_state(&mut self, checkpoint: CheckpointId) -> Result<()> {
        self.function.snapshot_state(checkpoint)
    }

    fn notify_checkpoint_complete(&mut self, checkpoint: CheckpointId) -> Result<()> {
        self.function.notify_checkpoint_complete(checkpoint)
    }

    fn notify_checkpoint_aborted(&mut self, checkpoint: CheckpointId) -> Result<()> {
        self.function.notify_checkpoint_aborted(checkpoint)
    }
}
