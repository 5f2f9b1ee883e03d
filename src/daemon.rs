//! Job managers and task managers of this machine that run in the background.
//!
//! ```text
//! <env.pid.dir>/jobmanager.pids     one line for each: its process id, when that began, its number
//! <env.log.dir>/jobmanager-1.log    what it logs
//! <env.log.dir>/jobmanager-1.out    what it says; both are begun anew by the next one of that number
//! ```
//!
//! A process id alone may be somebody else's by now; together with the time at which the process began it
//! is not. So nothing is ever stopped that was not started here.

mod pid_file;

use std::fs::{DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use millpond_types::config::{Configuration, options};
use rustix::process::{Pid, Signal, getuid, kill_process};

use crate::failure::Failure;
use crate::printer;
use pid_file::{Entry, PidFile};

/// How often it is looked whether a process is ready, or gone.
const LOOK: Duration = Duration::from_millis(20);

/// For how long it is waited until a process is gone that was asked to end; then it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// How much of a log is told when its process fails to start, in lines.
const LINES_TOLD: usize = 20;

/// What runs in the background.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    JobManager,
    TaskManager,
}

impl Role {
    /// The action that is this.
    pub(crate) fn action(self) -> &'static str {
        match self {
            Role::JobManager => "jobmanager",
            Role::TaskManager => "taskmanager",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Role::JobManager => "job manager",
            Role::TaskManager => "task manager",
        }
    }

    /// How a line begins that it says when it is ready.
    fn ready(self) -> &'static [&'static str] {
        match self {
            Role::JobManager => &["Web interface listening at ", "Another job manager leads"],
            Role::TaskManager => &["Task manager "],
        }
    }

    /// For how long it is waited for that, and whether it is a failure if it does not come.
    fn patience(self) -> (Duration, bool) {
        match self {
            Role::JobManager => (Duration::from_secs(60), true),
            // Its job manager may come later.
            Role::TaskManager => (Duration::from_secs(10), false),
        }
    }
}

/// Those of this machine.
pub(crate) struct Daemons {
    pids: PathBuf,
    logs: PathBuf,
    /// Options that are handed on.
    pairs: Vec<String>,
}

impl Daemons {
    /// Those that are noted where the configuration says; what is started has the options `pairs`.
    pub(crate) fn open(configuration: &Configuration, pairs: Vec<String>) -> Result<Self, Failure> {
        let pids = configuration.get(&options::PID_DIRECTORY)?;
        let logs = configuration.get(&options::LOG_DIRECTORY)?;
        let own = || own_directory(&std::env::temp_dir());
        let place = |configured: Option<String>| match configured {
            Some(directory) => std::fs::create_dir_all(&directory)
                .map(|()| PathBuf::from(&directory))
                .map_err(|error| {
                    Failure::action(error.to_string()).during(format!("\"{directory}\""))
                }),
            None => own(),
        };
        Ok(Daemons {
            pids: place(pids)?,
            logs: place(logs)?,
            pairs,
        })
    }

    /// Starts one more.
    pub(crate) fn start(&self, role: Role) -> Result<ExitCode, Failure> {
        let file = self.pid_file(role)?;
        self.start_one(role, file).map(|()| ExitCode::SUCCESS)
    }

