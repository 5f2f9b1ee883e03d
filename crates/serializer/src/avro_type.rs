//! Avro records in state: [`Avro<T>`] by serde, with Avro's rules for schemas that have changed.
//!
//! The layout is Flink's own and not Avro's binary encoding:
//!
//! | Avro | bytes |
//! | --- | --- |
//! | null | none |
//! | boolean | bool |
//! | int, date, time-millis | i32 |
//! | long, and all other times | i64 |
//! | float, double | f32, f64 |
//! | bytes, string, decimal on bytes, uuid on string | i32 length, bytes |
//! | fixed, and what lies on it | its bytes |
//! | enum, branch of a union | i32 index; then the value of the branch |
//! | array, map | blocks of varint count (low group first, not 0) and items; then 00 |
//! | record | the fields in the order of the schema |
//!
//! Values are read by the schema of the snapshot and resolved to that of the program: fields with
//! defaults are added, removed ones dropped, numbers promoted, aliases followed.
//!
//! Source: Flink 2.3.0, classes `AvroSerializer`, `AvroSerializerSnapshot`, `DataOutputEncoder` and
//! `DataInputDecoder` of `flink-avro`; Avro 1.12, "Schema Resolution".

use std::collections::HashMap;
use std::fmt;
use std::sync::OnceLock;

use apache_avro::schema::{InnerDecimalSchema, UuidSchema};
use apache_avro::schema_compatibility::{Compatibility as Readable, SchemaCompatibility};
use apache_avro::types::Value;
use apache_avro::{Decimal, Duration, Schema, Uuid};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::avro_block::{blocks, end_blocks, put_block};
use crate::{
    ByteReader, ByteWriter, Compatibility, Error, FlinkType, Incompatibility, Reader,
    SerializerSnapshot, SnapshotBody,
};

/// Values nest through named types without end; deeper than this is damage.
const MAX_DEPTH: usize = 200;

/// An Avro schema as the constant of a type; it is parsed when it is first used.
///
/// # Examples
///
/// ```
/// use millpond_serializer::AvroSchema;
///
/// static SCHEMA: AvroSchema = AvroSchema::new(r#"{"type":"record","name":"P","fields":[]}"#);
/// ```
pub struct AvroSchema {
    text: &'static str,
    parsed: OnceLock<Types>,
}

impl AvroSchema {
    /// Returns the schema that `text` is in JSON.
    pub const fn new(text: &'static str) -> Self {
        AvroSchema {
            text,
            parsed: OnceLock::new(),
        }
    }

    /// The schema, parsed.
    ///
    /// # Panics
    ///
    /// If the text is no schema: it is a constant of the program.
    fn types(&self) -> &Types {
        self.parsed.get_or_init(|| match parse(self.text) {
            Ok(types) => types,
            Err(why) => panic!("an Avro schema of the program is wrong: {why}"),
        })
    }
}

impl fmt::Debug for AvroSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

/// A Rust type that stands for an Avro record, by serde.
pub trait AvroRecord: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// The Java class of the record; for records without one
    /// `org.apache.avro.generic.GenericRecord`.
    const CLASS: &'static str;

    /// The schema.
    fn schema() -> &'static AvroSchema;
}

/// A value that lies in state as Flink's `AvroSerializer` writes it.
///
/// # Examples
///
/// ```
/// use millpond_serializer::{Avro, AvroRecord, AvroSchema, FlinkType};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize, Clone)]
/// struct Reading {
///     sensor: String,
///     value: f64,
/// }
///
/// impl AvroRecord for Reading {
///     const CLASS: &'static str = "com.example.Reading";
///
///     fn schema() -> &'static AvroSchema {
///         static SCHEMA: AvroSchema = AvroSchema::new(
///             r#"{"type":"record","name":"Reading","namespace":"com.example","fields":[
///                 {"name":"sensor","type":"string"},
///                 {"name":"value","type":"double","default":0.0}
///             ]}"#,
///         );
///         &SCHEMA
///     }
/// }
///
/// let mut bytes = Vec::new();
/// Avro(Reading { sensor: "a".to_owned(), value: 1.5 }).write(&mut bytes);
/// assert_eq!(bytes, [0, 0, 0, 1, b'a', 0x3f, 0xf8, 0, 0, 0, 0, 0, 0]);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Avro<T>(pub T);

