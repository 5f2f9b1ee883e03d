//! What is done with a window that fires.

use std::sync::Arc;

use millpond_serializer::FlinkKey;
use millpond_state::AggregateFunction;
use millpond_types::{CheckpointId, Clock};

use super::Window;
use crate::batch::Data;
use crate::error::Result;
use crate::functions::hooks::checkpoint_hooks;
use crate::output::Collector;

/// User code that computes a window, with state of the key and of the window.
///
/// Made by a closure that registers its state, once per subtask.
pub trait ProcessWindowFunction: 'static {
    /// The key.
    type Key: FlinkKey;
    /// The windows.
    type Window: Window;
    /// The elements of a window: its records, or the one result of their reduction or aggregation.
    type In;
    /// Records out.
    type Out: Data;

    /// Computes a window; what it emits has the last timestamp of the window.
    ///
    /// # Errors
    ///
    /// Any error fails the job with its message.
    fn process(
        &mut self,
        key: &Self::Key,
        context: &WindowContext<'_, Self::Window>,
        elements: Vec<Self::In>,
        out: &mut Collector<Self::Out>,
    ) -> Result<()>;

    /// The window ends: clear its state.
    ///
    /// # Errors
    ///
    /// As [`ProcessWindowFunction::process`].
    fn clear(
        &mut self,
        _key: &Self::Key,
        _context: &WindowContext<'_, Self::Window>,
    ) -> Result<()> {
        Ok(())
    }

    checkpoint_hooks!();
}

/// What a window function may ask.
pub struct WindowContext<'a, W> {
    pub(super) window: W,
    pub(super) clock: &'a dyn Clock,
    pub(super) watermark: i64,
}

impl<W: Window> WindowContext<'_, W> {
    /// The window.
    pub fn window(&self) -> W {
        self.window
    }

    /// The watermark in milliseconds; `i64::MIN` before the first.
    pub fn current_watermark(&self) -> i64 {
        self.watermark
    }

    /// The time of the machine in milliseconds since 1970.
    pub fn current_processing_time(&self) -> i64 {
        self.clock.now_ms() as i64
    }
}

/// What the window operator calls for a window: `E` is what it holds.
pub trait WindowFunction<K: FlinkKey, W: Window, E>: 'static {
    /// Records out.
    type Out: Data;

    /// Computes a window.
    ///
    /// # Errors
    ///
    /// Any error fails the job with its message.
    fn process(
        &mut self,
        key: &K,
        context: &WindowContext<'_, W>,
        elements: E,
        out: &mut Collector<Self::Out>,
    ) -> Result<()>;

    /// The window ends.
    ///
    /// # Errors
    ///
    /// As [`WindowFunction::process`].
    fn clear(&mut self, _key: &K, _context: &WindowContext<'_, W>) -> Result<()> {
        Ok(())
    }

    checkpoint_hooks!();
}

/// Emits one record per window, made of key, window and result.
pub struct EmitResult<F>(pub Arc<F>);

impl<K, W, E, Out, F> WindowFunction<K, W, E> for EmitResult<F>
where
    K: FlinkKey,
    W: Window,
    Out: Data,
    F: Fn(&K, W, E) -> Out + 'static,
{
    type Out = Out;

    fn process(
        &mut self,
        key: &K,
        context: &WindowContext<'_, W>,
        elements: E,
        out: &mut Collector<Out>,
    ) -> Result<()> {
        out.collect((self.0)(key, context.window, elements));
        Ok(())
    }
}

/// The calls that all adapters hand on to a function of the user.
macro_rules! hand_on {
    ($key:ty, $window:ty) => {
        fn clear(&mut self, key: &$key, context: &WindowContext<'_, $window>) -> Result<()> {
            self.0.clear(key, context)
        }

        fn snapshot_state(&mut self, checkpoint: CheckpointId) -> Result<()> {
            self.0.snapshot_state(checkpoint)
        }

        fn notify_checkpoint_complete(&mut self, checkpoint: CheckpointId) -> Result<()> {
            self.0.notify_checkpoint_complete(checkpoint)
        }

        fn notify_checkpoint_aborted(&mut self, checkpoint: CheckpointId) -> Result<()> {
            self.0.notify_checkpoint_aborted(checkpoint)
        }
    };
}

/// Gives the one result of a window to a [`ProcessWindowFunction`].
pub struct EachElement<F>(pub F);

impl<F: ProcessWindowFunction> WindowFunction<F::Key, F::Window, F::In> for EachElement<F> {
    type Out = F::Out;

    fn process(
        &mut self,
        key: &F::Key,
        context: &WindowContext<'_, F::Window>,
        element: F::In,
        out: &mut Collector<F::Out>,
    ) -> Result<()> {
        self.0.process(key, context, vec![element], out)
    }

    hand_on!(F::Key, F::Window);
}

/// Gives all records of a window to a [`ProcessWindowFunction`].
pub struct WholeWindow<F>(pub F);

impl<F: ProcessWindowFunction> WindowFunction<F::Key, F::Window, Vec<F::In>> for WholeWindow<F> {
    type Out = F::Out;

    fn process(
        &mut self,
        key: &F::Key,
        context: &WindowContext<'_, F::Window>,
        elements: Vec<F::In>,
        out: &mut Collector<F::Out>,
    ) -> Result<()> {
        self.0.process(key, context, elements, out)
    }

    hand_on!(F::Key, F::Window);
}

/// Reduces what an evictor has left of a window, and gives the result to another function.
pub struct ReduceElements<F, R>(pub F, pub Arc<R>);

impl<K, W, T, F, R> WindowFunction<K, W, Vec<T>> for ReduceElements<F, R>
where
    K: FlinkKey,
    W: Window,
    T: 'static,
    F: WindowFunction<K, W, T>,
    R: Fn(&T, &T) -> T + 'static,
{
    type Out = F::Out;

    fn process(
        &mut self,
        key: &K,
        context: &WindowContext<'_, W>,
        elements: Vec<T>,
        out: &mut Collector<F::Out>,
    ) -> Result<()> {
        match elements.into_iter().reduce(|a, b| (self.1)(&a, &b)) {
            Some(result) => self.0.process(key, context, result, out),
            None => Ok(()),
        }
    }

    hand_on!(K, W);
}

/// Aggregates what an evictor has left of a window, and gives the result to another function.
pub struct AggregateElements<F, A>(pub F, pub Arc<A>);

impl<K, W, F, A> WindowFunction<K, W, Vec<A::In>> for AggregateElements<F, A>
where
    K: FlinkKey,
    W: Window,
    A: AggregateFunction,
    F: WindowFunction<K, W, A::Out>,
{
    type Out = F::Out;

    fn process(
        &mut self,
        key: &K,
        context: &WindowContext<'_, W>,
        elements: Vec<A::In>,
        out: &mut Collector<F::Out>,
    ) -> Result<()> {
        let mut accumulator = self.1.create_accumulator();
        for element in elements {
            self.1.add(element, &mut accumulator);
        }
        let result = self.1.get_result(&accumulator);
        self.0.process(key, context, result, out)
    }

    hand_on!(K, W);
}
