//! The hash table of one key group and one state.
//!
//! An entry holds key, namespace and value side by side, so `i64 -> i64` takes 16 bytes plus one
//! control byte of the table. The hash is handed in: it is computed once per record and shared by
//! all states that the record touches.

use crate::hash::{self, Probe};
use hashbrown::HashTable;
use hashbrown::hash_table;
use std::hash::Hash;

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

/// A hash table from (key, namespace) to a value.
#[derive(Debug)]
pub(crate) struct Table<K, N, V> {
    entries: HashTable<Entry<K, N, V>>,
}

impl<K: Hash + Eq + Clone, N: Hash + Eq + Clone, V> Table<K, N, V> {
    pub(crate) fn new() -> Self {
        Table {
            entries: HashTable::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The memory of the table itself, in bytes; not what keys and values own elsewhere.
    pub(crate) fn allocated_bytes(&self) -> usize {
        self.entries.allocation_size()
    }

    /// Makes room for `additional` more entries, so that inserting them moves nothing.
    pub(crate) fn reserve(&mut self, additional: usize) {
        self.entries.reserve(additional, hash_entry);
    }

    #[inline]
    pub(crate) fn get(&self, probe: Probe<'_, K, N>) -> Option<&V> {
        self.entries
            .find(probe.hash, |e| probe.matches(&e.key, &e.namespace))
            .map(|e| &e.value)
    }

    /// Sets the value of a key; returns whether the key had one.
    #[inline]
    pub(crate) fn put(&mut self, probe: Probe<'_, K, N>, value: V) -> bool {
        match self.entry(probe) {
            hash_table::Entry::Occupied(mut entry) => {
                entry.get_mut().value = value;
                true
            }
            hash_table::Entry::Vacant(entry) => {
                entry.insert(probe.entry(value));
                false
            }
        }
    }

    /// Removes a key; returns whether it was there.
    #[inline]
    pub(crate) fn remove(&mut self, probe: Probe<'_, K, N>) -> bool {
        match self
            .entries
            .find_entry(probe.hash, |e| probe.matches(&e.key, &e.namespace))
        {
            Ok(entry) => {
                entry.remove();
                true
            }
            Err(_absent) => false,
        }
    }

    /// Lets `change` see the value in place and applies what it answers.
    #[inline]
    pub(crate) fn modify(
        &mut self,
        probe: Probe<'_, K, N>,
        change: impl FnOnce(Option<&mut V>) -> Change<V>,
    ) {
        match self.entry(probe) {
            hash_table::Entry::Occupied(mut entry) => {
                match change(Some(&mut entry.get_mut().value)) {
                    Change::Keep => {}
                    Change::Set(value) => entry.get_mut().value = value,
                    Change::Remove => {
                        entry.remove();
                    }
                }
            }
            hash_table::Entry::Vacant(entry) => match change(None) {
                Change::Keep | Change::Remove => {}
                Change::Set(value) => {
                    entry.insert(probe.entry(value));
                }
            },
        }
    }

    /// Hands `change` the value itself, taken out of the table, and stores what it leaves.
    #[inline]
    pub(crate) fn update_with(
        &mut self,
        probe: Probe<'_, K, N>,
        change: impl FnOnce(&mut Option<V>),
    ) where
        V: Clone,
    {
        match self.entry(probe) {
            hash_table::Entry::Occupied(mut entry) => {
                if !std::mem::needs_drop::<V>() {
                    // Plain data: a copy costs less than taking the entry out and back.
                    let mut value = Some(entry.get().value.clone());
                    change(&mut value);
                    match value {
                        Some(value) => entry.get_mut().value = value,
                        None => {
                            entry.remove();
                        }
                    }
                } else {
                    let (taken, vacant) = entry.remove();
                    let mut value = Some(taken.value);
                    change(&mut value);
                    if let Some(value) = value {
                        vacant.insert(Entry {
                            key: taken.key,
                            namespace: taken.namespace,
                            value,
                        });
                    }
                }
            }
            hash_table::Entry::Vacant(entry) => {
                let mut value = None;
                change(&mut value);
                if let Some(value) = value {
                    entry.insert(probe.entry(value));
                }
            }
        }
    }

    /// The entries in the table's own order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry<K, N, V>> {
        self.entries.iter()
    }

    #[inline]
    fn entry(&mut self, probe: Probe<'_, K, N>) -> hash_table::Entry<'_, Entry<K, N, V>> {
        self.entries.entry(
            probe.hash,
            |e| probe.matches(&e.key, &e.namespace),
            hash_entry,
        )
    }
}

#[inline]
fn hash_entry<K: Hash, N: Hash, V>(entry: &Entry<K, N, V>) -> u64 {
    hash::of_key_and_namespace(hash::of_key(&entry.key), &entry.namespace)
}
