//! The operator that runs windows of any kind.
//!
//! Cleanup: a window is gone when the watermark has passed its end and the allowed lateness, or the
//! clock its end; a timer for that moment is registered with every record. What comes later is late.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use millpond_serializer::FlinkKey;
use millpond_state::{ListState, StateDescription, Timer};
use millpond_types::CheckpointId;

use super::contents::WindowContents;
use super::function::{WindowContext, WindowFunction};
use super::merging::{Merge, MergingWindowSet};
use super::state::{WindowOpenContext, WindowStates};
use super::trigger::{Trigger, TriggerContext, TriggerResult};
use super::{Window, WindowAssigner};
use crate::batch::{Data, downcast};
use crate::context::{OpenContext, SnapshotContext};
use crate::element::Element;
use crate::error::{FunctionError, Result};
use crate::functions::keyed_core::{KeyedCore, TimeDomain};
use crate::functions::rows::{Row, Rows};
use crate::operator::{Operator, OperatorSnapshot};
use crate::output::{Collector, Output, SideTag};
use crate::partition::KeySelector;

/// What the windows of an operator are, the same in all subtasks.
pub struct WindowDefinition<T, A, G, C> {
    /// Which windows a record belongs to.
    pub assigner: A,
    /// When they are computed.
    pub trigger: G,
    /// How their records are kept.
    pub contents: C,
    /// For how long behind the end of a window its records are still taken, in milliseconds.
    pub allowed_lateness_ms: i64,
    /// Where records go that no window takes; without one they are dropped.
    pub late_data: Option<SideTag<T>>,
}

impl<T, A: WindowAssigner<T>, G, C> WindowDefinition<T, A, G, C> {
    /// When a window is gone; `i64::MAX` is never.
    fn cleanup_time(&self, window: &A::Window) -> i64 {
        if self.assigner.is_event_time() {
            let end = window.max_timestamp();
            end.saturating_add(self.allowed_lateness_ms)
        } else {
            window.max_timestamp()
        }
    }

    fn is_window_late(&self, window: &A::Window, watermark: i64) -> bool {
        self.assigner.is_event_time() && self.cleanup_time(window) <= watermark
    }

    fn is_record_late(&self, timestamp: i64, watermark: i64) -> bool {
        let until = timestamp.saturating_add(self.allowed_lateness_ms);
        self.assigner.is_event_time() && until <= watermark
    }

    fn register_cleanup<K: FlinkKey>(&self, core: &KeyedCore<K, A::Window>, window: A::Window) {
        let time = self.cleanup_time(&window);
        if time == i64::MAX {
            return;
        }
        if self.assigner.is_event_time() {
            core.handle.register_event_time(&window, time);
        } else {
            core.handle.register_processing_time(&window, time);
        }
    }

    fn delete_cleanup<K: FlinkKey>(&self, core: &KeyedCore<K, A::Window>, window: A::Window) {
        let time = self.cleanup_time(&window);
        if time == i64::MAX {
            return;
        }
        if self.assigner.is_event_time() {
            core.handle.delete_event_time(&window, time);
        } else {
            core.handle.delete_processing_time(&window, time);
        }
    }
}

struct Opened<T, K, A, G, C, F>
where
    K: FlinkKey,
    A: WindowAssigner<T>,
    G: Trigger<T, A::Window>,
    C: WindowContents<A::Window>,
{
    core: KeyedCore<K, A::Window>,
    windows: Windows<T, A, G, C, F>,
}

/// The parts that work on windows.
struct Windows<T, A, G, C, F>
where
    A: WindowAssigner<T>,
    G: Trigger<T, A::Window>,
    C: WindowContents<A::Window>,
{
    contents: C::State,
    trigger: G::State,
    /// Of merging windows: window and state window.
    merging: Option<ListState<(A::Window, A::Window)>>,
    function: F,
    /// The window that the states of trigger and function are of.
    current: Rc<Cell<A::Window>>,
    /// The windows of one record.
    assigned: Vec<A::Window>,
    late_records_dropped: u64,
}

