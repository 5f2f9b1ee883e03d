//! How long does a record take from emission to sink at a low rate, with checkpoints every second?
//!
//! A surprise would be a median above 1 ms.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millpond::Environment;
use millpond::operator::sink::{Sink, SinkWriter, WriterContext};
use millpond::prelude::*;
use millpond::types::config::Configuration;
use serde_json::{Value, json};

use crate::job;
use crate::measure::quantile;
use crate::{Failure, failure};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Records per second
    #[arg(long, default_value_t = 1000)]
    rate: u64,
    /// Number of subtasks
    #[arg(long, default_value_t = 2)]
    parallelism: u32,
    /// For how long to measure
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Accepted for completeness: the figures are always JSON
    #[arg(long)]
    json: bool,
}

fn now_ns() -> u64 {
    job::start().elapsed().as_nanos() as u64
}

/// Emits the time of emission, evenly.
struct Stamps {
    rate: u64,
    emitted: u64,
    started_ns: u64,
}

impl SourceFunction for Stamps {
    type Out = (i64, u64);

    fn poll_next(
        &mut self,
        limit: usize,
        out: &mut Collector<(i64, u64)>,
    ) -> FunctionResult<InputStatus> {
        let now = now_ns();
        let due = (now - self.started_ns) * self.rate / 1_000_000_000;
        for _ in 0..due.saturating_sub(self.emitted).min(limit as u64) {
            self.emitted += 1;
            out.collect((job::mixed(self.emitted) as i64, now_ns()));
        }
        Ok(InputStatus::NothingAvailable(Some(0)))
    }

    fn snapshot_state(&mut self, _checkpoint: i64) -> FunctionResult<()> {
        Ok(())
    }
}

struct Last {
    last: ValueState<i64>,
}

impl KeyedProcessFunction for Last {
    type Key = i64;
    type In = (i64, u64);
    type Out = u64;

    fn process_element(
        &mut self,
        (_, stamp): (i64, u64),
        _context: &mut KeyedContext<'_, i64>,
        out: &mut Collector<u64>,
    ) -> FunctionResult<()> {
        self.last.update(stamp as i64);
        out.collect(stamp);
        Ok(())
    }
}

/// Keeps the age of every record.
struct Ages(Arc<Mutex<Vec<u64>>>);

impl Sink for Ages {
    type Record = u64;
    type Writer = AgesWriter;

    fn create_writer(&self, _context: WriterContext) -> FunctionResult<AgesWriter> {
        Ok(AgesWriter(Arc::clone(&self.0)))
    }
}

struct AgesWriter(Arc<Mutex<Vec<u64>>>);

impl SinkWriter<u64> for AgesWriter {
    fn write(&mut self, stamp: u64, _timestamp: Option<i64>) -> FunctionResult<()> {
        let age = now_ns() - stamp;
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(age);
        Ok(())
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<Value, Failure> {
    job::start();
    let directory = tempfile::tempdir().map_err(failure)?;
    let configuration = Configuration::from_pairs([
        ("parallelism.default", arguments.parallelism.to_string()),
        (
            "execution.checkpointing.dir",
            directory.path().display().to_string(),
        ),
        ("execution.checkpointing.interval", "1 s".to_owned()),
        ("rest.linger", "0 s".to_owned()),
    ]);
    let env = Environment::from_configuration(configuration).map_err(failure)?;
    let ages = Arc::new(Mutex::new(Vec::new()));
    let rate = arguments.rate;
    env.add_source("stamps", move |context| {
        let rate = (rate / u64::from(context.info().parallelism)).max(1);
        Ok(Stamps {
            rate,
            emitted: 0,
            started_ns: now_ns(),
        })
    })
    .key_by(|record: &(i64, u64)| record.0)
    .process(|context| {
        Ok(Last {
            last: context.value_state("last")?,
        })
    })
    .sink_to(Ages(Arc::clone(&ages)));
    let job = env.execute_async("latency").map_err(failure)?;
    // The first second is for starting up.
    std::thread::sleep(Duration::from_secs(1));
    ages.lock().unwrap_or_else(PoisonError::into_inner).clear();
    std::thread::sleep(Duration::from_secs(arguments.seconds));
    let mut ages = std::mem::take(&mut *ages.lock().unwrap_or_else(PoisonError::into_inner));
    job.cancel().map_err(failure)?;
    job.wait().map_err(failure)?;
    ages.sort_unstable();
    let ms = |share: f64| quantile(&ages, share) as f64 / 1e6;
    Ok(json!({
        "records": ages.len(),
        "p50_ms": ms(0.5),
        "p90_ms": ms(0.9),
        "p99_ms": ms(0.99),
        "p999_ms": ms(0.999),
        "max_ms": ms(1.0),
    }))
}
