//! The snapshots that real Flink wrote, to begin with.

use std::path::{Path, PathBuf};

use millpond_serializer::{ByteReader, SerializerSnapshot};
use millpond_snapshot::{
    KeyedHandle, Metadata, OperatorStateHandle, OperatorStateHeader, StreamHandle,
};

/// One of the golden snapshots of the crate `snapshot`.
#[derive(Clone, Debug)]
pub struct Golden {
    /// Release and name, as one name for a file.
    pub name: String,
    /// The bytes of `_metadata`.
    pub bytes: Vec<u8>,
    /// The same, read.
    pub metadata: Metadata,
}

/// Returns all golden snapshots, in the order of their names.
///
/// # Panics
///
/// If they are not there: the targets run from a checkout.
pub fn golden() -> Vec<Golden> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/snapshot/tests/golden");
    let mut found = Vec::new();
    for release in directories(&root) {
        for directory in directories(&release) {
            let file = directory.join("_metadata");
            let Ok(bytes) = std::fs::read(&file) else {
                continue;
            };
            let names = [&release, &directory].map(|path| {
                let name = path.file_name().expect("a directory below the root");
                name.to_string_lossy().into_owned()
            });
            let metadata = Metadata::read(&bytes).expect("Flink wrote it");
            found.push(Golden {
                name: names.join("-"),
                bytes,
                metadata,
            });
        }
    }
    assert!(!found.is_empty(), "no snapshot in {}", root.display());
    found
}

fn directories(of: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(of).expect("the golden snapshots are there");
    let paths = entries.map(|entry| entry.expect("a directory that can be listed").path());
    let mut paths: Vec<PathBuf> = paths.filter(|path| path.is_dir()).collect();
    paths.sort();
    paths
}

/// Calls `visit` for each inline keyed state: handle, bytes, maximum parallelism.
pub fn keyed_states(golden: &Golden, visit: &mut dyn FnMut(&KeyedHandle, &[u8], u32)) {
    for operator in &golden.metadata.operators {
        for (_, subtask) in &operator.subtasks {
            if let Some(handle @ KeyedHandle::KeyGroups { stream, .. }) = &subtask.managed_keyed
                && let StreamHandle::Bytes { data, .. } = stream
            {
                visit(handle, data, operator.max_parallelism);
            }
        }
    }
}

/// Calls `visit` for each inline operator state.
pub fn operator_states(golden: &Golden, visit: &mut dyn FnMut(&OperatorStateHandle, &[u8])) {
    let subtasks = golden.metadata.operators.iter();
    for (_, subtask) in subtasks.flat_map(|operator| &operator.subtasks) {
        if let Some(handle) = &subtask.managed_operator
            && let StreamHandle::Bytes { data, .. } = &handle.stream
        {
            visit(handle, data);
        }
    }
}

/// Returns the serializers of keys, namespaces, values and elements of all golden snapshots, each
/// once.
pub fn serializers() -> Vec<SerializerSnapshot> {
    let mut found: Vec<SerializerSnapshot> = Vec::new();
    let mut add = |serializer: &SerializerSnapshot| {
        if !found.contains(serializer) {
            found.push(serializer.clone());
        }
    };
    for golden in golden() {
        keyed_states(&golden, &mut |_, data, _| {
            let header = millpond_snapshot::KeyedHeader::read(&mut ByteReader::new(data));
            let Ok(header) = header else { return };
            add(&header.key_serializer);
            let parts = header.states.iter().flat_map(|state| &state.serializers);
            parts.for_each(|(_, serializer)| add(serializer));
        });
        operator_states(&golden, &mut |_, data| {
            let header = OperatorStateHeader::read(&mut ByteReader::new(data));
            let Ok(header) = header else { return };
            let parts = header.states().flat_map(|state| &state.serializers);
            parts.for_each(|(_, serializer)| add(serializer));
        });
    }
    found
}
