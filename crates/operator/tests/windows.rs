//! Windows of every kind against a plain model of them, whatever is restored and rescaled between.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use millpond_operator::functions::window::trigger::{
    ContinuousEventTimeTrigger, ContinuousProcessingTimeTrigger, CountTrigger, PurgingTrigger,
    Trigger,
};
use millpond_operator::functions::window::{
    AggregateContents, CountEvictor, EmitResult, EventTimeSessionWindows, EvictedContents,
    GlobalWindows, ListContents, PerWindow, ProcessWindowFunction, ProcessingTimeSessionWindows,
    ReduceContents, SlidingEventTimeWindows, SlidingProcessingTimeWindows,
    TumblingEventTimeWindows, TumblingProcessingTimeWindows, WholeWindow, Window, WindowAssigner,
    WindowContents, WindowContext, WindowDefinition, WindowFunction, WindowOpenContext,
    WindowOperator,
};
use millpond_operator::partition::ByValue;
use millpond_operator::{Collector, Data, Operator, Result, SideTag};
use millpond_serializer::{GlobalWindow, TimeWindow};
use millpond_state::{AggregateFunction, ValueState};
use proptest::prelude::*;

#[expect(dead_code, reason = "not every test uses all of it")]
mod driver;
use driver::Driver;

/// A record: key, and the number that is summed.
type Record = (i64, i64);
/// A result: key, start and end of the window, the numbers in it in order.
type Found = (i64, i64, i64, Vec<i64>);

const LATE: SideTag<Record> = SideTag::new("late");

fn ms(ms: i64) -> Duration {
    Duration::from_millis(ms as u64)
}

/// Keeps all numbers of a window in order.
struct Numbers;

impl AggregateFunction for Numbers {
    type In = Record;
    type Accumulator = Vec<i64>;
    type Out = Vec<i64>;

    fn create_accumulator(&self) -> Vec<i64> {
        Vec::new()
    }

    fn add(&self, record: Record, numbers: &mut Vec<i64>) {
        numbers.push(record.1);
        numbers.sort_unstable();
    }

    fn get_result(&self, numbers: &Vec<i64>) -> Vec<i64> {
        numbers.clone()
    }

    fn merge(&self, a: Vec<i64>, b: Vec<i64>) -> Vec<i64> {
        let mut both = [a, b].concat();
        both.sort_unstable();
        both
    }
}

/// Emits the numbers of a window, sorted.
struct Emit<W>(std::marker::PhantomData<fn(W)>);

/// The bounds of a window, for results.
trait Bounds: Window {
    fn bounds(&self) -> (i64, i64);
}

impl Bounds for TimeWindow {
    fn bounds(&self) -> (i64, i64) {
        (self.start, self.end)
    }
}

impl Bounds for GlobalWindow {
    fn bounds(&self) -> (i64, i64) {
        (0, 0)
    }
}

impl<W: Bounds> ProcessWindowFunction for Emit<W> {
    type Key = i64;
    type Window = W;
    type In = Record;
    type Out = Found;

    fn process(
        &mut self,
        key: &i64,
        context: &WindowContext<'_, W>,
        elements: Vec<Record>,
        out: &mut Collector<Found>,
    ) -> Result<()> {
        let mut numbers: Vec<i64> = elements.into_iter().map(|record| record.1).collect();
        numbers.sort_unstable();
        let (start, end) = context.window().bounds();
        out.collect((*key, start, end, numbers));
        Ok(())
    }
}

fn operator<A, G, C, F>(
    assigner: A,
    trigger: G,
    contents: C,
    allowed_lateness_ms: i64,
    open: impl Fn(&WindowOpenContext<'_, '_, i64, A::Window>) -> Result<F> + 'static,
) -> impl Fn() -> Box<dyn Operator> + 'static
where
    A: WindowAssigner<Record>,
    G: Trigger<Record, A::Window>,
    C: WindowContents<A::Window, In = Record>,
    F: WindowFunction<i64, A::Window, C::Elements, Out: Data>,
{
    let selector = Arc::new(ByValue(
        |record: &Record| record.0,
        std::marker::PhantomData,
    ));
    let definition = Arc::new(WindowDefinition {
        assigner,
        trigger,
        contents,
        allowed_lateness_ms,
        late_data: Some(LATE),
    });
    let open = Arc::new(open);
    move || {
        let (selector, definition) = (Arc::clone(&selector), Arc::clone(&definition));
        Box::new(WindowOperator::new(selector, definition, Arc::clone(&open)))
    }
}

