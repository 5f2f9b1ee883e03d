//! `millpond state read`: the content of a snapshot.

use std::path::Path;
use std::process::ExitCode;

use clap::{ArgAction, Command};
use millpond_state_processor::{
    ErrorKind, Format, OpenSnapshot, ReadOptions, Selection, Threads, read,
};

use crate::arguments::{self, Parsed, flag, value};
use crate::state::answer::{self, Answer};
use crate::state::progress::Bar;
use crate::state::{StateFailure, snapshot_argument};

fn command() -> Command {
    snapshot_argument::command(
        "read",
        "millpond state read <SNAPSHOT> [--uid U] [--state S] [--where key=K] [--format F] [OPTIONS]",
        "Shows the content of a snapshot",
    )
    .arg(value("uid", "uid").help("Only this operator, by its uid, id or name"))
    .arg(value("state", "name").help("Only this state"))
    .arg(
        value("where", "what=value")
            .action(ArgAction::Append)
            .help("Only rows whose key, namespace or user-key has this value; may be repeated"),
    )
    .arg(value("namespace", "value").help("The same as --where namespace=value"))
    .arg(value("format", "format").help("table, json, jsonl, csv or parquet [default: table]"))
    .arg(answer::output())
    .arg(flag("ttl").help("Shows when values with time-to-live were used last"))
    .arg(value("limit", "rows").help("Stops after so many rows"))
}

/// Runs the command.
pub(super) fn run(given: &[String]) -> Result<ExitCode, StateFailure> {
    let Parsed::Matches(matches) = arguments::parse(command(), given)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    let mut selection = Selection {
        operator: text("uid"),
        state: text("state"),
        namespace: text("namespace"),
        ..Selection::default()
    };
    for condition in matches.get_many::<String>("where").into_iter().flatten() {
        let (what, value) = condition.split_once('=').unwrap_or((condition, ""));
        let place = match what {
            "key" => &mut selection.key,
            "namespace" => &mut selection.namespace,
            "user-key" => &mut selection.user_key,
            _ => {
                let usage = "--where takes key=..., namespace=... or user-key=...";
                return Err(StateFailure::Usage(format!("{usage}, not \"{condition}\"")));
            }
        };
        *place = Some(value.to_owned());
    }
    let answer = Answer::of(&matches)?;
    let limit = text("limit").map(|text| {
        let wrong = |_| StateFailure::Usage(format!("--limit takes a number, not \"{text}\""));
        text.parse().map_err(wrong)
    });
    let options = ReadOptions {
        selection,
        format: match &answer {
            Answer::Text { format, .. } => *format,
            Answer::Parquet(_) => Format::Table,
        },
        ttl: matches.get_flag("ttl"),
        limit: limit.transpose()?,
    };
    let snapshot = snapshot_argument::open(&matches)?;
    let bar = Bar::start_beside_output(&matches, "reading");
    let mut out = match answer {
        Answer::Text { out, .. } => out,
        Answer::Parquet(file) => return export(snapshot, &options, &bar, &file),
    };
    let result = read(
        &snapshot,
        &options,
        Threads::default(),
        bar.progress(),
        &mut out,
    );
    drop(bar);
    match result {
        Ok(_) => Ok(ExitCode::SUCCESS),
        // The reader has seen enough (| head).
        Err(error)
            if matches!(error.kind(), ErrorKind::Output(io)
            if io.kind() == std::io::ErrorKind::BrokenPipe) =>
        {
            Ok(ExitCode::SUCCESS)
        }
        Err(error) if matches!(error.kind(), ErrorKind::Request { .. }) => {
            Err(StateFailure::Usage(error.to_string()))
        }
        Err(error) => Err(snapshot_argument::explain(
            &error,
            &snapshot_argument::place(&snapshot),
        )),
    }
}

/// Writes one state as a Parquet file.
#[cfg(feature = "sql")]
fn export(
    snapshot: OpenSnapshot,
    options: &ReadOptions,
    bar: &Bar,
    file: &Path,
) -> Result<ExitCode, StateFailure> {
    let here = snapshot_argument::place(&snapshot);
    millpond_state_sql::export(snapshot, options, Threads::default(), bar.progress(), file)
        .map_err(|error| answer::explain(error, &here))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(not(feature = "sql"))]
fn export(_: OpenSnapshot, _: &ReadOptions, _: &Bar, _: &Path) -> Result<ExitCode, StateFailure> {
    Err(answer::without_feature("Parquet"))
}
