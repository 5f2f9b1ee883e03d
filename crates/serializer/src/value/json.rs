//! Values as JSON, and JSON as values of a serializer.
//!
//! | value | JSON |
//! | --- | --- |
//! | null | null |
//! | integers, boolean | as they are |
//! | float, double | number; `"NaN"`, `"Infinity"`, `"-Infinity"` |
//! | text, char | string; with a lone surrogate `{"utf16": "d83d 0061"}` |
//! | bytes | string of hexadecimal digits |
//! | big integer, big decimal | string, as Java prints them: `"1.50"`, `"1E+3"` |
//! | dates and times | string in ISO 8601: `"2024-02-29"`, `"23:59:58.123"`, `"2024-02-29T23:59:58Z"` |
//! | array, list, set, tuple | array |
//! | map | object; keys that are no strings as the text of their JSON |
//! | row | array of its fields; `{"kind": "-D", "fields": [...]}` unless it is an insertion |
//! | POJO, record | object; `"$class"` names a subclass |
//! | enum | string |
//! | either | `{"left": ...}` or `{"right": ...}` |
//! | union of Avro | the value of the branch |
//! | time-to-live | the user's value; [`WithTtl`]: `{"value": ..., "last_access": ...}` |
//! | timer | `[key, timestamp]` or `[key, namespace, timestamp]` |
//! | record with its timestamp | `{"value": ..., "timestamp": ...}` |
//! | time window, global window | `[start, end]`, `"global"` |
//! | opaque | `{"opaque": "Kryo com.acme.Cart", "hex": ...}` |

use std::sync::Arc;

use serde::ser::{Error as _, SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value as Json};

use super::codec::{Node, PojoNode, Primitive};
use super::{
    BigDecimal, BigInteger, EnumShape, PrimitiveArray, Record, RecordShape, Subclass, Value,
    ValueCodec, time,
};
use crate::Error;

/// The name under which a subclass stands beside its fields.
const CLASS: &str = "$class";
/// The value of a subclass that has no fields.
const OF_CLASS: &str = "$value";
const ROW_KINDS: [&str; 4] = ["+I", "-U", "+U", "-D"];

/// A value whose JSON shows when parts with time-to-live were used last.
#[derive(Clone, Copy, Debug)]
pub struct WithTtl<'a>(pub &'a Value);

#[derive(Clone, Copy)]
struct Shown<'a> {
    value: &'a Value,
    ttl: bool,
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Shown {
            value: self,
            ttl: false,
        }
        .serialize(serializer)
    }
}

impl Serialize for WithTtl<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Shown {
            value: self.0,
            ttl: true,
        }
        .serialize(serializer)
    }
}

/// Returns bytes in hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

/// Returns the text that stands for a key in a JSON object.
pub fn map_key(key: &Value) -> String {
    if let Value::String(text) = key {
        return text.clone();
    }
    match serde_json::to_value(key) {
        Ok(Json::String(text)) => text,
        Ok(other) => other.to_string(),
        // Values of this module are always JSON; the text only has to be one.
        Err(error) => error.to_string(),
    }
}

impl<'a> Shown<'a> {
    fn of(self, value: &'a Value) -> Self {
        Shown { value, ..self }
    }

    fn all<S: Serializer>(self, values: &'a [Value], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(|value| self.of(value)))
    }

