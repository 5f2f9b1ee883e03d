//! Benchmarks that print figures: one JSON object on the last line of standard output.
//!
//! ```text
//! millpond-bench keyed-count --keys 1000000 --key-type i64 --parallelism 2 --json
//! millpond-bench savepoint --keys 10000000 --parallelism 2 --restore-parallelism 1 --json
//! millpond-bench latency --rate 1000 --json
//! ```

mod job;
mod keyed_count;
mod latency;
mod measure;
mod savepoint;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(name = "millpond-bench", about = "Benchmarks that print figures")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Counts per key as fast as it can, with checkpoints, beside a plain loop without any engine.
    KeyedCount(keyed_count::Arguments),
    /// Takes a savepoint of a large state under full load, stops, and restores it.
    Savepoint(savepoint::Arguments),
    /// Part of `savepoint`: restores in a process of its own.
    #[command(hide = true)]
    RestoreOnly(savepoint::RestoreArguments),
    /// Measures the time from emission to sink at a low rate.
    Latency(latency::Arguments),
}

/// Why a benchmark could not be run, for people.
type Failure = String;

fn failure(error: impl std::fmt::Debug) -> Failure {
    format!("{error:?}")
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::KeyedCount(arguments) => keyed_count::run(&arguments),
        Command::Savepoint(arguments) => savepoint::run(&arguments),
        Command::RestoreOnly(arguments) => savepoint::run_restore(&arguments),
        Command::Latency(arguments) => latency::run(&arguments),
    };
    match result {
        Ok(figures) => {
            print_line(&figures.to_string());
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "the one line that this program is for")]
fn print_line(line: &str) {
    println!("{line}");
}
