//! Answers as text: a table, JSON, lines of JSON, CSV.

use std::io::Write;

use datafusion::arrow::datatypes::Schema;
use datafusion::arrow::record_batch::RecordBatch;
use millpond_state_processor::{EmptyColumns, Format, TextTable, put_csv, put_plain};

use crate::Error;
use crate::cell::{Cell, RowOf};

/// An answer that is being written.
pub(crate) struct Answer {
    format: Format,
    names: Vec<String>,
    table: TextTable,
    rows: u64,
}

impl Answer {
    /// Writes what stands in front of the rows.
    pub(crate) fn begin(
        schema: &Schema,
        format: Format,
        out: &mut dyn Write,
    ) -> Result<Self, Error> {
        let names: Vec<String> = schema
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect();
        match format {
            Format::Json => out.write_all(b"[")?,
            Format::Csv => out.write_all(&csv_line(names.iter()))?,
            Format::JsonLines | Format::Table => {}
        }
        let headings = names.iter().map(|name| plain(name));
        Ok(Answer {
            format,
            table: TextTable::new(headings.collect(), EmptyColumns::Shown),
            names,
            rows: 0,
        })
    }

    pub(crate) fn batch(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> Result<(), Error> {
        let mut text = Vec::new();
        for row in 0..batch.num_rows() {
            let columns = batch.columns().iter();
            match self.format {
                Format::Table => {
                    let cells = columns.map(|column| Ok(plain(&Cell::new(column, row).text()?)));
                    let cells = cells.collect::<Result<_, Error>>()?;
                    self.table.row(cells, out)?;
                }
                Format::Csv => {
                    let cells = columns.map(|column| Cell::new(column, row).text());
                    let cells = cells.collect::<Result<Vec<_>, _>>()?;
                    text.extend(csv_line(cells.iter()));
                }
                Format::Json | Format::JsonLines => {
                    let names = &self.names;
                    let row = RowOf { names, batch, row };
                    let before = match (self.format, self.rows) {
                        (Format::Json, 0) => "\n",
                        (Format::Json, _) => ",\n",
                        _ => "",
                    };
                    text.extend_from_slice(before.as_bytes());
                    serde_json::to_writer(&mut text, &row)
                        .map_err(|error| Error::failed(error.to_string()))?;
                    if self.format == Format::JsonLines {
                        text.push(b'\n');
                    }
                }
            }
            self.rows += 1;
        }
        Ok(out.write_all(&text)?)
    }

    /// Writes what stands behind the rows; returns how many they were.
    pub(crate) fn end(mut self, out: &mut dyn Write) -> Result<u64, Error> {
        match self.format {
            Format::Json => out.write_all(b"\n]\n")?,
            Format::Table => self.table.finish(out)?,
            Format::JsonLines | Format::Csv => {}
        }
        out.flush()?;
        Ok(self.rows)
    }
}

fn plain(text: &str) -> String {
    let mut out = Vec::new();
    put_plain(text, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn csv_line<'a>(cells: impl Iterator<Item = &'a String>) -> Vec<u8> {
    let mut line = Vec::new();
    for (index, cell) in cells.enumerate() {
        if index > 0 {
            line.push(b',');
        }
        put_csv(cell, &mut line);
    }
    line.push(b'\n');
    line
}
