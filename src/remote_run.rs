//! `millpond run -m host:port`: a program that is uploaded to a cluster and runs there.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

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
        false => tell(job, wait_across_leaders(matches, client, job)?),
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
    let run = |id: &str| client.run_program(id, arguments, &handed_on);
    let job = match run(&id) {
        // Somebody has deleted it, to whom it is the same program.
        Err(failure) if failure.says(&format!("Program {id} does not exist")) => {
            let again = client.upload(path).map_err(not_submitted)?;
            run(&again)
        }
        run => run,
    };
    let job = job.map_err(not_submitted)?;
    printer::line(format!("Job has been submitted with JobID {job}"));
    Ok(job)
}

/// How a job has ended, if it has.
fn look(client: &RestClient, job: JobId) -> Result<Option<Ended>, Failure> {
    let text = job.to_string();
    let jobs = client.jobs()?;
    let row: Option<&JobRow> = jobs.iter().find(|row| row.jid == text);
    let Some(row) = row else {
        return Err(Failure::action(format!("Could not find Flink job ({job})")));
    };
    match row.state.as_str() {
        "FINISHED" => Ok(Some(Ended::Finished)),
        "CANCELED" => Ok(Some(Ended::Canceled)),
        "FAILED" => client
            .root_exception(job)
            .map(|why| Some(Ended::Failed(why))),
        _ => Ok(None),
    }
}

/// Waits for the end of a job.
pub(crate) fn wait(client: &RestClient, job: JobId) -> Result<Ended, Failure> {
    loop {
        if let Some(ended) = look(client, job)? {
            return Ok(ended);
        }
        std::thread::sleep(LOOK);
    }
}

/// The same in a cluster whose leader may change meanwhile: the next one is looked for, and has as long as any
/// answer to know of the job.
fn wait_across_leaders(
    matches: &ArgMatches,
    client: RestClient,
    job: JobId,
) -> Result<Ended, Failure> {
    let mut client = client;
    let patience = arguments::patience_with_leaders(matches)?;
    let mut lost: Option<Instant> = None;
    loop {
        match look(&client, job) {
            Ok(Some(ended)) => return Ok(ended),
            Ok(None) => lost = None,
            Err(failure) => {
                let since = *lost.get_or_insert_with(Instant::now);
                if since.elapsed() >= patience {
                    return Err(failure.during(format!(
                        "Job {job} cannot be watched any more. It may go on: see \"millpond list -a\" \
                         before you start it again."
                    )));
                }
                if let Ok(leaders) = arguments::client(matches) {
                    client = leaders;
                }
            }
        }
        std::thread::sleep(LOOK);
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
