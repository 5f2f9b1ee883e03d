//! Operator state: lists that are dealt out to subtasks, and broadcast maps.
//!
//! | order | type | meaning |
//! | --- | --- | --- |
//! | 1 | i32 | version: 5 (Flink 1.8 to 1.17) or 6 (since 1.18) |
//! | 2 | bool | since version 6: whether the data is compressed |
//! | 3 | i16 n, n StateMeta | lists |
//! | 4 | i16 n, n StateMeta | broadcast maps |
//! | 5 | data | found only by the offsets in the [`OperatorStateHandle`]: for a list one per element; for a map one: i32 n, n (key, value) |
//!
//! Every release reads version 5, so that is what Millpond writes. Compressed data is one framed
//! Snappy stream that was flushed before every offset.
//!
//! Source: Flink 2.3.0, classes `OperatorBackendSerializationProxy` and
//! `DefaultOperatorStateBackendSnapshotStrategy`.

use std::borrow::Cow;

use millpond_serializer::{ByteReader, ByteWriter, OpaqueBodies};

use crate::compression::decompress_chunks;
use crate::state_meta::{read_metas, write_metas};
use crate::{DistributionMode, Error, OperatorStateHandle, OperatorStateOffsets, StateMeta};

const WRITTEN_VERSION: i32 = 5;
const NEWEST_VERSION: i32 = 6;

/// What a file of operator state says about its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorStateHeader {
    /// The version: 5 or 6.
    pub version: i32,
    /// Whether the data is compressed.
    pub compressed: bool,
    /// The lists.
    pub lists: Vec<StateMeta>,
    /// The broadcast maps.
    pub broadcasts: Vec<StateMeta>,
}

impl OperatorStateHeader {
    /// Returns a header as Millpond writes it.
    pub fn new(lists: Vec<StateMeta>, broadcasts: Vec<StateMeta>) -> Self {
        OperatorStateHeader {
            version: WRITTEN_VERSION,
            compressed: false,
            lists,
            broadcasts,
        }
    }

    /// Appends the header.
    ///
    /// # Errors
    ///
    /// Unsupported, if a name is too long, there are too many states, or the version cannot say
    /// that the data is compressed.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        out.put_i32(self.version);
        if self.version >= 6 {
            out.put_bool(self.compressed);
        } else if self.compressed {
            return Err(Error::unsupported("compressed operator state of version 5"));
        }
        write_metas(&self.lists, out)?;
        write_metas(&self.broadcasts, out)
    }

    /// Reads a header.
    ///
    /// # Errors
    ///
    /// Corrupt, if there is none; unsupported, if its version or a serializer in it is unknown.
    pub fn read(input: &mut ByteReader<'_>) -> Result<Self, Error> {
        let at = input.offset();
        let version = input.i32()?;
        match version {
            WRITTEN_VERSION..=NEWEST_VERSION => {}
            1..WRITTEN_VERSION => {
                return Err(Error::unsupported(format!(
                    "version {version} of operator state"
                )));
            }
            _ => {
                let expected = "version 5 or 6 of operator state";
                return Err(Error::corrupt(at, expected, version.to_string()));
            }
        }
        // A handle may name a part of the elements, so that nothing tells where the header ends.
        let unknown = &mut OpaqueBodies::none();
        Ok(OperatorStateHeader {
            version,
            compressed: if version >= 6 { input.bool()? } else { false },
            lists: read_metas(input, unknown)?,
            broadcasts: read_metas(input, unknown)?,
        })
    }

    /// The lists, then the broadcast maps.
    pub fn states(&self) -> impl Iterator<Item = &StateMeta> {
        self.lists.iter().chain(&self.broadcasts)
    }
}

/// Writes operator state into memory: it is small.
#[derive(Debug)]
pub struct OperatorStateWriter {
    bytes: Vec<u8>,
    states: Vec<OperatorStateOffsets>,
}

