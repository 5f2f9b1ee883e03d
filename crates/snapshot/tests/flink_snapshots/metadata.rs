//! `_metadata` that Flink wrote is read, and written again byte by byte.

use crate::fixture::golden;
use millpond_snapshot::{
    CheckpointProperties, ErrorKind, KeyedFormat, KeyedHandle, Metadata, StreamHandle,
};

#[test]
fn metadata_of_every_release_is_read_and_written_again_byte_by_byte() {
    let mut versions = [0; 7];
    for golden in golden() {
        let bytes = golden.metadata_bytes();
        let metadata = Metadata::read(&bytes).unwrap_or_else(|e| panic!("{}: {e}", golden.name));
        assert!(metadata.trailer.is_none());
        versions[metadata.version as usize] += 1;
        let written = metadata
            .write()
            .unwrap_or_else(|e| panic!("{}: {e}", golden.name));
        assert!(written == bytes, "{}: other bytes", golden.name);
    }
    assert!(
        versions[3] > 0 && versions[4] > 0 && versions[6] > 0,
        "{versions:?}"
    );
}

#[test]
fn handles_of_every_kind_are_among_the_golden_ones() {
    let (mut incremental, mut channels, mut relative, mut absolute, mut inline) = (0, 0, 0, 0, 0);
    for golden in golden() {
        let metadata = Metadata::read(&golden.metadata_bytes()).expect("read before");
        for (_, subtask) in metadata
            .operators
            .iter()
            .flat_map(|operator| &operator.subtasks)
        {
            channels += subtask.input_channels.len() + subtask.result_subpartitions.len();
            if let Some(KeyedHandle::Incremental(handle)) = &subtask.managed_keyed {
                incremental += handle.shared.len() + handle.private.len();
            }
            subtask.streams(&mut |stream| match stream {
                StreamHandle::Relative { .. } => relative += 1,
                StreamHandle::File { .. } => absolute += 1,
                StreamHandle::Bytes { .. } => inline += 1,
                StreamHandle::KeyGroups { .. }
                | StreamHandle::Segment { .. }
                | StreamHandle::EmptySegment => panic!("{}: {stream:?}", golden.name),
            });
        }
    }
    for (what, count) in [
        ("incremental", incremental),
        ("channels", channels),
        ("relative", relative),
        ("absolute", absolute),
        ("inline", inline),
    ] {
        assert!(count > 0, "no {what} handles");
    }
}

#[test]
fn what_flink_wrote_becomes_version_3_when_asked_for() {
    for golden in golden() {
        let mut metadata = Metadata::read(&golden.metadata_bytes()).expect("read before");
        let original = metadata.clone();
        metadata.version = 3;
        let merged = metadata
            .operators
            .iter()
            .flat_map(|operator| &operator.subtasks)
            .any(|(_, subtask)| original.version == 6 && !subtask.input_channels.is_empty());
        let written = metadata.write();
        if merged {
            let error = written.expect_err("merged channels");
            assert!(
                matches!(error.kind(), ErrorKind::Unsupported { .. }),
                "{error}"
            );
            continue;
        }
        let again = Metadata::read(&written.expect("version 3")).expect("read again");
        assert_eq!(again.operators.len(), original.operators.len());
        for (new, old) in again.operators.iter().zip(&original.operators) {
            assert_eq!(
                (new.id, &new.subtasks, &new.coordinator),
                (old.id, &old.subtasks, &old.coordinator)
            );
        }
    }
}

#[test]
fn every_file_of_a_golden_snapshot_is_found_and_a_missing_or_short_one_is_named() {
    let mut with_files = 0;
    for golden in golden().iter().filter(|golden| golden.has_state()) {
        let snapshot = golden.load();
        assert!(
            snapshot.verify().is_empty(),
            "{}: {:?}",
            golden.name,
            snapshot.verify()
        );
        let files: Vec<_> = std::fs::read_dir(&golden.directory)
            .expect("a directory")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| !path.ends_with("_metadata"))
            .collect();
        let Some(file) = files.first() else { continue };
        with_files += 1;
        let copy = tempfile::tempdir().expect("a directory");
        for from in files.iter().chain([&golden.directory.join("_metadata")]) {
            std::fs::copy(from, copy.path().join(from.file_name().expect("a name"))).expect("room");
        }
        let moved = crate::fixture::Golden {
            name: "a copy".to_owned(),
            directory: copy.path().to_owned(),
        };
        let snapshot = moved.load();
        assert!(snapshot.verify().is_empty(), "a moved savepoint is whole");
        let name = file
            .file_name()
            .and_then(|name| name.to_str())
            .expect("a name");
        let victim = copy.path().join(name);
        let whole = std::fs::read(&victim).expect("there");
        std::fs::write(&victim, &whole[..whole.len() - 1]).expect("room");
        let found = snapshot.verify();
        assert!(
            found.len() == 1 && found[0].file.ends_with(name) && found[0].permanent,
            "{found:?}"
        );
        std::fs::remove_file(&victim).expect("there");
        let found = snapshot.verify();
        assert!(
            found.len() == 1 && found[0].file.ends_with(name) && found[0].permanent,
            "{found:?}"
        );
    }
    assert!(with_files > 0);
}

#[test]
fn the_properties_that_flink_wrote_are_those_that_millpond_writes() {
    let mut seen = [0; 3];
    for golden in golden() {
        let metadata = Metadata::read(&golden.metadata_bytes()).expect("read before");
        let Some(found) = metadata.properties else {
            continue;
        };
        let (kind, properties) = match golden.name.as_str() {
            name if name.contains("checkpoint") => (0, CheckpointProperties::RetainedCheckpoint),
            name if name.contains("native") => {
                (1, CheckpointProperties::Savepoint(KeyedFormat::NativeHeap))
            }
            _ => (2, CheckpointProperties::Savepoint(KeyedFormat::Canonical)),
        };
        let written = properties.to_bytes().expect("short names");
        assert!(written == found, "{}: other properties", golden.name);
        seen[kind] += 1;
    }
    assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
}
