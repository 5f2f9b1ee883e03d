//! Counts records per key, for ever or up to a number, with its positions in operator state.
//!
//! ```text
//! keyed_count --key-type i64|string --keys N [--records N] [--rate R] [--splits S]
//!             [--savepoint-at-end DIR] [-D key=value]
//! ```
//!
//! The source keeps one position per split in the operator list state `offsets`: the number of the
//! split's next record. Record n belongs to split n mod S; S is fixed by the first run and lies in
//! the union list state `splits`. With `--savepoint-at-end` the source idles after its last record,
//! so that no operator is finished in the savepoint; once all are counted the job is stopped.

use std::process::ExitCode;

use millpond::operator::Data;
use millpond::prelude::*;
use millpond::types::Clock;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Arguments {
    keys: u64,
    strings: bool,
    records: Option<u64>,
    rate: Option<u64>,
    splits: Option<u64>,
    savepoint_at_end: Option<String>,
}

impl Arguments {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut parsed = Arguments {
            keys: 1000,
            strings: false,
            records: None,
            rate: None,
            splits: None,
            savepoint_at_end: None,
        };
        let mut rest = arguments.iter();
        while let Some(name) = rest.next() {
            let value = rest.next().ok_or_else(|| format!("{name} needs a value"))?;
            let number = || match value.parse::<u64>() {
                Ok(number) if number > 0 => Ok(number),
                _ => Err(format!("{name} is \"{value}\", expected a number from 1")),
            };
            match name.as_str() {
                "--keys" => parsed.keys = number()?,
                "--records" => parsed.records = Some(number()?),
                "--rate" => parsed.rate = Some(number()?),
                "--splits" => parsed.splits = Some(number()?),
                "--savepoint-at-end" => parsed.savepoint_at_end = Some(value.clone()),
                "--key-type" => match value.as_str() {
                    "i64" => parsed.strings = false,
                    "string" => parsed.strings = true,
                    _ => return Err(format!("--key-type is \"{value}\", expected i64 or string")),
                },
                _ => return Err(format!("unknown option {name}")),
            }
        }
        Ok(parsed)
    }
}

/// Makes the records of some splits, in turn.
struct Numbers<T> {
    offsets: OperatorListState<i64>,
    positions: Vec<u64>,
    splits: u64,
    end: u64,
    ends: bool,
    rate: Option<f64>,
    started_ms: u64,
    emitted: u64,
    clock: std::sync::Arc<dyn Clock>,
    record: fn(u64, u64) -> T,
    keys: u64,
}

impl<T: Data> Numbers<T> {
    fn open(
        context: &mut FunctionOpenContext<'_>,
        arguments: &Arguments,
        record: fn(u64, u64) -> T,
    ) -> FunctionResult<Self> {
        let offsets = context.operator_list_state::<i64>("offsets")?;
        let mut split_count = context.union_list_state::<i64>("splits")?;
        let info = context.info();
        let (subtask, parallelism) = (u64::from(info.subtask), u64::from(info.parallelism));
        let (splits, positions) = match split_count.get().first() {
            Some(splits) => (
                *splits as u64,
                offsets.get().iter().map(|offset| *offset as u64).collect(),
            ),
            // From a job that kept no number of splits: every offset is a split of its own.
            None if context.restored_checkpoint().is_some() => {
                let positions: Vec<u64> =
                    offsets.get().iter().map(|offset| *offset as u64).collect();
                (positions.len().max(1) as u64 * parallelism, positions)
            }
            None => {
                let splits = arguments.splits.unwrap_or(parallelism);
                (
                    splits,
                    (0..splits)
                        .filter(|split| split % parallelism == subtask)
                        .collect(),
                )
            }
        };
        // A union list is the sum of what its subtasks hold.
        split_count.update((subtask == 0).then_some(splits as i64));
        let clock = context.clock();
        Ok(Numbers {
            offsets,
            positions,
            splits,
            end: arguments.records.unwrap_or(u64::MAX),
            ends: arguments.savepoint_at_end.is_none(),
            rate: arguments.rate.map(|rate| rate as f64 / parallelism as f64),
            started_ms: clock.now_ms(),
            emitted: 0,
            clock,
            record,
            keys: arguments.keys,
        })
    }

