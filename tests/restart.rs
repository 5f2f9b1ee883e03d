//! `examples/restart.sh` starts a job again from its newest snapshot after it was finally FAILED, and
//! nothing is lost or doubled.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(180);

/// The script around the demo's job, which has no restart strategy: what fails is FAILED.
fn script(directory: &Path, output: &str, more: &[&str]) -> Child {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/restart.sh");
    let checkpoints = directory.join("checkpoints");
    let dir = format!("-Dexecution.checkpointing.dir={}", checkpoints.display());
    Command::new(script)
        .arg(&checkpoints)
        .args(["-p", "2", &dir])
        .args([
            "-Drestart-strategy.type=none",
            "-Dexecution.checkpointing.interval=100 ms",
            "-Drest.linger=0 s",
        ])
        .args([env!("CARGO_BIN_EXE_millpond"), "demo-job", "--input"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/flights-2013.csv.gz"))
        .arg("--output")
        .arg(directory.join(output))
        .args(more)
        .env("MILLPOND", env!("CARGO_BIN_EXE_millpond"))
        .env("PAUSE", "0")
        .current_dir(directory)
        // The job ends with this pipe.
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(directory.join(format!("{output}.log"))).expect("room"))
        .spawn()
        .expect("the script can be started")
}

fn wait_for<T>(what: &str, log: &Path, mut state: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(state) = state() {
            return state;
        }
        if Instant::now() > deadline {
            let log = std::fs::read_to_string(log).unwrap_or_default();
            panic!("waited {PATIENCE:?} for {what}:\n{log}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Lets all further checkpoints of a job fail, by files in the way: the job is FAILED then.
fn obstruct(job: &Path) {
    let entries = std::fs::read_dir(job).expect("a directory").flatten();
    let numbers = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        name.strip_prefix("chk-")?.parse::<u64>().ok()
    });
    let newest = numbers.max().expect("there is one");
    for number in newest + 1..newest + 200 {
        // The next ones may just have been made.
        let _ = std::fs::write(job.join(format!("chk-{number}")), "in the way");
    }
}

/// Complete checkpoints of every job in here.
fn checkpoints(directory: &Path) -> Vec<PathBuf> {
    let children = |directory: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(directory).into_iter().flatten();
        entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect()
    };
    let jobs = children(&directory.join("checkpoints"));
    let all = jobs.iter().flat_map(|job| children(job));
    all.filter(|chk| chk.join("_metadata").exists()).collect()
}

/// How often each line was published.
fn published(directory: &Path) -> BTreeMap<String, u64> {
    let mut lines = BTreeMap::new();
    for entry in std::fs::read_dir(directory).expect("output") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy();
        match path.is_dir() {
            true => published(&path)
                .into_iter()
                .for_each(|(line, count)| *lines.entry(line).or_default() += count),
            false if name.starts_with('.') => {}
            false => std::fs::read_to_string(&path)
                .expect("text")
                .lines()
                .for_each(|line| *lines.entry(line.to_owned()).or_default() += 1),
        }
    }
    lines
}

#[test]
fn a_failed_job_is_started_again_from_its_newest_snapshot_and_publishes_each_line_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let directory = directory.path();
    let log = directory.join("disturbed.log");
    let mut disturbed = script(directory, "disturbed", &["--rate", "30000"]);
    let mut seen = Vec::new();
    for _ in 0..2 {
        let new = wait_for("a checkpoint of a new job", &log, || {
            let found = checkpoints(directory);
            found
                .into_iter()
                .map(|chk| chk.parent().expect("a job").to_owned())
                .find(|job| !seen.contains(job))
        });
        obstruct(&new);
        seen.push(new);
    }
    let status = wait_for("the end of the job", &log, || {
        disturbed.try_wait().expect("a child")
    });
    let text = std::fs::read_to_string(&log).expect("a log");
    assert!(status.success(), "{status}\n{text}");
    assert!(
        text.matches("starting it again -s file:").count() >= 2,
        "{text}"
    );
    let mut undisturbed = script(directory, "undisturbed", &[]);
    // `wait` would close the pipe with which the job ends.
    let status = wait_for("the end of the undisturbed job", &log, || {
        undisturbed.try_wait().expect("a child")
    });
    assert!(status.success(), "{status}");
    let expected = published(&directory.join("undisturbed"));
    assert!(expected.len() > 100, "{} lines", expected.len());
    assert!(
        expected == published(&directory.join("disturbed")),
        "output differs"
    );
}
