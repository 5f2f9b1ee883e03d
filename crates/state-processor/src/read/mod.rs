//! The content of a snapshot as text: JSON, lines of JSON, CSV, a table.
//!
//! | file | what |
//! | --- | --- |
//! | `selection` | which rows are wanted |
//! | `document` | one JSON object, state by state |
//! | `lines` | a line per row: JSON, CSV, table |
//!
//! Threads make text of their pieces; it is written in the order of the files as it comes. An
//! object wants its states one after the other, while files hold them key group by key group:
//! it reads the files once for each state, passing over what is of others.

mod document;
mod lines;
mod selection;

use std::io::Write;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

pub use selection::{RowFilter, Selection};

use crate::{
    EntryCodec, Error, OpenSnapshot, Operator, Piece, Progress, Row, RowReader, Threads, scan,
};

/// About how many bytes of a file are one piece of work.
const PIECE_BYTES: u64 = 4 << 20;
/// How much text is handed on at once; the first of a piece earlier.
const CHUNK_BYTES: usize = 64 << 10;
const FIRST_CHUNK_BYTES: usize = 2 << 10;

/// How content is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object with an array of operators.
    Json,
    /// A JSON object per row.
    JsonLines,
    /// Comma-separated values, with a heading.
    Csv,
    /// Columns for people.
    Table,
}

/// What to read, and how to write it.
#[derive(Clone, Debug)]
pub struct ReadOptions {
    /// Which rows.
    pub selection: Selection,
    /// In which form.
    pub format: Format,
    /// Whether to show when values with time-to-live were used last.
    pub ttl: bool,
    /// How many rows at most.
    pub limit: Option<u64>,
}

/// Writes the content of a snapshot to `out`; returns how many rows that were.
///
/// # Errors
///
/// Request: there is no such operator or state, or a key is of another type; then nothing has
/// been written. Snapshot: state is damaged or cannot be read. Output: as `out` says.
pub fn read(
    snapshot: &OpenSnapshot,
    options: &ReadOptions,
    threads: Threads,
    progress: &Progress,
    out: &mut dyn Write,
) -> Result<u64, Error> {
    let operators = chosen(snapshot, &options.selection)?;
    let reading = Reading {
        options,
        threads,
        progress,
    };
    match options.format {
        Format::Json => document::write(snapshot, &operators, &reading, out),
        Format::JsonLines | Format::Csv | Format::Table => lines::write(&operators, &reading, out),
    }
}

/// The operators with state that are wanted, all of it readable.
fn chosen<'a>(snapshot: &'a OpenSnapshot, wanted: &Selection) -> Result<Vec<Operator<'a>>, Error> {
    let operators: Vec<Operator<'a>> = match &wanted.operator {
        Some(operator) => vec![snapshot.find_operator(operator)?],
        None => snapshot
            .operators()
            .filter(|operator| !operator.is_empty())
            .collect(),
    };
    let (mut names, mut found) = (Vec::new(), false);
    for operator in &operators {
        if let Some(part) = operator
            .keyed_parts()
            .find(|part| part.unreadable_because().is_some())
        {
            // Says why.
            part.open(None)?;
        }
        let keyed = operator.keyed_states()?;
        let lists = operator.operator_states()?;
        let of_keyed = keyed.iter().map(|state| state.name.clone());
        let of_lists = lists.iter().map(|state| state.name.clone());
        for name in of_keyed.chain(of_lists) {
            found |= wanted.takes_state(&name);
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    match &wanted.state {
        Some(state) if !found => Err(Error::request(format!(
            "there is no state \"{state}\"; there are: {}",
            names.join(", ")
        ))),
        Some(_) | None => Ok(operators),
    }
}

/// What all forms need.
struct Reading<'a> {
    options: &'a ReadOptions,
    threads: Threads,
    progress: &'a Progress,
}

/// Takes text of whole rows, and how many they are.
type Put<'a> = dyn FnMut(&[u8], u64) -> Result<(), Error> + 'a;

/// Text of some rows.
struct Chunk {
    text: Vec<u8>,
    /// Where each row ends.
    ends: Vec<usize>,
}

/// Makes text of rows.
trait RowText: Send {
    /// Appends a row, or what is known of it.
    fn row(&mut self, codec: &EntryCodec, row: &Row, chunk: &mut Rows);

