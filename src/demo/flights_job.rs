//! The hidden action `demo-job`: the job of the demo, in a process of its own.
//!
//! It reads its standard input, a pipe whose other end the demo holds: when the demo is gone, for
//! whatever reason, the pipe ends and so does the job.

use std::io::Read;
use std::process::ExitCode;

use millpond::Environment;
use millpond_flights::Options;

use crate::failure::{Failure, chain};

/// How the action is called.
pub(crate) const NAME: &str = "demo-job";

/// Names in the demo's directory.
pub(super) const INPUT: &str = "flights-2013.csv.gz";
pub(super) const CHECKPOINTS: &str = "checkpoints";
pub(super) const SAVEPOINTS: &str = "savepoints";

/// Operators of the job: its source, and one that reads every flight once.
pub(super) const SOURCE_UID: &str = "source";
pub(super) const COUNTED_OPERATOR: &str = "airlines";

/// Runs the action.
pub(crate) fn run(_given: &[String]) -> Result<ExitCode, Failure> {
    std::thread::spawn(end_with_demo);
    execute().map_err(|error| Failure::Action(chain(&*error)))?;
    Ok(ExitCode::SUCCESS)
}

fn execute() -> Result<(), Box<dyn std::error::Error>> {
    let env = Environment::from_args()?;
    // The first argument is the name of the action.
    let options = Options::parse(env.args().get(1..).unwrap_or_default())?;
    millpond_flights::build(&env, &options);
    env.execute("flights")?;
    Ok(())
}

fn end_with_demo() {
    let mut nothing = [0; 1];
    // Nothing is ever written: this returns at the end of the pipe, or at an error, which is one.
    let _ = std::io::stdin().read(&mut nothing);
    std::process::exit(1);
}
