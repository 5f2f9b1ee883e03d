//! How long is it from the death of a worker to the first record behind it?
//!
//! A job counts under full load in two worker processes, with a checkpoint every second. One of them is
//! killed with SIGKILL; measured is the time until the first subtask, and until the last one, has counted
//! a record again. A surprise would be more than a second.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::measure::{children_of, quantile};
use crate::noted::{self, OwnProcess, notes_behind, now_ns, wait_for};
use crate::{Failure, failure};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Number of keys
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// Number of worker processes
    #[arg(long, default_value_t = 2)]
    processes: u32,
    /// Number of subtasks
    #[arg(long, default_value_t = 2)]
    parallelism: u32,
    /// How often a worker is killed
    #[arg(long, default_value_t = 5)]
    kills: u32,
    /// Accepted for completeness: the figures are always JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Value, Failure> {
    let directory = tempfile::tempdir().map_err(failure)?;
    let notes = directory.path().join("notes");
    std::fs::create_dir(&notes).map_err(failure)?;
    let checkpoints = directory.path().join("checkpoints");
    let options = [
        ("parallelism.default", arguments.parallelism.to_string()),
        ("cluster.processes", arguments.processes.to_string()),
        ("execution.checkpointing.interval", "1 s".to_owned()),
        (
            "execution.checkpointing.dir",
            checkpoints.display().to_string(),
        ),
        ("restart-strategy.type", "fixed-delay".to_owned()),
        ("restart-strategy.fixed-delay.attempts", "1000".to_owned()),
        ("restart-strategy.fixed-delay.delay", "0 s".to_owned()),
        ("rest.port", "0".to_owned()),
    ];
    let begin = now_ns();
    let program = noted::arguments(&notes, arguments.keys, &options);
    let master = OwnProcess::start(&program, Stdio::null())?;
    let subtasks = arguments.parallelism as usize;
    notes_behind(&notes, begin, subtasks)?;
    let (mut first, mut last, mut bytes) = (Vec::new(), Vec::new(), 0);
    for _ in 0..arguments.kills {
        // One that has all keys, as the one before it was taken behind the same number of records.
        let seen = newest(&checkpoints);
        wait_for("two checkpoints more", || {
            (newest(&checkpoints) >= seen + 2).then_some(())
        })?;
        bytes = size_of(&checkpoints);
        let workers = children_of(master.0.id());
        let victim = workers.first().ok_or("the job has no worker processes")?;
        let killed = now_ns();
        let kill = Command::new("kill").args(["-KILL", victim]).status();
        kill.map_err(failure)?;
        let times = notes_behind(&notes, killed, subtasks)?;
        let ms = |time: Option<&u64>| time.map_or(0, |time| (time - killed) / 1_000_000);
        first.push(ms(times.first()));
        last.push(ms(times.last()));
    }
    first.sort_unstable();
    last.sort_unstable();
    Ok(json!({
        "keys": arguments.keys,
        "processes": arguments.processes,
        "kills": arguments.kills,
        "checkpoint_bytes": bytes,
        "first_record_ms_median": quantile(&first, 0.5),
        "first_record_ms_max": first.last(),
        "all_subtasks_ms_median": quantile(&last, 0.5),
        "all_subtasks_ms_max": last.last(),
    }))
}

/// The number of the newest complete checkpoint below a directory of jobs.
fn newest(checkpoints: &Path) -> u64 {
    complete(checkpoints)
        .map(|(number, _)| number)
        .max()
        .unwrap_or(0)
}

/// The bytes of that checkpoint.
fn size_of(checkpoints: &Path) -> u64 {
    let newest = complete(checkpoints).max_by_key(|(number, _)| *number);
    let files = newest.and_then(|(_, path)| std::fs::read_dir(path).ok());
    let files = files.into_iter().flatten().flatten();
    files
        .filter_map(|file| Some(file.metadata().ok()?.len()))
        .sum()
}

fn complete(checkpoints: &Path) -> impl Iterator<Item = (u64, std::path::PathBuf)> {
    let list = |path: &Path| std::fs::read_dir(path).into_iter().flatten().flatten();
    list(checkpoints)
        .flat_map(move |job| list(&job.path()))
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let number = name.strip_prefix("chk-")?.parse().ok()?;
            let path = entry.path();
            path.join("_metadata").is_file().then_some((number, path))
        })
}
