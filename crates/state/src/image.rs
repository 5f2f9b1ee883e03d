//! The image of an operator's keyed state: shared by who writes it and who may give it up.
//!
//! The writer takes one key group of one state after the other out of the image; what it has not
//! taken yet goes at once when the image is given up, so a writer that hangs in its storage keeps
//! one key group of one state from being merged, and no more.

use crate::frozen::StateWriter;
use millpond_types::CheckpointId;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

/// One key group of one state at the moment of its freeze, with its types hidden.
///
/// Dropping it lets the owner merge.
pub(crate) trait FrozenEntries: Send {
    /// Writes all entries.
    fn write(&self, writer: &mut StateWriter<'_>) -> Result<(), millpond_snapshot::Error>;
}

/// What has become of one key group of one state since a base.
pub(crate) enum FrozenChanges {
    Nothing,
    /// These write changes.
    Some(Box<dyn FrozenEntries>),
    /// All is to be written; `None` if there is nothing any more.
    All(Option<Box<dyn FrozenEntries>>),
}

/// The image of one state with its types hidden.
pub(crate) trait FrozenState: Send {
    /// Takes the group at position `group`, if it holds anything.
    fn take_group(&mut self, group: usize) -> Option<Box<dyn FrozenEntries>>;

    /// Takes what has changed in the group at position `group` since a checkpoint.
    fn take_changes(&mut self, group: usize, _base: CheckpointId) -> FrozenChanges {
        FrozenChanges::All(self.take_group(group))
    }

    /// About how many keys have changed since a checkpoint that is known.
    fn changed_since(&self, _base: CheckpointId) -> usize {
        0
    }
}

/// How many bytes the entries take that were changed since a snapshot still being written began.
///
/// One per backend; counted by its thread, read by any. What keys and values own elsewhere is not
/// counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct ChangedBytes(Arc<AtomicUsize>);

impl ChangedBytes {
    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    // Only the thread of the backend counts, so that no addition is lost.
    #[inline]
    pub(crate) fn add(&self, bytes: usize) {
        self.0.store(self.get() + bytes, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn subtract(&self, bytes: usize) {
        self.0.store(self.get() - bytes, Ordering::Relaxed);
    }
}

/// What is left to write of all states.
pub(crate) struct Image {
    states: Mutex<Vec<Box<dyn FrozenState>>>,
    given_up: OnceLock<String>,
    changed: ChangedBytes,
}

impl Image {
    pub(crate) fn new(states: Vec<Box<dyn FrozenState>>, changed: ChangedBytes) -> Self {
        Image {
            states: Mutex::new(states),
            given_up: OnceLock::new(),
            changed,
        }
    }

    fn states(&self) -> MutexGuard<'_, Vec<Box<dyn FrozenState>>> {
        // No user code runs under this lock.
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one group of one state; nothing once the image is given up.
    pub(crate) fn take(&self, state: usize, group: usize) -> Option<Box<dyn FrozenEntries>> {
        self.states().get_mut(state)?.take_group(group)
    }

    /// Takes what has changed in one group of one state; nothing once the image is given up.
    pub(crate) fn take_changes(
        &self,
        state: usize,
        group: usize,
        base: CheckpointId,
    ) -> FrozenChanges {
        match self.states().get_mut(state) {
            Some(state) => state.take_changes(group, base),
            None => FrozenChanges::Nothing,
        }
    }

    /// About how many keys of all states have changed since a checkpoint.
    pub(crate) fn changed_since(&self, base: CheckpointId) -> usize {
        let states = self.states();
        states.iter().map(|state| state.changed_since(base)).sum()
    }

    /// Why the image was given up, if it was.
    pub(crate) fn given_up(&self) -> Option<&str> {
        self.given_up.get().map(String::as_str)
    }
}

/// A hold on an image that is being written, or waits for it.
#[derive(Clone)]
pub struct ImageHandle(Weak<Image>);

impl ImageHandle {
    pub(crate) fn of(image: &Arc<Image>) -> Self {
        ImageHandle(Arc::downgrade(image))
    }

    /// Whether the image is still to be written.
    pub fn is_live(&self) -> bool {
        self.0
            .upgrade()
            .is_some_and(|image| image.given_up().is_none())
    }

    /// How many bytes the entries take that have changed since the oldest image of this backend
    /// that still lives, and are not merged yet: a second version beside the first one.
    ///
    /// Not counted is what keys and values own elsewhere, such as the text of a string.
    pub fn changed_bytes(&self) -> usize {
        self.0.upgrade().map_or(0, |image| image.changed.get())
    }

    /// Gives the image up: what is not written is let go at once, and its writer fails with
    /// `reason`. Without effect when it is written already.
    pub fn give_up(&self, reason: &str) {
        let Some(image) = self.0.upgrade() else {
            return;
        };
        // A second reason changes nothing.
        let _ = image.given_up.set(reason.to_owned());
        let left = std::mem::take(&mut *image.states());
        drop(left);
    }
}

impl fmt::Debug for ImageHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImageHandle")
            .field("is_live", &self.is_live())
            .finish()
    }
}
