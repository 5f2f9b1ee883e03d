//! Rust types that stand for Flink types: the trait and the types without parts.

use crate::{
    ByteReader, ByteWriter, Compatibility, Error, Incompatibility, Reader, SerializerSnapshot, pojo,
};

/// A Rust type that stands for a Flink type; its bytes are those of Flink's serializer.
///
/// Structs get it by [`#[derive(FlinkPojo)]`](crate::FlinkPojo), enums by
/// [`#[derive(FlinkEnum)]`](crate::FlinkEnum).
///
/// The methods whose names speak of a *field* say what a value is as a field of a POJO, where
/// Flink 2 wraps collections once more; for all other types it is the same.
pub trait FlinkType: Clone + Send + Sync + 'static {
    /// Whether the bytes are a bool isNull and then those of another type: `Option` alone.
    ///
    /// Map state has such a bool of its own, so that an `Option` there needs no second one.
    const NULLABLE: bool = false;

    /// Returns what Flink's serializer of this type writes about itself.
    fn serializer_snapshot() -> SerializerSnapshot;

    /// What Flink's `getLength()` says: the bytes of a value if all values have equally many.
    fn fixed_length() -> Option<usize>;

    /// Appends the value.
    fn write(&self, out: &mut Vec<u8>);

    /// Reads a value; what follows it is left.
    ///
    /// # Errors
    ///
    /// Corrupt, if the bytes are no value of this type; unsupported, if they are one that Rust
    /// cannot hold, such as null.
    fn read(input: &mut ByteReader<'_>) -> Result<Self, Error>;

    /// Returns whether values that `previous` describes can be read as this type, by Flink's rules.
    fn resolve(previous: &SerializerSnapshot) -> Compatibility {
        Self::serializer_snapshot().resolve(previous)
    }

    /// Returns what reads the values that `previous` describes.
    ///
    /// # Errors
    ///
    /// There is no way, by Flink's rules or because Rust has no value for something: a field that
    /// is new and would be null, for example.
    fn reader(previous: &SerializerSnapshot) -> Result<Reader<Self>, Incompatibility> {
        match Self::resolve(previous) {
            Compatibility::AsIs => Ok(Reader::as_is()),
            Compatibility::AfterMigration | Compatibility::Reconfigured => {
                Self::converter(previous)
            }
            Compatibility::Incompatible(why) => Err(why),
        }
    }

    /// As [`reader`](Self::reader), for bytes that are not those of this type.
    ///
    /// Types without parts never get here: for them there is as is and incompatible.
    ///
    /// # Errors
    ///
    /// As [`reader`](Self::reader).
    fn converter(previous: &SerializerSnapshot) -> Result<Reader<Self>, Incompatibility> {
        let (old, new) = (previous.describe(), Self::serializer_snapshot().describe());
        Err(Incompatibility::new(format!("was {old}, now {new}")))
    }

    /// What a field of a Java object holds before anything sets it, if Rust can hold that: zero,
    /// false, or `None` for null.
    fn java_default() -> Option<Self> {
        None
    }

    /// The serializer of a field of this type.
    fn field_snapshot() -> SerializerSnapshot {
        Self::serializer_snapshot()
    }

    /// Appends the value as a field, behind the bool that says whether it is null.
    fn write_field(&self, out: &mut Vec<u8>) {
        self.write(out);
    }

    /// Reads a field, behind the bool that says whether it is null.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    fn read_field(input: &mut ByteReader<'_>) -> Result<Self, Error> {
        Self::read(input)
    }

    /// Returns what reads fields that `previous` describes and that differ from this type's.
    ///
    /// # Errors
    ///
    /// As [`reader`](Self::reader).
    fn field_converter(previous: &SerializerSnapshot) -> Result<Reader<Self>, Incompatibility> {
        Self::converter(previous)
    }
}

macro_rules! number {
    ($($type:ty, $java:literal, $put:ident, $get:ident;)*) => { $(
        impl FlinkType for $type {
            fn serializer_snapshot() -> SerializerSnapshot {
                SerializerSnapshot::base($java)
            }

            fn fixed_length() -> Option<usize> {
                Some(size_of::<$type>())
            }

            #[inline]
            fn write(&self, out: &mut Vec<u8>) {
                out.$put(*self);
            }

            #[inline]
            fn read(input: &mut ByteReader<'_>) -> Result<Self, Error> {
                input.$get()
            }

            fn java_default() -> Option<Self> {
                Some(Self::default())
            }
        }
    )* };
}

number! {
    i64, "Long", put_i64, i64;
    i32, "Int", put_i32, i32;
    i16, "Short", put_i16, i16;
    i8, "Byte", put_i8, i8;
    bool, "Boolean", put_bool, bool;
    f64, "Double", put_f64, f64;
    f32, "Float", put_f32, f32;
}

