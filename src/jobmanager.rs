//! `millpond jobmanager`: the job manager of a cluster, with REST; also that of a cluster for one job.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use millpond_standalone::{Application, Begun, JobManagerService, Mode, Outcome, Preparation};
use millpond_types::config::{Configuration, options};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::daemon::Role;
use crate::failure::Failure;
use crate::{printer, service};

/// The exit code of a cluster whose only job has failed: the last byte of Flink's, 1443.
const APPLICATION_FAILED: u8 = 163;

/// The exit code of a cluster that is asked to end before its only job has: nobody may take that for the
/// end of the job. As a process that SIGTERM ends, in Flink too.
const APPLICATION_ASKED: u8 = 143;

/// How often it is looked whether the job of a cluster that ends with it has ended.
const LOOK: Duration = Duration::from_millis(100);

/// Runs the action.
pub(crate) fn run(given: &[String]) -> Result<ExitCode, Failure> {
    let about = "Runs the job manager of a cluster, until it is ended";
    service::run(Role::JobManager, about, given, |configuration| {
        serve(configuration, None)
    })
}

/// Why a job manager ends that has started.
enum End {
    /// By a signal.
    Asked,
    /// It leads no more; why, for people.
    Lost(String),
    /// Its application has not become a job; why, for people.
    NotBegun(String),
    /// Its jobs have ended.
    Done(Outcome),
}

/// Serves until it is ended; a cluster for this application until its job has ended, if there is one.
pub(crate) fn serve(
    configuration: &Configuration,
    application: Option<Application>,
) -> Result<ExitCode, Failure> {
    let ends_with_jobs = match application {
        Some(_) => configuration.get(&options::SHUTDOWN_ON_APPLICATION_FINISH)?,
        None => configuration.get(&options::CLUSTER_ENDS_WITH_JOB)?,
    };
    let mode = match application {
        Some(_) => Mode::Application,
        None => Mode::Session,
    };
    let linger = configuration.get(&options::REST_LINGER)?;
    let most = linger + configuration.get(&options::CLIENT_TIMEOUT)?;
    let (tell, ends) = channel();
    let leads = Arc::new(AtomicBool::new(false));
    let asked = match mode {
        Mode::Session => 0,
        Mode::Application => APPLICATION_ASKED,
    };
    hear_signals(tell.clone(), Arc::clone(&leads), asked)
        .map_err(|error| Failure::action(error.to_string()).during("Signals cannot be heard."))?;
    let running = JobManagerService::start(
        configuration,
        mode,
        || printer::line("Another job manager leads: standing by."),
        || leads.store(true, Ordering::SeqCst),
    )
    .map_err(|why| Failure::action(why).during("The job manager cannot be started."))?;
    printer::line(format!("Job manager listening at {}.", running.address()));
    printer::line(format!(
        "Web interface listening at {}.",
        running.rest_url()
    ));
    let lost = tell.clone();
    let watches = running.watch(move |why| {
        // Without anybody who hears it this process ends for another reason.
        let _ = lost.send(End::Lost(why));
    });
    watches.map_err(|error| {
        Failure::action(error.to_string()).during("The leadership cannot be watched.")
    })?;
    if let Some(application) = application {
        begin(running.prepare(application), tell);
    }
    let end = match ends_with_jobs {
        true => wait_for_jobs(&running, &ends, linger, most),
        // An error is the end of all who could tell.
        false => ends.recv().unwrap_or(End::Asked),
    };
    let end = match (end, running.outcome()) {
        // It has only told of its end until now, and must not be started again for that.
        (End::Asked, Some(outcome)) if mode == Mode::Application => End::Done(outcome),
        (end, _) => end,
    };
    let outcome = match end {
        End::Done(outcome) => Some(outcome),
        End::Asked | End::Lost(_) | End::NotBegun(_) => None,
    };
    let code = match end {
        End::Lost(why) => {
            return Err(
                Failure::action(why).during("This job manager leads no more and has ended.")
            );
        }
        End::NotBegun(why) => {
            running.end(None);
            return Err(Failure::action(why).during("The application cannot be run."));
        }
        // Those that have not ended go on from their checkpoints when another job manager leads.
        End::Asked => ExitCode::from(asked),
        End::Done(Outcome::Succeeded) => ExitCode::SUCCESS,
        End::Done(Outcome::Failed) if mode == Mode::Application => {
            ExitCode::from(APPLICATION_FAILED)
        }
        End::Done(Outcome::Failed) => ExitCode::FAILURE,
    };
    running.end(outcome);
    Ok(code)
}

/// Begins an application, which takes as long as its program; says what became of it.
fn begin(application: Preparation, tell: Sender<End>) {
    std::thread::spawn(move || match application.begin() {
        Ok(Begun::Submitted(job)) => {
            printer::line(format!("Job has been submitted with JobID {job}"));
        }
        Ok(Begun::GoesOn(job)) => printer::line(format!("Job {job} goes on.")),
        Ok(Begun::HasEnded(job, status)) => printer::line(format!(
            "Job {job} has ended before ({status}) and is not run again."
        )),
        // Without anybody who hears it this process is ending already.
        Err(why) => {
            let _ = tell.send(End::NotBegun(why));
        }
    });
}

/// Tells of the first signal. Ends the process by a second Ctrl-C, and at once while it does not lead: there is
/// nothing to be ended then.
fn hear_signals(tell: Sender<End>, leads: Arc<AtomicBool>, code: u8) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    std::thread::spawn(move || {
        let mut is_told = false;
        for signal in signals.forever() {
            let is_impatient = is_told && signal == SIGINT;
            if is_impatient || !leads.load(Ordering::SeqCst) || tell.send(End::Asked).is_err() {
                std::process::exit(i32::from(code));
            }
            is_told = true;
        }
    });
    Ok(())
}

/// Waits until all jobs have ended, and then for as long as their clients may want to hear of it: for
/// `linger`, and until they have fetched the results of all operations, but not for longer than `most`.
fn wait_for_jobs(
    running: &JobManagerService,
    ends: &Receiver<End>,
    linger: Duration,
    most: Duration,
) -> End {
    let mut ended: Option<Instant> = None;
    loop {
        match ends.recv_timeout(LOOK) {
            Ok(end) => return end,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return End::Asked,
        }
        match running.outcome() {
            // None has come yet, or another one has come meanwhile.
            None => ended = None,
            Some(outcome) => {
                let since = ended.get_or_insert_with(Instant::now).elapsed();
                let is_heard = since >= linger && running.pending_results() == 0;
                if is_heard || since >= most {
                    printer::line("All jobs have ended.");
                    return End::Done(outcome);
                }
            }
        }
    }
}
