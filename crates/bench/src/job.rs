//! The job that is measured: numbers -> key -> count -> discard.
//!
//! The first records visit every key once, all later ones are random. A record's key follows from
//! its number alone, so every run, also of the job for Flink in `tests/flink/bench`, has the same.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use clap::ValueEnum;
use millpond::operator::Data;
use millpond::prelude::*;

use crate::noted;
use crate::zipf::Zipf;

/// What the keys are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeyType {
    /// 8 bytes.
    I64,
    /// 16 bytes of text.
    String,
}

/// How often a key comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Distribution {
    /// All keys equally often.
    Uniform,
    /// The k-th key in proportion to 1 / k.
    Zipf,
}

/// Up to which number there are records at the moment.
pub(crate) static LIMIT: AtomicU64 = AtomicU64::new(u64::MAX);

/// How many records per second there are, of all subtasks together; as many as can be if not set.
pub(crate) static RATE: OnceLock<u64> = OnceLock::new();

/// Records counted in this process, brought up to date every [`NOTE_EVERY`] records.
pub(crate) static COUNTED: AtomicU64 = AtomicU64::new(0);

/// The longest time between two notes of a counter while [`WATCHING`], in ns.
pub(crate) static WORST_STALL_NS: AtomicU64 = AtomicU64::new(0);

/// Whether stalls are watched.
pub(crate) static WATCHING: AtomicBool = AtomicBool::new(false);

/// When the first record was counted, in ns since [`start`].
pub(crate) static FIRST_RECORD_NS: AtomicU64 = AtomicU64::new(0);

const NOTE_EVERY: u64 = 256;

/// The begin of this process, for all times in here.
pub(crate) fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

pub(crate) fn mixed(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Which key a record has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyNumbers {
    keys: u64,
    zipf: Option<Zipf>,
}

impl KeyNumbers {
    pub(crate) fn new(keys: u64, distribution: Distribution) -> Self {
        let zipf = match distribution {
            Distribution::Uniform => None,
            Distribution::Zipf => Some(Zipf::new(keys)),
        };
        KeyNumbers { keys, zipf }
    }

    /// The number of the key of a record, below the number of keys.
    #[inline]
    pub(crate) fn of(&self, record: u64) -> u64 {
        if record < self.keys {
            return record;
        }
        let random = mixed(!record);
        match &self.zipf {
            Some(zipf) => zipf.rank(random) - 1,
            None => ((u128::from(random) * u128::from(self.keys)) >> 64) as u64,
        }
    }
}

#[inline]
pub(crate) fn long_key(number: u64) -> i64 {
    mixed(number) as i64
}

#[inline]
pub(crate) fn string_key(mut number: u64) -> String {
    let mut text = *b"user-00000000000";
    let mut place = text.len() - 1;
    while number > 0 {
        text[place] = b'0' + (number % 10) as u8;
        number /= 10;
        place -= 1;
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Makes records at full speed or at a [`RATE`], up to [`LIMIT`].
struct Numbers<T> {
    offset: OperatorListState<i64>,
    next: u64,
    step: u64,
    keys: KeyNumbers,
    record: fn(u64) -> T,
}

impl<T: Data> SourceFunction for Numbers<T> {
    type Out = T;

    fn poll_next(&mut self, limit: usize, out: &mut Collector<T>) -> FunctionResult<InputStatus> {
        let rate = RATE.get();
        let due = rate.map_or(u64::MAX, |rate| {
            (start().elapsed().as_secs_f64() * *rate as f64) as u64
        });
        let end = LIMIT.load(Ordering::Relaxed).min(due);
        for _ in 0..limit {
            if self.next >= end {
                let soon = rate.map(|_| noted::now_ns() / 1_000_000 + 1);
                return Ok(InputStatus::NothingAvailable(soon));
            }
            out.collect((self.record)(self.keys.of(self.next)));
            self.next += self.step;
        }
        Ok(InputStatus::MoreAvailable)
    }

    fn snapshot_state(&mut self, _checkpoint: i64) -> FunctionResult<()> {
        self.offset.update([self.next as i64]);
        Ok(())
    }
}

struct Counter<K> {
    count: ValueState<i64>,
    unnoted: Cell<u64>,
    /// It has counted a record.
    has_begun: bool,
    last_note: Instant,
    key: PhantomData<K>,
}

impl<K> Counter<K> {
    #[cold]
    fn note(&mut self) {
        COUNTED.fetch_add(self.unnoted.take(), Ordering::Relaxed);
        if !self.has_begun {
            self.has_begun = true;
            noted::first_record();
        }
        let now = Instant::now();
        if FIRST_RECORD_NS.load(Ordering::Relaxed) == 0 {
            let since = now.duration_since(start()).as_nanos() as u64;
            FIRST_RECORD_NS.store(since, Ordering::Relaxed);
        }
        if WATCHING.load(Ordering::Relaxed) {
            let stall = now.duration_since(self.last_note).as_nanos() as u64;
            WORST_STALL_NS.fetch_max(stall, Ordering::Relaxed);
        }
        self.last_note = now;
    }
}

impl<K: FlinkKey + Data> KeyedProcessFunction for Counter<K> {
    type Key = K;
    type In = K;
    type Out = i64;

    #[inline]
    fn process_element(
        &mut self,
        _record: K,
        _context: &mut KeyedContext<'_, K>,
        out: &mut Collector<i64>,
    ) -> FunctionResult<()> {
        let count = self
            .count
            .update_with(|count| *count.insert(count.unwrap_or(0) + 1));
        out.collect(count);
        self.unnoted.set(self.unnoted.get() + 1);
        if self.unnoted.get() == NOTE_EVERY || !self.has_begun {
            self.note();
        }
        Ok(())
    }
}

fn build_of<K: FlinkKey + Data>(env: &Environment, keys: KeyNumbers, record: fn(u64) -> K) {
    env.add_source("numbers", move |context| {
        let offset = context.operator_list_state::<i64>("offsets")?;
        let info = context.info();
        let (subtask, step) = (u64::from(info.subtask), u64::from(info.parallelism));
        // After a change of parallelism some numbers come twice or never: only speed counts here.
        let next = offset
            .get()
            .iter()
            .map(|next| *next as u64)
            .max()
            .map_or(subtask, |next| next + subtask);
        Ok(Numbers {
            offset,
            next,
            step,
            keys,
            record,
        })
    })
    .uid("source")
    .key_by_ref(|key: &K| key)
    .process(|context| {
        Ok(Counter {
            count: context.value_state("count")?,
            unnoted: Cell::new(0),
            has_begun: false,
            last_note: Instant::now(),
            key: PhantomData,
        })
    })
    .uid("counter")
    .name("counter")
    .sink_to(DiscardSink::new())
    .uid("sink");
}

/// Builds the job into an environment.
pub(crate) fn build(env: &Environment, keys: KeyNumbers, key_type: KeyType) {
    match key_type {
        KeyType::I64 => build_of(env, keys, long_key),
        KeyType::String => build_of(env, keys, string_key),
    }
}
