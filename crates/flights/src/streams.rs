//! The job's streams, to be put together by a program.

use std::io::Write;
use std::path::Path;

use millpond::prelude::*;

use crate::aircraft::Aircraft;
use crate::airlines::Airlines;
use crate::{Flight, Options, Report, Statistics, Subject};

/// How far a flight may stand behind a later one in the input. The file of 2013 is in order.
const OUT_OF_ORDER: Duration = Duration::from_secs(3600);

/// The flights of a file, with their scheduled departure as event time.
///
/// `rate` limits the lines that are read per second.
pub fn flights(env: &Environment, input: &Path, rate: Option<u64>) -> DataStream<Flight> {
    let mut source = FileSource::lines([input]);
    if let Some(rate) = rate {
        source = source.rate_limit(rate);
    }
    let watermarks =
        WatermarkStrategy::for_bounded_out_of_orderness(OUT_OF_ORDER, |flight: &Flight| {
            flight.scheduled_ms
        });
    env.from_source(source, "flights")
        .uid("source")
        .process(|_| Ok(Parse))
        .uid("parse")
        .name("parse")
        .assign_timestamps_and_watermarks(watermarks)
        .uid("watermarks")
        .name("watermarks")
}

/// Reads lines; one that is no flight fails the job.
struct Parse;

impl ProcessFunction for Parse {
    type In = String;
    type Out = Flight;

    fn process_element(
        &mut self,
        line: String,
        _context: &ProcessContext<'_>,
        out: &mut Collector<Flight>,
    ) -> FunctionResult<()> {
        if let Some(flight) = Flight::parse(&line)? {
            out.collect(flight);
        }
        Ok(())
    }
}

/// What each airline has flown up to the end of each day on which it flew.
pub fn airlines(flights: &DataStream<Flight>) -> DataStream<Report> {
    flights
        .key_by_ref(|flight| &flight.carrier)
        .process(|context| Airlines::open(context))
        .uid("airlines")
        .name("airlines")
}

/// What each aircraft has flown up to the end of each month in which it flew, and where it was last
/// seen. Flights without a known aircraft do not count.
pub fn aircraft(flights: &DataStream<Flight>) -> DataStream<Report> {
    flights
        .filter(|flight| flight.tail_number.is_some())
        .uid("known-aircraft")
        .name("known aircraft")
        .key_by(|flight| flight.tail_number.clone().unwrap_or_default())
        .process(|context| Aircraft::open(context))
        .uid("aircraft")
        .name("aircraft")
}

/// The departures of each airport, hour by hour.
pub fn hours(flights: &DataStream<Flight>) -> DataStream<Report> {
    departures(flights, Subject::Hour, Duration::from_secs(3600), "hours")
}

/// The departures of each airport, day by day.
pub fn days(flights: &DataStream<Flight>) -> DataStream<Report> {
    departures(
        flights,
        Subject::Day,
        Duration::from_secs(24 * 3600),
        "days",
    )
}

fn departures(
    flights: &DataStream<Flight>,
    subject: Subject,
    size: Duration,
    uid: &str,
) -> DataStream<Report> {
    flights
        .map(|flight| (flight.origin.clone(), Statistics::of(&flight)))
        .uid(&format!("departures-{uid}"))
        .name("departures")
        .key_by_ref(|(airport, _)| airport)
        .window(TumblingEventTimeWindows::of(size))
        .reduce_with(
            |a, b| (a.0.clone(), a.1.merge(&b.1)),
            move |airport, window, (_, statistics)| Report {
                subject,
                key: airport.clone(),
                time_ms: window.start,
                statistics,
                last_seen: None,
            },
        )
        .uid(uid)
        .name(uid)
}

/// Writes reports to files in a directory, a line each, exactly once.
pub fn write(reports: &DataStream<Report>, output: &Path) {
    let line = |report: &Report, line: &mut Vec<u8>| write!(line, "{report}");
    reports
        .sink_to(FileSink::new(output, line).suffix(".csv"))
        .uid("sink")
        .name("reports");
}

/// The whole job, as `examples/flights.rs` spells it out.
pub fn build(env: &Environment, options: &Options) {
    let flights = flights(env, &options.input, options.rate);
    let reports = airlines(&flights)
        .union(&aircraft(&flights))
        .union(&hours(&flights))
        .union(&days(&flights));
    write(&reports, &options.output);
}
