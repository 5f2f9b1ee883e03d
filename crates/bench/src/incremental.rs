//! What does a checkpoint cost when a small part of a large state has changed since the last one?
//!
//! Each round changes as many randomly chosen keys as `--change` says, then takes a checkpoint.
//! Bytes are those that were written for it; their share is that of the first one, which is full.
//! A surprise would be a median above three times the change.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use millpond::state::store::MemoryBackend;
use millpond::types::config::Configuration;
use millpond::{Environment, JobClient};
use serde_json::{Value, json};

use crate::backend::Backend;
use crate::job::{self, Distribution, KeyNumbers, KeyType, LIMIT};
use crate::measure::quantile;
use crate::{Failure, failure};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Number of keys
    #[arg(long, default_value_t = 10_000_000)]
    keys: u64,
    /// The part of the keys that changes between two checkpoints
    #[arg(long, default_value = "1%", value_parser = parse_share)]
    change: f64,
    /// Number of checkpoints after the full one
    #[arg(long, default_value_t = 20)]
    checkpoints: usize,
    /// Seconds from one checkpoint to the next, at least
    #[arg(long, default_value_t = 1.0)]
    interval: f64,
    /// Number of subtasks
    #[arg(long, default_value_t = 2)]
    parallelism: u32,
    #[command(flatten)]
    backend: Backend,
    /// Accepted for completeness: the figures are always JSON
    #[arg(long)]
    json: bool,
}

/// Reads `1%` or `0.01`.
fn parse_share(text: &str) -> Result<f64, String> {
    let (number, unit) = match text.strip_suffix('%') {
        Some(number) => (number, 100.0),
        None => (text, 1.0),
    };
    let share = number.parse::<f64>().map_err(|error| error.to_string())? / unit;
    match share > 0.0 && share <= 1.0 {
        true => Ok(share),
        false => Err("expected more than nothing and at most all".to_owned()),
    }
}

/// Waits until the counter has taken all records that there are so far.
fn processed(job: &JobClient, records: u64) -> Result<(), Failure> {
    while job.details().vertices[1].records_in < records {
        if job.details().overview.status.is_globally_terminal() {
            return Err("the job ended by itself".to_owned());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// What one checkpoint took.
struct Cost {
    written: u64,
    referenced: u64,
    duration: Duration,
}

fn checkpoint(job: &JobClient) -> Result<Cost, Failure> {
    let begin = Instant::now();
    let id = job.checkpoint().map_err(failure)?;
    let duration = begin.elapsed();
    let all = job.checkpoints();
    let record = all.history.iter().find(|record| record.id == id);
    let record = record.ok_or("a checkpoint that is not in the statistics")?;
    Ok(Cost {
        written: record.checkpointed_bytes,
        referenced: record.state_bytes,
        duration,
    })
}

pub(crate) fn run(arguments: &Arguments) -> Result<Value, Failure> {
    let directory = tempfile::tempdir().map_err(failure)?;
    let mut configuration = Configuration::from_pairs([
        ("parallelism.default", arguments.parallelism.to_string()),
        (
            "execution.checkpointing.dir",
            directory.path().display().to_string(),
        ),
        ("execution.checkpointing.incremental", "true".to_owned()),
        ("web.checkpoints.history", "100000".to_owned()),
        ("rest.linger", "0 s".to_owned()),
    ]);
    let backend = &arguments.backend;
    backend.configure(&mut configuration)?;
    let env = Environment::from_configuration(configuration).map_err(failure)?;
    env.add_state_backend(MemoryBackend);
    LIMIT.store(arguments.keys, Ordering::Relaxed);
    let numbers = KeyNumbers::new(arguments.keys, Distribution::Uniform);
    job::build(&env, numbers, KeyType::I64);
    let job = env.execute_async("incremental").map_err(failure)?;
    processed(&job, arguments.keys)?;
    let full = checkpoint(&job)?;
    let changed = (arguments.keys as f64 * arguments.change) as u64;
    let mut records = arguments.keys;
    let mut costs = Vec::new();
    for _ in 0..arguments.checkpoints {
        let begin = Instant::now();
        records += changed;
        LIMIT.store(records, Ordering::Relaxed);
        processed(&job, records)?;
        let interval = Duration::from_secs_f64(arguments.interval);
        std::thread::sleep(interval.saturating_sub(begin.elapsed()));
        costs.push(checkpoint(&job)?);
    }
    job.cancel().map_err(failure)?;
    job.wait().map_err(failure)?;
    let written: Vec<u64> = costs.iter().map(|cost| cost.written).collect();
    let mut sorted = written.clone();
    sorted.sort_unstable();
    let median = quantile(&sorted, 0.5) as f64;
    let mean = written.iter().sum::<u64>() as f64 / written.len().max(1) as f64;
    let seconds: Vec<f64> = costs
        .iter()
        .map(|cost| cost.duration.as_secs_f64())
        .collect();
    let mut sorted = seconds.clone();
    sorted.sort_unstable_by(f64::total_cmp);
    let share = |bytes: f64| bytes / full.written as f64;
    Ok(json!({
        "benchmark": "incremental",
        "backend": backend.backend,
        "keys": arguments.keys,
        "change": arguments.change,
        "full_bytes": full.written,
        "full_s": full.duration.as_secs_f64(),
        "checkpoint_bytes": written,
        "checkpoint_s": seconds,
        "bytes_median": median,
        "bytes_mean": mean,
        "share_median": share(median),
        "share_mean": share(mean),
        "s_median": quantile(&sorted, 0.5),
        "s_max": sorted.last(),
        "referenced_bytes_at_the_end": costs.last().map(|cost| cost.referenced),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_percentage_or_a_fraction() {
        assert_eq!(parse_share("1%"), Ok(0.01));
        assert_eq!(parse_share("0.5"), Ok(0.5));
        assert!(parse_share("0").is_err());
        assert!(parse_share("101%").is_err());
    }
}
