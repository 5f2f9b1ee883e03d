//! The keyed state of one subtask on its way into a new snapshot.

use std::sync::Arc;

use millpond_snapshot::{
    Error, KeyGroupRecord, KeyedFormat, KeyedHandle, KeyedHeader, KeyedWriter, StateRecord,
    StateStream, WrittenState,
};
use millpond_types::{KeyGroup, KeyGroupRange};

use crate::snapshot_writer::{SnapshotWriter, random_uuid};

/// Takes entries in ascending order of key groups; each state of a group in one run.
pub(crate) struct EntryWriter<'a> {
    snapshot: &'a SnapshotWriter,
    header: Arc<KeyedHeader>,
    format: KeyedFormat,
    out: KeyedWriter<StateStream<'a>>,
    place: Option<(KeyGroup, usize)>,
}

/// The keyed state of one subtask in the new snapshot.
pub(crate) struct WrittenSubtask {
    pub(crate) handle: KeyedHandle,
    pub(crate) states: Vec<StateRecord>,
}

impl<'a> EntryWriter<'a> {
    pub(crate) fn new(
        snapshot: &'a SnapshotWriter,
        header: Arc<KeyedHeader>,
        format: KeyedFormat,
        range: KeyGroupRange,
        max_parallelism: u32,
    ) -> Result<Self, Error> {
        let stream = snapshot.stream();
        let out = KeyedWriter::new(format, stream, &header, range, max_parallelism)?;
        Ok(EntryWriter {
            snapshot,
            header,
            format,
            out,
            place: None,
        })
    }

    /// Adds an entry; `key` is without the key group.
    #[inline]
    pub(crate) fn put(
        &mut self,
        group: KeyGroup,
        state: usize,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), Error> {
        if self.place != Some((group, state)) {
            self.out.begin_state(group, state)?;
            self.place = Some((group, state));
        }
        self.out.raw_entry(key, value)
    }

    pub(crate) fn finish(self) -> Result<WrittenSubtask, Error> {
        let written = self.out.finish()?;
        let stream = self.snapshot.finish_stream(written.out)?;
        let handle = KeyedHandle::KeyGroups {
            kind: self.format.handle_kind(random_uuid),
            groups: written.groups,
            stream,
        };
        let states = self.header.states.iter().zip(&written.states);
        let states = states.map(|(meta, state)| record(&meta.name, state));
        Ok(WrittenSubtask {
            handle,
            states: states.collect(),
        })
    }
}

fn record(name: &str, state: &WrittenState) -> StateRecord {
    let groups = state.key_groups.iter();
    StateRecord {
        name: name.to_owned(),
        key_groups: groups
            .map(|&(group, entries, bytes)| KeyGroupRecord {
                key_group: group.0,
                entries,
                bytes,
            })
            .collect(),
    }
}