    fn fields<M: SerializeMap>(self, record: &'a Record, map: &mut M) -> Result<(), M::Error> {
        for (name, field) in record.shape.names.iter().zip(&record.fields) {
            map.serialize_entry(name, &self.of(field))?;
        }
        Ok(())
    }
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.value {
            Value::Null => serializer.serialize_unit(),
            Value::Boolean(value) => serializer.serialize_bool(*value),
            Value::Byte(value) => serializer.serialize_i8(*value),
            Value::Short(value) => serializer.serialize_i16(*value),
            Value::Int(value) => serializer.serialize_i32(*value),
            Value::Long(value) => serializer.serialize_i64(*value),
            Value::Float(value) => float(*value, serializer),
            Value::Double(value) => double_json(*value, serializer),
            Value::Char(unit) => units(&[*unit], serializer),
            Value::String(text) => serializer.serialize_str(text),
            Value::Utf16(text) => units(text, serializer),
            Value::Bytes(bytes) => serializer.serialize_str(&hex(bytes)),
            Value::BigInteger(number) => serializer.collect_str(number),
            Value::BigDecimal(number) => serializer.collect_str(number),
            Value::Instant { seconds, nanos } => {
                serializer.serialize_str(&time::instant(*seconds, *nanos))
            }
            Value::LocalDate(date) => serializer.serialize_str(&time::date(*date)),
            Value::LocalTime(of_day) => serializer.serialize_str(&time::time(*of_day)),
            Value::LocalDateTime(date, of_day) => {
                serializer.serialize_str(&format!("{}T{}", time::date(*date), time::time(*of_day)))
            }
            Value::Date(millis) => serializer.serialize_str(&time::instant_of_millis(*millis)),
            Value::Timestamp { millis, nanos } => {
                // The nanoseconds are of the second that the milliseconds lie in.
                serializer.serialize_str(&time::instant(millis.div_euclid(1000), *nanos))
            }
            Value::Array(array) => primitive_array(array, serializer),
            Value::List(values) | Value::Set(values) | Value::Tuple(values) => {
                self.all(values, serializer)
            }
            Value::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(&map_key(key), &self.of(value))?;
                }
                map.end()
            }
            Value::Row { kind: 0, fields } => self.all(fields, serializer),
            Value::Row { kind, fields } => {
                let mut map = serializer.serialize_map(Some(2))?;
                map.serialize_entry("kind", ROW_KINDS[usize::from(*kind & 3)])?;
                map.serialize_key("fields")?;
                map.serialize_value(&Fields(*self, fields))?;
                map.end()
            }
            Value::Left(value) | Value::Right(value) => {
                let side = match self.value {
                    Value::Left(_) => "left",
                    _ => "right",
                };
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry(side, &self.of(value))?;
                map.end()
            }
            Value::Record(record) => {
                let mut map = serializer.serialize_map(Some(record.fields.len()))?;
                self.fields(record, &mut map)?;
                map.end()
            }
            Value::Subclass(subclass) => {
                let mut map = serializer.serialize_map(None)?;
                map.serialize_entry(CLASS, &subclass.class)?;
                match &subclass.value {
                    Value::Record(record) => self.fields(record, &mut map)?,
                    value => map.serialize_entry(OF_CLASS, &self.of(value))?,
                }
                map.end()
            }
            value @ Value::Enum { index, .. } => match value.constant() {
                Some(name) => serializer.serialize_str(name),
                None => Err(S::Error::custom(format!("constant {index} of an enum"))),
            },
            Value::Union { value, .. } => self.of(value).serialize(serializer),
            Value::Ttl { last_access, value } if self.ttl => {
                let mut map = serializer.serialize_map(Some(2))?;
                map.serialize_entry("value", &self.of(value))?;
                map.serialize_entry("last_access", last_access)?;
                map.end()
            }
            Value::Ttl { value, .. } => self.of(value).serialize(serializer),
            Value::Timer {
                timestamp,
                key,
                namespace,
            } => {
                let mut row = serializer.serialize_seq(None)?;
                row.serialize_element(&self.of(key))?;
                if !namespace.is_null() {
                    row.serialize_element(&self.of(namespace))?;
                }
                row.serialize_element(timestamp)?;
                row.end()
            }
            Value::StreamRecord { timestamp, value } => {
                let mut map = serializer.serialize_map(Some(2))?;
                map.serialize_entry("value", &self.of(value))?;
                map.serialize_entry("timestamp", timestamp)?;
                map.end()
            }
            Value::TimeWindow { start, end } => serializer.collect_seq([start, end]),
            Value::GlobalWindow => serializer.serialize_str("global"),
            Value::Opaque {
                serializer: known,
                bytes,
            } => {
                let mut map = serializer.serialize_map(Some(2))?;
                map.serialize_entry("opaque", &**known)?;
                map.serialize_entry("hex", &hex(bytes))?;
                map.end()
            }
        }
    }
}

/// The fields of a row, within an object.
struct Fields<'a>(Shown<'a>, &'a [Value]);

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.all(self.1, serializer)
    }
}

fn no_number(value: f64) -> Option<&'static str> {
    match value {
        _ if value.is_nan() => Some("NaN"),
        f64::INFINITY => Some("Infinity"),
        f64::NEG_INFINITY => Some("-Infinity"),
        _ => None,
    }
}

fn float<S: Serializer>(value: f32, serializer: S) -> Result<S::Ok, S::Error> {
    match no_number(value.into()) {
        Some(word) => serializer.serialize_str(word),
        None => serializer.serialize_f32(value),
    }
}

fn double_json<S: Serializer>(value: f64, serializer: S) -> Result<S::Ok, S::Error> {
    match no_number(value) {
        Some(word) => serializer.serialize_str(word),
        None => serializer.serialize_f64(value),
    }
}

