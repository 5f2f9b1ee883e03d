//! `millpond jobmanager`: the job manager of a cluster, with REST.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use millpond_standalone::{JobManagerService, Outcome};
use millpond_types::config::{Configuration, options};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::daemon::Role;
use crate::failure::Failure;
use crate::{printer, service};

/// How often it is looked whether the job of a cluster that ends with it has ended.
const LOOK: Duration = Duration::from_millis(100);

/// Runs the action.
pub(crate) fn run(given: &[String]) -> Result<ExitCode, Failure> {
    let about = "Runs the job manager of a cluster, until it is ended";
    service::run(Role::JobManager, about, given, serve)
}

/// Why a job manager ends that has started.
enum End {
    /// By a signal.
    Asked,
    /// It leads no more; why, for people.
    Lost(String),
    /// Its jobs have ended.
    Done(Outcome),
}

fn serve(configuration: &Configuration) -> Result<ExitCode, Failure> {
    let ends_with_jobs = configuration.get(&options::CLUSTER_ENDS_WITH_JOB)?;
    let linger = configuration.get(&options::REST_LINGER)?;
    let most = linger + configuration.get(&options::CLIENT_TIMEOUT)?;
    let (tell, ends) = channel();
    let leads = Arc::new(AtomicBool::new(false));
    hear_signals(tell.clone(), Arc::clone(&leads))
        .map_err(|error| Failure::action(error.to_string()).during("Signals cannot be heard."))?;
    let running = JobManagerService::start(
        configuration,
        || printer::line("Another job manager leads: standing by."),
        || leads.store(true, Ordering::SeqCst),
    )
    .map_err(|why| Failure::action(why).during("The job manager cannot be started."))?;
    printer::line(format!("Job manager listening at {}.", running.address()));
    printer::line(format!(
        "Web interface listening at {}.",
        running.rest_url()
    ));
    let watches = running.watch(move |why| {
        // Without anybody who hears it this process ends for another reason.
        let _ = tell.send(End::Lost(why));
    });
    watches.map_err(|error| {
        Failure::action(error.to_string()).during("The leadership cannot be watched.")
    })?;
    let end = match ends_with_jobs {
        true => wait_for_jobs(&running, &ends, linger, most),
        // An error is the end of all who could tell.
        false => ends.recv().unwrap_or(End::Asked),
    };
    let code = match end {
        End::Lost(why) => {
            return Err(
                Failure::action(why).during("This job manager leads no more and has ended.")
            );
        }
        // Those that have not ended go on from their checkpoints when another job manager leads.
        End::Asked | End::Done(Outcome::Succeeded) => ExitCode::SUCCESS,
        End::Done(Outcome::Failed) => ExitCode::FAILURE,
    };
    running.end();
    Ok(code)
}

/// Tells of the first signal. Ends the process by a second Ctrl-C, and at once while it does not lead: there is
/// nothing to be ended then.
fn hear_signals(tell: Sender<End>, leads: Arc<AtomicBool>) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    std::thread::spawn(move || {
        let mut is_told = false;
        for signal in signals.forever() {
            let is_impatient = is_told && signal == SIGINT;
            if is_impatient || !leads.load(Ordering::SeqCst) || tell.send(End::Asked).is_err() {
                std::process::exit(0);
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
