//! The records of the workload, and what each stage makes of them.
//!
//! Record n of an input is a function of n. Event times of one input rise with n, by at most
//! [`OUT_OF_ORDERNESS_MS`] out of order, and all times of input B are behind all of input A: so no
//! record is ever late, whatever the order between inputs and subtasks.
//!
//! Every stage treats records of one key alike in any order, so that the multiset of lines does not
//! depend on the order.

use millpond::operator::functions::KeyedOpenContext;
use millpond::prelude::{
    AggregateFunction, Collector, FunctionResult, KeyedBroadcastContext,
    KeyedBroadcastProcessFunction, KeyedContext, KeyedProcessFunction, KeyedReadOnlyContext,
    ListState, MapState, MapStateDescriptor, ReducingState, SideTag, ValueState,
};
use serde::{Deserialize, Serialize};

use crate::random::mixed;

/// How many splits input A has.
pub const SPLITS: u64 = 8;

/// By how much records of one input may be out of order.
pub const OUT_OF_ORDERNESS_MS: i64 = 32;

/// The first event time of input B.
pub const B_BEGIN_MS: i64 = 1_000_000_000_000;

/// Length of the windows.
pub const WINDOW_MS: i64 = 1000;

/// Distance of the timers.
pub const TIMER_MS: i64 = 500;

/// The timer that fires when all input has ended.
pub const LAST_TIMER_MS: i64 = i64::MAX - 1;

/// Without a record for so long a session of a key ends.
pub const SESSION_GAP_MS: i64 = 150;

/// Every so-many-th number is a rule, which is broadcast.
pub const RULE_EVERY: i64 = 40;

/// Number of keys of the windows.
pub const GROUPS: i64 = 7;

/// Which source a record comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// The source function.
    A,
    /// The generator.
    B,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Where it comes from.
    pub input: Input,
    /// Its number there.
    pub n: i64,
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: i64,
    /// Its event time.
    pub time_ms: i64,
}

/// Record n of an input.
pub fn event(input: Input, n: u64, keys: u64) -> Event {
    let (salt, begin) = match input {
        Input::A => (1, 0),
        Input::B => (2, B_BEGIN_MS),
    };
    let bits = mixed(n.wrapping_mul(2).wrapping_add(salt));
    Event {
        input,
        n: n as i64,
        key: format!("key-{}", bits % keys),
        value: ((bits >> 32) % 1000) as i64,
        time_ms: begin + n as i64 + (bits >> 20) as i64 % OUT_OF_ORDERNESS_MS,
    }
}

/// The flat map: most records pass, some vanish, some come twice with different values.
pub fn expand(event: Event) -> Vec<Event> {
    match event.n % 10 {
        3 => Vec::new(),
        7 => {
            let twin = Event {
                value: event.value + 1000,
                ..event.clone()
            };
            vec![event, twin]
        }
        _ => vec![event],
    }
}

/// What the keyed stage makes of a record or timer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// The line to be published.
    pub line: String,
    /// For windows: group and value of the record; `None` for lines of timers.
    pub record: Option<(i64, i64)>,
}

/// What a window is reduced from: group, count, sum.
pub type WindowValue = (i64, i64, i64);

/// Reduces two values of one window.
pub fn reduce(a: &WindowValue, b: &WindowValue) -> WindowValue {
    (a.0, a.1 + b.1, a.2 + b.2)
}

/// The line of a window.
pub fn window_line(start_ms: i64, value: &WindowValue) -> String {
    format!("window,{},{start_ms},{},{}", value.0, value.1, value.2)
}

/// The line of a session of a key.
pub fn session_line(key: &str, start_ms: i64, end_ms: i64, (count, sum): (i64, i64)) -> String {
    format!("session,{key},{start_ms},{end_ms},{count},{sum}")
}

/// Number and sum of the values of a session.
pub struct Session;

impl AggregateFunction for Session {
    type In = Event;
    type Accumulator = (i64, i64);
    type Out = (i64, i64);

    fn create_accumulator(&self) -> (i64, i64) {
        (0, 0)
    }

    fn add(&self, event: Event, (count, sum): &mut (i64, i64)) {
        *count += 1;
        *sum += event.value;
    }

