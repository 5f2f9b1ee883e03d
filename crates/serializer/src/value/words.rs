//! Types in words, as people read them: `map(string,long)`, `tuple(string,long)`, `pojo(Person)`.

use super::codec::{Node, Primitive};
use super::{PrimitiveArray, Value};
use crate::{SerializerSnapshot, ValueCodec};

impl SerializerSnapshot {
    /// Returns the type of the values in words: `tuple(string,long)`, `pojo(com.acme.Cart)`.
    ///
    /// Time-to-live is not told: the type is that of the user's values.
    pub fn type_words(&self) -> String {
        of_node(&ValueCodec::new(self).node)
    }
}

pub(super) fn of_node(node: &Node) -> String {
    let many = |nodes: &[Node]| nodes.iter().map(of_node).collect::<Vec<_>>().join(",");
    match node {
        Node::Nothing(_) => "void".to_owned(),
        Node::GlobalWindow => "global-window".to_owned(),
        Node::TimeWindow => "window".to_owned(),
        Node::Tuple0 => "tuple()".to_owned(),
        Node::Boolean => "boolean".to_owned(),
        Node::Byte => "byte".to_owned(),
        Node::Short => "short".to_owned(),
        Node::Int => "int".to_owned(),
        Node::Long => "long".to_owned(),
        Node::Char => "char".to_owned(),
        Node::Float => "float".to_owned(),
        Node::Double => "double".to_owned(),
        Node::Text => "string".to_owned(),
        Node::BigInteger => "biginteger".to_owned(),
        Node::BigDecimal => "bigdecimal".to_owned(),
        Node::Instant => "instant".to_owned(),
        Node::LocalDate => "localdate".to_owned(),
        Node::LocalTime => "localtime".to_owned(),
        Node::LocalDateTime => "localdatetime".to_owned(),
        Node::Date => "date".to_owned(),
        Node::Timestamp => "timestamp".to_owned(),
        Node::Bytes => "bytes".to_owned(),
        Node::Array(primitive) => {
            let of = match primitive {
                Primitive::Boolean => "boolean",
                Primitive::Short => "short",
                Primitive::Char => "char",
                Primitive::Int => "int",
                Primitive::Long => "long",
                Primitive::Float => "float",
                Primitive::Double => "double",
            };
            format!("array({of})")
        }
        Node::TextArray => "array(string)".to_owned(),
        Node::FlinkValue(_, inner) => of_node(inner),
        Node::List(item) => format!("list({})", of_node(item)),
        Node::Set(item) => format!("set({})", of_node(item)),
        Node::GenericArray(item) => format!("array({})", of_node(item)),
        Node::Map(pair) => format!("map({},{})", of_node(&pair.0), of_node(&pair.1)),
        Node::Tuple(fields) => format!("tuple({})", many(fields)),
        Node::Row { fields, .. } => format!("row({})", many(fields)),
        Node::Either(pair) => format!("either({},{})", of_node(&pair.0), of_node(&pair.1)),
        Node::Nullable { value, .. } => format!("nullable({})", of_node(value)),
        Node::Ttl(value) => of_node(value),
        Node::StreamRecord(value) => format!("record({})", of_node(value)),
        Node::Timer(pair) => format!("timer({},{})", of_node(&pair.0), of_node(&pair.1)),
        Node::Enum(declared) => format!("enum({})", declared.class),
        Node::Pojo(pojo) => format!("pojo({})", pojo.shape.class),
        Node::Avro(schema) => format!("avro({})", schema.name()),
        Node::Opaque(serializer) => match serializer.split_once(' ') {
            Some((kind, class)) => format!("{}({class})", kind.to_lowercase()),
            None => serializer.to_lowercase(),
        },
    }
}

/// What a value is, without its content.
pub(super) fn of_value(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Boolean(_) => "a boolean",
        Value::Byte(_) => "a byte",
        Value::Short(_) => "a short",
        Value::Int(_) => "an int",
        Value::Long(_) => "a long",
        Value::Char(_) => "a char",
        Value::Float(_) => "a float",
        Value::Double(_) => "a double",
        Value::String(_) | Value::Utf16(_) => "a string",
        Value::Bytes(_) => "bytes",
        Value::BigInteger(_) => "a big integer",
        Value::BigDecimal(_) => "a big decimal",
        Value::Instant { .. } => "an instant",
        Value::LocalDate(_) => "a date without time zone",
        Value::LocalTime(_) => "a time without time zone",
        Value::LocalDateTime(..) => "a date and time without time zone",
        Value::Date(_) => "a date",
        Value::Timestamp { .. } => "a timestamp",
        Value::Array(PrimitiveArray::Boolean(_)) => "an array of booleans",
        Value::Array(PrimitiveArray::Short(_)) => "an array of shorts",
        Value::Array(PrimitiveArray::Char(_)) => "an array of chars",
        Value::Array(PrimitiveArray::Int(_)) => "an array of ints",
        Value::Array(PrimitiveArray::Long(_)) => "an array of longs",
        Value::Array(PrimitiveArray::Float(_)) => "an array of floats",
        Value::Array(PrimitiveArray::Double(_)) => "an array of doubles",
        Value::List(_) => "a list",
        Value::Set(_) => "a set",
        Value::Map(_) => "a map",
        Value::Tuple(_) => "a tuple of another length or type",
        Value::Row { .. } => "a row of another length or kind",
        Value::Left(_) | Value::Right(_) => "an either",
        Value::Record(_) => "a record with other fields",
        Value::Subclass(_) => "an object of an unknown subclass",
        Value::Enum { .. } => "a constant of an enum",
        Value::Union { .. } => "a union",
        Value::Ttl { .. } => "a value with time-to-live",
        Value::Timer { .. } => "a timer",
        Value::StreamRecord { .. } => "a record with its timestamp",
        Value::TimeWindow { .. } => "a time window",
        Value::GlobalWindow => "the global window",
        Value::Opaque { .. } => "opaque bytes",
    }
}
