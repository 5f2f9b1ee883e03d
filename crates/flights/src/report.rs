//! What the job tells: one line of text per result.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Period, Statistics};

/// What a report is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Subject {
    /// An airline, from the first day to the end of a day.
    Airline,
    /// An aircraft, from the first day to the end of a month.
    Aircraft,
    /// The departures of an airport within an hour.
    Hour,
    /// The departures of an airport within a day.
    Day,
}

impl Subject {
    /// How often there is a report.
    pub fn period(self) -> Period {
        match self {
            Subject::Hour => Period::Hour,
            Subject::Airline | Subject::Day => Period::Day,
            Subject::Aircraft => Period::Month,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Subject::Airline => "airline",
            Subject::Aircraft => "aircraft",
            Subject::Hour => "hour",
            Subject::Day => "day",
        }
    }
}

/// One result. Its text is a line of comma-separated values:
///
/// | column | meaning |
/// | --- | --- |
/// | 1 | `airline`, `aircraft`, `hour` or `day` |
/// | 2 | carrier, tail number or airport |
/// | 3 | the period: `2013-01-31`, `2013-01`, `2013-01-31T15` |
/// | 4, 5 | flights, cancelled flights |
/// | 6 to 9 | delay at departure in minutes: count, sum, least, greatest |
/// | 10 to 13 | delay at arrival, likewise |
/// | 14 | of an aircraft: the airport where it was last seen |
///
/// # Examples
///
/// ```
/// use millpond_flights::{Report, Statistics, Subject};
///
/// let report = Report {
///     subject: Subject::Day,
///     key: "JFK".to_owned(),
///     time_ms: 1_356_998_400_000,
///     statistics: Statistics::default(),
///     last_seen: None,
/// };
/// assert_eq!(report.to_string(), "day,JFK,2013-01-01,0,0,0,0,,,0,0,,,");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What it is about.
    pub subject: Subject,
    /// The carrier, tail number or airport.
    pub key: String,
    /// Any time within the period that it tells of or ends with, in milliseconds since 1970.
    pub time_ms: i64,
    /// The figures.
    pub statistics: Statistics,
    /// The airport where an aircraft was last seen.
    pub last_seen: Option<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{},", self.subject.name(), self.key)?;
        self.subject.period().write(self.time_ms, f)?;
        let last_seen = self.last_seen.as_deref().unwrap_or_default();
        write!(f, ",{},{last_seen}", self.statistics)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_subject_tells_its_period() {
        let line = |subject| {
            let report = Report {
                subject,
                key: "K".to_owned(),
                time_ms: 1_357_000_200_000,
                statistics: Statistics::default(),
                last_seen: Some("LGA".to_owned()),
            };
            report.to_string()
        };
        assert!(line(Subject::Airline).starts_with("airline,K,2013-01-01,"));
        assert!(line(Subject::Aircraft).starts_with("aircraft,K,2013-01,"));
        assert!(line(Subject::Hour).starts_with("hour,K,2013-01-01T00,"));
        assert!(line(Subject::Day).starts_with("day,K,2013-01-01,"));
        assert!(line(Subject::Day).ends_with(",LGA"));
        assert_eq!(line(Subject::Day).split(',').count(), 14);
    }
}
