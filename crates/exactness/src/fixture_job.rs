//! The job that wrote the `count-*` fixtures of real Flink, without new input.

use millpond::operator::Data;
use millpond::prelude::{
    Collector, Environment, FlinkKey, FunctionOpenContext, FunctionResult, InputStatus,
    KeyedContext, KeyedProcessFunction, OperatorListState, SourceFunction, ValueState,
};
use serde::{Deserialize, Serialize};

use crate::arguments::KeyType;

/// Keeps what it was restored with, and emits nothing.
pub(crate) struct Offsets<K> {
    _offsets: OperatorListState<i64>,
    key: std::marker::PhantomData<K>,
}

impl<K: Data> Offsets<K> {
    pub(crate) fn open(context: &mut FunctionOpenContext<'_>) -> FunctionResult<Self> {
        let _offsets = context.operator_list_state("offsets")?;
        Ok(Offsets {
            _offsets,
            key: std::marker::PhantomData,
        })
    }
}

impl<K: Data> SourceFunction for Offsets<K> {
    type Out = K;

    fn poll_next(&mut self, _limit: usize, _out: &mut Collector<K>) -> FunctionResult<InputStatus> {
        Ok(InputStatus::NothingAvailable(None))
    }

    fn snapshot_state(&mut self, _checkpoint: i64) -> FunctionResult<()> {
        Ok(())
    }
}

struct Counter<K> {
    count: ValueState<i64>,
    key: std::marker::PhantomData<K>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Nothing;

impl<K: FlinkKey + Data> KeyedProcessFunction for Counter<K> {
    type Key = K;
    type In = K;
    type Out = Nothing;

    fn process_element(
        &mut self,
        _record: K,
        _context: &mut KeyedContext<'_, K>,
        _out: &mut Collector<Nothing>,
    ) -> FunctionResult<()> {
        self.count
            .update_with(|count| *count.insert(count.unwrap_or(0) + 1));
        Ok(())
    }
}

pub(crate) fn build(env: &Environment, key_type: KeyType) {
    match key_type {
        KeyType::String => build_with::<String>(env),
        KeyType::Long => build_with::<i64>(env),
        KeyType::Int => build_with::<i32>(env),
        KeyType::Tuple => build_with::<(String, i64)>(env),
    }
}

fn build_with<K: FlinkKey + Data>(env: &Environment) {
    env.add_source("numbers", Offsets::<K>::open)
        .uid("source")
        .key_by_ref(|key: &K| key)
        .process(|context| {
            Ok(Counter::<K> {
                count: context.value_state("count")?,
                key: std::marker::PhantomData,
            })
        })
        .uid("counter")
        .sink_to(millpond::prelude::DiscardSink::new())
        .uid("sink");
}
