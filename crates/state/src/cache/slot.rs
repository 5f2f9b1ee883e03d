//! What a cache holds for a key: what is known of its value, and since when.

use std::sync::atomic::{AtomicBool, Ordering};

/// What is known of the value of a key; that there is none is knowledge too.
#[derive(Debug)]
pub(crate) struct Slot<V> {
    pub(crate) value: V,
    /// The epoch of the last change; 0 if the store has it as it is here.
    epoch: u32,
    /// Whether the value is no more than what was added in its epoch to a list that was not looked up.
    is_tail: bool,
    /// Whether it was used since the hand of the clock passed by.
    used: AtomicBool,
}

impl<V: Clone> Clone for Slot<V> {
    fn clone(&self) -> Self {
        Slot {
            value: self.value.clone(),
            epoch: self.epoch,
            is_tail: self.is_tail,
            used: AtomicBool::new(true),
        }
    }
}

impl<V> Slot<V> {
    /// A value that was last changed in `epoch`.
    pub(crate) fn new(value: V, epoch: u32) -> Self {
        Slot {
            value,
            epoch,
            is_tail: false,
            used: AtomicBool::new(true),
        }
    }

    /// A value as the store has it.
    pub(crate) fn stored(value: V) -> Self {
        Slot::new(value, 0)
    }

    /// What is added to a list that is not looked up.
    pub(crate) fn tail(value: V) -> Self {
        Slot {
            is_tail: true,
            ..Slot::stored(value)
        }
    }

    /// Whether the store holds more than what is here.
    #[inline]
    pub(crate) fn is_tail(&self) -> bool {
        self.is_tail
    }

    /// The whole value has become known, or is another one.
    #[inline]
    pub(crate) fn become_whole(&mut self) {
        self.is_tail = false;
    }

    pub(crate) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Notes that it was used.
    #[inline]
    pub(crate) fn touch(&self) {
        // Read first: a write would take the line from who reads a frozen slot.
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// Notes a change; returns whether it is the first one in `epoch`.
    #[inline]
    pub(crate) fn change(&mut self, epoch: u32) -> bool {
        *self.used.get_mut() = true;
        std::mem::replace(&mut self.epoch, epoch) != epoch
    }

    /// Whether it was used since the last call.
    pub(crate) fn was_used(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }
}
