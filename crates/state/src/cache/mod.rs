//! Decoded values above a store: what was used lately, and what is not written back yet.
//!
//! A cache is made of the layered tables of the heap backend, one per key group. An entry says what
//! is known of a key: its value, or that it has none. What is not known is read from the store, a
//! batch of keys at a time where it can be foreseen.
//!
//! A change stays in the cache and carries the number of the cache's epoch. To write back, the tables
//! are frozen as for a snapshot, in O(key groups), and the epoch ends. The writer thread visits what
//! the frozen tables hold, writes what was changed in the epoch that ended, and lets go of each
//! group; the worker goes on and folds its changes in afterwards. So the store always holds the
//! changes of all epochs up to some one, and a key that is not in the cache is as the store has it:
//!
//! ```text
//!   epoch 1 2 3 | 4          5
//!   in the store| being      changes of
//!               | written    now
//! ```
//!
//! An entry may be forgotten once the store has the epoch of its last change. Which one goes is
//! decided by a clock: a hand passes over all places, and takes what was not used since it came by
//! last. An entry costs no list and no queue, and a use one bit.
//!
//! What is added to a list of which nothing is known is not looked up: the entry is a *tail*, the
//! elements of one epoch, which the store puts behind its own. Who reads such a list waits for the
//! epochs that are on their way, asks the store, and has the whole list from then on.
//!
//! Rejected: a second table for what has changed. Each record would look into both.

mod budget;
mod column;
mod maps;
mod memory;
mod partial_map;
mod slot;
mod table;
mod write_back;

pub(crate) use budget::Budget;
pub(crate) use column::{Column, GroupPrefix};
pub(crate) use maps::CachedMaps;
pub use memory::CacheMemory;
pub(crate) use table::CachedTable;
pub(crate) use write_back::{Changes, PendingImage, WriteBack};

use crate::groups::Groups;
use crate::hash::Probe;
use crate::image::ChangedBytes;
use crate::layered::{FrozenGroup, Looked, Place};
use crate::table::{Change, Entry};
use slot::Slot;
use std::cell::Cell;
use std::hash::Hash;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// What is known of one state.
pub(crate) struct Cache<K, N, V> {
    groups: Groups<K, N, Slot<V>>,
    /// Where the hand of the clock stands.
    hand: Cell<(usize, Place)>,
    entries: Cell<usize>,
    /// What the entries hold beside one value each, such as the user keys of a map.
    parts: Cell<usize>,
    part_bytes: usize,
    /// What one value, or one part, owns elsewhere, on average.
    owned: Arc<AtomicUsize>,
    budget: Rc<Budget>,
    /// From 1: 0 is that of values as they are stored.
    epoch: Cell<u32>,
    /// Whether anything was changed in this epoch.
    has_changed: Cell<bool>,
    /// Up to which epoch the store has all changes.
    stored: Arc<AtomicU32>,
    /// What layers hold; bounded by the budget.
    changed: ChangedBytes,
}

