//! `millpond cancel`: ends a job, after a savepoint if asked.

use std::process::ExitCode;

use clap::{Arg, Command};

use crate::arguments::{self, Parsed, value};
use crate::failure::Failure;
use crate::printer;
use crate::rest_client::ThenCancel;

fn command() -> Command {
    arguments::action("cancel", "Cancels a running job")
        .override_usage("millpond cancel [OPTIONS] <JobID>")
        .arg(
            value("withSavepoint", "target directory")
                .short('s')
                .num_args(0..=1)
                .allow_hyphen_values(false)
                .help("Takes a savepoint first; deprecated, use \"stop\" instead"),
        )
        .arg(Arg::new("arguments").num_args(0..=1).hide(true))
}

/// Runs the action.
pub(crate) fn run(given: &[String]) -> Result<ExitCode, Failure> {
    let Parsed::Matches(matches) = arguments::parse(command(), given)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let positionals = arguments::positionals(&matches, "arguments");
    let with_savepoint = matches.contains_id("withSavepoint");
    let mut directory = matches
        .get_one::<String>("withSavepoint")
        .map(String::as_str);
    let job = match positionals.first() {
        Some(job) => *job,
        // As in Flink, `cancel -s J` means the job, and the configured directory.
        None => directory
            .take()
            .ok_or_else(|| Failure::arguments("Missing JobID. Specify a JobID to cancel a job."))?,
    };
    let job = arguments::job_id(job)?;
    let client = arguments::client(&matches)?;
    let failed = |failure: Failure| failure.during(format!("Could not cancel job {job}."));
    if !with_savepoint {
        printer::line(format!("Cancelling job {job}."));
        client.cancel(job).map_err(failed)?;
        printer::line(format!("Cancelled job {job}."));
        return Ok(ExitCode::SUCCESS);
    }
    printer::line(
        "DEPRECATION WARNING: Cancelling a job with savepoint is deprecated. \
         Use \"stop\" instead.",
    );
    let target = match directory {
        Some(directory) => format!("to {directory}."),
        None => "to default savepoint directory.".to_owned(),
    };
    printer::line(format!(
        "Cancelling job {job} with CANONICAL savepoint {target}"
    ));
    let path = client
        .trigger_savepoint(job, directory, ThenCancel::Yes, "CANONICAL")
        .and_then(|trigger| client.wait_for_savepoint(job, &trigger))
        .map_err(failed)?;
    printer::line(format!("Cancelled job {job}. Savepoint stored in {path}."));
    Ok(ExitCode::SUCCESS)
}
