//! `millpond run`: starts a program and tells what becomes of its job.
//!
//! The program is a process of its own. It tells its job's id and address, and later the job's end,
//! in a [`Handshake`]. Attached, its output is passed through, signals are passed on to it and its
//! exit code is handed on. Detached, it is left alone as soon as it has told its job's id; its
//! output goes to a file.

use std::fs::File;
use std::io::IsTerminal;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use millpond_types::config::{Handshake, READY_FILE_VARIABLE, options};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use crate::arguments::{self, Parsed, flag};
use crate::failure::Failure;
use crate::plan::{Approval, Decision};
use crate::yarn::Target;
use crate::{plan, printer, program, remote_run, yarn};

/// Pauses between two looks at the process; each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// How much of a detached program's output is told when it fails to start, in lines.
const LINES_TOLD: usize = 20;

fn command() -> clap::Command {
    program::options(arguments::action("run", "Starts a program"))
        .override_usage("millpond run [OPTIONS] <PROGRAM> [ARGUMENTS]...")
        .arg(
            flag("detached")
                .short('d')
                .alias("yd")
                .help("Leaves the program alone as soon as its job has been accepted"),
        )
        .arg(Approval::option())
        .arg(flag("shutdownOnAttachedExit").alias("sae").hide(true))
        .args(yarn::options())
}

/// Runs the action.
pub(crate) fn run(given: &[String]) -> Result<ExitCode, Failure> {
    let (parsed, started) = arguments::parse_until_program(command(), given)?;
    let Parsed::Matches(matches) = parsed else {
        return Ok(ExitCode::SUCCESS);
    };
    if matches.contains_id("restoreMode") {
        printer::line("The option 'restoreMode' is deprecated. Please use 'claimMode' instead.");
    }
    let mut configuration = program::configuration(&matches)?;
    for unknown in configuration
        .unknown_keys()
        .into_iter()
        .filter(|key| key.meant.is_some())
    {
        printer::error_line(format!("warning: {unknown}"));
    }
    if let Some(approval) = Approval::of(&matches) {
        let plan = plan::of(started, &configuration, false)?;
        plan::show(&plan);
        match approval.decide(&plan) {
            Decision::Start => {}
            Decision::StartAndLeaveBehind => {
                configuration.set_option(&options::IGNORE_UNCLAIMED_STATE, &true);
            }
            Decision::Refuse(code) => return Ok(ExitCode::from(code)),
        }
    }
    let all = arguments::over_the_file(&configuration)?;
    if !matches.contains_id("jobmanager") {
        arguments::check_target(&all)?;
    }
    match yarn::target(&matches, &configuration, &all)? {
        Some(Target::New) if !yarn::is_session(&matches, &all)? => {
            return yarn::run(&matches, started, &configuration);
        }
        Some(_) => return remote_run::run(&matches, started, &configuration),
        None => {}
    }
    if remote_run::is_wanted(&matches, &all)? {
        return remote_run::run(&matches, started, &configuration);
    }
    let directory = tempfile::Builder::new()
        .prefix("millpond-run-")
        .tempdir()
        .map_err(|error| {
            Failure::action(error.to_string()).during("No temporary directory for the program.")
        })?;
    let ready_file = directory.path().join("ready.json");
    let mut command = program::command(started, &configuration)?;
    command.env(READY_FILE_VARIABLE, &ready_file);
    match matches.get_flag("detached") {
        true => run_detached(command, started, &ready_file),
        false => run_attached(command, started, &ready_file),
    }
}

/// What the program has told so far; `None` before it has told anything.
fn handshake(ready_file: &Path) -> Option<Handshake> {
    let bytes = std::fs::read(ready_file).ok()?;
    serde_json::from_slice(&bytes).ok()
}

fn tell_submitted(handshake: &Handshake) {
    printer::line(format!(
        "Job has been submitted with JobID {}",
        handshake.job_id
    ));
    printer::line(format!(
        "Web interface listening at {}.",
        handshake.rest_url()
    ));
}

/// Pauses that grow.
struct Pauses(Duration);

impl Pauses {
    fn pause(&mut self) {
        std::thread::sleep(self.0);
        self.0 = (self.0 * 2).min(LONGEST_PAUSE);
    }
}

