//! Why an action failed, and how the user is told.

use std::process::ExitCode;

use millpond_types::config::ConfigError;

use crate::printer;

/// Why an action failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The arguments make no sense.
    Arguments(String),
    /// The action was tried and failed: what was tried, then the causes, the nearest first.
    Action(Vec<String>),
}

impl Failure {
    pub(crate) fn arguments(text: impl Into<String>) -> Self {
        Failure::Arguments(text.into())
    }

    pub(crate) fn action(text: impl Into<String>) -> Self {
        Failure::Action(vec![text.into()])
    }

    /// Says what was tried when this happened.
    pub(crate) fn during(self, what: impl Into<String>) -> Self {
        match self {
            Failure::Arguments(text) => Failure::Arguments(text),
            Failure::Action(mut causes) => {
                causes.insert(0, what.into());
                Failure::Action(causes)
            }
        }
    }

    /// Whether this is said of it somewhere.
    pub(crate) fn says(&self, what: &str) -> bool {
        match self {
            Failure::Arguments(text) => text.contains(what),
            Failure::Action(causes) => causes.iter().any(|cause| cause.contains(what)),
        }
    }

    /// What happened, the nearest last.
    pub(crate) fn causes(self) -> Vec<String> {
        match self {
            Failure::Arguments(text) => vec![text],
            Failure::Action(causes) => causes,
        }
    }

    /// Prints the failure as Flink does; returns the exit code.
    pub(crate) fn tell(self) -> ExitCode {
        match self {
            Failure::Arguments(text) => {
                printer::line(text);
                printer::line("");
                printer::line("Use the help option (-h or --help) to get help on the command.");
            }
            Failure::Action(causes) => {
                printer::error_line("");
                printer::error_line("-".repeat(60));
                printer::error_line(" The program finished with the following exception:");
                printer::error_line("");
                for (depth, cause) in causes.iter().enumerate() {
                    let caused_by = if depth == 0 { "" } else { "Caused by: " };
                    printer::error_line(format!("{caused_by}{cause}"));
                }
            }
        }
        ExitCode::FAILURE
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Failure::Arguments(error.to_string())
    }
}

/// An error and its causes, the outermost first.
pub(crate) fn chain(error: &dyn std::error::Error) -> Vec<String> {
    std::iter::successors(Some(error), |error| error.source())
        .map(|error| error.to_string())
        .collect()
}
