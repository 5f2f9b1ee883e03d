//! `millpond capabilities`: what a snapshot of each kind is good for, and the tests that show it.
//!
//! The rows and columns are those of Flink's documentation on checkpoints and savepoints. A cell is only
//! what its tests say: given the output of `cargo test`, each of them must have run and passed.
//!
//! | exit code | meaning |
//! | --- | --- |
//! | 0 | the table is printed; with `--results`: all of its tests have passed |
//! | 1 | with `--results`: a test has failed or has not run |

mod results;
mod table;

use std::process::ExitCode;

use clap::{Arg, Command};

use crate::arguments::{self, Parsed};
use crate::failure::Failure;
use crate::printer;

use results::{Outcome, Results};
use table::{Answer, COLUMNS, Cell, Promise, ROWS, Row, Test};

fn command() -> Command {
    Command::new("capabilities")
        .bin_name("millpond capabilities")
        .override_usage("millpond capabilities [--results FILE]")
        .about(
            "Prints what savepoints and checkpoints are good for, as Markdown, and the tests that show it.",
        )
        .arg(
            Arg::new("results")
                .long("results")
                .value_name("FILE")
                .help("Output of \"cargo test\": tells of each test whether it has run and passed"),
        )
}

/// Runs the action.
pub(crate) fn run(given: &[String]) -> Result<ExitCode, Failure> {
    let matches = match arguments::parse(command(), given)? {
        Parsed::Matches(matches) => matches,
        Parsed::Help => return Ok(ExitCode::SUCCESS),
    };
    let Some(path) = matches.get_one::<String>("results") else {
        printer::text(report(None));
        return Ok(ExitCode::SUCCESS);
    };
    let text = std::fs::read(path)
        .map_err(|error| Failure::Action(vec![format!("\"{path}\" cannot be read: {error}")]))?;
    let results = Results::parse(&String::from_utf8_lossy(&text));
    printer::text(report(Some(&results)));
    let mut tests = ROWS.iter().flat_map(Row::tests);
    match tests.all(|test| results.of(test) == Outcome::Passed) {
        true => Ok(ExitCode::SUCCESS),
        false => Ok(ExitCode::FAILURE),
    }
}

/// The table and its tests, as Markdown.
fn report(results: Option<&Results>) -> String {
    let mut text = format!("| | {} |\n", COLUMNS.join(" | "));
    text += &format!("|{}\n", " --- |".repeat(COLUMNS.len() + 1));
    for row in ROWS {
        let cells = row.cells.iter().map(|cell| cell_text(cell, results));
        let cells: Vec<String> = cells.collect();
        text += &format!("| {} | {} |\n", row.name, cells.join(" | "));
    }
    text += "\n\
        ✓ works · ✗ is refused with a reason · – is not shown. In brackets what Flink promises, where that is\n\
        something else: ✓, ✗ not, ! works without a promise.\n\n\
        | | shown by |\n| --- | --- |\n";
    for row in ROWS {
        let mut tests: Vec<&Test> = row.tests().collect();
        tests.dedup();
        let tests = tests.into_iter().map(|test| test_text(test, results));
        let tests: Vec<String> = tests.collect();
        text += &format!("| {} | {}{} |\n", row.name, tests.join("<br>"), row.note);
    }
    text
}

fn cell_text(cell: &Cell, results: Option<&Results>) -> String {
    let answer = match cell.answer {
        Answer::Works => "✓",
        Answer::Refused => "✗",
        Answer::NotShown => "–",
    };
    let promise = match (cell.promise, cell.answer) {
        (Promise::Yes, Answer::Works) | (Promise::No, Answer::Refused) => "",
        (Promise::Yes, _) => " (✓)",
        (Promise::No, _) => " (✗)",
        (Promise::Without, _) => " (!)",
    };
    let tests = cell.tests.iter();
    let worst = results.and_then(|results| tests.map(|test| results.of(test)).max());
    let outcome = match worst {
        None | Some(Outcome::Passed) => "",
        Some(Outcome::NotRun) => " not run",
        Some(Outcome::Failed) => " FAILED",
    };
    format!("{answer}{promise}{outcome}")
}

fn test_text(test: &Test, results: Option<&Results>) -> String {
    let outcome = match results.map(|results| results.of(test)) {
        None => "",
        Some(Outcome::Passed) => " ok",
        Some(Outcome::NotRun) => " not run",
        Some(Outcome::Failed) => " FAILED",
    };
    format!("`{} {}`{outcome}", test.suite, test.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_has_the_table_as_it_is_printed() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/capabilities.md");
        let text = std::fs::read_to_string(path).expect("a page");
        let printed = report(None);
        assert!(
            text.ends_with(&format!("\n\n{printed}")),
            "docs/capabilities.md has to end with the output of \"millpond capabilities\":\n{printed}"
        );
    }

    #[test]
    fn a_test_that_has_failed_or_has_not_run_is_told_in_its_cell() {
        let test = ROWS[0].cells[0].tests[0];
        let line = |end: &str| {
            let running = format!("Running x (deps/{}-0123)", test.suite);
            let printed = format!("{running}\ntest {} ... {end}\n", test.name);
            report(Some(&Results::parse(&printed)))
        };
        let first = format!("`{} {}`", test.suite, test.name);
        assert!(line("ok").contains(&format!("{first} ok")));
        assert!(line("FAILED").contains("| another state backend | ✓ FAILED |"));
        assert!(line("ignored").contains("| another state backend | ✓ not run |"));
    }
}