fn listed<A>(assigner: A, lateness: i64) -> impl Fn() -> Box<dyn Operator> + 'static
where
    A: WindowAssigner<Record, Window: Bounds>,
{
    let trigger = assigner.default_trigger();
    operator(assigner, trigger, ListContents::default(), lateness, |_| {
        Ok(WholeWindow(Emit(std::marker::PhantomData)))
    })
}

fn aggregated<A>(assigner: A, lateness: i64) -> impl Fn() -> Box<dyn Operator> + 'static
where
    A: WindowAssigner<Record, Window: Bounds>,
{
    let trigger = assigner.default_trigger();
    let contents = AggregateContents::new(Arc::new(Numbers));
    let emit = Arc::new(|key: &i64, window: A::Window, numbers: Vec<i64>| {
        let (start, end) = window.bounds();
        (*key, start, end, numbers)
    });
    operator(assigner, trigger, contents, lateness, move |_| {
        Ok(EmitResult(Arc::clone(&emit)))
    })
}

#[derive(Clone, Debug)]
enum Step {
    /// Key, timestamp as distance from the watermark, number.
    Record(i64, i64, i64),
    /// The watermark (or clock) goes on by so much.
    Advance(i64),
    /// The job goes on from a snapshot with so many subtasks.
    Restore(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => (0i64..5, -40i64..60, 0i64..1000).prop_map(|(k, t, n)| Step::Record(k, t, n)),
        4 => (0i64..40).prop_map(Step::Advance),
        1 => (1u32..5).prop_map(Step::Restore),
    ];
    prop::collection::vec(step, 0..120)
}

/// What came out of one step: results and late records, each sorted.
type Seen = (Vec<(i64, Found)>, Vec<(i64, Record)>);

fn sorted(mut seen: Seen) -> Seen {
    seen.0.sort();
    seen.1.sort();
    seen
}

/// Runs an operator through the steps in event time; the last entry is the end of the input.
fn run(make: impl Fn() -> Box<dyn Operator> + 'static, steps: &[Step]) -> Vec<Seen> {
    let mut driver = Driver::<Found>::new(2, make);
    let mut watermark = 0;
    driver.watermark(0);
    let mut all = Vec::new();
    for step in steps {
        match *step {
            Step::Record(key, distance, number) => {
                driver.keyed(0, &key, vec![(watermark + distance, (key, number))]);
            }
            Step::Advance(by) => {
                watermark += by;
                driver.watermark(watermark);
            }
            Step::Restore(parallelism) => driver.restore_at(parallelism),
        }
        all.push(sorted((driver.emitted(), driver.side_output("late"))));
    }
    driver.finish();
    all.push(sorted((driver.emitted(), driver.side_output("late"))));
    all
}

/// The model of windows with an event-time trigger: what is in them, plainly.
struct Model {
    lateness: i64,
    watermark: i64,
    /// By key: start, end, numbers.
    windows: BTreeMap<i64, Vec<(i64, i64, Vec<i64>)>>,
}

impl Model {
    fn emit(key: i64, window: &(i64, i64, Vec<i64>)) -> (i64, Found) {
        let (start, end, mut numbers) = window.clone();
        numbers.sort_unstable();
        (end - 1, (key, start, end, numbers))
    }

