//! State that a snapshot holds and the job has not registered: kept as bytes.
//!
//! It is decoded once the job registers a state of its name, and written again as it is until then.

use crate::frozen::StateWriter;
use crate::image::{FrozenChanges, FrozenEntries, FrozenState};
use millpond_serializer::{ByteReader, ByteWriter};
use millpond_snapshot::{Error, StateMeta};
use millpond_types::CheckpointId;
use std::sync::Arc;

/// The entries of one state and key group: BYTES key behind the key group, BYTES value.
#[derive(Clone, Debug, Default)]
pub(crate) struct RawGroup {
    bytes: Vec<u8>,
    entries: usize,
}

impl RawGroup {
    pub(crate) fn entries(&self) -> usize {
        self.entries
    }

    /// Adds an entry; `key` begins behind the key group.
    pub(crate) fn push(&mut self, key: &[u8], value: &[u8]) {
        self.bytes.put_bytes(key);
        self.bytes.put_bytes(value);
        self.entries += 1;
    }

    /// Removes all entries and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.entries = 0;
    }

    /// Calls `visit` with the key and the value of each entry, until it fails.
    pub(crate) fn try_for_each(
        &self,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut reader = ByteReader::new(&self.bytes);
        while !reader.is_empty() {
            let key = reader.bytes()?;
            let value = reader.bytes()?;
            visit(key, value)?;
        }
        Ok(())
    }
}

/// A state as bytes.
#[derive(Debug)]
pub(crate) struct RawState {
    pub(crate) meta: StateMeta,
    /// One per key group of the operator's range; a snapshot shares them.
    pub(crate) groups: Vec<Arc<RawGroup>>,
}

impl RawState {
    pub(crate) fn new(meta: StateMeta, groups: usize) -> Self {
        RawState {
            meta,
            groups: vec![Arc::default(); groups],
        }
    }

    /// Whether entries that `meta` describes can stand beside those here.
    pub(crate) fn describes_same(&self, meta: &StateMeta) -> bool {
        self.meta.describes_same(meta)
    }

    pub(crate) fn push(&mut self, group: usize, key: &[u8], value: &[u8]) {
        Arc::make_mut(&mut self.groups[group]).push(key, value);
    }

    pub(crate) fn entries(&self) -> usize {
        self.groups.iter().map(|group| group.entries).sum()
    }

    pub(crate) fn allocated_bytes(&self) -> usize {
        self.groups.iter().map(|group| group.bytes.capacity()).sum()
    }

    pub(crate) fn freeze(&self) -> Box<dyn FrozenState> {
        Box::new(FrozenRaw {
            groups: self.groups.iter().cloned().map(Some).collect(),
        })
    }
}

struct FrozenRaw {
    groups: Vec<Option<Arc<RawGroup>>>,
}

impl FrozenState for FrozenRaw {
    fn take_group(&mut self, group: usize) -> Option<Box<dyn FrozenEntries>> {
        let raw = self.groups[group].take()?;
        Some(Box::new(raw))
    }

    // It was restored before the first checkpoint, and nothing changes it.
    fn take_changes(&mut self, group: usize, _base: CheckpointId) -> FrozenChanges {
        self.groups[group] = None;
        FrozenChanges::Nothing
    }
}

impl FrozenEntries for Arc<RawGroup> {
    fn write(&self, writer: &mut StateWriter<'_>) -> Result<(), Error> {
        self.try_for_each(|key, value| writer.raw_entry(key, value))
    }
}
