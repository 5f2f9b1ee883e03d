//! A job that moves: `Moving.java` in `tests/flink/java` is the same job for Flink, with the same
//! uids, names of states, and types. Each goes on where the other was stopped.
//!
//! ```text
//! moving --output DIR [--records N] [--rate R] [--until M] [--stop-at M --savepoints DIR]
//!        [-D key=value]
//! ```
//!
//! Two sources make the numbers below N, R a second each, under some keys. Of both together the job
//! counts the numbers of each key, sums and counts those of each key and window, and prices them by
//! rules that a third source broadcasts. With `--until` the sources pause at M, a multiple of 100.
//! With `--stop-at` the job is stopped by a savepoint once about M numbers are out; at the last
//! number all windows and timers fire first.
//!
//! What it writes depends on its input alone: not on the parallelism, on who is faster, or on where
//! it was stopped. So all the lines of a job that moved are those of one that did not.

use std::io::Write;
use std::sync::Arc;

use millpond::JobClient;
use millpond::operator::Data;
use millpond::prelude::*;
use millpond::types::Clock;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A key and a number under it: Flink's `Tuple2<String, Long>`.
type Number = (String, i64);

/// Numbers are 10 ms of event time apart.
const NUMBER_MS: i64 = 10;
/// What 100 numbers cost is said by a rule of their own, known before the first of them.
const PERIOD: i64 = 100;
const PERIOD_MS: i64 = PERIOD * NUMBER_MS;
const WINDOW: Duration = Duration::from_secs(5);
/// The year 2100: a timer of processing time that is only carried along.
const FAR_MS: i64 = 4_102_444_800_000;
/// Period, and what each of its numbers costs.
const RULES: MapStateDescriptor<i64, i64> = MapStateDescriptor::new("rules");

/// How the splits of a source are given out when it is restored.
#[derive(Clone, Copy)]
enum Layout {
    /// By the engine: the positions are a split list.
    Split,
    /// By the source: the positions are a union list, of which each subtask takes its own.
    Union,
}

/// Which numbers a source makes, and when.
#[derive(Clone, Copy)]
struct Range {
    end: i64,
    pause_at: i64,
    per_second: f64,
    /// Whether the source ends behind its last number, rather than wait to be stopped.
    ends: bool,
}

/// Makes the numbers of some splits; number n is of split n mod `splits`.
///
/// Always the lowest that is left, so that time never falls within a subtask, also when splits of
/// different positions meet after a restore.
struct Numbers<T> {
    offsets: OperatorListState<i64>,
    /// The next number of each split.
    next: Vec<i64>,
    splits: i64,
    range: Range,
    /// Numbers per second of this subtask.
    rate: f64,
    made: u64,
    clock: Arc<dyn Clock>,
    started_ms: u64,
    record: fn(i64) -> T,
}

impl<T: Data> Numbers<T> {
    fn open(
        context: &FunctionOpenContext<'_>,
        layout: Layout,
        splits: i64,
        range: Range,
        record: fn(i64) -> T,
    ) -> FunctionResult<Self> {
        let info = context.info();
        let (subtask, parallelism) = (i64::from(info.subtask), i64::from(info.parallelism));
        let is_mine = |next: &i64| next % splits % parallelism == subtask;
        let offsets = match layout {
            Layout::Split => context.operator_list_state("offsets")?,
            Layout::Union => context.union_list_state("offsets")?,
        };
        let restored = offsets.get().into_iter();
        let next = match layout {
            _ if !context.is_restored() => (0..splits).filter(is_mine).collect(),
            Layout::Split => restored.collect(),
            Layout::Union => restored.filter(is_mine).collect(),
        };
        let clock = context.clock();
        Ok(Numbers {
            offsets,
            next,
            splits,
            range,
            rate: range.per_second / parallelism as f64,
            made: 0,
            started_ms: clock.now_ms(),
            clock,
            record,
        })
    }

    /// How many numbers may be made by now.
    fn allowed(&self) -> u64 {
        let elapsed_s = (self.clock.now_ms() - self.started_ms) as f64 / 1000.0;
        (elapsed_s * self.rate) as u64
    }
}

impl<T: Data> SourceFunction for Numbers<T> {
    type Out = T;

