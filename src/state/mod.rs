//! `millpond state`: looks into savepoints and retained checkpoints of Flink and Millpond, and
//! makes new ones out of them.
//!
//! One file per command. They speak to no cluster: all they need is the directory.
//!
//! | exit code | meaning |
//! | --- | --- |
//! | 0 | done; `verify`: sound; `diff`: equal |
//! | 1 | not done; `diff`: different |
//! | 2 | the arguments make no sense |
//! | 3 | the snapshot is damaged |
//!
//! `plan` is `millpond plan`, with its codes: 2 needs `-n`, 3 impossible, 1 no plan.

mod answer;
mod columns;
mod convert;
mod diff;
mod du;
mod edit;
mod gc;
mod ls;
mod new_snapshot;
mod progress;
mod read;
mod rehash;
mod rocksdb;
mod snapshot_argument;
mod sql;
mod verify;

use std::process::ExitCode;

use millpond_state_processor::Error;

use crate::failure::{Failure, chain};
use crate::printer;

/// What `millpond state` can be asked to do.
struct Command {
    name: &'static str,
    about: &'static str,
    run: fn(&[String]) -> Result<ExitCode, StateFailure>,
}

/// Every command, in the order of the help.
const COMMANDS: &[Command] = &[
    Command {
        name: "ls",
        about: "lists operators, states, timers and sources",
        run: ls::run,
    },
    Command {
        name: "plan",
        about: "shows what a program would make of each state",
        run: plan,
    },
    Command {
        name: "read",
        about: "shows the content: a table, JSON, CSV or Parquet",
        run: read::run,
    },
    Command {
        name: "sql",
        about: "answers queries in SQL",
        run: sql::run,
    },
    Command {
        name: "verify",
        about: "checks that a snapshot is sound",
        run: verify::run,
    },
    Command {
        name: "diff",
        about: "compares two snapshots",
        run: diff::run,
    },
    Command {
        name: "du",
        about: "shows where the bytes are, and the largest keys",
        run: du::run,
    },
    Command {
        name: "gc",
        about: "finds files that no snapshot in a directory refers to",
        run: gc::run,
    },
    Command {
        name: "convert",
        about: "writes a snapshot in another form",
        run: convert::run,
    },
    Command {
        name: "rehash",
        about: "writes a snapshot with another maximum parallelism",
        run: rehash::run,
    },
    Command {
        name: "edit",
        about: "writes a snapshot that differs by edits",
        run: edit::run,
    },
];

const USAGE: u8 = 2;
const DAMAGED: u8 = 3;

/// Why a command failed.
pub(crate) enum StateFailure {
    /// The arguments make no sense.
    Usage(String),
    /// It was tried and failed: the causes, the nearest last.
    Failed(Vec<String>),
    /// The snapshot is damaged.
    Damaged(Vec<String>),
}

impl From<Failure> for StateFailure {
    fn from(failure: Failure) -> Self {
        match failure {
            // The list of what is missing stands on lines that Flink's words leave out.
            Failure::Arguments(text) if text.starts_with("the following required") => {
                StateFailure::Usage("it needs more arguments".to_owned())
            }
            Failure::Arguments(text) => StateFailure::Usage(text),
            Failure::Action(causes) => StateFailure::Failed(causes),
        }
    }
}

impl From<Error> for StateFailure {
    fn from(error: Error) -> Self {
        (&error).into()
    }
}

impl From<&Error> for StateFailure {
    fn from(error: &Error) -> Self {
        let causes = chain(error);
        if error.is_damage() {
            StateFailure::Damaged(causes)
        } else {
            StateFailure::Failed(causes)
        }
    }
}

impl StateFailure {
    pub(crate) fn failed(text: impl Into<String>) -> Self {
        StateFailure::Failed(vec![text.into()])
    }

    /// Tells the failure on standard error; returns the exit code.
    fn tell(self, command: &str) -> ExitCode {
        let (causes, code) = match self {
            StateFailure::Usage(text) => {
                let help = format!("\"millpond state {command} -h\" tells how it is used.");
                (vec![text, help], USAGE)
            }
            StateFailure::Failed(causes) => (causes, 1),
            StateFailure::Damaged(causes) => (causes, DAMAGED),
        };
        let mut causes = causes.into_iter();
        let first = causes.next().unwrap_or_default();
        printer::error_line(format!("millpond state {command}: {first}"));
        causes.for_each(|cause| printer::error_line(format!("  {cause}")));
        ExitCode::from(code)
    }
}

/// As `millpond plan`: its codes 2 and 3 are answers, so that a mistake is told by 1.
fn plan(given: &[String]) -> Result<ExitCode, StateFailure> {
    crate::plan::run(given).map_err(|failure| match failure {
        Failure::Arguments(text) => StateFailure::failed(text),
        Failure::Action(causes) => StateFailure::Failed(causes),
    })
}

/// Runs the action.
pub(crate) fn run(given: &[String]) -> Result<ExitCode, Failure> {
    let Some((name, rest)) = given.split_first() else {
        print_help();
        return Ok(ExitCode::from(USAGE));
    };
    if ["-h", "--help", "-help", "help"].contains(&name.as_str()) {
        print_help();
        return Ok(ExitCode::SUCCESS);
    }
    Ok(match COMMANDS.iter().find(|command| command.name == name) {
        Some(command) => (command.run)(rest).unwrap_or_else(|failure| failure.tell(command.name)),
        None => {
            let known: Vec<&str> = COMMANDS.iter().map(|command| command.name).collect();
            printer::error_line(format!("millpond state: there is no command \"{name}\""));
            printer::error_line(format!("  There are: {}.", known.join(", ")));
            ExitCode::from(USAGE)
        }
    })
}

fn print_help() {
    printer::line("millpond state <COMMAND> <SNAPSHOT> [OPTIONS]");
    printer::line("");
    printer::line(
        "Looks into a savepoint or retained checkpoint of Flink or Millpond, or makes a new",
    );
    printer::line("one out of it. A snapshot is given by its directory or its _metadata file. No");
    printer::line("cluster is needed.");
    printer::line("");
    for Command { name, about, .. } in COMMANDS {
        printer::line(format!("  {name:<10}{about}"));
    }
    printer::line("");
    printer::line("\"millpond state <COMMAND> -h\" tells the options of a command.");
    printer::line("");
    printer::line("Exit code: 0 done (verify: sound, diff: equal), 1 not done (diff: different),");
    printer::line("2 mistake in the arguments, 3 the snapshot is damaged. Of plan: see its help.");
}
