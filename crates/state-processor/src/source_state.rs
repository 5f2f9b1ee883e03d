//! State of sources: what the coordinator keeps, and the splits of the readers.
//!
//! | order | type | meaning |
//! | --- | --- | --- |
//! | 1 | i32 | 1: version of the coordinator's own layout |
//! | 2 | i32 | version of the enumerator's serializer |
//! | 3 | BYTES | state of the enumerator, known to the connector alone |
//!
//! A split of a reader is a `byte[]` in the operator list `SourceReaderState`: i32 version, i32
//! length, and bytes that are known of some connectors:
//!
//! | splits of | bytes | id |
//! | --- | --- | --- |
//! | number sequence | UTF id, i64 from, i64 to | the id |
//! | Kafka | UTF topic, i32 partition, i64 start, i64 stop | topic-partition |
//!
//! What a position is in splits of any other shape, only their connector knows.
//!
//! Source: Flink 2.3.0, classes `SourceCoordinatorSerdeUtils`, `SimpleVersionedSerialization`,
//! `IteratorSourceSplit` and `SourceReaderOperator`; Flink's Kafka connector, class
//! `KafkaPartitionSplitSerializer`.

use millpond_serializer::{ByteReader, Error, Value};

use crate::Operator;

/// The operator list in which a source keeps its splits.
pub(crate) const READER_STATE: &str = "SourceReaderState";

/// Where a source stands in one split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourcePosition {
    /// The subtask that reads it.
    pub subtask: u32,
    /// The split, if its connector is known.
    pub split: Option<String>,
    /// The next record, as the connector counts.
    pub position: Option<i64>,
    /// Where the split ends; negative numbers are the connector's own words.
    pub stop: Option<i64>,
    /// The position in words, or why it is not known.
    pub words: String,
}

/// A split whose position is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Split {
    pub(crate) id: String,
    pub(crate) position: i64,
    pub(crate) stop: i64,
    /// Where the position lies in the element.
    pub(crate) at: usize,
}

/// Reads a split: an element of the list, without the length of the `byte[]`.
pub(crate) fn read_split(element: &[u8]) -> Option<Split> {
    let mut input = ByteReader::new(element);
    input.i32().ok()?;
    let length = input.length().ok()?;
    if length != input.remaining() {
        return None;
    }
    let name = input.utf().ok()?;
    let id = match input.remaining() {
        16 => name,
        20 => format!("{name}-{}", input.i32().ok()?),
        _ => return None,
    };
    Some(Split {
        id,
        at: input.position(),
        position: input.i64().ok()?,
        stop: input.i64().ok()?,
    })
}

impl Operator<'_> {
    /// Returns where a source stands: split by split, as far as its connector is known; in words
    /// where Millpond wrote the snapshot. None if it is no source.
    ///
    /// # Errors
    ///
    /// Snapshot: operator state is damaged or cannot be read.
    pub fn source_positions(&self) -> Result<Vec<SourcePosition>, crate::Error> {
        let subtasks = self.record().map_or(&[][..], |record| &record.subtasks);
        let mut positions = Vec::new();
        for subtask in subtasks {
            positions.extend(subtask.positions.iter().map(|words| SourcePosition {
                subtask: subtask.index,
                split: None,
                position: None,
                stop: None,
                words: words.clone(),
            }));
        }
        let in_words = !positions.is_empty();
        let states = self.operator_states()?;
        let readers = states.iter().find(|state| state.name == READER_STATE);
        for (subtask, elements) in readers.iter().flat_map(|state| &state.elements) {
            for element in elements {
                let Value::Bytes(bytes) = element else {
                    continue;
                };
                match read_split(bytes) {
                    Some(split) => positions.push(SourcePosition {
                        subtask: *subtask,
                        words: format!("{} at {}", split.id, split.position),
                        split: Some(split.id),
                        position: Some(split.position),
                        stop: Some(split.stop),
                    }),
                    // Told in words already.
                    None if in_words => {}
                    None => positions.push(SourcePosition {
                        subtask: *subtask,
                        split: None,
                        position: None,
                        stop: None,
                        words: format!("{} bytes that only the connector knows", bytes.len()),
                    }),
                }
            }
        }
        Ok(positions)
    }
}

/// Bytes of a connector, with the version of the serializer that wrote them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimpleVersioned {
    /// The version.
    pub version: i32,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl SimpleVersioned {
    /// Reads version, length and bytes.
    ///
    /// # Errors
    ///
    /// Corrupt, if the bytes are no such thing, or bytes are left.
    pub fn read(bytes: &[u8]) -> Result<Self, Error> {
        let mut input = ByteReader::new(bytes);
        let version = input.i32()?;
        let content = input.bytes()?.to_vec();
        if !input.is_empty() {
            let found = format!("{} more bytes", input.remaining());
            return Err(input.corrupt("the end of a split", found));
        }
        Ok(SimpleVersioned {
            version,
            bytes: content,
        })
    }
}

/// Reads the state of the coordinator of a source; what may follow it is left.
///
/// # Errors
///
/// Corrupt or unsupported, if the bytes are no such state, as those of other coordinators are not.
pub fn coordinator_state(bytes: &[u8]) -> Result<SimpleVersioned, Error> {
    let mut input = ByteReader::new(bytes);
    match input.i32()? {
        1 => {}
        other => {
            return Err(Error::unsupported(format!(
                "version {other} of the state of a coordinator"
            )));
        }
    }
    Ok(SimpleVersioned {
        version: input.i32()?,
        bytes: input.bytes()?.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond_serializer::ByteWriter;

    #[test]
    fn what_flink_wrote_is_read() {
        let bytes = [0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 0];
        let state = coordinator_state(&bytes).expect("Flink's bytes");
        assert_eq!((state.version, state.bytes), (1, vec![0; 4]));
        let split = SimpleVersioned::read(&[0, 0, 0, 1, 0, 0, 0, 2, 7, 8]).expect("a split");
        assert_eq!((split.version, split.bytes), (1, vec![7, 8]));
        assert!(SimpleVersioned::read(&[0, 0, 0, 1, 0, 0, 0, 1, 7, 8]).is_err());
    }

    fn element(split: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_i32(1);
        out.put_bytes(split);
        out
    }

    #[test]
    fn only_splits_of_known_shapes_are_understood() {
        let mut sequence = Vec::new();
        sequence.put_utf("1").expect("short");
        sequence.put_i64(164);
        sequence.put_i64(500);
        let found = read_split(&element(&sequence)).expect("a number sequence");
        let position = (found.id.as_str(), found.position, found.stop, found.at);
        assert_eq!(position, ("1", 164, 500, 11));
        let mut kafka = Vec::new();
        kafka.put_utf("orders").expect("short");
        kafka.put_i32(3);
        kafka.put_i64(10);
        kafka.put_i64(-1);
        let found = read_split(&element(&kafka)).expect("a partition");
        let position = (found.id.as_str(), found.position, found.stop, found.at);
        assert_eq!(position, ("orders-3", 10, -1, 20));
        for other in [&b""[..], b"\0\x01a", b"{\"file\":\"/a\"}", &[0; 40]] {
            assert!(read_split(&element(other)).is_none(), "{other:?}");
            assert!(read_split(other).is_none());
        }
    }
}
