//! The golden snapshots, and a decoder of values into JSON for comparing with their sidecars.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use millpond_fs::{LocalFileSystem, Location};
use millpond_serializer::{ByteReader, SerializerSnapshot, SnapshotBody};
use millpond_snapshot::{LoadedSnapshot, load};
use serde_json::{Value, json};

/// A snapshot that Flink wrote.
pub(crate) struct Golden {
    /// Release and case: "2.3.0/kinds-hashmap-canonical".
    pub(crate) name: String,
    /// The directory that `_metadata` lies in.
    pub(crate) directory: PathBuf,
}

impl Golden {
    pub(crate) fn load(&self) -> LoadedSnapshot {
        let location = Location::of_path(&self.directory).expect("a text");
        load(Arc::new(LocalFileSystem), &location).unwrap_or_else(|e| panic!("{}: {e}", self.name))
    }

    pub(crate) fn metadata_bytes(&self) -> Vec<u8> {
        std::fs::read(self.directory.join("_metadata")).expect("there")
    }

    /// Whether its state files are here too.
    pub(crate) fn has_state(&self) -> bool {
        !self.name.contains("metadata-only")
    }

    /// What is known of its content.
    pub(crate) fn sidecar(&self) -> Value {
        let path = self.directory.with_extension("");
        let path = path.with_file_name(format!(
            "{}.json",
            self.directory
                .file_name()
                .and_then(|name| name.to_str())
                .expect("a name")
        ));
        serde_json::from_slice(&std::fs::read(path).expect("a sidecar")).expect("JSON")
    }
}

/// All golden snapshots, in order of their names. `MILLPOND_GOLDEN` may name a directory with
/// more of them, in the same arrangement.
pub(crate) fn golden() -> Vec<Golden> {
    let root = match std::env::var_os("MILLPOND_GOLDEN") {
        Some(root) => PathBuf::from(root),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden"),
    };
    let mut found = Vec::new();
    find(&root, &root, &mut found);
    found.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(found.len() >= 60, "only {} golden snapshots", found.len());
    found
}

fn find(root: &Path, directory: &Path, found: &mut Vec<Golden>) {
    if directory.join("_metadata").is_file() {
        let name = directory
            .strip_prefix(root)
            .expect("below")
            .display()
            .to_string();
        found.push(Golden {
            name,
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

/// Decodes a value as the sidecars show it; panics on anything that is not one.
pub(crate) fn decode(snapshot: &SerializerSnapshot, input: &mut ByteReader<'_>) -> Value {
    let name = snapshot.describe();
    let name = name.split(['<', ' ']).next().expect("a name");
    let nested = snapshot.nested();
    match name {
        "String" => input
            .string_value()
            .expect("a text")
            .map_or(Value::Null, Value::from),
        "Long" => json!(input.i64().expect("8 bytes")),
        "Integer" => json!(input.i32().expect("4 bytes")),
        "Boolean" => json!(input.bool().expect("0 or 1")),
        "Double" => json!(input.f64().expect("8 bytes")),
        "VoidNamespace" => {
            assert_eq!(input.u8(), Ok(0));
            Value::Null
        }
        "TimeWindow" => json!([input.i64().expect("8 bytes"), input.i64().expect("8 bytes")]),
        "Tuple" => nested.iter().map(|field| decode(field, input)).collect(),
        "TtlStateFactory" => {
            input.i64().expect("a time");
            decode(&nested[1], input)
        }
        "Nullable" => {
            if input.bool().expect("0 or 1") {
                return Value::Null;
            }
            decode(&nested[0], input)
        }
        "Pojo" => decode_pojo(snapshot, input),
        other => panic!("a decoder for {other} ({})", snapshot.class),
    }
}

fn decode_pojo(snapshot: &SerializerSnapshot, input: &mut ByteReader<'_>) -> Value {
    let SnapshotBody::Pojo { fields, .. } = &snapshot.body else {
        panic!("fields of a POJO");
    };
    assert_eq!(input.u8(), Ok(2), "an exact POJO");
    let field = |input: &mut ByteReader<'_>, value: &SerializerSnapshot| {
        if input.bool().expect("0 or 1") {
            Value::Null
        } else {
            decode(value, input)
        }
    };
    fields
        .iter()
        .map(|entry| {
            let value = entry.value.as_ref().expect("a serializer");
            (entry.name.clone(), field(input, value))
        })
        .collect()
}

/// Decodes all bytes as one value.
pub(crate) fn decode_all(snapshot: &SerializerSnapshot, bytes: &[u8]) -> Value {
    let mut input = ByteReader::new(bytes);
    let value = decode(snapshot, &mut input);
    assert!(
        input.is_empty(),
        "{} bytes behind {value}",
        input.remaining()
    );
    value
}
