//! The job that is measured, in processes of its own, which note when each subtask has counted its first
//! record: a file per attempt and subtask, whose name begins with the time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use millpond::Environment;
use serde_json::{Value, json};

use crate::job::{self, Distribution, KeyNumbers, KeyType};
use crate::{Failure, failure};

/// Longer than anything that is measured here may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where notes go, in a process that is to make some.
static NOTES: OnceLock<PathBuf> = OnceLock::new();

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[arg(long)]
    notes: PathBuf,
    #[arg(long)]
    keys: u64,
    #[arg(short = 'D')]
    options: Vec<String>,
}

/// Runs the job to its end.
pub(crate) fn run(arguments: &Arguments) -> Result<Value, Failure> {
    let _ = NOTES.set(arguments.notes.clone());
    // Its options come as those of every job do: with `-D`, or from the cluster.
    let env = Environment::from_args().map_err(failure)?;
    let numbers = KeyNumbers::new(arguments.keys, Distribution::Uniform);
    job::build(&env, numbers, KeyType::I64);
    env.execute("noted").map_err(failure)?;
    Ok(json!({}))
}

/// The arguments of a program that runs it.
pub(crate) fn arguments(notes: &Path, keys: u64, options: &[(&str, String)]) -> Vec<String> {
    let mut all = vec![
        "noted-run".to_owned(),
        "--notes".to_owned(),
        notes.display().to_string(),
        "--keys".to_owned(),
        keys.to_string(),
    ];
    for (key, value) in options {
        all.extend(["-D".to_owned(), format!("{key}={value}")]);
    }
    all
}

/// A subtask has counted its first record since its attempt has begun.
pub(crate) fn first_record() {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let Some(directory) = NOTES.get() else {
        return;
    };
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("{}-{}-{number}", now_ns(), std::process::id());
    // Whoever waits for it gives up after a while.
    let _ = fs::write(directory.join(name), "");
}

/// The time, comparable between processes.
pub(crate) fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}

/// The times of the first `count` notes behind `begin`, as soon as they are there.
pub(crate) fn notes_behind(
    directory: &Path,
    begin: u64,
    count: usize,
) -> Result<Vec<u64>, Failure> {
    wait_for("first records", || {
        let entries = fs::read_dir(directory).ok()?.flatten();
        let mut times: Vec<u64> = entries
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                name.split('-').next()?.parse().ok()
            })
            .filter(|time| *time > begin)
            .collect();
        times.sort_unstable();
        times.truncate(count);
        (times.len() == count).then_some(times)
    })
}

/// Waits until something is there.
pub(crate) fn wait_for<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> Result<T, Failure> {
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        if let Some(found) = find() {
            return Ok(found);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Err(format!("waited {PATIENCE:?} for {what}"))
}

/// A process of this program that is killed when it is not needed any more.
pub(crate) struct OwnProcess(pub(crate) Child);

impl OwnProcess {
    /// Starts one, whose output nobody wants but in `out`.
    pub(crate) fn start(arguments: &[String], out: Stdio) -> Result<Self, Failure> {
        let program = std::env::current_exe().map_err(failure)?;
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(Stdio::null())
            .spawn();
        child.map(OwnProcess).map_err(failure)
    }
}

impl Drop for OwnProcess {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
