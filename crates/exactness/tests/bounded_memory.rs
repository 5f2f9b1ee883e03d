//! State many times larger than the memory that RocksDB and the caches above it are given: the job
//! runs, takes checkpoints and is restored exactly, and its process does not grow with the state.
//!
//! If this fails, a job whose state outgrows its memory is killed by the operating system.
#![cfg(feature = "rocksdb")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use millpond::prelude::*;
use millpond::types::config::Configuration;
use millpond::{Environment, JobClient, SavepointFormat};
use millpond_exactness::random::mixed;

/// What all caches and all RocksDB instances are given.
const BUDGET_BYTES: u64 = 16 << 20;

/// What the process may take more than with a small state. Blocks that are being written and read,
/// and what the allocator holds for later, are not part of the budget.
const BOUND_BYTES: u64 = 6 * BUDGET_BYTES;

const VALUE_BYTES: usize = 1000;

/// Six times the budget.
const KEYS: u64 = 6 * BUDGET_BYTES / VALUE_BYTES as u64;

/// Visits of random keys once each has been visited.
const MORE: u64 = KEYS / 2;

const PARALLELISM: u32 = 2;

/// Records that the function has taken since the job was started.
static TAKEN: AtomicU64 = AtomicU64::new(0);

/// Up to which number there are visits.
static LIMIT: AtomicU64 = AtomicU64::new(0);

/// Sum of the counts that are found at the first visit of each key.
static FOUND: AtomicU64 = AtomicU64::new(0);

/// Every key once, then random ones; from the first one on also after a restore.
struct Visits {
    next: u64,
    step: u64,
}

fn key_of(visit: u64) -> u64 {
    match visit < KEYS {
        true => visit,
        false => mixed(visit) % KEYS,
    }
}

impl SourceFunction for Visits {
    type Out = u64;

    fn poll_next(&mut self, limit: usize, out: &mut Collector<u64>) -> FunctionResult<InputStatus> {
        for _ in 0..limit {
            if self.next >= LIMIT.load(Ordering::SeqCst) {
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

/// What a key has at some count; compression makes it little smaller.
fn text_of(key: u64, count: u64) -> String {
    let mut text = format!("{count:016x}");
    let mut random = key << 20 ^ count;
    while text.len() < VALUE_BYTES {
        random = mixed(random);
        text.push_str(&format!("{random:016x}"));
    }
    text.truncate(VALUE_BYTES);
    text
}

/// Checks what a key has, and counts on.
struct Checker {
    text: ValueState<String>,
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
        let key = key_of(visit);
        let count = self.text.with(|text| match text {
            None => Some(0),
            Some(text) => {
                let count = u64::from_str_radix(text.get(..16)?, 16).ok()?;
                (*text == text_of(key, count)).then_some(count)
            }
        });
        let damaged = || FunctionError::new(format!("the value of key {key} is damaged"));
        let count = count.ok_or_else(damaged)?;
        if visit < KEYS {
            FOUND.fetch_add(count, Ordering::SeqCst);
        }
        self.text.update(text_of(key, count + 1));
        TAKEN.fetch_add(1, Ordering::SeqCst);
        out.collect(count);
        Ok(())
    }
}

fn start(directory: &str, restore: Option<&str>) -> JobClient {
    TAKEN.store(0, Ordering::SeqCst);
    FOUND.store(0, Ordering::SeqCst);
    LIMIT.store(0, Ordering::SeqCst);
    let mut configuration = Configuration::from_pairs([
        ("parallelism.default", PARALLELISM.to_string()),
        ("rest.linger", "0 s".to_owned()),
        ("rest.port", "0".to_owned()),
        ("state.backend.type", "rocksdb".to_owned()),
        (
            "taskmanager.memory.managed.size",
            format!("{BUDGET_BYTES} b"),
        ),
        ("execution.checkpointing.incremental", "true".to_owned()),
        (
            "execution.checkpointing.dir",
            format!("{directory}/checkpoints"),
        ),
        ("io.tmp.dirs", directory.to_owned()),
    ]);
    if let Some(path) = restore {
        configuration.set("execution.state-recovery.path", path);
    }
    let env = Environment::from_configuration(configuration).expect("a configuration");
    env.add_source("visits", |context| {
        let info = context.info();
        Ok(Visits {
            next: u64::from(info.subtask),
            step: u64::from(info.parallelism),
        })
    })
    .uid("source")
    .key_by(|visit: &u64| key_of(*visit) as i64)
    .process(|context| {
        Ok(Checker {
            text: context.value_state("text")?,
        })
    })
    .uid("checker")
    .sink_to(DiscardSink::new())
    .uid("sink");
    env.execute_async("bounded memory").expect("it starts")
}

/// Memory of this process that is resident and of no file.
fn private_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let resident = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let number = resident.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    number.expect("a number of kB") * 1024
}

/// Lets the job make visits up to a number; returns the most memory that the process had.
fn visit_up_to(job: &JobClient, limit: u64) -> u64 {
    LIMIT.store(limit, Ordering::SeqCst);
    let (begin, mut most) = (Instant::now(), 0);
    while TAKEN.load(Ordering::SeqCst) < limit {
        most = most.max(private_bytes());
        assert!(begin.elapsed() < Duration::from_secs(300), "no progress");
        let status = job.details().overview.status;
        assert!(!status.is_globally_terminal(), "the job is {status:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
    most
}

#[test]
fn a_job_does_not_take_the_memory_of_its_state() {
    let home = tempfile::tempdir().expect("a directory");
    let directory = home.path().display().to_string();
    let job = start(&directory, None);
    let mut most = 0;
    visit_up_to(&job, 1000);
    job.checkpoint().expect("a checkpoint");
    // Whatever a job takes without much state.
    let little = private_bytes();
    for part in 1..=6 {
        most = most.max(visit_up_to(&job, KEYS * part / 6));
        job.checkpoint().expect("a checkpoint");
    }
    most = most.max(visit_up_to(&job, KEYS + MORE));
    let id = job.checkpoint().expect("a checkpoint");
    let all = job.checkpoints();
    let last = all.history.iter().find(|checkpoint| checkpoint.id == id);
    let state = last.expect("in the statistics").state_bytes;
    assert!(state > 5 * BUDGET_BYTES, "only {state} bytes of state");
    let path = job.stop_with_savepoint_as(SavepointFormat::Native, false, Some(&directory));
    let path = path.expect("a savepoint");
    job.wait().expect("it ends");

    let job = start(&directory, Some(&path));
    most = most.max(visit_up_to(&job, KEYS));
    assert_eq!(
        FOUND.load(Ordering::SeqCst),
        KEYS + MORE,
        "counts of all keys"
    );
    job.cancel().expect("it can be cancelled");
    job.wait().expect("it ends");
    println!("little {little}, most {most}, state {state} bytes");
    assert!(
        most < little + BOUND_BYTES,
        "{most} bytes with {state} bytes of state; {little} with little"
    );
}
