//! The shape of values: what parts they have, for readers that want columns and not bytes.
//!
//! A serializer that has values of more than one shape (subclasses, unions, values that only
//! Java reads, values that nest without end) has [`Shape::Any`].

use super::avro::AvroSchema;
use super::codec::{Node, Primitive};
use crate::ValueCodec;

/// What the values of a serializer are made of. Each may be null as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Null and nothing else.
    Nothing,
    /// [`Value::Boolean`](crate::Value::Boolean)
    Boolean,
    /// [`Value::Byte`](crate::Value::Byte)
    Byte,
    /// [`Value::Short`](crate::Value::Short)
    Short,
    /// [`Value::Int`](crate::Value::Int)
    Int,
    /// [`Value::Long`](crate::Value::Long)
    Long,
    /// [`Value::Float`](crate::Value::Float)
    Float,
    /// [`Value::Double`](crate::Value::Double)
    Double,
    /// A text: also of UTF-16 units, an enum's constant, a char.
    Text,
    /// A number without bounds.
    BigNumber,
    /// [`Value::Instant`](crate::Value::Instant)
    Instant,
    /// [`Value::LocalDate`](crate::Value::LocalDate)
    LocalDate,
    /// [`Value::LocalTime`](crate::Value::LocalTime)
    LocalTime,
    /// [`Value::LocalDateTime`](crate::Value::LocalDateTime)
    LocalDateTime,
    /// [`Value::Date`](crate::Value::Date)
    Date,
    /// [`Value::Timestamp`](crate::Value::Timestamp)
    Timestamp,
    /// [`Value::Bytes`](crate::Value::Bytes)
    Bytes,
    /// [`Value::TimeWindow`](crate::Value::TimeWindow)
    TimeWindow,
    /// [`Value::GlobalWindow`](crate::Value::GlobalWindow)
    GlobalWindow,
    /// A list, a set or an array: its elements.
    List(Box<Shape>),
    /// A map: its keys and values.
    Map(Box<(Shape, Shape)>),
    /// A tuple: its fields.
    Tuple(Vec<Shape>),
    /// A row: its fields.
    Row(Vec<Shape>),
    /// A POJO or record: its fields with their names.
    Record(Vec<(String, Shape)>),
    /// Left or right.
    Either(Box<(Shape, Shape)>),
    /// A value with the time of its last use.
    Ttl(Box<Shape>),
    /// A record with the time that it had in its stream.
    StreamRecord(Box<Shape>),
    /// A value of no one shape.
    Any,
}

impl ValueCodec {
    /// Returns the shape of all values of this serializer.
    pub fn shape(&self) -> Shape {
        match self.opaque() {
            // One part that is not understood hides where the others are.
            Some(_) => Shape::Any,
            None => of_node(&self.node),
        }
    }
}