    /// Adds a record to the window, or to a window that it is part of after `merge`.
    fn add(
        &mut self,
        key: i64,
        (mut start, mut end): (i64, i64),
        number: i64,
        merge: bool,
    ) -> Option<Vec<(i64, Found)>> {
        let windows = self.windows.entry(key).or_default();
        let mut numbers = vec![number];
        let mut rest = Vec::new();
        // Windows do not touch each other, so one pass finds all that the new one touches.
        for window in windows.drain(..) {
            let joins = if merge {
                window.0 <= end && start <= window.1
            } else {
                (window.0, window.1) == (start, end)
            };
            if joins {
                start = start.min(window.0);
                end = end.max(window.1);
                numbers.extend(window.2);
            } else {
                rest.push(window);
            }
        }
        *windows = rest;
        if end - 1 + self.lateness <= self.watermark {
            return None;
        }
        windows.push((start, end, numbers));
        if end - 1 <= self.watermark {
            return Some(vec![Model::emit(key, &windows[windows.len() - 1])]);
        }
        Some(Vec::new())
    }

    fn advance(&mut self, watermark: i64) -> Vec<(i64, Found)> {
        let mut fired = Vec::new();
        for (key, windows) in &mut self.windows {
            for window in windows.iter() {
                if self.watermark < window.1 - 1 && window.1 - 1 <= watermark {
                    fired.push(Model::emit(*key, window));
                }
            }
            windows.retain(|window| window.1 - 1 + self.lateness > watermark);
        }
        self.watermark = watermark;
        fired
    }
}

/// Runs the model; `windows_of` says which windows a timestamp has.
fn model(
    steps: &[Step],
    lateness: i64,
    merge: bool,
    windows_of: impl Fn(i64) -> Vec<(i64, i64)>,
) -> Vec<Seen> {
    let mut model = Model {
        lateness,
        watermark: 0,
        windows: BTreeMap::new(),
    };
    let mut all = Vec::new();
    for step in steps {
        let mut seen = Seen::default();
        match *step {
            Step::Record(key, distance, number) => {
                let timestamp = model.watermark + distance;
                let mut taken = false;
                for window in windows_of(timestamp) {
                    if let Some(fired) = model.add(key, window, number, merge) {
                        taken = true;
                        seen.0.extend(fired);
                    }
                }
                if !taken && timestamp + lateness <= model.watermark {
                    seen.1.push((timestamp, (key, number)));
                }
            }
            Step::Advance(by) => seen.0 = model.advance(model.watermark + by),
            Step::Restore(_) => {}
        }
        all.push(sorted(seen));
    }
    let last = model.advance(i64::MAX / 2);
    all.push(sorted((last, Vec::new())));
    all
}

