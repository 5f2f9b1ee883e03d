//! A part of keyed state in memory: what is being read, and a little ahead.
//!
//! A key group may be larger than the memory, so that neither plain nor compressed ones are held
//! whole: a window moves over the bytes of the stream, or over what comes out of them.

use std::io::{self, Read};

use snap::read::FrameDecoder;

use crate::{Error, StateSource};

/// How much of a plain stream is read at once.
const WINDOW_BYTES: u64 = 1 << 20;
/// How much of a compressed stream is decompressed at once.
const FRAMED_BYTES: usize = 256 << 10;

/// A part of the stream in memory.
#[derive(Default)]
pub(super) struct Window {
    pub(super) bytes: Vec<u8>,
    /// The next byte to be read.
    pub(super) at: usize,
    /// Where the current group ends in `bytes`, or the end of `bytes` if that is before.
    end: usize,
    /// Where `bytes` begins in the stream; of a compressed group, behind its start as far as its
    /// plain bytes would.
    pub(super) start: u64,
    /// Where the current group ends in the stream; not known of a compressed one until its end.
    limit: u64,
    /// Up to where it is worth reading ahead.
    ahead: u64,
    /// Where the bytes come from, if they are compressed.
    framed: Option<FrameDecoder<Section>>,
}

/// A part of a source, as a reader.
struct Section {
    source: StateSource,
    at: u64,
    end: u64,
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = (self.end - self.at).min(buffer.len() as u64) as usize;
        let read = self.source.read_at(self.at, &mut buffer[..length]);
        read.map_err(io::Error::other)?;
        self.at += length as u64;
        Ok(length)
    }
}

impl Window {
    /// Returns a window that reads ahead up to `ahead`.
    pub(super) fn new(ahead: u64) -> Self {
        Window {
            ahead,
            ..Window::default()
        }
    }

    pub(super) fn offset(&self) -> u64 {
        self.start + self.at as u64
    }

    /// What is in memory of the group from here on.
    pub(super) fn ready(&self) -> &[u8] {
        &self.bytes[self.at..self.end]
    }

    /// How many bytes of the group are left, if that is known.
    pub(super) fn left(&self) -> Option<u64> {
        (self.limit != u64::MAX).then(|| self.limit - self.offset())
    }

    /// Turns to the group from `start` to `limit`; what is in memory of it stays.
    pub(super) fn turn_to(&mut self, start: u64, limit: u64) {
        if self.offset() != start {
            self.bytes.clear();
            (self.at, self.start) = (0, start);
        }
        self.limit = limit;
        self.find_end();
    }

    /// Turns to a group that lies from `start` to `end` as framed Snappy streams.
    pub(super) fn turn_to_framed(&mut self, source: &StateSource, start: u64, end: u64) {
        self.bytes.clear();
        (self.at, self.end, self.start, self.limit) = (0, 0, start, u64::MAX);
        self.framed = Some(FrameDecoder::new(Section {
            source: source.clone(),
            at: start,
            end,
        }));
    }

    fn find_end(&mut self) {
        self.end = (self.limit - self.start).min(self.bytes.len() as u64) as usize;
    }

    /// Makes sure that the next `length` bytes of the group are in memory.
    #[inline]
    pub(super) fn need(&mut self, length: usize, source: &StateSource) -> Result<(), Error> {
        if self.end - self.at >= length {
            return Ok(());
        }
        self.refill(length, source)
    }

    #[cold]
    fn refill(&mut self, length: usize, source: &StateSource) -> Result<(), Error> {
        if self.framed.is_some() {
            return self.refill_framed(length);
        }
        let offset = self.offset();
        let left = self.limit - offset;
        if left < length as u64 {
            return Err(self.too_short(length, left));
        }
        self.bytes.drain(..self.at);
        (self.start, self.at) = (offset, 0);
        let have = self.bytes.len();
        // `limit` and `ahead` lie in the stream, so that its length bounds the memory.
        let ahead = self.ahead.saturating_sub(offset).min(WINDOW_BYTES);
        let want = ahead.max(length as u64) as usize;
        self.bytes.resize(want.max(have), 0);
        source.read_at(self.start + have as u64, &mut self.bytes[have..])?;
        self.find_end();
        Ok(())
    }

