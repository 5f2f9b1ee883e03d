//! The image of an operator's keyed state, written in another thread than the one that goes on.

use crate::{Error, ErrorKind, Result};
use millpond_serializer::SerializerSnapshot;
use millpond_snapshot::{
    CanonicalWriter, ChecksumWriter, KeyGroupOffsets, KeyGroupRecord, KeyedHeader, StateMeta,
    StateRecord,
};
use millpond_types::KeyGroupRange;
use std::fmt;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Tables of up to this many bytes are written at once: the stall is about a millisecond.
const SMALL_BYTES: usize = 4 << 20;

/// What states write their entries to.
pub(crate) type StateWriter<'a> = CanonicalWriter<ChecksumWriter<&'a mut dyn Write>>;

/// The image of one state with its types hidden.
pub(crate) trait FrozenState: Send {
    /// How many keys, or timers, are left to write.
    fn entries(&self) -> usize;

    /// Writes the group at position `group` and lets go of it.
    fn write_group(
        &mut self,
        group: usize,
        writer: &mut StateWriter<'_>,
    ) -> std::result::Result<(), millpond_snapshot::Error>;
}

/// The keyed state of one operator subtask at the moment of its freeze.
///
/// It costs no copy. Dropping it, written or not, lets the owner fold its changes in.
pub struct FrozenKeyedState {
    pub(crate) max_parallelism: u32,
    pub(crate) range: KeyGroupRange,
    pub(crate) key_serializer: SerializerSnapshot,
    pub(crate) metas: Vec<StateMeta>,
    /// One per meta.
    pub(crate) states: Vec<Box<dyn FrozenState>>,
    pub(crate) allocated_bytes: usize,
}

/// What was written of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenKeyedState {
    /// Where each key group begins, for the handle.
    pub groups: KeyGroupOffsets,
    /// All bytes.
    pub bytes: u64,
    /// The XXH3-64 of all bytes.
    pub checksum: u64,
    /// How much each state holds in each key group.
    pub states: Vec<StateRecord>,
}

impl FrozenKeyedState {
    /// The key groups that it covers.
    pub fn range(&self) -> KeyGroupRange {
        self.range
    }

    /// How many entries there are: keys times namespaces, and timers. O(states times key groups).
    pub fn entries(&self) -> usize {
        self.states.iter().map(|state| state.entries()).sum()
    }

    /// Whether there is no state at all: no handle is needed then.
    pub fn is_empty(&self) -> bool {
        self.entries() == 0
    }

    /// Whether there is so little state that its owner may write it at once, to memory.
    ///
    /// Measured in bytes of the tables; what keys and values own elsewhere is not counted.
    pub fn is_small(&self) -> bool {
        self.allocated_bytes <= SMALL_BYTES
    }

    /// Writes the canonical format, and lets go of each key group as soon as it is written.
    ///
    /// # Errors
    ///
    /// Serializer, if a value cannot be written; storage, if `out` fails. The checkpoint is to be
    /// declined; the owner is not harmed.
    pub fn write(self, out: &mut dyn Write) -> Result<WrittenKeyedState> {
        let mut current = None;
        // A panic in a user's serializer is that value's error, not the end of the job.
        let written = catch_unwind(AssertUnwindSafe(|| self.write_groups(out, &mut current)));
        match written {
            Ok(Ok(written)) => Ok(written),
            Ok(Err(error)) => Err(storage_error(current, error)),
            Err(panic) => {
                let reason = panic
                    .downcast_ref::<&str>()
                    .map(|reason| (*reason).to_owned())
                    .or_else(|| panic.downcast_ref::<String>().cloned())
                    .unwrap_or_else(|| "the serializer panicked".to_owned());
                let state = current.unwrap_or_default();
                Err(Error::new(ErrorKind::Serializer { state, reason }))
            }
        }
    }

    fn write_groups(
        self,
        out: &mut dyn Write,
        current: &mut Option<String>,
    ) -> std::result::Result<WrittenKeyedState, millpond_snapshot::Error> {
        let FrozenKeyedState {
            max_parallelism,
            range,
            key_serializer,
            metas,
            mut states,
            ..
        } = self;
        let header = KeyedHeader {
            compressed: false,
            key_serializer,
            states: metas,
        };
        let out = ChecksumWriter::new(out);
        let mut writer = CanonicalWriter::new(out, &header, range, max_parallelism)?;
        for (position, group) in range.iter().enumerate() {
            for (id, state) in states.iter_mut().enumerate() {
                if current.as_ref() != Some(&header.states[id].name) {
                    *current = Some(header.states[id].name.clone());
                }
                writer.begin_state(group, id)?;
                state.write_group(position, &mut writer)?;
            }
        }
        let written = writer.finish()?;
        let (_, bytes, checksum) = written.out.finish();
        let states = header
            .states
            .iter()
            .zip(written.states)
            .map(|(meta, state)| StateRecord {
                name: meta.name.clone(),
                key_groups: state
                    .key_groups
                    .iter()
                    .map(|&(group, entries, bytes)| KeyGroupRecord {
                        key_group: group.0,
                        entries,
                        bytes,
                    })
                    .collect(),
            });
        Ok(WrittenKeyedState {
            groups: written.groups,
            bytes,
            checksum,
            states: states.collect(),
        })
    }
}

fn storage_error(current: Option<String>, error: millpond_snapshot::Error) -> Error {
    let kind = match error.kind() {
        millpond_snapshot::ErrorKind::Io(_) => ErrorKind::Storage {
            what: "writing keyed state".to_owned(),
        },
        millpond_snapshot::ErrorKind::Corrupt { .. }
        | millpond_snapshot::ErrorKind::Incompatible { .. }
        | millpond_snapshot::ErrorKind::Unsupported { .. } => ErrorKind::Serializer {
            state: current.unwrap_or_default(),
            reason: error.to_string(),
        },
    };
    Error::caused_by(kind, error)
}

impl fmt::Debug for FrozenKeyedState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.metas.iter().map(|meta| &meta.name).collect();
        f.debug_struct("FrozenKeyedState")
            .field("range", &self.range)
            .field("states", &names)
            .finish_non_exhaustive()
    }
}
