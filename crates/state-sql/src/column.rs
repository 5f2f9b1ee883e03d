//! Values as columns: the Arrow type of a shape, and arrays of such values.
//!
//! | shape | Arrow type | as in SQL |
//! | --- | --- | --- |
//! | boolean, byte, short, int, long, float, double | Boolean, Int8 to Int64, Float32, Float64 | `BOOLEAN`, `TINYINT` to `BIGINT`, `REAL`, `DOUBLE` |
//! | text, char, enum | Utf8 | `VARCHAR` |
//! | big integer, big decimal | Utf8 | `VARCHAR`; cast it to a `DECIMAL` that is wide enough |
//! | bytes | Binary | `BYTEA` |
//! | instant, SQL timestamp | Timestamp(ns, UTC) | `TIMESTAMP WITH TIME ZONE` |
//! | date of `java.util` | Timestamp(ms, UTC) | `TIMESTAMP WITH TIME ZONE` |
//! | local date, time, date and time | Date32, Time64(ns), Timestamp(ns) | `DATE`, `TIME`, `TIMESTAMP` |
//! | list, set, array | List | `ARRAY` |
//! | map | Map | `MAP` |
//! | tuple | Struct: `f0`, `f1`, ... | `STRUCT` |
//! | row | Struct: `f0`, `f1`, ..., and `kind` (`+I`, `-U`, `+U`, `-D`) | `STRUCT` |
//! | POJO, record | Struct: its fields | `STRUCT` |
//! | either | Struct: `left`, `right` | `STRUCT` |
//! | record with its timestamp | Struct: `value`, `timestamp` (ms) | `STRUCT` |
//! | time window | Struct: `start`, `end` (ms) | `STRUCT` |
//! | time-to-live | the value | |
//! | anything else | Utf8: its JSON | `VARCHAR` |
//!
//! Points in time outside of what the Arrow type can hold and print are refused, not changed.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a column takes one kind of value, and refuses all others alike"
)]

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Float32Builder, Float64Builder,
    Int8Builder, Int16Builder, Int32Builder, Int64Builder, ListArray, MapArray, StringBuilder,
    StructArray, Time64NanosecondBuilder, TimestampMillisecondBuilder, TimestampNanosecondBuilder,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields, TimeUnit};
use datafusion::arrow::error::ArrowError;
use millpond_serializer::value::{LocalDate, PrimitiveArray};
use millpond_serializer::{Shape, Value, map_key};

const UTC: &str = "UTC";
const NANOS_OF_SECOND: i64 = 1_000_000_000;
/// About 260,000 years: farther away, no calendar of the libraries below prints a date.
const MOST_MILLIS: i64 = 8_200_000_000_000_000;
const MOST_YEARS: i32 = 260_000;
const ROW_KINDS: [&str; 4] = ["+I", "-U", "+U", "-D"];

/// Why a value has no place in a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unfit(pub(crate) String);

impl Unfit {
    fn range(value: &Value) -> Self {
        Unfit(format!(
            "{} is outside of the range of SQL's dates and times; leave the column out, or read \
             it with \"millpond state read\"",
            map_key(value)
        ))
    }

    fn shape(value: &Value) -> Self {
        Unfit(format!("a value of another type: {}", map_key(value)))
    }

    fn size() -> Self {
        Unfit("more than 2 GiB of values at once".to_owned())
    }
}

/// Returns the Arrow type of values of a shape.
pub(crate) fn data_type(shape: &Shape) -> DataType {
    let utc = || Some(Arc::from(UTC));
    match shape {
        Shape::Boolean => DataType::Boolean,
        Shape::Byte => DataType::Int8,
        Shape::Short => DataType::Int16,
        Shape::Int => DataType::Int32,
        Shape::Long => DataType::Int64,
        Shape::Float => DataType::Float32,
        Shape::Double => DataType::Float64,
        Shape::Bytes => DataType::Binary,
        Shape::Instant | Shape::Timestamp => DataType::Timestamp(TimeUnit::Nanosecond, utc()),
        Shape::Date => DataType::Timestamp(TimeUnit::Millisecond, utc()),
        Shape::LocalDateTime => DataType::Timestamp(TimeUnit::Nanosecond, None),
        Shape::LocalDate => DataType::Date32,
        Shape::LocalTime => DataType::Time64(TimeUnit::Nanosecond),
        Shape::List(item) => DataType::List(item_field(item)),
        Shape::Map(pair) => DataType::Map(entries_field(pair), false),
        Shape::Ttl(value) => data_type(value),
        Shape::Text
        | Shape::BigNumber
        | Shape::GlobalWindow
        | Shape::Nothing
        | Shape::Any
        | Shape::Tuple(_)
        | Shape::Row(_)
        | Shape::Record(_)
        | Shape::Either(_)
        | Shape::StreamRecord(_)
        | Shape::TimeWindow => match fields_of(shape) {
            None => DataType::Utf8,
            Some(fields) => DataType::Struct(struct_fields(&fields)),
        },
    }
}