fn of_node(node: &Node) -> Shape {
    let boxed = |node: &Node| Box::new(of_node(node));
    let all = |nodes: &[Node]| nodes.iter().map(of_node).collect();
    match node {
        Node::Nothing(_) => Shape::Nothing,
        Node::GlobalWindow => Shape::GlobalWindow,
        Node::Boolean => Shape::Boolean,
        Node::Byte => Shape::Byte,
        Node::Short => Shape::Short,
        Node::Int => Shape::Int,
        Node::Long => Shape::Long,
        Node::Float => Shape::Float,
        Node::Double => Shape::Double,
        Node::Char | Node::Text | Node::Enum(_) | Node::Array(Primitive::Char) => Shape::Text,
        Node::BigInteger | Node::BigDecimal => Shape::BigNumber,
        Node::Instant => Shape::Instant,
        Node::LocalDate => Shape::LocalDate,
        Node::LocalTime => Shape::LocalTime,
        Node::LocalDateTime => Shape::LocalDateTime,
        Node::Date => Shape::Date,
        Node::Timestamp => Shape::Timestamp,
        Node::TimeWindow => Shape::TimeWindow,
        Node::Bytes => Shape::Bytes,
        Node::Array(primitive) => Shape::List(Box::new(match primitive {
            Primitive::Boolean => Shape::Boolean,
            Primitive::Short => Shape::Short,
            Primitive::Int => Shape::Int,
            Primitive::Long => Shape::Long,
            Primitive::Float => Shape::Float,
            Primitive::Double => Shape::Double,
            Primitive::Char => Shape::Text,
        })),
        Node::TextArray => Shape::List(Box::new(Shape::Text)),
        Node::FlinkValue(_, inner) | Node::Nullable { value: inner, .. } => of_node(inner),
        Node::List(item) | Node::Set(item) | Node::GenericArray(item) => Shape::List(boxed(item)),
        Node::Map(pair) => Shape::Map(Box::new((of_node(&pair.0), of_node(&pair.1)))),
        Node::Tuple0 => Shape::Tuple(Vec::new()),
        Node::Tuple(fields) => Shape::Tuple(all(fields)),
        Node::Row { fields, .. } => Shape::Row(all(fields)),
        Node::Either(pair) => Shape::Either(Box::new((of_node(&pair.0), of_node(&pair.1)))),
        Node::Ttl(value) => Shape::Ttl(boxed(value)),
        Node::StreamRecord(value) => Shape::StreamRecord(boxed(value)),
        Node::Pojo(pojo) if pojo.registered.is_empty() && pojo.other.is_empty() => {
            let names = pojo.shape.names.iter().cloned();
            Shape::Record(names.zip(pojo.fields.iter().map(of_node)).collect())
        }
        Node::Avro(schema) => of_avro(schema),
        Node::Pojo(_) | Node::Timer(_) | Node::Opaque(_) => Shape::Any,
    }
}

fn of_avro(schema: &AvroSchema) -> Shape {
    schema.shape().unwrap_or(Shape::Any)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::RecordShape;
    use crate::value::codec::PojoNode;
    use std::sync::Arc;

    fn avro(schema: &str) -> Shape {
        of_avro(&AvroSchema::parse(schema).expect("a schema"))
    }

    #[test]
    fn a_pojo_has_its_fields_unless_it_may_be_a_subclass() {
        let pojo = |other: Vec<(String, Node)>| {
            Node::Pojo(Box::new(PojoNode {
                shape: Arc::new(RecordShape {
                    class: "Cart".to_owned(),
                    names: vec!["total".to_owned(), "names".to_owned()],
                }),
                fields: vec![Node::Long, Node::List(Box::new(Node::Text))],
                registered: Vec::new(),
                other,
            }))
        };
        let fields = vec![
            ("total".to_owned(), Shape::Long),
            ("names".to_owned(), Shape::List(Box::new(Shape::Text))),
        ];
        assert_eq!(of_node(&pojo(Vec::new())), Shape::Record(fields));
        let subclass = vec![("Big".to_owned(), Node::Long)];
        assert_eq!(of_node(&pojo(subclass)), Shape::Any);
    }

    #[test]
    fn an_optional_part_of_avro_has_a_shape_and_other_unions_have_none() {
        let shape = avro(
            r#"{"type": "record", "name": "R", "fields": [
                {"name": "a", "type": ["null", "long"]},
                {"name": "b", "type": ["int", "string"]},
                {"name": "c", "type": {"type": "map", "values": "bytes"}}]}"#,
        );
        let map = Shape::Map(Box::new((Shape::Text, Shape::Bytes)));
        let expected = [("a", Shape::Long), ("b", Shape::Any), ("c", map)];
        let expected = expected.map(|(name, shape)| (name.to_owned(), shape));
        assert_eq!(shape, Shape::Record(expected.to_vec()));
    }

    #[test]
    fn a_schema_that_nests_without_end_or_grows_without_bound_has_no_shape() {
        let endless = r#"{"type": "record", "name": "R", "fields": [
            {"name": "next", "type": ["null", "R"]}]}"#;
        assert_eq!(avro(endless), Shape::Any);
        // Each record has the one before it twice.
        let mut schema = r#"{"type": "record", "name": "R0", "fields": [
            {"name": "a", "type": "int"}]}"#
            .to_owned();
        for depth in 1..40 {
            schema = format!(
                r#"{{"type": "record", "name": "R{depth}", "fields": [
                    {{"name": "a", "type": {schema}}},
                    {{"name": "b", "type": "R{}"}}]}}"#,
                depth - 1
            );
        }
        assert_eq!(avro(&schema), Shape::Any);
    }
}
