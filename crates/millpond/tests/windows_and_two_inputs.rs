//! Whole jobs: windows, connected streams and broadcast state come out the same at any parallelism.

use millpond::connectors::CollectSink;
use millpond::operator::Data;
use millpond::prelude::*;
use millpond::types::config::Configuration;

fn environment(parallelism: u32) -> Environment {
    let parallelism = parallelism.to_string();
    Environment::from_configuration(Configuration::from_pairs([
        ("parallelism.default", parallelism.as_str()),
        ("rest.bind-port", "0"),
        ("rest.linger", "0 s"),
    ]))
    .expect("a configuration")
}

/// The numbers below `count`, each at its own millisecond.
fn numbers(env: &Environment, count: u64) -> DataStream<i64> {
    let in_order = WatermarkStrategy::for_bounded_out_of_orderness(
        Duration::from_secs(1_000_000),
        |n: &i64| *n,
    );
    env.from_source(GeneratorSource::new(Some(count), |n| n as i64), "numbers")
        .assign_timestamps_and_watermarks(in_order)
}

/// Runs the job that `build` makes at parallelism 1 and 3; what came out is `expected`, sorted.
fn check<T: Data + Ord + std::fmt::Debug>(
    build: impl Fn(&Environment) -> DataStream<T>,
    mut expected: Vec<T>,
) {
    expected.sort();
    for parallelism in [1, 3] {
        let env = environment(parallelism);
        let sink = CollectSink::<T>::new();
        build(&env).sink_to(sink.clone());
        env.execute("job").expect("finishes");
        let mut found = sink.results();
        found.sort();
        assert_eq!(found, expected, "parallelism {parallelism}");
    }
}

#[test]
fn windows_over_a_whole_stream_see_every_record_once() {
    let sums = |env: &Environment| {
        numbers(env, 100)
            .window_all(TumblingEventTimeWindows::of(Duration::from_millis(30)))
            .reduce_with(|a, b| a + b, |_, window, sum| (window.start, sum))
    };
    let sum = |start: i64, end: i64| (start, (start..end).sum());
    check(
        sums,
        vec![sum(0, 30), sum(30, 60), sum(60, 90), sum(90, 100)],
    );
}

#[test]
fn windows_of_so_many_records_fire_when_they_are_full() {
    let sizes = |env: &Environment| {
        numbers(env, 100)
            .map(|n| (n % 3, 1i64))
            .key_by(|n: &(i64, i64)| n.0)
            .count_window(10)
            .reduce(|a, b| (a.0, a.1 + b.1))
    };
    // 34, 33 and 33 numbers: three full windows each.
    check(sizes, (0..9).map(|n| (n % 3, 10)).collect());
}

#[test]
fn two_streams_become_one_by_functions_of_each() {
    let both = |env: &Environment| {
        let texts = numbers(env, 20).map(|n| format!("text {n}"));
        numbers(env, 20)
            .connect(&texts)
            .map(|n| format!("number {n}"), |text| text)
    };
    let each = |n: i64| [format!("number {n}"), format!("text {n}")];
    check(both, (0..20).flat_map(each).collect());
}

/// Pairs a number with the text of the same key, whichever comes first.
struct Pair {
    number: ValueState<i64>,
    text: ValueState<String>,
}

impl KeyedCoProcessFunction for Pair {
    type Key = i64;
    type In1 = i64;
    type In2 = (i64, String);
    type Out = String;

    fn process_element1(
        &mut self,
        number: i64,
        _context: &mut KeyedContext<'_, i64>,
        out: &mut Collector<String>,
    ) -> FunctionResult<()> {
        match self.text.value() {
            Some(text) => out.collect(format!("{number} is {text}")),
            None => self.number.update(number),
        }
        Ok(())
    }

    fn process_element2(
        &mut self,
        (_, text): (i64, String),
        _context: &mut KeyedContext<'_, i64>,
        out: &mut Collector<String>,
    ) -> FunctionResult<()> {
        match self.number.value() {
            Some(number) => out.collect(format!("{number} is {text}")),
            None => self.text.update(text),
        }
        Ok(())
    }
}

#[test]
fn a_keyed_function_of_two_streams_sees_both_sides_of_a_key() {
    let pairs = |env: &Environment| {
        let texts = numbers(env, 500).map(|n| (n, format!("text {n}")));
        let texts = texts.key_by(|text: &(i64, String)| text.0);
        numbers(env, 500)
            .key_by(|n| *n)
            .connect(&texts)
            .process(|context| {
                Ok(Pair {
                    number: context.value_state("number")?,
                    text: context.value_state("text")?,
                })
            })
    };
    check(
        pairs,
        (0..500).map(|n| format!("{n} is text {n}")).collect(),
    );
}

const SEEN: MapStateDescriptor<i64, i64> = MapStateDescriptor::new("seen");

/// Tells, at the end of time, how many rules a key knows.
struct KnowsRules;

impl KeyedBroadcastProcessFunction for KnowsRules {
    type Key = i64;
    type In = i64;
    type Broadcast = i64;
    type Out = (i64, i64);

    fn process_element(
        &mut self,
        _n: i64,
        context: &mut KeyedReadOnlyContext<'_, i64>,
        _out: &mut Collector<(i64, i64)>,
    ) -> FunctionResult<()> {
        context.register_event_time_timer(i64::MAX - 1);
        Ok(())
    }

    fn process_broadcast_element(
        &mut self,
        rule: i64,
        context: &mut KeyedBroadcastContext<'_, i64>,
        _out: &mut Collector<(i64, i64)>,
    ) -> FunctionResult<()> {
        let mut seen = context.broadcast_state(&SEEN)?;
        let before = seen.get(&(rule % 2)).unwrap_or(0);
        seen.put(rule % 2, before + rule);
        Ok(())
    }

    fn on_timer(
        &mut self,
        _timestamp: i64,
        context: &mut KeyedReadOnlyContext<'_, i64>,
        out: &mut Collector<(i64, i64)>,
    ) -> FunctionResult<()> {
        let seen = context.broadcast_state(&SEEN)?;
        let sum = seen.get(&0).unwrap_or(0) + 1000 * seen.get(&1).unwrap_or(0);
        out.collect((context.current_key(), sum));
        Ok(())
    }
}

#[test]
fn every_key_knows_all_that_was_broadcast() {
    let known = |env: &Environment| {
        let rules = numbers(env, 10).broadcast_with(&SEEN);
        numbers(env, 50)
            .key_by(|n| n % 7)
            .connect(&rules)
            .process(|_| Ok(KnowsRules))
    };
    check(known, (0..7).map(|key| (key, 20 + 1000 * 25)).collect());
}
