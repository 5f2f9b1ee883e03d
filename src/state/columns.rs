//! Text in columns, and numbers for people.

/// Rows of cells whose columns stand below each other.
#[derive(Default)]
pub(super) struct Columns {
    rows: Vec<Vec<Cell>>,
}

/// A cell and the side that it leans on.
pub(super) enum Cell {
    Left(String),
    Right(String),
}

impl Columns {
    pub(super) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// The rows as lines, each behind `indent`.
    pub(super) fn lines(&self, indent: &str) -> Vec<String> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(Cell::width).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let line = |row: &Vec<Cell>| {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| match cell {
                    Cell::Left(text) => format!("{text:<width$}"),
                    Cell::Right(text) => format!("{text:>width$}"),
                })
                .collect();
            format!("{indent}{}", cells.join("  "))
                .trim_end()
                .to_owned()
        };
        self.rows.iter().map(line).collect()
    }
}

impl Cell {
    fn width(&self) -> usize {
        match self {
            Cell::Left(text) | Cell::Right(text) => text.chars().count(),
        }
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

/// Bytes in the largest unit that leaves a whole number: "18.2 kB" (1 kB is 1000 bytes).
pub(super) fn bytes(bytes: u64) -> String {
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut amount = bytes as f64;
    for unit in ["kB", "MB", "GB", "TB"] {
        amount /= 1000.0;
        if amount < 999.95 || unit == "TB" {
            return format!("{amount:.1} {unit}");
        }
    }
    unreachable!("the last unit takes all")
}

/// "1 file", "2 files".
pub(super) fn counted(number: u64, one: &str, many: &str) -> String {
    format!(
        "{} {}",
        grouped(number),
        if number == 1 { one } else { many }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_told_in_a_unit_that_fits() {
        for (number, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (18_240, "18.2 kB"),
            (999_960, "1.0 MB"),
            (u64::MAX, "18446744.1 TB"),
        ] {
            assert_eq!(bytes(number), text);
        }
        assert_eq!(counted(1, "file", "files"), "1 file");
        assert_eq!(counted(1234, "file", "files"), "1,234 files");
    }

    #[test]
    fn columns_stand_below_each_other() {
        let mut columns = Columns::default();
        let cells = |left: &str, right: &str| {
            vec![Cell::Left(left.to_owned()), Cell::Right(right.to_owned())]
        };
        columns.row(cells("a", "10"));
        columns.row(cells("long", "7"));
        assert_eq!(columns.lines("  "), ["  a     10", "  long   7"]);
    }
}
