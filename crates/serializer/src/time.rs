//! Dates and times of Java.
//!
//! | type | Java | bytes |
//! | --- | --- | --- |
//! | [`Instant`] | java.time.Instant | i64 seconds, i32 nanoseconds |
//! | [`LocalDate`] | java.time.LocalDate | i32 year, u8 month, u8 day |
//! | [`LocalTime`] | java.time.LocalTime | u8 hour, u8 minute, u8 second, i32 nanosecond |
//! | [`LocalDateTime`] | java.time.LocalDateTime | date, time |
//! | [`Date`], [`SqlDate`], [`SqlTime`] | java.util.Date, java.sql.Date, Time | i64 milliseconds since 1970 |
//! | [`SqlTimestamp`] | java.sql.Timestamp | the same, then i32 nanoseconds of the second |
//!
//! Types of their own rather than those of a calendar library: no library's years reach as far as
//! Java's, and a state must be read whole. Fields are public or have getters, so that any library
//! can be fed from them.
//!
//! Source: Flink 2.3.0, classes `InstantSerializer` and so on; hash codes: OpenJDK 17.

use std::fmt;

use crate::{ByteReader, ByteWriter, Error, FlinkKey, FlinkType, SerializerSnapshot, nullable};

const NANOS_PER_SECOND: u32 = 1_000_000_000;

/// Reads the nanoseconds of a second.
fn read_nanos(input: &mut ByteReader<'_>) -> Result<u32, Error> {
    let at = input.offset();
    let nanos = input.i32()?;
    match u32::try_from(nanos) {
        Ok(nanos @ 0..NANOS_PER_SECOND) => Ok(nanos),
        Ok(_) | Err(_) => {
            let expected = "nanoseconds of 0 to 999999999";
            Err(Error::corrupt(at, expected, nanos.to_string()))
        }
    }
}

fn hash_of_i64(value: i64) -> i32 {
    value.hash_code()
}

/// A point in time: seconds since 1970-01-01T00:00Z, and nanoseconds on top.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant {
    seconds: i64,
    nanos: u32,
}

impl Instant {
    /// The seconds of Java's earliest and latest instants: years -1000000000 and 1000000000.
    const SECONDS: std::ops::RangeInclusive<i64> = -31_557_014_167_219_200..=31_556_889_864_403_199;

    /// Returns an instant; `None` if `nanos` are a second or more, or Java has no such instant.
    pub fn new(seconds: i64, nanos: u32) -> Option<Self> {
        (nanos < NANOS_PER_SECOND && Self::SECONDS.contains(&seconds))
            .then_some(Instant { seconds, nanos })
    }

    /// Whole seconds since 1970, rounded down.
    pub fn seconds(self) -> i64 {
        self.seconds
    }

    /// Nanoseconds behind the whole second: 0 to 999,999,999.
    pub fn nanos(self) -> u32 {
        self.nanos
    }
}

impl FlinkType for Instant {
    fn serializer_snapshot() -> SerializerSnapshot {
        SerializerSnapshot::base("Instant")
    }

    fn fixed_length() -> Option<usize> {
        Some(12)
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.put_i64(self.seconds);
        out.put_i32(self.nanos as i32);
    }

    fn read(input: &mut ByteReader<'_>) -> Result<Self, Error> {
        let at = input.offset();
        let seconds = input.i64()?;
        if seconds == i64::MIN {
            return Err(nullable::null(at, "an Instant"));
        }
        let nanos = read_nanos(input)?;
        Instant::new(seconds, nanos)
            .ok_or_else(|| Error::corrupt(at, "seconds of an Instant", seconds.to_string()))
    }
}

impl FlinkKey for Instant {
    fn hash_code(&self) -> i32 {
        hash_of_i64(self.seconds).wrapping_add((self.nanos as i32).wrapping_mul(51))
    }
}

/// A day of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalDate {
    year: i32,
    month: u8,
    day: u8,
}

impl LocalDate {
    /// Returns a day; `None` if there is no such: years are -999,999,999 to 999,999,999, months
    /// and days count from 1.
    pub fn new(year: i32, month: u8, day: u8) -> Option<Self> {
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days = match month {
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            4 | 6 | 9 | 11 => 30,
            2 if leap => 29,
            2 => 28,
            _ => return None,
        };
        let valid = (-999_999_999..=999_999_999).contains(&year) && (1..=days).contains(&day);
        valid.then_some(LocalDate { year, month, day })
    }

    /// The year; year 0 is the one before year 1.
    pub fn year(self) -> i32 {
        self.year
    }

    /// The month: 1 to 12.
    pub fn month(self) -> u8 {
        self.month
    }

