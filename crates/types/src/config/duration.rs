//! Durations as a user writes them: `10 s`, `1 min`, `500ms`; a number alone is milliseconds.
//!
//! Source: Flink 2.3.0, class `TimeUtils`.

use std::time::Duration;

/// Label, nanoseconds; the first label of each unit is the one that is written.
const UNITS: [(&[&str], u128, &str); 7] = [
    (&["d", "day", "days"], 86_400_000_000_000, "DAYS"),
    (&["h", "hour", "hours"], 3_600_000_000_000, "HOURS"),
    (
        &["min", "m", "minute", "minutes"],
        60_000_000_000,
        "MINUTES",
    ),
    (
        &["s", "sec", "secs", "second", "seconds"],
        1_000_000_000,
        "SECONDS",
    ),
    (
        &["ms", "milli", "millis", "millisecond", "milliseconds"],
        1_000_000,
        "MILLISECONDS",
    ),
    (
        &["µs", "us", "micro", "micros", "microsecond", "microseconds"],
        1_000,
        "MICROSECONDS",
    ),
    (
        &["ns", "nano", "nanos", "nanosecond", "nanoseconds"],
        1,
        "NANOSECONDS",
    ),
];

/// Reads a duration.
///
/// # Errors
///
/// What is wrong with the text.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Err("argument is an empty- or whitespace-only string".to_owned());
    }
    let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        return Err("text does not start with a number".to_owned());
    }
    let (number, label) = trimmed.split_at(digits);
    let overflow = || {
        format!("The value '{number}' cannot be represented as 64bit number (numeric overflow).")
    };
    let value = number.parse::<i64>().map_err(|_| overflow())? as u128;
    let label = label.trim().to_lowercase();
    let nanos = match UNITS
        .iter()
        .find(|(labels, _, _)| labels.contains(&label.as_str()))
    {
        Some((_, nanos, _)) => *nanos,
        None if label.is_empty() => 1_000_000,
        None => {
            let units: Vec<String> = UNITS
                .iter()
                .map(|(labels, _, name)| format!("{name}: ({})", labels.join(" | ")))
                .collect();
            return Err(format!(
                "Time interval unit label '{label}' does not match any of the recognized units: {}",
                units.join(", ")
            ));
        }
    };
    let total = value * nanos;
    let seconds = u64::try_from(total / 1_000_000_000).map_err(|_| overflow())?;
    Ok(Duration::new(seconds, (total % 1_000_000_000) as u32))
}

/// Writes a duration in the largest unit that holds it without a fraction: `10 s`.
pub fn format_duration(duration: Duration) -> String {
    let total = duration.as_nanos();
    UNITS
        .iter()
        .find(|(_, nanos, _)| total > 0 && total.is_multiple_of(*nanos))
        .map(|(labels, nanos, _)| format!("{} {}", total / nanos, labels[0]))
        .unwrap_or_else(|| "0 ms".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_flinks_documentation_is_read() {
        for (text, millis) in [
            ("10 s", 10_000),
            ("3s", 3_000),
            ("1 min", 60_000),
            ("1 m", 60_000),
            ("500 ms", 500),
            ("500", 500),
            ("0", 0),
            (" 2 Hours ", 7_200_000),
            ("1 d", 86_400_000),
            ("2000 µs", 2),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(millis)),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "empty"),
            ("s", "does not start with a number"),
            ("-1 s", "does not start with a number"),
            ("1 fortnight", "recognized units: DAYS: (d | day | days)"),
            ("99999999999999999999", "numeric overflow"),
        ] {
            let error = parse_duration(text).expect_err(text);
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn a_duration_is_read_back_from_its_text() {
        for millis in [0, 1, 999, 1_000, 60_000, 90_000, 86_400_000] {
            let duration = Duration::from_millis(millis);
            assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }
        assert_eq!(format_duration(Duration::from_secs(90)), "90 s");
    }
}
