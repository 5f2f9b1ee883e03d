//! Does a job live with state that is several times larger than the memory of its process?
//!
//! The job runs in a process of its own, whose private memory is looked at a hundred times per second:
//! heap and stacks that are resident, not pages of files, which the kernel takes back when it likes.
//! Above the bound the process is killed and the benchmark fails. The kernel's own limits do not do:
//! `ulimit -v` and `prlimit --data` count addresses, of which RocksDB reserves many times what it
//! uses, and a control group is not everyone's to make.
//!
//! Every key gets a value, random ones are read, checked and changed under checkpoints, and the job
//! stops with a savepoint. A second process restores it and visits every key once more: each value
//! must be whole, and their counts must add up to the records of the first process. A surprise
//! would be a rate that is not bounded by the disk.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use millpond::prelude::*;
use millpond::types::config::{Configuration, options};
use millpond::{Environment, JobClient};
use serde_json::{Value, json};

use crate::backend::Backend;
use crate::job::{long_key, mixed};
use crate::measure::private_bytes;
use crate::savepoint::Type;
use crate::{Failure, failure};

/// Bytes of an entry beside its value: key group, key, length of the text.
const KEY_BYTES: u64 = 11;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Private memory that the process may have
    #[arg(long, default_value = "256mb")]
    process_memory: String,
    /// How many times as large its state is
    #[arg(long, default_value_t = 5)]
    times: u64,
    /// Bytes of one value, at least 16
    #[arg(long, default_value_t = 200)]
    value_bytes: u64,
    /// For how long random keys are changed
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Format of the savepoint
    #[arg(long = "type", value_enum, default_value_t = Type::Native)]
    format: Type,
    #[command(flatten)]
    backend: Backend,
    /// Where the savepoint and the files of the backend go
    #[arg(long)]
    directory: Option<PathBuf>,
    /// Accepted for completeness: the figures are always JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
pub(crate) struct RunArguments {
    #[arg(long)]
    keys: u64,
    #[arg(long)]
    value_bytes: usize,
    #[arg(long)]
    seconds: u64,
    #[arg(long)]
    directory: String,
    #[arg(long = "type", value_enum)]
    format: Type,
    #[arg(long)]
    restore: Option<String>,
    #[command(flatten)]
    backend: Backend,
}

const PARALLELISM: u32 = 2;

/// Records that the function has taken.
static TAKEN: AtomicU64 = AtomicU64::new(0);

/// Sum of the counts that were found by the first visit of each key.
static FOUND: AtomicU64 = AtomicU64::new(0);

/// The key that a visit goes to: every one once, then random ones.
fn key_of(visit: u64, keys: u64) -> u64 {
    match visit < keys {
        true => visit,
        false => mixed(!visit) % keys,
    }
}

/// Makes visits from the first one on, also after a restore.
struct Visits {
    next: u64,
    step: u64,
    keys: u64,
}

impl SourceFunction for Visits {
    type Out = u64;

    fn poll_next(&mut self, limit: usize, out: &mut Collector<u64>) -> FunctionResult<InputStatus> {
        for _ in 0..limit {
            // No random visit before all keys have had their first one, in either subtask.
            if self.next >= self.keys && TAKEN.load(Ordering::Relaxed) < self.keys {
                return Ok(InputStatus::NothingAvailable(None));
            }
            out.collect(self.next);
            self.next += self.step;
        }
        Ok(InputStatus::MoreAvailable)
    }

    fn snapshot_state(&mut self, _checkpoint: i64) -> FunctionResult<()> {
        Ok(())
    }
}

/// A text that compression makes little smaller, with the count in front.
fn text_of(number: u64, count: u64, bytes: usize) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(bytes + 16);
    let mut random = number ^ count << 40;
    // A string takes all that is written to it.
    let _ = write!(text, "{count:016x}");
    while text.len() < bytes {
        random = mixed(random);
        let _ = write!(text, "{random:016x}");
    }
    text.truncate(bytes);
    text
}

