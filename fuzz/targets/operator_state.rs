//! Files of operator state.
//!
//! An input is the number of offsets, the offsets, and the file. Every state of the header is given
//! all offsets.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millpond_fuzz::{Input, golden, operator_states, seeds, within};
use millpond_serializer::{ByteReader, ValueCodec};
use millpond_snapshot::{
    DistributionMode, OperatorStateHandle, OperatorStateHeader, OperatorStateOffsets,
    OperatorStateReader, StreamHandle,
};

fuzz_target!(
    init: seeds(|put| {
        for golden in golden() {
            operator_states(&golden, &mut |handle, data| {
                let offsets = handle.states.iter().flat_map(|state| &state.offsets).take(9);
                let offsets: Vec<i64> = offsets.copied().collect();
                let mut input = vec![offsets.len() as u8];
                for offset in offsets {
                    input.extend((offset as u32).to_be_bytes());
                }
                input.extend(data);
                put(input);
            });
        }
    }),
    |bytes: &[u8]| within(bytes.len(), || read(Input::new(bytes)))
);

fn read(mut input: Input<'_>) {
    let count = input.u8() % 10;
    let offsets: Vec<i64> = (0..count).map(|_| i64::from(input.u32() as i32)).collect();
    let data = input.rest();
    let Ok(header) = OperatorStateHeader::read(&mut ByteReader::new(data)) else {
        return;
    };
    let mut written = Vec::new();
    if header.write(&mut written).is_ok() {
        let again = OperatorStateHeader::read(&mut ByteReader::new(&written));
        assert_eq!(again.expect("what was written can be read"), header);
    }
    let states = header.states().map(|meta| OperatorStateOffsets {
        name: meta.name.clone(),
        mode: DistributionMode::SplitDistribute,
        offsets: offsets.clone(),
    });
    let handle = OperatorStateHandle {
        states: states.collect(),
        stream: StreamHandle::EmptySegment,
        merged: None,
    };
    let Ok(reader) = OperatorStateReader::new(data.to_vec(), &handle) else {
        return;
    };
    let codecs: Vec<ValueCodec> = header
        .states()
        .filter_map(|meta| meta.value_serializer().ok().map(ValueCodec::new))
        .collect();
    for offset in offsets {
        let Ok(element) = reader.element(offset) else {
            continue;
        };
        for codec in &codecs {
            codec.decode(&mut ByteReader::new(&element)).ok();
        }
    }
}
