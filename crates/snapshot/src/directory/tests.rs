use super::*;
use crate::{
    KeyGroupOffsets, KeyGroupsKind, OperatorSnapshot, StateStream, SubtaskSnapshot, Trailer,
};
use millpond_fs::Durability;
use millpond_fs::memory::{Faults, MemoryFileSystem};
use millpond_types::OperatorId;
use std::io::Write;

fn place(text: &str) -> Location {
    Location::parse(text).expect("a path")
}

fn job() -> JobId {
    "2858165d33644b873ed920ed8e3cba89".parse().expect("an id")
}

/// A snapshot with one operator state in a file of its own.
fn written(fs: &MemoryFileSystem, directory: &Location) {
    let name = state_file_name([0xab; 16]);
    let mut stream = StateStream::new(fs, directory, &name, 0);
    stream.write_all(b"state").expect("room");
    let state = stream.finish(Durability::Synced).expect("room");
    let managed = OperatorStateHandle {
        states: Vec::new(),
        stream: state.handle,
        merged: None,
    };
    let subtask = SubtaskSnapshot {
        managed_operator: Some(managed),
        ..SubtaskSnapshot::default()
    };
    let mut operator = OperatorSnapshot::new(OperatorId::of_uid("a"), 1, 128);
    operator.subtasks.push((0, subtask));
    let mut metadata = Metadata::new(3);
    metadata.operators.push(operator);
    metadata.trailer = Some(Trailer {
        millpond_version: "0.1.0".to_owned(),
        job_id: job(),
        job_name: "job".to_owned(),
        savepoint: true,
        parent: None,
        files: state.file.into_iter().collect(),
        operators: Vec::new(),
    });
    write_metadata(fs, directory, &metadata).expect("room");
}

#[test]
fn directories_are_named_as_flink_names_them() {
    let base = place("/cp");
    assert_eq!(
        checkpoint_directory(&base, job(), 12).to_string(),
        "file:/cp/2858165d33644b873ed920ed8e3cba89/chk-12"
    );
    assert_eq!(
        savepoint_directory(&base, job(), [0, 1, 2, 0xab, 0xcd, 0xef]).to_string(),
        "file:/cp/savepoint-285816-000102abcdef"
    );
}

#[test]
fn a_snapshot_is_found_by_its_directory_and_by_its_metadata_file_under_any_name() {
    let fs = MemoryFileSystem::new();
    let directory = place("/sp");
    written(&fs, &directory);
    let bytes = fs.read(&directory.join(METADATA_FILE)).expect("there");
    fs.write_atomic(&directory.join("renamed"), &bytes)
        .expect("room");
    for pointer in ["/sp", "/sp/_metadata", "/sp/renamed"] {
        let snapshot = load(Arc::new(fs.clone()), &place(pointer)).expect("a snapshot");
        assert_eq!(snapshot.directory, directory, "{pointer}");
        assert!(snapshot.verify().is_empty());
    }
    fs.create_dir_all(&place("/empty")).expect("room");
    for pointer in ["/empty", "/missing"] {
        let error = load(Arc::new(fs.clone()), &place(pointer)).expect_err("no snapshot");
        assert!(error.to_string().contains(pointer), "{error}");
        let ErrorKind::Io(io) = error.kind() else {
            panic!("{error}")
        };
        assert_eq!(io.kind(), millpond_fs::ErrorKind::NotFound);
    }
}

#[test]
fn damage_names_the_file_and_tells_lost_from_unreachable() {
    let fs = MemoryFileSystem::new();
    let directory = place("/sp");
    written(&fs, &directory);
    let snapshot = load(Arc::new(fs.clone()), &directory).expect("whole");
    let file = directory.join(&state_file_name([0xab; 16]));

    fs.set_faults(Faults {
        failing_reads: [1].into(),
        ..Faults::default()
    });
    let found = snapshot.verify();
    assert!(found.len() == 1 && !found[0].permanent, "{found:?}");
    assert!(snapshot.verify().is_empty(), "the fault has passed");

    fs.damage(&file, |bytes| bytes[2] ^= 4);
    let found = snapshot.verify();
    assert!(found.len() == 1 && found[0].permanent, "{found:?}");
    assert_eq!(found[0].file, file.to_string());
    assert!(found[0].expected.contains("checksum"), "{found:?}");

    fs.damage(&file, |bytes| bytes.truncate(3));
    let found = snapshot.verify();
    assert!(found.len() == 1 && found[0].permanent, "{found:?}");
    assert_eq!(
        (found[0].expected.as_str(), found[0].found.as_str()),
        ("5 bytes", "3 bytes")
    );

    fs.delete_file(&file).expect("there");
    let found = snapshot.verify();
    assert!(found.len() == 1 && found[0].permanent, "{found:?}");
}

