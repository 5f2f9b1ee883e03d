//! The image of an operator's keyed state, written in another thread than the one that goes on.

use crate::image::{FrozenChanges, Image, ImageHandle};
use crate::store::{StoreFile, StoreImage};
use crate::stored::StoredImage;
use crate::{Error, ErrorKind, RestoredFiles, Result};
use millpond_serializer::SerializerSnapshot;
use millpond_snapshot::{
    CanonicalWriter, ChangesBlock, ChangesWriter, KeyGroupOffsets, KeyGroupRecord, KeyedHeader,
    NativeHeapWriter, StateMeta, StateRecord, WrittenKeyed,
};
use millpond_types::{CheckpointId, KeyGroup, KeyGroupRange};
use std::fmt;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// With more changed keys than this share of all, a base takes less than changes that will soon have
/// to be followed by one.
const MAX_CHANGED_SHARE: usize = 3;

/// Tables of up to this many bytes are written at once: the stall is about a millisecond.
const SMALL_BYTES: usize = 4 << 20;

/// The format that keyed state is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyedFormat {
    /// Flink's canonical format, which every state backend restores.
    Canonical,
    /// The native format of Flink's hashmap backend.
    NativeHeap,
}

/// What is written of an image.
#[derive(Clone, Copy, Debug)]
enum Content {
    All(KeyedFormat),
    /// What has changed since a checkpoint.
    ChangesSince(CheckpointId),
}

/// What states write their entries to.
pub(crate) enum StateWriter<'a> {
    Canonical(Box<CanonicalWriter<UntilGivenUp<'a>>>),
    NativeHeap(Box<NativeHeapWriter<UntilGivenUp<'a>>>),
    Changes(Box<ChangesWriter<UntilGivenUp<'a>>>),
}

impl<'a> StateWriter<'a> {
    fn begin_state(
        &mut self,
        group: KeyGroup,
        state: usize,
    ) -> std::result::Result<(), millpond_snapshot::Error> {
        match self {
            StateWriter::Canonical(writer) => writer.begin_state(group, state),
            StateWriter::NativeHeap(writer) => writer.begin_state(group, state),
            StateWriter::Changes(writer) => writer.begin_state(group, state, ChangesBlock::All),
        }
    }

    fn begin_changes(
        &mut self,
        group: KeyGroup,
        state: usize,
    ) -> std::result::Result<(), millpond_snapshot::Error> {
        self.changes().begin_state(group, state, ChangesBlock::Some)
    }

    /// # Panics
    ///
    /// If all entries are written: only what is asked for changes writes some.
    fn changes(&mut self) -> &mut ChangesWriter<UntilGivenUp<'a>> {
        match self {
            StateWriter::Changes(writer) => writer,
            StateWriter::Canonical(_) | StateWriter::NativeHeap(_) => {
                panic!("a change among all entries")
            }
        }
    }

    /// The key has no value any more. Among changes only.
    pub(crate) fn remove(
        &mut self,
        key: impl FnOnce(&mut Vec<u8>),
    ) -> std::result::Result<(), millpond_snapshot::Error> {
        self.changes().remove(key)
    }

    /// The list of a key has more elements. Among changes only.
    pub(crate) fn append(
        &mut self,
        key: impl FnOnce(&mut Vec<u8>),
        elements: impl FnOnce(&mut Vec<u8>),
    ) -> std::result::Result<(), millpond_snapshot::Error> {
        self.changes().append(key, elements)
    }

    /// Adds an entry in canonical form. `key` appends key, namespace and user key.
    #[inline]
    pub(crate) fn entry(
        &mut self,
        key: impl FnOnce(&mut Vec<u8>),
        value: impl FnOnce(&mut Vec<u8>),
    ) -> std::result::Result<(), millpond_snapshot::Error> {
        match self {
            StateWriter::Canonical(writer) => writer.entry(key, value),
            StateWriter::NativeHeap(writer) => writer.entry(key, value),
            StateWriter::Changes(writer) => writer.put(key, value),
        }
    }

    /// Adds an entry whose canonical bytes are at hand.
    pub(crate) fn raw_entry(
        &mut self,
        key: &[u8],
        value: &[u8],
    ) -> std::result::Result<(), millpond_snapshot::Error> {
        match self {
            StateWriter::Canonical(writer) => writer.raw_entry(key, value),
            StateWriter::NativeHeap(writer) => writer.raw_entry(key, value),
            StateWriter::Changes(writer) => writer.put(
                |out| out.extend_from_slice(key),
                |out| out.extend_from_slice(value),
            ),
        }
    }

    fn finish(
        self,
    ) -> std::result::Result<WrittenKeyed<UntilGivenUp<'a>>, millpond_snapshot::Error> {
        match self {
            StateWriter::Canonical(writer) => writer.finish(),
            StateWriter::NativeHeap(writer) => writer.finish(),
            StateWriter::Changes(writer) => writer.finish(),
        }
    }
}

