//! The workload as a job: two inputs, a keyed stage with all kinds of state and timers, windows,
//! and a sink that publishes exactly once.

use millpond::prelude::{
    DataStream, Duration, Environment, FileSink, GeneratorSource, TumblingEventTimeWindows,
    WatermarkStrategy,
};
use millpond_exactness::workload::{
    Counted, Counting, Event, Input, OUT_OF_ORDERNESS_MS, WINDOW_MS, event, expand, reduce,
    window_line,
};

use crate::arguments::Arguments;
use crate::numbers::Numbers;
use crate::quirks::{Extra, FailsAt, Silence, pause};

pub(crate) fn build(env: &Environment, arguments: &Arguments) {
    let events = input_a(env, arguments)
        .union(&input_b(env, arguments))
        .flat_map(expand)
        .name("expand");
    let counted = events
        .key_by_ref(|event: &Event| &event.key)
        .process(Counting::open)
        .uid(&arguments.counter_uid)
        .name("counter");
    let windows = counted
        .flat_map(|counted: Counted| counted.record.map(|(group, value)| (group, 1, value)))
        .name("to windows")
        .key_by(|value: &(i64, i64, i64)| value.0)
        .window(TumblingEventTimeWindows::of(Duration::from_millis(
            WINDOW_MS as u64,
        )))
        .reduce_with(reduce, |_, window, value| window_line(window.start, &value))
        .uid("windows")
        .name("windows");
    let mut lines = counted
        .map(|counted| counted.line)
        .name("lines")
        .union(&windows);
    if let Some(uid) = &arguments.extra_uid {
        let extra = events
            .key_by_ref(|event: &Event| &event.key)
            .process(|context| {
                Ok(Extra {
                    seen: context.value_state("seen")?,
                })
            })
            .uid(uid)
            .name("extra");
        lines = lines.union(&extra);
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
        .process(move |_| Ok(FailsAt::new(&of_function)))
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
    let count = if arguments.endless {
        None
    } else {
        Some(arguments.records_b)
    };
    let mut generator = GeneratorSource::new(count, move |n| event(Input::B, n, keys));
    if let Some(rate) = arguments.rate {
        generator = generator.rate_limit(rate);
    }
    let bound = Duration::from_secs(100_000_000);
    env.from_source(generator, "generator")
        .uid("source-b")
        .map(|event| event)
        .name("pass")
        .assign_timestamps_and_watermarks(WatermarkStrategy::for_bounded_out_of_orderness(
            bound,
            |event: &Event| event.time_ms,
        ))
}
