//! Snapshots of Flink with their sidecars, and small ones that are made for a test.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use millpond_fs::{FileSystem, LocalFileSystem, Location};
use millpond_serializer::{FlinkType, SerializerSnapshot};
use millpond_snapshot::{
    CanonicalWriter, KeyGroupsKind, KeyedHandle, KeyedHeader, Metadata, OperatorSnapshot,
    StateMeta, StreamHandle, SubtaskSnapshot,
};
use millpond_state_processor::{
    Format, OpenSnapshot, PathMap, Progress, ReadOptions, Selection, Threads, read,
};
use millpond_types::{KeyGroup, KeyGroupRange, OperatorId};
use serde_json::Value;

/// A snapshot of Flink, and what it holds.
pub(crate) struct Item {
    /// "2.3.0/kinds-hashmap-canonical"
    pub(crate) name: String,
    pub(crate) directory: PathBuf,
    pub(crate) sidecar: Value,
    pub(crate) paths: PathMap,
}

impl Item {
    pub(crate) fn open(&self) -> OpenSnapshot {
        let pointer = self.directory.to_str().expect("a text");
        OpenSnapshot::open(pointer, &self.paths)
            .unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }
}

/// The snapshots that the tree holds with a sidecar, or those below `MILLPOND_GOLDEN`.
pub(crate) fn items() -> Vec<Item> {
    let root = match std::env::var_os("MILLPOND_GOLDEN") {
        Some(root) => PathBuf::from(root),
        None => golden_directory(),
    };
    let mut items = Vec::new();
    for release in directories(&root) {
        for directory in directories(&release) {
            items.extend(item(&release, directory));
        }
    }
    items.sort_by(|a, b| a.name.cmp(&b.name));
    items
}

pub(crate) fn golden_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../snapshot/tests/golden")
}

/// One snapshot of the tree: "2.3.0/kinds-hashmap-canonical".
pub(crate) fn item_named(name: &str) -> Item {
    let directory = golden_directory().join(name);
    let release = directory.parent().expect("a release").to_owned();
    item(&release, directory).unwrap_or_else(|| panic!("no {name}"))
}

fn item(release: &Path, directory: PathBuf) -> Option<Item> {
    let file_name = |path: &Path| path.file_name()?.to_str().map(str::to_owned);
    let name = file_name(&directory)?;
    let sidecar = std::fs::read(release.join(format!("{name}.json"))).ok()?;
    let sidecar: Value = serde_json::from_slice(&sidecar).expect("JSON");
    let mut paths = PathMap::default();
    let directory = match sidecar["metadata_dir"].as_str() {
        None => directory,
        Some(inside) => {
            let from = sidecar["origin_prefix"].as_str().expect("a prefix");
            let to = release.to_str().expect("a text");
            paths.add(from, to).expect("locations");
            release.join(inside)
        }
    };
    let release = file_name(release)?;
    Some(Item {
        name: format!("{release}/{name}"),
        directory,
        sidecar,
        paths,
    })
}

fn directories(below: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(below).expect("a directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.filter(|path| path.is_dir()).collect()
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
pub(crate) fn converted(item: &Item, to: &Path) -> OpenSnapshot {
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
