//! Functions of two inputs, with keyed state, timers and broadcast state, through rescaling.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

use millpond_operator::functions::broadcast::{
    BroadcastContext, BroadcastFunction, BroadcastProcessFunction, BroadcastStates,
    KeyedBroadcastContext, KeyedBroadcastOperator, KeyedBroadcastProcessFunction,
    KeyedReadOnlyContext, MapStateDescriptor, ReadOnlyContext,
};
use millpond_operator::functions::co::{
    CoFlatMapOperator, CoProcessOperator, KeyedCoProcessFunction, KeyedCoProcessOperator,
};
use millpond_operator::functions::{
    FunctionOpenContext, KeyedContext, KeyedOpenContext, TimeDomain,
};
use millpond_operator::partition::ByValue;
use millpond_operator::{Collector, Operator, Result};
use millpond_state::{ListState, ValueState};
use proptest::prelude::*;

#[expect(dead_code, reason = "not every test uses all of it")]
mod driver;
use driver::Driver;

/// Key and number.
type Record = (i64, i64);

/// Keeps orders of input 1 until the price of input 2 is known; gives up after a while.
struct Join {
    orders: ListState<i64>,
    price: ValueState<i64>,
}

impl KeyedCoProcessFunction for Join {
    type Key = i64;
    type In1 = Record;
    type In2 = (i64, String);
    type Out = String;

    fn process_element1(
        &mut self,
        (key, order): Record,
        context: &mut KeyedContext<'_, i64>,
        out: &mut Collector<String>,
    ) -> Result<()> {
        assert_eq!(context.current_key(), key);
        assert_eq!(context.time_domain(), None);
        match self.price.value() {
            Some(price) => out.collect(format!("{key}: {order} x {price}")),
            None => {
                self.orders.add(order);
                let now = context.timestamp().expect("records have timestamps");
                context.register_event_time_timer(now + 100);
                context.register_event_time_timer(now + 100);
            }
        }
        Ok(())
    }

    fn process_element2(
        &mut self,
        (key, price): (i64, String),
        context: &mut KeyedContext<'_, i64>,
        out: &mut Collector<String>,
    ) -> Result<()> {
        let price = price.parse()?;
        self.price.update(price);
        for order in self.orders.get() {
            out.collect(format!("{key}: {order} x {price}"));
        }
        self.orders.clear();
        context.register_processing_time_timer(context.current_processing_time() + 50);
        Ok(())
    }

    fn on_timer(
        &mut self,
        timestamp: i64,
        context: &mut KeyedContext<'_, i64>,
        out: &mut Collector<String>,
    ) -> Result<()> {
        let key = context.current_key();
        assert_eq!(context.timestamp(), Some(timestamp));
        match context.time_domain() {
            Some(TimeDomain::EventTime) => {
                for order in self.orders.get() {
                    out.collect(format!("{key}: {order} without price at {timestamp}"));
                }
                self.orders.clear();
            }
            Some(TimeDomain::ProcessingTime) => {
                self.price.clear();
                out.collect(format!("{key}: price is old at {timestamp}"));
            }
            None => panic!("a timer has a time domain"),
        }
        Ok(())
    }
}

fn join() -> Box<dyn Operator> {
    let open = |context: &mut KeyedOpenContext<'_, i64>| {
        Ok(Join {
            orders: context.list_state("orders")?,
            price: context.value_state("price")?,
        })
    };
    let first = Arc::new(ByValue(|record: &Record| record.0, PhantomData));
    let second = Arc::new(ByValue(|record: &(i64, String)| record.0, PhantomData));
    Box::new(KeyedCoProcessOperator::new(Arc::new(open), (first, second)))
}

fn texts(driver: &mut Driver<String>) -> Vec<String> {
    let mut texts: Vec<String> = driver.emitted().into_iter().map(|(_, text)| text).collect();
    texts.sort();
    texts
}

#[test]
fn two_keyed_inputs_share_state_and_timers_of_the_key_through_rescaling() {
    driver::on_each_backend(|| {
        let mut driver = Driver::<String>::new(2, join);
        driver.keyed(0, &1i64, vec![(10, (1i64, 7i64)), (11, (1, 8))]);
        driver.keyed(0, &2i64, vec![(12, (2i64, 9i64))]);
        driver.restore_at(3);
        driver.keyed(1, &1i64, vec![(20, (1i64, "5".to_owned()))]);
        assert_eq!(texts(&mut driver), ["1: 7 x 5", "1: 8 x 5"]);
        driver.restore_at(1);
        driver.keyed(0, &1i64, vec![(30, (1i64, 2i64))]);
        assert_eq!(texts(&mut driver), ["1: 2 x 5"]);
        driver.watermark(111);
        assert!(texts(&mut driver).is_empty(), "orders of key 1 were met");
        driver.restore_at(2);
        driver.watermark(112);
        let emitted = driver.emitted();
        let text = "2: 9 without price at 112".to_owned();
        assert_eq!(emitted, [(112, text)], "once, though registered twice");
        driver.advance_clock(49);
        assert!(texts(&mut driver).is_empty());
        driver.advance_clock(1);
        assert_eq!(texts(&mut driver), ["1: price is old at 50"]);
        driver.keyed(0, &1i64, vec![(200, (1i64, 3i64))]);
        driver.finish();
        assert_eq!(texts(&mut driver), ["1: 3 without price at 300"]);
    });
}

