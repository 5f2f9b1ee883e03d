//! Hours, days and months of event time.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

/// A unit of the calendar, in the time zone that the flights' times are told in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Period {
    /// From one full hour to the next.
    Hour,
    /// From midnight to midnight.
    Day,
    /// From the first of a month to the first of the next.
    Month,
}

impl Period {
    /// When the period begins that holds `time_ms`; both are in milliseconds since 1970.
    ///
    /// # Panics
    ///
    /// As [`Period::end`].
    pub fn start(self, time_ms: i64) -> i64 {
        let at = civil(time_ms);
        let date = at.date();
        millis(match self {
            Period::Hour => date.to_datetime(Time::constant(at.hour(), 0, 0, 0)),
            Period::Day => date.to_datetime(Time::midnight()),
            Period::Month => date.first_of_month().to_datetime(Time::midnight()),
        })
    }

    /// When the period ends that holds `time_ms`, and the next begins.
    ///
    /// # Panics
    ///
    /// If the time is thousands of years away: times come from dates of four digits.
    pub fn end(self, time_ms: i64) -> i64 {
        let start = civil(self.start(time_ms));
        let next = match self {
            Period::Hour => start.checked_add(jiff::Span::new().hours(1)),
            Period::Day => start.checked_add(jiff::Span::new().days(1)),
            Period::Month => start.checked_add(jiff::Span::new().months(1)),
        };
        millis(next.expect("a time within the calendar"))
    }

    /// Writes the period that holds `time_ms`: `2013-01-31T15`, `2013-01-31`, `2013-01`.
    pub(crate) fn write(self, time_ms: i64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = civil(time_ms);
        write!(f, "{:04}-{:02}", at.year(), at.month())?;
        match self {
            Period::Hour => write!(f, "-{:02}T{:02}", at.day(), at.hour()),
            Period::Day => write!(f, "-{:02}", at.day()),
            Period::Month => Ok(()),
        }
    }
}

fn civil(time_ms: i64) -> DateTime {
    let at = Timestamp::from_millisecond(time_ms).expect("a time within the calendar");
    TimeZone::UTC.to_datetime(at)
}

fn millis(at: DateTime) -> i64 {
    let at = TimeZone::UTC
        .to_timestamp(at)
        .expect("a time within the calendar");
    at.as_millisecond()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_time_is_in_its_period_and_periods_meet(time_ms in 0_i64..4_000_000_000_000) {
            for period in [Period::Hour, Period::Day, Period::Month] {
                let (start, end) = (period.start(time_ms), period.end(time_ms));
                prop_assert!((start..end).contains(&time_ms));
                prop_assert_eq!(period.start(end), end);
                prop_assert_eq!(period.end(end - 1), end);
                prop_assert_eq!(period.start(start), start);
            }
        }
    }

    #[test]
    fn months_have_their_lengths() {
        let february = millis(jiff::civil::date(2013, 2, 11).at(15, 5, 0, 0));
        let day_ms = 24 * 3_600_000;
        assert_eq!(
            Period::Month.end(february) - Period::Month.start(february),
            28 * day_ms
        );
        assert_eq!(
            Period::Day.end(february) - Period::Day.start(february),
            day_ms
        );
    }
}
