//! Every kind of state with every type, for the checks against a real Flink.
//!
//! ```text
//! kinds [--records N] [--keys K] [--savepoint-at-end DIR [--format canonical|native|checkpoint]] [-D key=value]
//! ```
//!
//! The source makes the numbers 0, 1, 2, ... up to N in one subtask, so that every key sees its
//! numbers in order. For each pair of a key type and a value type there is one operator with value,
//! list, map and reducing state; beside them one with operator list state, one with timers, one with
//! broadcast state, and windows of every kind that never end. What a number does to the state is written down a second time, in Java, in `Kinds.java`: the two know
//! nothing of each other but the comments there. After its last record the job waits until all is
//! counted, takes a savepoint, and ends.

use std::collections::BTreeMap;
use std::process::ExitCode;

use millpond::operator::Data;
use millpond::prelude::*;
use millpond::{JobClient, SavepointFormat};

/// A type with a value for every number, and a way to make one value of two.
trait Sample: FlinkType {
    fn of(n: i64) -> Self;
    fn combine(&self, other: &Self) -> Self;
}

impl Sample for String {
    fn of(n: i64) -> Self {
        match n % 8 {
            0 if n == 0 => String::new(),
            0 => format!("{n}-"),
            1 => format!("a {n}"),
            2 => format!("é ü {n}"),
            3 => format!("😀{n}"),
            4 => format!("\0{n}"),
            5 => format!("{}{n}", "x".repeat((n % 300) as usize)),
            6 => format!("日本{n}"),
            _ => n.to_string(),
        }
    }

    fn combine(&self, other: &Self) -> Self {
        if self.chars().count() < 60 {
            format!("{self}|{other}")
        } else {
            other.clone()
        }
    }
}

macro_rules! integer_samples {
    ($($integer:ty),*) => {$(
        impl Sample for $integer {
            fn of(n: i64) -> Self {
                match n % 8 {
                    0 => <$integer>::MIN.wrapping_add(n as $integer),
                    1 => <$integer>::MAX.wrapping_sub(n as $integer),
                    _ => (n.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64)
                        >> (64 - <$integer>::BITS)) as $integer,
                }
            }

            fn combine(&self, other: &Self) -> Self {
                self.wrapping_add(*other)
            }
        }
    )*};
}
integer_samples!(i64, i32, i16, i8);

impl Sample for bool {
    fn of(n: i64) -> Self {
        n % 3 == 0
    }

    fn combine(&self, other: &Self) -> Self {
        self ^ other
    }
}

macro_rules! float_samples {
    ($($float:ty: $smallest:expr),*) => {$(
        impl Sample for $float {
            fn of(n: i64) -> Self {
                match n % 8 {
                    0 => -0.0,
                    1 => <$float>::INFINITY,
                    2 => <$float>::NAN,
                    3 => $smallest,
                    _ => n as $float * 0.1 - 3.0,
                }
            }

            fn combine(&self, other: &Self) -> Self {
                if self.is_finite() && other.is_finite() { self * 0.5 + other } else { *other }
            }
        }
    )*};
}
float_samples!(f64: f64::from_bits(1), f32: f32::from_bits(1));

impl Sample for Vec<u8> {
    fn of(n: i64) -> Self {
        let length = if n % 97 == 0 { 3000 } else { n % 50 };
        (0..length).map(|place| (n + place) as u8).collect()
    }

    fn combine(&self, other: &Self) -> Self {
        if self.len() < 200 {
            [self.as_slice(), other].concat()
        } else {
            other.clone()
        }
    }
}

impl Sample for Vec<i64> {
    fn of(n: i64) -> Self {
        (0..n % 5).map(|place| i64::of(n + place)).collect()
    }

    fn combine(&self, other: &Self) -> Self {
        if self.len() < 20 {
            [self.as_slice(), other].concat()
        } else {
            other.clone()
        }
    }
}

impl Sample for BTreeMap<String, i32> {
    fn of(n: i64) -> Self {
        (0..n % 4)
            .map(|place| (String::of(n + place), i32::of(n + place)))
            .collect()
    }

    fn combine(&self, other: &Self) -> Self {
        let mut both = if self.len() < 30 {
            self.clone()
        } else {
            BTreeMap::new()
        };
        both.extend(other.clone());
        both
    }
}

impl<A: Sample, B: Sample> Sample for (A, B) {
    fn of(n: i64) -> Self {
        (A::of(n), B::of(n + 1))
    }

    fn combine(&self, other: &Self) -> Self {
        (self.0.combine(&other.0), self.1.combine(&other.1))
    }
}

