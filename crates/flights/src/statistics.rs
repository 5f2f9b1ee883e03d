//! Statistics of flights: what can be added up in any order.
//!
//! Both types are commutative monoids: [`Default`] is the statistics of nothing, and merging does
//! not care for order or grouping. So it does not matter which subtask sees which flight when, and
//! results are the same at every parallelism.
//!
//! As state they are Flink's tuples, so a savepoint of this job can be read without this crate:
//!
//! | type | Flink's |
//! | --- | --- |
//! | [`Delays`] | `Tuple4<Long, Long, Long, Long>`: count, sum, least, greatest |
//! | [`Statistics`] | `Tuple4<Long, Long, Tuple4, Tuple4>`: flights, cancelled, departure, arrival |

use std::fmt;

use millpond::prelude::FlinkType;
use millpond::serializer::{ByteReader, Error, SerializerSnapshot};
use serde::{Deserialize, Serialize};

use crate::Flight;

/// Delays in minutes: how many, their sum, and the extremes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delays {
    /// How many flights have a known delay.
    pub count: i64,
    /// The sum of their delays; those of early flights are negative.
    pub sum: i64,
    /// The least delay; 0 if there is none.
    pub min: i64,
    /// The greatest delay; 0 if there is none.
    pub max: i64,
}

impl Delays {
    /// The delay of one flight, if it is known.
    pub fn of(delay: Option<i64>) -> Self {
        delay.map_or_else(Delays::default, |delay| Delays {
            count: 1,
            sum: delay,
            min: delay,
            max: delay,
        })
    }

    /// The delays of both.
    #[must_use]
    pub fn merge(&self, other: &Self) -> Self {
        if self.count == 0 || other.count == 0 {
            return if self.count == 0 { *other } else { *self };
        }
        Delays {
            count: self.count + other.count,
            sum: self.sum + other.sum,
            min: self.min.min(other.min),
            max: self.max.max(other.max),
        }
    }
}

/// Four fields of a line; no extremes where there is no delay.
impl fmt::Display for Delays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count {
            0 => f.write_str("0,0,,"),
            count => write!(f, "{count},{},{},{}", self.sum, self.min, self.max),
        }
    }
}

/// Statistics of any number of flights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// How many were scheduled.
    pub flights: i64,
    /// How many of them never departed.
    pub cancelled: i64,
    /// How late those that departed did so.
    pub departure: Delays,
    /// How late those that arrived did so.
    pub arrival: Delays,
}

impl Statistics {
    /// The statistics of one flight.
    pub fn of(flight: &Flight) -> Self {
        Statistics {
            flights: 1,
            cancelled: i64::from(flight.is_cancelled()),
            departure: Delays::of(flight.departure_delay),
            arrival: Delays::of(flight.arrival_delay),
        }
    }

    /// The statistics of the flights of both.
    #[must_use]
    pub fn merge(&self, other: &Self) -> Self {
        Statistics {
            flights: self.flights + other.flights,
            cancelled: self.cancelled + other.cancelled,
            departure: self.departure.merge(&other.departure),
            arrival: self.arrival.merge(&other.arrival),
        }
    }
}

/// Ten fields of a line.
impl fmt::Display for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Statistics {
            flights,
            cancelled,
            departure,
            arrival,
        } = self;
        write!(f, "{flights},{cancelled},{departure},{arrival}")
    }
}

type DelaysTuple = (i64, i64, i64, i64);
type StatisticsTuple = (i64, i64, Delays, Delays);

impl FlinkType for Delays {
    fn serializer_snapshot() -> SerializerSnapshot {
        DelaysTuple::serializer_snapshot()
    }

    fn fixed_length() -> Option<usize> {
        DelaysTuple::fixed_length()
    }

    fn write(&self, out: &mut Vec<u8>) {
        (self.count, self.sum, self.min, self.max).write(out);
    }

    fn read(input: &mut ByteReader<'_>) -> Result<Self, Error> {
        let (count, sum, min, max) = DelaysTuple::read(input)?;
        Ok(Delays {
            count,
            sum,
            min,
            max,
        })
    }
}

impl FlinkType for Statistics {
    fn serializer_snapshot() -> SerializerSnapshot {
        StatisticsTuple::serializer_snapshot()
    }

    fn fixed_length() -> Option<usize> {
        StatisticsTuple::fixed_length()
    }

    fn write(&self, out: &mut Vec<u8>) {
        (self.flights, self.cancelled, self.departure, self.arrival).write(out);
    }

    fn read(input: &mut ByteReader<'_>) -> Result<Self, Error> {
        let (flights, cancelled, departure, arrival) = StatisticsTuple::read(input)?;
        Ok(Statistics {
            flights,
            cancelled,
            departure,
            arrival,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Delays as the input has them, and so sums that do not overflow.
    fn statistics() -> impl Strategy<Value = Statistics> {
        let delay = || proptest::option::of(-100_i64..2000);
        let flight = (delay(), delay()).prop_map(|(departure_delay, arrival_delay)| Flight {
            scheduled_ms: 0,
            carrier: String::new(),
            tail_number: None,
            origin: String::new(),
            destination: String::new(),
            departure_delay,
            arrival_delay,
            distance: 0,
        });
        proptest::collection::vec(flight, 0..5).prop_map(|flights| {
            let all = flights.iter().map(Statistics::of);
            all.fold(Statistics::default(), |sum, one| sum.merge(&one))
        })
    }

    proptest! {
        #[test]
        fn merging_does_not_care_for_order(a in statistics(), b in statistics()) {
            prop_assert_eq!(a.merge(&b), b.merge(&a));
        }

        #[test]
        fn merging_does_not_care_for_grouping(
            a in statistics(), b in statistics(), c in statistics(),
        ) {
            prop_assert_eq!(a.merge(&b).merge(&c), a.merge(&b.merge(&c)));
        }

        #[test]
        fn the_statistics_of_nothing_change_nothing(a in statistics()) {
            prop_assert_eq!(a.merge(&Statistics::default()), a);
        }

        #[test]
        fn what_was_written_is_read_back(a in statistics()) {
            let mut bytes = Vec::new();
            a.write(&mut bytes);
            prop_assert_eq!(Some(bytes.len()), Statistics::fixed_length());
            let mut input = ByteReader::new(&bytes);
            prop_assert_eq!(Statistics::read(&mut input).expect("whole"), a);
            prop_assert_eq!(input.remaining(), 0);
        }
    }

    #[test]
    fn early_flights_have_the_least_delay() {
        let delays = Delays::of(Some(-7))
            .merge(&Delays::of(None))
            .merge(&Delays::of(Some(12)));
        assert_eq!(
            delays,
            Delays {
                count: 2,
                sum: 5,
                min: -7,
                max: 12
            }
        );
        assert_eq!(delays.to_string(), "2,5,-7,12");
        assert_eq!(Delays::default().to_string(), "0,0,,");
    }
}
