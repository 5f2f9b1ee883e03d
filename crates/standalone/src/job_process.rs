//! The process of a job's master: the job's executable, started by the job manager.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use millpond_cluster::JobManagerAddress;
use millpond_types::config::{
    CONFIGURATION_VARIABLE, Configuration, INFO_VARIABLE, JOB_MANAGER_VARIABLE,
};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::worker_child::spawn;

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// How much of its output is told when it fails to start, in lines.
const LINES_TOLD: usize = 20;

/// How long a program has to tell its plan.
const PLAN_TIMEOUT: Duration = Duration::from_secs(60);

/// How long the last of its output may take behind its end.
const OUTPUT_TIMEOUT: Duration = Duration::from_secs(1);

/// How much of it is taken.
const MAX_PLAN_BYTES: u64 = 16 << 20;

/// A program with what it is to run with.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// Its id among those that were uploaded.
    pub(crate) id: String,
    /// The executable.
    pub(crate) path: PathBuf,
    /// Its arguments.
    pub(crate) arguments: Vec<String>,
    /// Its options.
    pub(crate) configuration: Configuration,
}

impl Program {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command
            .args(&self.arguments)
            .env(CONFIGURATION_VARIABLE, self.configuration.to_environment())
            .stdin(Stdio::null());
        command
    }

    /// The plan of its job, as JSON.
    ///
    /// # Errors
    ///
    /// It cannot be started, or fails; what it said.
    pub(crate) fn plan(&self) -> Result<String, String> {
        self.plan_within(PLAN_TIMEOUT)
    }

    /// A program may have no plan and go on: then it is ended.
    fn plan_within(&self, timeout: Duration) -> Result<String, String> {
        let mut command = self.command();
        command
            .env(INFO_VARIABLE, "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let not_started = |error: io::Error| format!("it cannot be started: {error}");
        let mut child = spawn(&mut command).map_err(not_started)?;
        let plan = read_some(child.stdout.take());
        let said = read_some(child.stderr.take());
        let ended = ends_within(&child, timeout);
        // Whatever it has started holds its output open. It is not waited for yet: its id is that of no other one.
        // All but it may have ended already.
        let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
        let status = child.wait().map_err(|error| error.to_string())?;
        if !ended {
            return Err(format!(
                "it has not told it within {timeout:?} and was ended"
            ));
        }
        let text = |reader: Receiver<Vec<u8>>| {
            // Who has left the group may hold it open still.
            let bytes = reader.recv_timeout(OUTPUT_TIMEOUT).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let (plan, said) = (text(plan), text(said));
        match status.success() {
            true => Ok(plan),
            false => Err(format!("it ended with {status}: {said}")),
        }
    }
}

/// Whether a process ends within this time. It stays to be waited for.
fn ends_within(child: &Child, timeout: Duration) -> bool {
    let deadline = Instant::now() + timeout;
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let pid = Pid::from_child(child);
    loop {
        match waitid(WaitId::Pid(pid), options) {
            Ok(Some(_)) => return true,
            Ok(None) | Err(Errno::INTR) if Instant::now() < deadline => std::thread::sleep(LOOK),
            Ok(None) | Err(_) => return false,
        }
    }
}

/// Reads the begin of what comes; the rest is not taken.
fn read_some(output: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, bytes) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let output = output.map(|output| output.take(MAX_PLAN_BYTES));
        // What has come is told, if somebody still waits for it.
        let _ = output.map(|mut output| output.read_to_end(&mut bytes));
        let _ = sender.send(bytes);
    });
    bytes
}

/// How the process of a master has ended.
#[derive(Clone, Debug)]
pub(crate) struct ProcessEnd {
    is_success: bool,
    how: String,
}

impl ProcessEnd {
    fn of(waited: io::Result<ExitStatus>) -> Self {
        ProcessEnd {
            is_success: waited.as_ref().is_ok_and(ExitStatus::success),
            how: waited.map_or_else(|error| error.to_string(), |status| status.to_string()),
        }
    }

