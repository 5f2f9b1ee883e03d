//! A job in a child process: start, REST, kill -9, end.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use millpond_fs::injected::FAULTS_VARIABLE;
use millpond_fs::{Location, file_system_for};
use millpond_types::config::{Handshake, PLAN_VARIABLE, READY_FILE_VARIABLE};
use serde_json::{Value, json};

use crate::lines::{Lines, difference, published};
use crate::oracle::{Workload, expected, expected_with_ledger};
use crate::phase::StorageControl;
use crate::processes::{children_of, holds_files, processes_of};

/// How long anything may take that has to happen.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How often what is waited for is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// How long workers may outlive their job master; what they need is a turn on a busy machine.
pub const ORPHAN_LIMIT: Duration = Duration::from_secs(60);

/// The file that lets a job go on which is [held](Bench::held).
const GO: &str = "go";

/// Waits until `state` is there.
///
/// # Panics
///
/// If it does not come in [`PATIENCE`].
pub fn wait_for<T>(what: &str, state: impl FnMut() -> Option<T>) -> T {
    polled(state).unwrap_or_else(|| panic!("waited {PATIENCE:?} for {what}"))
}

/// What comes of `state` in [`PATIENCE`].
fn polled<T>(mut state: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = state();
        if now.is_some() || Instant::now() >= deadline {
            return now;
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// The directories and options of a job under test; the same for all its processes.
pub struct Bench {
    program: PathBuf,
    directory: tempfile::TempDir,
    arguments: Vec<String>,
    options: Vec<(String, String)>,
    variables: Vec<(&'static str, String)>,
    has_savepoint_directory: bool,
    has_checkpoint_directory: bool,
    has_storage_control: bool,
    has_ledger: bool,
}

impl Bench {
    /// A bench for `program` with directories of its own. `MILLPOND_EXACTNESS_JOB` names another
    /// build of it, such as one for release.
    ///
    /// # Panics
    ///
    /// If no directory can be made.
    pub fn new(program: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("exactness-").tempdir();
        Bench {
            program: std::env::var_os("MILLPOND_EXACTNESS_JOB")
                .unwrap_or(program.into())
                .into(),
            directory: directory.expect("a directory can be made"),
            arguments: Vec::new(),
            options: Vec::new(),
            variables: Vec::new(),
            has_savepoint_directory: true,
            has_checkpoint_directory: true,
            has_storage_control: false,
            has_ledger: false,
        }
    }

    /// The storage of the job, in all its processes, does what [`storage_control`](Self::storage_control)
    /// is told.
    #[must_use]
    pub fn with_storage_control(self) -> Self {
        Bench {
            has_storage_control: true,
            ..self
        }
    }

    /// Tells the storage of the job what to do.
    pub fn storage_control(&self) -> StorageControl {
        StorageControl::new(&self.control_file())
    }

    fn control_file(&self) -> PathBuf {
        self.directory().join("storage-faults")
    }

    /// Where everything lies.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Where the sink publishes.
    pub fn out(&self) -> PathBuf {
        self.directory().join("out")
    }

    /// Where checkpoints go.
    pub fn checkpoints(&self) -> PathBuf {
        self.directory().join("checkpoints")
    }

    /// Where savepoints go.
    pub fn savepoints(&self) -> PathBuf {
        self.directory().join("savepoints")
    }

    /// Where a test may have its job keep what goes with a process.
    pub fn scratch(&self) -> PathBuf {
        self.directory().join("scratch")
    }

    /// An argument of the job.
    #[must_use]
    pub fn argument(mut self, name: &str, value: impl ToString) -> Self {
        self.arguments.extend([name.to_owned(), value.to_string()]);
        self
    }

    /// The job processes this workload.
    #[must_use]
    pub fn workload(self, workload: &Workload) -> Self {
        self.argument("--records-a", workload.records_a)
            .argument("--records-b", workload.records_b)
            .argument("--keys", workload.keys)
    }

    /// The job counts all records in union list state as well.
    #[must_use]
    pub fn ledger(self) -> Self {
        Bench {
            has_ledger: true,
            ..self.argument("--ledger", true)
        }
    }

    /// Input A stops in front of its last record until the test waits for the end of the job
    /// ([`JobProcess::finish`]) or lets it go: whatever it does before does not come too late, however busy
    /// the machine is.
    #[must_use]
    pub fn held(self) -> Self {
        let file = self.directory().join(GO).display().to_string();
        self.argument("--hold", file)
    }

    /// As [`held`](Self::held), in front of a record of input A.
    #[must_use]
    pub fn held_at(self, record: u64) -> Self {
        self.held().argument("--hold-at", record)
    }

    /// Lets go on what is held here, now and later.
    ///
    /// # Panics
    ///
    /// If no file can be made.
    pub fn let_go(&self) {
        let_go(self.directory());
    }

    /// All processes have these variables in their environment.
    #[must_use]
    pub fn variables(self, variables: Vec<(&'static str, String)>) -> Self {
        Bench { variables, ..self }
    }

    /// Checkpoints overtake records, if there is a time: after so many milliseconds.
    #[must_use]
    pub fn unaligned_after(self, after_ms: Option<u64>) -> Self {
        let Some(after_ms) = after_ms else {
            return self;
        };
        self.option("execution.checkpointing.unaligned.enabled", true)
            .option(
                "execution.checkpointing.aligned-checkpoint-timeout",
                format!("{after_ms} ms"),
            )
    }

    /// State is written to a disk of the machine as well, and read from there.
    #[must_use]
    pub fn local_recovery(self) -> Self {
        let disk = self.directory().join("local").display().to_string();
        self.option("execution.state-recovery.from-local", true)
            .option("execution.checkpointing.local-backup.dirs", disk)
    }

    /// An option of every start; may be overridden at each.
    #[must_use]
    pub fn option(mut self, key: &str, value: impl ToString) -> Self {
        self.options.push((key.to_owned(), value.to_string()));
        self
    }

    /// Lets input B read its numbers from files of different length, one of them compressed.
    ///
    /// # Panics
    ///
    /// If they cannot be written.
    #[must_use]
    pub fn files_for_b(self, records: u64) -> Self {
        let directory = self.directory().join("in");
        std::fs::create_dir_all(&directory).expect("a directory can be made");
        let bounds = [0, records / 7, records / 3, records / 2, records];
        for (index, bounds) in bounds.windows(2).enumerate() {
            let text: String = (bounds[0]..bounds[1]).map(|n| format!("{n}\n")).collect();
            let written = match index {
                2 => File::create(directory.join("2.gz")).and_then(|file| {
                    let mut file = flate2::write::GzEncoder::new(file, Default::default());
                    file.write_all(text.as_bytes())?;
                    file.finish().map(drop)
                }),
                _ => std::fs::write(directory.join(index.to_string()), text),
            };
            written.expect("a file can be written");
        }
        let directory = directory.display().to_string();
        self.argument("--files-b", directory)
    }

    /// Leaves out where savepoints go.
    #[must_use]
    pub fn without_savepoint_directory(self) -> Self {
        Bench {
            has_savepoint_directory: false,
            ..self
        }
    }

    /// Leaves out where checkpoints go.
    #[must_use]
    pub fn without_checkpoint_directory(self) -> Self {
        Bench {
            has_checkpoint_directory: false,
            ..self
        }
    }

    /// Leaves the directories behind and returns where they are.
    pub fn keep(&mut self) -> PathBuf {
        self.directory.disable_cleanup(true);
        self.directory().to_owned()
    }

    /// What the sink has published.
    pub fn published(&self) -> Lines {
        published(&self.out())
    }

    /// What the oracle says that the sink publishes in the end.
    pub fn expected(&self, workload: &Workload) -> Lines {
        match self.has_ledger {
            true => expected_with_ledger(workload),
            false => expected(workload),
        }
    }

    /// The sink has published what the oracle says, and nothing else.
    ///
    /// # Panics
    ///
    /// If not; with the difference.
    pub fn assert_exact(&self, workload: &Workload) {
        if let Some(wrong) = difference(&self.expected(workload), &self.published()) {
            panic!("{wrong}");
        }
    }

    /// Starts the job with more options.
    ///
    /// # Panics
    ///
    /// If the program cannot be started.
    pub fn start(&self, more: &[(&str, &str)]) -> JobProcess {
        let number = (1..)
            .find(|number| !self.directory().join(format!("log-{number}")).exists())
            .expect("numbers do not end");
        let log = self.directory().join(format!("log-{number}"));
        let handshake = self.directory().join(format!("handshake-{number}"));
        let file = File::create(&log).expect("a log can be made");
        let mut command = self.command(more);
        command
            .env(READY_FILE_VARIABLE, &handshake)
            .stdout(Stdio::null())
            .stderr(file);
        let child = command.spawn().expect("the job can be started");
        JobProcess {
            child,
            handshake,
            log,
            directory: self.directory().to_owned(),
            ended: None,
        }
    }

    /// Has the program plan a restore, with more options.
    ///
    /// # Panics
    ///
    /// If it cannot be started, fails, or prints no plan.
    pub fn plan(&self, more: &[(&str, &str)]) -> Value {
        let mut command = self.command(more);
        let output = command.env(PLAN_VARIABLE, "1").output().expect("starts");
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{log}");
        let text = String::from_utf8_lossy(&output.stdout);
        let plan = text.lines().last().unwrap_or_default();
        serde_json::from_str(plan).unwrap_or_else(|error| panic!("{error}: {text} {log}"))
    }

    /// The job's executable.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Its arguments, with more options.
    pub fn program_arguments(&self, more: &[(&str, &str)]) -> Vec<String> {
        let out = self.out().display().to_string();
        let mut arguments = vec!["--out".to_owned(), out];
        arguments.extend(self.arguments.iter().cloned());
        let checkpoints = self.checkpoints().display().to_string();
        let savepoints = self.savepoints().display().to_string();
        let own = [
            ("restart-strategy.type", "fixed-delay"),
            ("restart-strategy.fixed-delay.attempts", "1000"),
            ("restart-strategy.fixed-delay.delay", "10 ms"),
            ("pipeline.auto-watermark-interval", "10 ms"),
        ];
        let default_savepoints = self
            .has_savepoint_directory
            .then_some(("execution.checkpointing.savepoint-dir", savepoints.as_str()));
        let checkpoints = self
            .has_checkpoint_directory
            .then_some(("execution.checkpointing.dir", checkpoints.as_str()));
        let own = own.into_iter().chain(checkpoints).chain(default_savepoints);
        let shared = self
            .options
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()));
        for (key, value) in own.chain(shared).chain(more.iter().copied()) {
            arguments.extend(["-D".to_owned(), format!("{key}={value}")]);
        }
        arguments
    }

    fn command(&self, more: &[(&str, &str)]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(self.program_arguments(more));
        self.hand_environment(&mut command);
        let level = std::env::var("RUST_LOG").unwrap_or_else(|_| "info".to_owned());
        command
            .env("RUST_LOG", level)
            .current_dir(self.directory())
            .stdin(Stdio::null());
        command
    }

    /// What a process has in its environment, and those that it starts: the storage does what the control
    /// says, if there is one.
    pub(crate) fn hand_environment(&self, command: &mut Command) {
        command.envs(self.variables.iter().map(|(key, value)| (key, value)));
        if self.has_storage_control {
            command.env(FAULTS_VARIABLE, self.control_file());
        }
    }

    /// The newest snapshot that is complete: of retained checkpoints, and of savepoints too.
    pub fn newest_snapshot(&self) -> Option<Snapshot> {
        self.snapshots()
            .into_iter()
            .max_by_key(|snapshot| snapshot.checkpoint)
    }

    /// All complete snapshots.
    ///
    /// # Panics
    ///
    /// If a directory cannot be listed.
    pub fn snapshots(&self) -> Vec<Snapshot> {
        let jobs = children(&self.checkpoints());
        let mut found: Vec<Snapshot> = jobs
            .iter()
            .flat_map(|job| children(job))
            .filter_map(|path| Snapshot::at(&path))
            .collect();
        found.extend(
            children(&self.savepoints())
                .iter()
                .filter_map(|path| Snapshot::at(path)),
        );
        found
    }
}

pub(crate) fn let_go(directory: &Path) {
    std::fs::write(directory.join(GO), "").expect("a file can be written");
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .collect()
}

/// A complete snapshot on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its number.
    pub checkpoint: i64,
    /// Its directory.
    pub directory: PathBuf,
}

impl Snapshot {
    /// The snapshot in `directory`, if its metadata is there and readable.
    fn at(directory: &Path) -> Option<Self> {
        let location = Location::of_path(directory).ok()?;
        let loaded = millpond_snapshot::load(file_system_for(&location).ok()?, &location).ok()?;
        let checkpoint = loaded.metadata.checkpoint_id;
        Some(Snapshot {
            checkpoint,
            directory: directory.to_owned(),
        })
    }

    /// Its directory as text.
    pub fn path(&self) -> String {
        self.directory.display().to_string()
    }
}

/// Workers whose job master was killed.
#[must_use]
pub struct Orphans {
    directory: PathBuf,
    pids: Vec<u32>,
    since: Instant,
}

impl Orphans {
    /// Waits until they have ended, and the system has let go of all that they had.
    ///
    /// # Panics
    ///
    /// If one is there [`ORPHAN_LIMIT`] after its master was killed.
    pub fn expect_end(mut self) {
        loop {
            self.pids.retain(|pid| holds_files(*pid, &self.directory));
            if self.pids.is_empty() {
                return;
            }
            if self.since.elapsed() > ORPHAN_LIMIT {
                self.pids.iter().for_each(|pid| kill_process(*pid));
                panic!(
                    "workers {:?} outlive their job master by {ORPHAN_LIMIT:?}",
                    self.pids
                );
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

/// A job master and its workers.
pub struct JobProcess {
    child: Child,
    handshake: PathBuf,
    log: PathBuf,
    /// In the command line of all its processes.
    directory: PathBuf,
    ended: Option<ExitStatus>,
}

impl JobProcess {
    /// The process id of the job master.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the job wrote to standard error.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// What it said when its REST API was up, or what it has said since.
    pub fn handshake(&self) -> Option<Handshake> {
        let bytes = std::fs::read(&self.handshake).ok()?;
        Some(serde_json::from_slice(&bytes).expect("a handshake is written in one go"))
    }

    /// Waits until its REST API is up.
    ///
    /// # Panics
    ///
    /// If the job ends before, or takes too long.
    pub fn ready(&mut self) -> Handshake {
        wait_for("the start of the job", || {
            if self.handshake().is_none() && self.has_ended().is_some() {
                panic!("the job ended at its start:\n{}", self.log());
            }
            self.handshake()
        })
    }

    /// How the process has ended, if it has.
    ///
    /// # Panics
    ///
    /// If the system does not know the process.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("a child can be waited for");
        }
        self.ended
    }

    /// Waits for the end of the process.
    ///
    /// # Panics
    ///
    /// If it takes too long; the message holds the log.
    pub fn wait(&mut self) -> ExitStatus {
        let ended = polled(|| self.has_ended());
        ended.unwrap_or_else(|| {
            let log = tail(&self.log());
            panic!("the job did not end in {PATIENCE:?}:\n{log}")
        })
    }

    /// Lets the job go on if it is [held](Bench::held), and waits for its end, which must be FINISHED.
    ///
    /// # Panics
    ///
    /// If it ends otherwise; the message holds the log.
    pub fn finish(&mut self) {
        let_go(&self.directory);
        self.finished();
    }

    fn finished(&mut self) {
        let status = self.wait();
        let ended = self.handshake().and_then(|handshake| handshake.status);
        assert!(
            status.success() && ended.as_deref() == Some("FINISHED"),
            "the job ended with {status}, {ended:?}:\n{}",
            tail(&self.log())
        );
    }

    /// Waits for the end or for `time` to pass; returns whether it has ended.
    pub fn ends_within(&mut self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        loop {
            if self.has_ended().is_some() {
                return true;
            }
            let now = Instant::now();
            if now >= deadline {
                return false;
            }
            std::thread::sleep(POLL_INTERVAL.min(deadline - now));
        }
    }

    /// The worker processes.
    pub fn workers(&self) -> Vec<u32> {
        processes_of(&self.directory)
            .into_iter()
            .filter(|pid| *pid != self.pid())
            .collect()
    }

    /// Kills the job master with SIGKILL and waits until its workers have ended by themselves.
    ///
    /// # Panics
    ///
    /// If a worker is there after [`ORPHAN_LIMIT`].
    pub fn kill_master(&mut self) {
        self.kill_only_master().expect_end();
    }

    /// Kills the job master with SIGKILL and waits until all its workers have ended but one, which
    /// stands still.
    ///
    /// # Panics
    ///
    /// If another worker is there after [`ORPHAN_LIMIT`].
    pub fn kill_master_leaving(&mut self, zombie: u32) {
        let mut orphans = self.kill_only_master();
        orphans.pids.retain(|pid| *pid != zombie);
        orphans.expect_end();
    }

    /// Kills the job master with SIGKILL; its workers are to end by themselves.
    ///
    /// # Panics
    ///
    /// If the process is not ours to kill.
    pub fn kill_only_master(&mut self) -> Orphans {
        // Those that were killed a moment ago too: they have no command line any more.
        let mut pids = children_of(self.pid());
        self.child.kill().expect("a child can be killed");
        let since = Instant::now();
        self.ended = Some(self.child.wait().expect("a child can be waited for"));
        pids.extend(processes_of(&self.directory));
        Orphans {
            directory: self.directory.clone(),
            pids,
            since,
        }
    }

    /// The state of the job as REST tells it, `None` if it does not answer.
    pub fn status(&self) -> Option<String> {
        let job = self.handshake()?;
        let answer = self.try_get(&format!("/jobs/{}/status", job.job_id))?;
        answer["status"].as_str().map(str::to_owned)
    }

    /// Waits until all subtasks run.
    pub fn running(&mut self) {
        self.ready();
        wait_for("the job to run", || {
            (self.status()? == "RUNNING").then_some(())
        });
    }

    /// An answer of the REST API, `None` if there is none.
    pub fn try_get(&self, path: &str) -> Option<Value> {
        let url = format!("http://{}{path}", self.handshake()?.rest);
        let mut answer = agent().get(&url).call().ok()?;
        serde_json::from_reader(answer.body_mut().as_reader()).ok()
    }

    /// Asks `/jobs/J` + `path`.
    ///
    /// # Panics
    ///
    /// If there is no answer.
    pub fn job(&self, path: &str) -> Value {
        let handshake = self.handshake().expect("the job is up");
        self.try_get(&format!("/jobs/{}{path}", handshake.job_id))
            .unwrap_or_else(|| panic!("no answer to {path}:\n{}", tail(&self.log())))
    }

    /// Posts to `/jobs/J` + `path`.
    pub fn try_post(&self, path: &str, body: &Value) -> Option<Value> {
        let handshake = self.handshake()?;
        let url = format!("http://{}/jobs/{}{path}", handshake.rest, handshake.job_id);
        let mut answer = agent().post(&url).send(body.to_string()).ok()?;
        serde_json::from_reader(answer.body_mut().as_reader()).ok()
    }

    /// Puts something below the job; returns code and answer.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn put(&self, path: &str, body: &Value) -> (u16, Value) {
        let handshake = self.handshake().expect("the job runs");
        let url = format!("http://{}/jobs/{}{path}", handshake.rest, handshake.job_id);
        put(&url, body)
    }

    /// Cancels the job.
    pub fn cancel(&self) {
        let Some(handshake) = self.handshake() else {
            return;
        };
        let url = format!("http://{}/jobs/{}", handshake.rest, handshake.job_id);
        // The job may just have ended.
        let _ = agent().patch(&url).send("");
    }

    /// Starts a savepoint and returns the id of the operation, `None` if the job does not answer.
    pub fn trigger_savepoint(&self) -> Option<String> {
        let answer = self.try_post("/savepoints", &json!({ "cancel-job": false }))?;
        answer["request-id"].as_str().map(str::to_owned)
    }

    /// Starts a savepoint behind which the job is cancelled.
    pub fn trigger_cancel_with_savepoint(&self) -> Option<String> {
        let answer = self.try_post("/savepoints", &json!({ "cancel-job": true }))?;
        answer["request-id"].as_str().map(str::to_owned)
    }

    /// Starts a stop with savepoint.
    pub fn trigger_stop(&self, drain: bool) -> Option<String> {
        let answer = self.try_post("/stop", &json!({ "drain": drain }))?;
        answer["request-id"].as_str().map(str::to_owned)
    }

    /// Waits for a savepoint; `None` if the job ends meanwhile.
    pub fn savepoint_result(&mut self, trigger: &str) -> Option<Result<String, String>> {
        wait_for("a savepoint", || {
            let handshake = self.handshake()?;
            let path = format!("/jobs/{}/savepoints/{trigger}", handshake.job_id);
            match self.try_get(&path) {
                Some(answer) if answer["status"]["id"] == "COMPLETED" => {
                    let operation = &answer["operation"];
                    Some(Some(match operation["location"].as_str() {
                        Some(location) => Ok(location.to_owned()),
                        None => Err(operation["failure-cause"].to_string()),
                    }))
                }
                Some(_) => None,
                None if self.has_ended().is_some() => Some(None),
                None => None,
            }
        })
    }

    /// Takes a savepoint and returns its path.
    ///
    /// # Panics
    ///
    /// If it fails.
    pub fn savepoint(&mut self) -> String {
        let trigger = self.trigger_savepoint().expect("the job answers");
        self.expect_savepoint(&trigger)
    }

    /// Stops with a savepoint, waits for the end and returns the path.
    ///
    /// # Panics
    ///
    /// If it fails.
    pub fn stop(&mut self, drain: bool) -> String {
        self.stop_as(&json!({ "drain": drain }))
    }

    /// As [`stop`](Self::stop), with this request.
    ///
    /// # Panics
    ///
    /// If it fails.
    pub fn stop_as(&mut self, request: &Value) -> String {
        let answer = self.try_post("/stop", request).expect("the job answers");
        let trigger = answer["request-id"].as_str();
        let trigger = trigger.unwrap_or_else(|| panic!("{answer}")).to_owned();
        let path = self.expect_savepoint(&trigger);
        self.finished();
        path
    }

    fn expect_savepoint(&mut self, trigger: &str) -> String {
        match self.savepoint_result(trigger) {
            Some(Ok(path)) => path,
            Some(Err(why)) => panic!("the savepoint failed: {why}\n{}", tail(&self.log())),
            None => panic!("the job ended before its savepoint:\n{}", tail(&self.log())),
        }
    }

    /// Waits until `count` checkpoints have completed in this process.
    ///
    /// # Panics
    ///
    /// If they do not in [`PATIENCE`], with the end of the log.
    pub fn wait_for_checkpoints(&mut self, count: u64) {
        self.ready();
        let completed = polled(|| {
            if self.has_ended().is_some() {
                panic!("the job ended before:\n{}", tail(&self.log()));
            }
            (self.completed_checkpoints()? >= count).then_some(())
        });
        completed.unwrap_or_else(|| {
            let log = tail(&self.log());
            panic!("waited {PATIENCE:?} for {count} checkpoints:\n{log}")
        });
    }

    /// How many checkpoints and savepoints have failed.
    ///
    /// # Panics
    ///
    /// If the job does not answer.
    pub fn failed_checkpoints(&self) -> u64 {
        let counts = &self.job("/checkpoints")["counts"];
        counts["failed"].as_u64().expect("a number")
    }

    /// How often an attempt of the job has failed, 16 at most.
    ///
    /// # Panics
    ///
    /// If the job does not answer.
    pub fn failed_attempts(&self) -> usize {
        let exceptions = self.job("/exceptions");
        let entries = exceptions["exceptionHistory"]["entries"].as_array();
        entries.expect("a list").len()
    }

    /// Records that all subtasks have taken.
    ///
    /// # Panics
    ///
    /// If the job does not answer.
    pub fn records(&self) -> u64 {
        let job = self.job("");
        let vertices = job["vertices"].as_array().expect("a list").clone();
        let read = vertices
            .iter()
            .map(|vertex| vertex["metrics"]["read-records"].as_u64().unwrap_or(0));
        read.sum()
    }

    /// How many checkpoints and savepoints have completed.
    pub fn completed_checkpoints(&self) -> Option<u64> {
        let handshake = self.handshake()?;
        let answer = self.try_get(&format!("/jobs/{}/checkpoints", handshake.job_id))?;
        answer["counts"]["completed"].as_u64()
    }
}

impl Drop for JobProcess {
    fn drop(&mut self) {
        if self.has_ended().is_none() {
            // Whatever is left is reaped.
            let _ = self.child.kill();
            let _ = self.child.wait();
            processes_of(&self.directory)
                .into_iter()
                .for_each(kill_process);
        }
    }
}

/// The last lines of a log.
pub fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

pub(crate) fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(30)))
        .build();
    config.into()
}