/// Windows of `size` that begin at the multiples of `slide`, plus `offset`.
fn sliding(size: i64, slide: i64, offset: i64) -> impl Fn(i64) -> Vec<(i64, i64)> {
    move |timestamp| {
        (timestamp - size + 1..=timestamp)
            .filter(|start| (start - offset).rem_euclid(slide) == 0)
            .map(|start| (start, start + size))
            .collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn tumbling_windows_are_those_of_the_model(steps in steps(), lateness in prop_oneof![Just(0), 1i64..30]) {
        let windows = TumblingEventTimeWindows::of(ms(10)).with_offset(ms(3));
        let expected = model(&steps, lateness, false, sliding(10, 10, 3));
        prop_assert_eq!(run(listed(windows, lateness), &steps), expected.clone());
        prop_assert_eq!(run(aggregated(windows, lateness), &steps), expected);
    }

    #[test]
    fn sliding_windows_are_those_of_the_model(steps in steps(), lateness in prop_oneof![Just(0), 1i64..30]) {
        let windows = SlidingEventTimeWindows::of(ms(15), ms(5)).with_offset(ms(2));
        let expected = model(&steps, lateness, false, sliding(15, 5, 2));
        prop_assert_eq!(run(listed(windows, lateness), &steps), expected.clone());
        prop_assert_eq!(run(aggregated(windows, lateness), &steps), expected);
    }

    #[test]
    fn sessions_are_those_of_the_model(steps in steps(), lateness in prop_oneof![Just(0), 1i64..30]) {
        let windows = EventTimeSessionWindows::with_gap(ms(8));
        let expected = model(&steps, lateness, true, |timestamp| vec![(timestamp, timestamp + 8)]);
        prop_assert_eq!(run(listed(windows, lateness), &steps), expected.clone());
        prop_assert_eq!(run(aggregated(windows, lateness), &steps), expected);
    }

    #[test]
    fn windows_of_the_clock_fire_when_it_has_passed_them(steps in steps()) {
        let cases: [(Make, bool, WindowsOf); 3] = [
            (
                Box::new(|| listed(TumblingProcessingTimeWindows::of(ms(10)), 0)()),
                false,
                Box::new(sliding(10, 10, 0)),
            ),
            (
                Box::new(|| listed(SlidingProcessingTimeWindows::of(ms(12), ms(4)), 0)()),
                false,
                Box::new(sliding(12, 4, 0)),
            ),
            (
                Box::new(|| aggregated(ProcessingTimeSessionWindows::with_gap(ms(8)), 0)()),
                true,
                Box::new(|now| vec![(now, now + 8)]),
            ),
        ];
        for (make, merge, windows_of) in cases {
            // At even times no window of these sizes ends, so that nothing fires at a record.
            let steps: Vec<Step> = steps.iter().map(|step| match step {
                Step::Record(key, _, number) => Step::Record(*key, 0, *number),
                Step::Advance(by) => Step::Advance(by * 2),
                Step::Restore(_) => step.clone(),
            }).collect();
            let mut expected = model(&steps, 0, merge, windows_of);
            // The clock does not run to the end of time when the input ends.
            expected.pop();
            prop_assert_eq!(run_by_the_clock(make, &steps), expected);
        }
    }

    #[test]
    fn count_windows_hold_so_many_records_of_a_key(steps in steps()) {
        let trigger = PurgingTrigger::of(CountTrigger::of(3));
        let make = operator(GlobalWindows::create(), trigger, ListContents::default(), 0, |_| {
            Ok(WholeWindow(Emit::<GlobalWindow>(std::marker::PhantomData)))
        });
        let mut held: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        let expected = counted(&steps, |key, number| {
            let numbers = held.entry(key).or_default();
            numbers.push(number);
            (numbers.len() == 3).then(|| std::mem::take(numbers))
        });
        prop_assert_eq!(run(make, &steps), expected);
    }

    #[test]
    fn sliding_count_windows_hold_the_last_records_of_a_key(steps in steps()) {
        let contents = EvictedContents::new(CountEvictor::of(5));
        let make = operator(GlobalWindows::create(), CountTrigger::of(2), contents, 0, |_| {
            Ok(WholeWindow(Emit::<GlobalWindow>(std::marker::PhantomData)))
        });
        let mut held: BTreeMap<i64, (Vec<i64>, usize)> = BTreeMap::new();
        let expected = counted(&steps, |key, number| {
            let (numbers, count) = held.entry(key).or_default();
            numbers.push(number);
            *count += 1;
            (*count % 2 == 0).then(|| numbers[numbers.len().saturating_sub(5)..].to_vec())
        });
        prop_assert_eq!(run(make, &steps), expected);
    }
}

type Make = Box<dyn Fn() -> Box<dyn Operator>>;
/// The windows that a timestamp has in the model.
type WindowsOf = Box<dyn Fn(i64) -> Vec<(i64, i64)>>;

/// Runs an operator through the steps in processing time.
fn run_by_the_clock(make: Make, steps: &[Step]) -> Vec<Seen> {
    let mut driver = Driver::<Found>::new(2, make);
    let mut all = Vec::new();
    for step in steps {
        match *step {
            Step::Record(key, _, number) => driver.keyed(0, &key, vec![(0, (key, number))]),
            Step::Advance(by) => driver.advance_clock(by as u64),
            Step::Restore(parallelism) => driver.restore_at(parallelism),
        }
        all.push(sorted((driver.emitted(), driver.side_output("late"))));
    }
    all
}

/// The model of count windows: `count` says what a record makes fire.
fn counted(steps: &[Step], mut count: impl FnMut(i64, i64) -> Option<Vec<i64>>) -> Vec<Seen> {
    let mut all = Vec::new();
    for step in steps {
        let mut seen = Seen::default();
        if let Step::Record(key, _, number) = *step
            && let Some(mut numbers) = count(key, number)
        {
            numbers.sort_unstable();
            seen.0.push((i64::MAX, (key, 0, 0, numbers)));
        }
        all.push(seen);
    }
    all.push(Seen::default());
    all
}

/// Sends records of a key: timestamp, and key with number.
fn records(driver: &mut Driver<Found>, key: i64, rows: &[(i64, Record)]) {
    driver.keyed(0, &key, rows.to_vec());
}

fn reduce_sum(
    trigger: impl Trigger<Record, TimeWindow>,
    size: i64,
) -> impl Fn() -> Box<dyn Operator> {
    let reduce = Arc::new(|a: &Record, b: &Record| (a.0, a.1 + b.1));
    let emit = Arc::new(|key: &i64, window: TimeWindow, sum: Record| {
        (*key, window.start, window.end, vec![sum.1])
    });
    operator(
        TumblingEventTimeWindows::of(ms(size)),
        trigger,
        ReduceContents::new(reduce),
        0,
        move |_| Ok(EmitResult(Arc::clone(&emit))),
    )
}

#[test]
fn a_continuous_trigger_fires_at_every_interval_and_at_the_end() {
    driver::on_each_backend(|| {
        let make = reduce_sum(ContinuousEventTimeTrigger::of(ms(10)), 35);
        let mut driver = Driver::<Found>::new(1, make);
        records(&mut driver, 1, &[(3, (1, 1))]);
        driver.watermark(10);
        assert_eq!(driver.emitted(), [(34, (1, 0, 35, vec![1]))]);
        records(&mut driver, 1, &[(12, (1, 10))]);
        driver.restore_at(3);
        driver.watermark(19);
        assert_eq!(driver.emitted(), []);
        driver.watermark(29);
        assert_eq!(driver.emitted(), [(34, (1, 0, 35, vec![11]))]);
        driver.watermark(34);
        let last = (34, (1, 0, 35, vec![11]));
        assert_eq!(
            driver.emitted(),
            [last.clone(), last],
            "at 30 and at the end"
        );
        driver.finish();
        assert_eq!(driver.emitted(), []);
    });
}

#[test]
fn a_continuous_trigger_of_the_clock_fires_at_every_interval() {
    driver::on_each_backend(|| {
        let make = operator(
            GlobalWindows::create(),
            ContinuousProcessingTimeTrigger::of(ms(10)),
            ListContents::default(),
            0,
            |_| Ok(WholeWindow(Emit::<GlobalWindow>(std::marker::PhantomData))),
        );
        let mut driver = Driver::<Found>::new(1, make);
        driver.advance_clock(5);
        records(&mut driver, 1, &[(0, (1, 1))]);
        driver.advance_clock(5);
        assert_eq!(driver.emitted(), [(i64::MAX, (1, 0, 0, vec![1]))]);
        driver.restore_at(2);
        records(&mut driver, 1, &[(0, (1, 2))]);
        driver.advance_clock(10);
        assert_eq!(driver.emitted(), [(i64::MAX, (1, 0, 0, vec![1, 2]))]);
    });
}

/// Counts how often a window and a key have fired, in state of the window and of the key.
struct Firings {
    of_window: PerWindow<ValueState<i64, TimeWindow>, TimeWindow>,
    of_key: ValueState<i64>,
}

impl ProcessWindowFunction for Firings {
    type Key = i64;
    type Window = TimeWindow;
    type In = Record;
    type Out = Found;

    fn process(
        &mut self,
        key: &i64,
        context: &WindowContext<'_, TimeWindow>,
        _elements: Vec<Record>,
        out: &mut Collector<Found>,
    ) -> Result<()> {
        let of_window = self.of_window.current().value().unwrap_or(0) + 1;
        self.of_window.current().update(of_window);
        let of_key = self.of_key.value().unwrap_or(0) + 1;
        self.of_key.update(of_key);
        let TimeWindow { start, end } = context.window();
        out.collect((*key, start, end, vec![of_window, of_key]));
        Ok(())
    }

    fn clear(&mut self, _key: &i64, _context: &WindowContext<'_, TimeWindow>) -> Result<()> {
        self.of_window.current().clear();
        Ok(())
    }
}

#[test]
fn a_window_function_has_state_of_its_window_and_of_its_key() {
    driver::on_each_backend(|| {
        let windows = TumblingEventTimeWindows::of(ms(10));
        let make = operator(
            windows,
            WindowAssigner::<Record>::default_trigger(&windows),
            ListContents::default(),
            20,
            |context| {
                Ok(WholeWindow(Firings {
                    of_window: context.window_state()?.value_state("of-window")?,
                    of_key: context.value_state("of-key")?,
                }))
            },
        );
        let mut driver = Driver::<Found>::new(2, make);
        records(&mut driver, 1, &[(5, (1, 1)), (15, (1, 1))]);
        driver.watermark(9);
        assert_eq!(driver.emitted(), [(9, (1, 0, 10, vec![1, 1]))]);
        driver.restore_at(3);
        records(&mut driver, 1, &[(6, (1, 1))]);
        assert_eq!(
            driver.emitted(),
            [(9, (1, 0, 10, vec![2, 2]))],
            "late, and again"
        );
        driver.watermark(19);
        assert_eq!(driver.emitted(), [(19, (1, 10, 20, vec![1, 3]))]);
        driver.watermark(29);
        records(&mut driver, 1, &[(6, (1, 1))]);
        assert_eq!(driver.emitted(), [], "the window is gone");
        assert_eq!(driver.side_output::<Record>("late"), [(6, (1, 1))]);
    });
}

#[test]
fn merging_windows_have_no_state_of_their_own_for_functions() {
    driver::on_each_backend(|| {
        let windows = EventTimeSessionWindows::with_gap(ms(5));
        let make = operator(
            windows,
            WindowAssigner::<Record>::default_trigger(&windows),
            ListContents::default(),
            0,
            |context| {
                let refused = context.window_state().err().map(|error| error.to_string());
                assert!(
                    refused.is_some_and(|text| text.contains("not allowed when using merging"))
                );
                Ok(WholeWindow(Emit::<TimeWindow>(std::marker::PhantomData)))
            },
        );
        let mut driver = Driver::<Found>::new(1, make);
        records(&mut driver, 1, &[(5, (1, 1)), (7, (1, 2))]);
        driver.finish();
        assert_eq!(driver.emitted(), [(11, (1, 5, 12, vec![1, 2]))]);
    });
}

#[test]
fn a_watermark_that_fires_many_windows_is_followed_in_slices_and_passed_on_behind_them() {
    driver::on_each_backend(|| {
        let trigger = millpond_operator::functions::window::trigger::EventTimeTrigger;
        let mut driver = Driver::<Found>::new(1, reduce_sum(trigger, 10));
        let rows = (0..20_000i64)
            .map(|number| (number * 10, (1i64, number)))
            .collect();
        driver.keyed(0, &1i64, rows);
        driver.watermark(1_000_000);
        let emitted = driver.emitted();
        assert_eq!(emitted.len(), 20_000);
        assert!(emitted.is_sorted_by_key(|(timestamp, _)| *timestamp));
        assert!(driver.most_waiting < 6000, "{}", driver.most_waiting);
        assert_eq!(driver.watermarks, [1_000_000]);
    });
}

#[test]
fn the_end_of_the_input_fires_every_window_of_event_time() {
    driver::on_each_backend(|| {
        let trigger = millpond_operator::functions::window::trigger::EventTimeTrigger;
        let mut driver = Driver::<Found>::new(2, reduce_sum(trigger, 10));
        records(&mut driver, 1, &[(5, (1, 1)), (6, (1, 2))]);
        records(&mut driver, 2, &[(123, (2, 5))]);
        driver.finish();
        let mut emitted = driver.emitted();
        emitted.sort();
        assert_eq!(
            emitted,
            [(9, (1, 0, 10, vec![3])), (129, (2, 120, 130, vec![5]))]
        );
    });
}
