//! Avro records in state, against bytes made by hand after Flink's encoder, and changed schemas.
//!
//! The classes of `flink-avro` are in no package that the tests can fetch: the layout is that of
//! the format's description and not compared with bytes that Flink wrote.

#![cfg(feature = "avro")]

use millpond_serializer::{
    Avro, AvroRecord, AvroSchema, ByteReader, Compatibility, FlinkType, Value, decode_value,
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

fn bytes() -> Vec<u8> {
    let mut bytes = vec![0, 0, 0, 3, b'n', 0xc3, 0xa9, 255, 255, 255, 255];
    bytes.extend(7i64.to_be_bytes());
    bytes.extend(1.5f64.to_be_bytes());
    bytes.extend([1, 0, 0, 0, 1]);
    bytes.extend([0, 0, 0, 1, 0, 0, 0, 1, b'x']);
    bytes.extend([2, 0, 0, 0, 1, b'a', 0, 0, 0, 1, b'b', 0]);
    bytes.extend([1, 0, 0, 0, 1, b'k', 0, 0, 0, 0, 0, 0, 0, 3, 0]);
    bytes.extend([0, 0, 0, 9]);
    bytes
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
