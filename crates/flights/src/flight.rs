//! One flight: a row of the file.

use std::fmt;

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

/// The file's first line. Its columns, in order:
///
/// | column | meaning |
/// | --- | --- |
/// | `date`, `sched_dep_time` | scheduled departure, local time: `2013-01-31`, `1505` for 15:05 |
/// | `carrier` | airline, two characters |
/// | `flight` | flight number |
/// | `tailnum` | tail number of the aircraft; empty if not known |
/// | `origin`, `dest` | airports, three letters |
/// | `dep_delay` | minutes late at departure, negative if early; empty if it never departed |
/// | `arr_delay` | minutes late at arrival; empty if it never arrived where it should |
/// | `distance` | miles |
pub(crate) const HEADER: &str =
    "date,carrier,flight,tailnum,origin,dest,sched_dep_time,dep_delay,arr_delay,distance";

/// One scheduled flight, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flight {
    /// Scheduled departure in milliseconds since 1970, as if local time were UTC.
    pub scheduled_ms: i64,
    /// The airline, two characters.
    pub carrier: String,
    /// The aircraft, if it is known.
    pub tail_number: Option<String>,
    /// The airport of departure.
    pub origin: String,
    /// The airport it was to fly to.
    pub destination: String,
    /// Minutes late at departure, negative if early; `None` for a cancelled flight.
    pub departure_delay: Option<i64>,
    /// Minutes late at arrival; `None` if it did not arrive at its destination.
    pub arrival_delay: Option<i64>,
    /// Miles.
    pub distance: i64,
}

impl Flight {
    /// Reads a row; `None` for the line with the names of the columns.
    ///
    /// # Errors
    ///
    /// The line has too few or too many fields, or one that is not what it should be.
    pub fn parse(line: &str) -> Result<Option<Flight>, ParseFlightError> {
        if line == HEADER {
            return Ok(None);
        }
        let mut fields = Fields {
            line,
            rest: line.split(','),
        };
        let date: Date = fields.required("date")?;
        let carrier = fields.text("carrier")?.to_owned();
        fields.text("flight")?;
        let tail_number = Some(fields.text("tailnum")?).filter(|text| !text.is_empty());
        let flight = Flight {
            tail_number: tail_number.map(str::to_owned),
            origin: fields.text("origin")?.to_owned(),
            destination: fields.text("dest")?.to_owned(),
            scheduled_ms: fields.scheduled_ms(date)?,
            departure_delay: fields.optional("dep_delay")?,
            arrival_delay: fields.optional("arr_delay")?,
            distance: fields.required("distance")?,
            carrier,
        };
        match fields.rest.next() {
            None => Ok(Some(flight)),
            Some(more) => Err(fields.error("end of line", more)),
        }
    }

    /// Whether it never departed.
    pub fn is_cancelled(&self) -> bool {
        self.departure_delay.is_none()
    }
}

/// The fields of a line that are still to be read.
struct Fields<'a> {
    line: &'a str,
    rest: std::str::Split<'a, char>,
}

impl<'a> Fields<'a> {
    fn text(&mut self, column: &'static str) -> Result<&'a str, ParseFlightError> {
        self.rest
            .next()
            .ok_or_else(|| self.error(column, "end of line"))
    }

    fn required<T: std::str::FromStr>(
        &mut self,
        column: &'static str,
    ) -> Result<T, ParseFlightError> {
        let text = self.text(column)?;
        text.parse().map_err(|_| self.error(column, text))
    }

    fn optional(&mut self, column: &'static str) -> Result<Option<i64>, ParseFlightError> {
        let text = self.text(column)?;
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|_| self.error(column, text))
    }