fn units<S: Serializer>(units: &[u16], serializer: S) -> Result<S::Ok, S::Error> {
    if let Ok(text) = String::from_utf16(units) {
        return serializer.serialize_str(&text);
    }
    let digits: Vec<String> = units.iter().map(|unit| format!("{unit:04x}")).collect();
    let mut map = serializer.serialize_map(Some(1))?;
    map.serialize_entry("utf16", &digits.join(" "))?;
    map.end()
}

fn primitive_array<S: Serializer>(
    array: &PrimitiveArray,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match array {
        PrimitiveArray::Boolean(items) => serializer.collect_seq(items),
        PrimitiveArray::Short(items) => serializer.collect_seq(items),
        PrimitiveArray::Char(text) => units(text, serializer),
        PrimitiveArray::Int(items) => serializer.collect_seq(items),
        PrimitiveArray::Long(items) => serializer.collect_seq(items),
        PrimitiveArray::Float(items) => {
            serializer.collect_seq(items.iter().map(|item| Value::Float(*item)))
        }
        PrimitiveArray::Double(items) => {
            serializer.collect_seq(items.iter().map(|item| Value::Double(*item)))
        }
    }
}

// From JSON.

/// Says in which part something was wrong.
#[cold]
pub(super) fn inside(part: &str, error: Error) -> Error {
    match error.into_kind() {
        crate::ErrorKind::Incompatible { reason } => {
            Error::incompatible(format!("in \"{part}\": {reason}"))
        }
        crate::ErrorKind::Unsupported { what } => {
            Error::unsupported(format!("in \"{part}\": {what}"))
        }
        crate::ErrorKind::Corrupt {
            offset,
            expected,
            found,
        } => Error::corrupt(offset, expected, found),
    }
}

pub(super) fn double(json: &Json) -> Option<f64> {
    match json.as_str() {
        Some("NaN") => Some(f64::NAN),
        Some("Infinity") => Some(f64::INFINITY),
        Some("-Infinity") => Some(f64::NEG_INFINITY),
        Some(_) => None,
        None => json.as_f64(),
    }
}

pub(super) fn bytes(json: &Json) -> Option<Vec<u8>> {
    let digits = json.as_str()?.as_bytes();
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let byte = |pair: &[u8]| Some((digit(pair[0])? << 4 | digit(pair[1])?) as u8);
    let pairs = digits.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    pairs.map(byte).collect()
}

pub(super) fn constant(declared: &Arc<EnumShape>, json: &Json) -> Option<Value> {
    let name = json.as_str()?;
    let index = declared.constants.iter().position(|known| known == name)?;
    Some(Value::Enum {
        declared: declared.clone(),
        index: index as u32,
    })
}

pub(super) fn only_known(given: &Map<String, Json>, shape: &RecordShape) -> Result<(), Error> {
    let unknown = given
        .keys()
        .find(|name| !shape.names.contains(name) && *name != CLASS);
    match unknown {
        None => Ok(()),
        Some(name) => Err(Error::incompatible(format!(
            "{} has no field \"{name}\"; its fields are: {}",
            shape.class,
            shape.names.join(", ")
        ))),
    }
}

fn utf16(json: &Json) -> Option<Vec<u16>> {
    if let Some(text) = json.as_str() {
        return Some(text.encode_utf16().collect());
    }
    let digits = json.as_object()?.get("utf16")?.as_str()?;
    let unit = |digits| u16::from_str_radix(digits, 16).ok();
    digits.split_whitespace().map(unit).collect()
}

/// A text of units, as whichever of both kinds it is.
fn text_of(units: Vec<u16>) -> Value {
    match String::from_utf16(&units) {
        Ok(text) => Value::String(text),
        Err(_) => Value::Utf16(units),
    }
}

impl ValueCodec {
    /// Makes a value of this serializer from JSON as the module's table shows it.
    ///
    /// Missing fields of objects are null. Values with time-to-live must say `last_access`.
    ///
    /// # Errors
    ///
    /// Incompatible, if the JSON is no such value: the error says where and what was expected.
    pub fn parse_json(&self, json: &Json) -> Result<Value, Error> {
        self.node.parse_json(json, None)
    }

    /// As [`parse_json`](Self::parse_json); values with time-to-live that do not say when they were
    /// used last get `last_access`, in milliseconds since 1970.
    ///
    /// # Errors
    ///
    /// As [`parse_json`](Self::parse_json).
    pub fn parse_json_used_at(&self, json: &Json, last_access: i64) -> Result<Value, Error> {
        self.node.parse_json(json, Some(last_access))
    }

