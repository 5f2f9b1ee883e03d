//! Serializer snapshots, and what one of them makes of another.
//!
//! An input is two of them, one behind the other. What is read is written again with equal bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millpond_fuzz::{seeds, serializers, within};
use millpond_serializer::{ByteReader, Compatibility, SerializerSnapshot, ValueCodec};

fuzz_target!(
    init: seeds(|put| {
        let all = serializers();
        for (one, other) in all.iter().zip(all.iter().skip(1).chain(&all)) {
            let mut input = Vec::new();
            one.write(&mut input).expect("read before");
            other.write(&mut input).expect("read before");
            put(input);
        }
    }),
    |bytes: &[u8]| within(bytes.len(), || read(bytes))
);

fn read(bytes: &[u8]) {
    let mut input = ByteReader::new(bytes);
    let Ok(one) = SerializerSnapshot::read(&mut input) else {
        return;
    };
    let mut written = Vec::new();
    if one.write(&mut written).is_ok() {
        let again = SerializerSnapshot::read(&mut ByteReader::new(&written));
        assert_eq!(again.expect("what was written can be read"), one);
    }
    one.describe();
    one.java_class();
    one.fixed_length();
    ValueCodec::new(&one).has_known_hash();
    assert!(
        matches!(
            one.resolve(&one),
            Compatibility::AsIs | Compatibility::Incompatible(_)
        ),
        "{one:?} migrates to itself"
    );
    if let Ok(other) = SerializerSnapshot::read(&mut input) {
        one.resolve(&other);
        other.resolve(&one);
    }
}
