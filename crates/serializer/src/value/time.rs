//! Dates and times in ISO 8601, as Java prints them; seconds are always told.
//!
//! Any number that fits the fields is printed, also such as no calendar has: the bytes may be
//! damaged, and a tool that shows them must not panic over them.

use std::fmt::Write;

use super::{LocalDate, LocalTime};
use crate::Error;

const SECONDS_OF_DAY: i64 = 86_400;

/// The days from 1970-01-01 to a date (Hinnant's algorithm `days_from_civil`).
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date some days after 1970-01-01 (`civil_from_days`).
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

fn put_date(year: i64, month: i64, day: i64, out: &mut String) {
    let sign = match year {
        ..0 => "-",
        10_000.. => "+",
        _ => "",
    };
    // Writing to a String does not fail.
    write!(out, "{sign}{:04}-{month:02}-{day:02}", year.unsigned_abs()).ok();
}

fn put_time(hour: i64, minute: i64, second: i64, nanos: i64, out: &mut String) {
    write!(out, "{hour:02}:{minute:02}:{second:02}").ok();
    match nanos {
        0 => Ok(()),
        _ if nanos % 1_000_000 == 0 => write!(out, ".{:03}", nanos / 1_000_000),
        _ if nanos % 1000 == 0 => write!(out, ".{:06}", nanos / 1000),
        _ => write!(out, ".{nanos:09}"),
    }
    .ok();
}

/// `2024-02-29`
pub(super) fn date(date: LocalDate) -> String {
    let mut out = String::new();
    put_date(
        date.year.into(),
        date.month.into(),
        date.day.into(),
        &mut out,
    );
    out
}

/// `23:59:58.123`
pub(super) fn time(time: LocalTime) -> String {
    let mut out = String::new();
    put_time(
        time.hour.into(),
        time.minute.into(),
        time.second.into(),
        time.nano.into(),
        &mut out,
    );
    out
}

/// `2024-02-29T23:59:58.123Z`
pub(super) fn instant(seconds: i64, nanos: i32) -> String {
    let (days, of_day) = (
        seconds.div_euclid(SECONDS_OF_DAY),
        seconds.rem_euclid(SECONDS_OF_DAY),
    );
    let (year, month, day) = date_of(days);
    let mut out = String::new();
    put_date(year, month, day, &mut out);
    out.push('T');
    put_time(
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60,
        nanos.into(),
        &mut out,
    );
    out.push('Z');
    out
}

/// As [`instant`], from milliseconds.
pub(super) fn instant_of_millis(millis: i64) -> String {
    let nanos = millis.rem_euclid(1000) as i32 * 1_000_000;
    instant(millis.div_euclid(1000), nanos)
}

fn wrong(text: &str, what: &str) -> Error {
    Error::incompatible(format!("\"{text}\" is no {what}"))
}

pub(super) fn parse_date(text: &str) -> Result<LocalDate, Error> {
    let parse = || {
        let (sign, digits) = match text.strip_prefix('-') {
            Some(digits) => (-1, digits),
            None => (1, text.strip_prefix('+').unwrap_or(text)),
        };
        let mut parts = digits.split('-');
        let year: i64 = parts.next()?.parse().ok()?;
        let (month, day) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let year = i32::try_from(sign * year).ok()?;
        let date = LocalDate { year, month, day };
        (parts.next().is_none() && date.is_valid()).then_some(date)
    };
    parse().ok_or_else(|| wrong(text, "date such as 2024-02-29"))
}

pub(super) fn parse_time(text: &str) -> Result<LocalTime, Error> {
    let parse = || {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let mut parts = whole.split(':');
        let (hour, minute) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let second = parts.next().map_or(Some(0), |second| second.parse().ok())?;
        let all_digits = fraction.bytes().all(|byte| byte.is_ascii_digit());
        if !all_digits || fraction.len() > 9 || parts.next().is_some() {
            return None;
        }
        let nano = format!("{fraction:0<9}").parse().ok()?;
        let time = LocalTime {
            hour,
            minute,
            second,
            nano,
        };
        time.is_valid().then_some(time)
    };
    parse().ok_or_else(|| wrong(text, "time such as 23:59:58.123"))
}

pub(super) fn parse_date_time(text: &str) -> Result<(LocalDate, LocalTime), Error> {
    let (date, time) = text
        .split_once('T')
        .ok_or_else(|| wrong(text, "date and time such as 2024-02-29T23:59:58"))?;
    Ok((parse_date(date)?, parse_time(time)?))
}

/// Returns seconds since 1970 and nanoseconds.
pub(super) fn parse_instant(text: &str) -> Result<(i64, i32), Error> {
    let local = text
        .strip_suffix('Z')
        .ok_or_else(|| wrong(text, "time such as 2024-02-29T23:59:58Z"))?;
    let (date, time) = parse_date_time(local)?;
    let days = days_of(date.year.into(), date.month.into(), date.day.into());
    let of_day = i64::from(time.hour) * 3600 + i64::from(time.minute) * 60 + i64::from(time.second);
    Ok((days * SECONDS_OF_DAY + of_day, time.nano))
}

pub(super) fn parse_millis(text: &str) -> Result<i64, Error> {
    let (seconds, nanos) = parse_instant(text)?;
    if nanos % 1_000_000 != 0 {
        return Err(wrong(text, "time in whole milliseconds"));
    }
    millis(seconds, nanos).ok_or_else(|| wrong(text, "time that milliseconds can tell"))
}

/// Returns milliseconds since 1970; `None` if they are too many for 64 bits.
pub(super) fn millis(seconds: i64, nanos: i32) -> Option<i64> {
    let millis = i128::from(seconds) * 1000 + i128::from(nanos / 1_000_000);
    i64::try_from(millis).ok()
}

impl LocalDate {
    /// Whether the numbers lie in their ranges (31 days for every month).
    pub(super) fn is_valid(self) -> bool {
        (1..=12).contains(&self.month) && (1..=31).contains(&self.day)
    }

    /// The days since 1970-01-01.
    pub fn epoch_day(self) -> i64 {
        days_of(self.year.into(), self.month.into(), self.day.into())
    }

    pub(super) fn hash_code(self) -> i32 {
        let (year, month, day) = (self.year, i32::from(self.month), i32::from(self.day));
        (year & 0xffff_f800_u32 as i32)
            ^ (year
                .wrapping_shl(11)
                .wrapping_add(month << 6)
                .wrapping_add(day))
    }
}

impl LocalTime {
    /// Whether the numbers lie in their ranges.
    pub(super) fn is_valid(self) -> bool {
        self.hour < 24
            && self.minute < 60
            && self.second < 60
            && (0..1_000_000_000).contains(&self.nano)
    }

    /// The nanoseconds since midnight.
    pub fn nano_of_day(self) -> i64 {
        let seconds =
            i64::from(self.hour) * 3600 + i64::from(self.minute) * 60 + i64::from(self.second);
        seconds * 1_000_000_000 + i64::from(self.nano)
    }

    pub(super) fn hash_code(self) -> i32 {
        super::hash::of_long(self.nano_of_day())
    }
}
