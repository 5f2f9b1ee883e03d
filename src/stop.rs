//! `millpond stop`: stops a job behind a savepoint.

use std::process::ExitCode;

use clap::{Arg, Command};

use crate::arguments::{self, Parsed, flag, value};
use crate::failure::Failure;
use crate::printer;
use crate::rest_client::Drain;

fn command() -> Command {
    arguments::action("stop", "Stops a running job with a savepoint")
        .override_usage("millpond stop [OPTIONS] <JobID>")
        .arg(
            value("savepointPath", "path")
                .short('p')
                .help("Directory for the savepoint [default: the configured one]"),
        )
        .arg(
            flag("drain")
                .short('d')
                .help("Sends the maximum watermark first: all event-time timers fire"),
        )
        .arg(flag("detached").help("Does not wait for the savepoint; prints its trigger id"))
        .arg(arguments::format_option())
        .arg(Arg::new("arguments").num_args(0..=2).hide(true))
}

/// Runs the action.
pub(crate) fn run(given: &[String]) -> Result<ExitCode, Failure> {
    let Parsed::Matches(matches) = arguments::parse(command(), given)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let positionals = arguments::positionals(&matches, "arguments");
    let path = matches
        .get_one::<String>("savepointPath")
        .map(String::as_str);
    let (job, directory) = match (positionals.as_slice(), path) {
        ([job, rest @ ..], path) => (*job, path.or(rest.first().copied())),
        // As in Flink, `stop -p J` means the job, and the configured directory.
        ([], Some(job)) => (job, None),
        ([], None) => {
            return Err(Failure::arguments("Missing JobId"));
        }
    };
    let job = arguments::job_id(job)?;
    let format = arguments::format(&matches)?;
    let (drain, verb) = match matches.get_flag("drain") {
        true => (Drain::Yes, "Draining"),
        false => (Drain::No, "Suspending"),
    };
    let client = arguments::client(&matches)?;
    let failed = |failure: Failure| {
        failure.during(format!("Could not stop with a savepoint job \"{job}\"."))
    };
    let trigger = || {
        client
            .trigger_stop(job, directory, drain, format)
            .map_err(failed)
    };
    printer::line(format!("{verb} job \"{job}\" with a {format} savepoint."));
    if matches.get_flag("detached") {
        printer::line(format!(
            "Triggering stop-with-savepoint in detached mode for job {job}."
        ));
        printer::line(format!(
            "Successfully trigger stop-with-savepoint in detached mode, triggerId: {}",
            trigger()?
        ));
        return Ok(ExitCode::SUCCESS);
    }
    printer::line(format!("Triggering stop-with-savepoint for job {job}."));
    printer::line("Waiting for response...");
    let path = client
        .wait_for_savepoint(job, &trigger()?)
        .map_err(failed)?;
    printer::line(format!("Savepoint completed. Path: {path}"));
    Ok(ExitCode::SUCCESS)
}
