//! The current key of an operator: set once per record, read by all of its states.

use crate::hash::{self, Probe};
use crate::image::ChangedBytes;
use std::cell::{Cell, RefCell};
use std::hash::Hash;

/// The current key with its hash and its key group.
#[derive(Debug)]
pub(crate) struct KeyContext<K> {
    key: RefCell<Option<K>>,
    hash: Cell<u64>,
    /// The position of the key group in the operator's range.
    group: Cell<usize>,
    /// Of all states together.
    changed: ChangedBytes,
    /// Whether something is to be done before the next record.
    attention: Cell<bool>,
}

/// Who can be asked for attention before the next record.
pub(crate) trait Attention {
    /// Asks for it.
    fn ask(&self);
}

impl<K> Attention for KeyContext<K> {
    fn ask(&self) {
        self.attention.set(true);
    }
}

impl<K: Hash + Eq + Clone> KeyContext<K> {
    pub(crate) fn new() -> Self {
        KeyContext {
            key: RefCell::new(None),
            hash: Cell::new(0),
            group: Cell::new(0),
            changed: ChangedBytes::default(),
            attention: Cell::new(false),
        }
    }

    /// Whether something has asked for attention.
    #[inline]
    pub(crate) fn is_asked(&self) -> bool {
        self.attention.get()
    }

    /// Attention was given; `again` asks for it before the next record too.
    pub(crate) fn attended(&self, again: bool) {
        self.attention.set(again);
    }

    /// Where the tables count what has changed since a snapshot began.
    pub(crate) fn changed(&self) -> &ChangedBytes {
        &self.changed
    }

    /// Makes `key` the current one, in the key group at position `group`.
    #[inline]
    pub(crate) fn set(&self, key: &K, group: usize) {
        self.hash.set(hash::of_key(key));
        self.group.set(group);
        let mut current = self.key.borrow_mut();
        match &mut *current {
            // Strings keep their allocation.
            Some(current) => current.clone_from(key),
            None => *current = Some(key.clone()),
        }
    }

    pub(crate) fn key(&self) -> Option<K> {
        self.key.borrow().clone()
    }

    /// Calls `f` with the position of the current key group and the probe of the current key.
    ///
    /// # Panics
    ///
    /// If no key was set: the state of a key was used where there is none, as in `open`.
    #[inline]
    pub(crate) fn with<N: Hash + Eq + Clone, R>(
        &self,
        namespace: &N,
        f: impl FnOnce(usize, Probe<'_, K, N>) -> R,
    ) -> R {
        let current = self.key.borrow();
        let Some(key) = &*current else {
            panic!("keyed state is used without a current key: only records and timers have one");
        };
        let hash = hash::of_key_and_namespace(self.hash.get(), namespace);
        f(
            self.group.get(),
            Probe {
                hash,
                key,
                namespace,
            },
        )
    }
}
