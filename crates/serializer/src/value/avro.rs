//! Avro data as it lies in Flink's state: the fields of the schema in an encoding of Flink's own.
//!
//! | Avro | bytes |
//! | --- | --- |
//! | null | none |
//! | boolean | bool |
//! | int, long, float, double | i32, i64, f32, f64 |
//! | bytes, string | i32 length, bytes (a string in UTF-8) |
//! | fixed | its bytes |
//! | enum, branch of a union | i32 index; then the value of the branch |
//! | array, map | blocks of varint count (low group first, not 0) and items; then 00 |
//! | record | the fields in the order of the schema |
//!
//! Logical types lie, and are shown, as what they are made of.
//!
//! Source: Flink 2.3.0, classes `DataOutputEncoder` and `DataInputDecoder` of `flink-avro`.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value as Json;

use super::{EnumShape, Record, RecordShape, Shape, Value};
use crate::avro_block::{blocks, end_blocks, put_block};
use crate::{ByteReader, ByteWriter, Error};

/// Values nest through named types without end; deeper than this is damage.
const MAX_DEPTH: usize = 200;
/// A shape of more parts is none: records that have each other twice grow without bound.
const MAX_PARTS: usize = 10_000;

/// A schema, its names looked up.
#[derive(Debug)]
pub(super) struct AvroSchema {
    root: AvroNode,
    records: Vec<AvroRecord>,
}

#[derive(Clone, Debug)]
pub(super) enum AvroNode {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Fixed(usize),
    Enum(Arc<EnumShape>),
    Array(Box<AvroNode>),
    Map(Box<AvroNode>),
    Union(Vec<AvroNode>),
    /// An index into [`AvroSchema::records`].
    Record(usize),
}

#[derive(Debug)]
struct AvroRecord {
    shape: Arc<RecordShape>,
    fields: Vec<AvroNode>,
}

impl AvroSchema {
    /// Reads a schema.
    pub(super) fn parse(schema: &str) -> Result<Self, Error> {
        let json: Json = serde_json::from_str(schema)
            .map_err(|error| Error::unsupported(format!("an Avro schema: {error}")))?;
        let mut names = Names::default();
        let root = names.node(&json, "")?;
        let records = names
            .records
            .into_iter()
            .map(|record| record.ok_or_else(|| unknown(&json)))
            .collect::<Result<_, _>>()?;
        Ok(AvroSchema { root, records })
    }

    /// The name of the root: of a record, or of a type.
    pub(super) fn name(&self) -> &str {
        self.name_of(&self.root)
    }

    fn name_of<'a>(&'a self, node: &'a AvroNode) -> &'a str {
        match node {
            AvroNode::Record(index) => &self.records[*index].shape.class,
            AvroNode::Enum(declared) => &declared.class,
            AvroNode::Null => "null",
            AvroNode::Boolean => "boolean",
            AvroNode::Int => "int",
            AvroNode::Long => "long",
            AvroNode::Float => "float",
            AvroNode::Double => "double",
            AvroNode::Bytes => "bytes",
            AvroNode::String => "string",
            AvroNode::Fixed(_) => "fixed",
            AvroNode::Array(_) => "array",
            AvroNode::Map(_) => "map",
            AvroNode::Union(_) => "union",
        }
    }

    /// Returns the shape of the data; `None`, if it nests without end.
    pub(super) fn shape(&self) -> Option<Shape> {
        self.shape_of(&self.root, 0, &mut 0)
    }

    fn shape_of(&self, node: &AvroNode, depth: usize, parts: &mut usize) -> Option<Shape> {
        *parts += 1;
        if depth > MAX_DEPTH || *parts > MAX_PARTS {
            return None;
        }
        let mut of = |node: &AvroNode| self.shape_of(node, depth + 1, parts);
        Some(match node {
            AvroNode::Null => Shape::Nothing,
            AvroNode::Boolean => Shape::Boolean,
            AvroNode::Int => Shape::Int,
            AvroNode::Long => Shape::Long,
            AvroNode::Float => Shape::Float,
            AvroNode::Double => Shape::Double,
            AvroNode::Bytes | AvroNode::Fixed(_) => Shape::Bytes,
            AvroNode::String | AvroNode::Enum(_) => Shape::Text,
            AvroNode::Array(item) => Shape::List(Box::new(of(item)?)),
            AvroNode::Map(value) => Shape::Map(Box::new((Shape::Text, of(value)?))),
            AvroNode::Union(branches) => match branches.as_slice() {
                [AvroNode::Null, other] | [other, AvroNode::Null] => of(other)?,
                _ => Shape::Any,
            },
            AvroNode::Record(index) => {
                let record = &self.records[*index];
                let fields = record.shape.names.iter().zip(&record.fields);
                let fields = fields.map(|(name, node)| Some((name.clone(), of(node)?)));
                Shape::Record(fields.collect::<Option<_>>()?)
            }
        })
    }

