//! `millpond plan`: what a restore would make of every named state, without running the program.
//!
//! The program makes the plan, as it alone knows its types: it is started in a mode in which it
//! prints it and ends. `millpond run --plan` shows the same plan before it starts the program.

mod approval;
mod table;

use std::process::{ExitCode, Stdio};

use millpond_checkpoint::plan::StatePlan;
use millpond_types::config::{Configuration, PLAN_COUNTED, PLAN_VARIABLE, options};

use crate::arguments::{self, Parsed, flag};
use crate::failure::Failure;
use crate::{printer, program};

pub(crate) use approval::{Approval, Decision};

fn command() -> clap::Command {
    program::options(arguments::action(
        "plan",
        "Shows what a restore would make of every named state",
    ))
    .override_usage("millpond plan [OPTIONS] <SAVEPOINT> <PROGRAM> [ARGUMENTS]...")
    .arg(flag("json").help("Prints the plan as one JSON object"))
    .arg(flag("count").help(
        "Counts entries where the snapshot does not say how many there are: reads all keyed state",
    ))
    .after_help(
        "Exit code: 0 everything is taken over (or what is not is allowed), \
         2 state would be left behind and needs -n, 3 it cannot be restored, 1 no plan.",
    )
}

/// Runs the action.
pub(crate) fn run(given: &[String]) -> Result<ExitCode, Failure> {
    let (parsed, rest) = arguments::parse_until_program(command(), given)?;
    let Parsed::Matches(matches) = parsed else {
        return Ok(ExitCode::SUCCESS);
    };
    if matches.contains_id("fromSavepoint") {
        return Err(Failure::arguments(
            "Name the savepoint in front of the program, not by -s.",
        ));
    }
    let Some((savepoint, started)) = rest.split_first() else {
        return Err(Failure::arguments(
            "Missing savepoint. Specify the savepoint or checkpoint, then the program.",
        ));
    };
    let mut configuration = program::configuration(&matches)?;
    configuration.set_option(&options::RECOVERY_PATH, &Some(savepoint.clone()));
    let plan = of(started, &configuration, matches.get_flag("count"))?;
    match matches.get_flag("json") {
        true => {
            let text = serde_json::to_string_pretty(&plan)
                .map_err(|error| Failure::action(error.to_string()).during("No JSON."))?;
            printer::line(text);
        }
        false => printer::text(table::table(&plan)),
    }
    Ok(ExitCode::from(plan.verdict.exit_code()))
}

/// Prints a plan for people.
pub(crate) fn show(plan: &StatePlan) {
    printer::text(table::table(plan));
}

/// Has the program make its plan.
pub(crate) fn of(
    started: &[String],
    configuration: &Configuration,
    count: bool,
) -> Result<StatePlan, Failure> {
    let asked = if count { PLAN_COUNTED } else { "1" };
    let output = program::command(started, configuration)?
        .env(PLAN_VARIABLE, asked)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| program::not_started(started, &error))?;
    let failed = |why: String| Failure::action(why).during("The program did not give its plan.");
    if !output.status.success() {
        return Err(failed(format!("it ended with {}", output.status)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    // A program may print before it calls `execute`.
    text.lines()
        .rev()
        .find_map(|line| serde_json::from_str(line).ok())
        .ok_or_else(|| failed("it ended without calling execute".to_owned()))
}