const RULES: MapStateDescriptor<String, i64> = MapStateDescriptor::new("rules");
const OTHER: MapStateDescriptor<String, String> = MapStateDescriptor::new("rules");

/// Multiplies numbers by the factor that a rule has made known, and counts what it has seen.
struct Factors {
    seen: ValueState<i64>,
}

impl KeyedBroadcastProcessFunction for Factors {
    type Key = i64;
    type In = Record;
    type Broadcast = (String, i64);
    type Out = String;

    fn process_element(
        &mut self,
        (key, number): Record,
        context: &mut KeyedReadOnlyContext<'_, i64>,
        out: &mut Collector<String>,
    ) -> Result<()> {
        assert!(context.broadcast_state(&OTHER).is_err(), "of another type");
        let seen = self.seen.value().unwrap_or(0) + 1;
        self.seen.update(seen);
        let factor = context.broadcast_state(&RULES)?.get(&"factor".to_owned());
        out.collect(format!("{key}: {} ({seen})", number * factor.unwrap_or(1)));
        context.register_event_time_timer(number);
        Ok(())
    }

    fn process_broadcast_element(
        &mut self,
        (name, number): (String, i64),
        context: &mut KeyedBroadcastContext<'_, i64>,
        out: &mut Collector<String>,
    ) -> Result<()> {
        if name == "forget" {
            let seen = &mut self.seen;
            context.apply_to_keyed_state("seen", |key| {
                if seen.value() >= Some(number) {
                    out.collect(format!("{key}: forgotten"));
                    seen.clear();
                }
                Ok(())
            })?;
        }
        context.broadcast_state(&RULES)?.put(name, number);
        Ok(())
    }

    fn on_timer(
        &mut self,
        timestamp: i64,
        context: &mut KeyedReadOnlyContext<'_, i64>,
        out: &mut Collector<String>,
    ) -> Result<()> {
        let rules = context.broadcast_state(&RULES)?.len();
        let key = context.current_key();
        out.collect(format!("{key}: timer {timestamp} with {rules} rules"));
        Ok(())
    }
}

fn factors() -> Box<dyn Operator> {
    let open = |context: &mut KeyedOpenContext<'_, i64>| {
        Ok(Factors {
            seen: context.value_state("seen")?,
        })
    };
    let selector = Arc::new(ByValue(|record: &Record| record.0, PhantomData));
    let mut states = BroadcastStates::default();
    states.add(&RULES);
    Box::new(KeyedBroadcastOperator::new(
        Arc::new(open),
        selector,
        states,
    ))
}

#[test]
fn broadcast_state_reaches_every_key_and_every_new_subtask() {
    driver::on_each_backend(|| {
        let mut driver = Driver::<String>::new(2, factors);
        driver.broadcast(1, 0, ("factor".to_owned(), 10i64));
        for key in 0..6i64 {
            driver.keyed(0, &key, vec![(0, (key, key))]);
        }
        let expected: Vec<String> = (0..6)
            .map(|key| format!("{key}: {} (1)", key * 10))
            .collect();
        assert_eq!(texts(&mut driver), expected);
        for parallelism in [5, 1, 3] {
            driver.restore_at(parallelism);
            driver.keyed(0, &4i64, vec![(0, (4i64, 1i64))]);
            let texts = texts(&mut driver);
            assert!(texts[0].starts_with("4: 10 "), "{texts:?}");
        }
        driver.broadcast(1, 0, ("forget".to_owned(), 2i64));
        assert_eq!(texts(&mut driver), ["4: forgotten"]);
        driver.restore_at(2);
        driver.watermark(1);
        let expected = [
            "0: timer 0 with 2 rules",
            "1: timer 1 with 2 rules",
            "4: timer 1 with 2 rules",
        ];
        assert_eq!(texts(&mut driver), expected);
    });
}

/// Lets through the numbers that no rule forbids.
struct Filter;

impl BroadcastProcessFunction for Filter {
    type In = Record;
    type Broadcast = (String, i64);
    type Out = String;

    fn process_element(
        &mut self,
        (_, number): Record,
        context: &ReadOnlyContext<'_>,
        out: &mut Collector<String>,
    ) -> Result<()> {
        let mut forbidden = false;
        context
            .broadcast_state(&RULES)?
            .for_each(|_, rule| forbidden |= *rule == number);
        if !forbidden {
            out.collect(number.to_string());
        }
        Ok(())
    }