    /// Makes a value from the text that stands for it as a key of a JSON object.
    ///
    /// # Errors
    ///
    /// As [`parse_json`](Self::parse_json).
    pub fn parse_map_key(&self, text: &str) -> Result<Value, Error> {
        self.node.parse_map_key(text)
    }
}

/// Makes a value that a part of a serializer can write.
type ParseJson = fn(&Node, &Json, Option<i64>) -> Result<Value, Error>;

impl Node {
    fn parse_map_key(&self, text: &str) -> Result<Value, Error> {
        let as_text = self.parse_json(&Json::String(text.to_owned()), None);
        match (as_text, serde_json::from_str::<Json>(text)) {
            (Ok(value), _) => Ok(value),
            (Err(_), Ok(json)) => self.parse_json(&json, None),
            (Err(error), Err(_)) => Err(error),
        }
    }

    fn parse_json(&self, json: &Json, used: Option<i64>) -> Result<Value, Error> {
        let wrong = || {
            let mut found = json.to_string();
            if let Some((cut, _)) = found.char_indices().nth(60) {
                found.truncate(cut);
                found.push_str("...");
            }
            let expected = super::words::of_node(self);
            Error::incompatible(format!("expected a value of {expected}, found {found}"))
        };
        let number = || json.as_i64().ok_or_else(wrong);
        let text = || json.as_str().ok_or_else(wrong);
        let array = || json.as_array().ok_or_else(wrong);
        let object = || json.as_object().ok_or_else(wrong);
        let all = |node: &Node, items: &[Json]| {
            let items = items.iter().enumerate();
            let items = items.map(|(index, json)| {
                let value = node.parse_json(json, used);
                value.map_err(|error| inside(&index.to_string(), error))
            });
            items.collect::<Result<Vec<_>, _>>()
        };
        let each = |nodes: &[Node], items: &[Json], parse: ParseJson| {
            if nodes.len() != items.len() {
                return Err(wrong());
            }
            let items = nodes.iter().zip(items).enumerate();
            let items = items.map(|(index, (node, json))| {
                let value = parse(node, json, used);
                value.map_err(|error| inside(&index.to_string(), error))
            });
            items.collect::<Result<Vec<_>, _>>()
        };
        if json.is_null() && self.has_null() {
            return Ok(Value::Null);
        }
        Ok(match self {
            Node::Nothing(_) if json.is_null() => Value::Null,
            Node::Nothing(_) => return Err(wrong()),
            Node::GlobalWindow if json == "global" => Value::GlobalWindow,
            Node::GlobalWindow => return Err(wrong()),
            Node::Tuple0 if array()?.is_empty() => Value::Tuple(Vec::new()),
            Node::Tuple0 => return Err(wrong()),
            Node::Boolean => Value::Boolean(json.as_bool().ok_or_else(wrong)?),
            Node::Byte => Value::Byte(number()?.try_into().map_err(|_| wrong())?),
            Node::Short => Value::Short(number()?.try_into().map_err(|_| wrong())?),
            Node::Int => Value::Int(number()?.try_into().map_err(|_| wrong())?),
            Node::Long => Value::Long(number()?),
            Node::Char => match utf16(json).as_deref() {
                Some([unit]) => Value::Char(*unit),
                Some(_) | None => return Err(wrong()),
            },
            Node::Float => Value::Float(double(json).ok_or_else(wrong)? as f32),
            Node::Double => Value::Double(double(json).ok_or_else(wrong)?),
            Node::Text => text_of(utf16(json).ok_or_else(wrong)?),
            Node::BigInteger => match json.as_i64() {
                Some(number) => Value::BigInteger(BigInteger::from(number)),
                None => Value::BigInteger(BigInteger::parse(text()?)?),
            },
            Node::BigDecimal => {
                let digits = json
                    .as_str()
                    .map_or_else(|| json.to_string(), str::to_owned);
                Value::BigDecimal(Box::new(BigDecimal::parse(&digits)?))
            }
            Node::Instant => {
                let (seconds, nanos) = time::parse_instant(text()?)?;
                Value::Instant { seconds, nanos }
            }
            Node::LocalDate => Value::LocalDate(time::parse_date(text()?)?),
            Node::LocalTime => Value::LocalTime(time::parse_time(text()?)?),
            Node::LocalDateTime => {
                let (date, of_day) = time::parse_date_time(text()?)?;
                Value::LocalDateTime(date, of_day)
            }
            Node::Date => match json.as_i64() {
                Some(millis) => Value::Date(millis),
                None => Value::Date(time::parse_millis(text()?)?),
            },
            Node::Timestamp => {
                let (seconds, nanos) = time::parse_instant(text()?)?;
                let millis = time::millis(seconds, nanos).ok_or_else(wrong)?;
                Value::Timestamp { millis, nanos }
            }
            Node::TimeWindow => match array()?.as_slice() {
                [start, end] => Value::TimeWindow {
                    start: start.as_i64().ok_or_else(wrong)?,
                    end: end.as_i64().ok_or_else(wrong)?,
                },
                _ => return Err(wrong()),
            },
            Node::Bytes => Value::Bytes(bytes(json).ok_or_else(wrong)?),
            Node::Array(primitive) => Value::Array(primitive.parse_json(json).ok_or_else(wrong)?),
            Node::TextArray => {
                let texts = array()?
                    .iter()
                    .map(|json| Node::Text.parse_json(json, used));
                Value::List(texts.collect::<Result<_, _>>()?)
            }
            Node::FlinkValue(_, node) => node.parse_json(json, used)?,
            Node::List(node) => Value::List(all(node, array()?)?),
            Node::Set(node) | Node::GenericArray(node) => {
                let items = array()?.iter();
                let items = items.map(|json| node.parse_json_or_null(json, used));
                let items = items.collect::<Result<_, _>>()?;
                match self {
                    Node::Set(_) => Value::Set(items),
                    _ => Value::List(items),
                }
            }
            Node::Map(pair) => {
                let entries = object()?.iter().map(|(key, json)| {
                    let entry = || {
                        let key = pair.0.parse_map_key(key)?;
                        Ok((key, pair.1.parse_json_or_null(json, used)?))
                    };
                    entry().map_err(|error| inside(key, error))
                });
                Value::Map(entries.collect::<Result<_, _>>()?)
            }
            Node::Tuple(nodes) => Value::Tuple(each(nodes, array()?, Node::parse_json)?),
            Node::Row { has_kind, fields } => match json.as_object() {
                None => Value::Row {
                    kind: 0,
                    fields: each(fields, array()?, Node::parse_json_or_null)?,
                },
                Some(row) => {
                    let kind = row.get("kind").and_then(Json::as_str);
                    let kind = ROW_KINDS.iter().position(|known| Some(*known) == kind);
                    let kind = kind.filter(|kind| *has_kind || *kind == 0);
                    let items = row.get("fields").and_then(Json::as_array);
                    Value::Row {
                        kind: kind.ok_or_else(wrong)? as u8,
                        fields: each(fields, items.ok_or_else(wrong)?, Node::parse_json_or_null)?,
                    }
                }
            },
            Node::Either(pair) => {
                let either = object()?;
                match (either.len(), either.get("left"), either.get("right")) {
                    (1, Some(json), None) => Value::Left(Box::new(pair.0.parse_json(json, used)?)),
                    (1, None, Some(json)) => Value::Right(Box::new(pair.1.parse_json(json, used)?)),
                    _ => return Err(wrong()),
                }
            }
            Node::Nullable { value, .. } => value.parse_json(json, used)?,
            Node::Ttl(node) => {
                let both = json.as_object().filter(|object| object.len() == 2);
                let both = both.and_then(|both| {
                    Some((both.get("value")?, both.get("last_access")?.as_i64()?))
                });
                let (json, last_access) = match (both, used) {
                    (Some(both), _) => both,
                    (None, Some(last_access)) => (json, last_access),
                    (None, None) => {
                        return Err(Error::incompatible(
                            "a value with time-to-live needs {\"value\": ..., \"last_access\": \
                             milliseconds}",
                        ));
                    }
                };
                Value::Ttl {
                    last_access,
                    value: Box::new(node.parse_json(json, used)?),
                }
            }
            Node::Timer(pair) => {
                let (key, namespace, timestamp) = match array()?.as_slice() {
                    [key, timestamp] => (key, &Json::Null, timestamp),
                    [key, namespace, timestamp] => (key, namespace, timestamp),
                    _ => return Err(wrong()),
                };
                Value::Timer {
                    timestamp: timestamp.as_i64().ok_or_else(wrong)?,
                    key: Box::new(pair.0.parse_json(key, used)?),
                    namespace: Box::new(pair.1.parse_json(namespace, used)?),
                }
            }
            Node::StreamRecord(node) => {
                let record = object()?;
                let timestamp = record.get("timestamp").unwrap_or(&Json::Null);
                let timestamp = match timestamp.is_null() {
                    true => None,
                    false => Some(timestamp.as_i64().ok_or_else(wrong)?),
                };
                let value = record.get("value").ok_or_else(wrong)?;
                Value::StreamRecord {
                    timestamp,
                    value: Box::new(node.parse_json(value, used)?),
                }
            }
            Node::Enum(declared) => constant(declared, json).ok_or_else(|| {
                let constants = declared.constants.join(", ");
                Error::incompatible(format!(
                    "{} has the constants {constants}, not {json}",
                    declared.class
                ))
            })?,
            Node::Pojo(pojo) => pojo.parse_json(object()?, used)?,
            Node::Avro(schema) => schema.parse_json(json)?,
            Node::Opaque(serializer) => {
                let what = format!("values of {serializer} from JSON");
                return Err(Error::unsupported(what));
            }
        })
    }