impl OperatorStateWriter {
    /// Returns a writer of the states of a header.
    ///
    /// # Errors
    ///
    /// Unsupported, if the header asks for compression, or as writing it may fail.
    pub fn new(header: &OperatorStateHeader) -> Result<Self, Error> {
        if header.compressed {
            return Err(Error::unsupported("writing compressed operator state"));
        }
        let mut bytes = Vec::new();
        header.write(&mut bytes)?;
        let states = header.states().map(|meta| {
            let mode = meta.distribution_mode();
            let mode = mode.unwrap_or(DistributionMode::SplitDistribute);
            OperatorStateOffsets {
                name: meta.name.clone(),
                mode,
                offsets: Vec::new(),
            }
        });
        let states = states.collect();
        Ok(OperatorStateWriter { bytes, states })
    }

    /// Adds an element to a list, or sets a broadcast map; `write` appends its bytes.
    ///
    /// `state` counts the lists of the header, then its broadcast maps.
    ///
    /// # Panics
    ///
    /// If there is no such state.
    pub fn element(&mut self, state: usize, write: impl FnOnce(&mut Vec<u8>)) {
        self.states[state].offsets.push(self.bytes.len() as i64);
        write(&mut self.bytes);
    }

    /// Returns the file and where its elements lie.
    pub fn finish(self) -> (Vec<u8>, Vec<OperatorStateOffsets>) {
        (self.bytes, self.states)
    }
}

/// Operator state in memory.
#[derive(Clone, Debug)]
pub struct OperatorStateReader {
    header: OperatorStateHeader,
    bytes: Vec<u8>,
    /// All offsets of the handle, ascending, and the end.
    ends: Vec<u64>,
}

impl OperatorStateReader {
    /// Reads the header of a file, whose elements `handle` knows.
    ///
    /// # Errors
    ///
    /// Corrupt, if the header or an offset is damaged; unsupported, if its version or a
    /// serializer in it is unknown.
    pub fn new(bytes: Vec<u8>, handle: &OperatorStateHandle) -> Result<Self, Error> {
        let mut input = ByteReader::new(&bytes);
        let header = OperatorStateHeader::read(&mut input)?;
        let data = input.offset()..=bytes.len() as u64;
        let mut ends = vec![bytes.len() as u64];
        for state in &handle.states {
            if !header.states().any(|meta| meta.name == state.name) {
                let expected = format!("the state \"{}\" of the handle in the header", state.name);
                return Err(Error::corrupt(0, expected, "others"));
            }
            for offset in &state.offsets {
                match u64::try_from(*offset) {
                    Ok(found) if data.contains(&found) => ends.push(found),
                    Ok(_) | Err(_) => {
                        let (from, to) = (data.start(), data.end());
                        let expected =
                            format!("an element of \"{}\" at {from} to {to}", state.name);
                        return Err(Error::corrupt(*to, expected, format!("offset {offset}")));
                    }
                }
            }
        }
        ends.sort_unstable();
        Ok(OperatorStateReader {
            header,
            bytes,
            ends,
        })
    }

    /// The header.
    pub fn header(&self) -> &OperatorStateHeader {
        &self.header
    }

    /// The meta of a state.
    pub fn meta(&self, name: &str) -> Option<&StateMeta> {
        self.header.states().find(|meta| meta.name == name)
    }

    /// Returns the bytes of the element (or the broadcast map) at one of the handle's offsets.
    ///
    /// They go up to the next offset of the handle: an element is told by its serializer, and may
    /// be followed by others if the handle is only a part of the one that the file was written
    /// with.
    ///
    /// # Errors
    ///
    /// Corrupt, if the offset lies outside, or compressed data is damaged.
    pub fn element(&self, offset: i64) -> Result<Cow<'_, [u8]>, Error> {
        let outside = || {
            let found = format!("{} bytes", self.bytes.len());
            Error::corrupt(
                self.bytes.len() as u64,
                format!("an element at offset {offset}"),
                found,
            )
        };
        let start = u64::try_from(offset).map_err(|_| outside())?;
        let behind = self.ends.partition_point(|end| *end <= start);
        let end = self
            .ends
            .get(behind)
            .copied()
            .unwrap_or(self.bytes.len() as u64);
        let bytes = self
            .bytes
            .get(start as usize..end as usize)
            .ok_or_else(outside)?;
        match self.header.compressed {
            true => decompress_chunks(bytes, start).map(Cow::Owned),
            false => Ok(Cow::Borrowed(bytes)),
        }
    }
}