    fn get_result(&self, session: &(i64, i64)) -> (i64, i64) {
        *session
    }

    fn merge(&self, a: (i64, i64), b: (i64, i64)) -> (i64, i64) {
        (a.0 + b.0, a.1 + b.1)
    }
}

/// Whether a record is broadcast to change the rules.
pub fn is_rule(event: &Event) -> bool {
    event.n % RULE_EVERY == 0
}

/// What a broadcast record changes: the rule, and what is added to it. Hearing it twice is seen.
pub fn rule_of(event: &Event) -> (i64, i64) {
    (event.value % GROUPS, event.value + 1)
}

/// The line of a key with all rules, when all input has ended.
pub fn rules_line(key: &str, records: i64, rules: &[(i64, i64)]) -> String {
    let rules: Vec<String> = rules
        .iter()
        .map(|(rule, n)| format!("{rule}:{n}"))
        .collect();
    format!("rules,{key},{records},{}", rules.join(" "))
}

/// The broadcast state of [`Rules`].
pub const RULES: MapStateDescriptor<i64, i64> = MapStateDescriptor::new("rules");

/// Counts the records of a key, and sums what is broadcast, by rule.
pub struct Rules {
    records: ValueState<i64>,
}

impl Rules {
    /// Registers its state.
    ///
    /// # Errors
    ///
    /// Restored state is of another type.
    pub fn open(context: &mut KeyedOpenContext<'_, String>) -> FunctionResult<Self> {
        Ok(Rules {
            records: context.value_state("records")?,
        })
    }
}

impl KeyedBroadcastProcessFunction for Rules {
    type Key = String;
    type In = Event;
    type Broadcast = Event;
    type Out = String;

    fn process_element(
        &mut self,
        _event: Event,
        context: &mut KeyedReadOnlyContext<'_, String>,
        _out: &mut Collector<String>,
    ) -> FunctionResult<()> {
        let records = self.records.value().unwrap_or(0) + 1;
        self.records.update(records);
        context.register_event_time_timer(LAST_TIMER_MS);
        Ok(())
    }

    fn process_broadcast_element(
        &mut self,
        event: Event,
        context: &mut KeyedBroadcastContext<'_, String>,
        _out: &mut Collector<String>,
    ) -> FunctionResult<()> {
        let (rule, added) = rule_of(&event);
        let mut rules = context.broadcast_state(&RULES)?;
        let sum = rules.get(&rule).unwrap_or(0) + added;
        rules.put(rule, sum);
        Ok(())
    }

    fn on_timer(
        &mut self,
        _timestamp: i64,
        context: &mut KeyedReadOnlyContext<'_, String>,
        out: &mut Collector<String>,
    ) -> FunctionResult<()> {
        let mut rules = Vec::new();
        context
            .broadcast_state(&RULES)?
            .for_each(|rule, sum| rules.push((*rule, *sum)));
        let records = self.records.value().unwrap_or(0);
        out.collect(rules_line(&context.current_key(), records, &rules));
        Ok(())
    }
}

/// The group of the windows that a record belongs to.
pub fn group_of(event: &Event) -> i64 {
    event.value % GROUPS
}

/// What is known of one key, as plain data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyTotals {
    /// Records.
    pub count: i64,
    /// Records by value modulo 5.
    pub by_class: std::collections::BTreeMap<i64, i64>,
    /// Numbers of every 50th record, ascending.
    pub samples: Vec<i64>,
    /// The highest value.
    pub highest: i64,
}

/// The line of a function that has counted input B, when that has ended.
pub fn farewell_line(records: i64) -> String {
    format!("farewell,{records}")
}

/// The line of the ledger, which counts all records, when all input has ended.
pub fn ledger_line(records: i64) -> String {
    format!("ledger,{records}")
}

/// The line of a key when all input has ended.
pub fn final_line(key: &str, totals: &KeyTotals) -> String {
    let KeyTotals {
        count,
        by_class,
        samples,
        highest,
    } = totals;
    let classes: Vec<String> = by_class
        .iter()
        .map(|(class, n)| format!("{class}:{n}"))
        .collect();
    let samples: Vec<String> = samples.iter().map(ToString::to_string).collect();
    format!(
        "final,{key},{count},{},{},{highest}",
        classes.join(" "),
        samples.join(" ")
    )
}

