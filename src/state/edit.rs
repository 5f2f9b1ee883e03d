//! `millpond state edit`: a new snapshot that differs from another one by edits.

use std::process::ExitCode;

use clap::{Arg, ArgAction, Command};
use millpond_fs::Location;
use millpond_state_processor::{Edit, EditOptions, edit};
use millpond_types::{Clock, SystemClock};

use crate::arguments::{self, Parsed, value};
use crate::failure::chain;
use crate::printer;
use crate::state::StateFailure;
use crate::state::columns::grouped;
use crate::state::new_snapshot::{self, Work};

/// What is read once is written once.
const PASSES: u64 = 2;

const HELP: &str = "\
Edits, each in quotes, done in their order:
  set UID/STATE key=K value=V                a value, a list or a map of a key
  set UID/STATE key=K user_key=U value=V     one entry of a map
  set UID/STATE value=[...]                  an operator list
  delete UID/STATE where TEST and TEST ...   the entries that pass all tests
  rename UID/STATE to NAME
  drop UID/STATE                             a state
  drop UID                                   an operator
  uid UID to NEW                             another uid
  uid-hash UID to HEX                        another id
  offset UID/SPLIT to N                      the position of a split of a source
  shift-timers UID [event|processing] by D   timers, by a duration such as \"-90 min\"
A TEST is FIELD.PATH OP JSON; fields are key, namespace, user_key, value, timestamp; OP is one of
= != < <= > >=. K, U and V are JSON; a bare word is a text.";

fn command() -> Command {
    new_snapshot::command(
        "edit",
        "millpond state edit <SNAPSHOT> <DIRECTORY> <EDIT>... [--log FILE]\n       \
             [--for-flink RELEASE] [OPTIONS]",
        "Writes a snapshot that differs by edits; the old one stays as it is",
    )
    .arg(
        value("log", "FILE")
            .help("Where the log of the edits goes [default: DIRECTORY.edits.json]"),
    )
    .arg(
        Arg::new("edits")
            .value_name("EDIT")
            .required(true)
            .action(ArgAction::Append)
            .num_args(1..)
            .help("What is changed; see below"),
    )
    .after_help(HELP)
}

/// Runs the command.
pub(super) fn run(given: &[String]) -> Result<ExitCode, StateFailure> {
    let Parsed::Matches(matches) = arguments::parse(command(), given)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let edits = arguments::positionals(&matches, "edits")
        .into_iter()
        .map(|text| {
            text.parse::<Edit>()
                .map_err(|error| StateFailure::Usage(error.to_string()))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let log = matches
        .get_one::<String>("log")
        .map(|text| Location::parse(text))
        .transpose()
        .map_err(|error| StateFailure::Failed(chain(&error)))?;
    let options = EditOptions {
        for_flink: new_snapshot::for_flink(&matches)?,
        log,
        now_ms: i64::try_from(SystemClock.now_ms()).unwrap_or(i64::MAX),
    };
    let work = Work::start(&matches, "editing", PASSES)?;
    let result = edit(
        work.old.loaded(),
        work.fs.clone(),
        &work.to,
        &edits,
        &options,
    );
    let report = work.end(result)?;
    for (edit, changed) in &report.edits {
        printer::line(format!("  {:>9}  {edit}", grouped(*changed)));
    }
    printer::line(format!("Log of the edits: {}", report.log));
    Ok(ExitCode::SUCCESS)
}