/// Counts what is written, and refuses to write once the image is given up.
pub(crate) struct UntilGivenUp<'a> {
    out: &'a mut dyn Write,
    image: &'a Image,
    bytes: u64,
}

impl Write for UntilGivenUp<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.image.given_up() {
            None => {
                let written = self.out.write(bytes)?;
                self.bytes += written as u64;
                Ok(written)
            }
            Some(reason) => Err(io::Error::other(reason.to_owned())),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The keyed state of one operator subtask at the moment of its freeze.
///
/// It costs no copy. Dropping it, written or not, lets the owner fold its changes in.
pub struct FrozenKeyedState {
    pub(crate) max_parallelism: u32,
    pub(crate) range: KeyGroupRange,
    pub(crate) key_serializer: SerializerSnapshot,
    pub(crate) metas: Vec<StateMeta>,
    /// One state per meta.
    pub(crate) image: Arc<Image>,
    pub(crate) entries: usize,
    pub(crate) allocated_bytes: usize,
    /// Where the entries are, if not in memory.
    pub(crate) stored: Option<StoredImage>,
    /// The checkpoints since which it is known what has changed; `None` if that is not tracked.
    pub(crate) tracked: Option<Vec<CheckpointId>>,
}

/// The state of a subtask as the files of its store. The files stay as long as this does.
pub struct NativeStoreFiles {
    /// The header of keyed state, as Flink's native snapshots have it.
    pub header: Vec<u8>,
    /// The files.
    pub files: Vec<StoreFile>,
    /// How many of them are to be uploaded at the same time.
    pub transfer_threads: usize,
    /// What the store was opened on: files that are in both are the same.
    pub restored: Option<Arc<RestoredFiles>>,
    frozen: Arc<Image>,
    _image: Arc<dyn StoreImage>,
}

impl NativeStoreFiles {
    /// Why the snapshot is not wanted any more, if it is not.
    pub fn given_up(&self) -> Option<&str> {
        self.frozen.given_up()
    }
}

/// What was written of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenKeyedState {
    /// Where each key group begins, for the handle.
    pub groups: KeyGroupOffsets,
    /// All bytes.
    pub bytes: u64,
    /// How much each state holds in each key group.
    pub states: Vec<StateRecord>,
}

impl FrozenKeyedState {
    /// The key groups that it covers.
    pub fn range(&self) -> KeyGroupRange {
        self.range
    }

    /// How many entries there are in memory: keys times namespaces, and timers.
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// Whether there is no state at all: no handle is needed then.
    ///
    /// Above a store this waits until what had changed is written back.
    pub fn is_empty(&self) -> bool {
        match &self.stored {
            // Whoever writes it learns of the error.
            Some(stored) => stored.is_empty().unwrap_or(false),
            None => self.entries == 0,
        }
    }

    /// Whether there is so little state that its owner may write it at once, to memory.
    ///
    /// Measured in bytes of the tables; what keys and values own elsewhere is not counted.
    pub fn is_small(&self) -> bool {
        self.stored.is_none() && self.allocated_bytes <= SMALL_BYTES
    }

    /// Returns the files of the store that the state is in, if it is in one that has files.
    ///
    /// Waits until what had changed is written back.
    ///
    /// # Errors
    ///
    /// Storage, if the store has no image; serializer, if the states cannot be described.
    pub fn native_files(&self) -> Result<Option<NativeStoreFiles>> {
        let Some(stored) = &self.stored else {
            return Ok(None);
        };
        let image = stored.taken()?;
        let Some(files) = image.files() else {
            return Ok(None);
        };
        let header = KeyedHeader {
            compressed: false,
            key_serializer: self.key_serializer.clone(),
            states: self.metas.clone(),
        };
        let mut bytes = Vec::new();
        let written = header.write(&mut bytes);
        written.map_err(|error| storage_error(None, error))?;
        Ok(Some(NativeStoreFiles {
            header: bytes,
            files,
            transfer_threads: image.transfer_threads(),
            restored: stored.restored().cloned(),
            frozen: Arc::clone(&self.image),
            _image: image,
        }))
    }

    /// Returns a hold on the image for who may want to give it up.
    pub fn handle(&self) -> ImageHandle {
        ImageHandle::of(&self.image)
    }

