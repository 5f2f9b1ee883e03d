//! How much memory the cached values of one backend may take.

use super::memory::CacheShare;
use crate::key_context::Attention;
use std::cell::Cell;
use std::rc::Rc;

/// The part of the limit that may be changed and not frozen, as a divisor.
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
        let used = self.used.get() + bytes;
        self.used.set(used);
        if used > self.share.bytes() {
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
        let changed = self.changed.get() + bytes;
        self.changed.set(changed);
        if changed > self.share.bytes() / CHANGED_PART {
            self.attention.ask();
        }
    }

    /// All changes have been frozen, and all entries together take `used` bytes.
    pub(crate) fn begin_anew(&self, used: usize) {
        self.changed.set(0);
        self.used.set(used);
    }

    /// Whether so much has changed that it is to be written back.
    pub(crate) fn is_changed(&self) -> bool {
        self.changed.get() > self.share.bytes() / CHANGED_PART
    }

    /// Whether so much has changed that nothing else may before it is written back.
    pub(crate) fn is_full_of_changes(&self) -> bool {
        self.changed.get() > self.share.bytes() / 2
    }

    /// Whether values are to be forgotten.
    pub(crate) fn is_exceeded(&self) -> bool {
        self.used.get() > self.share.bytes()
    }

    /// Whether so much is over that records have to wait.
    pub(crate) fn is_far_exceeded(&self) -> bool {
        let limit = self.share.bytes();
        self.used.get() > limit + limit / 8
    }
}
