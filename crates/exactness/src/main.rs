//! The job under test. `--job` chooses its shape, the other arguments its size and its quirks.
//!
//! ```text
//! exactness-job [--job workload|fixture] --out DIR [--records-a N] [--records-b N] [--keys N]
//!               [--rate R] [quirks, see `Arguments`] [-D key=value]
//! ```

mod arguments;
mod fixture_job;
mod numbers;
mod quirks;
mod workload_job;

use std::process::ExitCode;

use millpond::prelude::Environment;
use millpond::state::store::MemoryBackend;

use crate::arguments::{Arguments, Shape};

fn run() -> Result<(), String> {
    let env = Environment::from_args().map_err(|error| format!("{error:?}"))?;
    env.add_state_backend(MemoryBackend);
    let arguments = Arguments::parse(env.args())?;
    match arguments.shape {
        Shape::Workload => workload_job::build(&env, &arguments),
        Shape::Fixture(key_type) => fixture_job::build(&env, key_type),
    }
    env.execute("exactness")
        .map_err(|error| format!("{error:?}"))?;
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}
