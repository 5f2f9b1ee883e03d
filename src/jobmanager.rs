//! `millpond jobmanager`: the job manager of a cluster, with REST.

use std::process::ExitCode;
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
    let running = JobManagerService::start(configuration, || {
        printer::line("Another job manager leads: standing by.");
    })
    .map_err(|why| Failure::action(why).during("The job manager cannot be started."))?;
    printer::line(format!("Job manager listening at {}.", running.address()));
    printer::line(format!(
        "Web interface listening at {}.",
        running.rest_url()
    ));
    if configuration.get(&options::CLUSTER_ENDS_WITH_JOB)? {
        let linger = configuration.get(&options::REST_LINGER)?;
        let most = linger + configuration.get(&options::CLIENT_TIMEOUT)?;
        return Ok(wait_for_job(&running, &mut signals, linger, most));
    }
    // Jobs end with this process, and go on from their checkpoints when somebody starts them again.
    signals.forever().next();
    Ok(ExitCode::SUCCESS)
}

/// Waits until all jobs have ended, and then for as long as their clients may want to hear of it: for
/// `linger`, and until they have fetched the results of all operations, but not for longer than `most`.
fn wait_for_job(
    running: &JobManagerService,
    signals: &mut Signals,
    linger: Duration,
    most: Duration,
) -> ExitCode {
    let mut ended: Option<Instant> = None;
    loop {
        if signals.pending().next().is_some() {
            return ExitCode::SUCCESS;
        }
        match running.outcome() {
            // None has come yet, or another one has come meanwhile.
            None => ended = None,
            Some(outcome) => {
                let since = ended.get_or_insert_with(Instant::now).elapsed();
                let is_heard = since >= linger && running.pending_results() == 0;
                if is_heard || since >= most {
                    printer::line("All jobs have ended.");
                    return match outcome {
                        Outcome::Succeeded => ExitCode::SUCCESS,
                        Outcome::Failed => ExitCode::FAILURE,
                    };
                }
            }
        }
        std::thread::sleep(LOOK);
    }
}
