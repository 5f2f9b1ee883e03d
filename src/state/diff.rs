//! `millpond state diff`: what two snapshots do not have in common.

use std::process::ExitCode;

use clap::{Arg, ArgAction, Command};
use millpond_state_processor::{Difference, ErrorKind, StateDifference, Threads, diff};
use serde_json::Value as Json;

use crate::arguments::{self, Parsed, flag, value};
use crate::printer;
use crate::state::columns::grouped;
use crate::state::progress::Bar;
use crate::state::{StateFailure, snapshot_argument};

fn command() -> Command {
    let snapshot = |name: &'static str, shown: &'static str, help: &'static str| {
        Arg::new(name).value_name(shown).required(true).help(help)
    };
    snapshot_argument::options(
        "diff",
        "millpond state diff <A> <B> [--uid U] [--json] [OPTIONS]",
        "Compares two snapshots; exit code 1 if they differ",
    )
    .arg(snapshot("first", "A", "The snapshot that was"))
    .arg(snapshot(
        "second",
        "B",
        "The snapshot that it is compared with",
    ))
    .arg(value("uid", "uid").help("Only this operator, by its uid, id or name"))
    .arg(value("at", "chk-N").action(ArgAction::Append).help(
        "A and B are directories of jobs: of the checkpoints kept there this one; given twice, \
         the first is of A and the second of B",
    ))
    .arg(flag("json").help("Prints JSON"))
    .arg(snapshot_argument::quiet())
}

/// Runs the command.
pub(super) fn run(given: &[String]) -> Result<ExitCode, StateFailure> {
    let Parsed::Matches(matches) = arguments::parse(command(), given)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let paths = snapshot_argument::paths(&matches)?;
    let at: Vec<&str> = matches
        .get_many::<String>("at")
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect();
    let (at_first, at_second) = match *at.as_slice() {
        [] => (None, None),
        [both] => (Some(both), Some(both)),
        [first, second] => (Some(first), Some(second)),
        _ => {
            return Err(StateFailure::Usage(
                "--at is given once or twice".to_owned(),
            ));
        }
    };
    let open = |name: &str, at: Option<&str>| {
        let given = matches.get_one::<String>(name).expect("required");
        let pointer = snapshot_argument::pointer_at(given, at, &paths)?;
        snapshot_argument::open_at(&pointer, &paths)
    };
    let (first, second) = (open("first", at_first)?, open("second", at_second)?);
    let uid = matches.get_one::<String>("uid").map(String::as_str);
    let bar = Bar::start(&matches, "comparing");
    let result = diff(&first, &second, uid, Threads::default(), bar.progress());
    drop(bar);
    let found = result.map_err(|error| match error.kind() {
        ErrorKind::Request { .. } => StateFailure::Usage(error.to_string()),
        ErrorKind::Snapshot(_) | ErrorKind::Output(_) => {
            snapshot_argument::explain(&error, &snapshot_argument::place(&first))
        }
    })?;
    if matches.get_flag("json") {
        let text = serde_json::to_string_pretty(&found);
        printer::line(text.map_err(|error| StateFailure::failed(error.to_string()))?);
    } else {
        print(&found);
    }
    Ok(match found.equal {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn print(found: &Difference) {
    printer::line(match found.equal {
        true => "The snapshots hold the same state.",
        false => "The snapshots differ.",
    });
    for operator in &found.removed_operators {
        printer::line(format!("- operator {operator}"));
    }
    for operator in &found.added_operators {
        printer::line(format!("+ operator {operator}"));
    }
    for operator in &found.operators {
        printer::line("");
        let uid = operator
            .uid
            .as_ref()
            .map_or_else(String::new, |uid| format!("{uid}  "));
        printer::line(format!("{uid}{}", operator.operator_id));
        for note in &operator.notes {
            printer::line(format!("  {note}"));
        }
        for state in &operator.removed_states {
            printer::line(format!("  - state {state}"));
        }
        for state in &operator.added_states {
            printer::line(format!("  + state {state}"));
        }
        operator.states.iter().for_each(print_state);
    }
}

fn print_state(state: &StateDifference) {
    printer::line(format!(
        "  {}: {} removed, {} added, {} changed",
        state.name,
        grouped(state.removed),
        grouped(state.added),
        grouped(state.changed)
    ));
    if let Some(description) = &state.description {
        printer::line(format!("    was {description}"));
    }
    let parts = |sample: &Json| -> Vec<String> {
        match sample {
            Json::Array(parts) => parts.iter().map(Json::to_string).collect(),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Object(_) => {
                vec![sample.to_string()]
            }
        }
    };
    for (sign, samples, count) in [
        ("-", &state.removed_samples, state.removed),
        ("+", &state.added_samples, state.added),
    ] {
        for sample in samples {
            printer::line(format!("    {sign} {}", parts(sample).join("  ")));
        }
        tell_more(sign, count, samples.len());
    }
    for sample in &state.changed_samples {
        let mut parts = parts(sample);
        let text = match (parts.pop(), parts.pop()) {
            (Some(second), Some(first)) => format!("{}  {first} -> {second}", parts.join("  ")),
            (last, _) => last.unwrap_or_default(),
        };
        printer::line(format!("    ~ {text}"));
    }
    tell_more("~", state.changed, state.changed_samples.len());
}

fn tell_more(sign: &str, count: u64, told: usize) {
    if count > told as u64 {
        let more = grouped(count - told as u64);
        printer::line(format!("    {sign} and {more} more"));
    }
}
