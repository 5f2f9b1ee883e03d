//! `_metadata`: metadata, handles of every kind, the trailer. What is read is written and read again.
//!
//! Checksums of trailers are not compared here (`cfg(fuzzing)`): none that is made up would match.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millpond_fuzz::{golden, seeds, within};
use millpond_snapshot::{
    FileRecord, KeyGroupRecord, Metadata, OperatorRecord, StateRecord, SubtaskRecord, Trailer,
};
use millpond_types::{JobId, OperatorId};

fuzz_target!(
    init: seeds(|put| {
        for golden in golden() {
            let mut metadata = golden.metadata;
            put(golden.bytes);
            (metadata.version, metadata.properties) = (3, None);
            metadata.trailer = Some(trailer());
            put(metadata.write().expect("version 3"));
        }
    }),
    |bytes: &[u8]| within(bytes.len(), || read(bytes))
);

fn read(bytes: &[u8]) {
    let Ok(metadata) = Metadata::read(bytes) else {
        return;
    };
    let mut streams = 0u64;
    metadata.streams(&mut |stream| streams = streams.wrapping_add(stream.size()));
    for operator in &metadata.operators {
        for (_, subtask) in &operator.subtasks {
            subtask.state_size();
            if let Some(keyed) = &subtask.managed_keyed {
                keyed.key_groups();
            }
        }
    }
    // Versions that are only read, and properties that are not known, cannot be written.
    if let Ok(written) = metadata.write() {
        let again = Metadata::read(&written).expect("what was written can be read");
        assert_eq!(again, metadata);
    }
}

fn trailer() -> Trailer {
    let groups = KeyGroupRecord {
        key_group: 1,
        entries: 2,
        bytes: 3,
    };
    let state = StateRecord {
        name: "count".to_owned(),
        key_groups: vec![groups],
    };
    let subtask = SubtaskRecord {
        index: 0,
        pending_transactions: true,
        ended: true,
        positions: vec!["split 0 at 7".to_owned()],
        states: vec![state],
    };
    let operator = OperatorRecord {
        id: OperatorId::of_uid("counter"),
        name: "counter".to_owned(),
        uid: Some("counter".to_owned()),
        subtasks: vec![subtask],
    };
    Trailer {
        millpond_version: "0.1.0".to_owned(),
        job_id: JobId([7; 16]),
        job_name: "a job".to_owned(),
        savepoint: true,
        parent: Some("file:/a".to_owned()),
        files: vec![FileRecord {
            name: "millpond-a".to_owned(),
            size: 1,
            checksum: 2,
        }],
        operators: vec![operator],
    }
}
