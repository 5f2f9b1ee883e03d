//! `millpond standalone-job`: a cluster for one job, which its job manager runs by itself.

use std::process::ExitCode;

use clap::ArgMatches;
use millpond_standalone::Application;
use millpond_types::config::{Configuration, options};

use crate::arguments::{self, Parsed};
use crate::failure::Failure;
use crate::{jobmanager, program, service};

/// Runs the action.
pub(crate) fn run(given: &[String]) -> Result<ExitCode, Failure> {
    let command = clap::Command::new("standalone-job")
        .bin_name("millpond standalone-job")
        .about("Runs the job manager of a cluster for one program, until its job has ended")
        .override_usage("millpond standalone-job [OPTIONS] PROGRAM [ARGUMENTS]...")
        .arg(service::dynamic_option())
        .arg(
            arguments::value("job-id", "id")
                .alias("jobid")
                .help("Id of the job [default: drawn, and kept with high availability]"),
        );
    let command = program::options(command);
    let (parsed, program) = arguments::parse_until_program(command, given)?;
    let Parsed::Matches(matches) = parsed else {
        return Ok(ExitCode::SUCCESS);
    };
    let application = application(&matches, program)?;
    millpond::service::log_to_stderr("info");
    jobmanager::serve(&configuration(&matches)?, Some(application))
}

fn application(matches: &ArgMatches, program: &[String]) -> Result<Application, Failure> {
    let (program, arguments) = program::found(program)?;
    let job = matches.get_one::<String>("job-id");
    Ok(Application {
        program,
        arguments: arguments.to_vec(),
        job: job.map(|job| arguments::job_id(job)).transpose()?,
    })
}

/// The options of the cluster, which are those of the job too.
fn configuration(matches: &ArgMatches) -> Result<Configuration, Failure> {
    let mut configuration = service::configuration(&service::dynamic(matches))?;
    configuration.override_with(program::by_name(matches)?);
    if !configuration.contains(&options::WEB_SUBMIT_ENABLE) {
        // Nobody is to submit another job, as in Flink.
        configuration.set_option(&options::WEB_SUBMIT_ENABLE, &false);
    }
    configuration.check()?;
    Ok(configuration)
}
