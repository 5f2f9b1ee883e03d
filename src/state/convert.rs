//! `millpond state convert`: the same state in another form.

use std::process::ExitCode;

use clap::Command;
use millpond_snapshot::KeyedFormat;
use millpond_state_processor::{ConvertOptions, Target, convert};

use crate::arguments::{self, Parsed, value};
use crate::state::StateFailure;
use crate::state::new_snapshot::{self, Work};

/// What is read once is written once.
const PASSES: u64 = 2;

fn command() -> Command {
    new_snapshot::command(
        "convert",
        "millpond state convert <SNAPSHOT> <DIRECTORY> [--for-flink RELEASE]\n       \
             [--format canonical|native-heap|native-rocksdb]\n       \
             [--parallelism N] [OPTIONS]",
        "Writes a snapshot in another form; what is not said stays as it is",
    )
    .arg(value("format", "FORMAT").help(
        "Of keyed state: canonical (all state backends restore it), native-heap (hashmap only) or \
         native-rocksdb (rocksdb only)",
    ))
    .arg(value("parallelism", "N").help("How many subtasks every operator has"))
}

/// Runs the command.
pub(super) fn run(given: &[String]) -> Result<ExitCode, StateFailure> {
    let Parsed::Matches(matches) = arguments::parse(command(), given)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let format = match matches.get_one::<String>("format").map(String::as_str) {
        None => None,
        Some("canonical") => Some(KeyedFormat::Canonical),
        Some("native-heap") => Some(KeyedFormat::NativeHeap),
        Some("native-rocksdb") => Some(KeyedFormat::NativeRocksDb),
        Some(other) => {
            return Err(StateFailure::Usage(format!(
                "--format takes canonical, native-heap or native-rocksdb, not \"{other}\""
            )));
        }
    };
    let options = ConvertOptions {
        target: new_snapshot::for_flink(&matches)?.map_or_else(Target::default, Target::from),
        format,
        parallelism: new_snapshot::number(&matches, "parallelism")?,
    };
    let work = Work::start(&matches, "converting", PASSES)?;
    let result = convert(work.old.loaded(), work.fs.clone(), &work.to, &options);
    work.end(result)?;
    Ok(ExitCode::SUCCESS)
}
