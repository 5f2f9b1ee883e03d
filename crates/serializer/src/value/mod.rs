//! A value known only by its serializer's snapshot: untyped, but nothing of it is lost.
//!
//! | file | what |
//! | --- | --- |
//! | `codec` | [`ValueCodec`]: bytes to [`Value`] and back, byte by byte the same |
//! | `json` | values as JSON, and JSON as values of a serializer |
//! | `hash` | Java's hash code of a value, where it is known |
//! | `avro` | the layout of Avro data in state: an encoding of Flink's own |
//! | `number`, `time` | numbers without bounds; dates and times in ISO 8601 |
//! | `words` | a type in words: `map(string,long)` |
//! | `shape` | what parts the values of a serializer have |
//!
//! What cannot be read without its Java class (Kryo, a subclass that the snapshot does not
//! describe) is an error that names the class; nothing is guessed.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a serializer takes one kind of value, and treats all others alike"
)]

mod avro;
mod codec;
mod hash;
mod json;
mod number;
mod shape;
mod time;
mod words;

use std::sync::Arc;

pub use codec::ValueCodec;
pub use json::{WithTtl, hex, map_key};
pub use number::BigInteger;
pub use shape::Shape;

use crate::{ByteReader, Error, SerializerSnapshot};

/// A value of any serializer that Millpond reads.
///
/// Two values are equal if Java's are, but for the order of sets and maps, which is that of the
/// bytes here, and for floats, which compare as numbers.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Java's null; also the values that say nothing: a void namespace, Flink's `Void`.
    Null,
    /// A boolean.
    Boolean(bool),
    /// A byte.
    Byte(i8),
    /// A short.
    Short(i16),
    /// An int.
    Int(i32),
    /// A long.
    Long(i64),
    /// A UTF-16 unit.
    Char(u16),
    /// A float, with the bits of the file even if it is no number.
    Float(f32),
    /// A double, with the bits of the file even if it is no number.
    Double(f64),
    /// A text.
    String(String),
    /// A text with a surrogate that has no partner: Java has such, Rust does not.
    Utf16(Vec<u16>),
    /// A `byte[]`, or Avro bytes.
    Bytes(Vec<u8>),
    /// A number without bounds.
    BigInteger(BigInteger),
    /// A decimal number without bounds.
    BigDecimal(Box<BigDecimal>),
    /// A point in time.
    Instant {
        /// Seconds since 1970.
        seconds: i64,
        /// Nanoseconds of the second, 0 to 999,999,999.
        nanos: i32,
    },
    /// A date without time zone.
    LocalDate(LocalDate),
    /// A time of day without time zone.
    LocalTime(LocalTime),
    /// A date and time without time zone.
    LocalDateTime(LocalDate, LocalTime),
    /// `java.util.Date`, `java.sql.Date` or `java.sql.Time`: milliseconds since 1970.
    Date(i64),
    /// `java.sql.Timestamp`.
    Timestamp {
        /// Milliseconds since 1970.
        millis: i64,
        /// Nanoseconds of the second, 0 to 999,999,999.
        nanos: i32,
    },
    /// An array of primitives other than bytes.
    Array(PrimitiveArray),
    /// A list, or an array of objects.
    List(Vec<Value>),
    /// A set, in the order of the file.
    Set(Vec<Value>),
    /// A map, in the order of the file.
    Map(Vec<(Value, Value)>),
    /// A tuple.
    Tuple(Vec<Value>),
    /// A row.
    Row {
        /// 0 insert, 1 update before, 2 update after, 3 delete.
        kind: u8,
        /// The fields.
        fields: Vec<Value>,
    },
    /// Flink's `Either`, left.
    Left(Box<Value>),
    /// Flink's `Either`, right.
    Right(Box<Value>),
    /// A POJO, a Java record or an Avro record.
    Record(Record),
    /// A POJO of a subclass of what the serializer is for.
    Subclass(Box<Subclass>),
    /// A constant of an enum, of Java or Avro.
    Enum {
        /// The enum.
        declared: Arc<EnumShape>,
        /// The constant: an index into [`EnumShape::constants`].
        index: u32,
    },
    /// A value of an Avro union.
    Union {
        /// The branch, from 0.
        branch: u32,
        /// Its value.
        value: Box<Value>,
    },
    /// A value with the time of its last use.
    Ttl {
        /// Milliseconds since 1970.
        last_access: i64,
        /// The user's value.
        value: Box<Value>,
    },
    /// A timer.
    Timer {
        /// When it fires, in milliseconds.
        timestamp: i64,
        /// Its key.
        key: Box<Value>,
        /// Its namespace.
        namespace: Box<Value>,
    },
    /// A record with the time that it had in its stream.
    StreamRecord {
        /// When it was, in milliseconds; `None` for a record without a timestamp.
        timestamp: Option<i64>,
        /// The record.
        value: Box<Value>,
    },
    /// A time window: from `start` up to `end`, not included, in milliseconds.
    TimeWindow {
        /// The first millisecond.
        start: i64,
        /// The first millisecond behind.
        end: i64,
    },
    /// The one global window.
    GlobalWindow,
    /// Bytes that cannot be read without the Java class; the caller knows where they end.
    Opaque {
        /// The serializer, in words: "Kryo com.acme.Cart".
        serializer: Arc<str>,
        /// The bytes.
        bytes: Vec<u8>,
    },
}

/// A decimal number: `unscaled` by ten to the power of minus `scale`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BigDecimal {
    /// All digits.
    pub unscaled: BigInteger,
    /// How many of them stand behind the point; may be negative.
    pub scale: i32,
}

/// A date of the ISO calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocalDate {
    /// The year; 0 is 1 BC.
    pub year: i32,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
}

