//! `millpond state rehash`: the same state with another maximum parallelism.

use std::process::ExitCode;

use clap::Command;
use millpond_state_processor::{RehashOptions, rehash};

use crate::arguments::{self, Parsed, value};
use crate::state::StateFailure;
use crate::state::new_snapshot::{self, Work};

/// What is read goes through sorted files, which are written and read.
const PASSES: u64 = 4;

fn command() -> Command {
    new_snapshot::command(
        "rehash",
        "millpond state rehash <SNAPSHOT> <DIRECTORY> --max-parallelism N\n       \
             [--for-flink RELEASE] [OPTIONS]",
        "Writes a snapshot with another maximum parallelism: every key in its new key group",
    )
    .arg(
        value("max-parallelism", "N")
            .required(true)
            .help("How many key groups every operator has: 1 to 32768"),
    )
}

/// Runs the command.
pub(super) fn run(given: &[String]) -> Result<ExitCode, StateFailure> {
    let Parsed::Matches(matches) = arguments::parse(command(), given)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let max_parallelism = new_snapshot::number(&matches, "max-parallelism")?;
    let options = RehashOptions {
        max_parallelism: max_parallelism.expect("required"),
        for_flink: new_snapshot::for_flink(&matches)?,
    };
    let work = Work::start(&matches, "rehashing", PASSES)?;
    let result = rehash(work.old.loaded(), work.fs.clone(), &work.to, &options);
    work.end(result)?;
    Ok(ExitCode::SUCCESS)
}
