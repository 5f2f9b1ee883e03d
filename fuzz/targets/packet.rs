//! Records between processes: containers of packets, batches of records, credits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millpond_fuzz::{seeds, within};
use millpond_runtime::fuzzing::{packet_bytes, packets};
use std::collections::BTreeMap;

/// A record that has parts of every kind.
type Record = (String, i64, Option<Vec<u8>>, BTreeMap<u16, u64>);

fuzz_target!(
    init: seeds(|put| {
        let record: Record = ("né".to_owned(), 7, Some(vec![1; 9]), BTreeMap::from([(1, 2)]));
        put(packet_bytes(vec![record; 3]));
        put(packet_bytes(vec![1i64, 2, 3]));
        put(packet_bytes(vec![(); 3]));
    }),
    |bytes: &[u8]| within(bytes.len(), || {
        packets::<Record>(bytes);
        packets::<i64>(bytes);
        packets::<()>(bytes);
    })
);