    /// Ends what is still open.
    fn end(&mut self, chunk: &mut Rows);
}

/// Text that is being made.
#[derive(Default)]
struct Rows {
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl Rows {
    fn end_row(&mut self) {
        self.ends.push(self.text.len());
    }

    fn take(&mut self) -> Chunk {
        Chunk {
            text: std::mem::take(&mut self.text),
            ends: std::mem::take(&mut self.ends),
        }
    }
}

impl Reading<'_> {
    /// Makes text of the wanted rows of an operator, of one state if `state` names it; `put` gets
    /// it in order, with the number of rows, until there have been as many as wanted.
    fn keyed<T: RowText>(
        &self,
        operator: Operator<'_>,
        state: Option<&str>,
        rows_before: u64,
        text: impl Fn() -> T + Sync,
        put: &mut Put<'_>,
    ) -> Result<u64, Error> {
        let selection = &self.options.selection;
        let pieces = selection.pieces(operator, PIECE_BYTES)?;
        let total: u64 = pieces.iter().map(Piece::bytes).sum();
        self.progress
            .total_bytes
            .fetch_add(total, Ordering::Relaxed);
        let limit = self.options.limit.unwrap_or(u64::MAX);
        let mut rows = rows_before;
        if rows >= limit {
            return Ok(rows);
        }
        let work = |piece: &Piece<'_>, send: &mut dyn FnMut(Chunk) -> ControlFlow<()>| {
            if let Some(reader) = piece.open()? {
                let reader = RowReader::new(reader)?;
                let filters = selection.filters(reader.codecs())?;
                let filters = with_state(filters, reader.codecs(), state);
                make_text(reader, &filters, text(), send, self.progress)?;
            }
            self.progress
                .bytes
                .fetch_add(piece.bytes(), Ordering::Relaxed);
            Ok(())
        };
        scan(&pieces, self.threads, work, |_, chunk: Chunk| {
            let left = limit - rows;
            let count = (chunk.ends.len() as u64).min(left);
            let end = match count {
                _ if count < chunk.ends.len() as u64 => (count as usize)
                    .checked_sub(1)
                    .map_or(0, |last| chunk.ends[last]),
                _ => chunk.text.len(),
            };
            put(&chunk.text[..end], count)?;
            rows += count;
            Ok(match rows < limit {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            })
        })?;
        Ok(rows)
    }
}

fn with_state(
    filters: Vec<Option<RowFilter>>,
    codecs: &[EntryCodec],
    state: Option<&str>,
) -> Vec<Option<RowFilter>> {
    let is_it = |codec: &EntryCodec| state.is_none_or(|state| codec.state().name == state);
    filters
        .into_iter()
        .zip(codecs)
        .map(|(filter, codec)| filter.filter(|_| is_it(codec)))
        .collect()
}

fn make_text<T: RowText>(
    mut reader: RowReader,
    filters: &[Option<RowFilter>],
    mut text: T,
    send: &mut dyn FnMut(Chunk) -> ControlFlow<()>,
    progress: &Progress,
) -> Result<(), Error> {
    let mut rows = Rows::default();
    let (mut chunk_bytes, mut entries) = (FIRST_CHUNK_BYTES, 0);
    let mut filter_of = vec![None; 0];
    filter_of.extend(filters.iter().map(Option::as_ref));
    let result = loop {
        let mut state = 0;
        let next = reader.next_row_of(|index, entry| {
            state = index;
            entries += 1;
            filter_of[index].is_some_and(|filter| filter.takes_entry(entry))
        });
        let (codec, row) = match next {
            Ok(Some((_, codec, row))) => (codec, row),
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        };
        if filter_of[state].is_some_and(|filter| filter.takes_row(&row)) {
            text.row(codec, &row, &mut rows);
        }
        if rows.text.len() >= chunk_bytes {
            chunk_bytes = CHUNK_BYTES;
            progress.entries.fetch_add(entries, Ordering::Relaxed);
            entries = 0;
            if send(rows.take()).is_break() {
                return Ok(());
            }
        }
    };
    progress.entries.fetch_add(entries, Ordering::Relaxed);
    text.end(&mut rows);
    if !rows.text.is_empty() && send(rows.take()).is_break() {
        return Ok(());
    }
    // What was read before the damage has been handed on.
    result
}
