//! Files of keyed state: canonical and native ones, plain and compressed.
//!
//! An input is one byte of flags, the number of key groups, an offset for each, and the file.
//! Where the header says that key groups are compressed, those of the input are compressed here:
//! no checksum of Snappy that is made up would match.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millpond_fuzz::{Input, golden, keyed_states, seeds, within};
use millpond_serializer::{ByteReader, ValueCodec, skip_value};
use millpond_snapshot::{
    CanonicalReader, KeyGroupOffsets, KeyGroupsKind, KeyedHandle, KeyedHeader, KeyedReader,
    NativeHeapReader, StateSource, split_key,
};
use std::io::Read;

/// The file is read as a native one.
const NATIVE: u8 = 1;
/// Which format it is, its groups say.
const GUESSED: u8 = 2;
/// There are more than 128 key groups in all.
const WIDE: u8 = 4;

fuzz_target!(
    init: seeds(|put| {
        for golden in golden() {
            keyed_states(&golden, &mut |handle, data, max_parallelism| {
                let KeyedHandle::KeyGroups { kind, groups, .. } = handle else { return };
                let guessed = !matches!(kind, KeyGroupsKind::Savepoint);
                let flags = u8::from(guessed) * GUESSED | u8::from(max_parallelism > 128) * WIDE;
                // A few groups tell as much as all.
                let count = groups.offsets.len().min(5);
                let mut input = vec![flags, count as u8];
                for offset in &groups.offsets[..count] {
                    input.extend((*offset as u32).to_be_bytes());
                }
                let end = groups.offsets.get(count).filter(|end| **end > 0);
                input.extend(&data[..end.map_or(data.len(), |end| *end as usize)]);
                put(input);
            });
        }
    }),
    |bytes: &[u8]| within(bytes.len(), || read(Input::new(bytes)))
);

fn read(mut input: Input<'_>) {
    let (flags, count) = (input.u8(), input.u8() % 8);
    let offsets = (0..count).map(|_| i64::from(input.u32() as i32)).collect();
    let groups = KeyGroupOffsets { first: 0, offsets };
    let Some(range) = groups.range() else { return };
    let (data, groups) = compressed(input.rest(), groups);
    let source = StateSource::of_bytes("state", data);
    let max_parallelism = if flags & WIDE == 0 { 128 } else { 300 };
    let opened = match flags {
        _ if flags & GUESSED != 0 => {
            let kind = KeyGroupsKind::V1;
            KeyedReader::open(source, &kind, &groups, range, max_parallelism)
        }
        _ if flags & NATIVE != 0 => {
            NativeHeapReader::open(source, &groups, range).map(KeyedReader::NativeHeap)
        }
        _ => CanonicalReader::open(source, &groups, range, max_parallelism)
            .map(KeyedReader::Canonical),
    };
    let Ok(mut reader) = opened else { return };
    let header = reader.header().clone();
    let codecs: Vec<Option<ValueCodec>> = header
        .states
        .iter()
        .map(|state| state.value_serializer().ok().map(ValueCodec::new))
        .collect();
    while let Ok(Some(entry)) = reader.next_entry() {
        assert!(range.contains(entry.key_group));
        // Any answer will do.
        split_key(&header, entry.state, entry.key).ok();
        if let Some(codec) = &codecs[entry.state] {
            codec.decode_or_opaque(entry.value).ok();
        }
        if let Ok(serializer) = header.states[entry.state].value_serializer() {
            skip_value(serializer, &mut ByteReader::new(entry.value)).ok();
        }
    }
}

/// The file with compressed key groups, if its header says that they are.
fn compressed(data: &[u8], groups: KeyGroupOffsets) -> (Vec<u8>, KeyGroupOffsets) {
    let mut header = ByteReader::new(data);
    let is_compressed = KeyedHeader::read(&mut header).is_ok_and(|header| header.compressed);
    if !is_compressed {
        return (data.to_vec(), groups);
    }
    let (mut out, mut offsets) = (header.since(0).to_vec(), Vec::new());
    for (at, offset) in groups.offsets.iter().enumerate() {
        let start = usize::try_from(*offset).unwrap_or(0);
        let behind = groups.offsets.get(at + 1).copied().unwrap_or(i64::MAX);
        let end = usize::try_from(behind).unwrap_or(0).min(data.len());
        let Some(plain) = data.get(start..end).filter(|_| start > 0) else {
            offsets.push(0);
            continue;
        };
        offsets.push(out.len() as i64);
        snap::read::FrameEncoder::new(plain)
            .read_to_end(&mut out)
            .expect("memory can be read");
    }
    let first = groups.first;
    (out, KeyGroupOffsets { first, offsets })
}
