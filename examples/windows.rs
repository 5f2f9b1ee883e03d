//! Taxi fares in windows: what each zone takes per minute, how long a driver's shift lasts, and
//! every tenth fare, with a rule that can be changed while the job runs.
//!
//! ```text
//! cargo run --release --example windows [-- -D parallelism.default=2]
//! ```
//!
//! Event time decides, not the clock: the job ends at once, with the same results every time.

use millpond::prelude::*;
use serde::{Deserialize, Serialize};

/// One fare. The number of seconds and the amount follow from the number of the record.
#[derive(Clone, Serialize, Deserialize)]
struct Fare {
    driver: i64,
    zone: String,
    time_ms: i64,
    cents: i64,
}

fn fare(n: u64) -> Fare {
    let n = n as i64;
    // A driver has a fare every 30 s, and after every twentieth a pause of an hour.
    let round = n / 5;
    Fare {
        driver: n % 5,
        zone: ["centre", "harbour", "airport"][(n % 3) as usize].to_owned(),
        time_ms: round * 30_000 + round / 20 * 3_600_000,
        cents: 500 + n * 37 % 2000,
    }
}

/// Counts the fares of a shift and adds them up.
struct Total;

impl AggregateFunction for Total {
    type In = Fare;
    type Accumulator = (i64, i64);
    type Out = (i64, i64);

    fn create_accumulator(&self) -> (i64, i64) {
        (0, 0)
    }

    fn add(&self, fare: Fare, (fares, cents): &mut (i64, i64)) {
        *fares += 1;
        *cents += fare.cents;
    }

    fn get_result(&self, total: &(i64, i64)) -> (i64, i64) {
        *total
    }

    fn merge(&self, a: (i64, i64), b: (i64, i64)) -> (i64, i64) {
        (a.0 + b.0, a.1 + b.1)
    }
}

fn main() -> millpond::Result<()> {
    let env = Environment::from_args()?;
    let fares = env
        .from_source(GeneratorSource::new(Some(500), fare), "fares")
        .uid("fares")
        .assign_timestamps_and_watermarks(WatermarkStrategy::for_bounded_out_of_orderness(
            Duration::from_secs(60),
            |fare: &Fare| fare.time_ms,
        ));

    // Tumbling: the sum of each zone and quarter of an hour.
    let zones = fares
        .map(|fare| (fare.zone, fare.cents))
        .key_by(|fare: &(String, i64)| fare.0.clone())
        .window(TumblingEventTimeWindows::of(Duration::from_secs(900)))
        .reduce_with(
            |a, b| (a.0.clone(), a.1 + b.1),
            |zone, window, (_, cents)| {
                let minute = window.start / 60_000;
                format!("{zone} took {cents} cents from minute {minute}")
            },
        )
        .uid("zones");

    // Sessions: a shift ends when a driver has had no fare for half an hour.
    let shifts = fares
        .key_by(|fare| fare.driver)
        .window(EventTimeSessionWindows::with_gap(Duration::from_secs(1800)))
        .aggregate_with(Total, |driver, shift, (fares, cents)| {
            let minutes = (shift.end - shift.start - 1_800_000) / 60_000;
            format!("driver {driver}: {fares} fares, {cents} cents in {minutes} minutes")
        })
        .uid("shifts");

    zones.union(&shifts).print();
    env.execute("windows")?;
    Ok(())
}
