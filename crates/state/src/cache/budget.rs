//! How much memory the cached values of one backend may take.
//!
//! What changes while the changes before it are being written back is there twice: as it is being
//! written, and as it is now. So what has changed is counted twice from its change on, and room for
//! the second copy is there when it is needed. A state that fits with all of its changes counted
//! twice is written back at snapshots only: there is nothing to be gained before.

use super::memory::CacheShare;
use crate::key_context::Attention;
use std::cell::Cell;
use std::rc::Rc;

/// Which part of a limit that is reached is worth writing back, as a divisor: less is in few of the
/// entries, and the others may be forgotten.
const CHANGED_PART: usize = 4;

/// Bytes of all caches of a backend.
///
/// Bytes are those of the entries and, where keys or values own more elsewhere, the average length of
/// what was read or written.
pub(crate) struct Budget {
    share: CacheShare,
    used: Cell<usize>,
    changed: Cell<usize>,
    /// Set when something is to be done between records.
    attention: Rc<dyn Attention>,
}

impl Budget {
    pub(crate) fn new(share: CacheShare, attention: Rc<dyn Attention>) -> Self {
        Budget {
            share,
            used: Cell::new(0),
            changed: Cell::new(0),
            attention,
        }
    }

    #[inline]
    pub(crate) fn add(&self, bytes: usize) {
        self.used.set(self.used.get() + bytes);
        self.ask_if_exceeded();
    }

    #[inline]
    fn ask_if_exceeded(&self) {
        if self.is_exceeded() {
            self.attention.ask();
        }
    }

    pub(crate) fn subtract(&self, bytes: usize) {
        // Averages move: what goes may be larger than it was when it came.
        self.used.set(self.used.get().saturating_sub(bytes));
    }

    /// Counts an entry that was changed for the first time since all changes were frozen.
    #[inline]
    pub(crate) fn change(&self, bytes: usize) {
        self.changed.set(self.changed.get() + bytes);
        self.ask_if_exceeded();
    }

    /// All changes have been frozen, and all entries together take `used` bytes.
    pub(crate) fn begin_anew(&self, used: usize) {
        self.changed.set(0);
        self.used.set(used);
    }

    /// Whether so much has changed that it is to be written back.
    pub(crate) fn is_changed(&self) -> bool {
        self.has_changed(self.share.bytes() / CHANGED_PART)
    }

    /// Whether so much has changed that nothing else may before it is written back.
    pub(crate) fn is_full_of_changes(&self) -> bool {
        self.has_changed(self.share.bytes() / 2)
    }

    fn has_changed(&self, more_than: usize) -> bool {
        self.is_exceeded() && self.changed.get() > more_than
    }

    /// Whether values are to be forgotten.
    #[inline]
    pub(crate) fn is_exceeded(&self) -> bool {
        self.used.get() + self.changed.get() > self.share.bytes()
    }

    /// Whether so much is over that records have to wait.
    pub(crate) fn is_far_exceeded(&self) -> bool {
        let limit = self.share.bytes();
        self.used.get() + self.changed.get() > limit + limit / 8
    }
}
