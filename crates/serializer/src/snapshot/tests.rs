use super::*;
use crate::FlinkType;

fn enclosed(snapshot: &SerializerSnapshot) -> Vec<u8> {
    let mut out = Vec::new();
    snapshot.write_enclosed(&mut out).expect("short names");
    out
}

fn utf(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_utf(text).expect("short");
    out
}

fn bytes(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

fn round_trips(bytes: &[u8]) -> SerializerSnapshot {
    let mut input = ByteReader::new(bytes);
    let snapshot = SerializerSnapshot::read_enclosed(&mut input).expect("a snapshot");
    assert!(input.is_empty());
    assert_eq!(enclosed(&snapshot), bytes);
    snapshot
}

#[test]
fn a_tuple_of_string_and_long_has_the_bytes_that_flink_writes() {
    let string = utf(&format!("{BASE}StringSerializer$StringSerializerSnapshot"));
    let long = utf(&format!("{BASE}LongSerializer$LongSerializerSnapshot"));
    let expected = bytes(&[
        &[0, 0, 0, 2],
        &utf(&format!("{RUNTIME}TupleSerializerSnapshot")),
        &[0, 0, 0, 3, 0, 0x0d, 0xe7, 0x04, 0, 0, 0, 2],
        &utf("org.apache.flink.api.java.tuple.Tuple2"),
        &[0, 0x14, 0x57, 0xfd, 0, 0, 0, 1, 0, 0, 0, 2],
        &string,
        &[0, 0, 0, 3],
        &long,
        &[0, 0, 0, 3],
    ]);
    assert_eq!(enclosed(&<(String, i64)>::serializer_snapshot()), expected);
    assert_eq!(
        round_trips(&expected),
        <(String, i64)>::serializer_snapshot()
    );
}

#[test]
fn snapshots_of_every_kind_round_trip() {
    let long = i64::serializer_snapshot();
    let class = |name: &str| format!("{RUNTIME}{name}");
    let entry = |value: Option<SerializerSnapshot>| OptionalEntry {
        name: "a".to_owned(),
        key: Some(vec![1, 2]),
        value,
    };
    let body = SnapshotBody::Pojo {
        class: "p.P".to_owned(),
        fields: vec![entry(Some(long.clone())), entry(None)],
        registered: vec![entry(Some(long.clone()))],
        other: vec![],
    };
    let pojo = SerializerSnapshot {
        class: class("PojoSerializerSnapshot"),
        version: 2,
        body,
    };
    let frame = OptionalEntry {
        name: "k".to_owned(),
        key: None,
        value: Some(vec![9]),
    };
    let body = SnapshotBody::Kryo {
        class: "k.K".to_owned(),
        maps: [vec![frame], vec![], vec![]],
    };
    let kryo = SerializerSnapshot {
        class: class("kryo.KryoSerializerSnapshot"),
        version: 2,
        body,
    };
    let body = SnapshotBody::Enum {
        class: "e.E".to_owned(),
        constants: vec!["A".to_owned(), "B".to_owned()],
    };
    let class = format!("{BASE}EnumSerializer$EnumSerializerSnapshot");
    let list = SerializerSnapshot::list(SerializerSnapshot {
        class,
        version: 3,
        body,
    });
    let class = "org.apache.flink.formats.avro.typeutils.AvroSerializerSnapshot".to_owned();
    let body = SnapshotBody::Avro {
        class: Some("a.A".to_owned()),
        schema: "{}".to_owned(),
    };
    let avro = SerializerSnapshot {
        class,
        version: 3,
        body,
    };
    let mut legacy = long;
    legacy.version = 2;
    legacy.body = SnapshotBody::Legacy {
        serializer_class: "LongSerializer".to_owned(),
    };
    for snapshot in [pojo, kryo, list, avro, legacy] {
        let written = enclosed(&snapshot);
        assert_eq!(round_trips(&written), snapshot);
        for cut in 0..written.len() {
            let result = SerializerSnapshot::read_enclosed(&mut ByteReader::new(&written[..cut]));
            assert!(result.is_err(), "cut at {cut}");
        }
    }
}

#[test]
fn an_unknown_class_is_named_and_nonsense_is_damage() {
    let mut out = bytes(&[&[0, 0, 0, 2], &utf("com.acme.OwnSnapshot"), &[0, 0, 0, 1]]);
    let error = SerializerSnapshot::read_enclosed(&mut ByteReader::new(&out)).expect_err("unknown");
    let expected = "not supported: serializer snapshot class \"com.acme.OwnSnapshot\" at offset 4";
    assert_eq!(error.to_string(), expected);
    out[8] = b'\t';
    let error = SerializerSnapshot::read_enclosed(&mut ByteReader::new(&out)).expect_err("damage");
    assert!(
        matches!(error.kind(), crate::ErrorKind::Corrupt { offset: 4, .. }),
        "{error}"
    );
}

#[test]
fn nesting_without_end_is_refused_before_the_stack_is() {
    let mut snapshot = i64::serializer_snapshot();
    for _ in 0..200 {
        snapshot = SerializerSnapshot::list(snapshot);
    }
    let written = enclosed(&snapshot);
    assert!(SerializerSnapshot::read_enclosed(&mut ByteReader::new(&written)).is_err());
}