    pub(super) fn decode(&self, input: &mut ByteReader<'_>) -> Result<Value, Error> {
        self.decode_node(&self.root, input, 0)
    }

    fn decode_node(
        &self,
        node: &AvroNode,
        input: &mut ByteReader<'_>,
        depth: usize,
    ) -> Result<Value, Error> {
        if depth > MAX_DEPTH {
            return Err(input.corrupt(format!("at most {MAX_DEPTH} nested values"), "more"));
        }
        Ok(match node {
            AvroNode::Null => Value::Null,
            AvroNode::Boolean => Value::Boolean(input.bool()?),
            AvroNode::Int => Value::Int(input.i32()?),
            AvroNode::Long => Value::Long(input.i64()?),
            AvroNode::Float => Value::Float(input.f32()?),
            AvroNode::Double => Value::Double(input.f64()?),
            AvroNode::Bytes => Value::Bytes(input.bytes()?.to_vec()),
            AvroNode::String => Value::String(text(input)?),
            AvroNode::Fixed(length) => Value::Bytes(input.take(*length)?.to_vec()),
            AvroNode::Enum(declared) => {
                let index = self.index(input, declared.constants.len(), &declared.class)?;
                Value::Enum {
                    declared: declared.clone(),
                    index,
                }
            }
            AvroNode::Array(item) => {
                let mut items = Vec::new();
                blocks(input, |input| {
                    items.push(self.decode_node(item, input, depth + 1)?);
                    Ok(())
                })?;
                Value::List(items)
            }
            AvroNode::Map(value) => {
                let mut entries = Vec::new();
                blocks(input, |input| {
                    let key = Value::String(text(input)?);
                    entries.push((key, self.decode_node(value, input, depth + 1)?));
                    Ok(())
                })?;
                Value::Map(entries)
            }
            AvroNode::Union(branches) => {
                let branch = self.index(input, branches.len(), "a union")?;
                let node = &branches[branch as usize];
                Value::Union {
                    branch,
                    value: Box::new(self.decode_node(node, input, depth + 1)?),
                }
            }
            AvroNode::Record(index) => {
                let record = &self.records[*index];
                let mut fields = Vec::with_capacity(record.fields.len());
                for field in &record.fields {
                    fields.push(self.decode_node(field, input, depth + 1)?);
                }
                Value::Record(Record {
                    shape: record.shape.clone(),
                    fields,
                })
            }
        })
    }

    fn index(&self, input: &mut ByteReader<'_>, count: usize, of: &str) -> Result<u32, Error> {
        let at = input.offset();
        let index = input.i32()?;
        u32::try_from(index)
            .ok()
            .filter(|index| (*index as usize) < count)
            .ok_or_else(|| Error::corrupt(at, format!("one of {count} of {of}"), index.to_string()))
    }

    pub(super) fn encode(&self, value: &Value, out: &mut Vec<u8>) -> Result<(), Error> {
        self.encode_node(&self.root, value, out)
    }

    fn encode_node(&self, node: &AvroNode, value: &Value, out: &mut Vec<u8>) -> Result<(), Error> {
        match (node, value) {
            (AvroNode::Null, Value::Null) => {}
            (AvroNode::Boolean, Value::Boolean(value)) => out.put_bool(*value),
            (AvroNode::Int, Value::Int(value)) => out.put_i32(*value),
            (AvroNode::Long, Value::Long(value)) => out.put_i64(*value),
            (AvroNode::Float, Value::Float(value)) => out.put(&value.to_bits().to_be_bytes()),
            (AvroNode::Double, Value::Double(value)) => out.put(&value.to_bits().to_be_bytes()),
            (AvroNode::Bytes, Value::Bytes(bytes)) => out.put_bytes(bytes),
            (AvroNode::String, Value::String(text)) => out.put_bytes(text.as_bytes()),
            (AvroNode::Fixed(length), Value::Bytes(bytes)) if bytes.len() == *length => {
                out.put(bytes);
            }
            (AvroNode::Enum(declared), Value::Enum { .. }) => {
                let name = value.constant();
                let constants = &declared.constants;
                let found = constants
                    .iter()
                    .position(|known| Some(known.as_str()) == name);
                out.put_count(found.ok_or_else(|| self.refuses(node, value))?);
            }
            (AvroNode::Array(item), Value::List(items)) => {
                put_block(items.len(), out);
                for value in items {
                    self.encode_node(item, value, out)?;
                }
                end_blocks(items.len(), out);
            }
            (AvroNode::Map(node), Value::Map(entries)) => {
                put_block(entries.len(), out);
                for (key, value) in entries {
                    self.encode_node(&AvroNode::String, key, out)?;
                    self.encode_node(node, value, out)?;
                }
                end_blocks(entries.len(), out);
            }
            (AvroNode::Union(branches), Value::Union { branch, value }) => {
                let node = branches
                    .get(*branch as usize)
                    .ok_or_else(|| self.refuses(node, value))?;
                out.put_i32(*branch as i32);
                self.encode_node(node, value, out)?;
            }
            (AvroNode::Record(index), Value::Record(record)) => {
                let known = &self.records[*index];
                if known.shape.names != record.shape.names {
                    return Err(self.refuses(node, value));
                }
                for (node, field) in known.fields.iter().zip(&record.fields) {
                    self.encode_node(node, field, out)?;
                }
            }
            (node, value) => return Err(self.refuses(node, value)),
        }
        Ok(())
    }