    /// The day of the month, from 1.
    pub fn day(self) -> u8 {
        self.day
    }
}

impl fmt::Display for LocalDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.year {
            0..=9999 => write!(f, "{:04}", self.year)?,
            -9999..0 => write!(f, "-{:04}", -self.year)?,
            year => write!(f, "{year:+}")?,
        }
        write!(f, "-{:02}-{:02}", self.month, self.day)
    }
}

impl FlinkType for LocalDate {
    fn serializer_snapshot() -> SerializerSnapshot {
        SerializerSnapshot::base("LocalDate")
    }

    fn fixed_length() -> Option<usize> {
        Some(6)
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.put_i32(self.year);
        out.put(&[self.month, self.day]);
    }

    fn read(input: &mut ByteReader<'_>) -> Result<Self, Error> {
        let at = input.offset();
        let year = input.i32()?;
        if year == i32::MIN {
            return Err(nullable::null(at, "a LocalDate"));
        }
        let (month, day) = (input.u8()?, input.u8()?);
        LocalDate::new(year, month, day)
            .ok_or_else(|| Error::corrupt(at, "a date", format!("{year}-{month}-{day}")))
    }
}

impl FlinkKey for LocalDate {
    fn hash_code(&self) -> i32 {
        let (month, day) = (i32::from(self.month), i32::from(self.day));
        (self.year & 0xffff_f800_u32 as i32) ^ (self.year << 11).wrapping_add((month << 6) + day)
    }
}

/// A time of day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalTime {
    hour: u8,
    minute: u8,
    second: u8,
    nano: u32,
}

impl LocalTime {
    /// Returns a time from 00:00 to 23:59:59.999999999; `None` if it is none.
    pub fn new(hour: u8, minute: u8, second: u8, nano: u32) -> Option<Self> {
        let valid = hour < 24 && minute < 60 && second < 60 && nano < NANOS_PER_SECOND;
        valid.then_some(LocalTime {
            hour,
            minute,
            second,
            nano,
        })
    }

    /// The hour: 0 to 23.
    pub fn hour(self) -> u8 {
        self.hour
    }

    /// The minute: 0 to 59.
    pub fn minute(self) -> u8 {
        self.minute
    }

    /// The second: 0 to 59.
    pub fn second(self) -> u8 {
        self.second
    }

    /// The nanosecond: 0 to 999,999,999.
    pub fn nano(self) -> u32 {
        self.nano
    }
}

impl fmt::Display for LocalTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}:{:02}", self.hour, self.minute, self.second)?;
        match self.nano {
            0 => Ok(()),
            nano => write!(f, ".{nano:09}"),
        }
    }
}

impl FlinkType for LocalTime {
    fn serializer_snapshot() -> SerializerSnapshot {
        SerializerSnapshot::base("LocalTime")
    }

    fn fixed_length() -> Option<usize> {
        Some(7)
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.put(&[self.hour, self.minute, self.second]);
        out.put_i32(self.nano as i32);
    }

    fn read(input: &mut ByteReader<'_>) -> Result<Self, Error> {
        let at = input.offset();
        let hour = input.i8()?;
        if hour == i8::MIN {
            return Err(nullable::null(at, "a LocalTime"));
        }
        let (minute, second) = (input.u8()?, input.u8()?);
        let nano = read_nanos(input)?;
        u8::try_from(hour)
            .ok()
            .and_then(|hour| LocalTime::new(hour, minute, second, nano))
            .ok_or_else(|| Error::corrupt(at, "a time of day", format!("{hour}:{minute}:{second}")))
    }
}

impl FlinkKey for LocalTime {
    fn hash_code(&self) -> i32 {
        let [hour, minute, second] = [self.hour, self.minute, self.second].map(i64::from);
        let seconds = (hour * 60 + minute) * 60 + second;
        hash_of_i64(seconds * i64::from(NANOS_PER_SECOND) + i64::from(self.nano))
    }
}

/// A day and a time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalDateTime {
    /// The day.
    pub date: LocalDate,
    /// The time of the day.
    pub time: LocalTime,
}

impl fmt::Display for LocalDateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}T{}", self.date, self.time)
    }
}

impl FlinkType for LocalDateTime {
    fn serializer_snapshot() -> SerializerSnapshot {
        SerializerSnapshot::base("LocalDateTime")
    }

    fn fixed_length() -> Option<usize> {
        Some(13)
    }

    fn write(&self, out: &mut Vec<u8>) {
        self.date.write(out);
        self.time.write(out);
    }

    fn read(input: &mut ByteReader<'_>) -> Result<Self, Error> {
        Ok(LocalDateTime {
            date: LocalDate::read(input)?,
            time: LocalTime::read(input)?,
        })
    }
}

