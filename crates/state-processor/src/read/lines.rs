//! The content of a snapshot as lines: a row of keyed or operator state each.
//!
//! The columns: operator (uid, name or id), state, key, namespace, user key, value. A timer's
//! value is its timestamp; an entry of a map is a row of its own; elements of operator state have
//! no key. Lines of JSON leave out what is not there.

use std::io::Write;

use millpond_serializer::Value;

use super::document::{put_json, put_value, put_values};
use super::{Format, Put, Reading, RowText, Rows};
use crate::{Content, EntryCodec, Error, Operator, Row};

const COLUMNS: [&str; 6] = ["operator", "state", "key", "namespace", "user_key", "value"];
/// What separates the cells of a table before their widths are known; no cell has it.
const CELL_END: u8 = 0x1f;
/// How many rows of a table decide its widths.
const MEASURED_ROWS: usize = 200;
/// A cell wider than this is cut.
const MOST_WIDTH: usize = 60;

/// Rows as lines.
struct Lines {
    format: Format,
    ttl: bool,
    operator: String,
}

impl Lines {
    fn cells(&self, state: &str, cells: [Option<&Cell<'_>>; 4], rows: &mut Rows) {
        let out = &mut rows.text;
        match self.format {
            Format::Json | Format::JsonLines => {
                out.extend_from_slice(b"{\"operator\":");
                put_json(&self.operator, out);
                out.extend_from_slice(b",\"state\":");
                put_json(&state, out);
                for (name, cell) in COLUMNS[2..].iter().zip(cells) {
                    if let Some(cell) = cell {
                        out.extend_from_slice(b",\"");
                        out.extend_from_slice(name.as_bytes());
                        out.extend_from_slice(b"\":");
                        cell.put_json(self.ttl, out);
                    }
                }
                out.push(b'}');
            }
            Format::Csv => {
                put_csv(&self.operator, out);
                out.push(b',');
                put_csv(state, out);
                for cell in cells {
                    out.push(b',');
                    if let Some(cell) = cell {
                        put_csv(&cell.text(self.ttl), out);
                    }
                }
            }
            Format::Table => {
                put_plain(&self.operator, out);
                out.push(CELL_END);
                put_plain(state, out);
                for cell in cells {
                    out.push(CELL_END);
                    if let Some(cell) = cell {
                        put_plain(&cell.text(self.ttl), out);
                    }
                }
            }
        }
        out.push(b'\n');
        rows.end_row();
    }
}

/// What a cell shows.
enum Cell<'a> {
    Value(&'a Value),
    List(&'a [Value]),
    Timestamp(i64),
}

impl Cell<'_> {
    fn put_json(&self, ttl: bool, out: &mut Vec<u8>) {
        match self {
            Cell::Value(value) => put_value(value, ttl, out),
            Cell::List(values) => put_values(values, ttl, out),
            Cell::Timestamp(timestamp) => put_json(timestamp, out),
        }
    }

    /// A text as it is, anything else as JSON.
    fn text(&self, ttl: bool) -> String {
        if let Cell::Value(Value::String(text)) = self {
            return text.clone();
        }
        let mut out = Vec::new();
        self.put_json(ttl, &mut out);
        match serde_json::from_slice::<String>(&out) {
            Ok(text) => text,
            Err(_) => String::from_utf8_lossy(&out).into_owned(),
        }
    }
}

impl RowText for Lines {
    fn row(&mut self, codec: &EntryCodec, row: &Row, rows: &mut Rows) {
        let key = Cell::Value(&row.key);
        let namespace = Cell::Value(&row.namespace);
        let namespace = (!codec.has_void_namespace()).then_some(&namespace);
        let (user_key, value) = match &row.content {
            Content::Value(value) => (None, Cell::Value(value)),
            Content::List(elements) => (None, Cell::List(elements)),
            Content::MapEntry(user_key, value) => (Some(Cell::Value(user_key)), Cell::Value(value)),
            Content::Timer(timestamp) => (None, Cell::Timestamp(*timestamp)),
        };
        let cells = [Some(&key), namespace, user_key.as_ref(), Some(&value)];
        self.cells(&codec.state().name, cells, rows);
    }

