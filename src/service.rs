//! What `jobmanager` and `taskmanager` share: the options.

use clap::ArgMatches;
use millpond_types::config::Configuration;

use crate::arguments::{self, Parsed};
use crate::failure::{Failure, chain};

/// The options of a service: `config.yaml`, over it the environment, over it `-D`; `None` if only help
/// was asked for.
pub(crate) fn configuration(
    name: &'static str,
    about: &'static str,
    given: &[String],
) -> Result<Option<Configuration>, Failure> {
    let command = clap::Command::new(name)
        .bin_name(format!("millpond {name}"))
        .about(about)
        .arg(
            arguments::value("D", "key=value")
                .short('D')
                .action(clap::ArgAction::Append)
                .help("Sets an option of the configuration; may be repeated"),
        );
    let Parsed::Matches(matches) = arguments::parse(command, given)? else {
        return Ok(None);
    };
    millpond::service::log_to_stderr("info");
    read(&matches).map(Some)
}

fn read(matches: &ArgMatches) -> Result<Configuration, Failure> {
    let loaded = millpond::service::configuration();
    let mut configuration = loaded.map_err(|error| Failure::Action(chain(&error)))?;
    for pair in matches.get_many::<String>("D").into_iter().flatten() {
        configuration.parse_dynamic(pair)?;
    }
    configuration.check()?;
    for unknown in configuration.unknown_keys() {
        tracing::warn!("{unknown}");
    }
    Ok(configuration)
}
