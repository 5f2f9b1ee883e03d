use super::*;
use crate::class::{ARRAY, BASE, RUNTIME, STATE, WINDOWS, simple_class};
use crate::{ByteWriter, OptionalEntry, SnapshotBody};
use serde_json::{Value as Json, json};

fn simple(prefix: &str, name: &str) -> SerializerSnapshot {
    SerializerSnapshot {
        class: simple_class(prefix, name),
        version: 3,
        body: SnapshotBody::Simple,
    }
}

fn base(name: &str) -> SerializerSnapshot {
    simple(BASE, name)
}

fn composite(class: &str, outer: &[u8], nested: Vec<SerializerSnapshot>) -> SerializerSnapshot {
    let outer_version = if class.contains("Row") { 4 } else { 2 };
    SerializerSnapshot {
        class: class.to_owned(),
        version: 3,
        body: SnapshotBody::Composite {
            outer_version,
            outer: outer.to_vec(),
            nested,
        },
    }
}

fn row(has_kind: bool, fields: Vec<SerializerSnapshot>) -> SerializerSnapshot {
    let class = format!("{RUNTIME}RowSerializer$RowSerializerSnapshot");
    composite(&class, &[u8::from(has_kind)], fields)
}

fn nullable(padding: i32, value: SerializerSnapshot) -> SerializerSnapshot {
    let class = format!("{RUNTIME}NullableSerializer$NullableSerializerSnapshot");
    composite(&class, &padding.to_be_bytes(), vec![value])
}

fn ttl(value: SerializerSnapshot) -> SerializerSnapshot {
    let class = format!("{STATE}ttl.TtlStateFactory$TtlSerializerSnapshot");
    composite(&class, &[], vec![base("Long"), value])
}

fn pojo(
    class: &str,
    fields: &[(&str, Option<SerializerSnapshot>)],
    registered: Vec<SerializerSnapshot>,
    other: Vec<SerializerSnapshot>,
) -> SerializerSnapshot {
    let entry = |name: &str, value: Option<SerializerSnapshot>| OptionalEntry {
        name: name.to_owned(),
        key: None,
        value,
    };
    let subclasses = |snapshots: Vec<SerializerSnapshot>| {
        let named = snapshots.into_iter().map(|snapshot| match &snapshot.body {
            SnapshotBody::Pojo { class, .. } => entry(&class.clone(), Some(snapshot)),
            _ => panic!("a POJO"),
        });
        named.collect()
    };
    SerializerSnapshot {
        class: format!("{RUNTIME}PojoSerializerSnapshot"),
        version: 2,
        body: SnapshotBody::Pojo {
            class: class.to_owned(),
            fields: fields
                .iter()
                .map(|(name, value)| entry(name, value.clone()))
                .collect(),
            registered: subclasses(registered),
            other: subclasses(other),
        },
    }
}

fn kryo(class: &str) -> SerializerSnapshot {
    SerializerSnapshot {
        class: format!("{RUNTIME}kryo.KryoSerializerSnapshot"),
        version: 2,
        body: SnapshotBody::Kryo {
            class: class.to_owned(),
            maps: [vec![], vec![], vec![]],
        },
    }
}

fn avro(schema: &Json) -> SerializerSnapshot {
    SerializerSnapshot {
        class: "org.apache.flink.formats.avro.typeutils.AvroSerializerSnapshot".to_owned(),
        version: 3,
        body: SnapshotBody::Avro {
            class: Some("a.A".to_owned()),
            schema: schema.to_string(),
        },
    }
}

fn an_enum() -> SerializerSnapshot {
    SerializerSnapshot {
        class: format!("{BASE}EnumSerializer$EnumSerializerSnapshot"),
        version: 3,
        body: SnapshotBody::Enum {
            class: "e.Level".to_owned(),
            constants: vec!["LOW".to_owned(), "HIGH".to_owned()],
        },
    }
}

