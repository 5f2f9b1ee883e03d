//! `millpond jobmanager`: the job manager of a cluster, with REST.

use std::process::ExitCode;
use std::sync::Arc;
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

fn serve(configuration: &Configuration) -> Result<ExitCode, Failure> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])
        .map_err(|error| Failure::action(error.to_string()).during("Signals cannot be heard."))?;
    let heard = signals.handle();
    let running = JobManagerService::start(configuration, || {
        printer::line("Another job manager leads: standing by.");
    })
    .map_err(|why| Failure::action(why).during("The job manager cannot be started."))?;
    printer::line(format!("Job manager listening at {}.", running.address()));
    printer::line(format!(
        "Web interface listening at {}.",
        running.rest_url()
    ));
    let running = Arc::new(running);
    let leads = {
        let running = Arc::clone(&running);
        std::thread::spawn(move || {
            let why = running.wait_until_lost();
            heard.close();
            why
        })
    };
    let ended = match configuration.get(&options::CLUSTER_ENDS_WITH_JOB)? {
        true => {
            let linger = configuration.get(&options::REST_LINGER)?;
            let most = linger + configuration.get(&options::CLIENT_TIMEOUT)?;
            let leads = || !leads.is_finished();
            wait_for_job(&running, &mut signals, leads, linger, most)
        }
        // Jobs end with this process, and go on from their checkpoints when somebody starts them again.
        false => signals.forever().next().map(|_| ExitCode::SUCCESS),
    };
    if let Some(code) = ended {
        return Ok(code);
    }
    match leads.join() {
        Ok(why) => {
            Err(Failure::action(why).during("This job manager leads no more and has ended."))
        }
        Err(_) => Ok(ExitCode::FAILURE),
    }
}

/// Waits until all jobs have ended, and then for as long as their clients may want to hear of it: for
/// `linger`, and until they have fetched the results of all operations, but not for longer than `most`.
/// `None` if this job manager does not lead any more.
fn wait_for_job(
    running: &JobManagerService,
    signals: &mut Signals,
    leads: impl Fn() -> bool,
    linger: Duration,
    most: Duration,
) -> Option<ExitCode> {
    let mut ended: Option<Instant> = None;
    loop {
        if signals.pending().next().is_some() {
            return Some(ExitCode::SUCCESS);
        }
        if !leads() {
            return None;
        }
        match running.outcome() {
            // None has come yet, or another one has come meanwhile.
            None => ended = None,
            Some(outcome) => {
                let since = ended.get_or_insert_with(Instant::now).elapsed();
                let is_heard = since >= linger && running.pending_results() == 0;
                if is_heard || since >= most {
                    printer::line("All jobs have ended.");
                    return Some(match outcome {
                        Outcome::Succeeded => ExitCode::SUCCESS,
                        Outcome::Failed => ExitCode::FAILURE,
                    });
                }
            }
        }
        std::thread::sleep(LOOK);
    }
}