    #[cold]
    fn refuses(&self, node: &AvroNode, value: &Value) -> Error {
        Error::incompatible(format!(
            "expected a value of Avro's {}, found {}",
            self.name_of(node),
            super::words::of_value(value)
        ))
    }

    /// Makes a value of JSON as [`super::json`] shows it.
    pub(super) fn parse_json(&self, json: &Json) -> Result<Value, Error> {
        self.node_of_json(&self.root, json, 0)
    }

    fn node_of_json(&self, node: &AvroNode, json: &Json, depth: usize) -> Result<Value, Error> {
        if depth > MAX_DEPTH {
            return Err(Error::incompatible(format!(
                "more than {MAX_DEPTH} nested values"
            )));
        }
        let wrong = || {
            let expected = self.name_of(node);
            Error::incompatible(format!(
                "expected a value of Avro's {expected}, found {json}"
            ))
        };
        let number = json.as_i64();
        Ok(match node {
            AvroNode::Null if json.is_null() => Value::Null,
            AvroNode::Null => return Err(wrong()),
            AvroNode::Boolean => Value::Boolean(json.as_bool().ok_or_else(wrong)?),
            AvroNode::Int => {
                let number = number.and_then(|number| i32::try_from(number).ok());
                Value::Int(number.ok_or_else(wrong)?)
            }
            AvroNode::Long => Value::Long(number.ok_or_else(wrong)?),
            AvroNode::Float => Value::Float(super::json::double(json).ok_or_else(wrong)? as f32),
            AvroNode::Double => Value::Double(super::json::double(json).ok_or_else(wrong)?),
            AvroNode::Bytes => Value::Bytes(super::json::bytes(json).ok_or_else(wrong)?),
            AvroNode::String => Value::String(json.as_str().ok_or_else(wrong)?.to_owned()),
            AvroNode::Fixed(length) => {
                let bytes = super::json::bytes(json).filter(|bytes| bytes.len() == *length);
                Value::Bytes(bytes.ok_or_else(wrong)?)
            }
            AvroNode::Enum(declared) => super::json::constant(declared, json).ok_or_else(wrong)?,
            AvroNode::Array(item) => {
                let items = json.as_array().ok_or_else(wrong)?.iter();
                let items = items.map(|json| self.node_of_json(item, json, depth + 1));
                Value::List(items.collect::<Result<_, _>>()?)
            }
            AvroNode::Map(node) => {
                let entries = json.as_object().ok_or_else(wrong)?.iter();
                let entries = entries.map(|(key, json)| {
                    let value = self.node_of_json(node, json, depth + 1)?;
                    Ok((Value::String(key.clone()), value))
                });
                Value::Map(entries.collect::<Result<_, Error>>()?)
            }
            AvroNode::Union(branches) => {
                let fits = |(branch, node): (usize, &AvroNode)| {
                    let value = self.node_of_json(node, json, depth + 1).ok()?;
                    Some(Value::Union {
                        branch: branch as u32,
                        value: Box::new(value),
                    })
                };
                branches
                    .iter()
                    .enumerate()
                    .find_map(fits)
                    .ok_or_else(wrong)?
            }
            AvroNode::Record(index) => {
                let record = &self.records[*index];
                let given = json.as_object().ok_or_else(wrong)?;
                super::json::only_known(given, &record.shape)?;
                let mut fields = Vec::with_capacity(record.fields.len());
                for (node, name) in record.fields.iter().zip(&record.shape.names) {
                    let json = given.get(name).unwrap_or(&Json::Null);
                    let field = self.node_of_json(node, json, depth + 1);
                    fields.push(field.map_err(|error| super::json::inside(name, error))?);
                }
                Value::Record(Record {
                    shape: record.shape.clone(),
                    fields,
                })
            }
        })
    }
}

fn text(input: &mut ByteReader<'_>) -> Result<String, Error> {
    let at = input.offset();
    let bytes = input.bytes()?.to_vec();
    String::from_utf8(bytes).map_err(|_| Error::corrupt(at, "a text in UTF-8", "other bytes"))
}