impl<T: AvroRecord> FlinkType for Avro<T> {
    fn serializer_snapshot() -> SerializerSnapshot {
        SerializerSnapshot::avro(T::CLASS, &compact(T::schema().text))
    }

    fn fixed_length() -> Option<usize> {
        None
    }

    /// # Panics
    ///
    /// If serde makes something else of the value than its schema says: the checkpoint is
    /// declined then.
    fn write(&self, out: &mut Vec<u8>) {
        let types = T::schema().types();
        let value = apache_avro::to_value(&self.0)
            .and_then(|value| value.resolve(&types.root))
            .unwrap_or_else(|error| panic!("a {} is not of its schema: {error}", T::CLASS));
        if let Err(error) = types.encode(&types.root, None, &value, out) {
            panic!("a {} is not of its schema: {error}", T::CLASS);
        }
    }

    fn read(input: &mut ByteReader<'_>) -> Result<Self, Error> {
        let at = input.offset();
        let types = T::schema().types();
        let value = types.decode(&types.root, None, input, 0)?;
        deserialize(at, &value)
    }

    fn converter(previous: &SerializerSnapshot) -> Result<Reader<Self>, Incompatibility> {
        let SnapshotBody::Avro { schema, .. } = &previous.body else {
            return Err(Incompatibility::new(format!("was {}", previous.describe())));
        };
        let written = parse(schema).map_err(Incompatibility::new)?;
        Ok(Reader::converting(move |input| {
            let at = input.offset();
            let value = written.decode(&written.root, None, input, 0)?;
            let resolved = value.resolve(&T::schema().types().root);
            deserialize(at, &resolved.map_err(|error| unfit(at, &error))?)
        }))
    }
}

fn deserialize<T: AvroRecord>(offset: u64, value: &Value) -> Result<Avro<T>, Error> {
    apache_avro::from_value(value)
        .map(Avro)
        .map_err(|error| unfit(offset, &error))
}

#[cold]
fn unfit(offset: u64, error: &apache_avro::Error) -> Error {
    Error::unsupported(format!("the Avro value at offset {offset}: {error}"))
}

fn parse(text: &str) -> Result<Types, String> {
    let root = Schema::parse_str(text);
    let root = root.map_err(|error| format!("its Avro schema cannot be read: {error}"))?;
    let mut names = HashMap::new();
    collect_names(&root, None, &mut names);
    Ok(Types { root, names })
}

/// Notes the records, enums and fixed types below a schema by their full names.
fn collect_names(schema: &Schema, namespace: Option<&str>, names: &mut HashMap<String, Schema>) {
    if let Schema::Ref { .. } = schema {
        return;
    }
    let full_name = schema.name().map(|name| name.fullname(namespace));
    if let Some(full_name) = &full_name {
        names.insert(full_name.clone(), schema.clone());
    }
    if let Schema::Array(array) = schema {
        collect_names(&array.items, namespace, names);
    } else if let Schema::Map(map) = schema {
        collect_names(&map.types, namespace, names);
    } else if let Schema::Union(union) = schema {
        for branch in union.variants() {
            collect_names(branch, namespace, names);
        }
    } else if let (Schema::Record(record), Some(full_name)) = (schema, &full_name) {
        for field in &record.fields {
            collect_names(&field.schema, namespace_of(full_name), names);
        }
    }
}

/// The namespace of a full name.
fn namespace_of(full_name: &str) -> Option<&str> {
    full_name.rsplit_once('.').map(|(namespace, _)| namespace)
}