fn item_field(item: &Shape) -> FieldRef {
    Arc::new(Field::new("item", data_type(item), true))
}

fn entries_field(pair: &(Shape, Shape)) -> FieldRef {
    let entries = DataType::Struct(map_fields(pair));
    Arc::new(Field::new("entries", entries, false))
}

fn map_fields(pair: &(Shape, Shape)) -> Fields {
    Fields::from(vec![
        Field::new("key", data_type(&pair.0), false),
        Field::new("value", data_type(&pair.1), true),
    ])
}

fn struct_fields(fields: &[(String, Shape)]) -> Fields {
    let fields = fields
        .iter()
        .map(|(name, shape)| Field::new(name, data_type(shape), true));
    fields.collect()
}

/// The fields of what is a struct; `None` for other shapes, and for a struct of nothing.
fn fields_of(shape: &Shape) -> Option<Vec<(String, Shape)>> {
    let numbered = |shapes: &[Shape]| -> Vec<(String, Shape)> {
        let names = (0..).map(|index| format!("f{index}"));
        names.zip(shapes.iter().cloned()).collect()
    };
    let named = |fields: [(&str, Shape); 2]| {
        let fields = fields.map(|(name, shape)| (name.to_owned(), shape));
        Vec::from(fields)
    };
    let fields = match shape {
        Shape::Tuple(fields) => numbered(fields),
        Shape::Row(fields) => {
            let mut fields = numbered(fields);
            fields.push(("kind".to_owned(), Shape::Text));
            fields
        }
        Shape::Record(fields) => fields.clone(),
        Shape::Either(pair) => named([("left", pair.0.clone()), ("right", pair.1.clone())]),
        Shape::StreamRecord(value) => {
            named([("value", (**value).clone()), ("timestamp", Shape::Long)])
        }
        Shape::TimeWindow => named([("start", Shape::Long), ("end", Shape::Long)]),
        Shape::Nothing
        | Shape::Boolean
        | Shape::Byte
        | Shape::Short
        | Shape::Int
        | Shape::Long
        | Shape::Float
        | Shape::Double
        | Shape::Text
        | Shape::BigNumber
        | Shape::Instant
        | Shape::LocalDate
        | Shape::LocalTime
        | Shape::LocalDateTime
        | Shape::Date
        | Shape::Timestamp
        | Shape::Bytes
        | Shape::GlobalWindow
        | Shape::List(_)
        | Shape::Map(_)
        | Shape::Ttl(_)
        | Shape::Any => return None,
    };
    (!fields.is_empty()).then_some(fields)
}

/// An array that is being made of values of one shape.
pub(crate) enum Column {
    Boolean(BooleanBuilder),
    Int8(Int8Builder),
    Int16(Int16Builder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    Binary(BinaryBuilder),
    Nanos(TimestampNanosecondBuilder),
    Millis(TimestampMillisecondBuilder),
    Date(Date32Builder),
    Time(Time64NanosecondBuilder),
    /// A text as it is; anything else as JSON shows it, strings bare.
    Text(StringBuilder),
    /// Values of no one shape, as JSON.
    Json(StringBuilder),
    List(Nested, FieldRef, Box<Column>),
    Map(Nested, FieldRef, Box<(Column, Column)>),
    Struct(Vec<bool>, Fields, Vec<Column>),
}

/// Where the items of each list or map end, and which of them are there.
pub(crate) struct Nested {
    ends: Vec<i32>,
    valid: Vec<bool>,
}

impl Nested {
    fn new() -> Self {
        Nested {
            ends: vec![0],
            valid: Vec::new(),
        }
    }

    fn last(&self) -> i32 {
        self.ends.last().copied().unwrap_or(0)
    }

    fn end(&mut self, items: usize) -> Result<(), Unfit> {
        let items = i32::try_from(items).ok();
        let end = items.and_then(|items| self.last().checked_add(items));
        self.ends.push(end.ok_or_else(Unfit::size)?);
        self.valid.push(true);
        Ok(())
    }

