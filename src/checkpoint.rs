//! `millpond checkpoint`: takes a checkpoint now.

use std::process::ExitCode;

use clap::{Arg, Command};

use crate::arguments::{self, Parsed, flag};
use crate::failure::Failure;
use crate::printer;

fn command() -> Command {
    arguments::action("checkpoint", "Triggers a checkpoint of a running job")
        .override_usage("millpond checkpoint [OPTIONS] <JobID>")
        .arg(flag("full").help("Takes one that is independent of earlier ones"))
        .arg(Arg::new("arguments").num_args(0..=1).hide(true))
}

/// Runs the action.
pub(crate) fn run(given: &[String]) -> Result<ExitCode, Failure> {
    let Parsed::Matches(matches) = arguments::parse(command(), given)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let positionals = arguments::positionals(&matches, "arguments");
    let job = positionals.first().ok_or_else(|| {
        Failure::arguments("Missing JobID. Specify a Job ID to manipulate a checkpoint.")
    })?;
    let job = arguments::job_id(job)?;
    let (kind, shown) = match matches.get_flag("full") {
        true => ("FULL", "(FULL)"),
        false => ("CONFIGURED", ""),
    };
    let client = arguments::client(&matches)?;
    printer::line(format!("Triggering checkpoint for job {job}."));
    printer::line("Waiting for response...");
    let id = client
        .trigger_checkpoint(job, kind)
        .and_then(|trigger| client.wait_for_checkpoint(job, &trigger))
        .map_err(|failure| {
            failure.during(format!("Failed to trigger a checkpoint for the job {job}."))
        })?;
    printer::line(format!("Checkpoint{shown} {id} for job {job} completed."));
    printer::line("You can resume your program from this checkpoint with the run command.");
    Ok(ExitCode::SUCCESS)
}
