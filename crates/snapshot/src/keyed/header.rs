//! The header of keyed state, in the canonical and in both native formats.
//!
//! | order | type | meaning |
//! | --- | --- | --- |
//! | 1 | i32 | version 6 |
//! | 2 | bool | whether key groups are compressed |
//! | 3 | ENCLOSED | serializer of keys |
//! | 4 | i16 n, n StateMeta | states |
//!
//! Source: Flink 2.3.0, class `KeyedBackendSerializationProxy`.

use millpond_serializer::{ByteReader, ByteWriter, OpaqueBodies, SerializerSnapshot, read_whole};

use crate::state_meta::{StateMeta, read_metas, write_metas};
use crate::{Error, KeyGroupOffsets, StateSource};

const VERSION: i32 = 6;
/// How much of a file is read in search of the end of its header, at first.
const FIRST_READ_BYTES: u64 = 16 << 10;
/// A header larger than this is not searched for the ends of unknown classes.
const MAX_SEARCHED_BYTES: u64 = 256 << 10;

/// What a file of keyed state says about its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyedHeader {
    /// Whether each key group is a framed Snappy stream.
    pub compressed: bool,
    /// The serializer of keys.
    pub key_serializer: SerializerSnapshot,
    /// The states; entries name them by their index.
    pub states: Vec<StateMeta>,
}

impl KeyedHeader {
    /// Appends the header.
    ///
    /// # Errors
    ///
    /// Unsupported, if a name is too long or there are more than 32767 states.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        out.put_i32(VERSION);
        out.put_bool(self.compressed);
        self.key_serializer.write_enclosed(out)?;
        write_metas(&self.states, out)
    }

    /// Reads a header.
    ///
    /// # Errors
    ///
    /// Corrupt, if there is none; unsupported, if its version or a serializer in it is unknown.
    pub fn read(input: &mut ByteReader<'_>) -> Result<Self, Error> {
        Self::read_with(input, &mut OpaqueBodies::none())
    }

    fn read_with(input: &mut ByteReader<'_>, opaque: &mut OpaqueBodies) -> Result<Self, Error> {
        let at = input.offset();
        match input.i32()? {
            VERSION => {}
            older @ 1..VERSION => {
                return Err(Error::unsupported(format!(
                    "version {older} of keyed state"
                )));
            }
            other => {
                let expected = format!("version {VERSION} of keyed state");
                return Err(Error::corrupt(at, expected, other.to_string()));
            }
        }
        Ok(KeyedHeader {
            compressed: input.bool()?,
            key_serializer: SerializerSnapshot::read_enclosed_with(input, opaque)?,
            states: read_metas(input, opaque)?,
        })
    }

    /// The stream, whose header is about to be read.
    pub(crate) fn ask_for(source: StateSource) -> StateSource {
        source.read_ahead(std::iter::once(0..source.len().min(FIRST_READ_BYTES)))
    }

    /// Reads the header of a stream, whose `groups` begin behind it, and returns it with its length.
    ///
    /// Where the groups begin tells the length of a header with unknown classes.
    pub(crate) fn read_from(
        source: &StateSource,
        groups: &KeyGroupOffsets,
    ) -> Result<(Self, u64), Error> {
        let mut length = source.len().min(FIRST_READ_BYTES);
        loop {
            let bytes = source.read_range(0, length)?;
            let mut input = ByteReader::new(&bytes);
            match KeyedHeader::read(&mut input) {
                Ok(header) => return Ok((header, input.offset())),
                // The header may go on behind what was read; then any error may come of the cut.
                Err(_) if length < source.len() => {
                    length = source.len().min(length.saturating_mul(16));
                }
                Err(error) => {
                    let whole = Self::read_whole_from(source, groups);
                    return whole.ok_or_else(|| error.in_file(source.name()));
                }
            }
        }
    }

    /// Reads a header with unknown classes, up to the first of `groups`; `None` if there is not
    /// exactly one way to read it.
    fn read_whole_from(source: &StateSource, groups: &KeyGroupOffsets) -> Option<(Self, u64)> {
        let offsets = groups.offsets.iter();
        let starts = offsets.filter_map(|offset| u64::try_from(*offset).ok());
        let end = starts
            .filter(|start| *start > 0)
            .min()
            .unwrap_or(source.len());
        if end > source.len().min(MAX_SEARCHED_BYTES) {
            return None;
        }
        let bytes = source.read_range(0, end).ok()?;
        let header = read_whole(&ByteReader::new(&bytes), |input, opaque| {
            let header = KeyedHeader::read_with(input, opaque)?;
            match input.is_empty() {
                true => Ok(header),
                false => Err(Error::corrupt(
                    input.offset(),
                    "the first key group",
                    "more",
                )),
            }
        });
        header.ok().map(|header| (header, end))
    }
}
