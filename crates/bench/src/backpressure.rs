//! How long does a checkpoint take while the sink is the slow one, aligned and unaligned?
//!
//! Aligned, a barrier waits for all records in flight; unaligned, for one call of a user's function. A
//! surprise would be an unaligned one above 20 ms, or checkpoints that cost a twentieth of the rate.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use millpond::Environment;
use millpond::operator::sink::{Sink, SinkWriter, WriterContext};
use millpond::prelude::*;
use millpond::types::config::Configuration;
use serde_json::{Value, json};

use crate::measure::quantile;
use crate::{Failure, failure};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Microseconds that the sink spins for each record
    #[arg(long, default_value_t = 20)]
    sink_us: u64,
    /// Number of subtasks
    #[arg(long, default_value_t = 2)]
    parallelism: u32,
    /// Checkpoints of each kind
    #[arg(long, default_value_t = 20)]
    checkpoints: usize,
    /// Time between the begins of two checkpoints
    #[arg(long, default_value = "1 s")]
    checkpoint_interval: String,
    /// Accepted for completeness: the figures are always JSON
    #[arg(long)]
    json: bool,
}

/// Which checkpoints a run takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    None,
    Aligned,
    Unaligned,
}

#[derive(Default)]
struct Counts {
    emitted: AtomicU64,
    taken: AtomicU64,
}

impl Counts {
    fn in_flight(&self) -> u64 {
        // In this order, so that it is never below 0.
        let taken = self.taken.load(Ordering::SeqCst);
        self.emitted.load(Ordering::SeqCst).saturating_sub(taken)
    }
}

/// Makes numbers at full speed, for ever.
struct Numbers {
    offset: OperatorListState<i64>,
    next: i64,
    counts: Arc<Counts>,
}

impl SourceFunction for Numbers {
    type Out = i64;

    fn poll_next(&mut self, limit: usize, out: &mut Collector<i64>) -> FunctionResult<InputStatus> {
        for _ in 0..limit {
            out.collect(self.next);
            self.next += 1;
        }
        self.counts
            .emitted
            .fetch_add(limit as u64, Ordering::SeqCst);
        Ok(InputStatus::MoreAvailable)
    }

    fn snapshot_state(&mut self, _checkpoint: i64) -> FunctionResult<()> {
        self.offset.update([self.next]);
        Ok(())
    }
}

struct SlowSink {
    counts: Arc<Counts>,
    spin: Duration,
}

struct SlowWriter {
    counts: Arc<Counts>,
    spin: Duration,
}

impl Sink for SlowSink {
    type Record = i64;
    type Writer = SlowWriter;

    fn create_writer(&self, _context: WriterContext) -> FunctionResult<SlowWriter> {
        Ok(SlowWriter {
            counts: Arc::clone(&self.counts),
            spin: self.spin,
        })
    }
}