impl FlinkType for String {
    fn serializer_snapshot() -> SerializerSnapshot {
        SerializerSnapshot::base("String")
    }

    fn fixed_length() -> Option<usize> {
        None
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.put_string_value(self);
    }

    fn read(input: &mut ByteReader<'_>) -> Result<Self, Error> {
        let at = input.offset();
        let null = || Error::unsupported(format!("null for a String at offset {at}"));
        input.string_value()?.ok_or_else(null)
    }
}

/// Java's `byte[]`.
impl FlinkType for Vec<u8> {
    fn serializer_snapshot() -> SerializerSnapshot {
        SerializerSnapshot::byte_array()
    }

    fn fixed_length() -> Option<usize> {
        None
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.put_bytes(self);
    }

    fn read(input: &mut ByteReader<'_>) -> Result<Self, Error> {
        input.bytes().map(<[u8]>::to_vec)
    }
}

/// A value that may be null: Flink's `NullableSerializer` without padding.
impl<T: FlinkType> FlinkType for Option<T> {
    const NULLABLE: bool = true;

    fn serializer_snapshot() -> SerializerSnapshot {
        SerializerSnapshot::nullable(T::serializer_snapshot())
    }

    fn fixed_length() -> Option<usize> {
        None
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.put_bool(self.is_none());
        if let Some(value) = self {
            value.write(out);
        }
    }

    fn read(input: &mut ByteReader<'_>) -> Result<Self, Error> {
        if input.bool()? {
            Ok(None)
        } else {
            T::read(input).map(Some)
        }
    }

    fn converter(previous: &SerializerSnapshot) -> Result<Reader<Self>, Incompatibility> {
        let value = T::reader(previous.part(0)?)?;
        Ok(Reader::converting(move |input| match input.bool()? {
            true => Ok(None),
            false => value.read(input).map(Some),
        }))
    }

    fn java_default() -> Option<Self> {
        Some(None)
    }

    fn field_snapshot() -> SerializerSnapshot {
        T::field_snapshot()
    }

    fn write_field(&self, out: &mut Vec<u8>) {
        out.put_bool(self.is_none());
        if let Some(value) = self {
            value.write_field(out);
        }
    }

    fn read_field(input: &mut ByteReader<'_>) -> Result<Self, Error> {
        match input.bool()? {
            true => Ok(None),
            false => T::read_field(input).map(Some),
        }
    }

    fn field_converter(previous: &SerializerSnapshot) -> Result<Reader<Self>, Incompatibility> {
        let value = pojo::field_reader::<T>(previous)?;
        Ok(Reader::converting(move |input| match input.bool()? {
            true => Ok(None),
            false => value.read(input).map(Some),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_bytes_of_flinks_serializers() {
        fn bytes<T: FlinkType>(value: T) -> Vec<u8> {
            let mut out = Vec::new();
            value.write(&mut out);
            out
        }
        assert_eq!(bytes(-2i64), [255, 255, 255, 255, 255, 255, 255, 254]);
        assert_eq!(bytes(1i32), [0, 0, 0, 1]);
        assert_eq!(bytes(5i16), [0, 5]);
        assert_eq!(bytes(-1i8), [255]);
        assert_eq!(bytes(true), [1]);
        assert_eq!(bytes("k2".to_owned()), [3, b'k', b'2']);
        assert_eq!(bytes(vec![7u8, 8]), [0, 0, 0, 2, 7, 8]);
        assert_eq!(bytes(None::<i16>), [1]);
        assert_eq!(bytes(Some(1i16)), [0, 0, 1]);
        assert_eq!(bytes(1.5f64), [0x3f, 0xf8, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn the_snapshot_of_a_type_says_the_same_length_as_the_type() {
        fn check<T: FlinkType>() {
            assert_eq!(T::serializer_snapshot().fixed_length(), T::fixed_length());
        }
        check::<i64>();
        check::<i32>();
        check::<i16>();
        check::<i8>();
        check::<bool>();
        check::<f64>();
        check::<f32>();
        check::<String>();
        check::<Vec<u8>>();
        check::<Vec<i64>>();
        check::<Option<i64>>();
        check::<std::collections::BTreeMap<i64, i64>>();
        check::<(i64, i32)>();
        check::<(i64, String)>();
        check::<crate::VoidNamespace>();
        check::<crate::TimeWindow>();
        check::<crate::GlobalWindow>();
        check::<crate::StreamRecord<i64>>();
        check::<crate::TimerElement<i64, crate::VoidNamespace>>();
        check::<crate::TimerElement<String, crate::TimeWindow>>();
    }
}
