//! Statistics of the flights of 2013: airlines, aircraft, and the departures of airports.
//!
//! ```text
//! cargo run --release --example flights -- \
//!     --input examples/data/flights-2013.csv.gz --output out [--rate R] [-D key=value]
//! ```
//!
//! Results appear in `out`, a line each, when a checkpoint is complete or the input has ended; the
//! columns are those of [`Report`](millpond_flights::Report). `millpond demo` takes savepoints of
//! this job, kills it, and resumes it.

use millpond::prelude::*;
use millpond_flights::{Options, aircraft, airlines, days, flights, hours, write};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let env = Environment::from_args()?;
    let options = Options::parse(env.args())?;

    // One record per flight; its event time is the scheduled departure.
    let flights = flights(&env, &options.input, options.rate);

    // Running totals with state and timers of each airline and aircraft, and windows.
    let reports = airlines(&flights)
        .union(&aircraft(&flights))
        .union(&hours(&flights))
        .union(&days(&flights));

    // Each report becomes visible exactly once.
    write(&reports, &options.output);

    env.execute("flights")?;
    Ok(())
}
