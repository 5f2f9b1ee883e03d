//! The hash of a key and a namespace inside one process; it never reaches a snapshot.

use crate::table::Entry;
use foldhash::fast::FixedState;
use std::hash::{BuildHasher, Hash};

const STATE: FixedState = FixedState::with_seed(0x6d69_6c6c_706f_6e64);

/// Returns the hash of a key; computed once per record.
#[inline]
pub(crate) fn of_key<K: Hash>(key: &K) -> u64 {
    STATE.hash_one(key)
}

/// Returns the hash of a key and a namespace; that of the key when the namespace has no size.
#[inline]
pub(crate) fn of_key_and_namespace<N: Hash>(key_hash: u64, namespace: &N) -> u64 {
    if size_of::<N>() == 0 {
        key_hash
    } else {
        // Rotated so that a key equal to its namespace does not cancel out.
        key_hash ^ STATE.hash_one(namespace).rotate_left(32)
    }
}

/// What a table is asked for: key and namespace by reference, with their hash.
#[derive(Debug)]
pub(crate) struct Probe<'a, K, N> {
    pub(crate) hash: u64,
    pub(crate) key: &'a K,
    pub(crate) namespace: &'a N,
}

impl<K, N> Clone for Probe<'_, K, N> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, N> Copy for Probe<'_, K, N> {}

impl<'a, K: Hash + Eq + Clone, N: Hash + Eq + Clone> Probe<'a, K, N> {
    /// Returns the probe for a key whose hash is not known yet.
    pub(crate) fn of(key: &'a K, namespace: &'a N) -> Self {
        Probe {
            hash: of_key_and_namespace(of_key(key), namespace),
            key,
            namespace,
        }
    }

    #[inline]
    pub(crate) fn matches(self, key: &K, namespace: &N) -> bool {
        self.key == key && self.namespace == namespace
    }

    #[inline]
    pub(crate) fn entry<V>(self, value: V) -> Entry<K, N, V> {
        Entry {
            key: self.key.clone(),
            namespace: self.namespace.clone(),
            value,
        }
    }
}