impl<T, A, G, C, F> Windows<T, A, G, C, F>
where
    T: Data,
    A: WindowAssigner<T>,
    G: Trigger<T, A::Window>,
    C: WindowContents<A::Window, In = T>,
{
    fn trigger_context<'a, K: FlinkKey>(
        &self,
        core: &'a KeyedCore<K, A::Window>,
        window: A::Window,
    ) -> TriggerContext<'a, A::Window> {
        self.current.set(window);
        TriggerContext {
            timers: &core.handle,
            clock: &*core.clock,
            watermark: core.watermark,
            window,
        }
    }

    fn window_context<'a, K: FlinkKey>(
        current: &Cell<A::Window>,
        core: &'a KeyedCore<K, A::Window>,
        window: A::Window,
    ) -> WindowContext<'a, A::Window> {
        current.set(window);
        WindowContext {
            window,
            clock: &*core.clock,
            watermark: core.watermark,
        }
    }

    fn merging_set(&self) -> Option<MergingWindowSet<A::Window>> {
        let pairs = self.merging.as_ref()?;
        Some(MergingWindowSet::new(pairs.get()))
    }

    fn persist(&mut self, set: Option<MergingWindowSet<A::Window>>) {
        if let (Some(state), Some(pairs)) = (
            &mut self.merging,
            set.and_then(MergingWindowSet::into_changed),
        ) {
            state.update(pairs);
        }
    }

    /// Adds a record of the current key to its windows.
    fn add<K: FlinkKey>(
        &mut self,
        definition: &WindowDefinition<T, A, G, C>,
        core: &KeyedCore<K, A::Window>,
        row: Row<T>,
        out: &mut Collector<F::Out>,
    ) -> Result<()>
    where
        F: WindowFunction<K, A::Window, C::Elements>,
    {
        let Row {
            value, timestamp, ..
        } = row;
        let mut assigned = std::mem::take(&mut self.assigned);
        definition
            .assigner
            .assign_windows(&value, timestamp, core.now_ms(), &mut assigned)?;
        let mut set = self.merging_set();
        let mut record = Some(value);
        let mut taken = false;
        let count = assigned.len();
        for (index, window) in assigned.drain(..).enumerate() {
            let mut window = window;
            if let Some(set) = &mut set {
                let added = set.add(window, &definition.assigner);
                window = added.window;
                for merge in added.merges {
                    self.merge(definition, core, merge)?;
                }
            }
            if definition.is_window_late(&window, core.watermark) {
                if let Some(set) = &mut set {
                    set.retire(&window);
                }
                continue;
            }
            taken = true;
            let namespace = match &set {
                Some(set) => set.state_window(&window).unwrap_or(window),
                None => window,
            };
            let Some(value) = &record else { break };
            let context = self.trigger_context(core, window);
            let result = definition.trigger.on_element(
                &mut self.trigger,
                value,
                timestamp,
                &window,
                &context,
            )?;
            // The last window gets the record itself.
            let value = if index + 1 == count {
                record.take()
            } else {
                record.clone()
            };
            if let Some(value) = value {
                definition
                    .contents
                    .add(&mut self.contents, namespace, value, timestamp);
            }
            self.act(definition, core, result, (window, namespace), out)?;
            definition.register_cleanup(core, window);
        }
        self.assigned = assigned;
        self.persist(set);
        if !taken && definition.is_record_late(timestamp, core.watermark) {
            match (&definition.late_data, record) {
                (Some(tag), Some(record)) => {
                    out.set_timestamp(timestamp);
                    out.output(tag, record);
                }
                (Some(_), None) | (None, _) => self.late_records_dropped += 1,
            }
        }
        Ok(())
    }

    /// Makes one window of several.
    fn merge<K: FlinkKey>(
        &mut self,
        definition: &WindowDefinition<T, A, G, C>,
        core: &KeyedCore<K, A::Window>,
        merge: Merge<A::Window>,
    ) -> Result<()> {
        let end = merge.result.max_timestamp();
        let is_event_time = definition.assigner.is_event_time();
        if definition.is_window_late(&merge.result, core.watermark)
            || (!is_event_time && end <= core.now_ms())
        {
            let (end_of, time) = if is_event_time {
                ("an event-time window", core.watermark)
            } else {
                ("a processing-time window", core.now_ms())
            };
            return Err(FunctionError::new(format!(
                "the end of {end_of} cannot lie behind the current time after a merge: its last \
                 timestamp is {end}, the time is {time}"
            )));
        }
        let context = self.trigger_context(core, merge.result);
        definition
            .trigger
            .on_merge(&mut self.trigger, &merge.result, &merge.merged, &context)?;
        for window in &merge.merged {
            let context = self.trigger_context(core, *window);
            definition
                .trigger
                .clear(&mut self.trigger, window, &context)?;
            definition.delete_cleanup(core, *window);
        }
        definition.contents.merge(
            &mut self.contents,
            merge.state_window,
            &merge.merged_state_windows,
        );
        Ok(())
    }

    /// Does what a trigger wants done with a window whose contents lie in `namespace`.
    fn act<K: FlinkKey>(
        &mut self,
        definition: &WindowDefinition<T, A, G, C>,
        core: &KeyedCore<K, A::Window>,
        result: TriggerResult,
        (window, namespace): (A::Window, A::Window),
        out: &mut Collector<F::Out>,
    ) -> Result<()>
    where
        F: WindowFunction<K, A::Window, C::Elements>,
    {
        if result.is_fire()
            && let Some(key) = core.keyed.current_key()
        {
            out.set_timestamp(window.max_timestamp());
            let context = Self::window_context(&self.current, core, window);
            let function = &mut self.function;
            definition
                .contents
                .fire(&mut self.contents, namespace, &window, |elements| {
                    function.process(&key, &context, elements, out)
                })?;
        }
        if result.is_purge() {
            definition.contents.clear(&mut self.contents, namespace);
        }
        Ok(())
    }

    fn on_timer<K: FlinkKey>(
        &mut self,
        definition: &WindowDefinition<T, A, G, C>,
        core: &KeyedCore<K, A::Window>,
        timer: Timer<K, A::Window>,
        domain: TimeDomain,
        out: &mut Collector<F::Out>,
    ) -> Result<()>
    where
        F: WindowFunction<K, A::Window, C::Elements>,
    {
        let window = timer.namespace;
        let mut set = self.merging_set();
        let namespace = match &set {
            Some(set) => match set.state_window(&window) {
                Some(namespace) => namespace,
                // Of a window that was merged, by a trigger that has left its timer.
                None => return Ok(()),
            },
            None => window,
        };
        let context = self.trigger_context(core, window);
        let (trigger, time) = (&mut self.trigger, timer.timestamp);
        let result = match domain {
            TimeDomain::EventTime => definition
                .trigger
                .on_event_time(trigger, time, &window, &context)?,
            TimeDomain::ProcessingTime => definition
                .trigger
                .on_processing_time(trigger, time, &window, &context)?,
        };
        self.act(definition, core, result, (window, namespace), out)?;
        let ends = (domain == TimeDomain::EventTime) == definition.assigner.is_event_time();
        if ends && time == definition.cleanup_time(&window) {
            definition.contents.clear(&mut self.contents, namespace);
            let context = self.trigger_context(core, window);
            definition
                .trigger
                .clear(&mut self.trigger, &window, &context)?;
            let context = Self::window_context(&self.current, core, window);
            self.function.clear(&timer.key, &context)?;
            if let Some(set) = &mut set {
                set.retire(&window);
            }
        }
        self.persist(set);
        Ok(())
    }
}

