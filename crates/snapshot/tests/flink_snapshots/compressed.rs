//! Compressed state is read as the same entries.
//!
//! No golden snapshot is compressed, so these tests compress golden ones by the rules: the flag
//! in the header is the byte behind its version, and offsets move.

use std::io::{Read, Write};

use millpond_snapshot::{
    KeyGroupOffsets, KeyGroupsKind, KeyedHandle, KeyedReader, OperatorStateHandle,
    OperatorStateHeader, OperatorStateReader, StateSource, StreamHandle,
};

use crate::fixture::golden;

fn framed(plain: &[u8]) -> Vec<u8> {
    let mut framed = Vec::new();
    snap::read::FrameEncoder::new(plain)
        .read_to_end(&mut framed)
        .expect("memory");
    framed
}

type Row = (u16, usize, Vec<u8>, Vec<u8>);

fn entries(kind: &KeyGroupsKind, groups: &KeyGroupOffsets, bytes: &[u8]) -> Vec<Row> {
    let source = StateSource::of_bytes("test", bytes);
    let range = groups.range().expect("not empty");
    let mut reader = KeyedReader::open(source, kind, groups, range, 128).expect("a header");
    let mut rows = Vec::new();
    while let Some(entry) = reader.next_entry().expect("whole") {
        rows.push((
            entry.key_group.0,
            entry.state,
            entry.key.to_vec(),
            entry.value.to_vec(),
        ));
    }
    rows
}

#[test]
fn keyed_state_of_both_formats_is_read_from_compressed_key_groups() {
    let mut checked = 0;
    let wanted = |name: &str| {
        name.ends_with("timers-hashmap-canonical") || name.ends_with("kinds-hashmap-native")
    };
    for golden in golden().iter().filter(|golden| wanted(&golden.name)) {
        let snapshot = golden.load();
        let operators = &snapshot.metadata.operators;
        for (_, subtask) in operators.iter().flat_map(|operator| &operator.subtasks) {
            let Some(KeyedHandle::KeyGroups {
                kind,
                groups,
                stream,
            }) = &subtask.managed_keyed
            else {
                continue;
            };
            let plain = snapshot
                .open(stream)
                .expect("there")
                .read_all()
                .expect("there");
            let mut starts: Vec<usize> = groups
                .offsets
                .iter()
                .filter(|at| **at > 0)
                .map(|at| *at as usize)
                .collect();
            starts.push(plain.len());
            let mut bytes = plain[..starts[0]].to_vec();
            assert_eq!(std::mem::replace(&mut bytes[4], 1), 0, "the flag");
            let mut moved = groups.clone();
            let mut parts = starts.windows(2).map(|pair| &plain[pair[0]..pair[1]]);
            for offset in moved.offsets.iter_mut().filter(|at| **at > 0) {
                let part = parts.next().expect("one per group");
                *offset = bytes.len() as i64;
                // The native format does not compress the number of the group.
                let head = if *kind == KeyGroupsKind::Savepoint {
                    0
                } else {
                    4
                };
                bytes.extend_from_slice(&part[..head]);
                bytes.extend(framed(&part[head..]));
            }
            let expected = entries(kind, groups, &plain);
            assert_eq!(entries(kind, &moved, &bytes), expected, "{}", golden.name);
            checked += expected.len();
        }
    }
    assert!(checked > 100);
}

#[test]
fn operator_state_is_read_from_a_compressed_stream() {
    let mut checked = 0;
    for golden in golden()
        .iter()
        .filter(|golden| golden.name.ends_with("opstate-hashmap-canonical"))
    {
        let snapshot = golden.load();
        let operators = &snapshot.metadata.operators;
        for (_, subtask) in operators.iter().flat_map(|operator| &operator.subtasks) {
            let Some(handle) = &subtask.managed_operator else {
                continue;
            };
            let plain = snapshot.open_operator(handle).expect("a header");
            let header = OperatorStateHeader {
                version: 6,
                compressed: true,
                ..plain.header().clone()
            };
            let mut bytes = Vec::new();
            header.write(&mut bytes).expect("short names");
            // One stream, flushed before every element.
            let start = bytes.len();
            let mut encoder = snap::write::FrameEncoder::new(Vec::new());
            let mut states = handle.states.clone();
            for (state, original) in states.iter_mut().zip(&handle.states) {
                for (offset, at) in state.offsets.iter_mut().zip(&original.offsets) {
                    // The identifier is in front of the first chunk, as Flink writes it.
                    let written = encoder.get_ref().len().max(10);
                    *offset = (start + written) as i64;
                    encoder
                        .write_all(&plain.element(*at).expect("there"))
                        .expect("memory");
                    encoder.flush().expect("memory");
                }
            }
            bytes.extend_from_slice(encoder.get_ref());
            let stream = StreamHandle::Bytes {
                name: String::new(),
                data: Vec::new(),
            };
            let moved = OperatorStateHandle {
                states,
                stream,
                merged: None,
            };
            let reader = OperatorStateReader::new(bytes, &moved).expect("a header");
            for (state, original) in moved.states.iter().zip(&handle.states) {
                for (offset, at) in state.offsets.iter().zip(&original.offsets) {
                    let element = reader.element(*offset).expect("there");
                    assert_eq!(
                        element,
                        plain.element(*at).expect("there"),
                        "{}",
                        golden.name
                    );
                    checked += 1;
                }
            }
        }
    }
    assert!(checked > 20, "{checked} elements");
}