    fn end_null(&mut self) {
        self.ends.push(self.last());
        self.valid.push(false);
    }

    fn finish(&mut self) -> (OffsetBuffer<i32>, NullBuffer) {
        let ends = std::mem::replace(&mut self.ends, vec![0]);
        let valid = std::mem::take(&mut self.valid);
        (
            OffsetBuffer::new(ScalarBuffer::from(ends)),
            NullBuffer::from(valid),
        )
    }
}

impl Column {
    /// Returns an empty column of a shape.
    pub(crate) fn new(shape: &Shape) -> Self {
        match shape {
            Shape::Boolean => Column::Boolean(BooleanBuilder::new()),
            Shape::Byte => Column::Int8(Int8Builder::new()),
            Shape::Short => Column::Int16(Int16Builder::new()),
            Shape::Int => Column::Int32(Int32Builder::new()),
            Shape::Long => Column::Int64(Int64Builder::new()),
            Shape::Float => Column::Float32(Float32Builder::new()),
            Shape::Double => Column::Float64(Float64Builder::new()),
            Shape::Bytes => Column::Binary(BinaryBuilder::new()),
            Shape::Instant | Shape::Timestamp => {
                Column::Nanos(TimestampNanosecondBuilder::new().with_timezone(UTC))
            }
            Shape::LocalDateTime => Column::Nanos(TimestampNanosecondBuilder::new()),
            Shape::Date => Column::Millis(TimestampMillisecondBuilder::new().with_timezone(UTC)),
            Shape::LocalDate => Column::Date(Date32Builder::new()),
            Shape::LocalTime => Column::Time(Time64NanosecondBuilder::new()),
            Shape::List(item) => {
                Column::List(Nested::new(), item_field(item), Box::new(Column::new(item)))
            }
            Shape::Map(pair) => Column::Map(
                Nested::new(),
                entries_field(pair),
                Box::new((Column::new(&pair.0), Column::new(&pair.1))),
            ),
            Shape::Ttl(value) => Column::new(value),
            Shape::Text | Shape::BigNumber | Shape::GlobalWindow => {
                Column::Text(StringBuilder::new())
            }
            Shape::Nothing
            | Shape::Any
            | Shape::Tuple(_)
            | Shape::Row(_)
            | Shape::Record(_)
            | Shape::Either(_)
            | Shape::StreamRecord(_)
            | Shape::TimeWindow => match fields_of(shape) {
                None => Column::Json(StringBuilder::new()),
                Some(fields) => Column::Struct(
                    Vec::new(),
                    struct_fields(&fields),
                    fields.iter().map(|(_, shape)| Column::new(shape)).collect(),
                ),
            },
        }
    }

    /// Appends a value.
    ///
    /// # Errors
    ///
    /// If it is of another shape or cannot be held; then the column is of no use any more.
    pub(crate) fn push(&mut self, value: &Value) -> Result<(), Unfit> {
        match value {
            Value::Null => {
                self.push_null();
                return Ok(());
            }
            Value::Ttl { value, .. } => return self.push(value),
            Value::Union { value, .. } if !matches!(self, Column::Json(_)) => {
                return self.push(value);
            }
            _ => {}
        }
        match (self, value) {
            (Column::Boolean(out), Value::Boolean(value)) => out.append_value(*value),
            (Column::Int8(out), Value::Byte(value)) => out.append_value(*value),
            (Column::Int16(out), Value::Short(value)) => out.append_value(*value),
            (Column::Int32(out), Value::Int(value)) => out.append_value(*value),
            (Column::Int64(out), Value::Long(value)) => out.append_value(*value),
            (Column::Float32(out), Value::Float(value)) => out.append_value(*value),
            (Column::Float64(out), Value::Double(value)) => out.append_value(*value),
            (Column::Binary(out), Value::Bytes(bytes)) => {
                fits(out.values_slice().len(), bytes.len())?;
                out.append_value(bytes);
            }
            (Column::Nanos(out), value) => out.append_value(nanos_of(value)?),
            (Column::Millis(out), Value::Date(millis)) => {
                if !(-MOST_MILLIS..=MOST_MILLIS).contains(millis) {
                    return Err(Unfit::range(value));
                }
                out.append_value(*millis);
            }
            (Column::Date(out), Value::LocalDate(date)) => {
                let days = days_of(*date).and_then(|days| i32::try_from(days).ok());
                out.append_value(days.ok_or_else(|| Unfit::range(value))?);
            }
            (Column::Time(out), Value::LocalTime(time)) => out.append_value(time.nano_of_day()),
            (Column::Text(out), Value::String(text)) => append_text(out, text)?,
            (Column::Text(out), value) => append_text(out, &map_key(value))?,
            (Column::Json(out), value) => append_text(out, &json(value))?,
            (Column::List(nested, _, items), value) => {
                let count = match value {
                    Value::List(values) | Value::Set(values) => {
                        values.iter().try_for_each(|value| items.push(value))?;
                        values.len()
                    }
                    Value::Array(array) => items.push_array(array)?,
                    other => return Err(Unfit::shape(other)),
                };
                nested.end(count)?;
            }
            (Column::Map(nested, _, columns), Value::Map(entries)) => {
                for (key, value) in entries {
                    if key.is_null() {
                        return Err(Unfit("a map with a key that is null".to_owned()));
                    }
                    columns.0.push(key)?;
                    columns.1.push(value)?;
                }
                nested.end(entries.len())?;
            }
            (Column::Struct(valid, _, columns), value) => {
                push_fields(columns, value)?;
                valid.push(true);
            }
            (_, other) => return Err(Unfit::shape(other)),
        }
        Ok(())
    }

