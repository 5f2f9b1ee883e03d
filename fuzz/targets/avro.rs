//! Avro records: any schema of a snapshot, resolved to that of the program, and values of it.
//!
//! An input is the length of a schema, the schema in JSON, and a value.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millpond_fuzz::{Input, seeds, within};
use millpond_serializer::{
    Avro, AvroRecord, AvroSchema, ByteReader, FlinkType, SerializerSnapshot,
};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

#[derive(Serialize, Deserialize, Clone, Debug)]
struct Inner {
    n: i32,
}

#[derive(Serialize, Deserialize, Clone, Debug)]
struct Reading {
    sensor: String,
    count: i64,
    ratio: f64,
    note: Option<String>,
    tags: Vec<String>,
    sums: HashMap<String, i64>,
    inner: Option<Inner>,
}

const SCHEMA: &str = r#"{"type":"record","name":"Reading","fields":[
    {"name":"sensor","type":"string","default":""},
    {"name":"count","type":"long","default":0},
    {"name":"ratio","type":"double","default":0.0},
    {"name":"note","type":["null","string"],"default":null},
    {"name":"tags","type":{"type":"array","items":"string"},"default":[]},
    {"name":"sums","type":{"type":"map","values":"long"},"default":{}},
    {"name":"inner","type":["null",{"type":"record","name":"Inner","fields":[
        {"name":"n","type":"int"}]}],"default":null}
]}"#;

impl AvroRecord for Reading {
    const CLASS: &'static str = "com.example.Reading";

    fn schema() -> &'static AvroSchema {
        static PARSED: AvroSchema = AvroSchema::new(SCHEMA);
        &PARSED
    }
}

/// Earlier schemas of the record, and others.
const SCHEMAS: [&str; 5] = [
    r#"{"type":"record","name":"Reading","fields":[]}"#,
    r#"{"type":"record","name":"Reading","fields":[{"name":"count","type":"int"},
        {"name":"old","type":{"type":"enum","name":"E","symbols":["A","B"]}},
        {"name":"next","type":["null","Reading"]}]}"#,
    r#"{"type":"record","name":"Reading","fields":[{"name":"a","type":{"type":"fixed","name":"F",
        "size":3}},{"name":"b","type":{"type":"bytes","logicalType":"decimal","precision":4,
        "scale":2}},{"name":"ratio","type":"float"}]}"#,
    r#"{"type":"record","name":"Reading","fields":[{"name":"tags","type":{"type":"array",
        "items":"bytes"}},{"name":"sums","type":{"type":"map","values":"int"}},
        {"name":"d","type":{"type":"int","logicalType":"date"}}]}"#,
    r#"{"type":"array","items":{"type":"map","values":["null","boolean"]}}"#,
];

fuzz_target!(
    init: seeds(|put| {
        let mut value = Vec::new();
        Avro(Reading {
            sensor: "s".to_owned(),
            count: 3,
            ratio: 0.5,
            note: Some("n".to_owned()),
            tags: vec!["t".to_owned(); 3],
            sums: HashMap::from([("k".to_owned(), 4)]),
            inner: Some(Inner { n: 5 }),
        })
        .write(&mut value);
        for (schema, value) in [(SCHEMA, &value[..])].into_iter().chain(SCHEMAS.map(|schema| (schema, &[0; 40][..]))) {
            let mut input = (schema.len() as u16).to_be_bytes().to_vec();
            input.extend(schema.as_bytes());
            input.extend(value);
            put(input);
        }
    }),
    |bytes: &[u8]| within(bytes.len(), || read(Input::new(bytes)))
);

fn read(mut input: Input<'_>) {
    let length = usize::from(input.u16());
    let Ok(schema) = std::str::from_utf8(input.part(length)) else {
        return;
    };
    let mut previous = Vec::new();
    // Only short texts are schemas here.
    if SerializerSnapshot::avro(Reading::CLASS, schema)
        .write(&mut previous)
        .is_err()
    {
        return;
    }
    let previous = SerializerSnapshot::read(&mut ByteReader::new(&previous)).expect("written");
    Avro::<Reading>::resolve(&previous);
    let Ok(reader) = Avro::<Reading>::reader(&previous) else {
        return;
    };
    let Ok(value) = reader.read(&mut ByteReader::new(input.rest())) else {
        return;
    };
    let mut written = Vec::new();
    value.write(&mut written);
    Avro::<Reading>::read(&mut ByteReader::new(&written)).expect("what was written can be read");
}
