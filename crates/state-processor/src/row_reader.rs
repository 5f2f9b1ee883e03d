//! Rows of keyed state, one after the other, and where it is damaged if it is.

use millpond_snapshot::{Entry, ErrorKind as SnapshotErrorKind, KeyedReader};
use millpond_types::KeyGroup;

use crate::{EntryCodec, Error, ErrorKind, Parts, Row};

/// Reads rows of some key groups.
pub struct RowReader {
    reader: KeyedReader,
    codecs: Vec<EntryCodec>,
}

impl RowReader {
    /// Returns a reader of what `reader` reads.
    ///
    /// # Errors
    ///
    /// Snapshot: the header has a state that is none of keyed state.
    pub fn new(reader: KeyedReader) -> Result<Self, Error> {
        let codecs = EntryCodec::all_of(reader.header())?;
        Ok(RowReader { reader, codecs })
    }

    /// The codecs of the states, in the order of the header.
    pub fn codecs(&self) -> &[EntryCodec] {
        &self.codecs
    }

    /// Returns the next row.
    ///
    /// # Errors
    ///
    /// Snapshot: state is damaged or cannot be read; the error says where.
    pub fn next_row(&mut self) -> Result<Option<(KeyGroup, &EntryCodec, Row)>, Error> {
        self.next_row_of(|_, _| true)
    }

    /// As [`next_row`](Self::next_row), of the entries that `wanted` takes; the state is an index
    /// into [`codecs`](Self::codecs). What it does not take is passed over undecoded.
    ///
    /// # Errors
    ///
    /// As [`next_row`](Self::next_row).
    pub fn next_row_of(
        &mut self,
        wanted: impl FnMut(usize, &Entry<'_>) -> bool,
    ) -> Result<Option<(KeyGroup, &EntryCodec, Row)>, Error> {
        self.next_parts_of(Parts::All, wanted)
    }

    /// As [`next_row_of`](Self::next_row_of), with only some parts of the rows decoded.
    ///
    /// # Errors
    ///
    /// As [`EntryCodec::decode_parts`].
    pub fn next_parts_of(
        &mut self,
        parts: Parts,
        mut wanted: impl FnMut(usize, &Entry<'_>) -> bool,
    ) -> Result<Option<(KeyGroup, &EntryCodec, Row)>, Error> {
        loop {
            let at = self.reader.offset();
            let Some(entry) = self.reader.next_entry()? else {
                return Ok(None);
            };
            if !wanted(entry.state, &entry) {
                continue;
            }
            let (group, codec) = (entry.key_group, &self.codecs[entry.state]);
            return match codec.decode_parts(&entry, parts) {
                Ok(row) => Ok(Some((group, codec, row))),
                Err(error) => Err(self.located(error, at, group, codec)),
            };
        }
    }

    /// Calls `visit` for every entry, undecoded.
    ///
    /// # Errors
    ///
    /// As [`next_row`](Self::next_row); else what `visit` returns.
    pub fn for_each_entry(
        mut self,
        mut visit: impl FnMut(&Entry<'_>) -> Result<(), millpond_snapshot::Error>,
    ) -> Result<(), Error> {
        while let Some(entry) = self.reader.next_entry()? {
            visit(&entry)?;
        }
        Ok(())
    }

    /// Says in which file, and in which entry of it, something was wrong.
    #[cold]
    fn located(&self, error: Error, at: u64, group: KeyGroup, codec: &EntryCodec) -> Error {
        located(error, self.reader.source_name(), at, group, codec)
    }
}

/// Says in which file, and in the entry of which state at `at`, something was wrong.
#[cold]
pub(crate) fn located(
    error: Error,
    file: &str,
    at: u64,
    group: KeyGroup,
    codec: &EntryCodec,
) -> Error {
    let name = &codec.state().name;
    let ErrorKind::Snapshot(below) = error.kind() else {
        return error;
    };
    let place = format!("in an entry of state \"{name}\", key group {}", group.0);
    let error = match below.kind() {
        SnapshotErrorKind::Corrupt {
            expected, found, ..
        } => millpond_snapshot::Error::corrupt(at, format!("{expected} {place}"), found.clone()),
        SnapshotErrorKind::Unsupported { what } => {
            millpond_snapshot::Error::unsupported(format!("{what} {place}"))
        }
        SnapshotErrorKind::Incompatible { .. } | SnapshotErrorKind::Io(_) => return error,
    };
    error.in_file(file).into()
}