    fn scheduled_ms(&mut self, date: Date) -> Result<i64, ParseFlightError> {
        const COLUMN: &str = "sched_dep_time";
        let time: i16 = self.required(COLUMN)?;
        let (hour, minute) = (time / 100, time % 100);
        let bad = || self.error(COLUMN, &time.to_string());
        let (hour, minute) = (i8::try_from(hour), i8::try_from(minute));
        let (Ok(hour), Ok(minute)) = (hour, minute) else {
            return Err(bad());
        };
        let time = Time::new(hour, minute, 0, 0).map_err(|_| bad())?;
        let at = date
            .to_datetime(time)
            .to_zoned(TimeZone::UTC)
            .map_err(|_| bad())?;
        Ok(at.timestamp().as_millisecond())
    }

    fn error(&self, column: &'static str, found: &str) -> ParseFlightError {
        let (column, found) = (column.to_owned(), found.to_owned());
        ParseFlightError {
            line: self.line.to_owned(),
            column,
            found,
        }
    }
}

/// A line that is not a flight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseFlightError {
    line: String,
    column: String,
    found: String,
}

impl fmt::Display for ParseFlightError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ParseFlightError {
            line,
            column,
            found,
        } = self;
        write!(
            f,
            "line \"{line}\" is no flight: expected {column}, found \"{found}\""
        )
    }
}

impl std::error::Error for ParseFlightError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn flight(line: &str) -> Flight {
        Flight::parse(line).expect("a row").expect("not the header")
    }

    #[test]
    fn a_row_is_read_with_its_time_as_if_it_were_utc() {
        let flight = flight("2013-01-01,UA,1545,N14228,EWR,IAH,515,2,-11,1400");
        let expected = Flight {
            scheduled_ms: 1_356_998_400_000 + (5 * 60 + 15) * 60_000,
            carrier: "UA".to_owned(),
            tail_number: Some("N14228".to_owned()),
            origin: "EWR".to_owned(),
            destination: "IAH".to_owned(),
            departure_delay: Some(2),
            arrival_delay: Some(-11),
            distance: 1400,
        };
        assert_eq!(flight, expected);
        assert!(!flight.is_cancelled());
    }

    #[test]
    fn an_empty_field_is_not_known() {
        let flight = flight("2013-01-01,AA,791,,LGA,DFW,1500,,,1389");
        assert_eq!(flight.tail_number, None);
        assert_eq!((flight.departure_delay, flight.arrival_delay), (None, None));
        assert!(flight.is_cancelled());
    }

    #[test]
    fn a_flight_that_departed_and_did_not_arrive_is_not_cancelled() {
        let flight = flight("2013-01-01,MQ,4525,N719MQ,LGA,XNA,1930,-5,,1147");
        assert_eq!(
            (flight.departure_delay, flight.arrival_delay),
            (Some(-5), None)
        );
        assert!(!flight.is_cancelled());
    }

    #[test]
    fn the_header_is_no_flight_and_no_error() {
        assert_eq!(Flight::parse(HEADER), Ok(None));
    }

    #[test]
    fn a_line_that_is_no_flight_is_refused_with_its_place() {
        for (line, column) in [
            ("", "date"),
            ("2013-02-30,UA,1,N1,EWR,IAH,515,2,11,1400", "date"),
            (
                "2013-01-01,UA,1,N1,EWR,IAH,2400,2,11,1400",
                "sched_dep_time",
            ),
            ("2013-01-01,UA,1,N1,EWR,IAH,560,2,11,1400", "sched_dep_time"),
            ("2013-01-01,UA,1,N1,EWR,IAH,-1,2,11,1400", "sched_dep_time"),
            ("2013-01-01,UA,1,N1,EWR,IAH,515,late,11,1400", "dep_delay"),
            ("2013-01-01,UA,1,N1,EWR,IAH,515,2,11,", "distance"),
            ("2013-01-01,UA,1,N1,EWR,IAH,515,2,11", "distance"),
            ("2013-01-01,UA,1,N1,EWR,IAH,515,2,11,1400,", "end of line"),
        ] {
            let error = Flight::parse(line).expect_err(line).to_string();
            assert!(
                error.contains(&format!("expected {column}, found")),
                "{line}: {error}"
            );
        }
    }
}