#[derive(Default)]
struct Names {
    known: HashMap<String, AvroNode>,
    /// `None` while the fields are being read: they may name the record itself.
    records: Vec<Option<AvroRecord>>,
}

#[cold]
fn unknown(json: &Json) -> Error {
    Error::unsupported(format!("Avro's schema {json}"))
}

impl Names {
    fn node(&mut self, json: &Json, namespace: &str) -> Result<AvroNode, Error> {
        match json {
            Json::String(name) => self.named(name, namespace),
            Json::Array(branches) => {
                let branches = branches.iter().map(|branch| self.node(branch, namespace));
                Ok(AvroNode::Union(branches.collect::<Result<_, _>>()?))
            }
            Json::Object(object) => {
                let kind = object.get("type").ok_or_else(|| unknown(json))?;
                let part = |name: &str| object.get(name).ok_or_else(|| unknown(json));
                match kind.as_str() {
                    Some("record" | "error") => self.record(json, namespace),
                    Some("enum") => {
                        let (full_name, _) = full_name(json, namespace)?;
                        let symbols = part("symbols")?.as_array().ok_or_else(|| unknown(json))?;
                        let names = symbols.iter().map(|name| name.as_str().map(str::to_owned));
                        let node = AvroNode::Enum(Arc::new(EnumShape {
                            class: full_name.clone(),
                            constants: names.collect::<Option<_>>().ok_or_else(|| unknown(json))?,
                        }));
                        self.known.insert(full_name, node.clone());
                        Ok(node)
                    }
                    Some("fixed") => {
                        let (full_name, _) = full_name(json, namespace)?;
                        let size = part("size")?.as_u64();
                        let size = size.and_then(|size| usize::try_from(size).ok());
                        let node = AvroNode::Fixed(size.ok_or_else(|| unknown(json))?);
                        self.known.insert(full_name, node.clone());
                        Ok(node)
                    }
                    Some("array") => {
                        let item = self.node(part("items")?, namespace)?;
                        Ok(AvroNode::Array(Box::new(item)))
                    }
                    Some("map") => {
                        let value = self.node(part("values")?, namespace)?;
                        Ok(AvroNode::Map(Box::new(value)))
                    }
                    // {"type": "long", "logicalType": ...}, or a type around another.
                    _ => self.node(kind, namespace),
                }
            }
            _ => Err(unknown(json)),
        }
    }

    fn named(&self, name: &str, namespace: &str) -> Result<AvroNode, Error> {
        Ok(match name {
            "null" => AvroNode::Null,
            "boolean" => AvroNode::Boolean,
            "int" => AvroNode::Int,
            "long" => AvroNode::Long,
            "float" => AvroNode::Float,
            "double" => AvroNode::Double,
            "bytes" => AvroNode::Bytes,
            "string" => AvroNode::String,
            _ => {
                let qualified = match name.contains('.') || namespace.is_empty() {
                    true => name.to_owned(),
                    false => format!("{namespace}.{name}"),
                };
                let found = self.known.get(&qualified).or_else(|| self.known.get(name));
                let unknown = || Error::unsupported(format!("Avro's type \"{name}\""));
                found.ok_or_else(unknown)?.clone()
            }
        })
    }

    fn record(&mut self, json: &Json, namespace: &str) -> Result<AvroNode, Error> {
        let (full_name, namespace) = full_name(json, namespace)?;
        let index = self.records.len();
        self.records.push(None);
        self.known
            .insert(full_name.clone(), AvroNode::Record(index));
        let declared = json.get("fields").and_then(Json::as_array);
        let (mut names, mut fields) = (Vec::new(), Vec::new());
        for field in declared.ok_or_else(|| unknown(json))? {
            let name = field.get("name").and_then(Json::as_str);
            names.push(name.ok_or_else(|| unknown(field))?.to_owned());
            let node = field.get("type").ok_or_else(|| unknown(field))?;
            fields.push(self.node(node, &namespace)?);
        }
        let shape = Arc::new(RecordShape {
            class: full_name,
            names,
        });
        self.records[index] = Some(AvroRecord { shape, fields });
        Ok(AvroNode::Record(index))
    }
}

/// The full name of a named type, and the namespace of what is inside.
fn full_name(json: &Json, outside: &str) -> Result<(String, String), Error> {
    let name = json.get("name").and_then(Json::as_str);
    let name = name.ok_or_else(|| unknown(json))?;
    if let Some((namespace, _)) = name.rsplit_once('.') {
        return Ok((name.to_owned(), namespace.to_owned()));
    }
    let namespace = json.get("namespace").and_then(Json::as_str);
    let namespace = namespace.unwrap_or(outside);
    let full = match namespace.is_empty() {
        true => name.to_owned(),
        false => format!("{namespace}.{name}"),
    };
    Ok((full, namespace.to_owned()))
}
