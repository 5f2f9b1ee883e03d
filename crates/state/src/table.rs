//! The hash table of one key group and one state.
//!
//! An entry holds key, namespace and value side by side, so `i64 -> i64` takes 16 bytes plus one
//! control byte of the table. The hash is handed in: it is computed once per record and shared by
//! all states that the record touches.

use crate::hash::{self, Probe};
use crate::segmented::Segmented;
use hashbrown::{HashTable, hash_table};
use std::hash::Hash;

/// How many entries one segment of a table holds: an insertion moves at most about 14,000, which
/// is a fifth of a millisecond for small ones.
pub(crate) const SEGMENT_LOAD: usize = 10_000;

/// One key of one namespace, with its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry<K, N, V> {
    pub(crate) key: K,
    pub(crate) namespace: N,
    pub(crate) value: V,
}

/// What becomes of a value that a function has looked at.
#[derive(Debug)]
pub(crate) enum Change<V> {
    /// The value stays as the function left it; an absent one stays absent.
    Keep,
    /// The key gets this value.
    Set(V),
    /// The key loses its value.
    Remove,
}

/// The entries of a small table, or of one segment of a larger one.
pub(crate) type Entries<K, N, V> = HashTable<Entry<K, N, V>>;

/// What a change has done to the number of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Difference {
    None,
    Inserted,
    Removed,
}

/// A hash table from (key, namespace) to a value, which grows in slices.
#[derive(Debug)]
pub(crate) struct Table<K, N, V> {
    entries: Segmented<Entry<K, N, V>, SEGMENT_LOAD>,
}

impl<K: Hash + Eq + Clone, N: Hash + Eq + Clone, V> Table<K, N, V> {
    pub(crate) fn new() -> Self {
        Table {
            entries: Segmented::new(),
        }
    }

    /// Takes over entries, and cuts them into segments if they are many.
    pub(crate) fn of(entries: Entries<K, N, V>) -> Self {
        Table {
            entries: Segmented::of(entries, hash_entry),
        }
    }

    /// Returns the entries of a small table, a large one as it is.
    pub(crate) fn into_entries(self) -> Result<Entries<K, N, V>, Self> {
        self.entries.into_one().map_err(|entries| Table { entries })
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The memory of the table itself, in bytes; not what keys and values own elsewhere.
    pub(crate) fn allocated_bytes(&self) -> usize {
        self.entries.allocated_bytes()
    }

    /// About as [`Table::allocated_bytes`], in O(1).
    pub(crate) fn estimated_bytes(&self) -> usize {
        self.entries.estimated_bytes()
    }

    /// Makes room for `additional` more entries, so that inserting them moves few.
    pub(crate) fn reserve(&mut self, additional: usize) {
        self.entries.reserve(additional, hash_entry);
    }

    #[inline]
    pub(crate) fn get(&self, probe: Probe<'_, K, N>) -> Option<&V> {
        get(self.entries.segment(probe.hash), probe)
    }

    /// The part that holds the entries of this hash.
    #[inline]
    pub(crate) fn part(&self, hash: u64) -> &Entries<K, N, V> {
        self.entries.segment(hash)
    }

    /// Sets the value of a key.
    #[inline(always)]
    pub(crate) fn put(&mut self, probe: Probe<'_, K, N>, value: V) -> Difference {
        let difference = put(self.entries.segment_mut(probe.hash), probe, value);
        self.note(difference)
    }

    /// Removes a key.
    #[inline]
    pub(crate) fn remove(&mut self, probe: Probe<'_, K, N>) -> Difference {
        let difference = remove(self.entries.segment_mut(probe.hash), probe);
        self.note(difference)
    }

    /// Lets `change` see the value in place and applies what it answers.
    #[inline(always)]
    pub(crate) fn modify(
        &mut self,
        probe: Probe<'_, K, N>,
        change: impl FnOnce(Option<&mut V>) -> Change<V>,
    ) -> Difference {
        let difference = modify(self.entries.segment_mut(probe.hash), probe, change);
        self.note(difference)
    }

    /// Hands `change` the value itself, taken out of the table, and stores what it leaves.
    #[inline(always)]
    pub(crate) fn update_with(
        &mut self,
        probe: Probe<'_, K, N>,
        change: impl FnOnce(&mut Option<V>),
    ) -> Difference
    where
        V: Clone,
    {
        let difference = update_with(self.entries.segment_mut(probe.hash), probe, change);
        self.note(difference)
    }

    /// One of the parts that hold the entries; nothing behind the last.
    pub(crate) fn part_at(&self, part: usize) -> Option<&Entries<K, N, V>> {
        self.entries.part(part)
    }

    /// As [`Table::part_at`], for who removes an entry and says so by [`Table::removed`].
    pub(crate) fn part_at_mut(&mut self, part: usize) -> Option<&mut Entries<K, N, V>> {
        self.entries.part_mut(part)
    }

    /// An entry has been removed from its part.
    pub(crate) fn removed(&mut self) {
        self.entries.removed();
    }

    /// The entries in the table's own order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry<K, N, V>> {
        self.entries.iter()
    }

