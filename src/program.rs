//! The executable of a job: its options, and a command that will start it.

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{Arg, ArgMatches};
use millpond_types::config::{CONFIGURATION_VARIABLE, Configuration, options};

use crate::arguments::{self, flag, value};
use crate::failure::Failure;

/// The options that `run`, `info` and `plan` share.
pub(crate) fn options(command: clap::Command) -> clap::Command {
    command
        .arg(
            value("parallelism", "parallelism")
                .short('p')
                .help("Parallelism of operators that have none of their own"),
        )
        .arg(
            value("fromSavepoint", "path")
                .short('s')
                .help("Savepoint or retained checkpoint to restore the job from"),
        )
        .arg(
            flag("allowNonRestoredState")
                .short('n')
                .help("Leaves state behind that the program does not claim"),
        )
        .arg(
            flag("withoutState")
                .conflicts_with("fromSavepoint")
                .help("Starts without state, whatever snapshot the configuration names"),
        )
        .arg(value("claimMode", "mode").alias("cm").help(
            "Who owns the snapshot that is restored: claim (the job, which deletes it once \
                     it is subsumed), no_claim (default) or legacy (deprecated)",
        ))
        .arg(value("restoreMode", "mode").alias("rm").hide(true))
        .args(of_the_jvm())
}

/// Options of Flink that have no meaning for an executable, known to be refused with a reason.
fn of_the_jvm() -> Vec<Arg> {
    let class = value("class", "class").short('c').hide(true);
    let classpath = value("classpath", "url").short('C').hide(true);
    vec![class, classpath]
}

/// The options that the program is to run with: those of the environment, over them `-D`, over
/// them the options by name.
pub(crate) fn configuration(matches: &ArgMatches) -> Result<Configuration, Failure> {
    let mut configuration = match std::env::var(CONFIGURATION_VARIABLE) {
        Ok(text) => Configuration::from_environment(&text)?,
        Err(_) => Configuration::new(),
    };
    configuration.override_with(arguments::configuration(matches)?);
    configuration.override_with(by_name(matches)?);
    configuration.check()?;
    Ok(configuration)
}

/// The options by name.
pub(crate) fn by_name(matches: &ArgMatches) -> Result<Configuration, Failure> {
    for (name, shown) in [("class", "-c"), ("classpath", "-C")] {
        if matches.contains_id(name) {
            return Err(Failure::arguments(format!(
                "The option {shown} is for programs of the JVM. \
                 A job of Millpond is an executable."
            )));
        }
    }
    let mut configuration = Configuration::new();
    if let Some(text) = matches.get_one::<String>("parallelism") {
        let parallelism = text
            .parse::<u32>()
            .ok()
            .filter(|parallelism| *parallelism > 0)
            .ok_or_else(|| {
                Failure::arguments(format!("The parallelism must be a positive number: {text}"))
            })?;
        configuration.set_option(&options::PARALLELISM, &parallelism);
    }
    if let Some(path) = matches.get_one::<String>("fromSavepoint") {
        configuration.set_option(&options::RECOVERY_PATH, &Some(path.clone()));
    }
    if matches.get_flag("withoutState") {
        configuration.set_option(&options::START_WITHOUT_STATE, &true);
    }
    if matches.get_flag("allowNonRestoredState") {
        configuration.set_option(&options::IGNORE_UNCLAIMED_STATE, &true);
    }
    let mode = matches.get_one::<String>("claimMode");
    if let Some(mode) = mode.or(matches.get_one::<String>("restoreMode")) {
        configuration.set(options::CLAIM_MODE.key(), mode);
    }
    Ok(configuration)
}

/// A command that starts the program with `configuration` in its environment.
pub(crate) fn command(
    program: &[String],
    configuration: &Configuration,
) -> Result<Command, Failure> {
    let (executable, arguments) = split(program)?;
    // A plain name is looked for here first, as Flink does with jars, then in the search path.
    let path = Path::new(executable);
    let path = match path.is_file() && path.is_relative() {
        true => Path::new(".").join(path),
        false => path.to_path_buf(),
    };
    let mut command = Command::new(path);
    command
        .args(arguments)
        .env(CONFIGURATION_VARIABLE, configuration.to_environment());
    Ok(command)
}

/// The executable that is to be uploaded, and the arguments of the program.
pub(crate) fn to_upload(program: &[String]) -> Result<(&Path, &[String]), Failure> {
    let (executable, arguments) = split(program)?;
    let path = Path::new(executable);
    match path.is_file() {
        true => Ok((path, arguments)),
        false => Err(does_not_exist(executable)),
    }
}

/// The executable that a service runs, and the arguments of the program. A plain name is looked for here first,
/// as Flink does with jars, then in the search path.
pub(crate) fn found(program: &[String]) -> Result<(PathBuf, &[String]), Failure> {
    let (executable, arguments) = split(program)?;
    let search = std::env::var_os("PATH").filter(|_| !executable.contains('/'));
    let search = search.unwrap_or_default();
    let elsewhere = std::env::split_paths(&search).map(|directory| directory.join(executable));
    std::iter::once(PathBuf::from(executable))
        .chain(elsewhere)
        .find(|path| path.is_file())
        .map(|path| (path, arguments))
        .ok_or_else(|| does_not_exist(executable))
}

/// The executable, and the arguments of the program.
fn split(program: &[String]) -> Result<(&String, &[String]), Failure> {
    program
        .split_first()
        .ok_or_else(|| Failure::arguments("No program given. Specify the executable of the job."))
}

fn does_not_exist(executable: &str) -> Failure {
    Failure::arguments(format!("Program does not exist: {executable}"))
}

/// Why an executable could not be started.
pub(crate) fn not_started(program: &[String], error: &std::io::Error) -> Failure {
    let executable = program.first().map(String::as_str).unwrap_or_default();
    if error.kind() == std::io::ErrorKind::NotFound {
        return does_not_exist(executable);
    }
    Failure::action(error.to_string()).during(format!("Could not start the program {executable}."))
}
