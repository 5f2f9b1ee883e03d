//! Snapshots of Flink with their sidecars, opened as databases.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millpond_state_processor::{Format, OpenSnapshot, PathMap, Progress, Threads};
use millpond_state_sql::{Database, DatabaseOptions, Error};
use serde_json::Value as Json;

/// A snapshot of Flink, and what it holds.
pub(crate) struct Item {
    /// "2.3.0/kinds-hashmap-canonical"
    pub(crate) name: String,
    pub(crate) directory: PathBuf,
    pub(crate) sidecar: Json,
    pub(crate) paths: PathMap,
}

impl Item {
    pub(crate) fn open(&self) -> OpenSnapshot {
        let pointer = self.directory.to_str().expect("a text");
        OpenSnapshot::open(pointer, &self.paths)
            .unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    pub(crate) fn database(&self) -> Database {
        database(self.open(), &self.paths)
    }
}

pub(crate) fn database(snapshot: OpenSnapshot, paths: &PathMap) -> Database {
    let options = DatabaseOptions {
        memory_bytes: 64 << 20,
        threads: Threads(NonZero::new(2).expect("not zero")),
    };
    let progress = Arc::new(Progress::default());
    Database::open(snapshot, paths, &options, &progress).expect("threads")
}

/// The rows of an answer as JSON objects.
pub(crate) fn rows(database: &Database, sql: &str) -> Result<Vec<Json>, Error> {
    let text = text(database, sql, Format::JsonLines)?;
    let rows = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    Ok(rows.collect())
}

pub(crate) fn text(database: &Database, sql: &str, format: Format) -> Result<String, Error> {
    let mut out = Vec::new();
    database.query(sql, format, &mut out)?;
    Ok(String::from_utf8(out).expect("UTF-8"))
}

/// The only cell of an answer.
pub(crate) fn cell(database: &Database, sql: &str) -> Json {
    let rows = rows(database, sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let row = rows.first().and_then(Json::as_object).expect("one row");
    assert_eq!((rows.len(), row.len()), (1, 1), "{sql}");
    row.values().next().expect("one cell").clone()
}

pub(crate) fn golden_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../snapshot/tests/golden")
}

/// The snapshots that the tree holds with a sidecar.
pub(crate) fn items() -> Vec<Item> {
    let directories = |below: &Path| {
        let entries = std::fs::read_dir(below).expect("a directory");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        paths.filter(|path| path.is_dir()).collect::<Vec<_>>()
    };
    let releases = directories(&golden_directory()).into_iter();
    let mut items: Vec<Item> = releases
        .flat_map(|release| directories(&release))
        .filter_map(|directory| item(&directory))
        .collect();
    items.sort_by(|a, b| a.name.cmp(&b.name));
    items
}

/// One snapshot of the tree: "2.3.0/kinds-hashmap-canonical".
pub(crate) fn item_named(name: &str) -> Item {
    item(&golden_directory().join(name)).unwrap_or_else(|| panic!("no {name}"))
}

fn item(directory: &Path) -> Option<Item> {
    let release = directory.parent()?;
    let name = directory.file_name()?.to_str()?;
    let sidecar = std::fs::read(release.join(format!("{name}.json"))).ok()?;
    let sidecar: Json = serde_json::from_slice(&sidecar).expect("JSON");
    let mut paths = PathMap::default();
    let directory = match sidecar["metadata_dir"].as_str() {
        None => directory.to_owned(),
        Some(inside) => {
            let from = sidecar["origin_prefix"].as_str().expect("a prefix");
            let to = release.to_str().expect("a text");
            paths.add(from, to).expect("locations");
            release.join(inside)
        }
    };
    let release = release.file_name()?.to_str()?;
    Some(Item {
        name: format!("{release}/{name}"),
        directory,
        sidecar,
        paths,
    })
}

/// The content of a keyed state in a sidecar.
pub(crate) fn content(item: &Item, uid: &str, state: &str) -> Vec<Json> {
    let operators = item.sidecar["operators"].as_array().expect("operators");
    let of_uid = operators.iter().filter(|operator| operator["uid"] == uid);
    let states = of_uid.flat_map(|operator| operator["keyed_states"].as_array().expect("states"));
    let mut found = states.filter(|known| known["name"] == state);
    let state = found.next().unwrap_or_else(|| panic!("no {uid}/{state}"));
    state["content"].as_array().expect("content").clone()
}