impl<A: Sample, B: Sample, C: Sample> Sample for (A, B, C) {
    fn of(n: i64) -> Self {
        (A::of(n), B::of(n + 1), C::of(n + 2))
    }

    fn combine(&self, other: &Self) -> Self {
        (
            self.0.combine(&other.0),
            self.1.combine(&other.1),
            self.2.combine(&other.2),
        )
    }
}

/// The four kinds of keyed state.
struct Kinds<K: FlinkKey, V: FlinkType> {
    value: ValueState<V>,
    list: ListState<V>,
    map: MapState<K, V>,
    reducing: ReducingState<V>,
}

impl<K: FlinkKey + Sample, V: Sample> KeyedProcessFunction for Kinds<K, V> {
    type Key = K;
    type In = i64;
    type Out = i64;

    fn process_element(
        &mut self,
        n: i64,
        _context: &mut KeyedContext<'_, K>,
        _out: &mut Collector<i64>,
    ) -> FunctionResult<()> {
        if n % 17 == 3 {
            self.value.clear();
        } else {
            self.value.update(V::of(n));
        }
        if n % 23 == 0 {
            self.list.clear();
        } else if n % 19 == 0 {
            self.list.update([V::of(n), V::of(n + 1)]);
        } else if n % 5 == 0 {
            self.list.add_all([V::of(n + 2), V::of(n + 3)]);
        } else {
            self.list.add(V::of(n));
        }
        self.map.put(K::of(n % 13), V::of(n));
        if n % 11 == 0 {
            self.map.remove(&K::of((n + 3) % 13));
        }
        if n % 29 == 5 {
            self.reducing.clear();
        } else {
            self.reducing.add(V::of(n));
        }
        Ok(())
    }
}

fn kinds<K: FlinkKey + Sample + Data, V: Sample>(numbers: &DataStream<i64>, keys: i64, uid: &str) {
    numbers
        .key_by(move |n| K::of(n % keys))
        .process(|context| {
            Ok(Kinds::<K, V> {
                value: context.value_state("value")?,
                list: context.list_state("list")?,
                map: context.map_state("map")?,
                reducing: context.reducing_state("reducing", V::combine)?,
            })
        })
        .uid(uid)
        .name(uid)
        .sink_to(DiscardSink::new())
        .uid(&format!("{uid}-sink"));
}

/// Operator list state, split and union.
struct Lists {
    texts: OperatorListState<String>,
    maps: OperatorListState<BTreeMap<String, i32>>,
    pairs: OperatorListState<(String, i64)>,
}

impl Lists {
    fn open(context: &mut FunctionOpenContext<'_>) -> FunctionResult<Self> {
        let mut pairs = context.union_list_state("pairs")?;
        // A union list is the sum of what its subtasks hold.
        if context.info().subtask != 0 {
            pairs.clear();
        }
        Ok(Lists {
            texts: context.operator_list_state("texts")?,
            maps: context.operator_list_state("maps")?,
            pairs,
        })
    }
}

impl ProcessFunction for Lists {
    type In = i64;
    type Out = i64;

    fn process_element(
        &mut self,
        n: i64,
        _context: &ProcessContext<'_>,
        _out: &mut Collector<i64>,
    ) -> FunctionResult<()> {
        if n % 3 == 0 {
            self.texts.add(String::of(n));
        }
        if n % 10 == 0 {
            self.maps.add(BTreeMap::of(n));
        }
        if n % 5 == 0 {
            self.pairs.add(<(String, i64)>::of(n));
        }
        Ok(())
    }
}

/// What the broadcast stream has made known, by number modulo 13.
const RULES: MapStateDescriptor<i64, String> = MapStateDescriptor::new("rules");

/// Broadcast state beside keyed state.
struct Rules {
    seen: ValueState<i64>,
}

impl KeyedBroadcastProcessFunction for Rules {
    type Key = String;
    type In = i64;
    type Broadcast = i64;
    type Out = i64;

    fn process_element(
        &mut self,
        _n: i64,
        _context: &mut KeyedReadOnlyContext<'_, String>,
        _out: &mut Collector<i64>,
    ) -> FunctionResult<()> {
        self.seen.update(self.seen.value().unwrap_or(0) + 1);
        Ok(())
    }

    fn process_broadcast_element(
        &mut self,
        n: i64,
        context: &mut KeyedBroadcastContext<'_, String>,
        _out: &mut Collector<i64>,
    ) -> FunctionResult<()> {
        let mut rules = context.broadcast_state(&RULES)?;
        if n % 70 == 60 {
            rules.remove(&((n + 3) % 13));
        }
        rules.put(n % 13, String::of(n));
        Ok(())
    }
}

/// Sum and number of what was added.
struct SumAndCount;