/// Decodes, compares with JSON, encodes again, and goes the way back from JSON.
fn is(snapshot: &SerializerSnapshot, bytes: &[u8], expected: Json) -> Value {
    let codec = ValueCodec::new(snapshot);
    let value = codec
        .decode_all(bytes)
        .unwrap_or_else(|error| panic!("{}: {error}", snapshot.describe()));
    assert_eq!(serde_json::to_value(&value).expect("JSON"), expected);
    let mut again = Vec::new();
    codec.encode(&value, &mut again).expect("the same value");
    assert_eq!(again, bytes, "{expected}");
    let shown = serde_json::to_value(WithTtl(&value)).expect("JSON");
    let back = codec
        .parse_json(&shown)
        .unwrap_or_else(|error| panic!("{}: {shown}: {error}", snapshot.describe()));
    again.clear();
    codec.encode(&back, &mut again).expect("a value of it");
    let of_back = codec.decode_all(&again).expect("a value");
    assert_eq!(
        serde_json::to_value(WithTtl(&of_back)).expect("JSON"),
        shown
    );
    for cut in 0..bytes.len() {
        assert!(codec.decode_all(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    value
}

fn concat(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

#[test]
fn basic_values_have_the_bytes_that_flink_writes() {
    is(&base("String"), b"\x03ab", json!("ab"));
    is(&base("String"), &[0], Json::Null);
    is(&base("String"), &[1], json!(""));
    let emoji = [5, 0x6e, 0xe9, 1, 0xbd, 0xb0, 3, 0x80, 0xbc, 3];
    is(&base("String"), &emoji, json!("né😀"));
    let lone = [3, b'a', 0xbd, 0xb0, 3];
    is(&base("String"), &lone, json!({"utf16": "0061 d83d"}));
    is(&base("Long"), &(-5i64).to_be_bytes(), json!(-5));
    is(&base("Int"), &7i32.to_be_bytes(), json!(7));
    is(&base("Short"), &[0xff, 0xfe], json!(-2));
    is(&base("Byte"), &[0x80], json!(-128));
    is(&base("Boolean"), &[1], json!(true));
    is(&base("Char"), &[0, 0x41], json!("A"));
    is(&base("Char"), &[0xd8, 0x3d], json!({"utf16": "d83d"}));
    is(&base("Double"), &1.5f64.to_be_bytes(), json!(1.5));
    is(&base("Double"), &f64::NAN.to_be_bytes(), json!("NaN"));
    let infinite = f64::NEG_INFINITY.to_be_bytes();
    is(&base("Double"), &infinite, json!("-Infinity"));
    is(&base("Float"), &0.5f32.to_be_bytes(), json!(0.5));
    is(&base("Void"), &[0], Json::Null);
    is(&simple(STATE, "VoidNamespace"), &[0], Json::Null);
    is(&base("LongValue"), &9i64.to_be_bytes(), json!(9));
    is(&base("StringValue"), &[2, b'a'], json!("a"));
}

#[test]
fn big_numbers_keep_their_form_and_read_as_java_prints_them() {
    let big = base("BigInt");
    is(&big, &[0, 0, 0, 0], Json::Null);
    is(&big, &[0, 0, 0, 1], json!("0"));
    is(&big, &[0, 0, 0, 2], json!("1"));
    is(&big, &[0, 0, 0, 5, 1], json!("1"));
    is(&big, &[0, 0, 0, 3], json!("10"));
    is(&big, &[0, 0, 0, 6, 0xff, 0x7f], json!("-129"));
    assert_eq!(
        decode_value(&big, &mut ByteReader::new(&[0, 0, 0, 2])),
        decode_value(&big, &mut ByteReader::new(&[0, 0, 0, 5, 1])),
    );
    assert!(ValueCodec::new(&big).decode_all(&[0, 0, 0, 4]).is_err());
    assert!(
        ValueCodec::new(&big)
            .decode_all(&[0, 0, 0, 6, 0, 1])
            .is_err()
    );
    let decimal = base("BigDec");
    is(&decimal, &[0, 0, 0, 6, 0, 0x96, 0, 0, 0, 2], json!("1.50"));
    is(&decimal, &[0, 0, 0, 0], Json::Null);
    // Java: new BigDecimal(...).toString().
    for text in [
        "1E+3",
        "1E-10",
        "-0.0000012",
        "0E-7",
        "1.23E+7",
        "0.000",
        "-1234567890123.456",
        "12",
    ] {
        let parsed = BigDecimal::parse(text).expect("a number");
        assert_eq!(parsed.to_string(), text);
    }
    for text in ["", ".", "1.-5", "x", "1E", "--1"] {
        assert!(BigDecimal::parse(text).is_err(), "{text}");
    }
}

#[test]
fn dates_and_times_read_as_iso_8601() {
    let date = [0, 0, 7, 0xe8, 2, 29];
    let time = [23, 59, 58, 7, 0x5b, 0xcd, 0x15];
    is(&base("LocalDate"), &date, json!("2024-02-29"));
    is(&base("LocalDate"), &[0x80, 0, 0, 0, 0x80, 0], Json::Null);
    is(
        &base("LocalDate"),
        &concat(&[&(-5i32).to_be_bytes(), &[12, 31]]),
        json!("-0005-12-31"),
    );
    let far = concat(&[&123_456i32.to_be_bytes(), &[7, 8]]);
    is(&base("LocalDate"), &far, json!("+123456-07-08"));
    is(&base("LocalTime"), &time, json!("23:59:58.123456789"));
    is(
        &base("LocalTime"),
        &[0x80, 0x80, 0, 0x80, 0, 0, 0],
        Json::Null,
    );
    let both = concat(&[&date, &[1, 2, 3, 0, 0, 0, 0]]);
    is(&base("LocalDateTime"), &both, json!("2024-02-29T01:02:03"));
    let instant = concat(&[&(-3i64).to_be_bytes(), &7i32.to_be_bytes()]);
    is(
        &base("Instant"),
        &instant,
        json!("1969-12-31T23:59:57.000000007Z"),
    );
    let null = concat(&[&i64::MIN.to_be_bytes(), &i32::MIN.to_be_bytes()]);
    is(&base("Instant"), &null, Json::Null);
    let millis = 1_700_000_000_123i64.to_be_bytes();
    is(&base("Date"), &millis, json!("2023-11-14T22:13:20.123Z"));
    is(&base("SqlDate"), &i64::MIN.to_be_bytes(), Json::Null);
    let stamp = concat(&[&millis, &123_456_789i32.to_be_bytes()]);
    is(
        &base("SqlTimestamp"),
        &stamp,
        json!("2023-11-14T22:13:20.123456789Z"),
    );
    for (name, damaged) in [
        ("LocalDate", &[0, 0, 7, 0xe8, 13, 1][..]),
        ("LocalTime", &[24, 0, 0, 0, 0, 0, 0]),
        ("Instant", &[0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 0, 0, 0]),
    ] {
        assert!(
            ValueCodec::new(&base(name)).decode_all(damaged).is_err(),
            "{name}"
        );
    }
    // Seconds that no calendar has are printed, not panicked over.
    for seconds in [i64::MIN + 1, i64::MAX] {
        let bytes = concat(&[&seconds.to_be_bytes(), &[0; 4]]);
        let value = ValueCodec::new(&base("Instant"))
            .decode_all(&bytes)
            .expect("numbers");
        serde_json::to_string(&value).expect("some text");
    }
}

#[test]
fn collections_arrays_and_tuples_have_the_bytes_that_flink_writes() {
    let (string, long) = (base("String"), base("Long"));
    let list = SerializerSnapshot::list(string.clone());
    is(&list, b"\0\0\0\x02\x02a\x01", json!(["a", ""]));
    let map = SerializerSnapshot::map(long.clone(), string.clone());
    let bytes = concat(&[
        &[0, 0, 0, 2],
        &1i64.to_be_bytes(),
        &[0, 2, b'a'],
        &[0; 8],
        &[1],
    ]);
    is(&map, &bytes, json!({"1": "a", "0": null}));
    let set = composite(
        &format!("{BASE}SetSerializerSnapshot"),
        &[],
        vec![string.clone()],
    );
    is(&set, b"\0\0\0\x02\x00\x02a\x01", json!(["a", null]));
    let class = [&[0, 1], &b"X"[..]].concat();
    let array = format!("{BASE}GenericArraySerializerSnapshot");
    let array = composite(&array, &class, vec![string.clone()]);
    is(&array, b"\0\0\0\x02\x01\x02a\x00", json!(["a", null]));
    is(
        &simple(ARRAY, "BytePrimitiveArray"),
        &[0, 0, 0, 2, 0xab, 1],
        json!("ab01"),
    );
    is(
        &simple(ARRAY, "IntPrimitiveArray"),
        &[0, 0, 0, 1, 0, 0, 0, 9],
        json!([9]),
    );
    is(
        &simple(ARRAY, "BooleanPrimitiveArray"),
        &[0, 0, 0, 2, 1, 0],
        json!([true, false]),
    );
    is(
        &simple(ARRAY, "CharPrimitiveArray"),
        &[0, 0, 0, 1, 0, 0x41],
        json!("A"),
    );
    is(
        &simple(ARRAY, "ShortPrimitiveArray"),
        &[0, 0, 0, 1, 0xff, 0xff],
        json!([-1]),
    );
    is(
        &simple(ARRAY, "StringArray"),
        &[0, 0, 0, 2, 2, b'a', 0],
        json!(["a", null]),
    );
    let doubles = concat(&[&[0, 0, 0, 1], &0.25f64.to_be_bytes()]);
    is(
        &simple(ARRAY, "DoublePrimitiveArray"),
        &doubles,
        json!([0.25]),
    );
    let tuple = SerializerSnapshot::tuple(vec![string.clone(), long.clone()]);
    is(&tuple, b"\x02a\0\0\0\0\0\0\0\x07", json!(["a", 7]));
    let mut empty = base("Int");
    empty.class = format!("{RUNTIME}Tuple0SerializerSnapshot");
    is(&empty, &[42], json!([]));
    let either = format!("{RUNTIME}JavaEitherSerializerSnapshot");
    let either = composite(&either, &[], vec![string.clone(), long]);
    is(&either, &[1, 2, b'a'], json!({"left": "a"}));
    is(&either, &[0, 0, 0, 0, 0, 0, 0, 0, 9], json!({"right": 9}));
}

#[test]
fn rows_nullables_windows_timers_and_time_to_live_round_trip() {
    let fields = vec![base("String"), base("Int")];
    is(
        &row(true, fields.clone()),
        &[0x10, 2, b'a'],
        json!(["a", null]),
    );
    let delete = concat(&[&[0xc0, 2, b'a'], &5i32.to_be_bytes()]);
    let value = is(
        &row(true, fields.clone()),
        &delete,
        json!({"kind": "-D", "fields": ["a", 5]}),
    );
    assert!(matches!(value, Value::Row { kind: 3, .. }));
    is(
        &row(true, fields.clone()),
        &[0x90, 2, b'a'],
        json!({"kind": "-U", "fields": ["a", null]}),
    );
    is(
        &row(false, fields.clone()),
        &[0x40, 2, b'a'],
        json!(["a", null]),
    );
    let codec = ValueCodec::new(&row(false, fields));
    assert!(
        codec.decode_all(&[0x41, 2, b'a']).is_err(),
        "a bit of padding"
    );
    is(&nullable(0, base("Long")), &[1], Json::Null);
    is(
        &nullable(8, base("Long")),
        &[1, 0, 0, 0, 0, 0, 0, 0, 0],
        Json::Null,
    );
    is(
        &nullable(8, base("Long")),
        &[0, 0, 0, 0, 0, 0, 0, 0, 1],
        json!(1),
    );
    is(&ttl(base("Byte")), &[0, 0, 0, 0, 0, 0, 1, 0, 7], json!(7));
    let value = decode_value(&ttl(base("Byte")), &mut ByteReader::new(&[0; 9])).expect("a byte");
    let shown = serde_json::to_value(WithTtl(&value)).expect("JSON");
    assert_eq!(shown, json!({"value": 0, "last_access": 0}));
    let window = SerializerSnapshot::time_window();
    let bounds = concat(&[&0i64.to_be_bytes(), &9i64.to_be_bytes()]);
    is(&window, &bounds, json!([0, 9]));
    let mut global = base("Int");
    global.class = format!("{WINDOWS}GlobalWindow$Serializer$GlobalWindowSerializerSnapshot");
    is(&global, &[0], json!("global"));
    let timer = SerializerSnapshot::timer(base("Byte"), SerializerSnapshot::void_namespace());
    is(&timer, &[0x80, 0, 0, 0, 0, 0, 0, 5, 1, 0], json!([1, 5]));
    let record = SerializerSnapshot::stream_record(base("Byte"));
    let bytes = [0, 0, 0, 0, 0, 0, 0, 0, 9, 7];
    is(&record, &bytes, json!({"value": 7, "timestamp": 9}));
    is(&record, &[1, 7], json!({"value": 7, "timestamp": null}));
    assert!(ValueCodec::new(&record).decode_all(&[2, 7]).is_err());
    let timer = SerializerSnapshot::timer(base("Byte"), window);
    let bytes = concat(&[&[0x80, 0, 0, 0, 0, 0, 0, 8, 1], &bounds]);
    is(&timer, &bytes, json!([1, [0, 9], 8]));
}

#[test]
fn pojos_show_their_fields_and_subclasses_their_class() {
    let int = || Some(base("Int"));
    let point = pojo("Point", &[("x", int()), ("y", int())], vec![], vec![]);
    let shape = pojo(
        "Shape",
        &[("name", Some(base("String"))), ("level", Some(an_enum()))],
        vec![point.clone()],
        vec![pojo("Blob", &[("size", int())], vec![], vec![])],
    );
    is(&shape, &[1], Json::Null);
    let exact = [2, 0, 2, b'a', 0, 0, 0, 0, 1];
    is(&shape, &exact, json!({"name": "a", "level": "HIGH"}));
    is(&shape, &[2, 1, 1], json!({"name": null, "level": null}));
    let registered = [8, 0, 2, 0, 0, 0, 0, 1, 1];
    is(
        &shape,
        &registered,
        json!({"$class": "Point", "x": 1, "y": null}),
    );
    let other = [4, 0, 4, b'B', b'l', b'o', b'b', 2, 0, 0, 0, 0, 9];
    is(&shape, &other, json!({"$class": "Blob", "size": 9}));
    let codec = ValueCodec::new(&shape);
    let error = codec
        .parse_json(&json!({"nme": "a"}))
        .expect_err("no such field");
    assert!(error.to_string().contains("no field \"nme\""), "{error}");
    let error = codec
        .parse_json(&json!({"name": 7}))
        .expect_err("no string");
    assert!(
        error.to_string().contains("in \"name\": expected"),
        "{error}"
    );
    let error = codec
        .parse_json(&json!({"level": "MID"}))
        .expect_err("no constant");
    assert!(error.to_string().contains("LOW, HIGH"), "{error}");
    assert!(codec.decode_all(&[4, 0, 1, b'?', 1]).is_err());
    assert!(codec.decode_all(&[8, 1, 1]).is_err());
    // A second null behind the flag that says "not null".
    assert!(codec.decode_all(&[2, 0, 0, 1]).is_err());
    let Value::Record(mut record) = codec.decode_all(&exact).expect("a shape") else {
        panic!("a record");
    };
    assert_eq!(record.field("name"), Some(&Value::String("a".to_owned())));
    *record.field_mut("name").expect("a field") = Value::Null;
    let mut out = Vec::new();
    codec
        .encode(&Value::Record(record), &mut out)
        .expect("a shape");
    assert_eq!(out, [2, 1, 0, 0, 0, 0, 1]);
}

#[test]
fn avro_data_lies_in_flinks_own_encoding() {
    let schema = json!({
        "type": "record", "name": "User", "namespace": "a.b",
        "fields": [
            {"name": "name", "type": "string"},
            {"name": "age", "type": ["null", "int"], "default": null},
            {"name": "tags", "type": {"type": "array", "items": "string"}},
            {"name": "scores", "type": {"type": "map", "values": "double"}},
            {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["X", "Y"]}},
            {"name": "hash", "type": {"type": "fixed", "name": "H", "size": 2}},
            {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
            {"name": "friend", "type": ["null", "User"]},
            {"name": "raw", "type": "bytes"},
            {"name": "good", "type": "boolean"},
            {"name": "ratio", "type": "float"},
            {"name": "again", "type": "Kind"}
        ]
    });
    let snapshot = avro(&schema);
    let rest = |kind: u8| concat(&[&[0, 0, 0, kind, 0xbe, 0xef], &77i64.to_be_bytes()]);
    let end = concat(&[&[0, 0, 0, 1, 0xff, 1], &0.5f32.to_be_bytes(), &[0, 0, 0, 0]]);
    let friend = concat(&[
        &[0, 0, 0, 1, b'b', 0, 0, 0, 0, 0, 0],
        &rest(0),
        &[0, 0, 0, 0],
        &end,
    ]);
    let bytes = concat(&[
        &[0, 0, 0, 1, b'a', 0, 0, 0, 1, 0, 0, 0, 30],
        &[2, 0, 0, 0, 1, b't', 0, 0, 0, 0, 0],
        &[1, 0, 0, 0, 1, b'm'],
        &1.5f64.to_be_bytes(),
        &[0],
        &rest(1),
        &[0, 0, 0, 1],
        &friend,
        &end,
    ]);
    let friend = json!({
        "name": "b", "age": null, "tags": [], "scores": {}, "kind": "X", "hash": "beef",
        "at": 77, "friend": null, "raw": "ff", "good": true, "ratio": 0.5, "again": "X"
    });
    let expected = json!({
        "name": "a", "age": 30, "tags": ["t", ""], "scores": {"m": 1.5}, "kind": "Y",
        "hash": "beef", "at": 77, "friend": friend, "raw": "ff", "good": true, "ratio": 0.5,
        "again": "X"
    });
    is(&snapshot, &bytes, expected);
    assert_eq!(snapshot.type_words(), "avro(a.b.User)");
}

#[test]
fn avro_data_without_end_is_refused() {
    let list =
        json!({"type": "record", "name": "L", "fields": [{"name": "next", "type": ["null", "L"]}]});
    let codec = ValueCodec::new(&avro(&list));
    let endless = [0, 0, 0, 1].repeat(100_000);
    let error = codec.decode_all(&endless).expect_err("no end");
    assert!(error.to_string().contains("nested values"), "{error}");
    let codec = ValueCodec::new(&avro(&json!({"type": "array", "items": "null"})));
    assert_eq!(
        codec.decode_all(&[2, 0]),
        Ok(Value::List(vec![Value::Null; 2]))
    );
    let many = [0xff, 0xff, 0xff, 0xff, 0x7f, 0];
    assert!(codec.decode_all(&many).is_err());
    // Named types that are not declared, and what is no schema, are opaque.
    for schema in [
        json!("Nowhere"),
        json!({"type": "record", "name": "R"}),
        json!(7),
    ] {
        assert!(ValueCodec::new(&avro(&schema)).opaque().is_some());
    }
}

#[test]
fn what_only_java_reads_is_named_and_its_bytes_pass() {
    let cart = kryo("com.acme.Cart");
    let codec = ValueCodec::new(&SerializerSnapshot::list(cart.clone()));
    assert_eq!(codec.opaque(), Some("Kryo com.acme.Cart"));
    let error = codec.decode_all(&[0, 0, 0, 1, 9]).expect_err("Kryo");
    assert!(error.to_string().contains("com.acme.Cart"), "{error}");
    let value = codec.decode_or_opaque(&[0, 0, 0, 1, 9]).expect("bytes");
    let shown = serde_json::to_value(&value).expect("JSON");
    assert_eq!(
        shown,
        json!({"opaque": "Kryo com.acme.Cart", "hex": "0000000109"})
    );
    let mut out = Vec::new();
    codec.encode(&value, &mut out).expect("the same bytes");
    assert_eq!(out, [0, 0, 0, 1, 9]);
    // An empty list, and a null field, hold nothing that is opaque.
    assert_eq!(codec.decode_all(&[0, 0, 0, 0]), Ok(Value::List(vec![])));
    let fields = [("id", Some(base("Byte"))), ("cart", Some(cart))];
    let order = pojo("Order", &fields, vec![], vec![]);
    is(&order, &[2, 0, 7, 1], json!({"id": 7, "cart": null}));
    let error = ValueCodec::new(&order)
        .decode_all(&[2, 0, 7, 0, 1])
        .expect_err("Kryo");
    assert!(error.to_string().contains("\"cart\" of Order"), "{error}");
    assert_eq!(codec.hash_code(&value), None);
    assert_eq!(order.type_words(), "pojo(Order)");
    assert_eq!(kryo("com.acme.Cart").type_words(), "kryo(com.acme.Cart)");
}

/// The hash codes of a run of Java (JDK 17 and the classes of Flink 2.3.0).
#[test]
fn hash_codes_are_javas() {
    let hash = |snapshot: &SerializerSnapshot, json: Json| {
        let codec = ValueCodec::new(snapshot);
        let value = codec
            .parse_json(&json)
            .unwrap_or_else(|e| panic!("{json}: {e}"));
        codec.hash_code(&value)
    };
    let string = base("String");
    let list = SerializerSnapshot::list(base("String"));
    let set = composite(
        &format!("{BASE}SetSerializerSnapshot"),
        &[],
        vec![string.clone()],
    );
    let map = SerializerSnapshot::map(string.clone(), base("Long"));
    let tuple = SerializerSnapshot::tuple(vec![string.clone(), base("Long")]);
    let wrapped = SerializerSnapshot::tuple(vec![base("LongValue")]);
    for (snapshot, json, expected) in [
        (&base("String"), json!("k2"), 3367),
        (&string, json!("né😀"), 5_273_822),
        (&base("Long"), json!(-1), 0),
        (&base("Int"), json!(-7), -7),
        (&base("Short"), json!(5), 5),
        (&base("Byte"), json!(-1), -1),
        (&base("Char"), json!("x"), 120),
        (&base("Boolean"), json!(true), 1231),
        (&base("Double"), json!(1.5), 1_073_217_536),
        (&base("Double"), json!(-0.0), i32::MIN),
        (&base("Double"), json!("NaN"), 2_146_959_360),
        (&base("Float"), json!(1.5), 1_069_547_520),
        (&base("BigInt"), json!("-129"), -129),
        (&base("BigInt"), json!("1180591620717411303429"), 61509),
        (&base("BigInt"), json!("-1099511627776"), -7936),
        (&base("BigDec"), json!("1.50"), 4652),
        (&base("BigDec"), json!("-1234567890123.456"), -1_698_930_386),
        (
            &base("BigDec"),
            json!("-123456789012345678901234567890.5"),
            -1_113_278_081,
        ),
        (&base("LocalDate"), json!("2024-02-29"), 4_145_309),
        (&base("LocalDate"), json!("-0005-12-31"), 8991),
        (&base("LocalDate"), json!("+123456-07-08"), 252_961_224),
        (&base("LocalTime"), json!("23:59:58.123456789"), 561_346_433),
        (
            &base("LocalDateTime"),
            json!("2024-02-29T23:59:58.000000005"),
            438_723_084,
        ),
        (
            &base("Instant"),
            json!("1969-12-31T23:59:57.000000007Z"),
            359,
        ),
        (
            &base("Instant"),
            json!("2361-03-21T19:15:01.000000999Z"),
            -539_172_036,
        ),
        (&base("Date"), json!(-5_000_000_000_123i64), 658_068_726),
        (
            &base("SqlTimestamp"),
            json!("2023-11-14T22:13:20.123456789Z"),
            -807_048_720,
        ),
        (&list, json!(["a", "b"]), 4066),
        (&list, json!(["a", null, "b"]), 123_106),
        (&set, json!(["c", "a", "b"]), 294),
        (&map, json!({"a": 1, "b": -7}), 196),
        (&tuple, json!(["a", 1]), 3008),
        (&base("LongValue"), json!(-5), 47),
        (&base("IntValue"), json!(-5), -5),
        (&base("BooleanValue"), json!(true), 1),
        (&base("DoubleValue"), json!(1.5), 1_073_217_567),
        (&base("StringValue"), json!("né"), 3643),
        (&wrapped, json!([-5]), 47),
    ] {
        assert_eq!(hash(snapshot, json.clone()), Some(expected), "{json}");
    }
    assert_eq!(
        hash(&simple(ARRAY, "BytePrimitiveArray"), json!("00")),
        None
    );
    assert_eq!(hash(&simple(ARRAY, "StringArray"), json!(["a"])), None);
    assert_eq!(hash(&an_enum(), json!("LOW")), None);
    assert_eq!(hash(&row(false, vec![string]), json!(["a"])), None);
}

#[test]
fn json_of_another_type_is_refused_with_both_named() {
    let codec = ValueCodec::new(&base("Int"));
    let error = codec
        .parse_json(&json!(5_000_000_000i64))
        .expect_err("too large");
    assert_eq!(
        error.to_string(),
        "incompatible: expected a value of int, found 5000000000"
    );
    let mut out = vec![1];
    let error = codec.encode(&Value::Long(1), &mut out).expect_err("a long");
    assert_eq!(
        error.to_string(),
        "incompatible: expected a value of int, found a long"
    );
    assert_eq!(out, [1]);
    let codec = ValueCodec::new(&ttl(base("Int")));
    assert!(codec.parse_json(&json!(5)).is_err());
    let value = codec.parse_json_used_at(&json!(5), 9).expect("a value");
    assert!(matches!(value, Value::Ttl { last_access: 9, .. }));
}

#[test]
fn null_in_json_is_refused_where_the_serializer_has_no_bytes_for_it() {
    let class = format!("{RUNTIME}TupleSerializerSnapshot");
    let tuple = |first| composite(&class, b"\0\x01x", vec![first, base("Long")]);
    for first in [ttl(base("String")), base("Long"), ttl(base("Long"))] {
        let codec = ValueCodec::new(&tuple(first));
        for json in [
            json!([null, 1]),
            json!([{"value": null, "last_access": 1}, null]),
        ] {
            let error = codec.parse_json(&json).expect_err("a null");
            assert!(error.to_string().starts_with("incompatible: "), "{error}");
        }
    }
    // A string has.
    let codec = ValueCodec::new(&tuple(base("String")));
    let value = codec.parse_json(&json!([null, 1])).expect("a tuple");
    let mut out = Vec::new();
    codec.encode(&value, &mut out).expect("a tuple");
    assert_eq!(out, [0, 0, 0, 0, 0, 0, 0, 0, 1]);
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn snapshot(&mut self, depth: usize) -> SerializerSnapshot {
        const NAMES: [&str; 20] = [
            "String",
            "Long",
            "Int",
            "Short",
            "Byte",
            "Boolean",
            "Char",
            "Double",
            "Float",
            "BigInt",
            "BigDec",
            "Instant",
            "LocalDate",
            "LocalTime",
            "LocalDateTime",
            "Date",
            "SqlTimestamp",
            "Void",
            "LongValue",
            "StringValue",
        ];
        let kinds = if depth == 0 { 3 } else { 13 };
        let mut below = || self.snapshot_below(depth);
        let (first, second) = (below(), below());
        match self.below(kinds) {
            0 => base(NAMES[self.below(NAMES.len())]),
            1 => {
                let names = ["Byte", "Boolean", "Int", "Double"];
                simple(ARRAY, &format!("{}PrimitiveArray", names[self.below(4)]))
            }
            2 => an_enum(),
            3 => SerializerSnapshot::list(first),
            4 => SerializerSnapshot::map(first, second),
            5 => composite(&format!("{BASE}SetSerializerSnapshot"), &[], vec![first]),
            6 => SerializerSnapshot::tuple(vec![first, second]),
            7 => row(self.below(2) == 0, vec![first, second]),
            8 => nullable(self.below(3) as i32, first),
            9 => ttl(first),
            10 => pojo(
                "P",
                &[("a", Some(first)), ("b", Some(second))],
                vec![],
                vec![],
            ),
            11 => {
                let either = format!("{RUNTIME}JavaEitherSerializerSnapshot");
                composite(&either, &[], vec![first, second])
            }
            _ => SerializerSnapshot::timer(first, SerializerSnapshot::time_window()),
        }
    }

    fn snapshot_below(&mut self, depth: usize) -> SerializerSnapshot {
        match depth {
            0 => base("Long"),
            _ => self.snapshot(depth - 1),
        }
    }
}

/// Whatever bytes decode as a value are its bytes: nothing is lost, and nothing panics.
///
/// `MILLPOND_FUZZ_SECONDS` (default 2) bounds the search; `MILLPOND_FUZZ_SEED` repeats one.
#[test]
fn whatever_decodes_is_written_again_byte_by_byte() {
    use std::hash::{BuildHasher, RandomState};
    use std::time::{Duration, Instant};
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        text.parse::<u64>().ok()
    };
    let seed = number("MILLPOND_FUZZ_SEED").unwrap_or_else(|| RandomState::new().hash_one(0));
    let seconds = number("MILLPOND_FUZZ_SECONDS").unwrap_or(2);
    println!("MILLPOND_FUZZ_SEED={seed}");
    let (mut random, start) = (Random(seed), Instant::now());
    let (mut decoded, mut back) = (0u64, 0u64);
    while start.elapsed() < Duration::from_secs(seconds) {
        let snapshot = random.snapshot(3);
        let codec = ValueCodec::new(&snapshot);
        for _ in 0..50 {
            // Small bytes make flags and counts that hold.
            let length = random.below(60);
            let mut bytes = Vec::new();
            for _ in 0..length {
                let byte = match random.below(8) {
                    0..=4 => 0,
                    5 => 1,
                    6 => random.below(6) as u8,
                    _ => random.next() as u8,
                };
                bytes.put_u8(byte);
            }
            let mut input = ByteReader::new(&bytes);
            let mut skipped = ByteReader::new(&bytes);
            let skip = codec.skip(&mut skipped);
            let Ok(value) = codec.decode(&mut input) else {
                assert!(skip.is_err(), "{}", snapshot.describe());
                continue;
            };
            decoded += 1;
            let used = input.position();
            assert_eq!((skip, skipped.position()), (Ok(()), used));
            let mut again = Vec::new();
            codec.encode(&value, &mut again).expect("a value of it");
            assert_eq!(again, bytes[..used], "{}", snapshot.describe());
            let shown = serde_json::to_value(WithTtl(&value)).expect("JSON");
            if let Ok(value) = codec.parse_json(&shown) {
                again.clear();
                codec.encode(&value, &mut again).expect("a value of it");
                back += 1;
            }
        }
    }
    assert!(seconds == 0 || decoded > 100, "{decoded} values");
    assert!(
        seconds == 0 || back * 10 > decoded * 8,
        "{back} of {decoded}"
    );
}
