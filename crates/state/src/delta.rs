//! What changed in a key group since it was frozen.
//!
//! Values by key, or a tombstone where a key was removed. The entries stand in a vector with a
//! table of positions beside it, so that a merge can take them from the end, some at a time, while
//! the rest stays readable. Both grow in slices.

use crate::chunked::Chunked;
use crate::hash::Probe;
use crate::segmented::Segmented;
use crate::table::Entry;
use std::hash::Hash;

/// How many positions one segment holds. Less than in a table: to move a position, its entry is
/// looked at, which lies anywhere in memory.
const SEGMENT_LOAD: usize = 2_500;

/// Changes on top of older layers: `None` is a tombstone.
#[derive(Debug)]
pub(crate) struct Delta<K, N, V> {
    positions: Segmented<u32, SEGMENT_LOAD>,
    entries: Chunked<Entry<K, N, Option<V>>>,
}

impl<K: Hash + Eq + Clone, N: Hash + Eq + Clone, V> Delta<K, N, V> {
    pub(crate) fn new() -> Self {
        Delta {
            positions: Segmented::new(),
            entries: Chunked::new(),
        }
    }

    /// What one entry takes, in bytes; not what key and value own elsewhere.
    pub(crate) const ENTRY_BYTES: usize =
        size_of::<Entry<K, N, Option<V>>>() + 2 * size_of::<u32>();

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The memory of the delta itself, in bytes; not what keys and values own elsewhere.
    pub(crate) fn allocated_bytes(&self) -> usize {
        self.positions.allocated_bytes() + self.entries.allocated_bytes()
    }

    /// Returns `None` when the delta does not know the key, `Some(None)` for a tombstone.
    #[inline]
    pub(crate) fn get(&self, probe: Probe<'_, K, N>) -> Option<&Option<V>> {
        let position = self.position(probe)?;
        Some(&self.entries.get(position).value)
    }

    /// As [`Delta::get`], to be changed.
    #[inline]
    pub(crate) fn get_mut(&mut self, probe: Probe<'_, K, N>) -> Option<&mut Option<V>> {
        let position = self.position(probe)?;
        Some(&mut self.entries.get_mut(position).value)
    }

    #[inline]
    fn position(&self, probe: Probe<'_, K, N>) -> Option<usize> {
        let segment = self.positions.segment(probe.hash);
        let found = segment.find(probe.hash, |&position| {
            let entry = self.entries.get(position as usize);
            probe.matches(&entry.key, &entry.namespace)
        })?;
        Some(*found as usize)
    }

    /// Adds a key that the delta does not know yet.
    pub(crate) fn insert_new(&mut self, probe: Probe<'_, K, N>, value: Option<V>) {
        let position = u32::try_from(self.entries.len()).expect("a group has under 2^32 keys");
        self.entries.push(probe.entry(value));
        let entries = &self.entries;
        let hasher = |&position: &u32| {
            let entry = entries.get(position as usize);
            Probe::of(&entry.key, &entry.namespace).hash
        };
        self.positions
            .segment_mut(probe.hash)
            .insert_unique(probe.hash, position, hasher);
        self.positions.inserted(hasher);
    }

    /// Takes the entry that was added last; `None` when the delta is empty.
    pub(crate) fn pop(&mut self) -> Option<Entry<K, N, Option<V>>> {
        let entry = self.entries.pop()?;
        let position = self.entries.len() as u32;
        let hash = Probe::of(&entry.key, &entry.namespace).hash;
        self.positions
            .segment_mut(hash)
            .find_entry(hash, |&found| found == position)
            .expect("every entry has its position")
            .remove();
        self.positions.removed();
        Some(entry)
    }

    /// The entries in the order in which they were added.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry<K, N, Option<V>>> {
        self.entries.iter()
    }
}