    #[inline]
    fn note(&mut self, difference: Difference) -> Difference {
        match difference {
            Difference::None => {}
            Difference::Inserted => self.entries.inserted(hash_entry),
            Difference::Removed => self.entries.removed(),
        }
        difference
    }
}

// Small groups and segments of large ones share these; inlined into both, as each is a hot path.

/// See [`Table::get`].
#[inline(always)]
pub(crate) fn get<'a, K, N, V>(
    entries: &'a Entries<K, N, V>,
    probe: Probe<'_, K, N>,
) -> Option<&'a V>
where
    K: Hash + Eq + Clone,
    N: Hash + Eq + Clone,
{
    entries
        .find(probe.hash, |e| probe.matches(&e.key, &e.namespace))
        .map(|e| &e.value)
}

/// See [`Table::put`].
#[inline(always)]
pub(crate) fn put<K, N, V>(
    entries: &mut Entries<K, N, V>,
    probe: Probe<'_, K, N>,
    value: V,
) -> Difference
where
    K: Hash + Eq + Clone,
    N: Hash + Eq + Clone,
{
    match entry(entries, probe) {
        hash_table::Entry::Occupied(mut entry) => {
            entry.get_mut().value = value;
            Difference::None
        }
        hash_table::Entry::Vacant(entry) => {
            entry.insert(probe.entry(value));
            Difference::Inserted
        }
    }
}

/// See [`Table::remove`].
#[inline(always)]
pub(crate) fn remove<K, N, V>(entries: &mut Entries<K, N, V>, probe: Probe<'_, K, N>) -> Difference
where
    K: Hash + Eq + Clone,
    N: Hash + Eq + Clone,
{
    match entries.find_entry(probe.hash, |e| probe.matches(&e.key, &e.namespace)) {
        Ok(entry) => {
            entry.remove();
            Difference::Removed
        }
        Err(_absent) => Difference::None,
    }
}

/// See [`Table::modify`].
#[inline(always)]
pub(crate) fn modify<K, N, V>(
    entries: &mut Entries<K, N, V>,
    probe: Probe<'_, K, N>,
    change: impl FnOnce(Option<&mut V>) -> Change<V>,
) -> Difference
where
    K: Hash + Eq + Clone,
    N: Hash + Eq + Clone,
{
    match entry(entries, probe) {
        hash_table::Entry::Occupied(mut entry) => match change(Some(&mut entry.get_mut().value)) {
            Change::Keep => Difference::None,
            Change::Set(value) => {
                entry.get_mut().value = value;
                Difference::None
            }
            Change::Remove => {
                entry.remove();
                Difference::Removed
            }
        },
        hash_table::Entry::Vacant(entry) => match change(None) {
            Change::Keep | Change::Remove => Difference::None,
            Change::Set(value) => {
                entry.insert(probe.entry(value));
                Difference::Inserted
            }
        },
    }
}

/// See [`Table::update_with`].
#[inline(always)]
pub(crate) fn update_with<K, N, V>(
    entries: &mut Entries<K, N, V>,
    probe: Probe<'_, K, N>,
    change: impl FnOnce(&mut Option<V>),
) -> Difference
where
    K: Hash + Eq + Clone,
    N: Hash + Eq + Clone,
    V: Clone,
{
    match entry(entries, probe) {
        hash_table::Entry::Occupied(mut entry) if !std::mem::needs_drop::<V>() => {
            // Plain data: a copy costs less than taking the entry out and back.
            let mut value = Some(entry.get().value.clone());
            change(&mut value);
            match value {
                Some(value) => {
                    entry.get_mut().value = value;
                    Difference::None
                }
                None => {
                    entry.remove();
                    Difference::Removed
                }
            }
        }
        hash_table::Entry::Occupied(entry) => {
            let (taken, vacant) = entry.remove();
            let mut value = Some(taken.value);
            change(&mut value);
            match value {
                Some(value) => {
                    vacant.insert(Entry {
                        key: taken.key,
                        namespace: taken.namespace,
                        value,
                    });
                    Difference::None
                }
                None => Difference::Removed,
            }
        }
        hash_table::Entry::Vacant(entry) => {
            let mut value = None;
            change(&mut value);
            match value {
                Some(value) => {
                    entry.insert(probe.entry(value));
                    Difference::Inserted
                }
                None => Difference::None,
            }
        }
    }
}

#[inline(always)]
fn entry<'a, K, N, V>(
    entries: &'a mut Entries<K, N, V>,
    probe: Probe<'_, K, N>,
) -> hash_table::Entry<'a, Entry<K, N, V>>
where
    K: Hash + Eq + Clone,
    N: Hash + Eq + Clone,
{
    entries.entry(
        probe.hash,
        |e| probe.matches(&e.key, &e.namespace),
        hash_entry,
    )
}

#[inline(always)]
pub(crate) fn hash_entry<K: Hash, N: Hash, V>(entry: &Entry<K, N, V>) -> u64 {
    hash::of_key_and_namespace(hash::of_key(&entry.key), &entry.namespace)
}
