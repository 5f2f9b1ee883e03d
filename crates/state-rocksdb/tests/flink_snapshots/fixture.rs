//! Snapshots of Flink with their sidecars.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millpond_snapshot::{KeyedHandle, Metadata, RocksDb};
use millpond_state_processor::{
    Format, OpenSnapshot, PathMap, Progress, ReadOptions, Selection, Threads, read,
};
use millpond_state_rocksdb::NativeFiles;
use serde_json::Value;

/// A snapshot of Flink, and what it holds.
pub(crate) struct Item {
    /// "2.3.0/kinds-rocksdb-native"
    pub(crate) name: String,
    pub(crate) directory: PathBuf,
    pub(crate) sidecar: Value,
    pub(crate) paths: PathMap,
}

impl Item {
    pub(crate) fn open(&self) -> OpenSnapshot {
        self.try_open()
            .unwrap_or_else(|error| panic!("{}: {error}", self.name))
            .with_rocksdb(Some(rocksdb()))
    }

    pub(crate) fn try_open(&self) -> Result<OpenSnapshot, millpond_state_processor::Error> {
        OpenSnapshot::open(self.directory.to_str().expect("a text"), &self.paths)
    }
}

/// What reads files of RocksDB, with working directories in the place for temporary files.
pub(crate) fn rocksdb() -> Arc<dyn RocksDb> {
    Arc::new(NativeFiles::new(std::env::temp_dir()))
}

/// The snapshots with files of RocksDB that the tree holds, or those below `MILLPOND_GOLDEN`.
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
    items.retain(|item| holds_rocksdb(item.open().metadata()));
    items.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(!items.is_empty(), "no snapshots in {}", root.display());
    items
}

pub(crate) fn item_named(name: &str) -> Item {
    let directory = golden_directory().join(name);
    let release = directory.parent().expect("a release").to_owned();
    item(&release, directory).unwrap_or_else(|| panic!("no {name}"))
}

fn golden_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn holds_rocksdb(metadata: &Metadata) -> bool {
    let subtasks = metadata
        .operators
        .iter()
        .flat_map(|operator| &operator.subtasks);
    subtasks
        .filter_map(|(_, subtask)| subtask.managed_keyed.as_ref())
        .any(|handle| matches!(handle, KeyedHandle::Incremental(_)))
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

/// The content of a snapshot as `millpond state read --format json` shows it.
pub(crate) fn document(snapshot: &OpenSnapshot) -> Result<Value, String> {
    let mut out = Vec::new();
    let options = ReadOptions {
        selection: Selection::default(),
        format: Format::Json,
        ttl: false,
        limit: None,
    };
    let threads = Threads::default();
    read(snapshot, &options, threads, &Progress::default(), &mut out)
        .map_err(|error| error.to_string())?;
    Ok(serde_json::from_slice(&out).expect("JSON"))
}

/// Checks that a document holds what a sidecar says, to the last row; returns how many rows.
pub(crate) fn check_content(name: &str, found: &Value, sidecar: &Value) -> usize {
    let operators = found["operators"].as_array().expect("operators");
    let known = sidecar["operators"].as_array().expect("operators");
    assert_eq!(operators.len(), known.len(), "{name}");
    let mut rows = 0;
    for known in known {
        let id = &known["operator_id"];
        let operator = operators
            .iter()
            .find(|operator| operator["operator_id"] == *id)
            .unwrap_or_else(|| panic!("{name}: operator {id}"));
        let (mut found, expected) = (state(operator), state(known));
        if known["note"].is_string() {
            // A source of the new kind: the sidecar leaves out what only it understands.
            found.remove("operator \"SourceReaderState\"");
        }
        for (state, expected) in &expected {
            assert_eq!(found.get(state), Some(expected), "{name} {id} {state}");
            rows += expected.1.len();
        }
        let names = |states: &BTreeMap<String, _>| states.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&found), names(&expected), "{name} {id}");
        if let Some(key_type) = known.get("key_type") {
            assert_eq!(&operator["key_type"], key_type, "{name} {id}");
        }
    }
    rows
}

/// What of an operator is compared: everything that a sidecar says of state, rows in any order.
fn state(operator: &Value) -> BTreeMap<String, (Vec<String>, Vec<String>)> {
    let mut states = BTreeMap::new();
    let words =
        |state: &Value, names: &[&str]| names.iter().map(|name| state[*name].to_string()).collect();
    for state in operator["keyed_states"].as_array().into_iter().flatten() {
        let described = words(state, &["kind", "namespace", "types"]);
        let name = format!("keyed {}", state["name"]);
        states.insert(name, (described, sorted(&state["content"])));
    }
    for state in operator["operator_states"].as_array().into_iter().flatten() {
        let described = words(state, &["mode", "types"]);
        let name = format!("operator {}", state["name"]);
        states.insert(name, (described, sorted(&state["content"])));
    }
    if operator["timers"].is_object() {
        let timers = &operator["timers"];
        for kind in ["event", "processing"] {
            let described = words(timers, &["service", "namespace"]);
            states.insert(format!("timers {kind}"), (described, sorted(&timers[kind])));
        }
    }
    states
}

fn sorted(rows: &Value) -> Vec<String> {
    let mut rows: Vec<String> = rows
        .as_array()
        .map(|rows| rows.iter().map(Value::to_string).collect())
        .unwrap_or_default();
    rows.sort();
    rows
}

/// Copies a directory with all that is in it.
pub(crate) fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("room");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_directory(&entry.path(), &to);
        } else {
            std::fs::write(to, std::fs::read(entry.path()).expect("there")).expect("room");
        }
    }
}
