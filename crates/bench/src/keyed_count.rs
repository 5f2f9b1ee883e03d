//! How many records per CPU-second does a keyed count process, with checkpoints?
//!
//! Counted: records taken by the counter after every key has been seen. A surprise would be less
//! than half of what the plain loop does per CPU-second.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use millpond::state::store::MemoryBackend;
use millpond::types::config::Configuration;
use millpond::{Environment, JobClient};
use millpond_certificates::Authority;
use serde_json::{Value, json};

use crate::backend::Backend;
use crate::job::{self, Distribution, KeyNumbers, KeyType};
use crate::measure::{cpu_s, loopback_bytes, peak_bytes, private_bytes, quantile, rss_bytes};
use crate::{Failure, failure};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Number of keys
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// Type of the keys
    #[arg(long, value_enum, default_value_t = KeyType::I64)]
    key_type: KeyType,
    /// Number of subtasks
    #[arg(long, default_value_t = 2)]
    parallelism: u32,
    /// Number of worker processes
    #[arg(long, default_value_t = 1)]
    processes: u32,
    /// The processes speak by TLS, with certificates in this directory, which are made if there are none
    #[arg(long, value_name = "DIRECTORY")]
    tls: Option<PathBuf>,
    /// Records per second, of all subtasks together; as fast as it can if not given. What a job costs
    /// that has little to do is what its workers tell each other: see `cpu_s_per_s`, `loopback_bytes_per_s`
    #[arg(long)]
    rate: Option<u64>,
    /// A duration such as 1s, or off
    #[arg(long, default_value = "1s")]
    checkpoint_interval: String,
    /// How often each key comes
    #[arg(long, value_enum, default_value_t = Distribution::Uniform)]
    distribution: Distribution,
    #[command(flatten)]
    backend: Backend,
    /// For how long the job runs, after each key was seen, before it is measured
    #[arg(long, default_value_t = 1.0)]
    warm_seconds: f64,
    /// For how long to measure
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Accepted for completeness: the figures are always JSON
    #[arg(long)]
    json: bool,
}

/// Workers are started with the arguments of their job master: they find what it has made.
fn secure(directory: &Path, configuration: &mut Configuration) {
    if !directory.join("ca.pem").exists() {
        Authority::new(directory).sign("bench");
    }
    for (key, file) in [
        ("certificate", "bench.pem"),
        ("private-key", "bench.key"),
        ("trusted-certificates", "ca.pem"),
    ] {
        let path = directory.join(file).display().to_string();
        configuration.set(format!("security.ssl.{key}"), path);
    }
    configuration.set("security.ssl.internal.enabled", "true");
}

/// Records that the counter has taken, over all processes.
fn counted(job: &JobClient) -> u64 {
    job.details().vertices[1].records_in
}