    pub(crate) fn push_null(&mut self) {
        match self {
            Column::Boolean(out) => out.append_null(),
            Column::Int8(out) => out.append_null(),
            Column::Int16(out) => out.append_null(),
            Column::Int32(out) => out.append_null(),
            Column::Int64(out) => out.append_null(),
            Column::Float32(out) => out.append_null(),
            Column::Float64(out) => out.append_null(),
            Column::Binary(out) => out.append_null(),
            Column::Nanos(out) => out.append_null(),
            Column::Millis(out) => out.append_null(),
            Column::Date(out) => out.append_null(),
            Column::Time(out) => out.append_null(),
            Column::Text(out) | Column::Json(out) => out.append_null(),
            Column::List(nested, ..) | Column::Map(nested, ..) => nested.end_null(),
            Column::Struct(valid, _, columns) => {
                columns.iter_mut().for_each(Column::push_null);
                valid.push(false);
            }
        }
    }

    /// Appends the items of an array of primitives; returns how many they were.
    fn push_array(&mut self, array: &PrimitiveArray) -> Result<usize, Unfit> {
        match (self, array) {
            (Column::Boolean(out), PrimitiveArray::Boolean(items)) => out.append_slice(items),
            (Column::Int16(out), PrimitiveArray::Short(items)) => out.append_slice(items),
            (Column::Int32(out), PrimitiveArray::Int(items)) => out.append_slice(items),
            (Column::Int64(out), PrimitiveArray::Long(items)) => out.append_slice(items),
            (Column::Float32(out), PrimitiveArray::Float(items)) => out.append_slice(items),
            (Column::Float64(out), PrimitiveArray::Double(items)) => out.append_slice(items),
            _ => return Err(Unfit("an array of another type".to_owned())),
        }
        Ok(match array {
            PrimitiveArray::Boolean(items) => items.len(),
            PrimitiveArray::Short(items) => items.len(),
            PrimitiveArray::Char(items) => items.len(),
            PrimitiveArray::Int(items) => items.len(),
            PrimitiveArray::Long(items) => items.len(),
            PrimitiveArray::Float(items) => items.len(),
            PrimitiveArray::Double(items) => items.len(),
        })
    }