    fn poll_next(&mut self, limit: usize, out: &mut Collector<T>) -> FunctionResult<InputStatus> {
        let allowed = self.allowed();
        for _ in 0..limit {
            let lowest = self.next.iter_mut().min();
            let Some(next) = lowest.filter(|next| **next < self.range.pause_at) else {
                let over = self.range.ends && self.pending_records() == Some(0);
                return Ok(match over {
                    true => InputStatus::EndOfInput,
                    false => InputStatus::NothingAvailable(None),
                });
            };
            if self.made >= allowed {
                return Ok(InputStatus::NothingAvailable(Some(self.clock.now_ms() + 1)));
            }
            out.collect((self.record)(*next));
            *next += self.splits;
            self.made += 1;
        }
        Ok(InputStatus::MoreAvailable)
    }

    fn snapshot_state(&mut self, _checkpoint: i64) -> FunctionResult<()> {
        self.offsets.update(self.next.iter().copied());
        Ok(())
    }

    fn pending_records(&self) -> Option<u64> {
        let left =
            |next: &i64| ((self.range.end - next).max(0) as u64).div_ceil(self.splits as u64);
        Some(self.next.iter().map(left).sum())
    }
}

/// Counts the numbers of a key; tells of every tenth.
struct Counts {
    count: ValueState<i64>,
}

impl KeyedProcessFunction for Counts {
    type Key = String;
    type In = Number;
    type Out = String;

    fn process_element(
        &mut self,
        (key, _): Number,
        context: &mut KeyedContext<'_, String>,
        out: &mut Collector<String>,
    ) -> FunctionResult<()> {
        let count = self.count.value().unwrap_or(0) + 1;
        self.count.update(count);
        context.register_processing_time_timer(FAR_MS);
        if count % 10 == 0 {
            out.collect(format!("count {key} {count}"));
        }
        Ok(())
    }
}

/// How many numbers a window has, and the highest.
struct Span;

impl AggregateFunction for Span {
    type In = Number;
    type Accumulator = (i64, i64);
    type Out = (i64, i64);

    fn create_accumulator(&self) -> (i64, i64) {
        (0, 0)
    }

    fn add(&self, (_, number): Number, span: &mut (i64, i64)) {
        *span = (span.0 + 1, span.1.max(number));
    }

    fn get_result(&self, span: &(i64, i64)) -> (i64, i64) {
        *span
    }

    fn merge(&self, a: (i64, i64), b: (i64, i64)) -> (i64, i64) {
        (a.0 + b.0, a.1.max(b.1))
    }
}

/// Adds up what the numbers of a key cost, period by period, once a period is over: by then its
/// rule is known to every subtask.
struct Bills {
    total: ValueState<i64>,
    /// Numbers in the periods that are not over.
    open: MapState<i64, i64>,
}

impl KeyedBroadcastProcessFunction for Bills {
    type Key = String;
    type In = Number;
    type Broadcast = (i64, i64);
    type Out = String;

    fn process_element(
        &mut self,
        (_, number): Number,
        context: &mut KeyedReadOnlyContext<'_, String>,
        _out: &mut Collector<String>,
    ) -> FunctionResult<()> {
        let period = number / PERIOD;
        let count = self.open.get(&period).unwrap_or(0);
        self.open.put(period, count + 1);
        context.register_event_time_timer((period + 1) * PERIOD_MS - 1);
        Ok(())
    }

    fn process_broadcast_element(
        &mut self,
        (period, price): (i64, i64),
        context: &mut KeyedBroadcastContext<'_, String>,
        _out: &mut Collector<String>,
    ) -> FunctionResult<()> {
        context.broadcast_state(&RULES)?.put(period, price);
        Ok(())
    }

    fn on_timer(
        &mut self,
        timestamp: i64,
        context: &mut KeyedReadOnlyContext<'_, String>,
        out: &mut Collector<String>,
    ) -> FunctionResult<()> {
        let period = timestamp / PERIOD_MS;
        let price = context.broadcast_state(&RULES)?.get(&period);
        let price =
            price.ok_or_else(|| FunctionError::new(format!("period {period} has no rule")))?;
        let count = self.open.get(&period).unwrap_or(0);
        self.open.remove(&period);
        let total = self.total.value().unwrap_or(0) + count * price;
        self.total.update(total);
        out.collect(format!("bill {} {period} {total}", context.current_key()));
        Ok(())
    }
}