#[test]
fn damaged_metadata_is_told_with_its_file() {
    let fs = MemoryFileSystem::new();
    let directory = place("/sp");
    written(&fs, &directory);
    fs.damage(&directory.join(METADATA_FILE), |bytes| bytes[9] ^= 1);
    let error = load(Arc::new(fs), &directory).expect_err("damaged");
    assert_eq!(error.file(), Some("file:/sp/_metadata"));
    assert!(error.to_string().contains("checksum"), "{error}");
}

#[test]
fn state_in_files_of_a_rocksdb_is_refused_with_advice() {
    let fs = MemoryFileSystem::new();
    let directory = place("/sp");
    written(&fs, &directory);
    let snapshot = load(Arc::new(fs), &directory).expect("whole");
    let groups = KeyGroupOffsets {
        first: 0,
        offsets: vec![0; 128],
    };
    let meta = StreamHandle::Bytes {
        name: String::new(),
        data: Vec::new(),
    };
    let handle = KeyedHandle::Incremental(crate::IncrementalHandle {
        checkpoint_id: 1,
        backend_id: String::new(),
        range: (0, 128),
        meta: meta.clone(),
        shared: Vec::new(),
        private: Vec::new(),
        v2: None,
    });
    let all = KeyGroupRange::of_subtask(0, 1, 128);
    let error = snapshot
        .open_keyed(&handle, all, 128)
        .err()
        .expect("refused");
    assert!(error.to_string().contains("canonical savepoint"), "{error}");
    let kind = KeyGroupsKind::Savepoint;
    let handle = KeyedHandle::KeyGroups {
        kind,
        groups,
        stream: meta,
    };
    assert!(snapshot.open_keyed(&handle, all, 128).is_err(), "no header");
}

/// Two states in one file: a handle each, and one checksum.
#[test]
fn parts_of_a_file_are_read_and_the_file_is_checked_as_a_whole() {
    let fs = MemoryFileSystem::new();
    let directory = place("/c/chk-3");
    let file = directory.join("millpond-merged");
    fs.write_atomic(&file, b"onetwo").expect("room");
    let part = |start, size| StreamHandle::Segment {
        start,
        size,
        scope: StreamHandle::EXCLUSIVE,
        path: file.to_string(),
        logical_id: format!("millpond-{start}"),
    };
    let write = |parts: &[StreamHandle], files: Vec<FileRecord>| {
        let mut operator = OperatorSnapshot::new(OperatorId::of_uid("a"), 2, 128);
        for (stream, subtask) in parts.iter().zip(0..) {
            let managed = OperatorStateHandle {
                states: Vec::new(),
                stream: stream.clone(),
                merged: None,
            };
            let state = SubtaskSnapshot {
                managed_operator: Some(managed),
                ..SubtaskSnapshot::default()
            };
            operator.subtasks.push((subtask, state));
        }
        let mut metadata = Metadata::new(3);
        metadata.operators.push(operator);
        metadata.trailer = Some(Trailer {
            millpond_version: "0.1.0".to_owned(),
            job_id: job(),
            job_name: "job".to_owned(),
            savepoint: false,
            parent: None,
            files,
            operators: Vec::new(),
        });
        write_metadata(&fs, &directory, &metadata).expect("room");
        load(Arc::new(fs.clone()), &directory).expect("whole")
    };
    let record = FileRecord {
        name: file.file_name().to_owned(),
        size: 6,
        checksum: crate::checksum(b"onetwo"),
    };
    let parts = [part(0, 3), part(3, 3)];
    let snapshot = write(&parts, vec![record.clone()]);
    assert!(snapshot.verify().is_empty(), "{:?}", snapshot.verify());
    let second = snapshot.open(&parts[1]).expect("there");
    assert_eq!(second.read_all().expect("there"), b"two");
    assert_eq!(snapshot.record_of(&parts[1]), Some(&record));
    assert_eq!(snapshot.files().expect("paths").len(), 1);

    let beyond = write(&[part(4, 3)], vec![record.clone()]);
    let found = beyond.verify();
    assert!(found.len() == 1 && found[0].permanent, "{found:?}");
    assert!(found[0].expected.contains("from offset 4"), "{found:?}");
    let unrecorded = write(&parts, Vec::new());
    let found = unrecorded.verify();
    assert!(
        !found.is_empty() && found[0].expected.contains("checksum"),
        "{found:?}"
    );

    fs.damage(&file, |bytes| bytes[4] ^= 1);
    let found = write(&parts, vec![record]).verify();
    assert!(found.len() == 1, "once, for all parts: {found:?}");

    // Without its trailer the metadata is one of Flink but for the names in it.
    let whole = fs.read(&directory.join(METADATA_FILE)).expect("there");
    let head = whole.windows(8).position(|bytes| bytes == b"\x89MPTRL\r\n");
    let cut = &whole[..head.expect("a trailer")];
    Metadata::read(cut).expect_err("its trailer is lost");
}
