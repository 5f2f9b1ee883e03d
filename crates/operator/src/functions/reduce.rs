//! Keyed reduce: a running value per key.

use millpond_serializer::{FlinkKey, FlinkType};
use millpond_state::ValueState;

use crate::batch::Data;
use crate::error::Result;
use crate::functions::keyed::{KeyedContext, KeyedOpenContext, KeyedProcessFunction};
use crate::output::Collector;

/// Emits, for every record, what all records of its key have been reduced to so far.
///
/// The state is the value state `_op_state`, as in Flink 2.3.0, class `StreamGroupedReduceOperator`.
pub struct RunningReduce<K, T, F> {
    state: ValueState<T>,
    reduce: F,
    key: std::marker::PhantomData<fn(K)>,
}

impl<K: FlinkKey, T: FlinkType, F> RunningReduce<K, T, F> {
    /// Registers the state.
    ///
    /// # Errors
    ///
    /// Restored state of another type.
    pub fn open(context: &mut KeyedOpenContext<'_, K>, reduce: F) -> Result<Self> {
        let state = context.value_state("_op_state")?;
        Ok(RunningReduce {
            state,
            reduce,
            key: std::marker::PhantomData,
        })
    }
}

impl<K, T, F> KeyedProcessFunction for RunningReduce<K, T, F>
where
    K: FlinkKey,
    T: Data + FlinkType,
    F: Fn(&T, &T) -> T + 'static,
{
    type Key = K;
    type In = T;
    type Out = T;

    fn process_element(
        &mut self,
        value: T,
        _context: &mut KeyedContext<'_, K>,
        out: &mut Collector<T>,
    ) -> Result<()> {
        let reduce = &self.reduce;
        let reduced = self.state.update_with(|state| {
            let reduced = match state.as_ref() {
                Some(before) => reduce(before, &value),
                None => value,
            };
            *state = Some(reduced.clone());
            reduced
        });
        out.collect(reduced);
        Ok(())
    }
}
