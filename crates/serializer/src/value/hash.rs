//! Java's hash code of a value: what decides the key group of a key.
//!
//! Known where the Java class fixes it. Not known, and `None`: classes of the user (POJOs,
//! records, enums, Kryo, Avro), arrays (identity), and rows, whose hash depends on whether they
//! have field names, which the snapshot does not say.
//!
//! Source: `hashCode` of the Java classes (JDK 17, Flink 2.3.0), compared with a run of them.

use super::codec::Node;
use super::{PrimitiveArray, Value};

/// Of a long, and of what Java hashes as one.
pub(super) fn of_long(value: i64) -> i32 {
    (value ^ (value as u64 >> 32) as i64) as i32
}

fn of_double(value: f64) -> i32 {
    let bits = if value.is_nan() {
        0x7ff8_0000_0000_0000
    } else {
        value.to_bits()
    };
    of_long(bits as i64)
}

fn of_float(value: f32) -> i32 {
    if value.is_nan() {
        0x7fc0_0000
    } else {
        value.to_bits() as i32
    }
}

fn step(hash: i32, next: i32) -> i32 {
    hash.wrapping_mul(31).wrapping_add(next)
}

fn of_text(text: &str) -> i32 {
    if text.is_ascii() {
        return text.bytes().fold(0, |hash, byte| step(hash, byte.into()));
    }
    text.encode_utf16()
        .fold(0, |hash, unit| step(hash, unit.into()))
}

impl Value {
    /// Returns what Java's `hashCode` returns for this value, as a part of others 0 for null;
    /// `None` if that is not known.
    ///
    /// For the wrappers of `org.apache.flink.types` ask
    /// [`ValueCodec::hash_code`](super::ValueCodec::hash_code): some of them hash otherwise.
    pub fn hash_code(&self) -> Option<i32> {
        Some(match self {
            Value::Null => 0,
            Value::Boolean(true) => 1231,
            Value::Boolean(false) => 1237,
            Value::Byte(value) => i32::from(*value),
            Value::Short(value) => i32::from(*value),
            Value::Int(value) => *value,
            Value::Long(value) => of_long(*value),
            Value::Char(value) => i32::from(*value),
            Value::Float(value) => of_float(*value),
            Value::Double(value) => of_double(*value),
            Value::String(text) => of_text(text),
            Value::Utf16(units) => units
                .iter()
                .fold(0, |hash, unit| step(hash, (*unit).into())),
            Value::BigInteger(number) => number.hash_code(),
            Value::BigDecimal(number) => number.hash_code(),
            Value::Instant { seconds, nanos } => {
                of_long(*seconds).wrapping_add(nanos.wrapping_mul(51))
            }
            Value::LocalDate(date) => date.hash_code(),
            Value::LocalTime(time) => time.hash_code(),
            Value::LocalDateTime(date, time) => date.hash_code() ^ time.hash_code(),
            // Java shifts with the sign here.
            Value::Date(millis) | Value::Timestamp { millis, .. } => {
                *millis as i32 ^ (*millis >> 32) as i32
            }
            Value::List(items) => fold(1, items)?,
            Value::Tuple(fields) => fold(0, fields)?,
            Value::Set(items) => items
                .iter()
                .try_fold(0i32, |sum, item| Some(sum.wrapping_add(item.hash_code()?)))?,
            Value::Map(entries) => entries.iter().try_fold(0i32, |sum, (key, value)| {
                Some(sum.wrapping_add(key.hash_code()? ^ value.hash_code()?))
            })?,
            Value::Left(value) | Value::Right(value) => value.hash_code()?,
            Value::Bytes(_)
            | Value::Array(
                PrimitiveArray::Boolean(_)
                | PrimitiveArray::Short(_)
                | PrimitiveArray::Char(_)
                | PrimitiveArray::Int(_)
                | PrimitiveArray::Long(_)
                | PrimitiveArray::Float(_)
                | PrimitiveArray::Double(_),
            )
            | Value::Row { .. }
            | Value::Record(_)
            | Value::Subclass(_)
            | Value::Enum { .. }
            | Value::Union { .. }
            | Value::Ttl { .. }
            | Value::Timer { .. }
            | Value::StreamRecord { .. }
            | Value::TimeWindow { .. }
            | Value::GlobalWindow
            | Value::Opaque { .. } => return None,
        })
    }
}

fn fold(start: i32, items: &[Value]) -> Option<i32> {
    items
        .iter()
        .try_fold(start, |hash, item| Some(step(hash, item.hash_code()?)))
}

/// As [`Value::hash_code`], where the serializer says more than the value.
pub(super) fn of_node(node: &Node, value: &Value) -> Option<i32> {
    match (node, value) {
        (Node::FlinkValue("LongValue", _), Value::Long(value)) => {
            Some(of_long(*value).wrapping_add(43))
        }
        (Node::FlinkValue("DoubleValue", _), Value::Double(value)) => {
            Some(of_double(*value).wrapping_add(31))
        }
        (Node::FlinkValue("BooleanValue", _), Value::Boolean(value)) => Some(i32::from(*value)),
        (Node::FlinkValue(_, inner), value) => of_node(inner, value),
        (Node::Tuple(nodes), Value::Tuple(fields)) if nodes.len() == fields.len() => {
            nodes.iter().zip(fields).try_fold(0, |hash, (node, field)| {
                Some(step(hash, of_node(node, field)?))
            })
        }
        (Node::List(item), Value::List(items)) => items
            .iter()
            .try_fold(1, |hash, value| Some(step(hash, of_node(item, value)?))),
        // An array of objects hashes by identity, though its value is a list here.
        (Node::GenericArray(_) | Node::TextArray, _) => None,
        (Node::Nullable { value: inner, .. }, value) if !value.is_null() => of_node(inner, value),
        // What has such parts would need the same care; such keys do not occur.
        (Node::Set(_) | Node::Map(_) | Node::Either(_), _) if node.has_flink_values() => None,
        (_, value) => value.hash_code(),
    }
}