    fn refill_framed(&mut self, length: usize) -> Result<(), Error> {
        self.start = self.offset();
        self.bytes.drain(..self.at);
        self.at = 0;
        self.end = self.bytes.len();
        // It grows by what there is: a length that lies costs no memory.
        while self.end < length.max(FRAMED_BYTES) && self.append()? {}
        if self.end < length {
            return Err(self.too_short(length, self.end as u64));
        }
        Ok(())
    }

    /// Decompresses a little more behind what is in memory; false at the end of the group.
    fn append(&mut self) -> Result<bool, Error> {
        let Some(framed) = &mut self.framed else {
            return Ok(false);
        };
        let have = self.bytes.len();
        self.bytes.resize(have + FRAMED_BYTES, 0);
        let read = framed.read(&mut self.bytes[have..]);
        self.bytes
            .truncate(have + read.as_ref().map_or(0, |read| *read));
        self.end = self.bytes.len();
        match read {
            Ok(0) => {
                self.limit = self.start + self.end as u64;
                Ok(false)
            }
            Ok(_) => Ok(true),
            // Of the source below, or of Snappy.
            Err(error) => match error.downcast::<Error>() {
                Ok(below) => Err(below),
                Err(error) => {
                    let at = self.start + have as u64;
                    Err(Error::corrupt(
                        at,
                        "a framed Snappy stream",
                        error.to_string(),
                    ))
                }
            },
        }
    }

    #[cold]
    fn too_short(&self, length: usize, left: u64) -> Error {
        let found = format!("the end of the key group after {left} bytes");
        Error::corrupt(self.offset(), format!("{length} bytes"), found)
    }

    /// Holds more of the group than before; false if all of it is in memory already.
    pub(super) fn grow(&mut self, source: &StateSource) -> Result<bool, Error> {
        let have = self.end - self.at;
        if self.framed.is_some() {
            let want = (have * 2).max(FRAMED_BYTES);
            let mut grown = false;
            while self.end - self.at < want && self.append()? {
                grown = true;
            }
            return Ok(grown);
        }
        let left = self.limit - self.offset();
        if have as u64 >= left {
            return Ok(false);
        }
        let want = (have as u64 * 2).max(WINDOW_BYTES).min(left);
        self.need(want as usize, source)?;
        Ok(true)
    }

    /// Whether the group ends here; what is in memory stays where it is.
    pub(super) fn is_at_end(&mut self) -> Result<bool, Error> {
        if self.framed.is_none() {
            return Ok(self.offset() == self.limit);
        }
        Ok(self.at == self.end && !self.append()?)
    }

    /// Reads a length, and makes sure that as many bytes are in memory.
    #[inline]
    pub(super) fn length(&mut self, source: &StateSource) -> Result<usize, Error> {
        self.need(4, source)?;
        let bytes = self.bytes[self.at..].first_chunk().expect("needed before");
        let length = i32::from_be_bytes(*bytes);
        let Ok(bytes) = usize::try_from(length) else {
            return Err(Error::corrupt(
                self.offset(),
                "a length",
                length.to_string(),
            ));
        };
        self.at += 4;
        self.need(bytes, source)?;
        Ok(bytes)
    }

    #[inline]
    pub(super) fn u16(&mut self, source: &StateSource) -> Result<u16, Error> {
        self.need(2, source)?;
        let bytes = self.bytes[self.at..].first_chunk().expect("needed before");
        self.at += 2;
        Ok(u16::from_be_bytes(*bytes))
    }

    pub(super) fn i32(&mut self, source: &StateSource) -> Result<i32, Error> {
        self.need(4, source)?;
        let bytes = self.bytes[self.at..].first_chunk().expect("needed before");
        self.at += 4;
        Ok(i32::from_be_bytes(*bytes))
    }

    /// Reads an i32 that counts items of at least `item_bytes` bytes each that follow.
    pub(super) fn count(
        &mut self,
        item_bytes: usize,
        source: &StateSource,
    ) -> Result<usize, Error> {
        let at = self.offset();
        let count = self.i32(source)?;
        let most = self.left().map(|left| left / item_bytes as u64);
        match usize::try_from(count) {
            Ok(found) if most.is_none_or(|most| found as u64 <= most) => Ok(found),
            Ok(_) | Err(_) => {
                let most = most.map_or_else(String::new, |most| format!(" to {most}"));
                Err(Error::corrupt(
                    at,
                    format!("a count of 0{most}"),
                    count.to_string(),
                ))
            }
        }
    }
}
