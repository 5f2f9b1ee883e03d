//! What all commands share that make a new snapshot out of another one.

use std::sync::Arc;

use clap::{Arg, ArgMatches, Command};
use millpond_fs::{FileSystem, Location, file_system_for};
use millpond_snapshot::FlinkRelease;
use millpond_state_processor::{Error, OpenSnapshot};

use crate::arguments::value;
use crate::failure::chain;
use crate::printer;
use crate::state::{StateFailure, snapshot_argument};

/// Returns a command about an old and a new snapshot.
pub(super) fn command(name: &'static str, usage: &'static str, about: &'static str) -> Command {
    snapshot_argument::command(name, usage, about)
        .arg(
            value("for-flink", "RELEASE")
                .help("The release that is to read it: 1.15, 1.20, 2.3 or one between"),
        )
        .arg(
            Arg::new("directory")
                .value_name("DIRECTORY")
                .required(true)
                .help("The directory of the new snapshot: missing or empty"),
        )
}

/// Where the new snapshot goes.
pub(super) fn directory(
    matches: &ArgMatches,
) -> Result<(Arc<dyn FileSystem>, Location), StateFailure> {
    let text = matches.get_one::<String>("directory").expect("required");
    let wrong = |error: millpond_fs::Error| StateFailure::Failed(chain(&error));
    let location = Location::parse(text).map_err(wrong)?;
    Ok((file_system_for(&location).map_err(wrong)?, location))
}

/// The release that was named.
pub(super) fn for_flink(matches: &ArgMatches) -> Result<Option<FlinkRelease>, StateFailure> {
    let named = matches.get_one::<String>("for-flink");
    let release = named.map(|text| {
        text.parse::<FlinkRelease>().map_err(|_| {
            StateFailure::Usage(format!(
                "--for-flink takes a release of 1.11 to 1.20 or 2.0 to 2.3, not \"{text}\""
            ))
        })
    });
    release.transpose()
}

/// A number of subtasks or key groups.
pub(super) fn number(matches: &ArgMatches, option: &str) -> Result<Option<u32>, StateFailure> {
    let given = matches.get_one::<String>(option);
    let number = given.map(|text| match text.parse() {
        Ok(number @ 1..=32768) => Ok(number),
        Ok(_) | Err(_) => Err(StateFailure::Usage(format!(
            "--{option} takes a number of 1 to 32768, not \"{text}\""
        ))),
    });
    number.transpose()
}

/// Tells where the new snapshot lies, or why there is none.
pub(super) fn tell<T>(
    result: Result<T, Error>,
    old: &OpenSnapshot,
    new: &Location,
) -> Result<T, StateFailure> {
    let made = result.map_err(|error| snapshot_argument::explain(error, old))?;
    printer::line(format!("Snapshot written. Path: {new}"));
    Ok(made)
}
