//! The snapshots that Flink wrote, for tests: where they are, and what their sidecars say.
//!
//! Those of the heap, and the canonical ones, lie with the crate `snapshot`; those in files of RocksDB
//! with `state-rocksdb`. Beside each directory is its sidecar, a JSON file that the job that wrote
//! the snapshot made. This crate knows files and JSON, and nothing of Millpond, so that every crate can
//! use it in its tests.
//!
//! `MILLPOND_GOLDEN` may name a directory with more of both than the tree holds.

mod content;

pub use content::{Content, check_content, content_of};

use std::path::{Path, PathBuf};

use serde_json::Value;

/// A snapshot of Flink, and what it holds.
#[derive(Clone, Debug)]
pub struct Golden {
    /// Release and case: "2.3.0/kinds-hashmap-canonical".
    pub name: String,
    /// Where its `_metadata` is.
    pub directory: PathBuf,
    /// What is in it.
    pub sidecar: Value,
    /// For a checkpoint with absolute paths: the prefix that they had, and the one that they have now.
    pub moved: Option<(String, String)>,
}

/// The folder of all crates. Two clones with one target directory share this crate as compiled, so the
/// test that runs is asked, and not the clone that has compiled it.
fn crates() -> PathBuf {
    let of_test = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let compiled = Path::new(env!("CARGO_MANIFEST_DIR"));
    let start = of_test.as_deref().unwrap_or(compiled);
    let mut above = start.ancestors().map(|folder| folder.join("crates"));
    above
        .find(|crates| crates.join("golden").is_dir())
        .unwrap_or_else(|| panic!("no crates/golden above {}", start.display()))
}

/// Where the snapshots of the heap backend, and the canonical ones of both, lie.
pub fn heap_directory() -> PathBuf {
    crates().join("snapshot/tests/golden")
}

/// Where the snapshots in files of RocksDB lie.
pub fn rocksdb_directory() -> PathBuf {
    crates().join("state-rocksdb/tests/golden")
}

/// The snapshots with a sidecar below `directory`, or below `MILLPOND_GOLDEN` if that is set; by
/// name.
///
/// # Panics
///
/// If there is none.
pub fn all(directory: &Path) -> Vec<Golden> {
    let root = match std::env::var_os("MILLPOND_GOLDEN") {
        Some(root) => PathBuf::from(root),
        None => directory.to_owned(),
    };
    let releases = directories(&root).into_iter();
    let mut found: Vec<Golden> = releases
        .flat_map(|release| directories(&release))
        .filter_map(|directory| open(&directory))
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(!found.is_empty(), "no snapshots in {}", root.display());
    found
}

/// One snapshot below `directory`: "2.3.0/kinds-hashmap-canonical".
///
/// # Panics
///
/// If it is not there.
pub fn named(directory: &Path, name: &str) -> Golden {
    open(&directory.join(name)).unwrap_or_else(|| panic!("no {name} in {}", directory.display()))
}

impl Golden {
    /// The content of a keyed state, as the sidecar tells it.
    ///
    /// # Panics
    ///
    /// If the sidecar has no such state.
    pub fn keyed_state(&self, uid: &str, state: &str) -> Vec<Value> {
        let operators = list(&self.sidecar["operators"]);
        let of_uid = operators.iter().filter(|operator| operator["uid"] == uid);
        let states = of_uid.flat_map(|operator| list(&operator["keyed_states"]));
        let mut found = states.filter(|known| known["name"] == state);
        let state = found.next().unwrap_or_else(|| panic!("no {uid}/{state}"));
        list(&state["content"]).to_vec()
    }
}

/// The items of an array, which may be left out.
pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn directories(below: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(below).expect("a directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.filter(|path| path.is_dir()).collect()
}

fn open(directory: &Path) -> Option<Golden> {
    let release = directory.parent()?;
    let case = directory.file_name()?.to_str()?;
    let sidecar = std::fs::read(release.join(format!("{case}.json"))).ok()?;
    let sidecar: Value = serde_json::from_slice(&sidecar).expect("JSON");
    let (directory, moved) = match sidecar["metadata_dir"].as_str() {
        None => (directory.to_owned(), None),
        Some(inside) => {
            let from = sidecar["origin_prefix"].as_str().expect("a prefix");
            let to = release.to_str().expect("a text");
            (release.join(inside), Some((from.to_owned(), to.to_owned())))
        }
    };
    Some(Golden {
        name: format!("{}/{case}", release.file_name()?.to_str()?),
        directory,
        sidecar,
        moved,
    })
}
