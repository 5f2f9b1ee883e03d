//! Benchmarks that print figures: one JSON object on the last line of standard output.
//!
//! ```text
//! millpond-bench keyed-count --keys 1000000 --key-type i64 --parallelism 2 --json
//! millpond-bench keyed-count --processes 2 --tls certificates --json
//! millpond-bench keyed-count --keys 10000000 --backend rocksdb --memory 512mb --distribution zipf --json
//! millpond-bench incremental --backend rocksdb --keys 10000000 --change 1% --json
//! millpond-bench bounded --process-memory 256mb --backend rocksdb --memory 96mb --json
//! millpond-bench savepoint --keys 10000000 --parallelism 2 --restore-parallelism 1 --json
//! millpond-bench latency --rate 1000 --json
//! millpond-bench backpressure --json
//! millpond-bench recovery --json
//! millpond-bench cluster-start --json
//! millpond-bench state-read --keys 10000000 --json
//! millpond-bench state-verify --keys 10000000 --json
//! millpond-bench state-diff --keys 10000000 --json
//! millpond-bench state-sql --keys 10000000 --memory-mib 64 --json    (built with --features sql)
//! ```

mod backend;
mod backpressure;
mod bounded;
mod cluster_start;
mod incremental;
mod job;
mod keyed_count;
mod latency;
mod measure;
mod noted;
mod recovery;
mod savepoint;
mod state;
#[cfg(feature = "sql")]
mod state_sql;
mod zipf;

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
    /// Takes checkpoints of a large state of which a part changes between two.
    Incremental(incremental::Arguments),
    /// Runs, takes checkpoints and restores with state five times as large as the memory given.
    Bounded(bounded::Arguments),
    /// Part of `bounded`: a job in a process with bounded memory.
    #[command(hide = true)]
    BoundedRun(bounded::RunArguments),
    /// Takes a savepoint of a large state under full load, stops, and restores it.
    Savepoint(savepoint::Arguments),
    /// Part of `savepoint`: restores in a process of its own.
    #[command(hide = true)]
    RestoreOnly(savepoint::RestoreArguments),
    /// Measures the time from emission to sink at a low rate.
    Latency(latency::Arguments),
    /// Takes checkpoints while the sink is the slow one, aligned and unaligned.
    Backpressure(backpressure::Arguments),
    /// Kills workers of a job and measures the time until it counts again.
    Recovery(recovery::Arguments),
    /// Starts jobs in a running cluster and measures the time until they count.
    ClusterStart(cluster_start::Arguments),
    /// Part of both: the job in processes of its own.
    #[command(hide = true)]
    NotedRun(noted::Arguments),
    /// Part of `cluster-start`: a job manager or task manager.
    #[command(hide = true)]
    Service(cluster_start::ServiceArguments),
    /// Reads a savepoint, as values and as lines of JSON.
    StateRead(state::Arguments),
    /// Part of those below and above: writes a savepoint in a process of its own.
    #[command(hide = true)]
    StateWrite(state::WriteArguments),
    /// Verifies a savepoint.
    StateVerify(state::Arguments),
    /// Compares two savepoints.
    StateDiff(state::Arguments),
    /// Answers queries in SQL about a savepoint.
    #[cfg(feature = "sql")]
    StateSql(state_sql::Arguments),
}

/// Why a benchmark could not be run, for people.
type Failure = String;

fn failure(error: impl std::fmt::Debug) -> Failure {
    format!("{error:?}")
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::KeyedCount(arguments) => keyed_count::run(&arguments),
        Command::Incremental(arguments) => incremental::run(&arguments),
        Command::Bounded(arguments) => bounded::run(&arguments),
        Command::BoundedRun(arguments) => bounded::run_job(&arguments),
        Command::Savepoint(arguments) => savepoint::run(&arguments),
        Command::RestoreOnly(arguments) => savepoint::run_restore(&arguments),
        Command::Latency(arguments) => latency::run(&arguments),
        Command::Backpressure(arguments) => backpressure::run(&arguments),
        Command::Recovery(arguments) => recovery::run(&arguments),
        Command::ClusterStart(arguments) => cluster_start::run(&arguments),
        Command::NotedRun(arguments) => noted::run(&arguments),
        Command::Service(arguments) => cluster_start::run_service(&arguments),
        Command::StateRead(arguments) => state::run_read(&arguments),
        Command::StateWrite(arguments) => state::run_write(&arguments),
        Command::StateVerify(arguments) => state::run_verify(&arguments),
        Command::StateDiff(arguments) => state::run_diff(&arguments),
        #[cfg(feature = "sql")]
        Command::StateSql(arguments) => state_sql::run(&arguments),
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
