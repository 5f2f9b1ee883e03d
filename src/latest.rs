//! `millpond latest`: names the newest intact snapshot, for scripts that start a job again.
//!
//! | exit code | meaning |
//! | --- | --- |
//! | 0 | its path is on standard output |
//! | 1 | there is none, or something cannot be read at present |
//! | 2 | the arguments make no sense |
//! | 3 | the newest is damaged, and `--fallback` was not given; nothing is named |

use std::process::ExitCode;

use clap::{Arg, Command};
use millpond_fs::Location;
use millpond_state_processor::newest_snapshot;

use crate::arguments::{self, Parsed, flag};
use crate::failure::{Failure, chain};
use crate::printer;

const USAGE: u8 = 2;
const DAMAGED: u8 = 3;

fn command() -> Command {
    Command::new("latest")
        .bin_name("millpond latest")
        .override_usage("millpond latest [--fallback] [--json] <DIR>...")
        .about(
            "Names the newest intact snapshot below directories of checkpoints and savepoints, to \
             start a job from. Exit code: 0 named, 1 none or not readable at present, 2 mistake in \
             the arguments, 3 the newest is damaged.",
        )
        .arg(flag("fallback").help(
            "Names an older one if newer ones are damaged. Output of a sink that was committed with \
             a newer one will be written again",
        ))
        .arg(flag("json").help("Prints JSON: the snapshot, and damaged ones that are newer"))
        .arg(
            Arg::new("directories")
                .value_name("DIR")
                .num_args(1..)
                .required(true)
                .help("A snapshot, a job's directory of checkpoints, or one around it"),
        )
}

/// Runs the action.
pub(crate) fn run(given: &[String]) -> Result<ExitCode, Failure> {
    let matches = match arguments::parse(command(), given) {
        Ok(Parsed::Matches(matches)) => matches,
        Ok(Parsed::Help) => return Ok(ExitCode::SUCCESS),
        // Standard output is what a script takes for the path.
        Err(Failure::Arguments(text)) => {
            printer::error_line(format!("millpond latest: {text}"));
            return Ok(ExitCode::from(USAGE));
        }
        Err(failure @ Failure::Action(_)) => return Err(failure),
    };
    let mut directories = Vec::new();
    for text in arguments::positionals(&matches, "directories") {
        match Location::parse(text) {
            Ok(directory) => directories.push(directory),
            Err(error) => {
                printer::error_line(format!("millpond latest: {error}"));
                return Ok(ExitCode::from(USAGE));
            }
        }
    }
    let newest = match newest_snapshot(&directories) {
        Ok(newest) => newest,
        Err(error) => {
            let mut causes = chain(&error).into_iter();
            let first = causes.next().unwrap_or_default();
            printer::error_line(format!("millpond latest: {first}"));
            causes.for_each(|cause| printer::error_line(format!("  {cause}")));
            return Ok(ExitCode::FAILURE);
        }
    };
    for damaged in &newest.damaged {
        printer::error_line(format!("millpond latest: \"{}\" is damaged", damaged.path));
        for damage in &damaged.damage {
            printer::error_line(format!("  {damage}"));
        }
    }
    let may_fall_back = newest.damaged.is_empty() || matches.get_flag("fallback");
    if matches.get_flag("json") {
        let text = serde_json::to_string_pretty(&newest)
            .map_err(|error| Failure::action(error.to_string()))?;
        printer::line(text);
    }
    match &newest.snapshot {
        Some(snapshot) if may_fall_back => {
            if !matches.get_flag("json") {
                printer::line(&snapshot.path);
            }
            Ok(ExitCode::SUCCESS)
        }
        Some(snapshot) => {
            printer::error_line(format!(
                "  The newest intact one is \"{}\"; --fallback names it.",
                snapshot.path
            ));
            Ok(ExitCode::from(DAMAGED))
        }
        None if newest.damaged.is_empty() => {
            printer::error_line("millpond latest: there is no snapshot");
            Ok(ExitCode::FAILURE)
        }
        None => {
            printer::error_line("  There is no intact one.");
            Ok(ExitCode::from(DAMAGED))
        }
    }
}
