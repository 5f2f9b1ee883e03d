//! The table of what happened.

use std::path::Path;
use std::time::Instant;

/// A step of the demo.
struct Row {
    seconds: f64,
    what: String,
    flights: Option<u64>,
    /// The path of a snapshot.
    snapshot: Option<String>,
}

/// What happened, in order.
pub(super) struct Table {
    /// Left out of paths.
    directory: String,
    started: Instant,
    rows: Vec<Row>,
}

impl Table {
    pub(super) fn new(directory: &Path, started: Instant) -> Self {
        Table {
            directory: format!("{}/", directory.display()),
            started,
            rows: Vec::new(),
        }
    }

    /// Adds what has just happened; returns it as a line.
    pub(super) fn add(
        &mut self,
        what: &str,
        flights: Option<u64>,
        snapshot: Option<&str>,
    ) -> String {
        let inside = |path: &str| {
            let path = path.strip_prefix("file:").unwrap_or(path);
            path.strip_prefix(&self.directory)
                .unwrap_or(path)
                .to_owned()
        };
        let row = Row {
            seconds: self.started.elapsed().as_secs_f64(),
            what: what.to_owned(),
            flights,
            snapshot: snapshot.map(inside),
        };
        let seconds = row.seconds;
        let snapshot = row
            .snapshot
            .as_ref()
            .map(|path| format!(": {path}"))
            .unwrap_or_default();
        self.rows.push(row);
        format!("[{seconds:5.1} s] {what}{snapshot}")
    }

    /// The whole table.
    pub(super) fn text(&self) -> String {
        let mut rows =
            vec![["step", "seconds", "flights read", "checkpoint or savepoint"].map(str::to_owned)];
        rows.extend(self.rows.iter().map(|row| {
            [
                row.what.clone(),
                format!("{:.1}", row.seconds),
                row.flights.map(grouped).unwrap_or_default(),
                row.snapshot.clone().unwrap_or_default(),
            ]
        }));
        let width = |column: usize| {
            rows.iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or_default()
        };
        let (what, seconds, flights) = (width(0), width(1), width(2));
        let lines = rows.iter().map(|[a, b, c, d]| {
            let line = format!("{a:<what$}  {b:>seconds$}  {c:>flights$}  {d}");
            format!("{}\n", line.trim_end())
        });
        lines.collect()
    }
}

/// A number with its digits in groups of three.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_stand_in_groups_of_three() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (336_776, "336,776"),
        ] {
            assert_eq!(grouped(number), text);
        }
        assert_eq!(grouped(1_000_000), "1,000,000");
    }

    #[test]
    fn columns_stand_below_each_other_and_paths_are_short() {
        let mut table = Table::new(Path::new("/demo"), Instant::now());
        let line = table.add(
            "stopped",
            Some(12_345),
            Some("file:/demo/savepoints/savepoint-1"),
        );
        assert!(
            line.ends_with(" s] stopped: savepoints/savepoint-1"),
            "{line}"
        );
        table.add("finished", None, None);
        let text = table.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        let column = lines[0].find("checkpoint or").expect("a heading");
        assert_eq!(lines[1].find("savepoints/savepoint-1"), Some(column));
        assert!(lines[1].contains("      12,345  "));
    }
}