    /// Starts as many as are missing to `total`.
    pub(crate) fn start_missing(&self, role: Role, total: u32) -> Result<ExitCode, Failure> {
        let file = self.pid_file(role)?;
        let running = file.entries().to_vec();
        // Whoever else starts some meanwhile starts too many: it is a person's command.
        drop(file);
        for entry in &running {
            let (name, pid) = (role.name(), entry.pid);
            printer::line(format!("A {name} is running already (process {pid})."));
        }
        for _ in running.len()..total as usize {
            self.start_one(role, self.pid_file(role)?)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Where a job manager that runs on this machine says that it listens for task managers.
    pub(crate) fn job_manager_address(&self) -> Result<Option<String>, Failure> {
        let file = self.pid_file(Role::JobManager)?;
        let outputs = file.entries().iter();
        let outputs = outputs.map(|entry| self.log(Role::JobManager, entry.number, "out"));
        let begin = "Job manager listening at ";
        let line = outputs.filter_map(|out| said(&out, &[begin])).next();
        let address = line.as_deref().and_then(|line| line.strip_prefix(begin));
        Ok(address.map(|address| address.trim_end_matches('.').to_owned()))
    }

    fn start_one(&self, role: Role, mut file: PidFile) -> Result<(), Failure> {
        let number = file.free_number();
        let (log, out) = (self.log(role, number, "log"), self.log(role, number, "out"));
        let name = role.name();
        let not_started = |error: std::io::Error| {
            Failure::action(error.to_string()).during(format!("The {name} cannot be started."))
        };
        let executable = std::env::current_exe().map_err(not_started)?;
        let mut command = Command::new(executable);
        command.arg(role.action());
        for pair in &self.pairs {
            command.arg("-D").arg(pair);
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(File::create(&out).map_err(not_started)?)
            .stderr(File::create(&log).map_err(not_started)?)
            // A Ctrl-C is not meant for it.
            .process_group(0)
            .spawn()
            .map_err(not_started)?;
        let pid = child.id();
        file.add(pid, number).map_err(not_started)?;
        // Others may go on while this one is waited for.
        drop(file);
        let (patience, is_needed) = role.patience();
        let deadline = Instant::now() + patience;
        loop {
            if let Some(line) = said(&out, role.ready()) {
                printer::line(format!(
                    "Started a {name} (process {pid}, log {}). {line}",
                    log.display()
                ));
                return Ok(());
            }
            if let Some(status) = child.try_wait().map_err(not_started)? {
                // Its line in the file is that of a process that has ended.
                return Err(Failure::Action(vec![
                    format!("The {name} cannot be started."),
                    format!(
                        "it ended ({status}); its log is {} and ends with:\n{}",
                        log.display(),
                        last_lines(&log)
                    ),
                ]));
            }
            if Instant::now() >= deadline {
                let text = format!(
                    "the {name} (process {pid}) is not ready after {} s; see its log {}",
                    patience.as_secs(),
                    log.display()
                );
                if is_needed {
                    return Err(Failure::action(text));
                }
                printer::line(format!("Started a {name}: {text}"));
                return Ok(());
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Stops the one that was started last.
    pub(crate) fn stop_latest(&self, role: Role) -> Result<ExitCode, Failure> {
        let mut file = self.pid_file(role)?;
        match file.entries().last().copied() {
            Some(entry) => self.stop(role, &mut file, &[entry]),
            None => self.stop(role, &mut file, &[]),
        }
    }

    /// Stops all.
    pub(crate) fn stop_all(&self, role: Role) -> Result<ExitCode, Failure> {
        let mut file = self.pid_file(role)?;
        let all = file.entries().to_vec();
        self.stop(role, &mut file, &all)
    }

    fn stop(&self, role: Role, file: &mut PidFile, which: &[Entry]) -> Result<ExitCode, Failure> {
        let name = role.name();
        if which.is_empty() {
            printer::line(format!("No {name} is running on this machine."));
        }
        for entry in which {
            // One that ended meanwhile is what is wanted.
            let _ = signal(*entry, Signal::TERM);
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        for entry in which {
            let pid = entry.pid;
            let mut how = "Stopped";
            while entry.is_running() {
                if Instant::now() >= deadline {
                    // As above.
                    let _ = signal(*entry, Signal::KILL);
                    how = "Killed, as it did not end by itself,";
                }
                std::thread::sleep(LOOK);
            }
            printer::line(format!("{how} a {name} (process {pid})."));
        }
        file.write().map_err(|error| {
            Failure::action(error.to_string()).during(format!("\"{}\"", self.pids.display()))
        })?;
        Ok(ExitCode::SUCCESS)
    }

    fn pid_file(&self, role: Role) -> Result<PidFile, Failure> {
        let path = self.pids.join(format!("{}.pids", role.action()));
        PidFile::open(&path).map_err(|error| {
            Failure::action(error.to_string()).during(format!("\"{}\"", path.display()))
        })
    }

    fn log(&self, role: Role, number: u32, end: &str) -> PathBuf {
        self.logs.join(format!("{}-{number}.{end}", role.action()))
    }
}

fn signal(entry: Entry, signal: Signal) -> std::io::Result<()> {
    let pid = i32::try_from(entry.pid).ok().and_then(Pid::from_raw);
    match pid {
        Some(pid) if entry.is_running() => kill_process(pid, signal).map_err(Into::into),
        _ => Ok(()),
    }
}

/// A directory of this user alone below `place`, where everybody may make some.
fn own_directory(place: &Path) -> Result<PathBuf, Failure> {
    let user = getuid().as_raw();
    let path = place.join(format!("millpond-{user}"));
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
    let found = made.and_then(|()| path.symlink_metadata());
    let found = found.map_err(|error| {
        Failure::action(error.to_string()).during(format!("\"{}\"", path.display()))
    })?;
    match found.is_dir() && found.uid() == user {
        true => Ok(path),
        false => Err(Failure::action(format!(
            "\"{}\" is somebody else's; set {} and {}",
            path.display(),
            options::PID_DIRECTORY.key(),
            options::LOG_DIRECTORY.key()
        ))),
    }
}

/// The first whole line that begins with one of these.
fn said(out: &Path, begins: &[&str]) -> Option<String> {
    let text = std::fs::read_to_string(out).unwrap_or_default();
    let (whole, _) = text.rsplit_once('\n')?;
    let is_one = |line: &&str| begins.iter().any(|begin| line.starts_with(begin));
    whole.lines().find(is_one).map(str::to_owned)
}

fn last_lines(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES_TOLD)..].join("\n")
}