    /// How many records may be made now.
    fn allowed(&self, limit: usize) -> u64 {
        let Some(rate) = self.rate else {
            return limit as u64;
        };
        let elapsed_s = (self.clock.now_ms() - self.started_ms) as f64 / 1000.0;
        ((elapsed_s * rate) as u64)
            .saturating_sub(self.emitted)
            .min(limit as u64)
    }
}

impl<T: Data> SourceFunction for Numbers<T> {
    type Out = T;

    fn poll_next(&mut self, limit: usize, out: &mut Collector<T>) -> FunctionResult<InputStatus> {
        let allowed = self.allowed(limit);
        if allowed == 0 {
            return Ok(InputStatus::NothingAvailable(Some(self.clock.now_ms() + 1)));
        }
        let active = self
            .positions
            .iter()
            .filter(|next| **next < self.end)
            .count() as u64;
        if active == 0 {
            return Ok(if self.ends {
                InputStatus::EndOfInput
            } else {
                InputStatus::NothingAvailable(None)
            });
        }
        let share = (allowed / active).max(1);
        for next in self.positions.iter_mut().filter(|next| **next < self.end) {
            for _ in 0..share {
                if *next >= self.end {
                    break;
                }
                out.collect((self.record)(*next, self.keys));
                *next += self.splits;
                self.emitted += 1;
            }
        }
        Ok(InputStatus::MoreAvailable)
    }

    fn snapshot_state(&mut self, _checkpoint: i64) -> FunctionResult<()> {
        self.offsets
            .update(self.positions.iter().map(|next| *next as i64));
        Ok(())
    }

    fn positions(&self) -> Vec<String> {
        let line = |next: &u64| {
            format!(
                "split {} of {}: record {next}",
                next % self.splits,
                self.splits
            )
        };
        self.positions.iter().map(line).collect()
    }

    fn pending_records(&self) -> Option<u64> {
        let left = |next: &u64| self.end.saturating_sub(*next).div_ceil(self.splits);
        Some(self.positions.iter().map(left).sum())
    }
}

fn mixed(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The first `keys` records visit every key once, all later ones are uniformly random.
fn key_number(record: u64, keys: u64) -> u64 {
    if record < keys {
        record
    } else {
        mixed(!record) % keys
    }
}

fn long_key(record: u64, keys: u64) -> i64 {
    mixed(key_number(record, keys)) as i64
}

fn string_key(record: u64, keys: u64) -> String {
    format!("key-{}", key_number(record, keys))
}

/// Counts the records of its key.
struct Counter<K> {
    count: ValueState<i64>,
    key: std::marker::PhantomData<K>,
}

impl<K: FlinkKey + Data> KeyedProcessFunction for Counter<K> {
    type Key = K;
    type In = K;
    type Out = i64;

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
        Ok(())
    }
}

fn build<K: FlinkKey + Data>(env: &Environment, arguments: Arguments, record: fn(u64, u64) -> K) {
    env.add_source("numbers", move |context| {
        Numbers::open(context, &arguments, record)
    })
    .uid("source")
    .key_by_ref(|key: &K| key)
    .process(|context| {
        Ok(Counter {
            count: context.value_state("count")?,
            key: std::marker::PhantomData,
        })
    })
    .uid("counter")
    .name("counter")
    .sink_to(DiscardSink::new())
    .uid("sink");
}

fn run() -> Result<(), String> {
    let env = Environment::from_args().map_err(|error| format!("{error:?}"))?;
    let arguments = Arguments::parse(env.args())?;
    let savepoint_at_end = arguments.savepoint_at_end.clone();
    if arguments.strings {
        build(&env, arguments, string_key);
    } else {
        build(&env, arguments, long_key);
    }
    let job = env
        .execute_async("keyed count")
        .map_err(|error| format!("{error:?}"))?;
    if let Some(directory) = savepoint_at_end {
        while job.details().vertices[0].pending_records != Some(0) {
            if job.details().overview.status.is_globally_terminal() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let path = job
            .stop_with_savepoint(false, Some(&directory))
            .map_err(|error| format!("{error:?}"))?;
        eprintln!("Savepoint completed. Path: {path}");
    }
    job.wait().map_err(|error| format!("{error:?}"))?;
    Ok(())
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