/// The line of a record: the how-many-th of its key it is.
pub fn count_line(key: &str, count: i64) -> String {
    format!("count,{key},{count}")
}

/// The line of a timer.
pub fn timer_line(key: &str, timestamp_ms: i64) -> String {
    format!("timer,{key},{timestamp_ms}")
}

/// The timer that a record sets.
pub fn timer_of(event: &Event) -> i64 {
    (event.time_ms / TIMER_MS + 1) * TIMER_MS - 1
}

/// Whether the record's number is kept in the list.
pub fn is_sample(event: &Event) -> bool {
    event.n % 50 == 0
}

/// The line of a record that is kept in the list.
pub fn sample_line(event: &Event) -> String {
    format!("sample,{},{}", event.key, event.n)
}

/// The line of a key some machine time behind its first record; at most one per key.
pub fn ping_line(key: &str) -> String {
    format!("ping,{key}")
}

/// The side output of [`sample_line`]s.
pub const SAMPLES: SideTag<String> = SideTag::new("samples");

/// The keyed stage as the engine runs it.
pub struct Counting {
    ping_after_ms: i64,
    /// When the key's ping is due.
    ping: ValueState<i64>,
    count: ValueState<i64>,
    by_class: MapState<i64, i64>,
    samples: ListState<i64>,
    highest: ReducingState<i64>,
}

impl Counting {
    /// Registers its state.
    ///
    /// # Errors
    ///
    /// Restored state is of another type.
    pub fn open(
        context: &mut KeyedOpenContext<'_, String>,
        ping_after_ms: i64,
    ) -> FunctionResult<Self> {
        Ok(Counting {
            ping_after_ms,
            ping: context.value_state("ping")?,
            count: context.value_state("count")?,
            by_class: context.map_state("by-class")?,
            samples: context.list_state("samples")?,
            highest: context.reducing_state("highest", |a: &i64, b: &i64| *a.max(b))?,
        })
    }

    fn totals(&self) -> KeyTotals {
        let mut samples = self.samples.get();
        samples.sort_unstable();
        KeyTotals {
            count: self.count.value().unwrap_or(0),
            by_class: self.by_class.entries().into_iter().collect(),
            samples,
            highest: self.highest.get().unwrap_or(0),
        }
    }
}

impl KeyedProcessFunction for Counting {
    type Key = String;
    type In = Event;
    type Out = Counted;

    fn process_element(
        &mut self,
        event: Event,
        context: &mut KeyedContext<'_, String>,
        out: &mut Collector<Counted>,
    ) -> FunctionResult<()> {
        let count = self
            .count
            .update_with(|count| *count.insert(count.unwrap_or(0) + 1));
        let class = event.value % 5;
        self.by_class
            .put(class, self.by_class.get(&class).unwrap_or(0) + 1);
        if is_sample(&event) {
            self.samples.add(event.n);
            out.output(&SAMPLES, sample_line(&event));
        }
        if count == 1 {
            let at = context.current_processing_time() + self.ping_after_ms;
            self.ping.update(at);
            context.register_processing_time_timer(at);
        }
        self.highest.add(event.value);
        context.register_event_time_timer(timer_of(&event));
        context.register_event_time_timer(LAST_TIMER_MS);
        let record = Some((group_of(&event), event.value));
        out.collect(Counted {
            line: count_line(&event.key, count),
            record,
        });
        Ok(())
    }

    fn on_timer(
        &mut self,
        timestamp: i64,
        context: &mut KeyedContext<'_, String>,
        out: &mut Collector<Counted>,
    ) -> FunctionResult<()> {
        let key = context.current_key();
        let line = if self.ping.value() == Some(timestamp) {
            self.ping.clear();
            ping_line(&key)
        } else if timestamp == LAST_TIMER_MS {
            final_line(&key, &self.totals())
        } else {
            timer_line(&key, timestamp)
        };
        out.collect(Counted { line, record: None });
        Ok(())
    }
}
