//! Values with the time at which they were last used: what state with time-to-live holds.
//!
//! | order | type | meaning |
//! | --- | --- | --- |
//! | 1 | i64 | last access in ms since 1970 |
//! | 2 | | the value |
//!
//! Source: Flink 2.3.0, classes `TtlValue`, `TtlStateFactory.TtlSerializer`.

use crate::{
    ByteReader, ByteWriter, Error, FlinkType, Incompatibility, Reader, SerializerSnapshot,
};

/// A value and when it was last used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TtlValue<T> {
    /// When it was last written, or read, in milliseconds since 1970.
    pub last_access: i64,
    /// The value itself.
    pub value: T,
}

impl<T: FlinkType> FlinkType for TtlValue<T> {
    fn serializer_snapshot() -> SerializerSnapshot {
        SerializerSnapshot::ttl(T::serializer_snapshot())
    }

    fn fixed_length() -> Option<usize> {
        T::fixed_length().map(|length| length + size_of::<i64>())
    }

    #[inline]
    fn write(&self, out: &mut Vec<u8>) {
        out.put_i64(self.last_access);
        self.value.write(out);
    }

    #[inline]
    fn read(input: &mut ByteReader<'_>) -> Result<Self, Error> {
        let last_access = input.i64()?;
        let value = T::read(input)?;
        Ok(TtlValue { last_access, value })
    }

    fn converter(previous: &SerializerSnapshot) -> Result<Reader<Self>, Incompatibility> {
        let value = T::reader(previous.part(1)?)?;
        Ok(Reader::converting(move |input| {
            let last_access = input.i64()?;
            let value = value.read(input)?;
            Ok(TtlValue { last_access, value })
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Compatibility;

    #[test]
    fn the_time_stands_before_the_value() {
        let value = TtlValue {
            last_access: 258,
            value: 7i16,
        };
        let mut bytes = Vec::new();
        value.write(&mut bytes);
        assert_eq!(bytes, [0, 0, 0, 0, 0, 0, 1, 2, 0, 7]);
        assert_eq!(TtlValue::read(&mut ByteReader::new(&bytes)), Ok(value));
    }

    #[test]
    fn a_value_with_and_one_without_time_to_live_are_not_the_same() {
        let (with, without) = (
            TtlValue::<i64>::serializer_snapshot(),
            i64::serializer_snapshot(),
        );
        assert_eq!(TtlValue::<i64>::resolve(&with), Compatibility::AsIs);
        assert!(matches!(
            TtlValue::<i64>::resolve(&without),
            Compatibility::Incompatible { .. }
        ));
        assert!(matches!(
            i64::resolve(&with),
            Compatibility::Incompatible { .. }
        ));
        assert_eq!(with.fixed_length(), Some(16));
        assert_eq!(TtlValue::<String>::fixed_length(), None);
        assert_eq!(with.fixed_length(), TtlValue::<i64>::fixed_length());
    }
}
