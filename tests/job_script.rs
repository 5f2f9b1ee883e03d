//! `deploy/job.sh` runs a job from its newest snapshot, not again once it has ended, and not from an older
//! snapshot than the newest.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const PATIENCE: Duration = Duration::from_secs(180);

/// A directory for a job, beside it what the command was asked for.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(directory.path().join("job")).expect("room");
        Place { directory }
    }

    fn job(&self) -> PathBuf {
        self.directory.path().join("job")
    }

    fn asked_file(&self) -> PathBuf {
        self.directory.path().join("asked")
    }

    /// Each run that was asked for.
    fn runs(&self) -> Vec<String> {
        let asked = std::fs::read_to_string(self.asked_file()).unwrap_or_default();
        let runs = asked.lines().filter(|line| line.starts_with("run "));
        // In a cluster, which a file may ask for, the job would not end with the process that is watched.
        runs.inspect(|run| assert!(run.starts_with("run -Dexecution.target=local "), "{run}"))
            .map(str::to_owned)
            .collect()
    }

    fn start(&self, more: &[&str]) -> Child {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let example = Path::new(env!("CARGO_BIN_EXE_millpond"))
            .parent()
            .expect("a directory");
        let example = example.join("examples/keyed_count");
        assert!(
            example.exists(),
            "cargo build --examples makes {}",
            example.display()
        );
        let log = self.directory.path().join("log");
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(log)
            .expect("room");
        Command::new("bash")
            .arg(root.join("deploy/job.sh"))
            .arg(self.job())
            .args([
                "-Dexecution.checkpointing.interval=100 ms",
                "-Drest.linger=0 s",
            ])
            .arg(example)
            .args(["--keys", "10"])
            .args(more)
            .env("MILLPOND", root.join("tests/job_script/noting.sh"))
            .env("NOTED", env!("CARGO_BIN_EXE_millpond"))
            .env("ASKED", self.asked_file())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("the script can be started")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    fn wait_for<T>(&self, what: &str, mut state: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(state) = state() {
                return state;
            }
            assert!(
                Instant::now() < deadline,
                "waited {PATIENCE:?} for {what}:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn end(&self, child: &mut Child) -> ExitStatus {
        self.wait_for("the end of the script", || {
            child.try_wait().expect("a child")
        })
    }

    /// `_metadata` of every complete checkpoint.
    fn metadata(&self) -> Vec<PathBuf> {
        let children = |directory: &Path| -> Vec<PathBuf> {
            let entries = std::fs::read_dir(directory).into_iter().flatten();
            entries
                .filter_map(|entry| Some(entry.ok()?.path()))
                .collect()
        };
        let jobs = children(&self.job().join("checkpoints"));
        let all = jobs.iter().flat_map(|job| children(job));
        let files = all.map(|checkpoint| checkpoint.join("_metadata"));
        files.filter(|file| file.exists()).collect()
    }
}

#[test]
fn a_job_goes_on_from_its_newest_snapshot_until_it_has_ended() {
    let place = Place::new();
    let mut script = place.start(&["--rate", "1000"]);
    place.wait_for("a checkpoint", || place.metadata().first().cloned());
    let pid = Pid::from_child(&script);
    kill_process(pid, Signal::TERM).expect("it runs");
    assert!(!place.end(&mut script).success(), "{}", place.log());
    assert!(!place.runs()[0].contains(" -s "), "{:?}", place.runs());
    assert!(!place.job().join("finished").exists());

    // The newest is damaged: nothing starts.
    let whole: Vec<(PathBuf, Vec<u8>)> = place
        .metadata()
        .into_iter()
        .map(|file| (file.clone(), std::fs::read(&file).expect("a file")))
        .collect();
    assert!(!whole.is_empty(), "{}", place.log());
    for (file, bytes) in &whole {
        std::fs::write(file, &bytes[..bytes.len() / 2]).expect("room");
    }
    let code = place.end(&mut place.start(&["--rate", "1000"])).code();
    assert_eq!(code, Some(3), "{}", place.log());
    assert_eq!(place.runs().len(), 1, "{:?}", place.runs());
    for (file, bytes) in &whole {
        std::fs::write(file, bytes).expect("room");
    }

    let code = place.end(&mut place.start(&["--records", "5000"])).code();
    assert_eq!(code, Some(0), "{}", place.log());
    assert!(place.runs()[1].contains(" -s file:"), "{:?}", place.runs());
    assert!(place.job().join("finished").exists());

    let code = place.end(&mut place.start(&["--records", "5000"])).code();
    assert_eq!(code, Some(0), "{}", place.log());
    assert_eq!(place.runs().len(), 2, "{:?}", place.runs());
}

#[test]
fn a_job_without_its_volume_does_not_start() {
    let place = Place::new();
    std::fs::remove_dir(place.job()).expect("it is empty");
    let code = place.end(&mut place.start(&[])).code();
    assert_eq!(code, Some(1));
    assert!(
        place.log().contains("is the volume there?"),
        "{}",
        place.log()
    );
    assert_eq!(place.runs().len(), 0);
}
