//! State that a snapshot holds and the job has not registered: kept as bytes.
//!
//! It is decoded once the job registers a state of its name, and written again as it is until then.

use crate::Result;
use crate::codec::EntrySink;
use crate::frozen::FrozenState;
use crate::registered::StateDescription;
use millpond_serializer::{ByteReader, ByteWriter};
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

    /// Calls `visit` with readers of the key and the value of each entry, until it fails.
    pub(crate) fn try_for_each<E: From<millpond_serializer::Error>>(
        &self,
        mut visit: impl FnMut(&[u8], &[u8]) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
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
    pub(crate) description: StateDescription,
    /// One per key group of the operator's range; a snapshot shares them.
    pub(crate) groups: Vec<Arc<RawGroup>>,
}

impl RawState {
    pub(crate) fn new(description: StateDescription, groups: usize) -> Self {
        RawState {
            description,
            groups: vec![Arc::default(); groups],
        }
    }

    pub(crate) fn push(&mut self, group: usize, key: &[u8], value: &[u8]) {
        let group = Arc::make_mut(&mut self.groups[group]);
        group.bytes.put_bytes(key);
        group.bytes.put_bytes(value);
        group.entries += 1;
    }

    pub(crate) fn entries(&self) -> usize {
        self.groups.iter().map(|group| group.entries).sum()
    }

    pub(crate) fn allocated_bytes(&self) -> usize {
        self.groups.iter().map(|group| group.bytes.capacity()).sum()
    }

    pub(crate) fn freeze(&self) -> Box<dyn FrozenState> {
        let groups = self.groups.iter().cloned().map(Some).collect();
        Box::new(FrozenRaw {
            state: self.description.name.clone(),
            groups,
        })
    }
}

struct FrozenRaw {
    state: String,
    groups: Vec<Option<Arc<RawGroup>>>,
}

impl FrozenState for FrozenRaw {
    fn name(&self) -> &str {
        &self.state
    }

    fn entries(&self) -> usize {
        self.groups
            .iter()
            .flatten()
            .map(|group| group.entries)
            .sum()
    }

    fn has_entries(&self, group: usize) -> bool {
        self.groups[group]
            .as_ref()
            .is_some_and(|group| group.entries > 0)
    }

    fn write_group(&mut self, group: usize, sink: &mut dyn EntrySink) -> Result<u64> {
        let Some(raw) = self.groups[group].take() else {
            return Ok(0);
        };
        raw.try_for_each(|key, value| sink.entry(key, value))?;
        Ok(raw.entries as u64)
    }
}
