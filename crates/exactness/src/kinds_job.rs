//! The job that wrote the fixtures of real Flink with every kind of keyed state, without new input.

use millpond::prelude::{
    AggregateFunction, AggregatingState, Collector, DiscardSink, Environment, FlinkPojo,
    FunctionResult, KeyedContext, KeyedProcessFunction, ListState, MapState, ReducingState,
    ValueState,
};

use crate::fixture_job::Offsets;

/// As Java declares it.
#[derive(FlinkPojo, Clone, Debug, PartialEq)]
#[flink(class = "Person")]
struct Person {
    name: Option<String>,
    age: Option<i32>,
    score: i64,
    ratio: f64,
    active: bool,
    note: Option<String>,
}

/// Sum and count.
struct Average;

impl AggregateFunction for Average {
    type In = i64;
    type Accumulator = (i64, i64);
    type Out = i64;

    fn create_accumulator(&self) -> (i64, i64) {
        (0, 0)
    }

    fn add(&self, value: i64, (sum, count): &mut (i64, i64)) {
        *sum += value;
        *count += 1;
    }

    fn get_result(&self, (sum, count): &(i64, i64)) -> i64 {
        sum / count
    }

    fn merge(&self, a: (i64, i64), b: (i64, i64)) -> (i64, i64) {
        (a.0 + b.0, a.1 + b.1)
    }
}

/// Holds what it was restored with.
struct AllKinds {
    _longs: ValueState<i64>,
    _texts: ValueState<String>,
    _persons: ValueState<Person>,
    _lists: (ListState<i64>, ListState<String>),
    _maps: (MapState<String, i64>, MapState<i64, i64>),
    _sum: ReducingState<i64>,
    _average: AggregatingState<Average>,
}

impl KeyedProcessFunction for AllKinds {
    type Key = String;
    type In = String;
    type Out = String;

    fn process_element(
        &mut self,
        _record: String,
        _context: &mut KeyedContext<'_, String>,
        _out: &mut Collector<String>,
    ) -> FunctionResult<()> {
        Ok(())
    }
}

pub(crate) fn build(env: &Environment) {
    env.add_source("numbers", Offsets::<String>::open)
        .uid("source")
        .key_by_ref(|key: &String| key)
        .process(|context| {
            Ok(AllKinds {
                _longs: context.value_state("value-long")?,
                _texts: context.value_state("value-string")?,
                _persons: context.value_state("value-pojo")?,
                _lists: (
                    context.list_state("list-long")?,
                    context.list_state("list-string")?,
                ),
                _maps: (
                    context.map_state("map-string-long")?,
                    context.map_state("map-long-long")?,
                ),
                _sum: context.reducing_state("reducing-sum", |a: &i64, b: &i64| a + b)?,
                _average: context.aggregating_state("aggregating-avg", Average)?,
            })
        })
        .uid("all-kinds")
        .sink_to(DiscardSink::new())
        .uid("sink");
}
