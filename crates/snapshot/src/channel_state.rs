//! Channel state: records that were in flight when an unaligned checkpoint overtook them.
//!
//! | order | width | meaning |
//! |---|---|---|
//! | 1 | i32 | version 0 |
//! | per buffer | i32 | number of bytes n |
//! | | n | the bytes |
//!
//! A [`ChannelHandle`](crate::ChannelHandle) names the offset of the i32 in front of each of its
//! buffers, and the sum of `4 + n`. What a buffer means is the writer's business: those of Flink hold
//! pieces of its record stream, those of Millpond whole batches (`millpond_runtime`, `in_flight`).
//!
//! Source: Flink 2.3.0, class `ChannelStateSerializerImpl`.

use std::io::{self, Write};

use crate::{ChannelHandle, Error, StateSource};

/// The only version.
const VERSION: i32 = 0;

/// Writes the buffers of one channel into a stream of their own.
pub struct ChannelStateWriter<W> {
    out: W,
    offsets: Vec<i64>,
    position: i64,
}

/// Where the buffers of a channel lie in their stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelOffsets {
    /// Where each buffer begins, ascending.
    pub offsets: Vec<i64>,
    /// Bytes of all buffers with their lengths.
    pub size: i64,
}

impl<W: Write> ChannelStateWriter<W> {
    /// Begins a stream.
    ///
    /// # Errors
    ///
    /// Of `out`.
    pub fn new(mut out: W) -> io::Result<Self> {
        out.write_all(&VERSION.to_be_bytes())?;
        Ok(ChannelStateWriter {
            out,
            offsets: Vec::new(),
            position: 4,
        })
    }

    /// Appends a buffer.
    ///
    /// # Errors
    ///
    /// Of `out`; it is of 2 GiB or more.
    pub fn buffer(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = i32::try_from(bytes.len()).map_err(|_| {
            let message = format!("a buffer of {} bytes; the limit is 2 GiB", bytes.len());
            io::Error::new(io::ErrorKind::InvalidInput, message)
        })?;
        self.out.write_all(&length.to_be_bytes())?;
        self.out.write_all(bytes)?;
        self.offsets.push(self.position);
        self.position += 4 + i64::from(length);
        Ok(())
    }

    /// What the handle has to say.
    pub fn finish(self) -> ChannelOffsets {
        ChannelOffsets {
            offsets: self.offsets,
            size: self.position - 4,
        }
    }
}

/// Reads the buffers of one channel, in order.
///
/// At most one buffer is in memory, and none is larger than what is left of the stream.
pub struct ChannelStateReader {
    source: StateSource,
    offsets: std::vec::IntoIter<i64>,
}

impl ChannelStateReader {
    /// Returns the buffers of `handle`, which lie in `source`.
    ///
    /// # Errors
    ///
    /// Of storage; another version; unsupported: several channels in one handle, which only Flink
    /// writes.
    pub fn new(source: StateSource, handle: &ChannelHandle) -> Result<Self, Error> {
        let ChannelHandle::Single { offsets, .. } = handle else {
            return Err(Error::unsupported("several channels in one handle"));
        };
        let mut version = [0; 4];
        source.read_at(0, &mut version)?;
        let version = i32::from_be_bytes(version);
        if version != VERSION {
            let error = Error::corrupt(0, "channel state of version 0", version.to_string());
            return Err(error.in_file(source.name()));
        }
        Ok(ChannelStateReader {
            source,
            offsets: offsets.clone().into_iter(),
        })
    }

    fn read(&self, offset: i64) -> Result<Vec<u8>, Error> {
        let corrupt = |expected: String, found: String| {
            let at = u64::try_from(offset).unwrap_or(0);
            Err(Error::corrupt(at, expected, found).in_file(self.source.name()))
        };
        let Ok(start) = u64::try_from(offset) else {
            return corrupt("an offset".to_owned(), offset.to_string());
        };
        let mut length = [0; 4];
        self.source.read_at(start, &mut length)?;
        let length = i32::from_be_bytes(length);
        let left = self.source.len().saturating_sub(start.saturating_add(4));
        match u64::try_from(length) {
            Ok(bytes) if bytes <= left => {
                let mut buffer = vec![0; bytes as usize];
                self.source.read_at(start + 4, &mut buffer)?;
                Ok(buffer)
            }
            Ok(_) | Err(_) => corrupt(
                format!("a buffer of at most {left} bytes"),
                length.to_string(),
            ),
        }
    }
}

impl Iterator for ChannelStateReader {
    type Item = Result<Vec<u8>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let offset = self.offsets.next()?;
        Some(self.read(offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StreamHandle;

    fn written(buffers: &[&[u8]]) -> (Vec<u8>, ChannelOffsets) {
        let mut bytes = Vec::new();
        let mut writer = ChannelStateWriter::new(&mut bytes).expect("to memory");
        for buffer in buffers {
            writer.buffer(buffer).expect("to memory");
        }
        let offsets = writer.finish();
        (bytes, offsets)
    }

    fn read(bytes: &[u8], place: ChannelOffsets) -> Result<Vec<Vec<u8>>, Error> {
        let handle = ChannelHandle::Single {
            subtask: 0,
            channel: (0, 0),
            offsets: place.offsets,
            size: place.size,
            stream: StreamHandle::Bytes {
                name: "s".to_owned(),
                data: bytes.to_vec(),
            },
        };
        ChannelStateReader::new(StateSource::of_bytes("s", bytes), &handle)?.collect()
    }

    #[test]
    fn buffers_come_back_in_order() {
        let (bytes, place) = written(&[b"abc", b"", b"de"]);
        assert_eq!(place.offsets, [4, 11, 15]);
        assert_eq!(place.size, 17);
        assert_eq!(&bytes[..11], b"\0\0\0\0\0\0\0\x03abc");
        let back = read(&bytes, place).expect("reads");
        assert_eq!(back, [b"abc".to_vec(), vec![], b"de".to_vec()]);
    }

    #[test]
    fn damage_is_an_error_and_never_memory_for_bytes_that_are_not_there() {
        let (bytes, place) = written(&[b"abc", b"de"]);
        for end in 0..bytes.len() {
            assert!(read(&bytes[..end], place.clone()).is_err(), "cut at {end}");
        }
        for length in [i32::MAX, i32::MIN, -1, 8] {
            let mut damaged = bytes.clone();
            damaged[11..15].copy_from_slice(&length.to_be_bytes());
            assert!(
                read(&damaged, place.clone()).is_err(),
                "a length of {length}"
            );
        }
        for offset in [-1, i64::MAX, i64::MIN] {
            let place = ChannelOffsets {
                offsets: vec![offset],
                size: 7,
            };
            assert!(read(&bytes, place).is_err(), "an offset of {offset}");
        }
        let mut other = bytes;
        other[3] = 1;
        assert!(read(&other, place).is_err(), "another version");
    }
}