    /// Writes the canonical format, and lets go of each key group as soon as it is written.
    ///
    /// # Errors
    ///
    /// As [`FrozenKeyedState::write_as`].
    pub fn write(self, out: &mut dyn Write) -> Result<WrittenKeyedState> {
        self.write_as(KeyedFormat::Canonical, out)
    }

    /// Whether a later checkpoint may write what has changed since this one.
    pub fn is_tracked(&self) -> bool {
        self.tracked.is_some()
    }

    /// Whether it is known what has changed since a checkpoint, and is so little that writing it
    /// takes much less than writing everything.
    pub fn changed_little_since(&self, checkpoint: CheckpointId) -> bool {
        let tracked = self.tracked.as_ref();
        tracked.is_some_and(|tracked| tracked.contains(&checkpoint))
            && self.image.changed_since(checkpoint) <= self.entries / MAX_CHANGED_SHARE
    }

    /// Writes what has changed since a checkpoint, and lets go of each key group as soon as it is
    /// written. States that are younger than the checkpoint are written whole.
    ///
    /// How many entries there are in all is not known here: the records of the result are empty.
    ///
    /// # Errors
    ///
    /// As [`FrozenKeyedState::write_as`].
    pub fn write_changes_since(
        self,
        checkpoint: CheckpointId,
        out: &mut dyn Write,
    ) -> Result<WrittenKeyedState> {
        self.write_content(Content::ChangesSince(checkpoint), out)
    }

    /// Writes all state, and lets go of each key group as soon as it is written.
    ///
    /// # Errors
    ///
    /// Serializer, if a value cannot be written; storage, if `out` fails; given up, if the image
    /// was given up. The checkpoint is to be declined; the owner is not harmed. Broken, if a store has
    /// lost changes: the attempt is to fail.
    pub fn write_as(self, format: KeyedFormat, out: &mut dyn Write) -> Result<WrittenKeyedState> {
        self.write_content(Content::All(format), out)
    }

    fn write_content(self, content: Content, out: &mut dyn Write) -> Result<WrittenKeyedState> {
        if let Some(stored) = &self.stored {
            // What is wrong with the store is told as such, not as an error of a state.
            stored.taken()?;
        }
        let image = Arc::clone(&self.image);
        let mut current = None;
        // A panic in a user's serializer is that value's error, not the end of the job.
        let written = catch_unwind(AssertUnwindSafe(|| {
            self.write_groups(content, out, &mut current)
        }));
        // What was let go looks as if it had been empty: it must not pass for a snapshot.
        if let Some(reason) = image.given_up() {
            let reason = reason.to_owned();
            return Err(Error::new(ErrorKind::GivenUp { reason }));
        }
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
        content: Content,
        out: &mut dyn Write,
        current: &mut Option<String>,
    ) -> std::result::Result<WrittenKeyedState, millpond_snapshot::Error> {
        let FrozenKeyedState {
            max_parallelism,
            range,
            key_serializer,
            metas,
            image,
            ..
        } = self;
        let header = KeyedHeader {
            compressed: false,
            key_serializer,
            states: metas,
        };
        let image = &*image;
        let bytes = 0;
        let out = UntilGivenUp { out, image, bytes };
        let mut writer = match content {
            Content::All(KeyedFormat::Canonical) => {
                let writer = CanonicalWriter::new(out, &header, range, max_parallelism)?;
                StateWriter::Canonical(Box::new(writer))
            }
            Content::All(KeyedFormat::NativeHeap) => {
                StateWriter::NativeHeap(Box::new(NativeHeapWriter::new(out, &header, range)?))
            }
            Content::ChangesSince(_) => {
                StateWriter::Changes(Box::new(ChangesWriter::new(out, &header, range)?))
            }
        };
        for (position, group) in range.iter().enumerate() {
            for (id, meta) in header.states.iter().enumerate() {
                if current.as_ref() != Some(&meta.name) {
                    *current = Some(meta.name.clone());
                }
                // Dropped when written, so that the owner can merge this group.
                let entries = match content {
                    Content::All(_) => {
                        writer.begin_state(group, id)?;
                        image.take(id, position)
                    }
                    Content::ChangesSince(base) => match image.take_changes(id, position, base) {
                        FrozenChanges::Nothing => None,
                        FrozenChanges::Some(changes) => {
                            writer.begin_changes(group, id)?;
                            Some(changes)
                        }
                        FrozenChanges::All(entries) => {
                            writer.begin_state(group, id)?;
                            entries
                        }
                    },
                };
                if let Some(entries) = entries {
                    entries.write(&mut writer)?;
                }
            }
        }
        let written = writer.finish()?;
        let bytes = written.out.bytes;
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

impl fmt::Debug for NativeStoreFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NativeStoreFiles")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
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
