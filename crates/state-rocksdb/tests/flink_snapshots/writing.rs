//! New snapshots out of those of RocksDB, and new files of RocksDB out of any snapshot.

use std::path::Path;
use std::sync::Arc;

use millpond_fs::{LocalFileSystem, Location};
use millpond_golden::check_content;
use millpond_snapshot::{IncrementalHandle, KeyedFormat, KeyedHandle, KeyedReader};
use millpond_state_processor::{
    ConvertOptions, Edit, EditOptions, OpenSnapshot, PathMap, Progress, RehashOptions, Threads,
    convert, diff, edit, rehash, verify,
};
use millpond_types::KeyGroupRange;

use crate::fixture::{Open, document, item_named, items, rocksdb};

fn open(directory: &Path) -> OpenSnapshot {
    let pointer = directory.to_str().expect("a text");
    let opened = OpenSnapshot::open(pointer, &PathMap::default());
    opened.expect("a snapshot").with_rocksdb(Some(rocksdb()))
}

fn converted(from: &OpenSnapshot, to: &Path, options: &ConvertOptions) -> OpenSnapshot {
    let location = Location::of_path(to).expect("a text");
    convert(from.loaded(), Arc::new(LocalFileSystem), &location, options)
        .unwrap_or_else(|error| panic!("{}: {error}", from.loaded().directory));
    open(to)
}

fn handles(snapshot: &OpenSnapshot) -> Vec<&KeyedHandle> {
    let operators = snapshot.metadata().operators.iter();
    let subtasks = operators.flat_map(|operator| &operator.subtasks);
    subtasks
        .filter_map(|(_, subtask)| subtask.managed_keyed.as_ref())
        .collect()
}

fn rocksdb_handles(snapshot: &OpenSnapshot) -> Vec<&IncrementalHandle> {
    let handles = handles(snapshot).into_iter().map(|handle| {
        let KeyedHandle::Incremental(handle) = handle else {
            panic!("{handle:?}");
        };
        handle
    });
    handles.collect()
}

fn check_sound(snapshot: &OpenSnapshot) {
    let found = verify(snapshot, Threads::default(), &Progress::default()).expect("a disk");
    assert!(
        found.sound,
        "{}: {:?}",
        snapshot.loaded().directory,
        found.problems
    );
}

#[test]
fn every_format_and_parallelism_holds_the_same() {
    let home = tempfile::tempdir().expect("a directory");
    for item in items() {
        if item.name.contains("unaligned") {
            // Records in flight can neither be dealt out nor be said in every version of metadata.
            continue;
        }
        let from = item.open();
        let base = home.path().join(item.name.replace('/', "-"));
        for (format, parallelism) in [
            (None, None),
            (Some(KeyedFormat::Canonical), None),
            (Some(KeyedFormat::NativeHeap), Some(1)),
            (Some(KeyedFormat::NativeRocksDb), Some(3)),
            (None, Some(5)),
        ] {
            let to = base.join(format!("{format:?}-{parallelism:?}"));
            let options = ConvertOptions {
                format,
                parallelism,
                ..ConvertOptions::default()
            };
            let new = converted(&from, &to, &options);
            for handle in handles(&new) {
                let is_rocksdb = matches!(handle, KeyedHandle::Incremental(_));
                let expected = format.is_none_or(|format| format == KeyedFormat::NativeRocksDb);
                assert_eq!(is_rocksdb, expected, "{} {format:?}", item.name);
            }
            let found = document(&new).unwrap_or_else(|error| panic!("{}: {error}", item.name));
            check_content(&item, &found);
            check_sound(&new);
        }
        std::fs::remove_dir_all(&base).expect("made before");
    }
}

/// FRocksDB 6.20.3 reads neither newer tables nor newer checksums, and Flink's own snapshots have
/// no log of writes.
#[test]
fn new_files_are_what_the_oldest_rocksdb_of_flink_reads() {
    let home = tempfile::tempdir().expect("a directory");
    let item = item_named("2.3.0/kinds-rocksdb-native");
    let canonical = ConvertOptions {
        format: Some(KeyedFormat::Canonical),
        ..ConvertOptions::default()
    };
    let canonical = converted(&item.open(), &home.path().join("canonical"), &canonical);
    let native = ConvertOptions {
        format: Some(KeyedFormat::NativeRocksDb),
        ..ConvertOptions::default()
    };
    let native = converted(&canonical, &home.path().join("native"), &native);
    let handles = rocksdb_handles(&native);
    assert_eq!(handles.len(), 2);
    for handle in handles {
        assert!(handle.shared.is_empty(), "a savepoint is self-contained");
        let names: Vec<&str> = handle
            .private
            .iter()
            .map(|file| file.name.as_str())
            .collect();
        for prefix in ["CURRENT", "MANIFEST-", "OPTIONS-"] {
            let count = names.iter().filter(|name| name.starts_with(prefix)).count();
            assert_eq!(count, 1, "{prefix} in {names:?}");
        }
        let tables = names.iter().filter(|name| name.ends_with(".sst")).count();
        assert!(tables > 0 && tables + 3 == names.len(), "{names:?}");
        let options = handle
            .private
            .iter()
            .find(|file| file.name.starts_with("OPTIONS-"));
        let source = native.loaded().open(&options.expect("found before").stream);
        let bytes = source.and_then(|source| source.read_all()).expect("whole");
        let text = String::from_utf8(bytes).expect("text");
        let values = |key: &str| -> Vec<&str> {
            let lines = text.lines().filter_map(|line| line.trim().split_once('='));
            let mut values: Vec<&str> = lines
                .filter_map(|(name, value)| (name == key).then_some(value))
                .collect();
            values.dedup();
            values
        };
        assert_eq!(values("format_version"), ["5"]);
        assert_eq!(values("checksum"), ["kCRC32c"]);
        assert_eq!(values("compression"), ["kSnappyCompression"]);
        assert_eq!(values("write_dbid_to_manifest"), ["false"]);
        assert_eq!(values("track_and_verify_wals_in_manifest"), ["false"]);
    }
}

