//! Records with their timestamps, as windows with an evictor keep them.
//!
//! | order | type | meaning |
//! | --- | --- | --- |
//! | 1 | u8 | 0: a timestamp follows; 1: the record has none |
//! | 2 | i64 | timestamp in milliseconds, after tag 0 |
//! | 3 | value serializer | value |
//!
//! The other tags are elements that no state holds: 2 watermark, 3 latency marker, 4 status, and
//! later ones.
//!
//! Source: Flink 2.3.0, class `StreamElementSerializer`.

use crate::{
    ByteReader, ByteWriter, Error, FlinkType, Incompatibility, Reader, SerializerSnapshot,
};

/// One record and the time that it had in its stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamRecord<T> {
    /// When it was, in milliseconds; `None` for a record without a timestamp.
    pub timestamp: Option<i64>,
    /// The record.
    pub value: T,
}

impl<T: FlinkType> FlinkType for StreamRecord<T> {
    fn serializer_snapshot() -> SerializerSnapshot {
        SerializerSnapshot::stream_record(T::serializer_snapshot())
    }

    fn fixed_length() -> Option<usize> {
        None
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self.timestamp {
            Some(timestamp) => {
                out.put_u8(0);
                out.put_i64(timestamp);
            }
            None => out.put_u8(1),
        }
        self.value.write(out);
    }

    fn read(input: &mut ByteReader<'_>) -> Result<Self, Error> {
        Ok(StreamRecord {
            timestamp: read_timestamp(input)?,
            value: T::read(input)?,
        })
    }

    fn converter(previous: &SerializerSnapshot) -> Result<Reader<Self>, Incompatibility> {
        let value = T::reader(previous.part(0)?)?;
        Ok(Reader::converting(move |input| {
            Ok(StreamRecord {
                timestamp: read_timestamp(input)?,
                value: value.read(input)?,
            })
        }))
    }
}

/// Reads what stands before the value.
pub(crate) fn read_timestamp(input: &mut ByteReader<'_>) -> Result<Option<i64>, Error> {
    let at = input.offset();
    match input.u8()? {
        0 => input.i64().map(Some),
        1 => Ok(None),
        other => Err(Error::corrupt(
            at,
            "a record, 0 with a timestamp or 1 without",
            format!("an element of tag {other}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::skip_value;

    #[test]
    fn a_record_comes_back_with_or_without_its_timestamp_and_other_elements_are_refused() {
        type Record = StreamRecord<String>;
        for (timestamp, bytes) in [
            (Some(7), &[0, 0, 0, 0, 0, 0, 0, 0, 7, 2, b'a'][..]),
            (None, &[1, 2, b'a'][..]),
        ] {
            let record = Record {
                timestamp,
                value: "a".to_owned(),
            };
            let mut out = Vec::new();
            record.write(&mut out);
            assert_eq!(out, bytes);
            assert_eq!(Record::read(&mut ByteReader::new(bytes)), Ok(record));
            let mut input = ByteReader::new(bytes);
            skip_value(&Record::serializer_snapshot(), &mut input).expect("skips");
            assert!(input.is_empty());
        }
        let error = Record::read(&mut ByteReader::new(&[2, 0, 0])).expect_err("a watermark");
        assert!(error.to_string().contains("tag 2"), "{error}");
    }
}
