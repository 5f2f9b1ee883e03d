//! Values by the description of their serializer: decoded, skipped, hashed, as JSON and back.
//!
//! An input is a serializer snapshot, and behind it a value.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millpond_fuzz::{golden, keyed_states, seeds, serializers, within};
use millpond_serializer::{ByteReader, SerializerSnapshot, ValueCodec, WithTtl, skip_value};
use millpond_snapshot::{KeyedHandle, KeyedReader, StateSource};

fuzz_target!(
    init: seeds(|put| {
        for serializer in serializers() {
            let mut input = Vec::new();
            serializer.write(&mut input).expect("read before");
            input.extend([0; 16]);
            put(input);
        }
        for golden in golden() {
            keyed_states(&golden, &mut |handle, data, max_parallelism| {
                let KeyedHandle::KeyGroups { kind, groups, .. } = handle else { return };
                let Some(range) = handle.key_groups() else { return };
                let source = StateSource::of_bytes("state", data.to_vec());
                let reader = KeyedReader::open(source, kind, groups, range, max_parallelism);
                let Ok(mut reader) = reader else { return };
                let header = reader.header().clone();
                let mut seen = vec![false; header.states.len()];
                while let Ok(Some(entry)) = reader.next_entry() {
                    let state = &header.states[entry.state];
                    if std::mem::replace(&mut seen[entry.state], true) {
                        continue;
                    }
                    let Ok(serializer) = state.value_serializer() else { continue };
                    let mut input = Vec::new();
                    serializer.write(&mut input).expect("read before");
                    input.extend(entry.value);
                    put(input);
                }
            });
        }
    }),
    |bytes: &[u8]| within(bytes.len(), || read(bytes))
);

fn read(bytes: &[u8]) {
    let mut input = ByteReader::new(bytes);
    let Ok(serializer) = SerializerSnapshot::read(&mut input) else {
        return;
    };
    let codec = ValueCodec::new(&serializer);
    let (start, mut skipped) = (input.position(), input.clone());
    let skips = skip_value(&serializer, &mut skipped).is_ok();
    let Ok(value) = codec.decode(&mut input) else {
        return;
    };
    let bytes = input.since(start);
    if skips {
        assert_eq!(skipped.position(), input.position(), "{serializer:?}");
    }
    codec.hash_code(&value);
    let mut written = Vec::new();
    codec
        .encode(&value, &mut written)
        .expect("what was read can be written");
    assert_eq!(written, bytes, "{serializer:?}");
    let json = serde_json::to_value(WithTtl(&value)).expect("every value is JSON");
    // JSON has no number that is none, and maps of JSON hold a key once.
    if let Ok(back) = codec.parse_json(&json) {
        written.clear();
        codec
            .encode(&back, &mut written)
            .expect("what JSON says can be written");
    }
}
