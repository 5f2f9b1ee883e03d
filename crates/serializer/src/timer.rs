//! Timers as the elements of a priority queue state.
//!
//! | order | type | meaning |
//! | --- | --- | --- |
//! | 1 | i64 | timestamp with the sign bit flipped, so that bytes sort as timestamps do |
//! | 2 | key serializer | key |
//! | 3 | namespace serializer | namespace |
//!
//! Source: Flink 2.3.0, class `TimerSerializer`.

use crate::{ByteReader, ByteWriter, Error, FlinkKey, FlinkType, Namespace, SerializerSnapshot};

/// One timer. They order by time, then key, then namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerElement<K, N> {
    /// When it fires, in milliseconds.
    pub timestamp: i64,
    /// The key that registered it.
    pub key: K,
    /// The namespace that it was registered in.
    pub namespace: N,
}

impl<K: FlinkKey, N: Namespace> FlinkType for TimerElement<K, N> {
    fn serializer_snapshot() -> SerializerSnapshot {
        SerializerSnapshot::timer(K::serializer_snapshot(), N::serializer_snapshot())
    }

    fn fixed_length() -> Option<usize> {
        Some(8 + K::fixed_length()? + N::fixed_length()?)
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.put_i64(self.timestamp ^ i64::MIN);
        self.key.write(out);
        self.namespace.write(out);
    }

    fn read(input: &mut ByteReader<'_>) -> Result<Self, Error> {
        let timestamp = input.i64()? ^ i64::MIN;
        Ok(TimerElement {
            timestamp,
            key: K::read(input)?,
            namespace: N::read(input)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TimeWindow;

    #[test]
    fn a_timer_has_the_bytes_that_flink_writes() {
        let namespace = TimeWindow {
            start: 0,
            end: 3_600_000,
        };
        let timer = TimerElement {
            timestamp: 3_599_999,
            key: 1i64,
            namespace,
        };
        let mut out = Vec::new();
        timer.write(&mut out);
        let mut expected = vec![0x80, 0, 0, 0, 0, 0x36, 0xee, 0x7f, 0, 0, 0, 0, 0, 0, 0, 1];
        expected.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x36, 0xee, 0x80]);
        assert_eq!(out, expected);
        assert_eq!(TimerElement::read(&mut ByteReader::new(&out)), Ok(timer));
    }
}
