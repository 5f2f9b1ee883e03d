//! A savepoint or retained checkpoint, opened to be looked at.

use std::sync::Arc;

use millpond_fs::Location;
use millpond_snapshot::{LoadedSnapshot, Metadata, RocksDb, Trailer, load};
use millpond_types::OperatorId;
use serde::Serialize;

use crate::{Error, Operator, PathMap};

/// A snapshot whose metadata is in memory; its state is read when it is asked for.
#[derive(Debug)]
pub struct OpenSnapshot {
    loaded: LoadedSnapshot,
}

/// Who wrote a snapshot, as far as its bytes tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Writer {
    /// "Flink" or "Millpond".
    pub engine: &'static str,
    /// A version of Millpond, or the releases of Flink that write such metadata.
    pub version: String,
    /// The version of the metadata: 2 to 6.
    pub metadata_version: i32,
    /// "savepoint" or "checkpoint", if it is known.
    pub kind: Option<&'static str>,
}

impl OpenSnapshot {
    /// Opens the snapshot at `pointer`: its directory, or its metadata file.
    ///
    /// # Errors
    ///
    /// Snapshot: there is none, or its metadata cannot be read.
    pub fn open(pointer: &str, paths: &PathMap) -> Result<Self, Error> {
        let location = Location::parse(pointer)?;
        let loaded = load(paths.file_system(), &location)?;
        Ok(OpenSnapshot { loaded })
    }

    /// Takes a snapshot that was loaded otherwise.
    pub fn of_loaded(loaded: LoadedSnapshot) -> Self {
        OpenSnapshot { loaded }
    }

    /// Hands in what reads state in files of a RocksDB; without it such state is named, not read.
    #[must_use]
    pub fn with_rocksdb(self, rocksdb: Option<Arc<dyn RocksDb>>) -> Self {
        OpenSnapshot {
            loaded: self.loaded.with_rocksdb(rocksdb),
        }
    }

    /// The snapshot below: handles, files, locations.
    pub fn loaded(&self) -> &LoadedSnapshot {
        &self.loaded
    }

    /// The metadata.
    pub fn metadata(&self) -> &Metadata {
        &self.loaded.metadata
    }

    /// What Millpond added; `None` if Flink wrote the snapshot.
    pub fn trailer(&self) -> Option<&Trailer> {
        self.loaded.metadata.trailer.as_ref()
    }

    /// The operators, in the order of the metadata; also those without state.
    pub fn operators(&self) -> impl Iterator<Item = Operator<'_>> {
        let operators = self.loaded.metadata.operators.iter();
        operators.map(|operator| Operator::new(self, operator))
    }

    /// Returns the operator that a user means by its uid, its id, or its name.
    ///
    /// A uid is found by its hash, so that it need not stand in the snapshot.
    ///
    /// # Errors
    ///
    /// Request, if there is none, or if several have that name.
    pub fn find_operator(&self, meant: &str) -> Result<Operator<'_>, Error> {
        let by_id = |id: OperatorId| self.operators().find(|operator| operator.id() == id);
        let of_uid = by_id(OperatorId::of_uid(meant));
        let found = of_uid.or_else(|| meant.parse().ok().and_then(by_id));
        if let Some(operator) = found {
            return Ok(operator);
        }
        let named: Vec<Operator<'_>> = self
            .operators()
            .filter(|operator| operator.name() == Some(meant) || operator.uid() == Some(meant))
            .collect();
        match named.as_slice() {
            [operator] => Ok(*operator),
            [] => {
                let known: Vec<String> = self
                    .operators()
                    .filter(|operator| !operator.is_empty())
                    .map(|operator| operator.label())
                    .collect();
                Err(Error::request(format!(
                    "no operator of this snapshot has the uid, id or name \"{meant}\"; it has \
                     state of: {}",
                    known.join(", ")
                )))
            }
            several => {
                let ids: Vec<String> = several.iter().map(|one| one.id().to_string()).collect();
                Err(Error::request(format!(
                    "several operators are named \"{meant}\"; say which by its id: {}",
                    ids.join(", ")
                )))
            }
        }
    }

    /// Returns who wrote the snapshot.
    pub fn writer(&self) -> Writer {
        let metadata = self.metadata();
        let metadata_version = metadata.version;
        if let Some(trailer) = &metadata.trailer {
            return Writer {
                engine: "Millpond",
                version: trailer.millpond_version.clone(),
                metadata_version,
                kind: Some(if trailer.savepoint {
                    "savepoint"
                } else {
                    "checkpoint"
                }),
            };
        }
        let releases = match metadata_version {
            2 => "1.3 to 1.10",
            3 => "1.11 to 1.15",
            4 => "1.16 to 1.20",
            5 => "2.0",
            _ => "2.1 to 2.3",
        };
        // The properties are a Java object stream; the names of its classes say what they are.
        let properties = metadata.properties.as_deref().unwrap_or_default();
        let names = |class: &[u8]| properties.windows(class.len()).any(|part| part == class);
        let kind = match (names(b".SavepointType"), names(b".CheckpointType")) {
            (true, _) => Some("savepoint"),
            (_, true) => Some("checkpoint"),
            (false, false) => None,
        };
        Writer {
            engine: "Flink",
            version: releases.to_owned(),
            metadata_version,
            kind,
        }
    }
}
