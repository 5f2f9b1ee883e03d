use super::*;
use crate::{KeyGroupOffsets, KeyGroupsKind, KeyedHandle, OperatorSnapshot, SubtaskSnapshot};

fn trailer() -> Trailer {
    let group = KeyGroupRecord {
        key_group: 127,
        entries: 3,
        bytes: 90,
    };
    let state = StateRecord {
        name: "count".to_owned(),
        key_groups: vec![group],
    };
    let subtask = SubtaskRecord {
        index: 1,
        pending_transactions: false,
        ended: true,
        positions: vec!["flights.csv at 17".to_owned()],
        states: vec![state],
    };
    Trailer {
        millpond_version: "0.1.0".to_owned(),
        job_id: JobId([1; 16]),
        job_name: "flüge".to_owned(),
        savepoint: false,
        parent: None,
        files: vec![FileRecord {
            name: "millpond-0".to_owned(),
            size: u64::MAX >> 1,
            checksum: u64::MAX,
        }],
        operators: vec![OperatorRecord {
            id: OperatorId::of_uid("counter"),
            name: "count".to_owned(),
            uid: Some("counter".to_owned()),
            subtasks: vec![subtask],
        }],
    }
}

fn metadata(file: &str) -> Metadata {
    let mut operator = OperatorSnapshot::new(OperatorId::of_uid("counter"), 2, 128);
    let keyed = KeyedHandle::KeyGroups {
        kind: KeyGroupsKind::Savepoint,
        groups: KeyGroupOffsets {
            first: 64,
            offsets: vec![0; 64],
        },
        stream: StreamHandle::Relative {
            name: file.to_owned(),
            size: 7,
        },
    };
    let subtask = SubtaskSnapshot {
        managed_keyed: Some(keyed),
        ..SubtaskSnapshot::default()
    };
    operator.subtasks.push((1, subtask));
    let mut metadata = Metadata::new(5);
    metadata.operators.push(operator);
    metadata
}

#[test]
fn a_trailer_is_read_back_behind_metadata_of_every_version() {
    for version in 3..=6 {
        let mut metadata = metadata("millpond-0");
        metadata.version = version;
        metadata.trailer = Some(trailer());
        let read = Metadata::read(&metadata.write().expect("short names")).expect("whole");
        assert_eq!(read.trailer, Some(trailer()));
        assert_eq!(read.operators, metadata.operators);
    }
}

#[test]
fn flink_s_view_of_the_file_is_the_same_with_and_without_trailer() {
    let mut with = metadata("millpond-0");
    let plain = with.write().expect("short names");
    with.trailer = Some(trailer());
    assert!(with.write().expect("short names").starts_with(&plain));
}

#[test]
fn a_file_cut_right_before_its_trailer_is_told_by_the_names_in_it() {
    let ours = metadata("millpond-0").write().expect("short names");
    let error = Metadata::read(&ours).expect_err("no trailer");
    assert!(error.to_string().contains("expected a trailer"), "{error}");
    let flinks = metadata("3d1a9a5c-7e5e-4be4-9a2a-0f3a3d0e7a11")
        .write()
        .expect("short names");
    assert!(Metadata::read(&flinks).is_ok());
}

#[test]
fn foreign_bytes_behind_the_metadata_are_ignored_as_flink_does() {
    let mut bytes = metadata("file").write().expect("short names");
    bytes.extend_from_slice(b"a text behind the end");
    assert!(Metadata::read(&bytes).expect("ignored").trailer.is_none());
}

#[test]
fn a_trailer_without_its_end_behind_properties_is_damage() {
    let mut metadata = metadata("file");
    metadata.version = 6;
    metadata.trailer = Some(trailer());
    let bytes = metadata.write().expect("short names");
    assert!(Metadata::read(&bytes[..bytes.len() - 1]).is_err());
}

#[test]
fn a_trailer_of_version_1_says_of_no_subtask_that_it_has_ended() {
    let body = metadata("millpond-0").write().expect("short names");
    let mut first = trailer();
    first.operators[0].subtasks[0].ended = false;
    let mut with = body.clone();
    first.append_to(&mut with);
    // As version 1 wrote it: its number, without the count of ended subtasks at the end.
    let (start, content_end) = (body.len(), with.len() - AFTER_CONTENT);
    let mut old = with[..content_end - 4].to_vec();
    old[start + 8..start + 12].copy_from_slice(&1i32.to_be_bytes());
    let length = (content_end - 4 - start - BEFORE_CONTENT) as i32;
    old[start + BEFORE_CONTENT - 4..start + BEFORE_CONTENT].copy_from_slice(&length.to_be_bytes());
    let sum = checksum(&old[start..]);
    let bytes = old.len() - start + AFTER_CONTENT;
    old.put_i64(sum as i64);
    old.put_i64(bytes as i64);
    old.put(&TAIL);
    assert_eq!(
        Metadata::read(&old).expect("is known").trailer,
        Some(first.clone())
    );
    // The mark of a subtask that does not exist is damage.
    let mut wrong = with[..content_end].to_vec();
    let count = wrong.len() - 4;
    wrong[count..].copy_from_slice(&1i32.to_be_bytes());
    wrong.put_i32(0);
    wrong.put_i32(7);
    let length = (wrong.len() - start - BEFORE_CONTENT) as i32;
    wrong[start + BEFORE_CONTENT - 4..start + BEFORE_CONTENT]
        .copy_from_slice(&length.to_be_bytes());
    let sum = checksum(&wrong[start..]);
    let bytes = wrong.len() - start + AFTER_CONTENT;
    wrong.put_i64(sum as i64);
    wrong.put_i64(bytes as i64);
    wrong.put(&TAIL);
    let error = Metadata::read(&wrong).expect_err("is none").to_string();
    assert!(error.contains("subtask 7 of operator 0"), "{error}");
}
