//! The process of a job's master: the job's executable, started by the job manager.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millpond_cluster::JobManagerAddress;
use millpond_types::config::{
    CONFIGURATION_VARIABLE, Configuration, INFO_VARIABLE, JOB_MANAGER_VARIABLE,
};

use crate::worker_child::spawn;

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// How much of its output is told when it fails to start, in lines.
const LINES_TOLD: usize = 20;

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
        let mut command = self.command();
        command.env(INFO_VARIABLE, "1");
        let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = spawn(piped).and_then(Child::wait_with_output);
        let output = output.map_err(|error| format!("it cannot be started: {error}"))?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                Err(format!("it ended with {}: {said}", output.status))
            }
        }
    }
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
