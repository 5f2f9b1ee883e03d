//! What `jobmanager` and `taskmanager` share: the arguments.

use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgMatches};
use millpond_types::config::Configuration;

use crate::arguments::{self, Parsed};
use crate::daemon::{Daemons, Role};
use crate::failure::{Failure, chain};

/// What a service can be asked for, in Flink's words.
const VERBS: [&str; 4] = ["start", "start-foreground", "stop", "stop-all"];

/// The option `-D`.
pub(crate) fn dynamic_option() -> Arg {
    arguments::value("D", "key=value")
        .short('D')
        .action(clap::ArgAction::Append)
        .help("Sets an option of the configuration; may be repeated")
}

/// What was given behind `-D`, each.
pub(crate) fn dynamic(matches: &ArgMatches) -> Vec<String> {
    let pairs = matches.get_many::<String>("D").into_iter().flatten();
    pairs.cloned().collect()
}

/// Runs a service here with its options (`config.yaml`, over it the environment, over it `-D`) by
/// `foreground`, or starts or stops it in the background.
pub(crate) fn run(
    role: Role,
    about: &'static str,
    given: &[String],
    foreground: fn(&Configuration) -> Result<ExitCode, Failure>,
) -> Result<ExitCode, Failure> {
    let command = clap::Command::new(role.action())
        .bin_name(format!("millpond {}", role.action()))
        .about(about)
        .arg(dynamic_option())
        .arg(
            arguments::value("total", "number")
                .value_parser(clap::value_parser!(u32).range(1..))
                .help("With start: as many as are missing to so many on this machine, not one more"),
        )
        .arg(
            Arg::new("verb")
                .value_parser(PossibleValuesParser::new(VERBS))
                .help("In the background: start one, stop the latest one, stop all [default: start-foreground]"),
        );
    let Parsed::Matches(matches) = arguments::parse(command, given)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let pairs = dynamic(&matches);
    let verb = matches.get_one::<String>("verb").map(String::as_str);
    let total = matches.get_one::<u32>("total").copied();
    if total.is_some() && verb != Some("start") {
        return Err(Failure::arguments("The option total belongs to start."));
    }
    match verb {
        None | Some("start-foreground") => {
            millpond::service::log_to_stderr("info");
            foreground(&configuration(&pairs)?)
        }
        Some(verb) => {
            let daemons = Daemons::open(&quiet_configuration(&pairs)?, pairs)?;
            match (verb, total) {
                ("start", None) => daemons.start(role),
                ("start", Some(total)) => daemons.start_missing(role, total),
                ("stop", _) => daemons.stop_latest(role),
                _ => daemons.stop_all(role),
            }
        }
    }
}

/// The options of a service.
pub(crate) fn configuration(pairs: &[String]) -> Result<Configuration, Failure> {
    let configuration = quiet_configuration(pairs)?;
    for unknown in configuration.unknown_keys() {
        tracing::warn!("{unknown}");
    }
    Ok(configuration)
}

/// As [`configuration`], where the service itself warns of keys that nobody knows.
pub(crate) fn quiet_configuration(pairs: &[String]) -> Result<Configuration, Failure> {
    let loaded = millpond::service::configuration();
    let mut configuration = loaded.map_err(|error| Failure::Action(chain(&error)))?;
    for pair in pairs {
        configuration.parse_dynamic(pair)?;
    }
    configuration.check()?;
    Ok(configuration)
}