impl AggregateFunction for SumAndCount {
    type In = i64;
    type Accumulator = (i64, i64);
    type Out = i64;

    fn create_accumulator(&self) -> (i64, i64) {
        (0, 0)
    }

    fn add(&self, n: i64, accumulator: &mut (i64, i64)) {
        accumulator.0 += n;
        accumulator.1 += 1;
    }

    fn get_result(&self, accumulator: &(i64, i64)) -> i64 {
        accumulator.0
    }

    fn merge(&self, a: (i64, i64), b: (i64, i64)) -> (i64, i64) {
        (a.0 + b.0, a.1 + b.1)
    }
}

/// Emits how many records a window has.
struct Size;

impl ProcessWindowFunction for Size {
    type Key = String;
    type Window = TimeWindow;
    type In = i64;
    type Out = i64;

    fn process(
        &mut self,
        _key: &String,
        _context: &WindowContext<'_, TimeWindow>,
        elements: Vec<i64>,
        out: &mut Collector<i64>,
    ) -> FunctionResult<()> {
        out.collect(elements.len() as i64);
        Ok(())
    }
}

/// Windows whose watermark never comes, and windows of so many records.
fn windows(numbers: &DataStream<i64>, keys: i64) {
    let timed = |time: fn(&i64) -> i64| {
        let never = Duration::from_secs(1_000_000_000);
        let strategy = WatermarkStrategy::for_bounded_out_of_orderness(never, time);
        let timed = numbers.assign_timestamps_and_watermarks(strategy);
        // In one subtask, so that every key goes on seeing its numbers in order.
        let timed = timed.set_parallelism(1);
        timed.key_by(move |n| String::of(n % keys))
    };
    let discard = |stream: DataStream<i64>, uid: &str| {
        let sink = format!("{uid}-sink");
        let stream = stream.uid(uid).sink_to(DiscardSink::new());
        stream.uid(&sink);
    };
    let steady = |n: &i64| n * 10;
    let tumbling = timed(steady).window(TumblingEventTimeWindows::of(Duration::from_millis(500)));
    discard(tumbling.reduce(|a, b| a + b), "windows");
    // Bursts of 50 numbers with pauses between: sessions of one or two numbers.
    let bursts = |n: &i64| n * 10 + n / 50 * 500;
    let gap = EventTimeSessionWindows::with_gap(Duration::from_millis(450));
    let sessions = timed(bursts).window(gap);
    discard(sessions.aggregate(SumAndCount), "sessions");
    let (size, slide) = (Duration::from_millis(1000), Duration::from_millis(500));
    let sliding = timed(steady).window(SlidingEventTimeWindows::of(size, slide));
    discard(sliding.process(|_| Ok(Size)), "sliding");
    let counted = timed(steady).count_window(7);
    discard(counted.reduce(|a, b| a + b), "counted");
    let last = timed(steady).count_window_sliding(5, 3);
    discard(last.reduce(|a, b| a + b), "last");
}

/// Timers that never fire: there is no watermark, and processing time is far away.
struct Timers;

impl KeyedProcessFunction for Timers {
    type Key = String;
    type In = i64;
    type Out = i64;

    fn process_element(
        &mut self,
        n: i64,
        context: &mut KeyedContext<'_, String>,
        _out: &mut Collector<i64>,
    ) -> FunctionResult<()> {
        context.register_event_time_timer(1000 + n % 70);
        context.delete_event_time_timer(1000 + (n + 40) % 90);
        context.register_processing_time_timer(FAR_MS + n % 50);
        context.delete_processing_time_timer(FAR_MS + (n + 40) % 90);
        Ok(())
    }
}

/// The year 2100.
const FAR_MS: i64 = 4_102_444_800_000;

/// Makes the numbers.
struct Numbers {
    offsets: OperatorListState<i64>,
    next: i64,
    end: i64,
    ends: bool,
}

impl SourceFunction for Numbers {
    type Out = i64;

    fn poll_next(&mut self, limit: usize, out: &mut Collector<i64>) -> FunctionResult<InputStatus> {
        for _ in 0..limit {
            if self.next >= self.end {
                return Ok(if self.ends {
                    InputStatus::EndOfInput
                } else {
                    InputStatus::NothingAvailable(None)
                });
            }
            out.collect(self.next);
            self.next += 1;
        }
        Ok(InputStatus::MoreAvailable)
    }

    fn snapshot_state(&mut self, _checkpoint: i64) -> FunctionResult<()> {
        self.offsets.update([self.next]);
        Ok(())
    }

    fn pending_records(&self) -> Option<u64> {
        Some((self.end - self.next).max(0) as u64)
    }
}