    fn process_broadcast_element(
        &mut self,
        (name, number): (String, i64),
        context: &mut BroadcastContext<'_>,
        _out: &mut Collector<String>,
    ) -> Result<()> {
        let mut rules = context.broadcast_state(&RULES)?;
        if number == 0 {
            rules.remove(&name);
        } else {
            rules.put(name, number);
        }
        Ok(())
    }
}

fn filter() -> Box<dyn Operator> {
    let open = |context: &mut FunctionOpenContext<'_>| {
        let mut states = BroadcastStates::default();
        states.add(&RULES);
        BroadcastFunction::open(context, &states, |_| Ok(Filter))
    };
    Box::new(CoProcessOperator::new(Arc::new(open)))
}

#[derive(Clone, Debug)]
enum Step {
    Number(usize, i64),
    Rule(u8, i64),
    Restore(u32),
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn broadcast_state_is_the_same_map_in_all_subtasks_whatever_is_rescaled(
        steps in prop::collection::vec(prop_oneof![
            8 => (0usize..8, 1i64..6).prop_map(|(s, n)| Step::Number(s, n)),
            4 => (0u8..4, 0i64..6).prop_map(|(name, n)| Step::Rule(name, n)),
            1 => (1u32..5).prop_map(Step::Restore),
        ], 0..80)
    ) {
        let mut driver = Driver::<String>::new(2, filter);
        let mut rules: BTreeMap<u8, i64> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Number(subtask, number) => {
                    let subtask = subtask % driver.parallelism() as usize;
                    driver.send_to(subtask, 0, 5, (0i64, number));
                    let passes = !rules.values().any(|rule| *rule == number);
                    let expected = if passes { vec![(5, number.to_string())] } else { vec![] };
                    prop_assert_eq!(driver.emitted(), expected);
                }
                Step::Rule(name, number) => {
                    driver.broadcast(1, 5, (name.to_string(), number));
                    if number == 0 {
                        rules.remove(&name);
                    } else {
                        rules.insert(name, number);
                    }
                }
                Step::Restore(parallelism) => driver.restore_at(parallelism),
            }
        }
    }
}

#[test]
fn a_flat_map_of_two_inputs_pauses_in_the_middle_of_a_record_that_makes_many() {
    driver::on_each_backend(|| {
        let first = Arc::new(|n: i64| (0..n).map(|n| n.to_string()));
        let second = Arc::new(|text: String| Some(text));
        let make = move || {
            let (first, second) = (Arc::clone(&first), Arc::clone(&second));
            Box::new(CoFlatMapOperator::<_, _, i64, String, _, _>::new(
                first, second,
            )) as Box<_>
        };
        let mut driver = Driver::<String>::new(1, make);
        driver.send_to(0, 0, 3, 50_000i64);
        driver.send_to(0, 1, 4, "last".to_owned());
        let emitted = driver.emitted();
        assert_eq!(emitted.len(), 50_001);
        assert_eq!(emitted[49_999], (3, "49999".to_owned()));
        assert_eq!(emitted[50_000], (4, "last".to_owned()));
        assert!(driver.most_waiting < 6000, "{}", driver.most_waiting);
    });
}

/// Emits what it was told about checkpoints, at the next record.
struct Listener {
    heard: Vec<String>,
}

impl millpond_operator::functions::ProcessFunction for Listener {
    type In = i64;
    type Out = String;

    fn process_element(
        &mut self,
        _value: i64,
        _context: &millpond_operator::functions::ProcessContext<'_>,
        out: &mut Collector<String>,
    ) -> Result<()> {
        self.heard.drain(..).for_each(|text| out.collect(text));
        Ok(())
    }

    fn notify_checkpoint_complete(&mut self, checkpoint: i64) -> Result<()> {
        self.heard.push(format!("{checkpoint} complete"));
        Ok(())
    }

    fn notify_checkpoint_aborted(&mut self, checkpoint: i64) -> Result<()> {
        self.heard.push(format!("{checkpoint} aborted"));
        Ok(())
    }
}

#[test]
fn a_function_hears_what_was_restored_and_what_becomes_of_checkpoints() {
    driver::on_each_backend(|| {
        let open = Arc::new(|context: &mut FunctionOpenContext<'_>| {
            let restored = context.restored_checkpoint();
            assert_eq!(context.is_restored(), restored.is_some());
            Ok(Listener {
                heard: vec![format!("restored from {restored:?}")],
            })
        });
        let make = move || {
            let open = Arc::clone(&open);
            Box::new(millpond_operator::functions::ProcessOperator::new(open)) as Box<_>
        };
        let mut driver = Driver::<String>::new(1, make);
        driver.notify(3, true);
        driver.notify(4, false);
        driver.send_to(0, 0, 0, 1i64);
        assert_eq!(
            texts(&mut driver),
            ["3 complete", "4 aborted", "restored from None"]
        );
        driver.restore_at(1);
        driver.send_to(0, 0, 0, 1i64);
        assert_eq!(texts(&mut driver), ["restored from Some(1)"]);
    });
}