    /// Takes the array; the column is empty again.
    ///
    /// # Errors
    ///
    /// None in fact: the parts have been made for each other.
    pub(crate) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        Ok(match self {
            Column::Boolean(out) => Arc::new(out.finish()),
            Column::Int8(out) => Arc::new(out.finish()),
            Column::Int16(out) => Arc::new(out.finish()),
            Column::Int32(out) => Arc::new(out.finish()),
            Column::Int64(out) => Arc::new(out.finish()),
            Column::Float32(out) => Arc::new(out.finish()),
            Column::Float64(out) => Arc::new(out.finish()),
            Column::Binary(out) => Arc::new(out.finish()),
            Column::Nanos(out) => Arc::new(out.finish()),
            Column::Millis(out) => Arc::new(out.finish()),
            Column::Date(out) => Arc::new(out.finish()),
            Column::Time(out) => Arc::new(out.finish()),
            Column::Text(out) | Column::Json(out) => Arc::new(out.finish()),
            Column::List(nested, field, items) => {
                let (ends, valid) = nested.finish();
                let items = items.finish()?;
                Arc::new(ListArray::try_new(field.clone(), ends, items, Some(valid))?)
            }
            Column::Map(nested, field, columns) => {
                let (ends, valid) = nested.finish();
                let arrays = vec![columns.0.finish()?, columns.1.finish()?];
                let fields = match field.data_type() {
                    DataType::Struct(fields) => fields.clone(),
                    _ => Fields::empty(),
                };
                let entries = StructArray::try_new(fields, arrays, None)?;
                Arc::new(MapArray::try_new(
                    field.clone(),
                    ends,
                    entries,
                    Some(valid),
                    false,
                )?)
            }
            Column::Struct(valid, fields, columns) => {
                let valid = NullBuffer::from(std::mem::take(valid));
                let arrays = columns.iter_mut().map(Column::finish);
                let arrays = arrays.collect::<Result<Vec<_>, _>>()?;
                Arc::new(StructArray::try_new(fields.clone(), arrays, Some(valid))?)
            }
        })
    }
}

fn push_fields(columns: &mut [Column], value: &Value) -> Result<(), Unfit> {
    let all = |columns: &mut [Column], values: &[Value]| {
        if columns.len() != values.len() {
            return Err(Unfit::shape(value));
        }
        let mut pairs = columns.iter_mut().zip(values);
        pairs.try_for_each(|(column, value)| column.push(value))
    };
    match (value, &mut *columns) {
        (Value::Tuple(values), columns) => all(columns, values),
        (Value::Record(record), columns) => all(columns, &record.fields),
        (Value::Row { kind, fields }, [columns @ .., of_kind]) => {
            all(columns, fields)?;
            let kind = ROW_KINDS[usize::from(*kind & 3)];
            of_kind.push(&Value::String(kind.to_owned()))
        }
        (Value::Left(value), [left, right]) => {
            right.push_null();
            left.push(value)
        }
        (Value::Right(value), [left, right]) => {
            left.push_null();
            right.push(value)
        }
        (Value::StreamRecord { timestamp, value }, [of_value, of_time]) => {
            of_time.push(&timestamp.map_or(Value::Null, Value::Long))?;
            of_value.push(value)
        }
        (Value::TimeWindow { start, end }, [of_start, of_end]) => {
            of_start.push(&Value::Long(*start))?;
            of_end.push(&Value::Long(*end))
        }
        _ => Err(Unfit::shape(value)),
    }
}

fn append_text(out: &mut StringBuilder, text: &str) -> Result<(), Unfit> {
    fits(out.values_slice().len(), text.len())?;
    out.append_value(text);
    Ok(())
}

/// Whether bytes find room behind others: offsets have 31 bits.
fn fits(before: usize, more: usize) -> Result<(), Unfit> {
    let all = before.checked_add(more).map(i32::try_from);
    match all {
        Some(Ok(_)) => Ok(()),
        Some(Err(_)) | None => Err(Unfit::size()),
    }
}

/// The JSON of a value; strings in quotes.
fn json(value: &Value) -> String {
    // Values are always JSON; the text only has to be one.
    serde_json::to_string(value).unwrap_or_else(|error| error.to_string())
}

fn days_of(date: LocalDate) -> Option<i64> {
    let is_in_range = (-MOST_YEARS..=MOST_YEARS).contains(&date.year);
    is_in_range.then(|| date.epoch_day())
}

/// The nanoseconds since 1970 of a point in time, with or without a time zone.
fn nanos_of(value: &Value) -> Result<i64, Unfit> {
    let (seconds, nanos) = match value {
        Value::Instant { seconds, nanos } => (*seconds, i64::from(*nanos)),
        // The nanoseconds are of the second that the milliseconds lie in.
        Value::Timestamp { millis, nanos } => (millis.div_euclid(1000), i64::from(*nanos)),
        Value::LocalDateTime(date, time) => {
            let of_day = time.nano_of_day();
            let days = days_of(*date).ok_or_else(|| Unfit::range(value))?;
            (
                days * 86_400 + of_day / NANOS_OF_SECOND,
                of_day % NANOS_OF_SECOND,
            )
        }
        other => return Err(Unfit::shape(other)),
    };
    seconds
        .checked_mul(NANOS_OF_SECOND)
        .and_then(|of_seconds| of_seconds.checked_add(nanos))
        .ok_or_else(|| Unfit::range(value))
}

#[cfg(test)]
mod tests;