/// The JSON text without what stands between its tokens, as Java writes it.
fn compact(json: &str) -> String {
    let (mut inside, mut escaped) = (false, false);
    json.chars()
        .filter(|character| {
            if inside {
                inside = escaped || *character != '"';
                escaped = !escaped && *character == '\\';
                return true;
            }
            inside = *character == '"';
            !character.is_whitespace()
        })
        .collect()
}

/// What Avro's rules say about data that the schema `old` wrote.
pub(crate) fn resolve(new: &str, old: &str) -> Compatibility {
    let both = Schema::parse_str(new).and_then(|new| Ok((new, Schema::parse_str(old)?)));
    let (new, old) = match both {
        Ok(both) => both,
        Err(error) => {
            let reason = format!("an Avro schema cannot be read: {error}");
            return Compatibility::Incompatible(Incompatibility::new(reason));
        }
    };
    if new == old {
        return Compatibility::AsIs;
    }
    match SchemaCompatibility::can_read(&old, &new) {
        Ok(Readable::Full) => Compatibility::AfterMigration,
        Ok(Readable::Partial) => {
            let reason = "the Avro schema reads only some of what the old one could write";
            Compatibility::Incompatible(Incompatibility::new(reason))
        }
        Err(error) => {
            let reason = format!("the Avro schema cannot read the old one: {error}");
            Compatibility::Incompatible(Incompatibility::new(reason))
        }
    }
}

/// A schema and the types that it names.
struct Types {
    root: Schema,
    /// By their full names.
    names: HashMap<String, Schema>,
}

impl Types {
    /// Calls `then` with the schema behind a name, and the namespace that its parts stand in.
    fn named<R>(
        &self,
        schema: &Schema,
        namespace: Option<&str>,
        then: impl FnOnce(&Schema, Option<&str>) -> R,
    ) -> Option<R> {
        let name = if let Schema::Ref { name } = schema {
            name
        } else if let Schema::Record(record) = schema {
            &record.name
        } else {
            return Some(then(schema, namespace));
        };
        let full_name = name.fullname(namespace);
        let schema = self.names.get(&full_name)?;
        Some(then(schema, namespace_of(&full_name)))
    }

    fn decode(
        &self,
        schema: &Schema,
        namespace: Option<&str>,
        input: &mut ByteReader<'_>,
        depth: usize,
    ) -> Result<Value, Error> {
        if depth > MAX_DEPTH {
            return Err(input.corrupt(format!("at most {MAX_DEPTH} nested values"), "more"));
        }
        let decoded = self.named(schema, namespace, |schema, namespace| {
            self.decode_named(schema, namespace, input, depth)
        });
        decoded.unwrap_or_else(|| Err(Error::unsupported("a name that the Avro schema lacks")))
    }

