//! `millpond jobmanager`: the job manager of a cluster, with REST.

use std::process::ExitCode;

use millpond_standalone::JobManagerService;
use millpond_types::config::Configuration;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::daemon::Role;
use crate::failure::Failure;
use crate::{printer, service};

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
    // Jobs end with this process, and go on from their checkpoints when somebody starts them again.
    signals.forever().next();
    Ok(ExitCode::SUCCESS)
}
