//! Windows and broadcast state that real Flink wrote are gone on with at any parallelism.
//!
//! `golden/README.md` says what is in the savepoints.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use millpond_fs::{LocalFileSystem, Location};
use millpond_operator::functions::KeyedOpenContext;
use millpond_operator::functions::broadcast::{
    BroadcastStates, KeyedBroadcastContext, KeyedBroadcastOperator, KeyedBroadcastProcessFunction,
    KeyedReadOnlyContext, MapStateDescriptor,
};
use millpond_operator::functions::window::trigger::{CountTrigger, PurgingTrigger, Trigger};
use millpond_operator::functions::window::{
    AggregateContents, CountEvictor, EmitResult, EventTimeSessionWindows, EvictedContents,
    GlobalWindows, ListContents, ReduceContents, ReduceElements, SlidingEventTimeWindows,
    TumblingEventTimeWindows, Window, WindowAssigner, WindowContents, WindowDefinition,
    WindowFunction, WindowOpenContext, WindowOperator,
};
use millpond_operator::partition::ByValue;
use millpond_operator::{Collector, Data, Operator, Result};
use millpond_serializer::{GlobalWindow, TimeWindow};
use millpond_snapshot::{LoadedSnapshot, load};
use millpond_state::{AggregateFunction, ValueState};

#[expect(dead_code, reason = "not every test uses all of it")]
mod driver;
use driver::Driver;

const RECORDS: i64 = 100;
const KEYS: i64 = 6;

/// Key, start and end of the window, what was computed.
type Found = (String, i64, i64, i64);

/// The texts for numbers, as in `Kinds.java`.
fn text(n: i64) -> String {
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

fn key_of(n: &i64) -> String {
    text(n % KEYS)
}

fn golden(version: &str) -> Arc<LoadedSnapshot> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let location = Location::of_path(&folder.join(version)).expect("a text");
    Arc::new(load(Arc::new(LocalFileSystem), &location).expect("loads"))
}

