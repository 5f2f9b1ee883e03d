//! What does a savepoint of a large state cost, and how soon does its restore process records?
//!
//! A surprise would be a stall of a record above 20 ms while the savepoint is written.

use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use millpond::state::store::MemoryBackend;
use millpond::types::config::Configuration;
use millpond::{Environment, JobClient, SavepointFormat};
use serde_json::{Value, json};

use crate::backend::Backend;
use crate::job::{
    self, COUNTED, Distribution, FIRST_RECORD_NS, KeyNumbers, KeyType, WATCHING, WORST_STALL_NS,
};
use crate::measure::rss_bytes;
use crate::{Failure, failure};

/// For how long the job is watched before its savepoint: several rounds of a cache above a store.
const NORMAL_TIME: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Number of keys
    #[arg(long, default_value_t = 10_000_000)]
    keys: u64,
    /// Number of subtasks
    #[arg(long, default_value_t = 2)]
    parallelism: u32,
    /// Number of subtasks after the restore
    #[arg(long, default_value_t = 1)]
    restore_parallelism: u32,
    /// Format of the savepoint
    #[arg(long = "type", value_enum, default_value_t = Type::Canonical)]
    format: Type,
    #[command(flatten)]
    backend: Backend,
    /// Accepted for completeness: the figures are always JSON
    #[arg(long)]
    json: bool,
}

/// Flink's names of the formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Type {
    Canonical,
    Native,
}

impl From<Type> for SavepointFormat {
    fn from(format: Type) -> Self {
        match format {
            Type::Canonical => SavepointFormat::Canonical,
            Type::Native => SavepointFormat::Native,
        }
    }
}

#[derive(clap::Args)]
pub(crate) struct RestoreArguments {
    #[arg(long)]
    path: String,
    #[arg(long)]
    keys: u64,
    #[arg(long)]
    parallelism: u32,
    #[command(flatten)]
    backend: Backend,
}

fn start_job(
    keys: u64,
    parallelism: u32,
    backend: &Backend,
    restore: Option<&str>,
) -> Result<JobClient, Failure> {
    let mut configuration = Configuration::from_pairs([
        ("parallelism.default", parallelism.to_string()),
        ("rest.linger", "0 s".to_owned()),
    ]);
    backend.configure(&mut configuration)?;
    if let Some(path) = restore {
        configuration.set("execution.state-recovery.path", path);
    }
    let env = Environment::from_configuration(configuration).map_err(failure)?;
    env.add_state_backend(MemoryBackend);
    let numbers = KeyNumbers::new(keys, Distribution::Uniform);
    job::build(&env, numbers, KeyType::I64);
    env.execute_async("savepoint").map_err(failure)
}

fn count() -> u64 {
    COUNTED.load(Ordering::Relaxed)
}

/// Records per second over a time.
fn rate_over(duration: Duration) -> f64 {
    let (before, begin) = (count(), Instant::now());
    std::thread::sleep(duration);
    (count() - before) as f64 / begin.elapsed().as_secs_f64()
}

/// Does something; returns also how many records were counted at which times meanwhile.
fn sampled<T>(work: impl FnOnce() -> T) -> Result<(T, Vec<(Instant, u64)>), Failure> {
    WATCHING.store(true, Ordering::SeqCst);
    let sampler = std::thread::spawn(|| {
        let mut samples = Vec::new();
        while WATCHING.load(Ordering::SeqCst) {
            samples.push((Instant::now(), count()));
            std::thread::sleep(Duration::from_millis(1));
        }
        samples
    });
    let done = work();
    WATCHING.store(false, Ordering::SeqCst);
    let samples = sampler.join().map_err(|_| "the sampler died".to_owned())?;
    Ok((done, samples))
}

/// The lowest rate over any window of this length, if the samples are long enough for one.
fn worst_rate(samples: &[(Instant, u64)], window: Duration) -> Option<f64> {
    let mut worst = f64::INFINITY;
    for (index, (at, records)) in samples.iter().enumerate() {
        let end = samples[index..]
            .iter()
            .find(|(end, _)| end.duration_since(*at) >= window);
        if let Some((end, after)) = end {
            worst = worst.min((after - records) as f64 / end.duration_since(*at).as_secs_f64());
        }
    }
    worst.is_finite().then_some(worst)
}