fn run_attached(
    mut command: Command,
    started: &[String],
    ready_file: &Path,
) -> Result<ExitCode, Failure> {
    // First, as the program may tell that it runs, and this process be sent a signal, at once.
    let signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(|error| {
        Failure::action(error.to_string()).during("Signals cannot be passed on.")
    })?;
    let child = command
        .spawn()
        .map_err(|error| program::not_started(started, &error))?;
    let process = Arc::new(RunningProcess(Mutex::new(child)));
    let forwarding = forward(signals, process.clone());
    let mut told: Option<Instant> = None;
    let mut pauses = Pauses(FIRST_PAUSE);
    let status = loop {
        if told.is_none()
            && let Some(handshake) = handshake(ready_file)
        {
            tell_submitted(&handshake);
            told = Some(Instant::now());
        }
        if let Some(status) = process.ended()? {
            break status;
        }
        pauses.pause();
    };
    forwarding.close();
    let ended = handshake(ready_file);
    if told.is_none()
        && let Some(handshake) = &ended
    {
        tell_submitted(handshake);
    }
    if let Some(fallbacks) = ended.as_ref().and_then(|handshake| handshake.fallbacks) {
        printer::error_line(format!(
            "warning: the job has gone back to an older snapshot {fallbacks} times, as newer ones were \
             damaged; its log tells which"
        ));
    }
    let failure = ended
        .as_ref()
        .and_then(|handshake| handshake.failure.clone());
    match (ended, status.code()) {
        (Some(handshake), Some(0)) => {
            printer::line("Program execution finished");
            let ended = match handshake.status.as_deref() {
                Some("CANCELED") => "been cancelled",
                _ => "finished",
            };
            printer::line(format!("Job with JobID {} has {ended}.", handshake.job_id));
            let measured = told.map(|since| since.elapsed().as_millis() as u64);
            if let Some(runtime_ms) = handshake.runtime_ms.or(measured) {
                printer::line(format!("Job Runtime: {runtime_ms} ms"));
            }
            Ok(ExitCode::SUCCESS)
        }
        (_, Some(0)) => {
            printer::line("Program execution finished");
            Ok(ExitCode::SUCCESS)
        }
        (_, code) => {
            let mut causes = vec![match (code, status.signal()) {
                (Some(code), _) => format!("The program ended with exit code {code}."),
                (None, Some(signal)) => format!("The program was ended by signal {signal}."),
                (None, None) => "The program ended without an exit code.".to_owned(),
            }];
            causes.extend(failure);
            Failure::Action(causes).tell();
            let code = code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
            Ok(ExitCode::from(code))
        }
    }
}

/// A process that is asked for its end and sent signals by two threads.
///
/// Both happen under one lock: a signal never goes to a process that has been reaped, whose id may
/// belong to another one by then.
struct RunningProcess(Mutex<Child>);

impl RunningProcess {
    fn ended(&self) -> Result<Option<ExitStatus>, Failure> {
        let mut child = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        child.try_wait().map_err(|error| {
            Failure::action(error.to_string()).during("The program cannot be waited for.")
        })
    }

    fn send(&self, signal: Signal) {
        let mut child = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Ok(None), Ok(id)) = (child.try_wait(), i32::try_from(child.id()))
            && let Some(pid) = Pid::from_raw(id)
        {
            // The only failure left is that the process ends just now, which is what is wanted.
            kill_process(pid, signal).ok();
        }
    }
}

/// Passes on what would end this process.
///
/// Ctrl-C on a terminal reaches the program by itself, because it is in the same process group: it
/// must not get it twice.
fn forward(mut signals: Signals, process: Arc<RunningProcess>) -> Handle {
    let handle = signals.handle();
    let on_terminal = std::io::stdin().is_terminal();
    std::thread::spawn(move || {
        for signal in signals.forever() {
            match signal {
                SIGINT if !on_terminal => process.send(Signal::INT),
                SIGINT => {}
                SIGHUP => process.send(Signal::HUP),
                _ => process.send(Signal::TERM),
            }
        }
    });
    handle
}

fn run_detached(
    mut command: Command,
    started: &[String],
    ready_file: &Path,
) -> Result<ExitCode, Failure> {
    let (log, log_path) = log_file(started)?;
    let no_log = |error: std::io::Error| {
        Failure::action(error.to_string()).during("No file for the output.")
    };
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(no_log)?)
        .stderr(log)
        // Ctrl-C in this terminal is not meant for it.
        .process_group(0);
    let mut child = command
        .spawn()
        .map_err(|error| program::not_started(started, &error))?;
    let mut pauses = Pauses(FIRST_PAUSE);
    loop {
        if let Some(handshake) = handshake(ready_file) {
            tell_submitted(&handshake);
            printer::line(format!("Output goes to {}", log_path.display()));
            return match handshake.failure {
                Some(failure) => Err(Failure::action(failure)
                    .during(format!("Job {} has failed.", handshake.job_id))),
                None => Ok(ExitCode::SUCCESS),
            };
        }
        let ended = child.try_wait().map_err(|error| {
            Failure::action(error.to_string()).during("The program cannot be waited for.")
        })?;
        if let Some(status) = ended {
            // It may have told and ended since the look at the file.
            if handshake(ready_file).is_some() {
                continue;
            }
            let output = last_lines(&log_path);
            return Err(Failure::Action(vec![
                format!("The program ended before its job was accepted: {status}."),
                format!("its output in {} ends with:\n{output}", log_path.display()),
            ]));
        }
        pauses.pause();
    }
}

/// A new file for the output of a detached program, in the directory for temporary files.
fn log_file(started: &[String]) -> Result<(File, PathBuf), Failure> {
    let name = started
        .first()
        .and_then(|executable| Path::new(executable).file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    tempfile::Builder::new()
        .prefix(&format!("millpond-{name}-"))
        .suffix(".log")
        .tempfile()
        .and_then(|file| file.keep().map_err(|error| error.error))
        .map_err(|error| Failure::action(error.to_string()).during("No file for the output."))
}

fn last_lines(path: &Path) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES_TOLD)..].join("\n")
}
