//! The content of a snapshot as lines: a row of keyed or operator state each.
//!
//! The columns: operator (uid, name or id), state, key, namespace, user key, value. A timer's
//! value is its timestamp; an entry of a map is a row of its own; elements of operator state have
//! no key. Lines of JSON leave out what is not there.

use std::io::Write;

use millpond_serializer::Value;

use super::document::{put_json, put_value, put_values};
use super::{Format, Put, Reading, RowText, Rows};
use crate::text_table::{EmptyColumns, TextTable, put_csv, put_plain};
use crate::{Content, EntryCodec, Error, Operator, Row};

const COLUMNS: [&str; 6] = ["operator", "state", "key", "namespace", "user_key", "value"];
/// What separates the cells of a table before their widths are known; no cell has it.
const CELL_END: u8 = 0x1f;

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
    let headings = COLUMNS.map(|name| name.replace('_', " "));
    let mut table = TextTable::new(headings.to_vec(), EmptyColumns::LeftOut);
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
            Format::Table => put_rows(text, &mut table, out),
            Format::Json | Format::JsonLines | Format::Csv => Ok(out.write_all(text)?),
        };
        rows = reading.keyed(*operator, None, rows, text, &mut put)?;
        if reading.options.selection.takes_operator_state() {
            rows = operator_state_lines(*operator, reading, rows, text(), &mut put)?;
        }
    }
    if format == Format::Table {
        table.finish(out)?;
    }
    out.flush()?;
    Ok(rows)
}

fn put_rows(text: &[u8], table: &mut TextTable, out: &mut dyn Write) -> Result<(), Error> {
    let lines = text.split(|byte| *byte == b'\n');
    for line in lines.filter(|line| !line.is_empty()) {
        let cells = line
            .split(|byte| *byte == CELL_END)
            .map(|cell| String::from_utf8_lossy(cell).into_owned());
        table.row(cells.collect(), out)?;
    }
    Ok(())
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
