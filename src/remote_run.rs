//! `millpond run -m host:port`: a program that is uploaded to a cluster and runs there.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::ArgMatches;
use millpond_types::JobId;
use millpond_types::config::{Configuration, options};

use crate::failure::Failure;
use crate::rest_client::{JobRow, RestClient};
use crate::{arguments, printer, program};

/// How often it is asked how the job is doing.
const LOOK: Duration = Duration::from_millis(100);

/// Whether a cluster was named.
pub(crate) fn is_wanted(
    matches: &ArgMatches,
    configuration: &Configuration,
) -> Result<bool, Failure> {
    let target = configuration.get(&options::EXECUTION_TARGET)?;
    Ok(matches.contains_id("jobmanager") || target.as_deref() == Some(arguments::REMOTE))
}

/// How a job has ended.
pub(crate) enum Ended {
    Finished,
    Canceled,
    /// Why.
    Failed(String),
}

/// Uploads the program, runs it, and waits for the end of its job, unless it is to run detached.
pub(crate) fn run(
    matches: &ArgMatches,
    given: &[String],
    configuration: &Configuration,
) -> Result<ExitCode, Failure> {
    let (path, arguments) = program::to_upload(given)?;
    let client = arguments::client(matches)?;
    let job = submit(&client, path, arguments, configuration)?;
    match matches.get_flag("detached") {
        true => Ok(ExitCode::SUCCESS),
        false => tell(job, wait(&client, job)?),
    }
}

/// Uploads the program and runs it; returns its job, which has been accepted.
pub(crate) fn submit(
    client: &RestClient,
    path: &Path,
    arguments: &[String],
    configuration: &Configuration,
) -> Result<JobId, Failure> {
    let not_submitted = |failure: Failure| failure.during("Could not submit the program.");
    let id = client.upload(path).map_err(not_submitted)?;
    let mut handed_on = configuration.clone();
    // Files of this machine.
    handed_on.take_security_of(&Configuration::new());
    for of_the_client in [
        options::REST_PORT.info(),
        options::REST_ADDRESS.info(),
        options::EXECUTION_TARGET.info(),
    ] {
        of_the_client.names().for_each(|name| {
            handed_on.remove(name);
        });
    }
    let job = client
        .run_program(&id, arguments, &handed_on)
        .map_err(not_submitted)?;
    printer::line(format!("Job has been submitted with JobID {job}"));
    Ok(job)
}

/// Waits for the end of a job.
pub(crate) fn wait(client: &RestClient, job: JobId) -> Result<Ended, Failure> {
    let text = job.to_string();
    loop {
        let jobs = client.jobs()?;
        let row: Option<&JobRow> = jobs.iter().find(|row| row.jid == text);
        let Some(row) = row else {
            return Err(Failure::action(format!("Could not find Flink job ({job})")));
        };
        match row.state.as_str() {
            "FINISHED" => return Ok(Ended::Finished),
            "CANCELED" => return Ok(Ended::Canceled),
            "FAILED" => return client.root_exception(job).map(Ended::Failed),
            _ => std::thread::sleep(LOOK),
        }
    }
}

/// Tells how a job has ended.
pub(crate) fn tell(job: JobId, ended: Ended) -> Result<ExitCode, Failure> {
    let ended = match ended {
        Ended::Finished => "finished",
        Ended::Canceled => "been cancelled",
        Ended::Failed(why) => {
            return Err(Failure::action(why).during(format!("Job {job} has failed.")));
        }
    };
    printer::line("Program execution finished");
    printer::line(format!("Job with JobID {job} has {ended}."));
    Ok(ExitCode::SUCCESS)
}