/// Puts something; returns code and answer.
///
/// # Panics
///
/// If there is none.
pub(crate) fn put(url: &str, body: &Value) -> (u16, Value) {
    let answer = agent().put(url).send(body.to_string());
    let mut answer = answer.expect("an answer");
    let code = answer.status().as_u16();
    let body = serde_json::from_reader(answer.body_mut().as_reader()).expect("JSON");
    (code, body)
}

/// Kills a process of ours with SIGKILL.
///
/// # Panics
///
/// If there is no command `kill`.
pub fn kill_process(pid: u32) {
    signal(pid, "-KILL");
}

/// Asks a process of ours to end, with SIGTERM.
///
/// # Panics
///
/// If there is no command `kill`.
pub fn ask_to_end(pid: u32) {
    signal(pid, "-TERM");
}

/// Lets a process of ours stand still for `time`.
///
/// # Panics
///
/// If there is no command `kill`.
pub fn pause_process(pid: u32, time: Duration) {
    stop_process(pid);
    std::thread::sleep(time);
    continue_process(pid);
}

/// Lets a process of ours stand still.
///
/// # Panics
///
/// If there is no command `kill`.
pub fn stop_process(pid: u32) {
    signal(pid, "-STOP");
}

/// Lets a process of ours go on that stood still.
///
/// # Panics
///
/// If there is no command `kill`.
pub fn continue_process(pid: u32) {
    signal(pid, "-CONT");
}

fn signal(pid: u32, signal: &str) {
    // It may have ended already.
    Command::new("kill")
        .args([signal, &pid.to_string()])
        .stderr(Stdio::null())
        .status()
        .expect("there is a command \"kill\"");
}
