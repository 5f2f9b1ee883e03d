//! The layered tables of one state, one per key group.

use crate::image::ChangedBytes;
use crate::layered::{FrozenGroup, Layered, Progress};
use std::cell::{Cell, Ref, RefCell, RefMut};
use std::hash::Hash;

/// How many groups that a snapshot still reads one call of `maintain` looks at.
const WAITING_GROUPS_PER_CALL: usize = 8;
/// How many groups one call of `maintain` steps over.
const GROUPS_PER_CALL: usize = 256;

/// The tables, by the position of their key group.
type Tables<K, N, V> = Vec<Layered<K, N, V>>;

/// One table per key group.
pub(crate) struct Groups<K, N, V> {
    groups: RefCell<Tables<K, N, V>>,
    /// How many groups are not one table.
    stacked: Cell<usize>,
    /// Where `maintain` goes on.
    cursor: Cell<usize>,
}

impl<K, N, V> Groups<K, N, V>
where
    K: Hash + Eq + Clone,
    N: Hash + Eq + Clone,
    V: Clone,
{
    pub(crate) fn new(groups: usize) -> Self {
        Groups {
            groups: RefCell::new((0..groups).map(|_| Layered::new()).collect()),
            stacked: Cell::new(0),
            cursor: Cell::new(0),
        }
    }

    #[inline]
    pub(crate) fn borrow(&self) -> Ref<'_, Tables<K, N, V>> {
        self.groups.borrow()
    }

    #[inline]
    pub(crate) fn borrow_mut(&self) -> RefMut<'_, Tables<K, N, V>> {
        self.groups.borrow_mut()
    }

    /// As [`Groups::borrow_mut`], unless a caller further out is looking at a value.
    #[inline]
    pub(crate) fn try_borrow_mut(&self) -> Option<RefMut<'_, Tables<K, N, V>>> {
        self.groups.try_borrow_mut().ok()
    }

    /// Whether a snapshot reads some group, or did, and its layers are not merged yet.
    pub(crate) fn is_stacked(&self) -> bool {
        self.stacked.get() > 0
    }

    pub(crate) fn entries(&self) -> usize {
        self.groups.borrow().iter().map(Layered::len).sum()
    }

    pub(crate) fn allocated_bytes(&self) -> usize {
        let groups = self.groups.borrow();
        groups.iter().map(Layered::allocated_bytes).sum()
    }

    /// Returns a group and where it stands, another one with every call.
    #[inline]
    pub(crate) fn next(&self) -> Ref<'_, Layered<K, N, V>> {
        let groups = self.groups.borrow();
        let at = self.cursor.get();
        self.cursor
            .set(if at + 1 == groups.len() { 0 } else { at + 1 });
        Ref::map(groups, |groups| &groups[at])
    }

    /// Calls `visit` for each entry, in no particular order.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(&K, &N, &V)) {
        for group in self.groups.borrow().iter() {
            group.for_each(&mut visit);
        }
    }

    /// Returns the images of all groups as they are now; copies no entry.
    pub(crate) fn freeze(&self, changed: &ChangedBytes) -> Vec<Option<FrozenGroup<K, N, V>>> {
        let mut groups = self.groups.borrow_mut();
        let frozen = groups
            .iter_mut()
            .map(|group| group.freeze(changed))
            .collect();
        self.stacked
            .set(groups.iter().filter(|group| group.is_stacked()).count());
        // The writer goes upwards from the first group.
        self.cursor.set(0);
        frozen
    }

    /// Merges at most `budget` entries, which it lowers; returns whether there is more to merge.
    pub(crate) fn maintain(&self, budget: &mut usize) -> bool {
        if self.stacked.get() == 0 {
            return false;
        }
        let mut groups = self.groups.borrow_mut();
        let mut waiting = 0;
        for _ in 0..groups.len().min(GROUPS_PER_CALL) {
            let at = self.cursor.get();
            let group = &mut groups[at];
            if group.is_stacked() {
                match group.maintain(budget) {
                    Progress::Done => self.stacked.set(self.stacked.get() - 1),
                    Progress::Waiting => waiting += 1,
                    Progress::More => return true,
                }
            }
            self.cursor.set((at + 1) % groups.len());
            if waiting == WAITING_GROUPS_PER_CALL || self.stacked.get() == 0 {
                return false;
            }
        }
        // Whether the groups further on can be merged is seen by the next call.
        waiting == 0
    }
}