    /// Whether the program says that all went well.
    pub(crate) fn is_success(&self) -> bool {
        self.is_success
    }
}

impl fmt::Display for ProcessEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.how)
    }
}

/// A running master.
#[derive(Clone)]
pub(crate) struct JobProcess {
    child: Arc<Mutex<Child>>,
    log: PathBuf,
}

impl JobProcess {
    /// Starts it. Its output goes to `log`; `ended` hears how it has ended.
    pub(crate) fn start(
        program: &Program,
        job_manager: &JobManagerAddress,
        log: PathBuf,
        ended: impl FnOnce(ProcessEnd) + Send + 'static,
    ) -> io::Result<Self> {
        let output = File::options().create(true).append(true).open(&log)?;
        let mut command = program.command();
        command
            .env(JOB_MANAGER_VARIABLE, job_manager.to_environment())
            .stdout(output.try_clone()?)
            .stderr(output)
            // A Ctrl-C is meant for the job manager, whose end it follows.
            .process_group(0);
        let child = spawn(&mut command)?;
        let process = JobProcess {
            child: Arc::new(Mutex::new(child)),
            log,
        };
        let looked_at = process.clone();
        std::thread::Builder::new()
            .name("job-process".to_owned())
            .spawn(move || {
                let waited = loop {
                    if let Some(waited) = looked_at.lock().try_wait().transpose() {
                        break waited;
                    }
                    std::thread::sleep(LOOK);
                };
                ended(ProcessEnd::of(waited));
            })?;
        Ok(process)
    }

    fn lock(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it, if it lives.
    pub(crate) fn kill(&self) {
        // It may have ended already.
        let _ = self.lock().kill();
    }

    /// Waits until it has ended.
    pub(crate) fn wait(&self) {
        // It may be known to have ended already.
        let _ = self.lock().wait();
    }

    /// Where its output is.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// The end of its output.
    pub(crate) fn last_words(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES_TOLD)..].join("\n")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn plan_of(script: &str, timeout: Duration) -> Result<String, String> {
        let place = tempfile::tempdir().expect("room");
        let path = place.path().join("program");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("room");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&path, mode).expect("its owner");
        let program = Program {
            id: "program".to_owned(),
            path,
            arguments: Vec::new(),
            configuration: Configuration::new(),
        };
        program.plan_within(timeout)
    }

    #[test]
    fn a_program_that_has_no_plan_is_ended() {
        let patience = Duration::from_secs(60);
        assert_eq!(plan_of("echo plan", patience), Ok("plan\n".to_owned()));
        let failed = plan_of("echo no >&2; exit 3", patience).expect_err("failed");
        assert_eq!(failed, "it ended with exit status: 3: no\n");
        // Nor does it stay by way of a process that it has started.
        let short = Duration::from_millis(500);
        for endless in ["sleep 1000", "sleep 1000 & wait"] {
            let ended = plan_of(endless, short).expect_err("no plan");
            assert_eq!(ended, "it has not told it within 500ms and was ended");
        }
        // It tells more than anybody wants to read, and is cut off.
        let cut_off = plan_of("yes", patience).expect_err("no plan");
        assert!(cut_off.starts_with("it ended with"), "{cut_off}");
        let left = plan_of("sleep 1000 & echo plan", patience);
        assert_eq!(left, Ok("plan\n".to_owned()));
    }

    /// It holds the output open for 20 s.
    #[test]
    fn what_has_left_the_group_of_a_program_is_not_waited_for() {
        let begin = Instant::now();
        let script = "setsid sleep 20 & sleep 0.2; echo plan";
        let plan = plan_of(script, Duration::from_secs(60));
        assert!(
            plan.is_ok() && begin.elapsed() < Duration::from_secs(20),
            "{plan:?}"
        );
    }
}