fn run() -> Result<(), String> {
    let debug = |error: millpond::Error| format!("{error:?}");
    let env = Environment::from_args().map_err(debug)?;
    let (mut records, mut keys, mut savepoint_at_end) = (1000, 40, None);
    let mut format = "canonical".to_owned();
    let mut arguments = env.args().iter();
    while let (Some(name), Some(value)) = (arguments.next(), arguments.next()) {
        let number = || {
            value
                .parse::<i64>()
                .map_err(|error| format!("{name} {value}: {error}"))
        };
        match name.as_str() {
            "--records" => records = number()?,
            "--keys" => keys = number()?,
            "--savepoint-at-end" => savepoint_at_end = Some(value.clone()),
            "--format" => format.clone_from(value),
            _ => return Err(format!("unknown option {name}")),
        }
    }
    let ends = savepoint_at_end.is_none();
    let numbers = env
        .add_source("numbers", move |context| {
            let offsets = context.operator_list_state::<i64>("offsets")?;
            let next = offsets.get().first().copied().unwrap_or(0);
            Ok(Numbers {
                offsets,
                next,
                end: records,
                ends,
            })
        })
        .set_parallelism(1)
        .uid("source");
    kinds::<String, String>(&numbers, keys, "string-string");
    kinds::<i64, i64>(&numbers, keys, "long-long");
    kinds::<i32, i32>(&numbers, keys, "int-int");
    kinds::<i16, i16>(&numbers, keys, "short-short");
    kinds::<i8, i8>(&numbers, keys, "byte-byte");
    kinds::<bool, bool>(&numbers, keys, "boolean-boolean");
    kinds::<String, f64>(&numbers, keys, "string-double");
    kinds::<i64, f32>(&numbers, keys, "long-float");
    kinds::<i32, Vec<u8>>(&numbers, keys, "int-bytes");
    kinds::<(String, i64), (i32, String, f64)>(&numbers, keys, "tuple2-tuple3");
    kinds::<String, Vec<i64>>(&numbers, keys, "string-list");
    kinds::<i64, BTreeMap<String, i32>>(&numbers, keys, "long-map");
    numbers
        .rebalance()
        .process(Lists::open)
        .uid("lists")
        .sink_to(DiscardSink::new())
        .uid("lists-sink");
    numbers
        .key_by(move |n| String::of(n % keys))
        .process(|_| Ok(Timers))
        .uid("timers")
        .sink_to(DiscardSink::new())
        .uid("timers-sink");
    // In one subtask, so that all hear the rules in the same order.
    let rules = numbers.filter(|n| n % 10 == 0).set_parallelism(1);
    let rules = rules.broadcast_with(&RULES);
    numbers
        .key_by(move |n| String::of(n % keys))
        .connect(&rules)
        .process(|context| {
            Ok(Rules {
                seen: context.value_state("seen")?,
            })
        })
        .uid("rules")
        .sink_to(DiscardSink::new())
        .uid("rules-sink");
    windows(&numbers, keys);

    let job = env.execute_async("kinds").map_err(debug)?;
    if let Some(directory) = savepoint_at_end {
        loop {
            let details = job.details();
            let mut left = details.vertices.iter().filter_map(|v| v.pending_records);
            // One task tells what it has read while others may still be restored.
            let is_running = details.overview.status.to_string() == "RUNNING";
            let is_read = details.vertices.iter().any(|v| v.pending_records.is_some())
                && left.all(|left| left == 0);
            if is_running && is_read || details.overview.status.is_globally_terminal() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let format = match format.as_str() {
            "canonical" => SavepointFormat::Canonical,
            "native" => SavepointFormat::Native,
            "checkpoint" => {
                eprintln!("Checkpoint completed. Path: {}", newest_checkpoint(&job)?);
                // As a job does that is killed: its checkpoints stay.
                std::process::abort();
            }
            _ => return Err(format!("unknown format {format}")),
        };
        let path = job.stop_with_savepoint_as(format, false, Some(&directory));
        let path = path.map_err(debug)?;
        eprintln!("Savepoint completed. Path: {path}");
    }
    job.wait().map_err(debug)?;
    Ok(())
}

/// The path of a checkpoint that has begun after now, and is not the first one, which is full.
fn newest_checkpoint(job: &JobClient) -> Result<String, String> {
    let newest = || job.checkpoints().latest_completed;
    let after = newest().map_or(1, |checkpoint| checkpoint.id) + 2;
    loop {
        match newest() {
            Some(checkpoint) if checkpoint.id >= after => {
                return checkpoint.external_path.ok_or_else(|| "no path".to_owned());
            }
            _ if job.details().overview.status.is_globally_terminal() => {
                return Err("the job has ended".to_owned());
            }
            _ => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}
