//! `millpond state gc`: files under a checkpoint directory that no snapshot there needs.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::{Arg, Command};
use millpond_state_processor::{ErrorKind, delete_garbage, find_garbage};

use crate::arguments::{self, Parsed, flag, value};
use crate::printer;
use crate::state::columns::{Cell, Columns, bytes, counted, grouped};
use crate::state::{DAMAGED, StateFailure, snapshot_argument};

const HOUR_S: u64 = 3600;
/// How old a file is at least: a checkpoint may be on its way.
const DEFAULT_HOURS: u64 = 24;

fn command() -> Command {
    snapshot_argument::options(
        "gc",
        "millpond state gc <DIR> [--dry-run | --delete] [--older-than HOURS] [--json] [OPTIONS]",
        "Finds files that no snapshot in a directory refers to. No job may be running on it, and \
         snapshots elsewhere that refer to files in it are not seen.",
    )
    .arg(
        Arg::new("directory")
            .value_name("DIR")
            .required(true)
            .help("A directory of checkpoints, such as that of a job"),
    )
    .arg(flag("dry-run").help("Only tells what would be deleted (the default)"))
    .arg(flag("delete").conflicts_with("dry-run").help("Deletes it"))
    .arg(value("older-than", "hours").help("Only files not changed for so long [default: 24]"))
    .arg(flag("json").help("Prints JSON"))
}

/// Runs the command.
pub(super) fn run(given: &[String]) -> Result<ExitCode, StateFailure> {
    let Parsed::Matches(matches) = arguments::parse(command(), given)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let hours = match matches.get_one::<String>("older-than") {
        None => DEFAULT_HOURS,
        Some(text) => text.parse().map_err(|_| {
            StateFailure::Usage(format!("--older-than takes whole hours, not \"{text}\""))
        })?,
    };
    let older_than = Duration::from_secs(hours.saturating_mul(HOUR_S));
    let directory = matches.get_one::<String>("directory").expect("required");
    let path = directory.strip_prefix("file://").unwrap_or(directory);
    let path = Path::new(path.strip_prefix("file:").unwrap_or(path));
    let paths = snapshot_argument::paths(&matches)?;
    let found = find_garbage(path, &paths, SystemTime::now(), older_than);
    let found = found.map_err(|error| match error.kind() {
        ErrorKind::Output(io) => StateFailure::failed(format!("cannot list {directory}: {io}")),
        ErrorKind::Snapshot(_) | ErrorKind::Request { .. } => error.into(),
    })?;
    let delete = matches.get_flag("delete");
    if matches.get_flag("json") {
        let text = serde_json::to_string_pretty(&found);
        printer::line(text.map_err(|error| StateFailure::failed(error.to_string()))?);
    } else {
        let mut columns = Columns::default();
        for file in &found.files {
            columns.row(vec![
                Cell::Right(bytes(file.bytes)),
                Cell::Right(format!("{} h old", grouped(file.age_s / HOUR_S))),
                Cell::Left(file.path.display().to_string()),
            ]);
        }
        columns.lines("").iter().for_each(printer::line);
        printer::line(format!(
            "{} unreferenced, {}; {} kept: {} referenced, {} younger than {hours} h",
            counted(found.files.len() as u64, "file", "files"),
            bytes(found.bytes),
            grouped(found.referenced_files + found.young_files),
            grouped(found.referenced_files),
            grouped(found.young_files),
        ));
    }
    if !found.obstacles.is_empty() {
        for obstacle in &found.obstacles {
            printer::error_line(format!("millpond state gc: {obstacle}"));
        }
        printer::error_line("  What these snapshots need is not known: nothing is deleted.");
        return Ok(ExitCode::from(DAMAGED));
    }
    if delete {
        let deleted = delete_garbage(&found)?;
        printer::error_line(format!("{} deleted", counted(deleted, "file", "files")));
    }
    Ok(ExitCode::SUCCESS)
}
