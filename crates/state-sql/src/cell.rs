//! Cells of answers as JSON and as text, in the words of `millpond state read`.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "types that have no JSON of their own are shown as Arrow shows them"
)]

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{
    DataType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use millpond_serializer::hex;
use serde::ser::{Error as _, SerializeMap};
use serde::{Serialize, Serializer};

use crate::Error;

/// A cell as JSON: numbers, texts, booleans, arrays and objects in the order of their fields;
/// bytes in hexadecimal digits, points in time in ISO 8601, all else as the text that Arrow has
/// for it.
pub(crate) struct Cell<'a> {
    array: &'a dyn Array,
    row: usize,
}

/// A row as a JSON object in the order of the columns.
pub(crate) struct RowOf<'a> {
    pub(crate) names: &'a [String],
    pub(crate) batch: &'a RecordBatch,
    pub(crate) row: usize,
}

impl<'a> Cell<'a> {
    pub(crate) fn new(array: &'a dyn Array, row: usize) -> Self {
        Cell { array, row }
    }

    /// The cell as JSON text.
    fn json(&self) -> Result<String, Error> {
        serde_json::to_string(self).map_err(|error| Error::failed(error.to_string()))
    }

    /// A text as it is, nothing for null, anything else as JSON.
    pub(crate) fn text(&self) -> Result<String, Error> {
        if self.array.is_null(self.row) {
            return Ok(String::new());
        }
        let json = self.json()?;
        Ok(match json.starts_with('"') {
            true => serde_json::from_str(&json).unwrap_or(json),
            false => json,
        })
    }
}

impl Serialize for RowOf<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.names.len()))?;
        for (name, column) in self.names.iter().zip(self.batch.columns()) {
            map.serialize_entry(name, &Cell::new(column, self.row))?;
        }
        map.end()
    }
}

impl Serialize for Cell<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (array, row) = (self.array, self.row);
        // An array of the type null is not null by its bits.
        if array.is_null(row) || *array.data_type() == DataType::Null {
            return serializer.serialize_unit();
        }
        match array.data_type() {
            DataType::Boolean => serializer.serialize_bool(array.as_boolean().value(row)),
            DataType::Int8 => serializer.serialize_i8(array.as_primitive::<Int8Type>().value(row)),
            DataType::Int16 => {
                serializer.serialize_i16(array.as_primitive::<Int16Type>().value(row))
            }
            DataType::Int32 => {
                serializer.serialize_i32(array.as_primitive::<Int32Type>().value(row))
            }
            DataType::Int64 => {
                serializer.serialize_i64(array.as_primitive::<Int64Type>().value(row))
            }
            DataType::UInt8 => {
                serializer.serialize_u8(array.as_primitive::<UInt8Type>().value(row))
            }
            DataType::UInt16 => {
                serializer.serialize_u16(array.as_primitive::<UInt16Type>().value(row))
            }
            DataType::UInt32 => {
                serializer.serialize_u32(array.as_primitive::<UInt32Type>().value(row))
            }
            DataType::UInt64 => {
                serializer.serialize_u64(array.as_primitive::<UInt64Type>().value(row))
            }
            DataType::Float16 => {
                let value = array.as_primitive::<Float16Type>().value(row);
                float(value.to_f32(), serializer)
            }
            DataType::Float32 => float(array.as_primitive::<Float32Type>().value(row), serializer),
            DataType::Float64 => {
                let value = array.as_primitive::<Float64Type>().value(row);
                match no_number(value) {
                    Some(word) => serializer.serialize_str(word),
                    None => serializer.serialize_f64(value),
                }
            }
            DataType::Utf8 => serializer.serialize_str(array.as_string::<i32>().value(row)),
            DataType::LargeUtf8 => serializer.serialize_str(array.as_string::<i64>().value(row)),
            DataType::Utf8View => serializer.serialize_str(array.as_string_view().value(row)),
            DataType::Binary => serializer.serialize_str(&hex(array.as_binary::<i32>().value(row))),
            DataType::LargeBinary => {
                serializer.serialize_str(&hex(array.as_binary::<i64>().value(row)))
            }
            DataType::BinaryView => {
                serializer.serialize_str(&hex(array.as_binary_view().value(row)))
            }
            DataType::List(_) => items(&array.as_list::<i32>().value(row), serializer),
            DataType::LargeList(_) => items(&array.as_list::<i64>().value(row), serializer),
            DataType::FixedSizeList(..) => {
                items(&array.as_fixed_size_list().value(row), serializer)
            }
            DataType::Struct(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (field, column) in fields.iter().zip(array.as_struct().columns()) {
                    map.serialize_entry(field.name(), &Cell::new(column, row))?;
                }
                map.end()
            }
            DataType::Map(..) => {
                let entries = array.as_map().value(row);
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for index in 0..entries.len() {
                    let key = Cell::new(entries.column(0), index).text();
                    let key = key.map_err(S::Error::custom)?;
                    map.serialize_entry(&key, &Cell::new(entries.column(1), index))?;
                }
                map.end()
            }
            DataType::Dictionary(..) => {
                let dictionary = array.as_any_dictionary();
                let key = dictionary.normalized_keys().get(row).copied();
                let values = dictionary.values();
                Cell::new(values, key.unwrap_or(0)).serialize(serializer)
            }
            _ => {
                let text = ArrayFormatter::try_new(array, &FormatOptions::default())
                    .and_then(|formatter| formatter.value(row).try_to_string());
                serializer.serialize_str(&text.map_err(S::Error::custom)?)
            }
        }
    }
}

fn items<S: Serializer>(array: &ArrayRef, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq((0..array.len()).map(|index| Cell::new(array, index)))
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
