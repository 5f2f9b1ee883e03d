//! The job under test. `--job` chooses its shape, the other arguments its size and its quirks.
//!
//! ```text
//! exactness-job [--job workload|fixture|kinds] --out DIR [--records-a N] [--records-b N] [--keys N]
//!               [--rate R] [quirks, see `Arguments`] [-D key=value]
//! exactness-job --jobmanager|--taskmanager [-D key=value]     a service of a cluster
//! exactness-job --standalone-job [-D key=value] -- ARGUMENTS   a cluster for this job
//! ```

mod arguments;
mod fixture_job;
mod kinds_job;
mod ledger;
mod numbers;
mod quirks;
mod service;
mod workload_job;

use std::process::ExitCode;

use millpond::prelude::Environment;
use millpond::state::store::MemoryBackend;
use millpond_exactness::cluster::{APPLICATION, JOB_MANAGER, TASK_MANAGER};

use crate::arguments::{Arguments, Shape};

fn run() -> Result<(), String> {
    let env = Environment::from_args().map_err(|error| format!("{error:?}"))?;
    env.add_state_backend(MemoryBackend);
    let arguments = Arguments::parse(env.args())?;
    match arguments.shape {
        Shape::Workload => workload_job::build(&env, &arguments),
        Shape::Fixture(key_type) => fixture_job::build(&env, key_type),
        Shape::Kinds => kinds_job::build(&env),
    }
    env.execute("exactness")
        .map_err(|error| format!("{error:?}"))?;
    Ok(())
}

fn main() -> ExitCode {
    let result = match std::env::args().nth(1).as_deref() {
        Some(JOB_MANAGER) => service::job_manager(),
        Some(APPLICATION) => service::application(),
        Some(TASK_MANAGER) => service::task_manager(),
        _ => run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}
