//! `millpond state du`: where the bytes of a snapshot are.

use std::process::ExitCode;

use clap::Command;
use millpond_state_processor::{OperatorUsage, Threads, usage};

use crate::arguments::{self, Parsed, flag, value};
use crate::printer;
use crate::state::columns::{Cell, Columns, bytes, counted};
use crate::state::progress::Bar;
use crate::state::snapshot_argument::place;
use crate::state::{StateFailure, snapshot_argument};

/// How many of the largest keys and key groups are shown.
const MOST: usize = 10;

fn command() -> Command {
    snapshot_argument::command(
        "du",
        "millpond state du <SNAPSHOT> [--top N] [--json] [OPTIONS]",
        "Shows where the bytes are: operators, states, key groups, largest keys",
    )
    .arg(value("top", "N").help("How many of the largest keys and key groups [default: 10]"))
    .arg(flag("json").help("Prints JSON"))
}

/// Runs the command.
pub(super) fn run(given: &[String]) -> Result<ExitCode, StateFailure> {
    let Parsed::Matches(matches) = arguments::parse(command(), given)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let most = match matches.get_one::<String>("top") {
        None => MOST,
        Some(text) => text
            .parse()
            .map_err(|_| StateFailure::Usage(format!("--top takes a number, not \"{text}\"")))?,
    };
    let snapshot = snapshot_argument::open(&matches)?;
    let bar = Bar::start(&matches, "measuring");
    let usage = usage(&snapshot, most, Threads::default(), bar.progress())
        .map_err(|error| snapshot_argument::explain(&error, &place(&snapshot)))?;
    drop(bar);
    if matches.get_flag("json") {
        let text = serde_json::to_string_pretty(&usage);
        printer::line(text.map_err(|error| StateFailure::failed(error.to_string()))?);
        return Ok(ExitCode::SUCCESS);
    }
    printer::line(format!("{} of state", bytes(usage.bytes)));
    usage.operators.iter().for_each(print_operator);
    Ok(ExitCode::SUCCESS)
}

fn print_operator(operator: &OperatorUsage) {
    printer::line("");
    let called = operator.uid.as_ref().or(operator.name.as_ref());
    let called = called.map_or_else(String::new, |name| format!("{name}  "));
    printer::line(format!(
        "{called}{}  {} on the disk",
        operator.operator_id,
        bytes(operator.bytes)
    ));
    let mut columns = Columns::default();
    for state in &operator.states {
        columns.row(vec![
            Cell::Left(state.name.clone()),
            Cell::Right(bytes(state.live_bytes)),
            Cell::Right(counted(state.entries, "entry", "entries")),
        ]);
    }
    if operator.operator_state_bytes > 0 {
        columns.row(vec![
            Cell::Left("operator state".to_owned()),
            Cell::Right(bytes(operator.operator_state_bytes)),
        ]);
    }
    columns.lines("  ").iter().for_each(printer::line);
    if let Some(unreadable) = &operator.unreadable {
        printer::line(format!("  not read: {unreadable}"));
    }
    if let Some(largest) = operator.largest_key_groups.first() {
        printer::line(format!(
            "  largest key group {} with {}, median {}",
            largest.key_group,
            bytes(largest.live_bytes),
            bytes(operator.median_key_group_bytes)
        ));
    }
    if operator.largest_keys.is_empty() {
        return;
    }
    printer::line("  largest keys");
    let mut columns = Columns::default();
    for key in &operator.largest_keys {
        let namespace = key.namespace.as_ref();
        let namespace = namespace.map_or_else(String::new, |namespace| format!(" {namespace}"));
        columns.row(vec![
            Cell::Right(bytes(key.live_bytes)),
            Cell::Right(counted(key.entries, "entry", "entries")),
            Cell::Left(key.state.clone()),
            Cell::Left(format!("{}{namespace}", key.key)),
        ]);
    }
    columns.lines("    ").iter().for_each(printer::line);
}
