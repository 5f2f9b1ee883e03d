//! Values as bytes: what the snapshot of a serializer says about them, made ready for use.
//!
//! The layouts stand in the crate's `class` module and in the modules of the serializers. Every
//! count is checked against what is left before anything is kept; decoding allocates a fixed
//! multiple of the bytes that it reads, at most.

use std::sync::Arc;

use super::avro::AvroSchema;
use super::number::BigInteger;
use super::{
    BigDecimal, EnumShape, LocalDate, LocalTime, PrimitiveArray, Record, RecordShape, Subclass,
    Value,
};
use crate::class::{Class, Composite, simple_name};
use crate::{ByteReader, ByteWriter, Error, SerializerSnapshot, SnapshotBody, pojo_flags};

/// The one byte of Flink's `Tuple0`.
const TUPLE_0: u8 = 42;

/// Reads and writes the values of one serializer.
#[derive(Clone, Debug)]
pub struct ValueCodec {
    pub(super) node: Node,
    opaque: Option<Arc<str>>,
}

/// A serializer, looked up once.
#[derive(Clone, Debug)]
pub(super) enum Node {
    /// One byte 0 that says nothing.
    Nothing(&'static str),
    GlobalWindow,
    Tuple0,
    Boolean,
    Byte,
    Short,
    Int,
    Long,
    Char,
    Float,
    Double,
    Text,
    BigInteger,
    BigDecimal,
    Instant,
    LocalDate,
    LocalTime,
    LocalDateTime,
    /// Milliseconds; the minimum is null.
    Date,
    Timestamp,
    TimeWindow,
    Bytes,
    Array(Primitive),
    TextArray,
    /// A wrapper of `org.apache.flink.types`, by its name.
    FlinkValue(&'static str, Box<Node>),
    List(Box<Node>),
    Set(Box<Node>),
    GenericArray(Box<Node>),
    Map(Box<(Node, Node)>),
    Tuple(Vec<Node>),
    Row {
        has_kind: bool,
        fields: Vec<Node>,
    },
    Either(Box<(Node, Node)>),
    Nullable {
        padding: usize,
        value: Box<Node>,
    },
    Ttl(Box<Node>),
    Timer(Box<(Node, Node)>),
    StreamRecord(Box<Node>),
    Enum(Arc<EnumShape>),
    Pojo(Box<PojoNode>),
    Avro(Arc<AvroSchema>),
    /// Not readable; the serializer in words.
    Opaque(Arc<str>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Primitive {
    Boolean,
    Short,
    Char,
    Int,
    Long,
    Float,
    Double,
}

#[derive(Clone, Debug)]
pub(super) struct PojoNode {
    pub(super) shape: Arc<RecordShape>,
    pub(super) fields: Vec<Node>,
    /// Class and serializer of registered subclasses.
    pub(super) registered: Vec<(String, Node)>,
    /// Class and serializer of other subclasses.
    pub(super) other: Vec<(String, Node)>,
}

impl ValueCodec {
    /// Returns the codec of the serializer that a snapshot describes.
    ///
    /// It is there for every snapshot; whether its values can be read, [`opaque`](Self::opaque)
    /// tells.
    pub fn new(snapshot: &SerializerSnapshot) -> Self {
        let node = Node::new(snapshot);
        let opaque = node.opaque();
        ValueCodec { node, opaque }
    }

    /// The serializer, here or in a part, whose values cannot be read: "Kryo com.acme.Cart".
    ///
    /// Values without such a part (a null field) are read all the same.
    pub fn opaque(&self) -> Option<&str> {
        self.opaque.as_deref()
    }

    /// Reads one value; what follows it is left.
    ///
    /// # Errors
    ///
    /// Corrupt, if the bytes are no such value; unsupported, if it has a part whose bytes only
    /// Java understands.
    #[inline]
    pub fn decode(&self, input: &mut ByteReader<'_>) -> Result<Value, Error> {
        self.node.decode(input)
    }

    /// Passes over one value, as [`decode`](Self::decode) reads it.
    ///
    /// # Errors
    ///
    /// As [`decode`](Self::decode).
    #[inline]
    pub fn skip(&self, input: &mut ByteReader<'_>) -> Result<(), Error> {
        self.node.skip(input)
    }

    /// Reads all of `bytes` as one value.
    ///
    /// # Errors
    ///
    /// As [`decode`](Self::decode); corrupt also, if bytes are left.
    pub fn decode_all(&self, bytes: &[u8]) -> Result<Value, Error> {
        let mut input = ByteReader::new(bytes);
        let value = self.node.decode(&mut input)?;
        match input.remaining() {
            0 => Ok(value),
            left => Err(input.corrupt("the end of a value", format!("{left} more bytes"))),
        }
    }

    /// As [`decode_all`](Self::decode_all), with bytes that only Java understands as
    /// [`Value::Opaque`].
    ///
    /// # Errors
    ///
    /// Corrupt, if the bytes are no such value.
    pub fn decode_or_opaque(&self, bytes: &[u8]) -> Result<Value, Error> {
        match self.decode_all(bytes) {
            Err(error) if matches!(error.kind(), crate::ErrorKind::Unsupported { .. }) => {
                Ok(Value::Opaque {
                    serializer: self.opaque.clone().unwrap_or_else(|| Arc::from("unknown")),
                    bytes: bytes.to_vec(),
                })
            }
            other => other,
        }
    }

    /// Appends a value; what [`decode`](Self::decode) read is written byte by byte the same.
    ///
    /// # Errors
    ///
    /// Incompatible, if the value is none of this serializer; nothing is appended then.
    pub fn encode(&self, value: &Value, out: &mut Vec<u8>) -> Result<(), Error> {
        if let (Value::Opaque { bytes, .. }, Some(_)) = (value, &self.opaque) {
            out.put(bytes);
            return Ok(());
        }
        let start = out.len();
        self.node
            .encode(value, out)
            .inspect_err(|_| out.truncate(start))
    }

    /// Whether Java's hash code is known of all values of this serializer.
    pub fn has_known_hash(&self) -> bool {
        self.node.has_known_hash()
    }

    /// Returns what Java's `hashCode` returns for a value of this serializer, if that is known.
    pub fn hash_code(&self, value: &Value) -> Option<i32> {
        super::hash::of_node(&self.node, value)
    }
}

impl Node {
    fn new(snapshot: &SerializerSnapshot) -> Node {
        let boxed = |snapshot| Box::new(Node::new(snapshot));
        let pair = |first, second| Box::new((Node::new(first), Node::new(second)));
        let opaque = || Node::Opaque(snapshot.describe().into());
        let (Some(class), body) = (snapshot.known_class(), &snapshot.body) else {
            return opaque();
        };
        match (class, body) {
            (Class::Simple(_), _) => simple_name(&snapshot.class).map_or_else(opaque, Node::simple),
            (Class::Composite(composite), SnapshotBody::Composite { nested, .. }) => {
                match (composite, nested.as_slice()) {
                    (Composite::List, [item]) => Node::List(boxed(item)),
                    (Composite::Set, [item]) => Node::Set(boxed(item)),
                    (Composite::GenericArray, [item]) => Node::GenericArray(boxed(item)),
                    (Composite::Map, [key, value]) => Node::Map(pair(key, value)),
                    (Composite::Tuple, fields) => {
                        Node::Tuple(fields.iter().map(Node::new).collect())
                    }
                    (Composite::Row, fields) => Node::Row {
                        has_kind: snapshot.has_row_kind(),
                        fields: fields.iter().map(Node::new).collect(),
                    },
                    (Composite::Either, [left, right]) => Node::Either(pair(left, right)),
                    (Composite::Nullable, [value]) => Node::Nullable {
                        padding: snapshot.padding(),
                        value: boxed(value),
                    },
                    (Composite::Ttl, [time, value]) if simple_name(&time.class) == Some("Long") => {
                        Node::Ttl(boxed(value))
                    }
                    (Composite::Timer, [key, namespace]) => Node::Timer(pair(key, namespace)),
                    (Composite::StreamElement, [value]) => Node::StreamRecord(boxed(value)),
                    _ => opaque(),
                }
            }
            (Class::Enum, SnapshotBody::Enum { class, constants }) => {
                Node::Enum(Arc::new(EnumShape {
                    class: class.clone(),
                    constants: constants.clone(),
                }))
            }
            (
                Class::Pojo,
                SnapshotBody::Pojo {
                    class,
                    fields,
                    registered,
                    other,
                },
            ) => {
                let node = |name: &str, value: &Option<SerializerSnapshot>| match value {
                    Some(value) => Node::new(value),
                    None => Node::Opaque(format!("\"{name}\" of {class}, which is missing").into()),
                };
                let subclasses = |entries: &[crate::OptionalEntry<SerializerSnapshot>]| {
                    let named = entries.iter();
                    named
                        .map(|entry| (entry.name.clone(), node(&entry.name, &entry.value)))
                        .collect()
                };
                Node::Pojo(Box::new(PojoNode {
                    shape: Arc::new(RecordShape {
                        class: class.clone(),
                        names: fields.iter().map(|field| field.name.clone()).collect(),
                    }),
                    fields: fields
                        .iter()
                        .map(|field| node(&field.name, &field.value))
                        .collect(),
                    registered: subclasses(registered),
                    other: subclasses(other),
                }))
            }
            (Class::Avro, SnapshotBody::Avro { schema, .. }) => match AvroSchema::parse(schema) {
                Ok(schema) => Node::Avro(Arc::new(schema)),
                Err(_) => opaque(),
            },
            _ => opaque(),
        }
    }

    /// The serializers of [`crate::class`] without parameters, by their names there.
    fn simple(name: &'static str) -> Node {
        match name {
            "String" => Node::Text,
            "Long" => Node::Long,
            "Int" => Node::Int,
            "Short" => Node::Short,
            "Byte" => Node::Byte,
            "Boolean" => Node::Boolean,
            "Char" => Node::Char,
            "Double" => Node::Double,
            "Float" => Node::Float,
            "BigInt" => Node::BigInteger,
            "BigDec" => Node::BigDecimal,
            "Instant" => Node::Instant,
            "LocalDate" => Node::LocalDate,
            "LocalTime" => Node::LocalTime,
            "LocalDateTime" => Node::LocalDateTime,
            "Date" | "SqlDate" | "SqlTime" => Node::Date,
            "SqlTimestamp" => Node::Timestamp,
            "Void" | "VoidNamespace" => Node::Nothing(name),
            "BytePrimitiveArray" => Node::Bytes,
            "BooleanPrimitiveArray" => Node::Array(Primitive::Boolean),
            "ShortPrimitiveArray" => Node::Array(Primitive::Short),
            "CharPrimitiveArray" => Node::Array(Primitive::Char),
            "IntPrimitiveArray" => Node::Array(Primitive::Int),
            "FloatPrimitiveArray" => Node::Array(Primitive::Float),
            "LongPrimitiveArray" => Node::Array(Primitive::Long),
            "DoublePrimitiveArray" => Node::Array(Primitive::Double),
            "StringArray" => Node::TextArray,
            "TimeWindow" => Node::TimeWindow,
            "GlobalWindow" => Node::GlobalWindow,
            "Tuple0" => Node::Tuple0,
            _ => match name.strip_suffix("Value").map(Node::simple) {
                Some(Node::Opaque(_)) | None => Node::Opaque(name.into()),
                Some(inner) => Node::FlinkValue(name, Box::new(inner)),
            },
        }
    }

    /// The nodes below.
    fn parts(&self) -> Vec<&Node> {
        match self {
            Node::FlinkValue(_, part)
            | Node::List(part)
            | Node::Set(part)
            | Node::GenericArray(part)
            | Node::Nullable { value: part, .. }
            | Node::Ttl(part)
            | Node::StreamRecord(part) => vec![part],
            Node::Map(pair) | Node::Either(pair) | Node::Timer(pair) => vec![&pair.0, &pair.1],
            Node::Tuple(parts) | Node::Row { fields: parts, .. } => parts.iter().collect(),
            Node::Pojo(pojo) => {
                let subclasses = pojo.registered.iter().chain(&pojo.other);
                let subclasses = subclasses.map(|(_, node)| node);
                pojo.fields.iter().chain(subclasses).collect()
            }
            _ => Vec::new(),
        }
    }

    fn opaque(&self) -> Option<Arc<str>> {
        if let Node::Opaque(serializer) = self {
            return Some(serializer.clone());
        }
        self.parts().into_iter().find_map(Node::opaque)
    }

    fn has_known_hash(&self) -> bool {
        match self {
            Node::Bytes
            | Node::Array(_)
            | Node::TextArray
            | Node::GenericArray(_)
            | Node::Row { .. }
            | Node::Ttl(_)
            | Node::Timer(_)
            | Node::StreamRecord(_)
            | Node::TimeWindow
            | Node::GlobalWindow
            | Node::Nothing(_)
            | Node::Enum(_)
            | Node::Pojo(_)
            | Node::Avro(_)
            | Node::Opaque(_) => false,
            Node::Set(_) | Node::Map(_) | Node::Either(_) if self.has_flink_values() => false,
            _ => self.parts().into_iter().all(Node::has_known_hash),
        }
    }

    pub(super) fn has_flink_values(&self) -> bool {
        let part = |node: &Node| matches!(node, Node::FlinkValue(..)) || node.has_flink_values();
        self.parts().into_iter().any(part)
    }

    fn decode(&self, input: &mut ByteReader<'_>) -> Result<Value, Error> {
        Ok(match self {
            Node::Long => Value::Long(input.i64()?),
            Node::Text => text(input)?,
            Node::Nothing(what) => {
                expect_byte(0, what, input)?;
                Value::Null
            }
            Node::GlobalWindow => {
                expect_byte(0, "a global window", input)?;
                Value::GlobalWindow
            }
            Node::Tuple0 => {
                expect_byte(TUPLE_0, "an empty tuple", input)?;
                Value::Tuple(Vec::new())
            }
            Node::Boolean => Value::Boolean(input.bool()?),
            Node::Byte => Value::Byte(input.i8()?),
            Node::Short => Value::Short(input.i16()?),
            Node::Int => Value::Int(input.i32()?),
            Node::Char => Value::Char(input.u16()?),
            Node::Float => Value::Float(input.f32()?),
            Node::Double => Value::Double(input.f64()?),
            Node::BigInteger => big_integer(input)?.map_or(Value::Null, Value::BigInteger),
            Node::BigDecimal => match big_integer(input)? {
                None => Value::Null,
                Some(unscaled) => {
                    let scale = input.i32()?;
                    Value::BigDecimal(Box::new(BigDecimal { unscaled, scale }))
                }
            },
            Node::Instant => instant(input)?,
            Node::LocalDate => date(input)?.map_or(Value::Null, Value::LocalDate),
            Node::LocalTime => time(input)?.map_or(Value::Null, Value::LocalTime),
            Node::LocalDateTime => {
                let at = input.offset();
                match (date(input)?, time(input)?) {
                    (Some(date), Some(time)) => Value::LocalDateTime(date, time),
                    (None, None) => Value::Null,
                    _ => return Err(Error::corrupt(at, "a date and a time", "half of them null")),
                }
            }
            Node::Date => match input.i64()? {
                i64::MIN => Value::Null,
                millis => Value::Date(millis),
            },
            Node::Timestamp => timestamp(input)?,
            Node::TimeWindow => Value::TimeWindow {
                start: input.i64()?,
                end: input.i64()?,
            },
            Node::Bytes => Value::Bytes(input.bytes()?.to_vec()),
            Node::Array(primitive) => Value::Array(primitive.decode(input)?),
            Node::TextArray => Value::List(items(input, 1, text)?),
            Node::FlinkValue(_, value) => value.decode(input)?,
            Node::List(item) => Value::List(items(input, 1, |input| item.decode(input))?),
            Node::Set(item) => Value::Set(items(input, 1, |input| {
                let is_null = input.bool()?;
                item.decode_unless(is_null, input)
            })?),
            Node::GenericArray(item) => Value::List(items(input, 1, |input| {
                let is_present = input.bool()?;
                item.decode_unless(!is_present, input)
            })?),
            Node::Map(pair) => Value::Map(items(input, 2, |input| {
                let key = pair.0.decode(input)?;
                let is_null = input.bool()?;
                Ok((key, pair.1.decode_unless(is_null, input)?))
            })?),
            Node::Tuple(fields) => Value::Tuple(
                fields
                    .iter()
                    .map(|field| field.decode(input))
                    .collect::<Result<_, _>>()?,
            ),
            Node::Row { has_kind, fields } => row(*has_kind, fields, input)?,
            Node::Either(pair) => match input.bool()? {
                true => Value::Left(Box::new(pair.0.decode(input)?)),
                false => Value::Right(Box::new(pair.1.decode(input)?)),
            },
            Node::Nullable { padding, value } => match input.bool()? {
                false => value.decode_unless(false, input)?,
                true => {
                    let at = input.offset();
                    if input.take(*padding)?.iter().any(|byte| *byte != 0) {
                        return Err(Error::corrupt(at, "zeros behind a null", "other bytes"));
                    }
                    Value::Null
                }
            },
            Node::Ttl(value) => Value::Ttl {
                last_access: input.i64()?,
                value: Box::new(value.decode(input)?),
            },
            Node::Timer(pair) => Value::Timer {
                timestamp: input.i64()? ^ i64::MIN,
                key: Box::new(pair.0.decode(input)?),
                namespace: Box::new(pair.1.decode(input)?),
            },
            Node::StreamRecord(value) => {
                let at = input.offset();
                let timestamp = match input.u8()? {
                    0 => Some(input.i64()?),
                    1 => None,
                    other => {
                        let expected = "a record with or without timestamp, 0 or 1";
                        return Err(Error::corrupt(at, expected, other.to_string()));
                    }
                };
                Value::StreamRecord {
                    timestamp,
                    value: Box::new(value.decode(input)?),
                }
            }
            Node::Enum(declared) => {
                let at = input.offset();
                let index = input.i32()?;
                match u32::try_from(index) {
                    Ok(found) if (found as usize) < declared.constants.len() => Value::Enum {
                        declared: declared.clone(),
                        index: found,
                    },
                    Ok(_) | Err(_) => {
                        let most = declared.constants.len();
                        let expected = format!("one of {most} constants of {}", declared.class);
                        return Err(Error::corrupt(at, expected, index.to_string()));
                    }
                }
            }
            Node::Pojo(pojo) => pojo.decode(input)?,
            Node::Avro(schema) => schema.decode(input)?,
            Node::Opaque(serializer) => {
                return Err(Error::unsupported(format!(
                    "reading values of {serializer}"
                )));
            }
        })
    }

    /// As [`decode`](Self::decode), without making the value where that costs something.
    fn skip(&self, input: &mut ByteReader<'_>) -> Result<(), Error> {
        match self {
            Node::Long | Node::Double => input.take(8).map(drop),
            Node::Int | Node::Float => input.take(4).map(drop),
            Node::TimeWindow => input.take(16).map(drop),
            Node::Text => input.skip_string_value(),
            Node::Bytes => input.bytes().map(drop),
            Node::FlinkValue(_, value) => value.skip(input),
            Node::List(item) => (0..input.count(1)?).try_for_each(|_| item.skip(input)),
            Node::Tuple(fields) => fields.iter().try_for_each(|field| field.skip(input)),
            Node::Ttl(value) => {
                input.take(8)?;
                value.skip(input)
            }
            Node::Timer(pair) => {
                input.take(8)?;
                pair.0.skip(input)?;
                pair.1.skip(input)
            }
            _ => self.decode(input).map(drop),
        }
    }

    fn decode_unless(&self, is_null: bool, input: &mut ByteReader<'_>) -> Result<Value, Error> {
        if is_null {
            return Ok(Value::Null);
        }
        let at = input.offset();
        match self.decode(input)? {
            // Flink tells null by the flag alone, so that a second one behind it is damage.
            Value::Null if !self.is_there_as_null() => {
                Err(Error::corrupt(at, "a value that is not null", "null"))
            }
            value => Ok(value),
        }
    }

    /// Whether the value null stands for is an object in Java: the void namespace alone.
    fn is_there_as_null(&self) -> bool {
        matches!(self, Node::Nothing("VoidNamespace"))
    }

    fn encode(&self, value: &Value, out: &mut Vec<u8>) -> Result<(), Error> {
        match (self, value) {
            (Node::Long, Value::Long(value)) => out.put_i64(*value),
            (Node::Text, Value::String(text)) => out.put_string_value(text),
            (Node::Text, Value::Utf16(units)) => out.put_utf16_value(units),
            (Node::Text, Value::Null) => out.put_null_string_value(),
            (Node::Nothing(_), Value::Null) | (Node::GlobalWindow, Value::GlobalWindow) => {
                out.put_u8(0);
            }
            (Node::Tuple0, Value::Tuple(fields)) if fields.is_empty() => out.put_u8(TUPLE_0),
            (Node::Boolean, Value::Boolean(value)) => out.put_bool(*value),
            (Node::Byte, Value::Byte(value)) => out.put_i8(*value),
            (Node::Short, Value::Short(value)) => out.put_i16(*value),
            (Node::Int, Value::Int(value)) => out.put_i32(*value),
            (Node::Char, Value::Char(value)) => out.put_u16(*value),
            // The bits as they were, also of what is no number.
            (Node::Float, Value::Float(value)) => out.put(&value.to_bits().to_be_bytes()),
            (Node::Double, Value::Double(value)) => out.put(&value.to_bits().to_be_bytes()),
            (Node::BigInteger | Node::BigDecimal, Value::Null) => out.put_i32(0),
            (Node::BigInteger, Value::BigInteger(number)) => put_big_integer(number, out),
            (Node::BigDecimal, Value::BigDecimal(number)) => {
                put_big_integer(&number.unscaled, out);
                out.put_i32(number.scale);
            }
            (Node::Instant, Value::Instant { seconds, nanos }) => {
                out.put_i64(*seconds);
                out.put_i32(*nanos);
            }
            (Node::Instant, Value::Null) => {
                out.put_i64(i64::MIN);
                out.put_i32(i32::MIN);
            }
            (Node::LocalDate, Value::LocalDate(date)) => put_date(Some(*date), out),
            (Node::LocalDate, Value::Null) => put_date(None, out),
            (Node::LocalTime, Value::LocalTime(time)) => put_time(Some(*time), out),
            (Node::LocalTime, Value::Null) => put_time(None, out),
            (Node::LocalDateTime, Value::LocalDateTime(date, time)) => {
                put_date(Some(*date), out);
                put_time(Some(*time), out);
            }
            (Node::LocalDateTime, Value::Null) => {
                put_date(None, out);
                put_time(None, out);
            }
            (Node::Date, Value::Date(millis)) => out.put_i64(*millis),
            (Node::Date, Value::Null) => out.put_i64(i64::MIN),
            (Node::Timestamp, Value::Timestamp { millis, nanos }) => {
                out.put_i64(*millis);
                out.put_i32(*nanos);
            }
            (Node::Timestamp, Value::Null) => {
                out.put_i64(i64::MIN);
                out.put_i32(0);
            }
            (Node::TimeWindow, Value::TimeWindow { start, end }) => {
                out.put_i64(*start);
                out.put_i64(*end);
            }
            (Node::Bytes, Value::Bytes(bytes)) => out.put_bytes(bytes),
            (Node::Array(primitive), Value::Array(array)) if primitive.is_of(array) => {
                put_array(array, out);
            }
            (Node::TextArray, Value::List(texts)) => {
                out.put_count(texts.len());
                texts
                    .iter()
                    .try_for_each(|text| Node::Text.encode(text, out))?;
            }
            (Node::FlinkValue(_, node), value) => node.encode(value, out)?,
            (Node::List(node), Value::List(values)) => {
                out.put_count(values.len());
                values
                    .iter()
                    .try_for_each(|value| node.encode(value, out))?;
            }
            (Node::Set(node), Value::Set(values)) => {
                out.put_count(values.len());
                values
                    .iter()
                    .try_for_each(|value| node.encode_flagged(value, true, out))?;
            }
            (Node::GenericArray(node), Value::List(values)) => {
                out.put_count(values.len());
                values
                    .iter()
                    .try_for_each(|value| node.encode_flagged(value, false, out))?;
            }
            (Node::Map(pair), Value::Map(entries)) => {
                out.put_count(entries.len());
                for (key, value) in entries {
                    pair.0.encode(key, out)?;
                    pair.1.encode_flagged(value, true, out)?;
                }
            }
            (Node::Tuple(nodes), Value::Tuple(fields)) if nodes.len() == fields.len() => {
                for (node, field) in nodes.iter().zip(fields) {
                    node.encode(field, out)?;
                }
            }
            (
                Node::Row {
                    has_kind,
                    fields: nodes,
                },
                Value::Row { kind, fields },
            ) if nodes.len() == fields.len() && *kind < 4 && (*has_kind || *kind == 0) => {
                put_row(*has_kind, *kind, nodes, fields, out)?;
            }
            (Node::Either(pair), Value::Left(value)) => {
                out.put_bool(true);
                pair.0.encode(value, out)?;
            }
            (Node::Either(pair), Value::Right(value)) => {
                out.put_bool(false);
                pair.1.encode(value, out)?;
            }
            (Node::Nullable { padding, .. }, Value::Null) => {
                out.put_bool(true);
                out.resize(out.len() + padding, 0);
            }
            (Node::Nullable { value: node, .. }, value) => {
                out.put_bool(false);
                node.encode(value, out)?;
            }
            (Node::Ttl(node), Value::Ttl { last_access, value }) => {
                out.put_i64(*last_access);
                node.encode(value, out)?;
            }
            (
                Node::Timer(pair),
                Value::Timer {
                    timestamp,
                    key,
                    namespace,
                },
            ) => {
                out.put_i64(*timestamp ^ i64::MIN);
                pair.0.encode(key, out)?;
                pair.1.encode(namespace, out)?;
            }
            (Node::StreamRecord(node), Value::StreamRecord { timestamp, value }) => {
                match timestamp {
                    Some(timestamp) => {
                        out.put_u8(0);
                        out.put_i64(*timestamp);
                    }
                    None => out.put_u8(1),
                }
                node.encode(value, out)?;
            }
            (Node::Enum(declared), Value::Enum { .. }) => {
                let name = value.constant();
                let found = declared
                    .constants
                    .iter()
                    .position(|known| Some(known.as_str()) == name);
                match found {
                    Some(index) => out.put_count(index),
                    None => return Err(self.refuses(value)),
                }
            }
            (Node::Pojo(pojo), value) => pojo.encode(value, out)?,
            (Node::Avro(schema), value) => schema.encode(value, out)?,
            (Node::Opaque(serializer), _) => {
                return Err(Error::unsupported(format!(
                    "writing values of {serializer}"
                )));
            }
            (_, value) => return Err(self.refuses(value)),
        }
        Ok(())
    }

    /// A flag for null (or for not null), then the value unless it is null.
    fn encode_flagged(
        &self,
        value: &Value,
        flag_is_null: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let is_null = value.is_null() && !self.is_there_as_null();
        out.put_bool(is_null == flag_is_null);
        if is_null {
            return Ok(());
        }
        self.encode(value, out)
    }

    #[cold]
    pub(super) fn refuses(&self, value: &Value) -> Error {
        Error::incompatible(format!(
            "expected a value of {}, found {}",
            super::words::of_node(self),
            super::words::of_value(value)
        ))
    }
}

impl PojoNode {
    fn decode(&self, input: &mut ByteReader<'_>) -> Result<Value, Error> {
        let at = input.offset();
        let class = &self.shape.class;
        match input.u8()? {
            pojo_flags::NULL => Ok(Value::Null),
            pojo_flags::EXACT => {
                let mut fields = Vec::with_capacity(self.fields.len());
                for (node, name) in self.fields.iter().zip(&self.shape.names) {
                    let is_null = input.bool()?;
                    if let Node::Opaque(what) = node
                        && !is_null
                    {
                        let what = format!("field \"{name}\" of {class}: values of {what}");
                        return Err(Error::unsupported(what));
                    }
                    fields.push(node.decode_unless(is_null, input)?);
                }
                Ok(Value::Record(Record {
                    shape: self.shape.clone(),
                    fields,
                }))
            }
            pojo_flags::OTHER => {
                let name = input.utf()?;
                match self.other.iter().find(|(known, _)| *known == name) {
                    Some((_, node)) => subclass(name, None, node, input),
                    None => Err(Error::unsupported(format!(
                        "subclass \"{name}\" of {class} at offset {at}, which the snapshot \
                         does not describe"
                    ))),
                }
            }
            pojo_flags::REGISTERED => {
                let index = input.u8()?;
                match self.registered.get(usize::from(index)) {
                    Some((name, node)) => subclass(name.clone(), Some(index), node, input),
                    None => Err(Error::corrupt(
                        at + 1,
                        format!("one of {} subclasses of {class}", self.registered.len()),
                        index.to_string(),
                    )),
                }
            }
            flags => Err(pojo_flags::bad_flags(at, flags)),
        }
    }

    fn encode(&self, value: &Value, out: &mut Vec<u8>) -> Result<(), Error> {
        match value {
            Value::Null => out.put_u8(pojo_flags::NULL),
            Value::Record(record) if record.shape.names == self.shape.names => {
                out.put_u8(pojo_flags::EXACT);
                for (node, field) in self.fields.iter().zip(&record.fields) {
                    node.encode_flagged(field, true, out)?;
                }
            }
            Value::Subclass(subclass) => match subclass.registered {
                Some(index) => match self.registered.get(usize::from(index)) {
                    Some((_, node)) => {
                        out.put(&[pojo_flags::REGISTERED, index]);
                        node.encode(&subclass.value, out)?;
                    }
                    None => return Err(self.refuses(value)),
                },
                None => match self.other.iter().find(|(name, _)| *name == subclass.class) {
                    Some((name, node)) => {
                        out.put_u8(pojo_flags::OTHER);
                        out.put_utf(name)?;
                        node.encode(&subclass.value, out)?;
                    }
                    None => return Err(self.refuses(value)),
                },
            },
            other => return Err(self.refuses(other)),
        }
        Ok(())
    }

    #[cold]
    fn refuses(&self, value: &Value) -> Error {
        Error::incompatible(format!(
            "expected a value of {}, found {}",
            self.shape.class,
            super::words::of_value(value)
        ))
    }
}

fn subclass(
    class: String,
    registered: Option<u8>,
    node: &Node,
    input: &mut ByteReader<'_>,
) -> Result<Value, Error> {
    let value = node.decode(input)?;
    Ok(Value::Subclass(Box::new(Subclass {
        class,
        registered,
        value,
    })))
}

impl Primitive {
    fn decode(self, input: &mut ByteReader<'_>) -> Result<PrimitiveArray, Error> {
        Ok(match self {
            Primitive::Boolean => PrimitiveArray::Boolean(items(input, 1, ByteReader::bool)?),
            Primitive::Short => PrimitiveArray::Short(items(input, 2, ByteReader::i16)?),
            Primitive::Char => PrimitiveArray::Char(items(input, 2, ByteReader::u16)?),
            Primitive::Int => PrimitiveArray::Int(items(input, 4, ByteReader::i32)?),
            Primitive::Long => PrimitiveArray::Long(items(input, 8, ByteReader::i64)?),
            Primitive::Float => PrimitiveArray::Float(items(input, 4, ByteReader::f32)?),
            Primitive::Double => PrimitiveArray::Double(items(input, 8, ByteReader::f64)?),
        })
    }

    fn is_of(self, array: &PrimitiveArray) -> bool {
        self == match array {
            PrimitiveArray::Boolean(_) => Primitive::Boolean,
            PrimitiveArray::Short(_) => Primitive::Short,
            PrimitiveArray::Char(_) => Primitive::Char,
            PrimitiveArray::Int(_) => Primitive::Int,
            PrimitiveArray::Long(_) => Primitive::Long,
            PrimitiveArray::Float(_) => Primitive::Float,
            PrimitiveArray::Double(_) => Primitive::Double,
        }
    }
}

fn put_array(array: &PrimitiveArray, out: &mut Vec<u8>) {
    fn each<T>(items: &[T], out: &mut Vec<u8>, put: impl Fn(&mut Vec<u8>, &T)) {
        out.put_count(items.len());
        items.iter().for_each(|item| put(out, item));
    }
    match array {
        PrimitiveArray::Boolean(items) => each(items, out, |out, item| out.put_bool(*item)),
        PrimitiveArray::Short(items) => each(items, out, |out, item| out.put_i16(*item)),
        PrimitiveArray::Char(items) => each(items, out, |out, item| out.put_u16(*item)),
        PrimitiveArray::Int(items) => each(items, out, |out, item| out.put_i32(*item)),
        PrimitiveArray::Long(items) => each(items, out, |out, item| out.put_i64(*item)),
        PrimitiveArray::Float(items) => {
            each(items, out, |out, item| {
                out.put(&item.to_bits().to_be_bytes())
            });
        }
        PrimitiveArray::Double(items) => {
            each(items, out, |out, item| {
                out.put(&item.to_bits().to_be_bytes())
            });
        }
    }
}

/// Reads i32 n and n items of at least `item_bytes` each.
fn items<'a, T>(
    input: &mut ByteReader<'a>,
    item_bytes: usize,
    mut read: impl FnMut(&mut ByteReader<'a>) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let count = input.count(item_bytes)?;
    // Grows with what is really there: a count that lies costs no memory.
    let mut items = Vec::with_capacity(count.min(64));
    for _ in 0..count {
        items.push(read(input)?);
    }
    Ok(items)
}

fn expect_byte(expected: u8, what: &str, input: &mut ByteReader<'_>) -> Result<(), Error> {
    let at = input.offset();
    match input.u8()? {
        found if found == expected => Ok(()),
        found => Err(Error::corrupt(
            at,
            format!("{what}, {expected}"),
            found.to_string(),
        )),
    }
}

fn text(input: &mut ByteReader<'_>) -> Result<Value, Error> {
    input.string_value_or_units().map(|text| match text {
        None => Value::Null,
        Some(Ok(text)) => Value::String(text),
        Some(Err(units)) => Value::Utf16(units),
    })
}

fn big_integer(input: &mut ByteReader<'_>) -> Result<Option<BigInteger>, Error> {
    let at = input.offset();
    let code = input.i32()?;
    match u32::try_from(code) {
        Ok(0) => Ok(None),
        Ok(code @ 1..=3) => Ok(Some(BigInteger::of_code(code as u8))),
        Ok(length) if length > 4 => {
            let bytes = input.take(length as usize - 4)?;
            BigInteger::from_bytes(bytes).map(Some).ok_or_else(|| {
                Error::corrupt(at + 4, "a number in as few bytes as it needs", "more")
            })
        }
        Ok(_) | Err(_) => Err(Error::corrupt(
            at,
            "the length of a number",
            code.to_string(),
        )),
    }
}

fn put_big_integer(number: &BigInteger, out: &mut Vec<u8>) {
    match number.code() {
        Some(code) => out.put_i32(code),
        None => {
            out.put_count(number.bytes().len() + 4);
            out.put(number.bytes());
        }
    }
}

fn instant(input: &mut ByteReader<'_>) -> Result<Value, Error> {
    let (seconds, at, nanos) = (input.i64()?, input.offset(), input.i32()?);
    match (seconds, nanos) {
        (i64::MIN, i32::MIN) => Ok(Value::Null),
        (_, 0..1_000_000_000) => Ok(Value::Instant { seconds, nanos }),
        _ => Err(nanos_out_of_range(at, nanos)),
    }
}

fn timestamp(input: &mut ByteReader<'_>) -> Result<Value, Error> {
    let (millis, at, nanos) = (input.i64()?, input.offset(), input.i32()?);
    match (millis, nanos) {
        (i64::MIN, 0) => Ok(Value::Null),
        (_, 0..1_000_000_000) => Ok(Value::Timestamp { millis, nanos }),
        _ => Err(nanos_out_of_range(at, nanos)),
    }
}

#[cold]
fn nanos_out_of_range(at: u64, nanos: i32) -> Error {
    Error::corrupt(at, "nanoseconds of a second", nanos.to_string())
}

fn date(input: &mut ByteReader<'_>) -> Result<Option<LocalDate>, Error> {
    let (at, year) = (input.offset(), input.i32()?);
    let (month, day) = (input.u8()?, input.u8()?);
    let date = LocalDate { year, month, day };
    match (year, u16::from_be_bytes([month, day])) {
        (i32::MIN, 0x8000) => Ok(None),
        _ if date.is_valid() => Ok(Some(date)),
        _ => Err(Error::corrupt(at, "a date", super::time::date(date))),
    }
}

fn put_date(date: Option<LocalDate>, out: &mut Vec<u8>) {
    match date {
        Some(date) => {
            out.put_i32(date.year);
            out.put(&[date.month, date.day]);
        }
        None => {
            out.put_i32(i32::MIN);
            out.put_i16(i16::MIN);
        }
    }
}

fn time(input: &mut ByteReader<'_>) -> Result<Option<LocalTime>, Error> {
    let at = input.offset();
    let (hour, minute, second) = (input.u8()?, input.u8()?, input.u8()?);
    let time = LocalTime {
        hour,
        minute,
        second,
        nano: input.i32()?,
    };
    match ([hour, minute, second], time.nano) {
        ([0x80, 0x80, 0], i32::MIN) => Ok(None),
        _ if time.is_valid() => Ok(Some(time)),
        _ => Err(Error::corrupt(at, "a time of day", super::time::time(time))),
    }
}

fn put_time(time: Option<LocalTime>, out: &mut Vec<u8>) {
    match time {
        Some(time) => {
            out.put(&[time.hour, time.minute, time.second]);
            out.put_i32(time.nano);
        }
        None => {
            out.put_i8(i8::MIN);
            out.put_i16(i16::MIN);
            out.put_i32(i32::MIN);
        }
    }
}

fn row(has_kind: bool, nodes: &[Node], input: &mut ByteReader<'_>) -> Result<Value, Error> {
    let kind_bits = if has_kind { 2 } else { 0 };
    let at = input.offset();
    let mask = input.take((kind_bits + nodes.len()).div_ceil(8))?;
    let bit = |index: usize| mask[index / 8] & (0x80 >> (index % 8)) != 0;
    let used = kind_bits + nodes.len();
    if (used..mask.len() * 8).any(bit) {
        return Err(Error::corrupt(
            at,
            "zeros behind the null bits of a row",
            "ones",
        ));
    }
    let kind = match has_kind {
        // The low bit of the kind comes first.
        true => u8::from(bit(0)) | u8::from(bit(1)) << 1,
        false => 0,
    };
    let mut fields = Vec::with_capacity(nodes.len());
    for (index, node) in nodes.iter().enumerate() {
        fields.push(node.decode_unless(bit(kind_bits + index), input)?);
    }
    Ok(Value::Row { kind, fields })
}

fn put_row(
    has_kind: bool,
    kind: u8,
    nodes: &[Node],
    fields: &[Value],
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let kind_bits = if has_kind { 2 } else { 0 };
    let start = out.len();
    out.resize(start + (kind_bits + nodes.len()).div_ceil(8), 0);
    let mut set = |index: usize| out[start + index / 8] |= 0x80 >> (index % 8);
    (0..kind_bits)
        .filter(|bit| kind >> bit & 1 == 1)
        .for_each(&mut set);
    let is_null = |(node, field): (&Node, &Value)| field.is_null() && !node.is_there_as_null();
    let nulls = nodes.iter().zip(fields).map(is_null).enumerate();
    nulls
        .filter(|(_, is_null)| *is_null)
        .for_each(|(index, _)| set(kind_bits + index));
    for (node, field) in nodes.iter().zip(fields) {
        if !is_null((node, field)) {
            node.encode(field, out)?;
        }
    }
    Ok(())
}