/// A time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocalTime {
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
    /// 0 to 999,999,999.
    pub nano: i32,
}

/// An array of primitives.
#[derive(Clone, Debug, PartialEq)]
pub enum PrimitiveArray {
    /// `boolean[]`
    Boolean(Vec<bool>),
    /// `short[]`
    Short(Vec<i16>),
    /// `char[]`
    Char(Vec<u16>),
    /// `int[]`
    Int(Vec<i32>),
    /// `long[]`
    Long(Vec<i64>),
    /// `float[]`
    Float(Vec<f32>),
    /// `double[]`
    Double(Vec<f64>),
}

/// A value with named fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Class and field names, shared by all records of a serializer.
    pub shape: Arc<RecordShape>,
    /// The fields, in the order of the shape.
    pub fields: Vec<Value>,
}

/// What all records of a serializer have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordShape {
    /// The Java class, or the full name of an Avro record.
    pub class: String,
    /// The names of the fields, in the order of the file.
    pub names: Vec<String>,
}

/// What all constants of an enum have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnumShape {
    /// The Java class, or the full name of an Avro enum.
    pub class: String,
    /// The constants, in the order of their numbers in the file.
    pub constants: Vec<String>,
}

/// A POJO of a subclass.
#[derive(Clone, Debug, PartialEq)]
pub struct Subclass {
    /// The Java class.
    pub class: String,
    /// Its number, if it is a registered one.
    pub registered: Option<u8>,
    /// Null or the record.
    pub value: Value,
}

impl Record {
    /// Returns a field by its name.
    pub fn field(&self, name: &str) -> Option<&Value> {
        let at = self.shape.names.iter().position(|known| known == name)?;
        self.fields.get(at)
    }

    /// Returns a field by its name, to be changed.
    pub fn field_mut(&mut self, name: &str) -> Option<&mut Value> {
        let at = self.shape.names.iter().position(|known| known == name)?;
        self.fields.get_mut(at)
    }
}

impl Value {
    /// Whether this is null.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// Whether both are the same to Java: as equality, but sets and maps have no order.
    ///
    /// Floats are the same if their bits are, so that what is no number is the same as itself.
    pub fn is_same(&self, other: &Value) -> bool {
        let all = |one: &[Value], other: &[Value]| {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.is_same(other))
        };
        match (self, other) {
            (Value::Float(one), Value::Float(other)) => one.to_bits() == other.to_bits(),
            (Value::Double(one), Value::Double(other)) => one.to_bits() == other.to_bits(),
            (Value::List(one), Value::List(other)) | (Value::Tuple(one), Value::Tuple(other)) => {
                all(one, other)
            }
            (Value::Set(one), Value::Set(other)) => {
                let holds = |item: &Value| other.iter().any(|other| item.is_same(other));
                one.len() == other.len() && (all(one, other) || one.iter().all(holds))
            }
            (Value::Map(one), Value::Map(other)) => {
                let same = |one: &(Value, Value), other: &(Value, Value)| {
                    one.0.is_same(&other.0) && one.1.is_same(&other.1)
                };
                let holds = |entry| other.iter().any(|other| same(entry, other));
                one.len() == other.len()
                    && (one.iter().zip(other).all(|(one, other)| same(one, other))
                        || one.iter().all(holds))
            }
            (
                Value::Row { kind, fields },
                Value::Row {
                    kind: other_kind,
                    fields: other_fields,
                },
            ) => kind == other_kind && all(fields, other_fields),
            (Value::Left(one), Value::Left(other)) | (Value::Right(one), Value::Right(other)) => {
                one.is_same(other)
            }
            (Value::Record(one), Value::Record(other)) => {
                one.shape == other.shape && all(&one.fields, &other.fields)
            }
            (Value::Subclass(one), Value::Subclass(other)) => {
                one.class == other.class && one.value.is_same(&other.value)
            }
            (Value::Enum { .. }, Value::Enum { .. }) => self.constant() == other.constant(),
            (Value::Union { value: one, .. }, Value::Union { value: other, .. }) => {
                one.is_same(other)
            }
            (
                Value::Ttl { last_access, value },
                Value::Ttl {
                    last_access: other_access,
                    value: other_value,
                },
            ) => last_access == other_access && value.is_same(other_value),
            (
                Value::StreamRecord { timestamp, value },
                Value::StreamRecord {
                    timestamp: other_timestamp,
                    value: other_value,
                },
            ) => timestamp == other_timestamp && value.is_same(other_value),
            (one, other) => one == other,
        }
    }

    /// The name of an enum constant; `None` for other values.
    pub fn constant(&self) -> Option<&str> {
        match self {
            Value::Enum { declared, index } => {
                declared.constants.get(*index as usize).map(String::as_str)
            }
            _ => None,
        }
    }
}

/// Reads one value of the serializer that `snapshot` describes; what follows it is left.
///
/// For more than a few values make a [`ValueCodec`] once.
///
/// # Errors
///
/// Corrupt, if the bytes are no such value; unsupported, if its serializer, or that of a part of
/// it, is one whose bytes only Java understands (the error names the class).
pub fn decode_value(
    snapshot: &SerializerSnapshot,
    input: &mut ByteReader<'_>,
) -> Result<Value, Error> {
    ValueCodec::new(snapshot).decode(input)
}

/// Appends a value as the serializer that `snapshot` describes writes it.
///
/// What [`decode_value`] read is written again byte by byte.
///
/// # Errors
///
/// Incompatible, if the value is none of this serializer; unsupported, as [`decode_value`].
/// Nothing is appended then.
pub fn encode_value(
    snapshot: &SerializerSnapshot,
    value: &Value,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    ValueCodec::new(snapshot).encode(value, out)
}

#[cfg(test)]
mod tests;
