//! Makes a savepoint out of data, from which a job goes on that has never run.
//!
//! ```text
//! write_state DIRECTORY [KEYS]
//! keyed_count --key-type string --keys KEYS --records N -D execution.state-recovery.path=DIRECTORY
//! ```
//!
//! The savepoint says that each of the keys "key-0", "key-1", ... was counted a hundred times, and
//! that the source goes on with record number KEYS. `keyed_count` counts on from there.

use std::error::Error;
use std::process::ExitCode;

use millpond_fs::{Location, file_system_for};
use millpond_state_processor::{NewSavepoint, OperatorRows, SavepointOptions};

/// Must be that of the job, or the job must leave its own open.
const MAX_PARALLELISM: u32 = 128;

fn write(directory: &str, keys: i64) -> Result<Location, Box<dyn Error>> {
    let directory = Location::parse(directory)?;
    let fs = file_system_for(&directory)?;
    let mut savepoint = NewSavepoint::create(fs, &directory, SavepointOptions::default())?;

    // Keyed state: rows in any order, each with its key.
    let mut rows = savepoint.keyed_rows::<String>(MAX_PARALLELISM);
    let count = rows.value::<i64>("count")?;
    for key in 0..keys {
        rows.put(&count, &format!("key-{key}"), &100)?;
    }
    savepoint.add(OperatorRows::new("counter", 2, MAX_PARALLELISM)?.keyed(rows)?)?;

    // Operator state: the position of the one split, and how many splits there are.
    let source = OperatorRows::new("source", 1, MAX_PARALLELISM)?
        .split("offsets", [keys])?
        .union("splits", [1i64])?;
    savepoint.add(source)?;

    Ok(savepoint.finish()?)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (directory, keys) = match arguments.as_slice() {
        [directory] => (directory, Some(1000)),
        [directory, keys] => (directory, keys.parse().ok().filter(|keys| *keys > 0)),
        _ => {
            eprintln!("write_state DIRECTORY [KEYS]");
            return ExitCode::FAILURE;
        }
    };
    let Some(keys) = keys else {
        eprintln!("KEYS must be a number from 1");
        return ExitCode::FAILURE;
    };
    match write(directory, keys) {
        Ok(metadata) => {
            eprintln!("Savepoint written: {metadata}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