/// Goes on with an operator of the savepoints of all releases at several parallelisms.
fn each(
    uid: &str,
    make: impl Fn() -> Box<dyn Operator> + Clone + 'static,
    check: impl Fn(Driver<Found>),
) {
    for version in ["2.3.0", "1.15.4"] {
        for parallelism in [1, 2, 3] {
            check(Driver::of_snapshot(
                &golden(version),
                uid,
                parallelism,
                make.clone(),
            ));
        }
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn bounds(window: TimeWindow) -> (i64, i64) {
    (window.start, window.end)
}

fn operator<A, G, C, F>(
    assigner: A,
    trigger: G,
    contents: C,
    open: impl Fn(&WindowOpenContext<'_, '_, String, A::Window>) -> Result<F> + 'static,
) -> impl Fn() -> Box<dyn Operator> + Clone + 'static
where
    A: WindowAssigner<i64>,
    G: Trigger<i64, A::Window>,
    C: WindowContents<A::Window, In = i64>,
    F: WindowFunction<String, A::Window, C::Elements, Out: Data>,
{
    let selector = Arc::new(ByValue(key_of, PhantomData));
    let definition = Arc::new(WindowDefinition {
        assigner,
        trigger,
        contents,
        allowed_lateness_ms: 0,
        late_data: None,
    });
    let open = Arc::new(open);
    move || {
        let (selector, definition) = (Arc::clone(&selector), Arc::clone(&definition));
        Box::new(WindowOperator::new(selector, definition, Arc::clone(&open)))
    }
}

/// Emits the number that `value` makes of the contents of a window.
fn emit<W: Window, E: 'static>(
    bounds: fn(W) -> (i64, i64),
    value: fn(E) -> i64,
) -> impl Fn(&WindowOpenContext<'_, '_, String, W>) -> Result<EmitResult<Emit<W, E>>> {
    let emit: Arc<Emit<W, E>> = Arc::new(Box::new(move |key: &String, window, elements| {
        let (start, end) = bounds(window);
        (key.clone(), start, end, value(elements))
    }));
    move |_| Ok(EmitResult(Arc::clone(&emit)))
}

type Emit<W, E> = Box<dyn Fn(&String, W, E) -> Found>;

/// What comes out, sorted.
fn found(driver: &mut Driver<Found>) -> Vec<Found> {
    let mut found: Vec<Found> = driver
        .emitted()
        .into_iter()
        .map(|(_, found)| found)
        .collect();
    found.sort();
    found
}

fn sum() -> ReduceContents<i64, fn(&i64, &i64) -> i64> {
    ReduceContents::new(Arc::new(|a, b| a + b))
}

/// The numbers of each key.
fn numbers() -> BTreeMap<String, Vec<i64>> {
    let mut numbers: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for n in 0..RECORDS {
        numbers.entry(key_of(&n)).or_default().push(n);
    }
    numbers
}

#[test]
fn tumbling_windows_with_reduce() {
    driver::on_each_backend(|| {
        let windows = TumblingEventTimeWindows::of(ms(500));
        let trigger = WindowAssigner::<i64>::default_trigger(&windows);
        let make = operator(windows, trigger, sum(), emit(bounds, |sum: i64| sum));
        let mut expected: BTreeMap<(String, i64), i64> = BTreeMap::new();
        for n in 0..RECORDS {
            *expected
                .entry((key_of(&n), n * 10 / 500 * 500))
                .or_default() += n;
        }
        let expected: Vec<Found> = expected
            .into_iter()
            .map(|((key, start), sum)| (key, start, start + 500, sum))
            .collect();
        each("windows", make, |mut driver| {
            driver.finish();
            assert_eq!(found(&mut driver), expected);
        });
    });
}

struct SumAndCount;

impl AggregateFunction for SumAndCount {
    type In = i64;
    type Accumulator = (i64, i64);
    type Out = (i64, i64);

    fn create_accumulator(&self) -> (i64, i64) {
        (0, 0)
    }

    fn add(&self, n: i64, (sum, count): &mut (i64, i64)) {
        *sum += n;
        *count += 1;
    }

    fn get_result(&self, accumulator: &(i64, i64)) -> (i64, i64) {
        *accumulator
    }

    fn merge(&self, a: (i64, i64), b: (i64, i64)) -> (i64, i64) {
        (a.0 + b.0, a.1 + b.1)
    }
}

#[test]
fn sessions_with_an_aggregation_go_on_and_merge() {
    driver::on_each_backend(|| {
        let windows = EventTimeSessionWindows::with_gap(ms(450));
        let trigger = WindowAssigner::<i64>::default_trigger(&windows);
        let contents = AggregateContents::new(Arc::new(SumAndCount));
        let value = |(sum, count): (i64, i64)| sum * 1000 + count;
        let make = operator(windows, trigger, contents, emit(bounds, value));
        let mut expected = Vec::new();
        for (key, numbers) in numbers() {
            for burst in numbers.chunk_by(|a, b| a / 50 == b / 50) {
                let time = |n: i64| n * 10 + n / 50 * 500;
                let (first, last) = (time(burst[0]), time(burst[burst.len() - 1]) + 450);
                let total = burst.iter().sum::<i64>() * 1000 + burst.len() as i64;
                expected.push((key.clone(), first, last, total));
            }
        }
        each("sessions", make, |mut driver| {
            // A number between the two sessions of key 1 makes one of them.
            driver.keyed(0, &text(1), vec![(900, 1i64)]);
            driver.restore_at(2);
            driver.finish();
            let mut expected = expected.clone();
            let of_key: Vec<Found> = expected
                .extract_if(.., |found| found.0 == text(1))
                .collect();
            let total = of_key[0].3 + of_key[1].3 + 1001;
            expected.push((text(1), of_key[0].1, of_key[1].2, total));
            expected.sort();
            assert_eq!(found(&mut driver), expected);
        });
    });
}

#[test]
fn sliding_windows_that_keep_all_records() {
    driver::on_each_backend(|| {
        let windows = SlidingEventTimeWindows::of(ms(1000), ms(500));
        let trigger = WindowAssigner::<i64>::default_trigger(&windows);
        let value = |numbers: Vec<i64>| {
            let hash = |hash: i64, n: &i64| (hash * 101 + n) % 1_000_000_007;
            numbers.iter().fold(0, hash)
        };
        let make = operator(
            windows,
            trigger,
            ListContents::default(),
            emit(bounds, value),
        );
        let mut expected: BTreeMap<(String, i64), Vec<i64>> = BTreeMap::new();
        for n in 0..RECORDS {
            for start in [n * 10 / 500 * 500, n * 10 / 500 * 500 - 500] {
                expected.entry((key_of(&n), start)).or_default().push(n);
            }
        }
        let expected: Vec<Found> = expected
            .into_iter()
            .map(|((key, start), numbers)| (key, start, start + 1000, value(numbers)))
            .collect();
        each("sliding", make, |mut driver| {
            driver.finish();
            assert_eq!(found(&mut driver), expected);
        });
    });
}

fn everywhere(_: GlobalWindow) -> (i64, i64) {
    (0, 0)
}

#[test]
fn count_windows_fire_when_they_are_full() {
    driver::on_each_backend(|| {
        let trigger = PurgingTrigger::of(CountTrigger::of(7));
        let make = operator(
            GlobalWindows::create(),
            trigger,
            sum(),
            emit(everywhere, |sum: i64| sum),
        );
        each("counted", make, |mut driver| {
            for (key, numbers) in numbers() {
                let held = &numbers[numbers.len() / 7 * 7..];
                // Each number is one of its key.
                let of_key = numbers[0];
                for _ in held.len()..6 {
                    driver.keyed(0, &key, vec![(0, of_key)]);
                }
                assert_eq!(found(&mut driver), []);
                driver.keyed(0, &key, vec![(0, of_key)]);
                let sum = held.iter().sum::<i64>() + (7 - held.len() as i64) * of_key;
                assert_eq!(found(&mut driver), [(key, 0, 0, sum)]);
            }
        });
    });
}

#[test]
fn sliding_count_windows_hold_the_last_records() {
    driver::on_each_backend(|| {
        let contents = EvictedContents::new(CountEvictor::of(5));
        let reduce = Arc::new(|a: &i64, b: &i64| a * 101 + b);
        let inner = emit(everywhere, |hash: i64| hash);
        let open = move |context: &WindowOpenContext<'_, '_, String, GlobalWindow>| {
            Ok(ReduceElements(inner(context)?, Arc::clone(&reduce)))
        };
        let make = operator(GlobalWindows::create(), CountTrigger::of(3), contents, open);
        each("last", make, |mut driver| {
            for (key, mut numbers) in numbers() {
                let of_key = numbers[0];
                loop {
                    numbers.push(of_key);
                    driver.keyed(0, &key, vec![(0, of_key)]);
                    if numbers.len() % 3 == 0 {
                        break;
                    }
                    assert_eq!(found(&mut driver), []);
                }
                let last = numbers[numbers.len() - 5..].iter();
                let hash = last.copied().reduce(|a, b| a * 101 + b).expect("five");
                assert_eq!(found(&mut driver), [(key, 0, 0, hash)]);
            }
        });
    });
}

const RULES: MapStateDescriptor<i64, String> = MapStateDescriptor::new("rules");

/// Emits what it knows: how many numbers the key had, how many rules there are and the text of one.
struct Rules {
    seen: ValueState<i64>,
}

impl KeyedBroadcastProcessFunction for Rules {
    type Key = String;
    type In = i64;
    type Broadcast = i64;
    type Out = Found;

    fn process_element(
        &mut self,
        _n: i64,
        context: &mut KeyedReadOnlyContext<'_, String>,
        out: &mut Collector<Found>,
    ) -> Result<()> {
        let seen = self.seen.value().unwrap_or(0);
        let rules = context.broadcast_state(&RULES)?;
        rules.for_each(|number, rule| out.collect((rule.clone(), *number, seen, 0)));
        Ok(())
    }

    fn process_broadcast_element(
        &mut self,
        _n: i64,
        _context: &mut KeyedBroadcastContext<'_, String>,
        _out: &mut Collector<Found>,
    ) -> Result<()> {
        Ok(())
    }
}

#[test]
fn broadcast_state_beside_keyed_state() {
    driver::on_each_backend(|| {
        let make = || {
            let open = |context: &mut KeyedOpenContext<'_, String>| {
                Ok(Rules {
                    seen: context.value_state("seen")?,
                })
            };
            let selector = Arc::new(ByValue(key_of, PhantomData));
            let mut states = BroadcastStates::default();
            states.add(&RULES);
            Box::new(KeyedBroadcastOperator::new(
                Arc::new(open),
                selector,
                states,
            )) as Box<dyn Operator>
        };
        let mut rules: BTreeMap<i64, String> = BTreeMap::new();
        for n in (0..RECORDS).step_by(10) {
            if n % 70 == 60 {
                rules.remove(&((n + 3) % 13));
            }
            rules.insert(n % 13, text(n));
        }
        each("rules", make, |mut driver| {
            for (key, numbers) in numbers() {
                driver.keyed(0, &key, vec![(0, numbers[0])]);
                let seen = numbers.len() as i64;
                let mut expected: Vec<Found> = rules
                    .iter()
                    .map(|(number, rule)| (rule.clone(), *number, seen, 0))
                    .collect();
                expected.sort();
                assert_eq!(found(&mut driver), expected);
            }
        });
    });
}
