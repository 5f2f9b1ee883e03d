//! State of sources: what the coordinator keeps, and the splits of the readers.
//!
//! | order | type | meaning |
//! | --- | --- | --- |
//! | 1 | i32 | 1: version of the coordinator's own layout |
//! | 2 | i32 | version of the enumerator's serializer |
//! | 3 | BYTES | state of the enumerator, known to the connector alone |
//!
//! A split of a reader is a `byte[]` in operator state: i32 version, i32 length, bytes.
//!
//! Source: Flink 2.3.0, classes `SourceCoordinatorSerdeUtils` and `SimpleVersionedSerialization`.

use millpond_serializer::{ByteReader, Error};

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

    #[test]
    fn what_flink_wrote_is_read() {
        let bytes = [0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 0];
        let state = coordinator_state(&bytes).expect("Flink's bytes");
        assert_eq!((state.version, state.bytes), (1, vec![0; 4]));
        let split = SimpleVersioned::read(&[0, 0, 0, 1, 0, 0, 0, 2, 7, 8]).expect("a split");
        assert_eq!((split.version, split.bytes), (1, vec![7, 8]));
        assert!(SimpleVersioned::read(&[0, 0, 0, 1, 0, 0, 0, 1, 7, 8]).is_err());
    }
}