#[test]
fn a_new_maximum_parallelism_and_edits_keep_the_format() {
    let home = tempfile::tempdir().expect("a directory");
    let item = item_named("1.20.5/kinds-rocksdb-native");
    let from = item.open();
    let to = home.path().join("rehashed");
    let location = Location::of_path(&to).expect("a text");
    let options = RehashOptions {
        max_parallelism: 4096,
        for_flink: None,
    };
    let fs = Arc::new(LocalFileSystem);
    rehash(from.loaded(), fs.clone(), &location, &options).expect("it hashes");
    let rehashed = open(&to);
    assert_eq!(rocksdb_handles(&rehashed).len(), 2);
    let found = document(&rehashed).expect("whole");
    check_content(&item, &found);
    check_sound(&rehashed);

    let to = home.path().join("edited");
    let location = Location::of_path(&to).expect("a text");
    let edits: Vec<Edit> = vec!["drop all-kinds/list-long".parse().expect("an edit")];
    edit(
        rehashed.loaded(),
        fs,
        &location,
        &edits,
        &EditOptions::default(),
    )
    .expect("edited");
    let edited = open(&to);
    assert_eq!(rocksdb_handles(&edited).len(), 2);
    check_sound(&edited);
    let threads = Threads::default();
    let found = diff(&from, &edited, None, threads, &Progress::default()).expect("both whole");
    let told = serde_json::to_string(&found).expect("JSON");
    assert!(told.contains("list-long"), "{told}");
    assert!(!told.contains("list-string"), "{told}");
}

/// Entries of one key group come in the order of the heap, which is none.
#[test]
fn entries_may_come_in_any_order_and_be_large() {
    let header = millpond_snapshot::KeyedHeader {
        compressed: false,
        key_serializer: <String as millpond_serializer::FlinkType>::serializer_snapshot(),
        states: vec![millpond_snapshot::StateMeta::key_value(
            "s",
            millpond_snapshot::KeyedStateType::Value,
            <millpond_serializer::VoidNamespace as millpond_serializer::FlinkType>::serializer_snapshot(),
            <String as millpond_serializer::FlinkType>::serializer_snapshot(),
        )],
    };
    let mut writer = rocksdb().create(&header, 300).expect("room");
    let large = vec![7u8; 3 << 20];
    for round in 0..3000u32 {
        // Each key once: 1009 and 3000 have no common factor.
        let key = round * 1009 % 3000;
        let group = millpond_types::KeyGroup((key % 300) as u16);
        let value = if key == 5 { large.as_slice() } else { b"v" };
        writer
            .put(group, 0, &key.to_be_bytes(), value)
            .expect("room");
    }
    let home = tempfile::tempdir().expect("a directory");
    let mut names = Vec::new();
    let finished = writer.finish(&mut |name, file| {
        let mut out = std::fs::File::create(home.path().join(name)).expect("room");
        std::io::copy(file, &mut out).expect("room");
        names.push(name.to_owned());
        Ok(())
    });
    finished.expect("room");
    let files = names.iter().map(|name| millpond_snapshot::NamedStream {
        name: name.clone(),
        stream: millpond_snapshot::StreamHandle::Relative {
            name: name.clone(),
            size: std::fs::metadata(home.path().join(name))
                .expect("there")
                .len() as i64,
        },
    });
    let mut meta = Vec::new();
    header.write(&mut meta).expect("short names");
    let handle = KeyedHandle::Incremental(IncrementalHandle {
        checkpoint_id: 1,
        backend_id: String::new(),
        range: (0, 300),
        meta: millpond_snapshot::StreamHandle::Bytes {
            name: String::new(),
            data: meta,
        },
        shared: files.collect(),
        private: Vec::new(),
        v2: None,
    });
    let metadata = millpond_snapshot::Metadata::new(1)
        .write()
        .expect("version 3");
    std::fs::write(home.path().join("_metadata"), metadata).expect("room");
    let snapshot = open(home.path());
    let range = KeyGroupRange::of_subtask(0, 1, 300);
    let opened = snapshot
        .loaded()
        .open_keyed(&handle, range, 300)
        .expect("whole");
    let mut reader: KeyedReader = opened.expect("all key groups");
    let mut last = None;
    let mut count = 0;
    while let Some(entry) = reader.next_entry().expect("whole") {
        let key = u32::from_be_bytes(entry.key.try_into().expect("four bytes"));
        let place = (u32::from(entry.key_group.0), key);
        assert_eq!(place.0, key % 300);
        assert!(last.is_none_or(|last| last < place));
        let expected = if key == 5 { large.as_slice() } else { b"v" };
        assert!(entry.value == expected);
        last = Some(place);
        count += 1;
    }
    assert_eq!(count, 3000);
}
