use millpond_serializer::value::{BigDecimal, LocalTime, Record, RecordShape};

use super::*;
use crate::cell::Cell;

/// The JSON of values of a shape, in one column.
fn shown(shape: &Shape, values: &[Value]) -> Result<Vec<String>, Unfit> {
    let mut column = Column::new(shape);
    values.iter().try_for_each(|value| column.push(value))?;
    let array = column.finish().expect("parts that fit");
    assert_eq!(*array.data_type(), data_type(shape));
    assert_eq!(array.len(), values.len());
    let cells = (0..array.len()).map(|row| Cell::new(&array, row));
    Ok(cells
        .map(|cell| serde_json::to_string(&cell).expect("JSON"))
        .collect())
}

fn of_one(shape: &Shape, value: Value) -> Result<String, Unfit> {
    Ok(shown(shape, &[Value::Null, value, Value::Null])?.remove(1))
}

#[test]
fn values_look_as_they_do_without_sql() {
    let date = LocalDate {
        year: 2024,
        month: 2,
        day: 29,
    };
    let time = LocalTime {
        hour: 23,
        minute: 59,
        second: 58,
        nano: 123_000_000,
    };
    let list = |shape| Shape::List(Box::new(shape));
    let texts = |texts: [&str; 2]| texts.map(|text| Value::String(text.to_owned())).to_vec();
    for (shape, value) in [
        (Shape::Boolean, Value::Boolean(true)),
        (Shape::Byte, Value::Byte(-1)),
        (Shape::Short, Value::Short(i16::MIN)),
        (Shape::Int, Value::Int(i32::MAX)),
        (Shape::Long, Value::Long(i64::MIN)),
        (Shape::Float, Value::Float(0.1)),
        (Shape::Double, Value::Double(f64::NEG_INFINITY)),
        (Shape::Text, Value::String("a \"b\"".to_owned())),
        (Shape::Text, Value::Char(0x263a)),
        (
            Shape::Text,
            Value::Array(PrimitiveArray::Char(vec![0x61, 0x62])),
        ),
        (Shape::GlobalWindow, Value::GlobalWindow),
        (Shape::Bytes, Value::Bytes(vec![0, 0x7f, 0xff])),
        (Shape::LocalDate, Value::LocalDate(date)),
        (Shape::LocalTime, Value::LocalTime(time)),
        (Shape::LocalDateTime, Value::LocalDateTime(date, time)),
        (Shape::Date, Value::Date(-1)),
        (
            Shape::Instant,
            Value::Instant {
                seconds: -1,
                nanos: 999_999_999,
            },
        ),
        (
            Shape::Timestamp,
            Value::Timestamp {
                millis: 1_700_000_000_123,
                nanos: 123_456_000,
            },
        ),
        (list(Shape::Text), Value::List(texts(["x", ""]))),
        (list(Shape::Text), Value::Set(texts(["x", "y"]))),
        (
            list(Shape::Long),
            Value::Array(PrimitiveArray::Long(vec![1, 2])),
        ),
        (
            list(list(Shape::Int)),
            Value::List(vec![Value::Null, Value::List(Vec::new())]),
        ),
        (
            Shape::Map(Box::new((Shape::Long, Shape::Boolean))),
            Value::Map(vec![
                (Value::Long(1), Value::Null),
                (Value::Long(2), Value::Boolean(true)),
            ]),
        ),
        (
            Shape::Ttl(Box::new(Shape::Long)),
            Value::Ttl {
                last_access: 7,
                value: Box::new(Value::Long(5)),
            },
        ),
    ] {
        let expected = serde_json::to_string(&value).expect("JSON");
        assert_eq!(of_one(&shape, value), Ok(expected), "{shape:?}");
    }
    let nothing = shown(&Shape::Nothing, &[Value::Null]).expect("null");
    assert_eq!(nothing, ["null"]);
}

#[test]
fn what_has_fields_is_a_struct_and_what_has_no_one_shape_is_json() {
    let pair = || Box::new((Shape::Long, Shape::Text));
    let long = |value| Box::new(Value::Long(value));
    let record = Value::Record(Record {
        shape: Arc::new(RecordShape {
            class: "Cart".to_owned(),
            names: vec!["z".to_owned(), "a".to_owned()],
        }),
        fields: vec![Value::Long(1), Value::Null],
    });
    let fields = [("z", Shape::Long), ("a", Shape::Text)];
    let fields = fields
        .map(|(name, shape)| (name.to_owned(), shape))
        .to_vec();
    for (shape, value, expected) in [
        (Shape::Record(fields), record.clone(), r#"{"z":1,"a":null}"#),
        (
            Shape::Tuple(vec![Shape::Long, Shape::Boolean]),
            Value::Tuple(vec![Value::Long(1), Value::Boolean(false)]),
            r#"{"f0":1,"f1":false}"#,
        ),
        (
            Shape::Row(vec![Shape::Long]),
            Value::Row {
                kind: 3,
                fields: vec![Value::Long(1)],
            },
            r#"{"f0":1,"kind":"-D"}"#,
        ),
        (
            Shape::Either(pair()),
            Value::Left(long(1)),
            r#"{"left":1,"right":null}"#,
        ),
        (
            Shape::TimeWindow,
            Value::TimeWindow {
                start: 5,
                end: i64::MAX,
            },
            r#"{"start":5,"end":9223372036854775807}"#,
        ),
        (
            Shape::StreamRecord(Box::new(Shape::Long)),
            Value::StreamRecord {
                timestamp: None,
                value: long(3),
            },
            r#"{"value":3,"timestamp":null}"#,
        ),
        (Shape::Any, record, r#""{\"z\":1,\"a\":null}""#),
        (
            Shape::Tuple(Vec::new()),
            Value::Tuple(Vec::new()),
            r#""[]""#,
        ),
    ] {
        assert_eq!(of_one(&shape, value).as_deref(), Ok(expected), "{shape:?}");
    }
}

#[test]
fn what_a_column_cannot_hold_is_refused_and_not_changed() {
    let far = LocalDate {
        year: 999_999_999,
        month: 12,
        day: 31,
    };
    let noon = LocalTime {
        hour: 12,
        minute: 0,
        second: 0,
        nano: 0,
    };
    let long = |value| Value::Long(value);
    for (shape, value) in [
        (
            Shape::Instant,
            Value::Instant {
                seconds: 253_402_300_799,
                nanos: 0,
            },
        ),
        (Shape::Date, Value::Date(i64::MAX)),
        (Shape::LocalDate, Value::LocalDate(far)),
        (Shape::LocalDateTime, Value::LocalDateTime(far, noon)),
        (Shape::Long, Value::Int(1)),
        (
            Shape::Tuple(vec![Shape::Long]),
            Value::Tuple(vec![long(1), long(2)]),
        ),
        (
            Shape::Map(Box::new((Shape::Text, Shape::Long))),
            Value::Map(vec![(Value::Null, long(1))]),
        ),
    ] {
        assert!(
            of_one(&shape, value.clone()).is_err(),
            "{shape:?} {value:?}"
        );
    }
}

#[test]
fn numbers_without_bounds_are_texts_that_can_be_cast() {
    let unscaled = millpond_serializer::value::BigInteger::from_bytes(&[0x04, 0xd2]);
    let number = Value::BigDecimal(Box::new(BigDecimal {
        unscaled: unscaled.expect("1234"),
        scale: 2,
    }));
    assert_eq!(
        of_one(&Shape::BigNumber, number).as_deref(),
        Ok("\"12.34\"")
    );
}