/// Runs windows of a keyed stream.
pub struct WindowOperator<T, S, A, G, C, O, F>
where
    S: KeySelector<T>,
    A: WindowAssigner<T>,
    G: Trigger<T, A::Window>,
    C: WindowContents<A::Window, In = T>,
    F: WindowFunction<S::Key, A::Window, C::Elements>,
{
    selector: Arc<S>,
    definition: Arc<WindowDefinition<T, A, G, C>>,
    open: Arc<O>,
    opened: Option<Opened<T, S::Key, A, G, C, F>>,
    collector: Collector<F::Out>,
    waiting: Rows<T>,
}

impl<T, S, A, G, C, O, F> WindowOperator<T, S, A, G, C, O, F>
where
    S: KeySelector<T>,
    A: WindowAssigner<T>,
    G: Trigger<T, A::Window>,
    C: WindowContents<A::Window, In = T>,
    O: Fn(&WindowOpenContext<'_, '_, S::Key, A::Window>) -> Result<F>,
    F: WindowFunction<S::Key, A::Window, C::Elements>,
{
    /// Runs the function that `open` makes on the windows of `definition`.
    ///
    /// # Panics
    ///
    /// If the windows merge and the trigger cannot.
    pub fn new(
        selector: Arc<S>,
        definition: Arc<WindowDefinition<T, A, G, C>>,
        open: Arc<O>,
    ) -> Self {
        assert!(
            !A::MERGING || definition.trigger.can_merge(),
            "A merging window assigner cannot be used with a trigger that does not support merging."
        );
        WindowOperator {
            selector,
            definition,
            open,
            opened: None,
            collector: Collector::default(),
            waiting: Rows::default(),
        }
    }

    /// How many records came too late and were dropped: Flink's `numLateRecordsDropped`.
    pub fn late_records_dropped(&self) -> u64 {
        self.opened
            .as_ref()
            .map_or(0, |opened| opened.windows.late_records_dropped)
    }

    fn opened(&mut self) -> &mut Opened<T, S::Key, A, G, C, F> {
        self.opened.as_mut().expect("an operator is opened first")
    }
}

