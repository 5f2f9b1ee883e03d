//! Rows as text: columns for people, which are as wide as the first rows ask for, and fields of
//! comma-separated values.

use std::io::{self, Write};

/// How many rows decide the widths.
const MEASURED_ROWS: usize = 200;
/// A cell wider than this is cut.
const MOST_WIDTH: usize = 60;

/// What becomes of columns in which nothing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmptyColumns {
    /// They are left out.
    LeftOut,
    /// They have their heading.
    Shown,
}

/// Rows whose columns stand below each other. The first ones wait until the widths are known.
#[derive(Debug)]
pub struct TextTable {
    headings: Vec<String>,
    empty: EmptyColumns,
    waiting: Vec<Vec<String>>,
    widths: Option<Vec<usize>>,
}

impl TextTable {
    /// Returns a table without rows.
    pub fn new(headings: Vec<String>, empty: EmptyColumns) -> Self {
        TextTable {
            headings,
            empty,
            waiting: Vec::new(),
            widths: None,
        }
    }

    /// Adds a row; cells are without line breaks, as [`put_plain`] makes them.
    ///
    /// # Errors
    ///
    /// As `out` says.
    pub fn row(&mut self, row: Vec<String>, out: &mut dyn Write) -> io::Result<()> {
        match &self.widths {
            Some(widths) => print(&row, widths, out)?,
            None => self.waiting.push(row),
        }
        if self.widths.is_none() && self.waiting.len() >= MEASURED_ROWS {
            self.finish(out)?;
        }
        Ok(())
    }

    /// Prints what has waited; from now on rows are printed as they come.
    ///
    /// # Errors
    ///
    /// As `out` says.
    pub fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.widths.is_some() {
            return Ok(());
        }
        let width = |column: usize| {
            let cells = self.waiting.iter().filter_map(|row| row.get(column));
            let most = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
            let heading = self.headings[column].chars().count();
            match (most, self.empty) {
                (0, EmptyColumns::LeftOut) => 0,
                _ => most.max(heading).min(MOST_WIDTH),
            }
        };
        let widths: Vec<usize> = (0..self.headings.len()).map(width).collect();
        let shown = self
            .headings
            .iter()
            .zip(&widths)
            .map(|(heading, width)| match width {
                0 => String::new(),
                _ => heading.clone(),
            });
        print(&shown.collect::<Vec<_>>(), &widths, out)?;
        for row in std::mem::take(&mut self.waiting) {
            print(&row, &widths, out)?;
        }
        self.widths = Some(widths);
        Ok(())
    }
}

fn print(row: &[String], widths: &[usize], out: &mut dyn Write) -> io::Result<()> {
    let shown = row
        .iter()
        .zip(widths)
        .filter(|(cell, width)| **width > 0 || !cell.is_empty());
    let cells: Vec<String> = shown
        .map(|(cell, width)| match cell.char_indices().nth(MOST_WIDTH) {
            Some((cut, _)) => format!("{}...", &cell[..cut]),
            None => format!("{cell:<width$}"),
        })
        .collect();
    writeln!(out, "{}", cells.join("  ").trim_end())
}

/// Appends a text without what would move a terminal's cursor.
pub fn put_plain(text: &str, out: &mut Vec<u8>) {
    for character in text.chars() {
        if character.is_control() {
            out.extend_from_slice(character.escape_default().to_string().as_bytes());
        } else {
            out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
}

/// Appends a field, in quotes where RFC 4180 asks for them.
pub fn put_csv(text: &str, out: &mut Vec<u8>) {
    if !text.contains([',', '"', '\n', '\r']) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(b'"');
    out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_columns_are_shown_or_left_out_and_long_cells_are_cut() {
        let text = |empty| {
            let headings = ["a", "b", "c"].map(str::to_owned).to_vec();
            let mut table = TextTable::new(headings, empty);
            let mut out = Vec::new();
            for row in [["1", "", "x"], ["22", "", &"y".repeat(100)]] {
                let row = row.map(str::to_owned).to_vec();
                table.row(row, &mut out).expect("memory");
            }
            table.finish(&mut out).expect("memory");
            String::from_utf8(out).expect("a text")
        };
        let cut = format!("{}...", "y".repeat(60));
        let expected = format!("a   c\n1   x\n22  {cut}\n");
        assert_eq!(text(EmptyColumns::LeftOut), expected);
        let expected = format!("a   b  c\n1      x\n22     {cut}\n");
        assert_eq!(text(EmptyColumns::Shown), expected);
    }
}
