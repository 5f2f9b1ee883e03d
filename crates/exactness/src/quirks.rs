//! What is odd about some jobs: functions that fail, sources that are silent, sinks that are slow.

use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;
use std::time::Duration;

use millpond::operator::functions::KeyedOpenContext;
use millpond::prelude::{
    Collector, FlinkPojo, FlinkType, FunctionError, FunctionOpenContext, FunctionResult,
    InputStatus, KeyedContext, KeyedProcessFunction, OperatorListState, ProcessContext,
    ProcessFunction, SourceFunction, ValueState,
};
use millpond_exactness::workload::{Event, Input, farewell_line};

use crate::arguments::{Arguments, Failure};

/// Passes records on, and fails at one of them.
pub(crate) struct FailsAt {
    failure: Option<(Failure, i64)>,
    log: PathBuf,
    failures: u64,
}

impl FailsAt {
    pub(crate) fn open(arguments: &Arguments) -> FunctionResult<Self> {
        let function = FailsAt {
            failure: arguments.failure,
            log: arguments.failure_log.clone(),
            failures: arguments.failures,
        };
        if let Some((Failure::Open, _)) = arguments.failure
            && function.is_due()?
        {
            return Err(FunctionError::new("not open today"));
        }
        Ok(function)
    }

    /// Whether a failure is due; counts it.
    fn is_due(&self) -> FunctionResult<bool> {
        std::fs::create_dir_all(&self.log)?;
        let so_far = std::fs::read_dir(&self.log)?.count() as u64;
        if so_far >= self.failures {
            return Ok(false);
        }
        std::fs::write(self.log.join(so_far.to_string()), "")?;
        Ok(true)
    }
}

impl ProcessFunction for FailsAt {
    type In = Event;
    type Out = Event;

    fn process_element(
        &mut self,
        event: Event,
        _context: &ProcessContext<'_>,
        out: &mut Collector<Event>,
    ) -> FunctionResult<()> {
        if let Some((failure, at)) = self.failure
            && event.input == Input::A
            && event.n == at
            && failure != Failure::Open
            && self.is_due()?
        {
            match failure {
                Failure::Open => {}
                Failure::Panic => panic!("record {at} is not to my taste"),
                Failure::Error => {
                    return Err(FunctionError::new(format!(
                        "record {at} cannot be digested"
                    )));
                }
            }
        }
        out.collect(event);
        Ok(())
    }
}

/// Counts the records of input B and says their number when it ends, once.
pub(crate) struct Farewell {
    state: OperatorListState<i64>,
    records: i64,
}

impl Farewell {
    pub(crate) fn open(context: &mut FunctionOpenContext<'_>) -> FunctionResult<Self> {
        let state = context.operator_list_state::<i64>("records")?;
        let records = state.get().iter().sum();
        Ok(Farewell { state, records })
    }
}

impl ProcessFunction for Farewell {
    type In = Event;
    type Out = String;

    fn process_element(
        &mut self,
        _event: Event,
        _context: &ProcessContext<'_>,
        _out: &mut Collector<String>,
    ) -> FunctionResult<()> {
        self.records += 1;
        Ok(())
    }

    fn finish(&mut self, out: &mut Collector<String>) -> FunctionResult<()> {
        out.collect(farewell_line(self.records));
        Ok(())
    }

    fn snapshot_state(&mut self, _checkpoint: i64) -> FunctionResult<()> {
        self.state.update([self.records]);
        Ok(())
    }
}

/// A source that neither emits nor ends.
pub(crate) struct Silence;

impl SourceFunction for Silence {
    type Out = Event;

    fn poll_next(
        &mut self,
        _limit: usize,
        _out: &mut Collector<Event>,
    ) -> FunctionResult<InputStatus> {
        Ok(InputStatus::NothingAvailable(None))
    }

    fn snapshot_state(&mut self, _checkpoint: i64) -> FunctionResult<()> {
        Ok(())
    }
}

/// Takes its time for each line.
pub(crate) fn pause(slow_us: u64) {
    if slow_us > 0 {
        std::thread::sleep(Duration::from_micros(slow_us));
    }
}

/// One more stateful operator: the how-many-th of its key a record is.
pub(crate) struct Extra<N> {
    pub(crate) seen: ValueState<N>,
}

impl<N: Count> Extra<N> {
    pub(crate) fn open(
        context: &mut KeyedOpenContext<'_, String>,
        name: &str,
    ) -> FunctionResult<Self> {
        let seen = context.value_state(name)?;
        Ok(Extra { seen })
    }
}

/// A number as state has it.
pub(crate) trait Count: FlinkType {
    /// One more than `count`.
    fn next(count: Option<&Self>) -> Self;
}

impl Count for i64 {
    fn next(count: Option<&Self>) -> Self {
        count.copied().unwrap_or(0) + 1
    }
}

impl Count for String {
    fn next(count: Option<&Self>) -> Self {
        let count = count.and_then(|count| count.parse::<i64>().ok());
        i64::next(count.as_ref()).to_string()
    }
}

/// It in a class.
#[derive(FlinkPojo, Clone, Debug)]
#[flink(class = "com.example.Seen")]
pub(crate) struct Seen {
    count: i64,
}

impl Count for Seen {
    fn next(seen: Option<&Self>) -> Self {
        let count = seen.map(|seen| seen.count);
        Seen {
            count: i64::next(count.as_ref()),
        }
    }
}

impl Display for Seen {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        self.count.fmt(out)
    }
}

/// That class with one field more: the first number of a key, unknown for those that were there before.
#[derive(FlinkPojo, Clone, Debug)]
#[flink(class = "com.example.Seen")]
pub(crate) struct SeenSince {
    since: Option<String>,
    count: i64,
}

impl Count for SeenSince {
    fn next(seen: Option<&Self>) -> Self {
        let count = seen.map(|seen| seen.count);
        let since = match seen {
            Some(seen) => seen.since.clone(),
            None => Some("the first".to_owned()),
        };
        SeenSince {
            since,
            count: i64::next(count.as_ref()),
        }
    }
}

impl Display for SeenSince {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        self.count.fmt(out)
    }
}

impl<N: Count + Display> KeyedProcessFunction for Extra<N> {
    type Key = String;
    type In = Event;
    type Out = String;

    fn process_element(
        &mut self,
        event: Event,
        _context: &mut KeyedContext<'_, String>,
        out: &mut Collector<String>,
    ) -> FunctionResult<()> {
        let seen = self
            .seen
            .update_with(|seen| seen.insert(N::next(seen.as_ref())).clone());
        out.collect(format!("extra,{},{seen}", event.key));
        Ok(())
    }
}
