//! The golden snapshots, and all that is in a snapshot as plain rows.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millpond_fs::{LocalFileSystem, Location};
use millpond_snapshot::{
    DistributionMode, KeyedHandle, KeyedStateType, LoadedSnapshot, OperatorSnapshot, load,
};
use millpond_types::{KeyGroup, KeyGroupRange};

/// A snapshot that Flink wrote.
pub(crate) struct Golden {
    /// Release and case: "2.3.0/kinds-hashmap-canonical".
    pub(crate) name: String,
    pub(crate) directory: PathBuf,
}

impl Golden {
    pub(crate) fn load(&self) -> LoadedSnapshot {
        load_from(&self.directory)
    }
}

pub(crate) fn location(directory: &Path) -> Location {
    Location::of_path(directory).expect("a text")
}

pub(crate) fn load_from(directory: &Path) -> LoadedSnapshot {
    load(Arc::new(LocalFileSystem), &location(directory))
        .unwrap_or_else(|e| panic!("{}: {e}", directory.display()))
}

/// All golden snapshots whose state is here and not in files of a RocksDB.
pub(crate) fn golden() -> Vec<Golden> {
    let root = match std::env::var_os("MILLPOND_GOLDEN") {
        Some(root) => PathBuf::from(root),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../snapshot/tests/golden"),
    };
    let mut found = Vec::new();
    find(&root, &root, &mut found);
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found.retain(|golden| !golden.name.contains("metadata-only"));
    assert!(found.len() >= 60, "only {} golden snapshots", found.len());
    found
}

pub(crate) fn golden_named(part: &str) -> Golden {
    let mut found = golden();
    found.retain(|golden| golden.name == part);
    found.pop().unwrap_or_else(|| panic!("no {part}"))
}

fn find(root: &Path, directory: &Path, found: &mut Vec<Golden>) {
    if directory.join("_metadata").is_file() {
        let name = directory.strip_prefix(root).expect("below").display();
        found.push(Golden {
            name: name.to_string(),
            directory: directory.to_owned(),
        });
        return;
    }
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            find(root, &path, found);
        }
    }
}

/// Operator, state, key group, key and value.
pub(crate) type Row = (String, String, u16, Vec<u8>, Vec<u8>);

/// What a snapshot holds, in an order of its own.
#[derive(Debug, PartialEq, Eq, Default)]
pub(crate) struct Content {
    pub(crate) keyed: Vec<Row>,
    /// Operator, state and element, of all subtasks.
    pub(crate) lists: Vec<(String, String, Vec<u8>)>,
    /// Operator and state to the map that every subtask has.
    pub(crate) maps: BTreeMap<(String, String), Vec<u8>>,
    /// Operator to coordinator state.
    pub(crate) coordinators: BTreeMap<String, Vec<u8>>,
}

pub(crate) fn content(snapshot: &LoadedSnapshot) -> Content {
    let mut content = Content::default();
    for operator in &snapshot.metadata.operators {
        read_operator(snapshot, operator, &mut content);
    }
    content.keyed.sort();
    content.lists.sort();
    content
}

fn read_operator(snapshot: &LoadedSnapshot, operator: &OperatorSnapshot, content: &mut Content) {
    let id = operator.id.to_string();
    if let Some(stream) = &operator.coordinator {
        let bytes = snapshot.open(stream).expect("there").read_all();
        content
            .coordinators
            .insert(id.clone(), bytes.expect("there"));
    }
    for (index, subtask) in &operator.subtasks {
        if let Some(handle) = &subtask.managed_keyed {
            let range =
                KeyGroupRange::of_subtask(*index, operator.parallelism, operator.max_parallelism);
            assert_eq!(handle.key_groups(), Some(range), "subtask {index} of {id}");
            read_keyed(snapshot, operator, handle, content);
        }
        if let Some(handle) = &subtask.managed_operator {
            let reader = snapshot.open_operator(handle).expect("a header");
            for state in &handle.states {
                let names = (id.clone(), state.name.clone());
                for offset in &state.offsets {
                    let element = reader.element(*offset).expect("there").into_owned();
                    if state.mode == DistributionMode::Broadcast {
                        let known = content.maps.entry(names.clone()).or_insert(element.clone());
                        assert_eq!(*known, element);
                    } else {
                        let (id, name) = names.clone();
                        content.lists.push((id, name, element));
                    }
                }
            }
        }
    }
}

fn read_keyed(
    snapshot: &LoadedSnapshot,
    operator: &OperatorSnapshot,
    handle: &KeyedHandle,
    content: &mut Content,
) {
    let all = KeyGroupRange::new(KeyGroup(0), KeyGroup(operator.max_parallelism as u16 - 1));
    let mut reader = snapshot
        .open_keyed(handle, all, operator.max_parallelism)
        .expect("a header")
        .expect("key groups");
    let header = reader.header().clone();
    while let Some(entry) = reader.next_entry().expect("whole") {
        let meta = &header.states[entry.state];
        let mut value = entry.value.to_vec();
        // What follows a null in a map means nothing, and differs between formats.
        if meta.keyed_state_type() == Some(KeyedStateType::Map) && value[0] == 1 {
            value.truncate(1);
        }
        content.keyed.push((
            operator.id.to_string(),
            meta.name.clone(),
            entry.key_group.0,
            entry.key.to_vec(),
            value,
        ));
    }
}
