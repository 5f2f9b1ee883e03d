//! Snapshots of Flink, opened as databases.

use std::num::NonZero;
use std::sync::Arc;

use millpond_golden::{Golden, heap_directory};
use millpond_state_processor::{Format, OpenSnapshot, PathMap, Progress, Threads};
use millpond_state_sql::{Database, DatabaseOptions, Error};
use serde_json::Value as Json;

/// How a golden snapshot is opened.
pub(crate) trait Open {
    fn open(&self) -> OpenSnapshot;
    fn database(&self) -> Database;
}

impl Open for Golden {
    fn open(&self) -> OpenSnapshot {
        let pointer = self.directory.to_str().expect("a text");
        OpenSnapshot::open(pointer, &paths(self))
            .unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    fn database(&self) -> Database {
        database(self.open(), &paths(self))
    }
}

fn paths(golden: &Golden) -> PathMap {
    let mut paths = PathMap::default();
    if let Some((from, to)) = &golden.moved {
        paths.add(from, to).expect("locations");
    }
    paths
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

/// The snapshots of the heap backend, and the canonical ones.
pub(crate) fn items() -> Vec<Golden> {
    millpond_golden::all(&heap_directory())
}

/// One of them: "2.3.0/kinds-hashmap-canonical".
pub(crate) fn item_named(name: &str) -> Golden {
    millpond_golden::named(&heap_directory(), name)
}
