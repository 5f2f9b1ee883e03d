//! The bytes behind a stream handle, wherever they lie.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use millpond_fs::FileReader;

use crate::ranged_reads::ReadAhead;
use crate::{Error, RangedReads};

/// Bytes to be read at any place: inline ones, a file, or a part of a file. Clones share them.
#[derive(Clone)]
pub struct StateSource {
    name: Arc<str>,
    bytes: Place,
    /// Who can read several parts at a time.
    reads: Option<Arc<RangedReads>>,
    /// What is read ahead, for its one reader.
    ahead: Option<Arc<Mutex<ReadAhead>>>,
}

#[derive(Clone)]
enum Place {
    Memory(Arc<[u8]>),
    File {
        reader: Arc<dyn FileReader>,
        start: u64,
        len: u64,
    },
}

impl StateSource {
    /// Returns a source of bytes at hand; `name` stands in errors.
    pub fn of_bytes(name: &str, bytes: impl Into<Arc<[u8]>>) -> Self {
        StateSource {
            name: name.into(),
            bytes: Place::Memory(bytes.into()),
            reads: None,
            ahead: None,
        }
    }

    /// Returns a source of `len` bytes of a file from `start` on; `name` stands in errors.
    ///
    /// # Errors
    ///
    /// Corrupt, if the file is shorter.
    pub fn of_file(
        name: &str,
        reader: Box<dyn FileReader>,
        start: u64,
        len: u64,
    ) -> Result<Self, Error> {
        if start.checked_add(len).is_none_or(|end| end > reader.len()) {
            let found = format!("{} bytes", reader.len());
            let expected = format!("{len} bytes from offset {start} on");
            return Err(Error::corrupt(reader.len(), expected, found).in_file(name));
        }
        let bytes = Place::File {
            reader: reader.into(),
            start,
            len,
        };
        Ok(StateSource {
            name: name.into(),
            bytes,
            reads: None,
            ahead: None,
        })
    }

    /// The same source, of which parts may be read at the same time by `reads`.
    #[must_use]
    pub(crate) fn with_reads(self, reads: Option<Arc<RangedReads>>) -> Self {
        match self.bytes {
            Place::Memory(_) => self,
            Place::File { .. } => StateSource { reads, ..self },
        }
    }

    /// The same source for one reader, which reads the parts `wanted` in this order: they are on their way
    /// before it needs them, if there is somebody to read them.
    #[must_use]
    pub(crate) fn read_ahead(&self, wanted: impl IntoIterator<Item = Range<u64>>) -> Self {
        let at_once = StateSource {
            ahead: None,
            ..self.clone()
        };
        let ahead = self.reads.as_ref().map(|reads| {
            let ahead = ReadAhead::new(Arc::clone(reads), at_once.clone(), wanted);
            Arc::new(Mutex::new(ahead))
        });
        StateSource { ahead, ..at_once }
    }

    /// What the bytes are called in errors.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many bytes there are.
    #[expect(clippy::len_without_is_empty, reason = "nobody asks")]
    pub fn len(&self) -> u64 {
        match &self.bytes {
            Place::Memory(bytes) => bytes.len() as u64,
            Place::File { len, .. } => *len,
        }
    }

    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    ///
    /// Corrupt, if there are fewer bytes; Io, if they cannot be read.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        let short = || {
            let found = format!("the end at {}", self.len());
            Error::corrupt(offset, format!("{} bytes", buffer.len()), found).in_file(&self.name)
        };
        if offset
            .checked_add(buffer.len() as u64)
            .is_none_or(|end| end > self.len())
        {
            return Err(short());
        }
        if let Some(ahead) = &self.ahead {
            // It has one reader, and one that panicked reads no more.
            let mut ahead = ahead.lock().unwrap_or_else(PoisonError::into_inner);
            return ahead.read_at(offset, buffer);
        }
        match &self.bytes {
            Place::Memory(bytes) => {
                let start = offset as usize;
                buffer.copy_from_slice(&bytes[start..start + buffer.len()]);
                Ok(())
            }
            Place::File { reader, start, .. } => Ok(reader.read_at(start + offset, buffer)?),
        }
    }

    /// Reads the bytes from `start` up to `end`, not included.
    ///
    /// # Errors
    ///
    /// As [`read_at`](Self::read_at).
    pub fn read_range(&self, start: u64, end: u64) -> Result<Vec<u8>, Error> {
        // Checked before the memory is taken.
        if start > end || end > self.len() {
            let found = format!("the end at {}", self.len());
            return Err(
                Error::corrupt(start, format!("bytes up to {end}"), found).in_file(&self.name)
            );
        }
        let mut bytes = vec![0; (end - start) as usize];
        self.read_at(start, &mut bytes)?;
        Ok(bytes)
    }

    /// Reads all bytes.
    ///
    /// # Errors
    ///
    /// As [`read_at`](Self::read_at).
    pub fn read_all(&self) -> Result<Vec<u8>, Error> {
        self.read_range(0, self.len())
    }
}
