//! The flights job: per-airline and per-aircraft statistics over the flights of 2013.
//!
//! ```text
//! file -> parse -> watermarks -+-> airlines   by carrier, told at the end of each day  -+
//!                              +-> aircraft   by tail number, at the end of each month -+-> sink
//!                              +-> hours      windows by airport of departure          -+
//!                              +-> days       windows by airport of departure          -+
//! ```
//!
//! `examples/flights.rs` puts these parts together, and `millpond demo` runs, kills, moves and
//! resumes them. Every result is one line of text ([`Report`]), and which lines there are depends on
//! the input only: not on parallelism, and not on when records or watermarks come.

mod aircraft;
mod airlines;
mod flight;
mod options;
mod period;
mod report;
mod sightings;
mod statistics;
mod streams;

pub use flight::{Flight, ParseFlightError};
pub use options::Options;
pub use period::Period;
pub use report::{Report, Subject};
pub use sightings::Sighting;
pub use statistics::{Delays, Statistics};
pub use streams::{aircraft, airlines, build, days, flights, hours, write};
