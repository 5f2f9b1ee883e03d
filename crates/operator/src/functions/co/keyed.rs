//! Functions of two inputs with keyed state and timers.

use std::sync::Arc;

use millpond_serializer::{FlinkKey, VoidNamespace};
use millpond_state::{StateDescription, Timer};
use millpond_types::CheckpointId;

use super::waiting::Waiting;
use crate::batch::Data;
use crate::context::{OpenContext, SnapshotContext};
use crate::element::Element;
use crate::error::Result;
use crate::functions::hooks::checkpoint_hooks;
use crate::functions::keyed::{KeyedContext, KeyedOpenContext};
use crate::functions::keyed_core::{KeyedCore, TimeDomain};
use crate::operator::{Operator, OperatorSnapshot};
use crate::output::{Collector, Output};
use crate::partition::KeySelector;

/// User code that runs per record of two inputs, with state of the record's key in common.
///
/// Made by a closure that registers its state, once per subtask.
pub trait KeyedCoProcessFunction: 'static {
    /// The key, the same for both inputs.
    type Key: FlinkKey;
    /// Records of the first input.
    type In1: Data;
    /// Records of the second input.
    type In2: Data;
    /// Records out.
    type Out: Data;

    /// Processes one record of the first input.
    ///
    /// # Errors
    ///
    /// Any error fails the job with its message.
    fn process_element1(
        &mut self,
        value: Self::In1,
        context: &mut KeyedContext<'_, Self::Key>,
        out: &mut Collector<Self::Out>,
    ) -> Result<()>;

    /// Processes one record of the second input.
    ///
    /// # Errors
    ///
    /// As [`KeyedCoProcessFunction::process_element1`].
    fn process_element2(
        &mut self,
        value: Self::In2,
        context: &mut KeyedContext<'_, Self::Key>,
        out: &mut Collector<Self::Out>,
    ) -> Result<()>;

    /// A timer of the current key has fired.
    ///
    /// # Errors
    ///
    /// As [`KeyedCoProcessFunction::process_element1`].
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

struct Opened<F: KeyedCoProcessFunction> {
    core: KeyedCore<F::Key, VoidNamespace>,
    function: F,
}

/// Runs a [`KeyedCoProcessFunction`].
pub struct KeyedCoProcessOperator<F: KeyedCoProcessFunction, S1, S2, O> {
    open: Arc<O>,
    selectors: (Arc<S1>, Arc<S2>),
    opened: Option<Opened<F>>,
    collector: Collector<F::Out>,
    waiting: Waiting<F::In1, F::In2>,
}

impl<F, S1, S2, O> KeyedCoProcessOperator<F, S1, S2, O>
where
    F: KeyedCoProcessFunction,
    S1: KeySelector<F::In1, Key = F::Key>,
    S2: KeySelector<F::In2, Key = F::Key>,
    O: Fn(&mut KeyedOpenContext<'_, F::Key>) -> Result<F>,
{
    /// Runs the function that `open` makes, on the keys that `selectors` find.
    pub fn new(open: Arc<O>, selectors: (Arc<S1>, Arc<S2>)) -> Self {
        KeyedCoProcessOperator {
            open,
            selectors,
            opened: None,
            collector: Collector::default(),
            waiting: Waiting::default(),
        }
    }

    fn opened(&mut self) -> &mut Opened<F> {
        self.opened.as_mut().expect("an operator is opened first")
    }

    fn process_waiting(&mut self) -> Result<()> {
        let Opened { core, function } = self.opened.as_mut().expect("an operator is opened first");
        let mut context = KeyedContext::of_records(core);
        let out = &mut self.collector;
        while !out.is_full() {
            match &mut self.waiting {
                Waiting::First(rows) => {
                    let Some(row) = rows.next() else { break };
                    core.set_key(&self.selectors.0.key(&row.value), row.key_group);
                    context.set_timestamp(row.timestamp);
                    out.set_timestamp(row.timestamp);
                    function.process_element1(row.value, &mut context, out)?;
                }
                Waiting::Second(rows) => {
                    let Some(row) = rows.next() else { break };
                    core.set_key(&self.selectors.1.key(&row.value), row.key_group);
                    context.set_timestamp(row.timestamp);
                    out.set_timestamp(row.timestamp);
                    function.process_element2(row.value, &mut context, out)?;
                }
            }
        }
        Ok(())
    }
}

impl<F, S1, S2, O> Operator for KeyedCoProcessOperator<F, S1, S2, O>
where
    F: KeyedCoProcessFunction,
    S1: KeySelector<F::In1, Key = F::Key>,
    S2: KeySelector<F::In2, Key = F::Key>,
    O: Fn(&mut KeyedOpenContext<'_, F::Key>) -> Result<F>,
{
    fn open(&mut self, context: OpenContext) -> Result<()> {
        let (core, function) = KeyedCore::open(&context, "user-timers", |open| (self.open)(open))?;
        self.opened = Some(Opened { core, function });
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
        let Opened { core, function } = self.opened.as_mut().expect("an operator is opened first");
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
        self.opened.as_ref()?.core.next_processing_time()
    }

    fn on_processing_time(&mut self, now_ms: u64, output: &mut Output) -> Result<()> {
        self.opened().core.advance_processing_time(now_ms);
        self.resume(output)
    }

    fn snapshot(&mut self, context: SnapshotContext) -> Result<OperatorSnapshot> {
        let Opened { core, function } = self.opened();
        function.snapshot_state(context.id)?;
        Ok(core.snapshot(context))
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