impl<K, N, V> Cache<K, N, V>
where
    K: Hash + Eq + Clone,
    N: Hash + Eq + Clone,
    V: Clone,
{
    /// Returns a cache that knows nothing; `part_bytes` is what each part of a value takes.
    pub(crate) fn new(groups: usize, part_bytes: usize, budget: Rc<Budget>) -> Self {
        Cache {
            groups: Groups::new(groups),
            hand: Cell::new((0, Place::default())),
            entries: Cell::new(0),
            parts: Cell::new(0),
            part_bytes,
            owned: Arc::new(AtomicUsize::new(0)),
            budget,
            epoch: Cell::new(1),
            has_changed: Cell::new(false),
            stored: Arc::new(AtomicU32::new(0)),
            changed: ChangedBytes::default(),
        }
    }

    /// Where lengths of values are averaged.
    pub(crate) fn owned(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.owned)
    }

    fn entry_bytes(&self) -> usize {
        // Tables are between 7/16 and 7/8 full, and have a control byte per place. What is changed
        // while it is written back is there twice.
        let entry = (size_of::<Entry<K, N, Slot<V>>>() + 1) * 2;
        match self.part_bytes {
            0 => entry + self.owned.load(Ordering::Relaxed),
            _ => entry,
        }
    }

    fn bytes_of_parts(&self, parts: usize) -> usize {
        match parts {
            0 => 0,
            _ => parts * (self.part_bytes + self.owned.load(Ordering::Relaxed)),
        }
    }

    /// The memory that all entries take.
    pub(crate) fn bytes(&self) -> usize {
        self.entries.get() * self.entry_bytes() + self.bytes_of_parts(self.parts.get())
    }

    pub(crate) fn allocated_bytes(&self) -> usize {
        self.groups.allocated_bytes()
    }

    fn inserted(&self, parts: usize) {
        self.entries.set(self.entries.get() + 1);
        self.parts.set(self.parts.get() + parts);
        self.budget
            .add(self.entry_bytes() + self.bytes_of_parts(parts));
    }

    fn removed(&self, parts: usize) {
        self.entries.set(self.entries.get() - 1);
        self.parts.set(self.parts.get() - parts);
        self.budget
            .subtract(self.entry_bytes() + self.bytes_of_parts(parts));
    }

    /// The parts of an entry have become more or fewer.
    fn resized(&self, before: usize, after: usize) {
        if after > before {
            self.parts.set(self.parts.get() + after - before);
            let bytes = self.bytes_of_parts(after - before);
            self.budget.add(bytes);
            // More of what is changed already.
            self.budget.change(bytes);
        } else if before > after {
            self.parts.set(self.parts.get() + after - before);
            self.budget.subtract(self.bytes_of_parts(before - after));
        }
    }

    /// Notes that a slot was changed.
    #[inline]
    fn change(&self, slot: &mut Slot<V>) {
        if slot.change(self.epoch.get()) {
            self.has_changed.set(true);
            self.budget.change(self.entry_bytes());
        }
    }

    /// The epoch that changes belong to now.
    fn epoch(&self) -> u32 {
        self.epoch.get()
    }

    /// Whether a caller further out is looking at a value.
    fn is_being_read(&self) -> bool {
        self.groups.try_borrow_mut().is_none()
    }

    /// Calls `read` with what is known of a key, which `load` gets if nothing is.
    fn read<R>(
        &self,
        group: usize,
        probe: Probe<'_, K, N>,
        load: impl FnOnce() -> (V, usize),
        read: impl FnOnce(&V) -> R,
    ) -> R {
        if let Some(slot) = self.groups.borrow()[group].get(probe) {
            slot.touch();
            return read(&slot.value);
        }
        let (value, parts) = load();
        // A look within a look changes nothing, and so remembers nothing.
        if let Some(mut groups) = self.groups.try_borrow_mut() {
            groups[group].put(probe, Slot::stored(value));
            self.inserted(parts);
            drop(groups);
            let groups = self.groups.borrow();
            let slot = groups[group].get(probe).expect("just inserted");
            return read(&slot.value);
        }
        read(&value)
    }

    /// Lets `change` see what is known of a key, in place; `load` gets it if nothing is.
    ///
    /// `change` says whether it has changed anything; `parts` counts the parts of a value.
    #[inline]
    fn modify(
        &self,
        group: usize,
        probe: Probe<'_, K, N>,
        load: impl FnOnce() -> V,
        parts: impl Fn(&V) -> usize,
        change: impl FnOnce(&mut V) -> bool,
    ) {
        self.groups.borrow_mut()[group].modify(probe, |slot| match slot {
            Some(slot) => {
                let before = parts(&slot.value);
                if change(&mut slot.value) {
                    slot.become_whole();
                    self.change(slot);
                } else {
                    slot.touch();
                }
                self.resized(before, parts(&slot.value));
                Change::Keep
            }
            None => {
                let mut slot = Slot::stored(load());
                let changed = change(&mut slot.value);
                self.inserted(parts(&slot.value));
                if changed {
                    self.change(&mut slot);
                }
                Change::Set(slot)
            }
        });
    }

    /// Lets `change` see what was added to the list of a key in this epoch, or the list if it is known.
    #[inline]
    fn append(
        &self,
        group: usize,
        probe: Probe<'_, K, N>,
        nothing: impl Fn() -> V,
        change: impl FnOnce(&mut V),
    ) {
        self.groups.borrow_mut()[group].modify(probe, |slot| match slot {
            Some(slot) => {
                if slot.is_tail() && slot.epoch() != self.epoch.get() {
                    // Its elements are in the store, or on their way.
                    slot.value = nothing();
                }
                change(&mut slot.value);
                self.change(slot);
                Change::Keep
            }
            None => {
                let mut slot = Slot::tail(nothing());
                change(&mut slot.value);
                self.inserted(0);
                self.change(&mut slot);
                Change::Set(slot)
            }
        });
    }

    /// What is known of a key, if it is a tail; `None` within it if it is of an epoch that has ended.
    fn tail(&self, group: usize, probe: Probe<'_, K, N>) -> Option<Option<V>> {
        let groups = self.groups.borrow();
        let slot = groups[group].get(probe).filter(|slot| slot.is_tail())?;
        Some((slot.epoch() == self.epoch.get()).then(|| slot.value.clone()))
    }

    /// Puts the whole value in the place of a tail, unless a caller further out is looking at one.
    fn settle(&self, group: usize, probe: Probe<'_, K, N>, value: V) -> Result<(), V> {
        let Some(mut groups) = self.groups.try_borrow_mut() else {
            return Err(value);
        };
        groups[group].modify(probe, |slot| {
            let slot = slot.expect("a tail that was just seen");
            slot.value = value;
            slot.become_whole();
            Change::Keep
        });
        Ok(())
    }

    /// Calls `look` with what is known of a key, if anything is.
    #[inline]
    fn peek<R>(
        &self,
        group: usize,
        probe: Probe<'_, K, N>,
        look: impl FnOnce(&V) -> R,
    ) -> Option<R> {
        let groups = self.groups.borrow();
        groups[group].get(probe).map(|slot| look(&slot.value))
    }

    /// Whether anything is known of a key.
    #[inline]
    fn knows(&self, group: usize, probe: Probe<'_, K, N>) -> bool {
        let groups = self.groups.borrow();
        let slot = groups[group].get(probe);
        slot.is_some_and(|slot| {
            slot.touch();
            true
        })
    }

    /// Adds what the store holds for a key of which nothing is known.
    fn learn(&self, group: usize, probe: Probe<'_, K, N>, value: V) {
        self.groups.borrow_mut()[group].put(probe, Slot::stored(value));
        self.inserted(0);
    }

    /// Ends the epoch: returns its number and the tables as they are, unless nothing has changed.
    fn seal(&self) -> Option<Sealed<K, N, V>> {
        if !self.has_changed.replace(false) {
            return None;
        }
        let epoch = self.epoch.get();
        self.epoch.set(epoch + 1);
        Some(Sealed {
            groups: self.groups.freeze(&self.changed),
            epoch,
            stored: Arc::clone(&self.stored),
        })
    }

    fn maintain(&self, budget: &mut usize) -> bool {
        self.groups.maintain(budget)
    }

    /// Moves the hand over at most `steps` places, which it lowers, and forgets what may go.
    ///
    /// Two rounds at most: the second sees whether anything was used since the first, and what it
    /// leaves is not written back yet. `is_too_large` says which values go even if they are in use.
    fn forget(
        &self,
        steps: &mut usize,
        parts: impl Fn(&V) -> usize,
        is_too_large: impl Fn(&V) -> bool,
    ) {
        let stored = self.stored.load(Ordering::Acquire);
        let Some(mut groups) = self.groups.try_borrow_mut() else {
            return;
        };
        let (mut at, mut place) = self.hand.get();
        // The group that the hand stands in is not passed as a whole.
        let mut groups_left = 2 * groups.len() + 1;
        while groups_left > 0 && *steps > 0 && self.budget.is_exceeded() && self.entries.get() > 0 {
            *steps -= 1;
            let looked = groups[at].evict(&mut place, |slot| {
                let goes =
                    slot.epoch() <= stored && (!slot.was_used() || is_too_large(&slot.value));
                if goes {
                    self.removed(parts(&slot.value));
                }
                goes
            });
            if looked == Looked::End {
                at = (at + 1) % groups.len();
                place = Place::default();
                groups_left -= 1;
            }
        }
        self.hand.set((at, place));
    }
}