    fn decode_named(
        &self,
        schema: &Schema,
        namespace: Option<&str>,
        input: &mut ByteReader<'_>,
        depth: usize,
    ) -> Result<Value, Error> {
        Ok(match schema {
            Schema::Null => Value::Null,
            Schema::Boolean => Value::Boolean(input.bool()?),
            Schema::Int => Value::Int(input.i32()?),
            Schema::Date => Value::Date(input.i32()?),
            Schema::TimeMillis => Value::TimeMillis(input.i32()?),
            Schema::Long => Value::Long(input.i64()?),
            Schema::TimeMicros => Value::TimeMicros(input.i64()?),
            Schema::TimestampMillis => Value::TimestampMillis(input.i64()?),
            Schema::TimestampMicros => Value::TimestampMicros(input.i64()?),
            Schema::TimestampNanos => Value::TimestampNanos(input.i64()?),
            Schema::LocalTimestampMillis => Value::LocalTimestampMillis(input.i64()?),
            Schema::LocalTimestampMicros => Value::LocalTimestampMicros(input.i64()?),
            Schema::LocalTimestampNanos => Value::LocalTimestampNanos(input.i64()?),
            Schema::Float => Value::Float(input.f32()?),
            Schema::Double => Value::Double(input.f64()?),
            Schema::Bytes => Value::Bytes(input.bytes()?.to_vec()),
            Schema::String => Value::String(text(input)?),
            Schema::Fixed(fixed) => Value::Fixed(fixed.size, input.take(fixed.size)?.to_vec()),
            Schema::Decimal(decimal) => {
                let bytes = match &decimal.inner {
                    InnerDecimalSchema::Bytes => input.bytes()?,
                    InnerDecimalSchema::Fixed(fixed) => input.take(fixed.size)?,
                };
                Value::Decimal(Decimal::from(bytes))
            }
            Schema::Uuid(uuid) => decode_uuid(uuid, input)?,
            Schema::Duration(_) => {
                let at = input.offset();
                let bytes = <[u8; 12]>::try_from(input.take(12)?);
                let bytes = bytes.map_err(|_| Error::corrupt(at, "12 bytes", "fewer"))?;
                Value::Duration(Duration::from(bytes))
            }
            Schema::Enum(declared) => {
                let index = index(input, declared.symbols.len())?;
                Value::Enum(index as u32, declared.symbols[index].clone())
            }
            Schema::Union(union) => {
                let branch = index(input, union.variants().len())?;
                let schema = &union.variants()[branch];
                let value = self.decode(schema, namespace, input, depth + 1)?;
                Value::Union(branch as u32, Box::new(value))
            }
            Schema::Array(array) => {
                let mut items = Vec::new();
                blocks(input, |input| {
                    items.push(self.decode(&array.items, namespace, input, depth + 1)?);
                    Ok(())
                })?;
                Value::Array(items)
            }
            Schema::Map(map) => {
                let mut entries = HashMap::new();
                blocks(input, |input| {
                    let key = text(input)?;
                    let value = self.decode(&map.types, namespace, input, depth + 1)?;
                    entries.insert(key, value);
                    Ok(())
                })?;
                Value::Map(entries)
            }
            Schema::Record(record) => {
                let mut fields = Vec::with_capacity(record.fields.len());
                for field in &record.fields {
                    let value = self.decode(&field.schema, namespace, input, depth + 1)?;
                    fields.push((field.name.clone(), value));
                }
                Value::Record(fields)
            }
            Schema::BigDecimal | Schema::Ref { .. } => {
                return Err(Error::unsupported("Avro's big-decimal in state"));
            }
        })
    }

    fn encode(
        &self,
        schema: &Schema,
        namespace: Option<&str>,
        value: &Value,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let encoded = self.named(schema, namespace, |schema, namespace| {
            self.encode_named(schema, namespace, value, out)
        });
        encoded.unwrap_or_else(|| Err(Error::unsupported("a name that the Avro schema lacks")))
    }

