//! `millpond checkpoint`: takes a checkpoint now, or has periodic ones taken at another interval.

use std::process::ExitCode;

use clap::{Arg, Command};
use millpond_types::JobId;
use millpond_types::config::{format_duration, parse_duration};

use crate::arguments::{self, Parsed, flag, value};
use crate::failure::Failure;
use crate::printer;
use crate::rest_client::RestClient;

fn command() -> Command {
    arguments::action(
        "checkpoint",
        "Triggers a checkpoint of a running job, or changes their interval",
    )
    .override_usage("millpond checkpoint [OPTIONS] <JobID>")
    .arg(flag("full").help("Takes one that is independent of earlier ones"))
    .arg(
        value("interval", "duration")
            .conflicts_with("full")
            .help("Takes none, but has periodic ones taken at this interval from now on"),
    )
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
    if let Some(interval) = matches.get_one::<String>("interval") {
        return change_interval(&arguments::client(&matches)?, job, interval);
    }
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

fn change_interval(client: &RestClient, job: JobId, interval: &str) -> Result<ExitCode, Failure> {
    let wrong = |why: &str| Failure::arguments(format!("The interval \"{interval}\" {why}"));
    let duration = parse_duration(interval).map_err(|why| wrong(&format!("is none: {why}")))?;
    let interval_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if interval_ms == 0 {
        return Err(wrong("is less than 1 ms."));
    }
    client
        .change_checkpoint_interval(job, interval_ms)
        .map_err(|failure| {
            failure.during(format!(
                "Failed to change the interval of the checkpoints of job {job}."
            ))
        })?;
    printer::line(format!(
        "Checkpoints of job {job} are taken every {} from now on.",
        format_duration(duration)
    ));
    Ok(ExitCode::SUCCESS)
}
