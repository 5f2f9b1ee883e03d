//! Damaged input gives an error or a result, never a panic and never a huge allocation.
//!
//! `MILLPOND_FUZZ_SECONDS` (default 2) bounds the search for mutations; `MILLPOND_FUZZ_SEED`
//! repeats one that failed.

use millpond_damage::{Damage, peak_memory_mib};
use millpond_serializer::skip_value;
use millpond_snapshot::{
    Error, ErrorKind, FileRecord, KeyedHandle, KeyedReader, Metadata, OperatorRecord,
    OperatorSnapshot, OperatorStateReader, StateSource, StreamHandle, SubtaskRecord, Trailer,
    split_key,
};
use millpond_types::{JobId, OperatorId};

use crate::fixture::{Golden, golden};

/// Reads everything that a metadata file and its inline states hold.
fn read_all(bytes: &[u8]) -> Result<(), Error> {
    let metadata = Metadata::read(bytes)?;
    // What was read can be written, but for the versions and the properties that cannot.
    drop(metadata.write());
    metadata.operators.iter().try_for_each(read_operator)
}

fn read_operator(operator: &OperatorSnapshot) -> Result<(), Error> {
    for (_, subtask) in &operator.subtasks {
        if let Some(handle) = &subtask.managed_operator
            && let StreamHandle::Bytes { data, .. } = &handle.stream
        {
            let reader = OperatorStateReader::new(data.clone(), handle)?;
            for offset in handle.states.iter().flat_map(|state| &state.offsets) {
                reader.element(*offset)?;
            }
        }
        if let Some(handle @ KeyedHandle::KeyGroups { stream, .. }) = &subtask.managed_keyed
            && let StreamHandle::Bytes { data, .. } = stream
        {
            read_keyed(data.clone(), handle, operator.max_parallelism)?;
        }
    }
    Ok(())
}

/// Reads keyed state to the last part of the last entry.
fn read_keyed(data: Vec<u8>, handle: &KeyedHandle, max_parallelism: u32) -> Result<usize, Error> {
    let (KeyedHandle::KeyGroups { kind, groups, .. }, Some(range)) = (handle, handle.key_groups())
    else {
        return Ok(0);
    };
    let source = StateSource::of_bytes("fuzzed", data);
    let mut reader = KeyedReader::open(source, kind, groups, range, max_parallelism)?;
    let header = reader.header().clone();
    let mut entries = 0;
    while let Some(entry) = reader.next_entry()? {
        split_key(&header, entry.state, entry.key)?;
        if let Ok(serializer) = header.states[entry.state].value_serializer() {
            let mut value = millpond_serializer::ByteReader::new(entry.value);
            // Lists and maps lie otherwise; here it only must not panic.
            drop(skip_value(serializer, &mut value));
        }
        entries += 1;
    }
    Ok(entries)
}

/// Turns a snapshot that Flink wrote into one that Millpond wrote.
fn with_trailer(golden: &Golden) -> Vec<u8> {
    let mut metadata = Metadata::read(&golden.metadata_bytes()).expect("read before");
    (metadata.version, metadata.properties) = (3, None);
    for operator in &mut metadata.operators {
        for (_, subtask) in &mut operator.subtasks {
            if let Some(KeyedHandle::KeyGroups {
                stream: StreamHandle::Bytes { name, .. },
                ..
            }) = &mut subtask.managed_keyed
            {
                name.insert_str(0, "millpond-");
            }
        }
    }
    let subtask = SubtaskRecord {
        index: 0,
        pending_transactions: true,
        ended: true,
        positions: vec!["split 0 at 7".to_owned()],
        states: Vec::new(),
    };
    metadata.trailer = Some(Trailer {
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
        operators: vec![OperatorRecord {
            id: OperatorId::of_uid("counter"),
            name: "counter".to_owned(),
            uid: None,
            subtasks: vec![subtask],
        }],
    });
    let bytes = metadata.write().expect("version 3");
    assert_eq!(Metadata::read(&bytes).expect("whole"), metadata);
    bytes
}