    fn encode_named(
        &self,
        schema: &Schema,
        namespace: Option<&str>,
        value: &Value,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        match (schema, value) {
            (Schema::Null, Value::Null) => {}
            (Schema::Boolean, Value::Boolean(value)) => out.put_bool(*value),
            (Schema::Int, Value::Int(value))
            | (Schema::Date, Value::Date(value))
            | (Schema::TimeMillis, Value::TimeMillis(value)) => out.put_i32(*value),
            (Schema::Long, Value::Long(value))
            | (Schema::TimeMicros, Value::TimeMicros(value))
            | (Schema::TimestampMillis, Value::TimestampMillis(value))
            | (Schema::TimestampMicros, Value::TimestampMicros(value))
            | (Schema::TimestampNanos, Value::TimestampNanos(value))
            | (Schema::LocalTimestampMillis, Value::LocalTimestampMillis(value))
            | (Schema::LocalTimestampMicros, Value::LocalTimestampMicros(value))
            | (Schema::LocalTimestampNanos, Value::LocalTimestampNanos(value)) => {
                out.put_i64(*value);
            }
            (Schema::Float, Value::Float(value)) => out.put_f32(*value),
            (Schema::Double, Value::Double(value)) => out.put_f64(*value),
            (Schema::Bytes, Value::Bytes(bytes)) => out.put_bytes(bytes),
            (Schema::String, Value::String(text)) => out.put_bytes(text.as_bytes()),
            (Schema::Fixed(fixed), Value::Fixed(_, bytes)) if bytes.len() == fixed.size => {
                out.put(bytes);
            }
            (Schema::Decimal(schema), Value::Decimal(decimal)) => {
                let bytes = Vec::<u8>::try_from(decimal);
                let bytes = bytes.map_err(|error| Error::incompatible(error.to_string()))?;
                match &schema.inner {
                    InnerDecimalSchema::Bytes => out.put_bytes(&bytes),
                    InnerDecimalSchema::Fixed(fixed) if fixed.size == bytes.len() => {
                        out.put(&bytes);
                    }
                    InnerDecimalSchema::Fixed(_) => return Err(refused("fixed", value)),
                }
            }
            (Schema::Uuid(UuidSchema::String), Value::Uuid(uuid)) => {
                out.put_bytes(uuid.to_string().as_bytes());
            }
            (Schema::Uuid(UuidSchema::Bytes), Value::Uuid(uuid)) => out.put_bytes(uuid.as_bytes()),
            (Schema::Uuid(UuidSchema::Fixed(_)), Value::Uuid(uuid)) => out.put(uuid.as_bytes()),
            (Schema::Duration(_), Value::Duration(duration)) => {
                out.put(&<[u8; 12]>::from(*duration));
            }
            (Schema::Enum(declared), Value::Enum(_, symbol)) => {
                let index = declared.symbols.iter().position(|known| known == symbol);
                out.put_count(index.ok_or_else(|| refused("enum", value))?);
            }
            (Schema::Union(union), Value::Union(branch, value)) => {
                let schema = union.variants().get(*branch as usize);
                let schema = schema.ok_or_else(|| refused("union", value))?;
                out.put_i32(*branch as i32);
                self.encode(schema, namespace, value, out)?;
            }
            (Schema::Array(array), Value::Array(items)) => {
                put_block(items.len(), out);
                for item in items {
                    self.encode(&array.items, namespace, item, out)?;
                }
                end_blocks(items.len(), out);
            }
            (Schema::Map(map), Value::Map(entries)) => {
                put_block(entries.len(), out);
                for (key, value) in entries {
                    out.put_bytes(key.as_bytes());
                    self.encode(&map.types, namespace, value, out)?;
                }
                end_blocks(entries.len(), out);
            }
            (Schema::Record(record), Value::Record(fields)) => {
                for (field, (name, value)) in record.fields.iter().zip(fields) {
                    if field.name != *name {
                        return Err(refused(&record.name.fullname(None), value));
                    }
                    self.encode(&field.schema, namespace, value, out)?;
                }
            }
            (_, value) => return Err(refused("its type", value)),
        }
        Ok(())
    }
}

#[cold]
fn refused(expected: &str, found: &Value) -> Error {
    Error::incompatible(format!(
        "expected a value of Avro's {expected}, found {found:?}"
    ))
}

fn decode_uuid(schema: &UuidSchema, input: &mut ByteReader<'_>) -> Result<Value, Error> {
    let at = input.offset();
    let uuid = match schema {
        UuidSchema::String => Uuid::parse_str(&text(input)?),
        UuidSchema::Bytes => Uuid::from_slice(input.bytes()?),
        UuidSchema::Fixed(fixed) => Uuid::from_slice(input.take(fixed.size)?),
    };
    uuid.map(Value::Uuid)
        .map_err(|error| Error::corrupt(at, "a UUID", error.to_string()))
}

fn index(input: &mut ByteReader<'_>, count: usize) -> Result<usize, Error> {
    let at = input.offset();
    let index = input.i32()?;
    match usize::try_from(index) {
        Ok(found) if found < count => Ok(found),
        Ok(_) | Err(_) => Err(Error::corrupt(
            at,
            format!("one of {count}"),
            index.to_string(),
        )),
    }
}

fn text(input: &mut ByteReader<'_>) -> Result<String, Error> {
    let at = input.offset();
    let bytes = input.bytes()?;
    match str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(error) => Err(Error::corrupt(at, "UTF-8", error.to_string())),
    }
}
