//! Snapshots of Flink, opened, and small ones that are made for a test.

use std::path::Path;
use std::sync::Arc;

use millpond_fs::{FileSystem, LocalFileSystem, Location};
use millpond_golden::{Golden, heap_directory};
use millpond_serializer::{FlinkType, SerializerSnapshot};
use millpond_snapshot::{
    CanonicalWriter, KeyGroupsKind, KeyedHandle, KeyedHeader, Metadata, OperatorSnapshot,
    StateMeta, StreamHandle, SubtaskSnapshot,
};
use millpond_state_processor::{
    Format, OpenSnapshot, PathMap, Progress, ReadOptions, Selection, Threads, read,
};
use millpond_types::{KeyGroup, KeyGroupRange, OperatorId};

/// How a golden snapshot is opened.
pub(crate) trait Open {
    fn open(&self) -> OpenSnapshot;
}

impl Open for Golden {
    fn open(&self) -> OpenSnapshot {
        let mut paths = PathMap::default();
        if let Some((from, to)) = &self.moved {
            paths.add(from, to).expect("locations");
        }
        let pointer = self.directory.to_str().expect("a text");
        OpenSnapshot::open(pointer, &paths).unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }
}

pub(crate) fn items() -> Vec<Golden> {
    millpond_golden::all(&heap_directory())
}

/// One snapshot of the tree: "2.3.0/kinds-hashmap-canonical".
pub(crate) fn item_named(name: &str) -> Golden {
    millpond_golden::named(&heap_directory(), name)
}

/// Returns the text of a snapshot's content.
pub(crate) fn text(
    snapshot: &OpenSnapshot,
    format: Format,
    selection: Selection,
) -> Result<String, String> {
    text_of(
        snapshot,
        &ReadOptions {
            selection,
            format,
            ttl: false,
            limit: None,
        },
    )
}

pub(crate) fn text_of(snapshot: &OpenSnapshot, options: &ReadOptions) -> Result<String, String> {
    let mut out = Vec::new();
    let threads = Threads::default();
    read(snapshot, options, threads, &Progress::default(), &mut out)
        .map_err(|error| error.to_string())?;
    Ok(String::from_utf8(out).expect("UTF-8"))
}

/// Key group, state, key without key group, value.
pub(crate) type RawEntry = (u16, usize, Vec<u8>, Vec<u8>);

/// Makes a snapshot of one operator ("op") with one subtask and 128 key groups.
pub(crate) fn made(
    directory: &Path,
    key: SerializerSnapshot,
    states: Vec<StateMeta>,
    entries: &[RawEntry],
) -> OpenSnapshot {
    let header = KeyedHeader {
        compressed: false,
        key_serializer: key,
        states,
    };
    let range = KeyGroupRange::of_subtask(0, 1, 128);
    let mut writer = CanonicalWriter::new(Vec::new(), &header, range, 128).expect("a header");
    let mut place = None;
    for (group, state, key, value) in entries {
        if place != Some((*group, *state)) {
            place = Some((*group, *state));
            writer
                .begin_state(KeyGroup(*group), *state)
                .expect("memory");
        }
        writer.raw_entry(key, value).expect("memory");
    }
    let written = writer.finish().expect("memory");
    let keyed = KeyedHandle::KeyGroups {
        kind: KeyGroupsKind::Savepoint,
        groups: written.groups,
        stream: StreamHandle::Bytes {
            name: "made".to_owned(),
            data: written.out,
        },
    };
    let mut operator = OperatorSnapshot::new(OperatorId::of_uid("op"), 1, 128);
    let subtask = SubtaskSnapshot {
        managed_keyed: Some(keyed),
        ..SubtaskSnapshot::default()
    };
    operator.subtasks.push((0, subtask));
    let mut metadata = Metadata::new(7);
    metadata.operators.push(operator);
    write(directory, &metadata.write().expect("version 3"));
    open_at(directory)
}

pub(crate) fn write(directory: &Path, metadata: &[u8]) {
    let location = Location::of_path(directory).expect("a text");
    let file = location.join("_metadata");
    LocalFileSystem.write_atomic(&file, metadata).expect("room");
}

pub(crate) fn open_at(directory: &Path) -> OpenSnapshot {
    let pointer = directory.to_str().expect("a text");
    OpenSnapshot::open(pointer, &PathMap::default()).expect("a snapshot")
}

/// The same snapshot as Millpond writes it: with a trailer, and three subtasks.
pub(crate) fn converted(item: &Golden, to: &Path) -> OpenSnapshot {
    let location = Location::of_path(to).expect("a text");
    let options = millpond_state_processor::ConvertOptions {
        parallelism: Some(3),
        ..millpond_state_processor::ConvertOptions::default()
    };
    let snapshot = item.open();
    let fs = Arc::new(LocalFileSystem);
    millpond_state_processor::convert(snapshot.loaded(), fs, &location, &options)
        .unwrap_or_else(|error| panic!("{}: {error}", item.name));
    open_at(to)
}

pub(crate) fn bytes<T: FlinkType>(value: T) -> Vec<u8> {
    let mut out = Vec::new();
    value.write(&mut out);
    out
}