    /// Whether null is a value of this serializer, with bytes of its own.
    fn has_null(&self) -> bool {
        match self {
            Node::Text
            | Node::BigInteger
            | Node::BigDecimal
            | Node::Instant
            | Node::LocalDate
            | Node::LocalTime
            | Node::LocalDateTime
            | Node::Date
            | Node::Timestamp
            | Node::Nullable { .. }
            | Node::Pojo(_) => true,
            Node::FlinkValue(_, node) => node.has_null(),
            _ => false,
        }
    }

    /// Where a flag tells null, it is allowed whatever the serializer.
    fn parse_json_or_null(&self, json: &Json, used: Option<i64>) -> Result<Value, Error> {
        match json {
            Json::Null => Ok(Value::Null),
            json => self.parse_json(json, used),
        }
    }
}

impl PojoNode {
    fn parse_json(&self, given: &Map<String, Json>, used: Option<i64>) -> Result<Value, Error> {
        let subclass = |class: &str| {
            let registered = self.registered.iter().enumerate();
            let registered = registered.map(|(index, entry)| (Some(index as u8), entry));
            registered
                .chain(self.other.iter().map(|entry| (None, entry)))
                .find(|(_, (name, _))| name == class)
        };
        match given.get(CLASS).and_then(Json::as_str) {
            None => {}
            Some(class) if class == self.shape.class => {}
            Some(class) => {
                let (registered, (_, node)) = subclass(class).ok_or_else(|| {
                    Error::incompatible(format!("{} has no subclass \"{class}\"", self.shape.class))
                })?;
                let value = match given.get(OF_CLASS) {
                    Some(value) => node.parse_json(value, used)?,
                    None => {
                        let mut fields = given.clone();
                        fields.remove(CLASS);
                        node.parse_json(&Json::Object(fields), used)?
                    }
                };
                return Ok(Value::Subclass(Box::new(Subclass {
                    class: class.to_owned(),
                    registered,
                    value,
                })));
            }
        }
        only_known(given, &self.shape)?;
        let mut fields = Vec::with_capacity(self.fields.len());
        for (node, name) in self.fields.iter().zip(&self.shape.names) {
            let field = node.parse_json_or_null(given.get(name).unwrap_or(&Json::Null), used);
            fields.push(field.map_err(|error| inside(name, error))?);
        }
        Ok(Value::Record(Record {
            shape: self.shape.clone(),
            fields,
        }))
    }
}

impl Primitive {
    fn parse_json(self, json: &Json) -> Option<PrimitiveArray> {
        fn all<T>(json: &Json, item: impl Fn(&Json) -> Option<T>) -> Option<Vec<T>> {
            json.as_array()?.iter().map(item).collect()
        }
        let int = |json: &Json| json.as_i64()?.try_into().ok();
        let short = |json: &Json| json.as_i64()?.try_into().ok();
        Some(match self {
            Primitive::Boolean => PrimitiveArray::Boolean(all(json, Json::as_bool)?),
            Primitive::Short => PrimitiveArray::Short(all(json, short)?),
            Primitive::Char => PrimitiveArray::Char(utf16(json)?),
            Primitive::Int => PrimitiveArray::Int(all(json, int)?),
            Primitive::Long => PrimitiveArray::Long(all(json, Json::as_i64)?),
            Primitive::Float => {
                PrimitiveArray::Float(all(json, |json| double(json).map(|value| value as f32))?)
            }
            Primitive::Double => PrimitiveArray::Double(all(json, double)?),
        })
    }
}
