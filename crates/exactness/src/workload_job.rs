//! The workload as a job: two inputs, a keyed stage with all kinds of state and timers, windows,
//! and a sink that publishes exactly once.

use millpond::prelude::{
    DataStream, Duration, Environment, EventTimeSessionWindows, FileSink, FileSource,
    GeneratorSource, TumblingEventTimeWindows, WatermarkStrategy,
};
use millpond_exactness::workload::{
    Counted, Counting, Event, Input, OUT_OF_ORDERNESS_MS, RULES, Rules, SAMPLES, SESSION_GAP_MS,
    Session, WINDOW_MS, event, expand, is_rule, reduce, session_line, window_line,
};

use crate::arguments::{Arguments, ExtraType};
use crate::ledger::{Ledger, Total};
use crate::numbers::Numbers;
use crate::quirks::{Extra, FailsAt, Farewell, Seen, SeenSince, Silence, pause};

pub(crate) fn build(env: &Environment, arguments: &Arguments) {
    let input_b = input_b(env, arguments);
    let inputs = input_a(env, arguments).union(&input_b);
    let inputs = if arguments.rebalance {
        inputs.rebalance()
    } else {
        inputs
    };
    // Records in flight are known by who has sent them, and an id that is generated changes with what is
    // around its operator: all that send to another task have a uid.
    let events = inputs.flat_map(expand).uid("expand").name("expand");
    let ping_after_ms = arguments.ping_after_ms;
    let counted = events
        .key_by_ref(|event: &Event| &event.key)
        .process(move |context| Counting::open(context, ping_after_ms))
        .uid(&arguments.counter_uid)
        .name("counter");
    let windows = counted
        .flat_map(|counted: Counted| counted.record.map(|(group, value)| (group, 1, value)))
        .uid("to-windows")
        .name("to windows")
        .key_by(|value: &(i64, i64, i64)| value.0)
        .window(TumblingEventTimeWindows::of(Duration::from_millis(
            WINDOW_MS as u64,
        )))
        .reduce_with(reduce, |_, window, value| window_line(window.start, &value))
        .uid("windows")
        .name("windows")
        // At parallelism 1 too, where it would be chained and have no place for records in flight.
        .rebalance()
        .map(|line| line)
        .uid("one-by-one")
        .name("one by one")
        .set_parallelism(1)
        // Not handed over, as bounds of the parallelism differ.
        .rebalance();
    let by_key = events.key_by_ref(|event: &Event| &event.key);
    let sessions = by_key
        .window(EventTimeSessionWindows::with_gap(Duration::from_millis(
            SESSION_GAP_MS as u64,
        )))
        .aggregate_with(Session, |key, window, session| {
            session_line(key, window.start, window.end, session)
        })
        .uid("sessions")
        .name("sessions");
    let rules = by_key
        .connect(
            &events
                .filter(is_rule)
                .uid("only-rules")
                .broadcast_with(&RULES),
        )
        .process(Rules::open)
        .uid("rules")
        .name("rules");
    let of_counter = match &arguments.plain_uid {
        None => counted.clone(),
        // Inside of a chain: elsewhere it would stand where records may be in flight.
        Some(uid) => counted.map(|counted| counted).uid(uid).name("plain"),
    };
    let slow_counter_us = arguments.slow_counter_us;
    let mut lines = of_counter
        .map(move |counted| {
            pause(slow_counter_us);
            counted.line
        })
        .uid("lines")
        .name("lines")
        .union(&windows)
        .union(&sessions)
        .union(&rules)
        .union(&counted.side_output(&SAMPLES));
    if let Some(uid) = &arguments.extra_uid {
        let keyed = events.key_by_ref(|event: &Event| &event.key);
        let (name, hides) = (arguments.extra_state.clone(), arguments.extra_hides);
        let extra = match arguments.extra_type {
            ExtraType::Number => keyed.process(move |context| {
                let hidden = hides && !context.info().describing;
                let name = if hidden { "hidden" } else { &name };
                Extra::<i64>::open(context, name)
            }),
            ExtraType::Text => keyed.process(move |context| Extra::<String>::open(context, &name)),
            ExtraType::Class => keyed.process(move |context| Extra::<Seen>::open(context, &name)),
            ExtraType::NewerClass => {
                keyed.process(move |context| Extra::<SeenSince>::open(context, &name))
            }
        };
        lines = lines.union(&extra.uid(uid).name("extra"));
    }
    if arguments.farewell {
        let farewell = input_b
            .process(Farewell::open)
            .uid("farewell")
            .name("farewell")
            .set_parallelism(1);
        lines = lines.union(&farewell);
    }
    if arguments.ledger {
        let ledger = events
            .process(Ledger::open)
            .uid("ledger")
            .name("ledger")
            // At parallelism 1 too, where it would be chained and have no place for records in flight.
            .rebalance()
            .process(Total::open)
            .uid("total")
            .name("total")
            .set_parallelism(1)
            .rebalance();
        lines = lines.union(&ledger);
    }
    let slow_sink_us = arguments.slow_sink_us;
    let encode = move |line: &String, bytes: &mut Vec<u8>| {
        pause(slow_sink_us);
        bytes.extend_from_slice(line.as_bytes());
    };
    lines
        .sink_to(FileSink::new(&arguments.out, encode))
        .uid("sink")
        .name("sink");
}

fn watermarks() -> WatermarkStrategy<Event> {
    let bound = Duration::from_millis(OUT_OF_ORDERNESS_MS as u64);
    WatermarkStrategy::for_bounded_out_of_orderness(bound, |event: &Event| event.time_ms)
}

fn input_a(env: &Environment, arguments: &Arguments) -> DataStream<Event> {
    let of_source = arguments.clone();
    let of_function = arguments.clone();
    env.add_source("numbers", move |context| Numbers::open(context, &of_source))
        .uid("source-a")
        .process(move |_| FailsAt::open(&of_function))
        .name("fails")
        .assign_timestamps_and_watermarks(watermarks())
}

/// All its event times are behind those of input A, so its watermark may be far behind its records:
/// a generator whose splits are at different places after a rescaling is not in order.
fn input_b(env: &Environment, arguments: &Arguments) -> DataStream<Event> {
    if arguments.silent_b {
        return env
            .add_source("silence", |_| Ok(Silence))
            .uid("source-b")
            .assign_timestamps_and_watermarks(watermarks());
    }
    let keys = arguments.keys;
    let numbers = match &arguments.files_b {
        Some(directory) => {
            let mut files = FileSource::lines([directory]);
            if let Some(rate) = arguments.rate {
                files = files.rate_limit(rate);
            }
            env.from_source(files, "files")
                .uid("source-b")
                .map(|line: String| line.parse().expect("a number in every line"))
        }
        None => {
            let count = (!arguments.endless).then_some(arguments.records_b);
            let mut generator = GeneratorSource::new(count, |n| n);
            if let Some(rate) = arguments.rate {
                generator = generator.rate_limit(rate);
            }
            env.from_source(generator, "generator").uid("source-b")
        }
    };
    let bound = Duration::from_secs(100_000_000);
    let behind =
        WatermarkStrategy::for_bounded_out_of_orderness(bound, |event: &Event| event.time_ms);
    numbers
        .map(move |n| event(Input::B, n, keys))
        .name("events")
        .assign_timestamps_and_watermarks(behind)
}