impl FlinkKey for LocalDateTime {
    fn hash_code(&self) -> i32 {
        self.date.hash_code() ^ self.time.hash_code()
    }
}

macro_rules! milliseconds {
    ($($name:ident, $flink:literal, $java:literal;)*) => { $(
        #[doc = concat!("`", $java, "`: milliseconds since 1970-01-01T00:00Z.")]
        ///
        /// `i64::MIN` is what Flink writes for null: it cannot be read back.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub i64);

        impl FlinkType for $name {
            fn serializer_snapshot() -> SerializerSnapshot {
                SerializerSnapshot::base($flink)
            }

            fn fixed_length() -> Option<usize> {
                Some(8)
            }

            fn write(&self, out: &mut Vec<u8>) {
                out.put_i64(self.0);
            }

            fn read(input: &mut ByteReader<'_>) -> Result<Self, Error> {
                let at = input.offset();
                match input.i64()? {
                    i64::MIN => Err(nullable::null(at, concat!("a ", $java))),
                    millis => Ok($name(millis)),
                }
            }
        }

        impl FlinkKey for $name {
            fn hash_code(&self) -> i32 {
                hash_of_i64(self.0)
            }
        }
    )* };
}

milliseconds! {
    Date, "Date", "java.util.Date";
    SqlDate, "SqlDate", "java.sql.Date";
    SqlTime, "SqlTime", "java.sql.Time";
}

/// `java.sql.Timestamp`: milliseconds since 1970-01-01T00:00Z, and the nanoseconds of the second.
///
/// The milliseconds of the second are in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SqlTimestamp {
    millis: i64,
    nanos: u32,
}

impl SqlTimestamp {
    /// Returns the time `nanos` behind the second in which `millis` lies; `None` if `nanos` are a
    /// second or more.
    pub fn new(millis: i64, nanos: u32) -> Option<Self> {
        let whole = millis.checked_sub(millis.rem_euclid(1000))?;
        let millis = whole.checked_add(i64::from(nanos / 1_000_000))?;
        (nanos < NANOS_PER_SECOND).then_some(SqlTimestamp { millis, nanos })
    }

    /// Milliseconds since 1970.
    pub fn millis(self) -> i64 {
        self.millis
    }

    /// Nanoseconds behind the whole second: 0 to 999,999,999.
    pub fn nanos(self) -> u32 {
        self.nanos
    }
}

impl FlinkType for SqlTimestamp {
    fn serializer_snapshot() -> SerializerSnapshot {
        SerializerSnapshot::base("SqlTimestamp")
    }

    fn fixed_length() -> Option<usize> {
        Some(12)
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.put_i64(self.millis);
        out.put_i32(self.nanos as i32);
    }

    fn read(input: &mut ByteReader<'_>) -> Result<Self, Error> {
        let at = input.offset();
        let millis = input.i64()?;
        if millis == i64::MIN {
            return Err(nullable::null(at, "a java.sql.Timestamp"));
        }
        let nanos = read_nanos(input)?;
        SqlTimestamp::new(millis, nanos)
            .ok_or_else(|| Error::corrupt(at, "a timestamp", format!("{millis} ms, {nanos} ns")))
    }
}

impl FlinkKey for SqlTimestamp {
    fn hash_code(&self) -> i32 {
        hash_of_i64(self.millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_that_no_calendar_has_are_refused() {
        assert!(LocalDate::new(2023, 2, 29).is_none());
        assert!(LocalDate::new(1900, 2, 29).is_none());
        assert!(LocalDate::new(2000, 2, 29).is_some());
        assert!(LocalDate::new(2000, 13, 1).is_none());
        assert!(LocalDate::new(2000, 4, 31).is_none());
        assert!(LocalTime::new(24, 0, 0, 0).is_none());
        assert!(Instant::new(i64::MAX, 0).is_none());
        let no_date = [0, 0, 7, 0xe7, 2, 29];
        let error = LocalDate::read(&mut ByteReader::new(&no_date)).expect_err("2023");
        assert_eq!(error, Error::corrupt(0, "a date", "2023-2-29"));
    }

    #[test]
    fn dates_are_shown_as_java_shows_them() {
        let shown = |year| LocalDate::new(year, 1, 2).map(|date| date.to_string());
        assert_eq!(shown(2024).as_deref(), Some("2024-01-02"));
        assert_eq!(shown(-1).as_deref(), Some("-0001-01-02"));
        assert_eq!(shown(999_999_999).as_deref(), Some("+999999999-01-02"));
        let time = LocalTime::new(1, 2, 3, 4).expect("a time");
        assert_eq!(time.to_string(), "01:02:03.000000004");
    }
}
