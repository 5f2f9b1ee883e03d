//! `millpond taskmanager`: slots for the cluster of a job manager.

use std::process::ExitCode;

use millpond_standalone::TaskManagerService;
use millpond_types::config::Configuration;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::daemon::Role;
use crate::failure::Failure;
use crate::{printer, service};

/// Runs the action.
pub(crate) fn run(given: &[String]) -> Result<ExitCode, Failure> {
    let about = "Brings slots to the cluster of a job manager, until it is ended";
    service::run(Role::TaskManager, about, given, work)
}

fn work(configuration: &Configuration) -> Result<ExitCode, Failure> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])
        .map_err(|error| Failure::action(error.to_string()).during("Signals cannot be heard."))?;
    let task_manager = TaskManagerService::new(configuration)
        .map_err(|why| Failure::action(why).during("The task manager cannot be started."))?;
    let heard = signals.handle();
    let working = std::thread::spawn(move || {
        let result = task_manager.run(printer::line);
        heard.close();
        result
    });
    // Workers end with this process.
    if signals.forever().next().is_some() {
        return Ok(ExitCode::SUCCESS);
    }
    match working.join() {
        Ok(Err(why)) => Err(Failure::action(why).during("The task manager has ended.")),
        _ => Ok(ExitCode::FAILURE),
    }
}