pub(crate) fn run(arguments: &Arguments) -> Result<Value, Failure> {
    let directory = tempfile::tempdir().map_err(failure)?;
    let mut configuration = Configuration::from_pairs([
        ("parallelism.default", arguments.parallelism.to_string()),
        ("cluster.processes", arguments.processes.to_string()),
        (
            "execution.checkpointing.dir",
            directory.path().display().to_string(),
        ),
        ("web.checkpoints.history", "100000".to_owned()),
        ("rest.linger", "0 s".to_owned()),
    ]);
    let backend = &arguments.backend;
    backend.configure(&mut configuration)?;
    if arguments.checkpoint_interval != "off" {
        configuration.set(
            "execution.checkpointing.interval",
            &arguments.checkpoint_interval,
        );
    }
    if let Some(directory) = &arguments.tls {
        secure(directory, &mut configuration);
    }
    if let Some(rate) = arguments.rate {
        job::start();
        let _ = job::RATE.set(rate);
    }
    let env = Environment::from_configuration(configuration).map_err(failure)?;
    env.add_state_backend(MemoryBackend);
    let numbers = KeyNumbers::new(arguments.keys, arguments.distribution);
    job::build(&env, numbers, arguments.key_type);
    let job = env.execute_async("keyed-count").map_err(failure)?;
    while counted(&job) < arguments.keys + arguments.keys / 10 {
        if job.details().overview.status.is_globally_terminal() {
            return Err(job
                .wait()
                .map_or_else(failure, |_| "the job ended by itself".to_owned()));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_secs_f64(arguments.warm_seconds));
    let before = job.checkpoints();
    let (records_before, cpu_before, begin) = (counted(&job), cpu_s(), Instant::now());
    let sent_before = loopback_bytes();
    std::thread::sleep(Duration::from_secs(arguments.seconds));
    let sent = loopback_bytes() - sent_before;
    let (records, cpu) = (counted(&job) - records_before, cpu_s() - cpu_before);
    let seconds = begin.elapsed().as_secs_f64();
    let (rss, private) = (rss_bytes(), private_bytes(std::process::id()));
    let after = job.checkpoints();
    job.cancel().map_err(failure)?;
    job.wait().map_err(failure)?;
    let taken = (after.completed - before.completed) as usize;
    let mut durations: Vec<u64> = after
        .history
        .iter()
        .take(taken)
        .map(|checkpoint| checkpoint.end_to_end_duration_ms)
        .collect();
    durations.sort_unstable();
    let mut written: Vec<u64> = after
        .history
        .iter()
        .take(taken)
        .map(|checkpoint| checkpoint.checkpointed_bytes)
        .collect();
    written.sort_unstable();
    let bytes = after
        .latest_completed
        .as_ref()
        .map_or(0, |checkpoint| checkpoint.state_bytes);
    Ok(json!({
        "backend": backend.backend,
        "processes": arguments.processes,
        "tls": arguments.tls.is_some(),
        "distribution": format!("{:?}", arguments.distribution).to_lowercase(),
        "keys": arguments.keys,
        "records": records,
        "records_per_s": (records as f64 / seconds) as u64,
        "records_per_cpu_s": (records as f64 / cpu) as u64,
        "cpu_s": cpu,
        "cpu_s_per_s": cpu / seconds,
        "loopback_bytes_per_s": (sent as f64 / seconds) as u64,
        "checkpoints": taken,
        "checkpoint_ms_median": quantile(&durations, 0.5),
        "checkpoint_ms_max": durations.last().copied().unwrap_or(0),
        "checkpoint_bytes": bytes,
        "checkpointed_bytes_median": quantile(&written, 0.5),
        "rss_bytes": rss,
        "private_bytes": private,
        "peak_rss_bytes": peak_bytes(),
        "plain_loop_records_per_cpu_s": plain_loop(numbers, arguments),
    }))
}

/// One thread, no engine: the heap backend's table and hash function, the same keys.
fn plain_loop(numbers: KeyNumbers, arguments: &Arguments) -> u64 {
    match arguments.key_type {
        KeyType::I64 => plain_loop_of(numbers, arguments.keys, job::long_key),
        KeyType::String => plain_loop_of(numbers, arguments.keys, job::string_key),
    }
}

fn plain_loop_of<K: std::hash::Hash + Eq>(
    numbers: KeyNumbers,
    keys: u64,
    record: fn(u64) -> K,
) -> u64 {
    use std::hash::BuildHasher;
    let hasher = foldhash::fast::FixedState::with_seed(0x6d69_6c6c_706f_6e64);
    let mut table: hashbrown::HashTable<(K, i64)> = hashbrown::HashTable::new();
    let mut count = |number: u64| {
        let number = numbers.of(number);
        let key = record(number);
        let hash = hasher.hash_one(&key);
        let entry = table.entry(
            hash,
            |(other, _)| *other == key,
            |(other, _)| hasher.hash_one(other),
        );
        entry.or_insert_with(|| (record(number), 0)).get_mut().1 += 1;
    };
    (0..keys).for_each(&mut count);
    let (cpu, begin) = (cpu_s(), Instant::now());
    let mut next = keys;
    while begin.elapsed() < Duration::from_secs(3) {
        (next..next + 100_000).for_each(&mut count);
        next += 100_000;
    }
    std::hint::black_box(&table);
    ((next - keys) as f64 / (cpu_s() - cpu)) as u64
}
