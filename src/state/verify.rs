//! `millpond state verify`: whether a snapshot is sound.

use std::process::ExitCode;

use clap::Command;
use millpond_state_processor::{Threads, verify};

use crate::arguments::{self, Parsed, flag};
use crate::printer;
use crate::state::columns::{bytes, counted, grouped};
use crate::state::progress::Bar;
use crate::state::{DAMAGED, StateFailure, snapshot_argument};

fn command() -> Command {
    snapshot_argument::command(
        "verify",
        "millpond state verify <SNAPSHOT> [--json] [OPTIONS]",
        "Checks all that can be checked of a snapshot; exit code 3 if it is damaged",
    )
    .arg(flag("json").help("Prints JSON"))
}

/// Runs the command.
pub(super) fn run(given: &[String]) -> Result<ExitCode, StateFailure> {
    let Parsed::Matches(matches) = arguments::parse(command(), given)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let snapshot = snapshot_argument::open(&matches)?;
    let bar = Bar::start(&matches, "checking");
    let found = verify(&snapshot, Threads::default(), bar.progress())?;
    drop(bar);
    let code = match found.sound {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(DAMAGED),
    };
    if matches.get_flag("json") {
        let text = serde_json::to_string_pretty(&found);
        printer::line(text.map_err(|error| StateFailure::failed(error.to_string()))?);
        return Ok(code);
    }
    let location = &snapshot.loaded().directory;
    printer::line(match found.sound {
        true => format!("{location} is sound"),
        false => {
            let count = counted(found.problem_count, "problem", "problems");
            format!("{location} is DAMAGED: {count}")
        }
    });
    for problem in &found.problems {
        // Errors name their file themselves.
        printer::line(match problem.what.starts_with('"') {
            true => format!("  {}", problem.what),
            false => format!("  {}: {}", problem.place, problem.what),
        });
    }
    let told = found.problems.len() as u64;
    if found.problem_count > told {
        let more = grouped(found.problem_count - told);
        printer::line(format!("  and {more} more"));
    }
    let checked = &found.checked;
    printer::line(format!(
        "Checked: {}, {} of state; {} by checksum, {} by size; {} of keyed state, {} by the hash of \
         the key; {} of operator state; {} in flight",
        counted(checked.operators, "operator", "operators"),
        bytes(checked.bytes),
        counted(checked.files_by_checksum, "file", "files"),
        grouped(checked.files_by_size),
        counted(checked.entries, "entry", "entries"),
        grouped(checked.hashed_keys),
        counted(checked.elements, "element", "elements"),
        counted(checked.buffers, "buffer", "buffers"),
    ));
    if !found.unknown.is_empty() {
        printer::line("Not known:");
        for unknown in &found.unknown {
            printer::line(format!("  {unknown}"));
        }
    }
    Ok(code)
}