    fn end(&mut self, _: &mut Rows) {}
}

/// Appends a field, in quotes where RFC 4180 asks for them.
fn put_csv(text: &str, out: &mut Vec<u8>) {
    if !text.contains([',', '"', '\n', '\r']) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(b'"');
    out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
    out.push(b'"');
}

/// Appends a text without what would move a terminal's cursor.
fn put_plain(text: &str, out: &mut Vec<u8>) {
    for character in text.chars() {
        if character.is_control() {
            out.extend_from_slice(character.escape_default().to_string().as_bytes());
        } else {
            out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
}

/// Writes lines; returns the number of rows.
pub(super) fn write(
    operators: &[Operator<'_>],
    reading: &Reading<'_>,
    out: &mut dyn Write,
) -> Result<u64, Error> {
    let format = reading.options.format;
    if format == Format::Csv {
        writeln!(out, "{}", COLUMNS.join(","))?;
    }
    let mut table = Table::default();
    let mut rows = 0;
    for operator in operators {
        let called = operator.uid().or(operator.name());
        let called = called.map_or_else(|| operator.id().to_string(), str::to_owned);
        let text = || Lines {
            format,
            ttl: reading.options.ttl,
            operator: called.clone(),
        };
        let mut put = |text: &[u8], _| match format {
            Format::Table => table.put(text, out),
            Format::Json | Format::JsonLines | Format::Csv => Ok(out.write_all(text)?),
        };
        rows = reading.keyed(*operator, None, rows, text, &mut put)?;
        if reading.options.selection.takes_operator_state() {
            rows = operator_state_lines(*operator, reading, rows, text(), &mut put)?;
        }
    }
    if format == Format::Table {
        table.measure(out)?;
    }
    out.flush()?;
    Ok(rows)
}

fn operator_state_lines(
    operator: Operator<'_>,
    reading: &Reading<'_>,
    mut count: u64,
    lines: Lines,
    put: &mut Put<'_>,
) -> Result<u64, Error> {
    let limit = reading.options.limit.unwrap_or(u64::MAX);
    let mut rows = Rows::default();
    for state in operator.operator_states()? {
        if !reading.options.selection.takes_state(&state.name) {
            continue;
        }
        for element in state.content() {
            if count >= limit {
                break;
            }
            let cells = match (element, &state.key) {
                (Value::Tuple(pair), Some(_)) => match pair.as_slice() {
                    [key, value] => [Some(key), Some(value)],
                    _ => [None, Some(element)],
                },
                _ => [None, Some(element)],
            };
            let [key, value] = cells.map(|cell| cell.map(Cell::Value));
            lines.cells(
                &state.name,
                [key.as_ref(), None, None, value.as_ref()],
                &mut rows,
            );
            count += 1;
        }
    }
    let chunk = rows.take();
    put(&chunk.text, chunk.ends.len() as u64)?;
    Ok(count)
}

/// Rows whose columns stand below each other, as wide as the first ones ask for.
#[derive(Default)]
struct Table {
    waiting: Vec<[String; 6]>,
    widths: Option<[usize; 6]>,
}

impl Table {
    fn put(&mut self, text: &[u8], out: &mut dyn Write) -> Result<(), Error> {
        for line in text
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            let mut cells = line
                .split(|byte| *byte == CELL_END)
                .map(|cell| String::from_utf8_lossy(cell).into_owned());
            let row = std::array::from_fn(|_| cells.next().unwrap_or_default());
            match &self.widths {
                Some(widths) => Table::print(&row, widths, out)?,
                None => self.waiting.push(row),
            }
            if self.widths.is_none() && self.waiting.len() >= MEASURED_ROWS {
                self.measure(out)?;
            }
        }
        Ok(())
    }

    /// Prints what has waited; from now on rows are printed as they come.
    fn measure(&mut self, out: &mut dyn Write) -> Result<(), Error> {
        if self.widths.is_some() {
            return Ok(());
        }
        let headings = COLUMNS.map(|name| name.replace('_', " "));
        let width = |column: usize| {
            let cells = self.waiting.iter().map(|row| row[column].chars().count());
            let most = cells.max().filter(|most| *most > 0);
            // A column in which nothing stands is left out.
            most.map_or(0, |most| most.max(headings[column].len()).min(MOST_WIDTH))
        };
        let widths: [usize; 6] = std::array::from_fn(width);
        let shown = std::array::from_fn(|column| match widths[column] {
            0 => String::new(),
            _ => headings[column].clone(),
        });
        Table::print(&shown, &widths, out)?;
        for row in std::mem::take(&mut self.waiting) {
            Table::print(&row, &widths, out)?;
        }
        self.widths = Some(widths);
        Ok(())
    }

    fn print(row: &[String; 6], widths: &[usize; 6], out: &mut dyn Write) -> Result<(), Error> {
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
        writeln!(out, "{}", cells.join("  ").trim_end())?;
        Ok(())
    }
}
