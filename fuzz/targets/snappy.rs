//! Framed Snappy streams: a key group that is compressed, as it came; and chunks of operator state.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millpond_fuzz::{seeds, within};
use millpond_serializer::SerializerSnapshot;
use millpond_snapshot::{
    CanonicalReader, DistributionMode, KeyGroupOffsets, KeyedHeader, KeyedStateType,
    OperatorStateHandle, OperatorStateHeader, OperatorStateOffsets, OperatorStateReader, StateMeta,
    StateSource, StreamHandle,
};
use millpond_types::KeyGroupRange;
use std::io::Read;

fuzz_target!(
    init: seeds(|put| {
        for plain in [&b""[..], b"a", &b"abc".repeat(100), &[0; 70_000]] {
            let mut framed = Vec::new();
            let mut encoder = snap::read::FrameEncoder::new(plain);
            encoder.read_to_end(&mut framed).expect("memory can be read");
            put(framed);
        }
    }),
    |bytes: &[u8]| within(bytes.len(), || {
        keyed(bytes);
        operator(bytes);
    })
);

fn keyed(framed: &[u8]) {
    let long = <i64 as millpond_serializer::FlinkType>::serializer_snapshot();
    let void = SerializerSnapshot::void_namespace();
    let header = KeyedHeader {
        compressed: true,
        key_serializer: long.clone(),
        states: vec![StateMeta::key_value("s", KeyedStateType::Value, void, long)],
    };
    let mut data = Vec::new();
    header.write(&mut data).expect("a short name");
    let offsets = vec![data.len() as i64];
    data.extend(framed);
    let groups = KeyGroupOffsets { first: 0, offsets };
    let range = KeyGroupRange::of_subtask(0, 1, 1);
    let source = StateSource::of_bytes("state", data);
    let Ok(mut reader) = CanonicalReader::open(source, &groups, range, 1) else {
        return;
    };
    while let Ok(Some(_)) = reader.next_entry() {}
}

fn operator(framed: &[u8]) {
    let long = <i64 as millpond_serializer::FlinkType>::serializer_snapshot();
    let mode = DistributionMode::SplitDistribute;
    let mut header = OperatorStateHeader::new(vec![StateMeta::operator("s", mode, long)], vec![]);
    // Of version 5 the chunks are not read.
    (header.version, header.compressed) = (6, true);
    let mut data = Vec::new();
    header.write(&mut data).expect("a short name");
    let offset = data.len() as i64;
    data.extend(framed);
    let state = OperatorStateOffsets {
        name: "s".to_owned(),
        mode,
        offsets: vec![offset],
    };
    let handle = OperatorStateHandle {
        states: vec![state],
        stream: StreamHandle::EmptySegment,
        merged: None,
    };
    if let Ok(reader) = OperatorStateReader::new(data, &handle) {
        reader.element(offset).ok();
    }
}
