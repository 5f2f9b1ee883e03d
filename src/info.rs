//! `millpond info`: the plan of a program, without running it.

use std::process::{ExitCode, Stdio};

use millpond_types::config::INFO_VARIABLE;
use serde_json::Value;

use crate::arguments::{self, Parsed};
use crate::failure::Failure;
use crate::{printer, program};

fn command() -> clap::Command {
    program::options(arguments::action(
        "info",
        "Shows the plan of a program, as JSON",
    ))
    .override_usage("millpond info [OPTIONS] <PROGRAM> [ARGUMENTS]...")
}

/// Runs the action.
pub(crate) fn run(given: &[String]) -> Result<ExitCode, Failure> {
    let (parsed, started) = arguments::parse_until_program(command(), given)?;
    let Parsed::Matches(matches) = parsed else {
        return Ok(ExitCode::SUCCESS);
    };
    let configuration = program::configuration(&matches)?;
    let output = program::command(started, &configuration)?
        .env(INFO_VARIABLE, "1")
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| program::not_started(started, &error))?;
    let failed = |why: String| Failure::action(why).during("The program did not give its plan.");
    if !output.status.success() {
        return Err(failed(format!("it ended with {}", output.status)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let plan =
        plan_in(&text).ok_or_else(|| failed("it ended without calling execute".to_owned()))?;
    printer::line("----------------------- Execution Plan -----------------------");
    printer::line(plan);
    printer::line("-".repeat(62));
    printer::line("");
    printer::line("No description provided.");
    Ok(ExitCode::SUCCESS)
}

/// The last line that is a JSON object: a program may print before it calls `execute`.
fn plan_in(output: &str) -> Option<&str> {
    output
        .lines()
        .rev()
        .find(|line| serde_json::from_str::<Value>(line).is_ok_and(|value| value.is_object()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_is_found_behind_what_the_program_prints() {
        assert_eq!(plan_in("hello\n{\"nodes\":[]}\n\n"), Some("{\"nodes\":[]}"));
        assert_eq!(plan_in("hello\n17\n"), None);
    }
}
