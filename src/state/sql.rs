//! `millpond state sql`: SQL over a snapshot. Needs the cargo feature `sql`.

use std::process::ExitCode;

use clap::{Arg, Command};

use crate::arguments::{self, Parsed, value};
use crate::state::answer::{self, Answer};
use crate::state::{StateFailure, snapshot_argument};

const HELP: &str = "\
Tables:
  \"UID\".\"STATE\"    a state of an operator, by its uid, id or name; quotes are needed where the name
                   has other characters than letters, digits and _
  STATE            the same, if only one operator has a state of that name
  \"UID\".timers     the timers of an operator
  snapshots, operators, states, files, source_offsets
\"show tables\" lists them, \"describe TABLE\" shows the columns. Names are taken as they are written.";

fn command() -> Command {
    snapshot_argument::command(
        "sql",
        "millpond state sql <SNAPSHOT> <QUERY> [--at chk-N] [--format F] [-o FILE] [OPTIONS]",
        "Answers a query in SQL (Apache DataFusion) about a snapshot",
    )
    .arg(
        Arg::new("query")
            .value_name("QUERY")
            .required(true)
            .help("One statement, in quotes"),
    )
    .arg(value("format", "format").help("table, json, jsonl, csv or parquet [default: table]"))
    .arg(answer::output())
    .arg(
        value("memory", "size")
            .help("What sorting, grouping and joining may hold in memory [default: 1g]"),
    )
    .after_help(HELP)
}

/// Runs the command.
pub(super) fn run(given: &[String]) -> Result<ExitCode, StateFailure> {
    let Parsed::Matches(matches) = arguments::parse(command(), given)? else {
        return Ok(ExitCode::SUCCESS);
    };
    run_query(&matches, Answer::of(&matches)?)
}

#[cfg(not(feature = "sql"))]
fn run_query(_: &clap::ArgMatches, _: Answer) -> Result<ExitCode, StateFailure> {
    Err(answer::without_feature("SQL"))
}

#[cfg(feature = "sql")]
fn run_query(matches: &clap::ArgMatches, answer: Answer) -> Result<ExitCode, StateFailure> {
    use millpond_state_sql::{Database, DatabaseOptions};
    use millpond_types::config::{ConfigValue, MemorySize};

    use crate::state::progress::Bar;

    let mut options = DatabaseOptions::default();
    if let Some(text) = matches.get_one::<String>("memory") {
        let size = MemorySize::parse(text)
            .map_err(|error| StateFailure::Usage(format!("--memory {text}: {error}")))?;
        options.memory_bytes = usize::try_from(size.bytes()).unwrap_or(usize::MAX);
    }
    let query = matches.get_one::<String>("query").expect("required");
    let paths = snapshot_argument::paths(matches)?;
    let snapshot = snapshot_argument::open(matches)?;
    let here = snapshot_argument::place(&snapshot);
    let bar = Bar::start_beside_output(matches, "reading");
    let failed = |error| answer::explain(error, &here);
    let database = Database::open(snapshot, &paths, &options, bar.progress()).map_err(failed)?;
    let answered = match answer {
        Answer::Parquet(file) => database.query_to_parquet(query, &file),
        Answer::Text { format, mut out } => database.query(query, format, &mut *out),
    };
    match answered {
        Err(error) if !answer::reader_is_gone(&error) => Err(failed(error)),
        Ok(_) | Err(_) => Ok(ExitCode::SUCCESS),
    }
}
