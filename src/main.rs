//! The command `millpond`: starts jobs and controls them over REST, in the words of Flink's command
//! line.
//!
//! One file per action; this one only finds the action. Answers go to standard output, failures of
//! an action to standard error; a mistake in the arguments is told on standard output, as in Flink.
//! The exit code is 0, or 1 for every failure; `run` hands on that of the program, `plan` says by 2
//! or 3 what stands against a restore, and `latest` and `state` have codes of their own.

mod arguments;
mod cancel;
mod capabilities;
mod checkpoint;
mod cluster;
mod daemon;
mod demo;
mod failure;
mod info;
mod jobmanager;
mod latest;
mod list;
mod plan;
mod printer;
mod program;
mod remote_run;
mod rest_client;
mod run;
mod savepoint;
mod service;
mod standalone_job;
mod state;
mod stop;
mod taskmanager;
mod yarn;

use std::process::ExitCode;

use failure::Failure;

/// What `millpond` can be asked to do.
struct Action {
    name: &'static str,
    about: &'static str,
    run: fn(&[String]) -> Result<ExitCode, Failure>,
}

/// Every action, in the order of the help.
const ACTIONS: &[Action] = &[
    Action {
        name: "run",
        about: "starts a program",
        run: run::run,
    },
    Action {
        name: "info",
        about: "shows the plan of a program, as JSON",
        run: info::run,
    },
    Action {
        name: "plan",
        about: "shows what a restore would make of every named state",
        run: plan::run,
    },
    Action {
        name: "list",
        about: "lists running and scheduled jobs",
        run: list::run,
    },
    Action {
        name: "stop",
        about: "stops a running job with a savepoint",
        run: stop::run,
    },
    Action {
        name: "cancel",
        about: "cancels a running job",
        run: cancel::run,
    },
    Action {
        name: "savepoint",
        about: "triggers a savepoint of a running job, or disposes of an existing one",
        run: savepoint::run,
    },
    Action {
        name: "checkpoint",
        about: "triggers a checkpoint of a running job",
        run: checkpoint::run,
    },
    Action {
        name: "latest",
        about: "names the newest intact snapshot, to start a job from",
        run: latest::run,
    },
    Action {
        name: "state",
        about: "looks into savepoints and retained checkpoints, of Flink too",
        run: state::run,
    },
    Action {
        name: "capabilities",
        about: "shows what savepoints and checkpoints are good for, and the tests that show it",
        run: capabilities::run,
    },
    Action {
        name: "cluster",
        about: "starts or stops a job manager and task managers, on one machine or several",
        run: cluster::run,
    },
    Action {
        name: "jobmanager",
        about: "runs the job manager of a cluster, with REST, until it is ended",
        run: jobmanager::run,
    },
    Action {
        name: "standalone-job",
        about: "runs the job manager of a cluster for one program, until its job has ended",
        run: standalone_job::run,
    },
    Action {
        name: "taskmanager",
        about: "brings slots to the cluster of a job manager, until it is ended",
        run: taskmanager::run,
    },
    Action {
        name: "demo",
        about: "shows a job that is killed and resumed and loses nothing",
        run: demo::run,
    },
];

fn main() -> ExitCode {
    let arguments: Result<Vec<String>, _> = std::env::args_os()
        .skip(1)
        .map(|argument| argument.into_string())
        .collect();
    let result = match arguments {
        Ok(arguments) => dispatch(&arguments),
        Err(argument) => Err(Failure::arguments(format!(
            "argument \"{}\" is not UTF-8",
            argument.to_string_lossy()
        ))),
    };
    result.unwrap_or_else(|failure| failure.tell())
}

fn dispatch(arguments: &[String]) -> Result<ExitCode, Failure> {
    let Some((name, rest)) = arguments.split_first() else {
        print_help();
        printer::line("Please specify an action.");
        return Ok(ExitCode::FAILURE);
    };
    match name.as_str() {
        "-h" | "--help" | "-help" | "help" => print_help(),
        "-v" | "--version" | "-version" => {
            let commit = option_env!("MILLPOND_COMMIT").unwrap_or("unknown");
            printer::line(format!(
                "Version: {}, Commit ID: {commit}",
                env!("CARGO_PKG_VERSION")
            ));
        }
        demo::JOB_ACTION => return demo::run_job(rest),
        name => match ACTIONS.iter().find(|action| action.name == name) {
            Some(action) => return (action.run)(rest),
            None => {
                tell_unknown(name);
                return Ok(ExitCode::FAILURE);
            }
        },
    }
    Ok(ExitCode::SUCCESS)
}

fn tell_unknown(name: &str) {
    let quoted: Vec<String> = ACTIONS
        .iter()
        .map(|action| format!("\"{}\"", action.name))
        .collect();
    let (last, others) = quoted.split_last().expect("there are actions");
    printer::line(format!("\"{name}\" is not a valid action."));
    printer::line("");
    printer::line(format!(
        "Valid actions are {} and {last}.",
        others.join(", ")
    ));
    printer::line("");
    printer::line("Specify the version option (-v or --version) to print Millpond version.");
    printer::line("");
    printer::line("Specify the help option (-h or --help) to get help on the command.");
}

fn print_help() {
    printer::line("millpond <ACTION> [OPTIONS] [ARGUMENTS]");
    printer::line("");
    printer::line("The following actions are available:");
    printer::line("");
    let longest = ACTIONS.iter().map(|action| action.name.len()).max();
    let width = longest.unwrap_or(0) + 2;
    for Action { name, about, .. } in ACTIONS {
        printer::line(format!("  {name:<width$}{about}"));
    }
    printer::line("");
    printer::line("\"millpond <ACTION> -h\" tells the options of an action.");
    printer::line("");
}
