//! Avro records in state, against bytes that Avro's Java library wrote through Flink's encoder
//! (`golden/README.md`), and changed schemas.

#![cfg(feature = "avro")]

use millpond_serializer::{
    Avro, AvroRecord, AvroSchema, ByteReader, Compatibility, FlinkType, SerializerSnapshot, Value,
    decode_value, encode_value,
};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "UPPERCASE")]
enum Level {
    Low,
    High,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Inner {
    n: i32,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Reading {
    sensor: String,
    count: i32,
    total: i64,
    ratio: f64,
    on: bool,
    level: Level,
    note: Option<String>,
    tags: Vec<String>,
    sums: HashMap<String, i64>,
    inner: Inner,
}

impl AvroRecord for Reading {
    const CLASS: &'static str = "com.example.Reading";

    fn schema() -> &'static AvroSchema {
        static SCHEMA: AvroSchema = AvroSchema::new(
            r#"{"type":"record","name":"Reading","namespace":"com.example","fields":[
                {"name":"sensor","type":"string"},
                {"name":"count","type":"int"},
                {"name":"total","type":"long"},
                {"name":"ratio","type":"double"},
                {"name":"on","type":"boolean"},
                {"name":"level","type":{"type":"enum","name":"Level","symbols":["LOW","HIGH"]}},
                {"name":"note","type":["null","string"],"default":null},
                {"name":"tags","type":{"type":"array","items":"string"}},
                {"name":"sums","type":{"type":"map","values":"long"}},
                {"name":"inner","type":{"type":"record","name":"Inner","fields":[
                    {"name":"n","type":"int"}]}}
            ]}"#,
        );
        &SCHEMA
    }
}

/// `count` and `total` are promoted, `ratio`, `on`, `sums` are gone, `unit` and `other` are new.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Later {
    sensor: String,
    unit: String,
    count: i64,
    total: f64,
    level: Level,
    note: Option<String>,
    tags: Vec<String>,
    inner: Inner,
    other: Option<Inner>,
}

impl AvroRecord for Later {
    const CLASS: &'static str = "com.example.Reading";

    fn schema() -> &'static AvroSchema {
        static SCHEMA: AvroSchema = AvroSchema::new(
            r#"{"type":"record","name":"Reading","namespace":"com.example","fields":[
                {"name":"sensor","type":"string"},
                {"name":"unit","type":"string","default":"mm"},
                {"name":"count","type":"long"},
                {"name":"total","type":"double"},
                {"name":"level","type":{"type":"enum","name":"Level","symbols":["LOW","HIGH"]}},
                {"name":"note","type":["null","string"],"default":null},
                {"name":"tags","type":{"type":"array","items":"string"}},
                {"name":"inner","type":{"type":"record","name":"Inner","fields":[
                    {"name":"n","type":"int"}]}},
                {"name":"other","type":["null","Inner"],"default":null}
            ]}"#,
        );
        &SCHEMA
    }
}

/// `sensor` is a number, `extra` has no default.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Wrong {
    extra: String,
}

impl AvroRecord for Wrong {
    const CLASS: &'static str = "com.example.Reading";

    fn schema() -> &'static AvroSchema {
        static SCHEMA: AvroSchema = AvroSchema::new(
            r#"{"type":"record","name":"Reading","namespace":"com.example","fields":[
                {"name":"extra","type":"string"}]}"#,
        );
        &SCHEMA
    }
}

fn reading() -> Reading {
    Reading {
        sensor: "né".to_owned(),
        count: -1,
        total: 7,
        ratio: 1.5,
        on: true,
        level: Level::High,
        note: Some("x".to_owned()),
        tags: vec!["a".to_owned(), "b".to_owned()],
        sums: [("k".to_owned(), 3)].into(),
        inner: Inner { n: 9 },
    }
}

/// What Java wrote of the record of this name.
fn golden(name: &str) -> Vec<u8> {
    let mut lines = include_str!("golden/avro.txt").lines();
    let hex = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let hex = hex.unwrap_or_else(|| panic!("no {name}")).as_bytes();
    let digit = |digit: u8| (digit as char).to_digit(16).expect("hexadecimal") as u8;
    let pairs = hex.chunks_exact(2);
    pairs
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}

fn bytes() -> Vec<u8> {
    golden("reading")
}

#[test]
fn a_record_has_the_layout_of_flinks_encoder() {
    let mut out = Vec::new();
    Avro(reading()).write(&mut out);
    assert_eq!(out, bytes());
    let mut input = ByteReader::new(&out);
    assert_eq!(Avro::<Reading>::read(&mut input), Ok(Avro(reading())));
    assert!(input.is_empty());
    for cut in 0..out.len() {
        assert!(Avro::<Reading>::read(&mut ByteReader::new(&out[..cut])).is_err());
    }
    // What reads values without their Rust type agrees.
    let snapshot = Avro::<Reading>::serializer_snapshot();
    let untyped = decode_value(&snapshot, &mut ByteReader::new(&out)).expect("the same record");
    let Value::Record(record) = untyped else {
        panic!("{untyped:?}");
    };
    assert_eq!(record.field("count"), Some(&Value::Int(-1)));
}