/// The tables at the end of an epoch.
struct Sealed<K, N, V> {
    groups: Vec<Option<FrozenGroup<K, N, Slot<V>>>>,
    epoch: u32,
    /// Where it is said that the store has the changes of the epoch.
    stored: Arc<AtomicU32>,
}

impl<K, N, V> Sealed<K, N, V>
where
    K: Hash + Eq + Clone,
    N: Hash + Eq + Clone,
    V: Clone,
{
    /// Visits what was changed in the epoch in one group, and lets go of the group.
    fn take_group<E>(
        &mut self,
        group: usize,
        mut visit: impl FnMut(&K, &N, &Slot<V>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(frozen) = self.groups[group].take() else {
            return Ok(());
        };
        frozen.try_for_each(|key, namespace, slot| match slot.epoch() == self.epoch {
            true => visit(key, namespace, slot),
            false => Ok(()),
        })
    }

    /// The store has all changes of the epoch.
    fn written(&self) {
        self.stored.store(self.epoch, Ordering::Release);
    }
}

/// Averages lengths: the new one counts for a sixteenth.
fn average(owned: &AtomicUsize, bytes: usize) {
    let old = owned.load(Ordering::Relaxed);
    // Two threads may average at once; that one of them is lost does no harm.
    owned.store((old * 15 + bytes).div_ceil(16), Ordering::Relaxed);
}