/// A source of numbers whose event time is in order.
fn numbers(
    env: &Environment,
    uid: &'static str,
    layout: Layout,
    range: Range,
    record: fn(i64) -> Number,
) -> DataStream<Number> {
    let in_order = |number: &Number| number.1 * NUMBER_MS;
    env.add_source(uid, move |context| {
        Numbers::open(context, layout, 8, range, record)
    })
    .uid(uid)
    .assign_timestamps_and_watermarks(WatermarkStrategy::for_monotonous_timestamps(in_order))
}

fn build(env: &Environment, output: &str, range: Range) {
    let left = numbers(env, "left", Layout::Split, range, |n| {
        (format!("key-{}", n % 37), n)
    });
    let right = numbers(env, "right", Layout::Union, range, |n| {
        (format!("key-{}", n % 53), n)
    });
    let by_key = left.union(&right).key_by_ref(|number: &Number| &number.0);

    let periods = Range {
        end: range.end / PERIOD,
        pause_at: range.pause_at / PERIOD,
        per_second: range.per_second / PERIOD as f64,
        ends: range.ends,
    };
    let rule = |period: i64| (period, period * 7 % 10 + 1);
    let in_order = |rule: &(i64, i64)| rule.0 * PERIOD_MS;
    let rules = env
        .add_source("rules", move |context| {
            Numbers::open(context, Layout::Split, 1, periods, rule)
        })
        .set_parallelism(1)
        .uid("rules")
        .assign_timestamps_and_watermarks(WatermarkStrategy::for_monotonous_timestamps(in_order))
        .set_parallelism(1);

    let counts = by_key
        .process(|context| {
            Ok(Counts {
                count: context.value_state("count")?,
            })
        })
        .uid("counts");
    let sums = by_key
        .window(TumblingEventTimeWindows::of(WINDOW))
        .reduce_with(
            |a, b| (a.0.clone(), a.1 + b.1),
            |key, window, sum| format!("sum {key} {} {}", window.start, sum.1),
        )
        .uid("sums");
    let spans = by_key
        .window(TumblingEventTimeWindows::of(WINDOW))
        .aggregate_with(Span, |key, window, (count, highest)| {
            format!("span {key} {} {count} {highest}", window.start)
        })
        .uid("spans");
    let bills = by_key
        .connect(&rules.broadcast_with(&RULES))
        .process(|context| {
            let (total, open) = (context.value_state("total")?, context.map_state("open")?);
            Ok(Bills { total, open })
        })
        .uid("bills");

    let as_it_is = |line: &String, bytes: &mut Vec<u8>| bytes.write_all(line.as_bytes());
    counts
        .union(&sums)
        .union(&spans)
        .union(&bills)
        .sink_to(FileSink::new(output, as_it_is))
        .uid("lines");
}

/// Waits until at most `left` numbers are left; false if the job has ended before.
fn comes_to(job: &JobClient, left: u64) -> bool {
    loop {
        let details = job.details();
        let sources = details.vertices.iter();
        let pending: Vec<u64> = sources
            .filter_map(|source| source.pending_records)
            .collect();
        if pending.len() == 3 && pending.iter().sum::<u64>() <= left {
            return true;
        }
        if details.overview.status.is_globally_terminal() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let env = Environment::from_args()?;
    let (mut records, mut rate, mut until, mut stop_at) = (12_000, f64::INFINITY, None, None);
    let (mut output, mut savepoints) = (None, None);
    for option in env.args().chunks(2) {
        let [name, value] = option else {
            return Err(format!("{} needs a value", option[0]).into());
        };
        match name.as_str() {
            "--records" => records = value.parse()?,
            "--rate" => rate = value.parse()?,
            "--until" => until = Some(value.parse()?),
            "--stop-at" => stop_at = Some(value.parse::<i64>()?),
            "--output" => output = Some(value.clone()),
            "--savepoints" => savepoints = Some(value.clone()),
            _ => return Err(format!("unknown option {name}").into()),
        }
    }
    let range = Range {
        end: records,
        pause_at: until.unwrap_or(records),
        per_second: rate,
        ends: stop_at.is_none() && until.is_none(),
    };
    build(&env, &output.ok_or("--output is missing")?, range);
    let job = env.execute_async("moving")?;
    // Of both sources of numbers, and of the rules.
    let left = |stop_at| (records - stop_at) * 2 + (records - stop_at) / PERIOD;
    if let Some(stop_at) = stop_at
        && comes_to(&job, left(stop_at) as u64)
    {
        let path = job.stop_with_savepoint(stop_at == records, savepoints.as_deref())?;
        eprintln!("Savepoint completed. Path: {path}");
    }
    job.wait()?;
    Ok(())
}