fn small() -> Vec<Golden> {
    let wanted = [
        "1.15.4/count-stringkey-hashmap-canonical",
        "1.20.5/opstate-hashmap-canonical",
        "2.3.0/timers-hashmap-native",
        "2.3.0/window-hashmap-canonical",
    ];
    golden()
        .into_iter()
        .filter(|golden| wanted.contains(&golden.name.as_str()))
        .collect()
}

#[test]
fn every_prefix_of_what_flink_wrote_is_an_error_unless_only_properties_are_cut() {
    for golden in small() {
        let bytes = golden.metadata_bytes();
        let metadata = Metadata::read(&bytes).expect("whole");
        let properties = metadata.properties.map_or(0, |properties| properties.len());
        for cut in 0..bytes.len() {
            let result = read_all(&bytes[..cut]);
            if cut <= bytes.len() - properties {
                let error = result.expect_err("cut");
                assert!(
                    matches!(error.kind(), ErrorKind::Corrupt { .. }),
                    "{cut}: {error}"
                );
            }
        }
    }
}

#[test]
fn every_prefix_and_every_flipped_bit_of_what_millpond_wrote_is_found() {
    let golden = &small()[0];
    let whole = with_trailer(golden);
    for cut in 0..whole.len() {
        let error = Metadata::read(&whole[..cut]).expect_err("cut");
        assert!(
            matches!(error.kind(), ErrorKind::Corrupt { .. }),
            "cut at {cut}: {error}"
        );
    }
    let mut bytes = whole.clone();
    for at in 0..whole.len() {
        for bit in 0..8 {
            bytes[at] ^= 1 << bit;
            assert!(Metadata::read(&bytes).is_err(), "bit {bit} of byte {at}");
            bytes[at] ^= 1 << bit;
        }
    }
    bytes.push(0);
    assert!(Metadata::read(&bytes).is_err(), "a byte too many");
}

#[test]
fn every_prefix_of_keyed_state_is_an_error() {
    let mut checked = 0;
    for golden in small() {
        let metadata = Metadata::read(&golden.metadata_bytes()).expect("whole");
        for operator in &metadata.operators {
            for (_, subtask) in &operator.subtasks {
                let Some(handle @ KeyedHandle::KeyGroups { stream, .. }) = &subtask.managed_keyed
                else {
                    continue;
                };
                let StreamHandle::Bytes { data, .. } = stream else {
                    continue;
                };
                let max = operator.max_parallelism;
                assert!(read_keyed(data.clone(), handle, max).expect("whole") > 0);
                for cut in 0..data.len() {
                    let error = read_keyed(data[..cut].to_vec(), handle, max).expect_err("cut");
                    assert!(
                        matches!(error.kind(), ErrorKind::Corrupt { .. }),
                        "{cut}: {error}"
                    );
                    assert!(error.file() == Some("fuzzed"), "{error}");
                    checked += 1;
                }
            }
        }
    }
    assert!(checked > 1000);
}

#[test]
fn random_damage_is_an_error_or_another_snapshot_but_no_panic() {
    let mut corpus: Vec<Vec<u8>> = golden()
        .iter()
        .map(Golden::metadata_bytes)
        .filter(|bytes| bytes.len() < 40_000)
        .collect();
    corpus.extend(
        small()
            .iter()
            .filter(|golden| golden.name.starts_with("1."))
            .map(with_trailer),
    );
    let mut errors = 0u64;
    let total = Damage::seeded().search(&corpus, |_, bytes| {
        errors += u64::from(read_all(bytes).is_err());
    });
    assert!(
        total == 0 || errors > 0,
        "none of {total} mutations was found"
    );
    assert!(
        peak_memory_mib().is_none_or(|peak| peak < 512),
        "{:?} MiB",
        peak_memory_mib()
    );
}
