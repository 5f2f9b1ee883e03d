//! `run --plan`: whether a program is started with a plan.

use std::io::{BufRead, IsTerminal};

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgMatches};
use millpond_checkpoint::plan::{StatePlan, Verdict};

use crate::arguments::value;
use crate::printer;

/// What is done with a plan that leaves something behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Approval {
    /// The plan is shown, no more.
    Show,
    /// A person at the terminal is asked.
    Require,
    /// It is approved beforehand.
    Given,
}

/// What follows from a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The program is started as it was asked for.
    Start,
    /// The program is started, and may leave behind what the plan says.
    StartAndLeaveBehind,
    /// It is not started; `run` ends with this exit code.
    Refuse(u8),
}

impl Approval {
    /// The option of `run`.
    pub(crate) fn option() -> Arg {
        value("plan", "mode")
            .value_parser(PossibleValuesParser::new([
                "show",
                "require-approval",
                "approve",
            ]))
            .help("Shows the plan of the restore first, and asks if it leaves state behind")
    }

    /// What the user has chosen, if anything.
    pub(crate) fn of(matches: &ArgMatches) -> Option<Self> {
        match matches.get_one::<String>("plan")?.as_str() {
            "require-approval" => Some(Approval::Require),
            "approve" => Some(Approval::Given),
            _ => Some(Approval::Show),
        }
    }

    /// Decides, and asks if need be.
    pub(crate) fn decide(self, plan: &StatePlan) -> Decision {
        let is_terminal = std::io::stdin().is_terminal();
        let decision = self.decide_on(plan.verdict, is_terminal.then_some(ask));
        if let Decision::Refuse(_) = decision {
            if let Some(why) = plan.refusal() {
                printer::error_line(why);
            }
            printer::error_line(match (self, is_terminal) {
                _ if plan.verdict == Verdict::Impossible => "The program was not started.",
                (Approval::Require, false) => {
                    "The plan needs approval: run on a terminal, or pass --plan=approve."
                }
                _ => "The plan was not approved.",
            });
        }
        decision
    }

    /// Decides; `ask` asks the person at the terminal, if there is one.
    fn decide_on(self, verdict: Verdict, ask: Option<impl FnOnce() -> bool>) -> Decision {
        match (self, verdict) {
            (Approval::Show, _) | (_, Verdict::Clean) => Decision::Start,
            (_, Verdict::Impossible) => Decision::Refuse(verdict.exit_code()),
            (Approval::Given, _) => Decision::StartAndLeaveBehind,
            (Approval::Require, Verdict::Allowed | Verdict::NeedsAllowNonRestoredState) => {
                match ask.is_some_and(|ask| ask()) {
                    true => Decision::StartAndLeaveBehind,
                    false => Decision::Refuse(Verdict::NeedsAllowNonRestoredState.exit_code()),
                }
            }
        }
    }
}

fn ask() -> bool {
    printer::text("Start the program with this plan? [y/N] ");
    let mut answer = String::new();
    // No answer is no approval.
    let read = std::io::stdin().lock().read_line(&mut answer);
    let answer = answer.trim().to_lowercase();
    read.is_ok() && ["y", "yes"].contains(&answer.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Allowed, Clean, Impossible, NeedsAllowNonRestoredState as Needs};

    #[test]
    fn nothing_that_leaves_state_behind_starts_without_approval() {
        let decide = |approval: Approval, verdict, answer: Option<bool>| {
            approval.decide_on(verdict, answer.map(|answer| move || answer))
        };
        for answer in [None, Some(false), Some(true)] {
            let require = |verdict| decide(Approval::Require, verdict, answer);
            assert_eq!(require(Clean), Decision::Start);
            assert_eq!(require(Impossible), Decision::Refuse(3));
            let approved = match answer {
                Some(true) => Decision::StartAndLeaveBehind,
                _ => Decision::Refuse(2),
            };
            assert_eq!([require(Allowed), require(Needs)], [approved; 2]);
        }
        let given = |verdict| decide(Approval::Given, verdict, None);
        assert_eq!(given(Clean), Decision::Start);
        assert_eq!(given(Needs), Decision::StartAndLeaveBehind);
        assert_eq!(given(Impossible), Decision::Refuse(3));
    }

    #[test]
    fn a_plan_that_is_only_shown_decides_nothing() {
        for verdict in [Clean, Allowed, Needs, Impossible] {
            let never: Option<fn() -> bool> = None;
            assert_eq!(Approval::Show.decide_on(verdict, never), Decision::Start);
        }
    }
}
