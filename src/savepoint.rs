//! `millpond savepoint`: takes a savepoint, or disposes of one.

use std::process::ExitCode;

use clap::{Arg, Command};

use crate::arguments::{self, Parsed, flag, value};
use crate::failure::Failure;
use crate::printer;
use crate::rest_client::{RestClient, ThenCancel};

fn command() -> Command {
    arguments::action(
        "savepoint",
        "Triggers a savepoint of a running job, or disposes of one",
    )
    .override_usage(
        "millpond savepoint [OPTIONS] <JobID> [target directory]\n       \
             millpond savepoint -d <path>",
    )
    .arg(
        value("dispose", "path")
            .short('d')
            .help("Path of a savepoint to dispose of"),
    )
    .arg(value("jarfile", "jar").short('j').hide(true))
    .arg(flag("detached").help("Does not wait for the savepoint; prints its trigger id"))
    .arg(arguments::format_option())
    .arg(Arg::new("arguments").num_args(0..=2).hide(true))
}

/// Runs the action.
pub(crate) fn run(given: &[String]) -> Result<ExitCode, Failure> {
    let Parsed::Matches(matches) = arguments::parse(command(), given)? else {
        return Ok(ExitCode::SUCCESS);
    };
    if let Some(path) = matches.get_one::<String>("dispose") {
        dispose(&arguments::client(&matches)?, path)?;
        return Ok(ExitCode::SUCCESS);
    }
    let positionals = arguments::positionals(&matches, "arguments");
    let Some((job, rest)) = positionals.split_first() else {
        return Err(Failure::arguments(
            "Missing JobID. Specify a Job ID to trigger a savepoint.",
        ));
    };
    let (job, directory) = (arguments::job_id(job)?, rest.first().copied());
    let format = arguments::format(&matches)?;
    let client = arguments::client(&matches)?;
    let failed = |failure: Failure| {
        failure.during(format!("Failed to trigger a savepoint for the job {job}."))
    };
    let trigger = || {
        client
            .trigger_savepoint(job, directory, ThenCancel::No, format)
            .map_err(failed)
    };
    if matches.get_flag("detached") {
        printer::line(format!(
            "Triggering savepoint in detached mode for job {job}."
        ));
        printer::line(format!(
            "Successfully trigger manual savepoint, triggerId: {}",
            trigger()?
        ));
        return Ok(ExitCode::SUCCESS);
    }
    printer::line(format!("Triggering savepoint for job {job}."));
    printer::line("Waiting for response...");
    let path = client
        .wait_for_savepoint(job, &trigger()?)
        .map_err(failed)?;
    printer::line(format!("Savepoint completed. Path: {path}"));
    printer::line("You can resume your program from this savepoint with the run command.");
    Ok(ExitCode::SUCCESS)
}

fn dispose(client: &RestClient, path: &str) -> Result<(), Failure> {
    printer::line(format!("Disposing savepoint '{path}'."));
    printer::line("Waiting for response...");
    client
        .trigger_disposal(path)
        .and_then(|trigger| client.wait_for_disposal(&trigger))
        .map_err(|failure| failure.during(format!("Failed to dispose the savepoint '{path}'.")))?;
    printer::line(format!("Savepoint '{path}' disposed."));
    Ok(())
}