impl<T, S, A, G, C, O, F> Operator for WindowOperator<T, S, A, G, C, O, F>
where
    T: Data,
    S: KeySelector<T>,
    A: WindowAssigner<T>,
    G: Trigger<T, A::Window>,
    C: WindowContents<A::Window, In = T>,
    O: Fn(&WindowOpenContext<'_, '_, S::Key, A::Window>) -> Result<F>,
    F: WindowFunction<S::Key, A::Window, C::Elements>,
{
    fn open(&mut self, context: OpenContext) -> Result<()> {
        let current = Rc::new(Cell::new(A::Window::default()));
        let definition = Arc::clone(&self.definition);
        let open = &self.open;
        let (core, windows) = KeyedCore::open(&context, "window-timers", |context| {
            let keyed = context.backend();
            let contents = definition.contents.open(keyed)?;
            let merging = match A::MERGING {
                true => Some(keyed.list_state("merging-window-set")?),
                false => None,
            };
            let states = WindowStates::new(keyed, Rc::clone(&current));
            let trigger = definition.trigger.open(&states)?;
            let function = open(&WindowOpenContext {
                keyed: context,
                states,
                merging: A::MERGING,
            })?;
            Ok(Windows {
                contents,
                trigger,
                merging,
                function,
                current,
                assigned: Vec::new(),
                late_records_dropped: 0,
            })
        })?;
        self.opened = Some(Opened { core, windows });
        Ok(())
    }

    fn state(&self) -> StateDescription {
        let opened = self.opened.as_ref();
        opened.map(|opened| opened.core.state()).unwrap_or_default()
    }

    fn process(&mut self, _input: usize, element: Element, output: &mut Output) -> Result<()> {
        match element {
            Element::Records(batch) => {
                self.waiting = Rows::new(downcast(batch));
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
        let opened = self.opened.as_mut().expect("an operator is opened first");
        let Opened { core, windows } = opened;
        let definition = &*self.definition;
        if self.waiting.is_empty() {
            return core.fire(&mut self.collector, output, |core, timer, domain, out| {
                windows.on_timer(definition, core, timer, domain, out)
            });
        }
        while !self.collector.is_full() {
            let Some(row) = self.waiting.next() else {
                break;
            };
            core.set_key(&self.selector.key(&row.value), row.key_group);
            windows.add(definition, core, row, &mut self.collector)?;
        }
        self.collector.flush(output);
        Ok(())
    }

    fn next_processing_time(&self) -> Option<u64> {
        self.opened.as_ref()?.core.next_processing_time()
    }

    fn on_processing_time(&mut self, now_ms: u64, output: &mut Output) -> Result<()> {
        self.opened().core.advance_processing_time(now_ms);
        self.resume(output)
    }

    fn snapshot(&mut self, context: SnapshotContext) -> Result<OperatorSnapshot> {
        let Opened { core, windows } = self.opened();
        windows.function.snapshot_state(context.id)?;
        Ok(core.snapshot(context))
    }

    fn notify_complete(&mut self, checkpoint: CheckpointId) -> Result<()> {
        let function = &mut self.opened().windows.function;
        function.notify_checkpoint_complete(checkpoint)
    }

    fn notify_aborted(&mut self, checkpoint: CheckpointId) -> Result<()> {
        let function = &mut self.opened().windows.function;
        function.notify_checkpoint_aborted(checkpoint)
    }

    fn maintain(&mut self) -> bool {
        self.opened
            .as_ref()
            .is_some_and(|opened| opened.core.keyed.maintain())
    }
}