/// Checks the text of a key, and writes the next one.
struct Checker {
    text: ValueState<String>,
    keys: u64,
    value_bytes: usize,
    is_restored: bool,
}

impl Checker {
    /// The count of a key.
    fn count(&self, number: u64) -> FunctionResult<u64> {
        let count = self.text.with(|text| match text {
            None => Some(0),
            Some(text) => {
                let count = u64::from_str_radix(text.get(..16)?, 16).ok()?;
                (*text == text_of(number, count, self.value_bytes)).then_some(count)
            }
        });
        count.ok_or_else(|| FunctionError::new(format!("the value of key {number} is damaged")))
    }
}

impl KeyedProcessFunction for Checker {
    type Key = i64;
    type In = u64;
    type Out = u64;

    fn process_element(
        &mut self,
        visit: u64,
        _context: &mut KeyedContext<'_, i64>,
        out: &mut Collector<u64>,
    ) -> FunctionResult<()> {
        let number = key_of(visit, self.keys);
        let count = self.count(number)?;
        if self.is_restored && visit < self.keys {
            if count == 0 {
                return Err(FunctionError::new(format!(
                    "key {number} has lost its value"
                )));
            }
            FOUND.fetch_add(count, Ordering::Relaxed);
        }
        self.text
            .update(text_of(number, count + 1, self.value_bytes));
        TAKEN.fetch_add(1, Ordering::Relaxed);
        out.collect(count);
        Ok(())
    }
}

fn start_job(arguments: &RunArguments) -> Result<JobClient, Failure> {
    let mut configuration = Configuration::from_pairs([
        ("parallelism.default", PARALLELISM.to_string()),
        ("rest.linger", "0 s".to_owned()),
        (
            "execution.checkpointing.dir",
            format!("{}/checkpoints", arguments.directory),
        ),
        ("execution.checkpointing.interval", "2 s".to_owned()),
        ("execution.checkpointing.incremental", "true".to_owned()),
        ("io.tmp.dirs", arguments.directory.clone()),
    ]);
    let backend = &arguments.backend;
    backend.configure(&mut configuration)?;
    if let Some(path) = &arguments.restore {
        configuration.set("execution.state-recovery.path", path);
    }
    let env = Environment::from_configuration(configuration).map_err(failure)?;
    let (keys, value_bytes) = (arguments.keys, arguments.value_bytes);
    let is_restored = arguments.restore.is_some();
    env.add_source("visits", move |context| {
        let info = context.info();
        Ok(Visits {
            next: u64::from(info.subtask),
            step: u64::from(info.parallelism),
            keys,
        })
    })
    .uid("source")
    .key_by(move |visit: &u64| long_key(key_of(*visit, keys)))
    .process(move |context| {
        Ok(Checker {
            text: context.value_state("text")?,
            keys,
            value_bytes,
            is_restored,
        })
    })
    .uid("checker")
    .name("checker")
    .sink_to(DiscardSink::new())
    .uid("sink");
    env.execute_async("bounded").map_err(failure)
}