impl SinkWriter<i64> for SlowWriter {
    fn write(&mut self, _record: i64, _timestamp: Option<i64>) -> FunctionResult<()> {
        let begin = Instant::now();
        while begin.elapsed() < self.spin {
            std::hint::spin_loop();
        }
        self.counts.taken.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// What a run has shown.
struct Run {
    /// Records per second.
    rate: f64,
    /// Milliseconds from the trigger of each checkpoint to its last acknowledgement, ascending.
    durations_ms: Vec<u64>,
    /// In the mean.
    in_flight: u64,
    /// Bytes of in-flight records in a checkpoint, in the mean.
    persisted_bytes: u64,
}

fn one(arguments: &Arguments, kind: Kind) -> Result<Run, Failure> {
    let directory = tempfile::tempdir().map_err(failure)?;
    let mut configuration = Configuration::from_pairs([
        ("parallelism.default", arguments.parallelism.to_string()),
        (
            "execution.checkpointing.dir",
            directory.path().display().to_string(),
        ),
        ("web.checkpoints.history", "100000".to_owned()),
        ("rest.linger", "0 s".to_owned()),
    ]);
    if kind != Kind::None {
        configuration.set(
            "execution.checkpointing.interval",
            &arguments.checkpoint_interval,
        );
    }
    if kind == Kind::Unaligned {
        configuration.set("execution.checkpointing.unaligned.enabled", "true");
    }
    let env = Environment::from_configuration(configuration).map_err(failure)?;
    let counts = Arc::new(Counts::default());
    let of_source = Arc::clone(&counts);
    env.add_source("numbers", move |context| {
        let offset = context.operator_list_state::<i64>("offsets")?;
        let next = offset.get().first().copied().unwrap_or(0);
        Ok(Numbers {
            offset,
            next,
            counts: Arc::clone(&of_source),
        })
    })
    .uid("source")
    .rebalance()
    .sink_to(SlowSink {
        counts: Arc::clone(&counts),
        spin: Duration::from_micros(arguments.sink_us),
    })
    .uid("sink");
    let job = env.execute_async("backpressure").map_err(failure)?;
    // The first second is for starting up.
    std::thread::sleep(Duration::from_secs(1));
    let seen = job.checkpoints().completed as usize;
    let (begin, before) = (Instant::now(), counts.taken.load(Ordering::SeqCst));
    let mut in_flight = Vec::new();
    loop {
        std::thread::sleep(Duration::from_millis(50));
        in_flight.push(counts.in_flight());
        let is_done = match kind {
            Kind::None => begin.elapsed() >= Duration::from_secs(arguments.checkpoints as u64 / 2),
            Kind::Aligned | Kind::Unaligned => {
                job.checkpoints().completed as usize >= seen + arguments.checkpoints
            }
        };
        if is_done {
            break;
        }
    }
    let taken = counts.taken.load(Ordering::SeqCst) - before;
    let rate = taken as f64 / begin.elapsed().as_secs_f64();
    let statistics = job.checkpoints();
    job.cancel().map_err(failure)?;
    job.wait().map_err(failure)?;
    let measured = statistics
        .history
        .iter()
        .filter(|record| record.external_path.is_some());
    let measured: Vec<_> = measured.take(arguments.checkpoints).collect();
    let (mut overtaken, mut persisted_bytes) = (0, 0);
    let vertices = measured.iter().flat_map(|record| &record.vertices);
    for subtask in vertices.flat_map(|vertex| &vertex.subtasks) {
        overtaken += u64::from(subtask.metrics.unaligned);
        persisted_bytes += subtask.metrics.persisted_bytes;
    }
    if (kind == Kind::Unaligned) != (overtaken > 0) {
        return Err(format!(
            "{overtaken} subtasks have overtaken records in run {kind:?}"
        ));
    }
    let mut durations_ms: Vec<u64> = measured
        .iter()
        .map(|record| {
            let last = record
                .latest_ack_timestamp_ms
                .unwrap_or(record.trigger_timestamp_ms);
            last - record.trigger_timestamp_ms
        })
        .collect();
    durations_ms.sort_unstable();
    Ok(Run {
        rate,
        in_flight: in_flight.iter().sum::<u64>() / in_flight.len().max(1) as u64,
        persisted_bytes: persisted_bytes / measured.len().max(1) as u64,
        durations_ms,
    })
}

pub(crate) fn run(arguments: &Arguments) -> Result<Value, Failure> {
    let none = one(arguments, Kind::None)?;
    let aligned = one(arguments, Kind::Aligned)?;
    let unaligned = one(arguments, Kind::Unaligned)?;
    let median = |run: &Run| quantile(&run.durations_ms, 0.5);
    let most = |run: &Run| run.durations_ms.last().copied().unwrap_or(0);
    Ok(json!({
        "aligned_ms_median": median(&aligned),
        "aligned_ms_max": most(&aligned),
        "unaligned_ms_median": median(&unaligned),
        "unaligned_ms_max": most(&unaligned),
        "unaligned_persisted_bytes": unaligned.persisted_bytes,
        "in_flight_records": unaligned.in_flight,
        "rate_none": none.rate as u64,
        "rate_aligned": aligned.rate as u64,
        "rate_unaligned": unaligned.rate as u64,
    }))
}