/// Types of every kind: blocks of more than 127 items, empty ones, unions of many branches, fixed.
#[test]
fn every_type_has_the_layout_that_java_wrote() {
    let schema = r#"{"type":"record","name":"Wide","namespace":"com.example","fields":[
        {"name":"f","type":"float"},
        {"name":"raw","type":"bytes"},
        {"name":"none","type":"bytes"},
        {"name":"md5","type":{"type":"fixed","name":"Md5","size":4}},
        {"name":"empty","type":{"type":"array","items":"int"}},
        {"name":"long","type":{"type":"array","items":"int"}},
        {"name":"nested","type":{"type":"array","items":
            {"type":"map","values":["null","long","string"]}}},
        {"name":"choice","type":["null","int","string",
            {"type":"record","name":"In","fields":[{"name":"n","type":"long"}]}]},
        {"name":"day","type":{"type":"int","logicalType":"date"}},
        {"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}},
        {"name":"price","type":
            {"type":"bytes","logicalType":"decimal","precision":6,"scale":2}}]}"#;
    let snapshot = SerializerSnapshot::avro("com.example.Wide", schema);
    let bytes = golden("wide");
    let mut input = ByteReader::new(&bytes);
    let value = decode_value(&snapshot, &mut input).expect("as Java wrote it");
    assert!(input.is_empty());
    let Value::Record(record) = &value else {
        panic!("{value:?}");
    };
    let field = |name: &str| record.field(name).expect("a field").clone();
    let longs: Vec<Value> = (0..300).map(|n| Value::Int(n * 7)).collect();
    assert_eq!(field("f"), Value::Float(-0.25));
    assert_eq!(field("raw"), Value::Bytes(vec![1, 2, 255]));
    assert_eq!(field("none"), Value::Bytes(Vec::new()));
    assert_eq!(field("md5"), Value::Bytes(vec![9, 8, 7, 6]));
    assert_eq!(field("empty"), Value::List(Vec::new()));
    assert_eq!(field("long"), Value::List(longs));
    let map = |key: &str, value: Value| Value::Map(vec![(Value::String(key.to_owned()), value)]);
    let branch = |branch: u32, value: Value| Value::Union {
        branch,
        value: Box::new(value),
    };
    let maps = [
        map("a", branch(0, Value::Null)),
        map("b", branch(1, Value::Long(5))),
        map("c", branch(2, Value::String("t".to_owned()))),
        Value::Map(Vec::new()),
    ];
    assert_eq!(field("nested"), Value::List(maps.to_vec()));
    let Value::Union {
        branch: 3,
        value: chosen,
    } = field("choice")
    else {
        panic!("{:?}", field("choice"));
    };
    let Value::Record(inner) = *chosen else {
        panic!("{chosen:?}");
    };
    assert_eq!(inner.field("n"), Some(&Value::Long(i64::MIN)));
    assert_eq!(field("day"), Value::Int(19_000));
    assert_eq!(field("at"), Value::Long(-1));
    assert_eq!(field("price"), Value::Bytes(vec![0xfb, 0x2e]));
    let mut again = Vec::new();
    encode_value(&snapshot, &value, &mut again).expect("the same record");
    assert_eq!(again, bytes);
}

#[test]
fn a_changed_schema_reads_what_the_old_one_wrote_by_avros_rules() {
    let old = Avro::<Reading>::serializer_snapshot();
    assert_eq!(Avro::<Reading>::resolve(&old), Compatibility::AsIs);
    assert_eq!(Avro::<Later>::resolve(&old), Compatibility::AfterMigration);
    let reader = Avro::<Later>::reader(&old).expect("readable");
    let bytes = bytes();
    let mut input = ByteReader::new(&bytes);
    let later = Later {
        sensor: "né".to_owned(),
        unit: "mm".to_owned(),
        count: -1,
        total: 7.0,
        level: Level::High,
        note: Some("x".to_owned()),
        tags: vec!["a".to_owned(), "b".to_owned()],
        inner: Inner { n: 9 },
        other: None,
    };
    assert_eq!(reader.read(&mut input), Ok(Avro(later)));
    assert!(input.is_empty());
}

#[test]
fn a_schema_that_cannot_read_the_old_one_is_refused() {
    let old = Avro::<Reading>::serializer_snapshot();
    let why = Avro::<Wrong>::reader(&old).expect_err("no default");
    assert!(why.reason.contains("cannot read the old one"), "{why}");
    assert!(why.reason.contains("extra"), "{why}");
    let later = Avro::<Later>::serializer_snapshot();
    let why = Avro::<Reading>::reader(&later).expect_err("a long is no int");
    assert!(why.reason.contains("cannot read the old one"), "{why}");
}

#[test]
fn the_schema_is_compared_as_a_schema_and_written_without_white_space() {
    let old = Avro::<Wrong>::serializer_snapshot();
    let mut out = Vec::new();
    old.write(&mut out).expect("short");
    let text = String::from_utf8_lossy(&out).into_owned();
    assert!(!text.contains(' ') && !text.contains('\n'), "{text}");
    let mut other = old.clone();
    if let millpond_serializer::SnapshotBody::Avro { schema, .. } = &mut other.body {
        *schema = r#"{ "name": "Reading", "namespace": "com.example", "type": "record",
            "fields": [ {"type": "string", "name": "extra"} ] }"#
            .to_owned();
    }
    assert_eq!(Avro::<Wrong>::resolve(&other), Compatibility::AsIs);
}