pub(crate) fn run(arguments: &Arguments) -> Result<Value, Failure> {
    job::start();
    let directory = tempfile::tempdir().map_err(failure)?;
    let target = directory.path().display().to_string();
    let rss_empty = rss_bytes();
    let backend = &arguments.backend;
    let job = start_job(arguments.keys, arguments.parallelism, backend, None)?;
    while count() < arguments.keys + arguments.keys / 5 {
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_secs(1));
    let bytes_per_key = (rss_bytes() - rss_empty) as f64 / arguments.keys as f64;
    // A backend below a cache has its ups and downs without any savepoint.
    let (rate_before, usual) = sampled(|| rate_over(NORMAL_TIME))?;

    WORST_STALL_NS.store(0, Ordering::SeqCst);
    let (records_before, begin) = (count(), Instant::now());
    let format = arguments.format.into();
    let (taken, samples) = sampled(|| {
        let path = job.savepoint_as(format, Some(&target)).map_err(failure)?;
        let (took, records) = (begin.elapsed(), count() - records_before);
        // What the savepoint has slowed down may go on a little.
        std::thread::sleep(Duration::from_millis(500));
        Ok::<_, Failure>((path, took, records))
    })?;
    let (path, trigger_to_done, records_during) = taken?;
    let worst_stall_ns = WORST_STALL_NS.load(Ordering::SeqCst);
    let record = job
        .checkpoints()
        .latest_savepoint
        .ok_or("no savepoint in the statistics")?;
    let fsync_ms = record
        .vertices
        .iter()
        .flat_map(|vertex| &vertex.subtasks)
        .map(|subtask| subtask.metrics.fsync_duration_ms)
        .max();

    let begin = Instant::now();
    job.stop_with_savepoint_as(format, false, Some(&target))
        .map_err(failure)?;
    job.wait().map_err(failure)?;
    let stop = begin.elapsed();

    let child = Command::new(std::env::current_exe().map_err(failure)?)
        .args([
            "restore-only",
            "--path",
            &path,
            "--keys",
            &arguments.keys.to_string(),
        ])
        .args(["--parallelism", &arguments.restore_parallelism.to_string()])
        .args(backend.arguments())
        .output()
        .map_err(failure)?;
    if !child.status.success() {
        return Err(format!(
            "the restore failed: {}",
            String::from_utf8_lossy(&child.stderr)
        ));
    }
    let text = String::from_utf8_lossy(&child.stdout).into_owned();
    let restored: Value =
        serde_json::from_str(text.lines().last().unwrap_or("")).map_err(failure)?;
    let worst = |ms| worst_rate(&samples, Duration::from_millis(ms));
    let usual_worst = worst_rate(&usual, Duration::from_millis(300));
    Ok(json!({
        "keys": arguments.keys,
        "backend": backend.backend,
        "trigger_to_done_s": trigger_to_done.as_secs_f64(),
        "sync_s": fsync_ms.unwrap_or(0) as f64 / 1000.0,
        "bytes": record.state_bytes,
        "rate_before": rate_before as u64,
        "rate_during": (records_during as f64 / trigger_to_done.as_secs_f64()) as u64,
        "worst_100ms_rate": worst(100).map(|rate| rate as u64),
        "worst_300ms_rate": worst(300).map(|rate| rate as u64),
        "worst_300ms_share": worst(300).map(|rate| rate / rate_before),
        "worst_300ms_share_before": usual_worst.map(|rate| rate / rate_before),
        "worst_stall_ms": worst_stall_ns as f64 / 1e6,
        "stop_s": stop.as_secs_f64(),
        "restore_first_record_s": restored["restore_first_record_s"],
        "restore_full_rate_s": restored["restore_full_rate_s"],
        "bytes_per_key_rss": bytes_per_key,
    }))
}

pub(crate) fn run_restore(arguments: &RestoreArguments) -> Result<Value, Failure> {
    let begin = job::start();
    let (keys, parallelism) = (arguments.keys, arguments.parallelism);
    let job = start_job(keys, parallelism, &arguments.backend, Some(&arguments.path))?;
    let mut samples: Vec<(Instant, u64)> = Vec::new();
    let mut after_first = None;
    while after_first.is_none_or(|first: Instant| first.elapsed() < Duration::from_secs(5)) {
        if job.details().overview.status.is_globally_terminal() {
            return Err(job
                .wait()
                .map_or_else(failure, |_| "the job ended by itself".to_owned()));
        }
        if FIRST_RECORD_NS.load(Ordering::Relaxed) > 0 {
            after_first.get_or_insert_with(Instant::now);
        }
        samples.push((Instant::now(), count()));
        std::thread::sleep(Duration::from_millis(2));
    }
    let first_record_s = FIRST_RECORD_NS.load(Ordering::Relaxed) as f64 / 1e9;
    let rate = |from: &(Instant, u64), window: Duration| {
        let at = samples
            .iter()
            .find(|(at, _)| at.duration_since(from.0) >= window)?;
        Some((at.1 - from.1) as f64 / at.0.duration_since(from.0).as_secs_f64())
    };
    let settled = samples.len().saturating_sub(1500);
    let steady = rate(&samples[settled], Duration::from_secs(2)).unwrap_or(f64::INFINITY);
    let full = samples.iter().find(|from| {
        from.1 > 0
            && rate(from, Duration::from_millis(200)).is_some_and(|rate| rate >= 0.8 * steady)
    });
    job.cancel().map_err(failure)?;
    job.wait().map_err(failure)?;
    Ok(json!({
        "restore_first_record_s": first_record_s,
        "restore_full_rate_s": full.map(|(at, _)| at.duration_since(begin).as_secs_f64()),
    }))
}