/// Waits until the function has taken so many records.
fn taken(job: &JobClient, records: u64) -> Result<(), Failure> {
    while TAKEN.load(Ordering::Relaxed) < records {
        if job.details().overview.status.is_globally_terminal() {
            return Err("the job ended by itself".to_owned());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// The process whose memory is bounded.
pub(crate) fn run_job(arguments: &RunArguments) -> Result<Value, Failure> {
    let begin = Instant::now();
    let job = start_job(arguments)?;
    taken(&job, 1)?;
    let first_record_s = begin.elapsed().as_secs_f64();
    taken(&job, arguments.keys)?;
    let visited_s = begin.elapsed().as_secs_f64();
    let found = FOUND.load(Ordering::Relaxed);
    let (records, since) = (TAKEN.load(Ordering::Relaxed), Instant::now());
    std::thread::sleep(Duration::from_secs(arguments.seconds));
    let records = TAKEN.load(Ordering::Relaxed) - records;
    let rate = records as f64 / since.elapsed().as_secs_f64();
    let checkpoints = job.checkpoints();
    let latest = checkpoints.latest_completed;
    let target = format!("{}/savepoints", arguments.directory);
    let begin = Instant::now();
    let path = job
        .stop_with_savepoint_as(arguments.format.into(), false, Some(&target))
        .map_err(failure)?;
    let stop_s = begin.elapsed().as_secs_f64();
    job.wait().map_err(failure)?;
    Ok(json!({
        "path": path,
        "first_record_s": first_record_s,
        "all_keys_rate": (arguments.keys as f64 / (visited_s - first_record_s)) as u64,
        "random_keys_rate": rate as u64,
        "records": TAKEN.load(Ordering::Relaxed),
        "found": found,
        "checkpoints": checkpoints.completed,
        "checkpoints_failed": checkpoints.failed,
        "state_bytes": latest.map(|checkpoint| checkpoint.state_bytes),
        "stop_with_savepoint_s": stop_s,
    }))
}

/// Runs a process with bounded memory.
fn bounded(
    arguments: &Arguments,
    keys: u64,
    bytes: u64,
    directory: &str,
    restore: Option<&str>,
) -> Result<Value, Failure> {
    let mut command = Command::new(std::env::current_exe().map_err(failure)?);
    command.args(["bounded-run", "--keys", &keys.to_string()]);
    command.args(["--value-bytes", &arguments.value_bytes.to_string()]);
    command.args(["--seconds", &arguments.seconds.to_string()]);
    command.args(["--directory", directory, "--type"]);
    command.arg(format!("{:?}", arguments.format).to_lowercase());
    command.args(arguments.backend.arguments());
    if let Some(path) = restore {
        command.args(["--restore", path]);
    }
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failure)?;
    let (mut peak, mut is_above) = (0, false);
    while child.try_wait().map_err(failure)?.is_none() {
        peak = peak.max(private_bytes(child.id()));
        if peak > bytes && !is_above {
            is_above = true;
            child.kill().map_err(failure)?;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let done = child.wait_with_output().map_err(failure)?;
    if is_above {
        return Err(format!(
            "the process took {peak} bytes of private memory, {bytes} were given"
        ));
    }
    if !done.status.success() {
        let told = String::from_utf8_lossy(&done.stderr);
        return Err(format!("with bounded memory: {}: {told}", done.status));
    }
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    let mut figures: Value =
        serde_json::from_str(text.lines().last().unwrap_or("")).map_err(failure)?;
    figures["peak_private_bytes"] = peak.into();
    Ok(figures)
}

pub(crate) fn run(arguments: &Arguments) -> Result<Value, Failure> {
    let made = match &arguments.directory {
        Some(parent) => tempfile::tempdir_in(parent),
        None => tempfile::tempdir(),
    };
    let directory = made.map_err(failure)?;
    let place = directory.path().display().to_string();
    let bytes = bytes_of(&arguments.process_memory)?;
    let keys = bytes * arguments.times / (arguments.value_bytes + KEY_BYTES);
    let ran = bounded(arguments, keys, bytes, &place, None)?;
    let path = ran["path"].as_str().ok_or("a run without a savepoint")?;
    let restored = bounded(arguments, keys, bytes, &place, Some(path))?;
    if restored["found"] != ran["records"] {
        return Err(format!(
            "counts add up to {} after the restore; {} records were counted before",
            restored["found"], ran["records"]
        ));
    }
    Ok(json!({
        "benchmark": "bounded",
        "backend": arguments.backend.backend,
        "process_memory_bytes": bytes,
        "keys": keys,
        "value_bytes": arguments.value_bytes,
        "state_over_memory": ran["state_bytes"].as_f64().map(|state| state / bytes as f64),
        "run": ran,
        "restored": restored,
    }))
}

fn bytes_of(size: &str) -> Result<u64, Failure> {
    let option = &options::MANAGED_MEMORY_SIZE;
    let one = Configuration::from_pairs([(option.key(), size)]);
    Ok(one.get(option).map_err(failure)?.bytes())
}
