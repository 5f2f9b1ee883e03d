//! One key group of one state: written by its owner while a snapshot reads it.
//!
//! Outside a snapshot the group is one table, and the only price is one branch: a small table lies
//! in the group itself, and all else behind a pointer. Freezing shares the table with the snapshot
//! and puts an empty delta on top:
//!
//! ```text
//!   Owned             table
//!   freeze         -> base (shared) | delta
//!   freeze again   -> base (shared) | delta (shared) | delta
//!   dropped        -> base          | delta ...               merged in slices -> Owned
//! ```
//!
//! Reads go from the newest layer to the oldest. The first write to a key copies its value into the
//! newest delta; removing a key leaves a tombstone. When the writer of the snapshot has dropped its
//! share, the owner merges delta into base, a bounded number of entries per call; meanwhile each
//! write goes in place to the newest layer that holds the key.
//!
//! A second snapshot may begin while the first is being written: the delta is shared as well and
//! another one is put on top. Layers below the youngest snapshot that still lives are shared, layers
//! above are owned and merged with each other, so there are never more than one layer per live
//! snapshot and two.

use crate::delta::Delta;
use crate::hash::Probe;
use crate::image::ChangedBytes;
use crate::table::{self, Change, Difference, Entries, Entry, SEGMENT_LOAD, Table};
use crate::ttl::Swept;
use std::hash::Hash;
use std::sync::Arc;

/// The entries of one key group.
#[derive(Debug)]
pub(crate) enum Layered<K, N, V> {
    /// No snapshot reads the group, and it is small.
    Small(Entries<K, N, V>),
    Other(Box<Other<K, N, V>>),
}

/// A group that is not both small and alone.
#[derive(Debug)]
pub(crate) enum Other<K, N, V> {
    /// No snapshot reads the group.
    Owned(Table<K, N, V>),
    /// A snapshot reads the group, or did, and the layers are not merged yet.
    Stacked(Stack<K, N, V>),
}

/// The layers of a group, oldest first: `base`, `shared`, `owned`.
#[derive(Debug)]
pub(crate) struct Stack<K, N, V> {
    base: Base<K, N, V>,
    /// Deltas that a snapshot may still read; empty when `base` is owned.
    shared: Vec<Arc<Delta<K, N, V>>>,
    /// Deltas that no snapshot reads; not empty while `base` is shared.
    owned: Vec<Delta<K, N, V>>,
    /// Visible keys over all layers.
    len: usize,
    /// Counts what the deltas take.
    changed: ChangedBytes,
}

#[derive(Debug)]
enum Base<K, N, V> {
    Shared(Arc<Table<K, N, V>>),
    Owned(Table<K, N, V>),
}

impl<K, N, V> Base<K, N, V> {
    fn table(&self) -> &Table<K, N, V> {
        match self {
            Base::Shared(table) => table,
            Base::Owned(table) => table,
        }
    }
}

/// The image of a group at the moment of its freeze. Dropping it lets the owner merge.
#[derive(Debug)]
pub(crate) struct FrozenGroup<K, N, V> {
    // Dropped before the base: the owner looks at the base first.
    deltas: Vec<Arc<Delta<K, N, V>>>,
    base: Arc<Table<K, N, V>>,
}

/// What a call of [`Layered::maintain`] left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// The group is one table again.
    Done,
    /// A snapshot still reads the group; there is nothing to merge now.
    Waiting,
    /// The budget was used up; there is more to merge.
    More,
}

/// A place of a group: which part of its oldest table, and which place in that.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place {
    part: usize,
    bucket: usize,
}

/// What a step of [`Layered::sweep`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Looked {
    Entry,
    Nothing,
    /// There is no place left in the group.
    End,
}

impl<K, N, V> Layered<K, N, V>
where
    K: Hash + Eq + Clone,
    N: Hash + Eq + Clone,
    V: Clone,
{
    pub(crate) fn new() -> Self {
        Layered::Small(Entries::new())
    }

    fn owned(table: Table<K, N, V>) -> Self {
        match table.into_entries() {
            Ok(entries) => Layered::Small(entries),
            Err(table) => Layered::Other(Box::new(Other::Owned(table))),
        }
    }

    /// How many keys have a value.
    pub(crate) fn len(&self) -> usize {
        match self {
            Layered::Small(entries) => entries.len(),
            Layered::Other(other) => match &**other {
                Other::Owned(table) => table.len(),
                Other::Stacked(stack) => stack.len,
            },
        }
    }

    /// The memory of tables and deltas, in bytes; not what keys and values own elsewhere.
    pub(crate) fn allocated_bytes(&self) -> usize {
        match self {
            Layered::Small(entries) => entries.allocation_size(),
            Layered::Other(other) => match &**other {
                Other::Owned(table) => table.allocated_bytes(),
                Other::Stacked(stack) => {
                    let deltas = stack.deltas().map(Delta::allocated_bytes);
                    stack.base.table().allocated_bytes() + deltas.sum::<usize>()
                }
            },
        }
    }

    /// About the memory of the oldest table, in bytes and in O(1).
    pub(crate) fn estimated_bytes(&self) -> usize {
        match self {
            Layered::Small(entries) => entries.allocation_size(),
            Layered::Other(other) => match &**other {
                Other::Owned(table) => table.estimated_bytes(),
                Other::Stacked(stack) => stack.base.table().estimated_bytes(),
            },
        }
    }

    pub(crate) fn is_stacked(&self) -> bool {
        self.stack().is_some()
    }

    fn stack(&self) -> Option<&Stack<K, N, V>> {
        match self {
            Layered::Small(_) => None,
            Layered::Other(other) => match &**other {
                Other::Owned(_) => None,
                Other::Stacked(stack) => Some(stack),
            },
        }
    }

    /// Makes room for `additional` more entries, where the group is one table.
    pub(crate) fn reserve(&mut self, additional: usize) {
        if let Layered::Small(entries) = self {
            if entries.len() + additional <= SEGMENT_LOAD {
                return entries.reserve(additional, table::hash_entry);
            }
            let table = Table::of(std::mem::take(entries));
            *self = Layered::Other(Box::new(Other::Owned(table)));
        }
        if let Layered::Other(other) = self
            && let Other::Owned(table) = &mut **other
        {
            table.reserve(additional);
        }
    }

    /// What holds the entries of this hash, if no snapshot reads the group.
    #[inline]
    fn part(&self, hash: u64) -> Result<&Entries<K, N, V>, &Stack<K, N, V>> {
        match self {
            Layered::Small(entries) => Ok(entries),
            Layered::Other(other) => match &**other {
                Other::Owned(table) => Ok(table.part(hash)),
                Other::Stacked(stack) => Err(stack),
            },
        }
    }

    #[inline]
    pub(crate) fn get(&self, probe: Probe<'_, K, N>) -> Option<&V> {
        match self.part(probe.hash) {
            Ok(entries) => table::get(entries, probe),
            Err(stack) => stack.get(probe),
        }
    }

    /// A key that most likely has this hash, found without reading any.
    #[inline]
    pub(crate) fn likely_key(&self, hash: u64) -> Option<&K> {
        let entries = match self.part(hash) {
            Ok(entries) => entries,
            Err(stack) => stack.base.table().part(hash),
        };
        entries.find(hash, |_| true).map(|entry| &entry.key)
    }

    #[inline]
    pub(crate) fn put(&mut self, probe: Probe<'_, K, N>, value: V) {
        match self {
            Layered::Small(entries) => {
                if table::put(entries, probe, value) == Difference::Inserted {
                    self.grow();
                }
            }
            Layered::Other(other) => other.put(probe, value),
        }
    }

    #[inline]
    pub(crate) fn remove(&mut self, probe: Probe<'_, K, N>) {
        match self {
            Layered::Small(entries) => {
                table::remove(entries, probe);
            }
            Layered::Other(other) => other.modify(probe, |_| Change::Remove),
        }
    }

    /// Lets `change` see the value in place and applies what it answers.
    #[inline]
    pub(crate) fn modify(
        &mut self,
        probe: Probe<'_, K, N>,
        change: impl FnOnce(Option<&mut V>) -> Change<V>,
    ) {
        match self {
            Layered::Small(entries) => {
                if table::modify(entries, probe, change) == Difference::Inserted {
                    self.grow();
                }
            }
            Layered::Other(other) => other.modify(probe, change),
        }
    }

    /// Hands `change` the value itself and stores what it leaves.
    #[inline]
    pub(crate) fn update_with(
        &mut self,
        probe: Probe<'_, K, N>,
        change: impl FnOnce(&mut Option<V>),
    ) {
        match self {
            Layered::Small(entries) => {
                if table::update_with(entries, probe, change) == Difference::Inserted {
                    self.grow();
                }
            }
            Layered::Other(other) => other.update_with(probe, change),
        }
    }

    /// A small table has got one more entry: it becomes a large one when it is full.
    #[inline(never)]
    fn grow(&mut self) {
        if let Layered::Small(entries) = self
            && entries.len() > SEGMENT_LOAD
        {
            let table = Table::of(std::mem::take(entries));
            *self = Layered::Other(Box::new(Other::Owned(table)));
        }
    }

    /// Looks at the entry at one place, keeps of it what `sweep` says, and goes on by one place.
    ///
    /// Entries move when a table grows, and those that came during a snapshot are not looked at
    /// before they are merged: a round over all places sees most entries, not each.
    ///
    /// What changes is shown to `observe`: the key, its value before, and what is left of it.
    pub(crate) fn sweep(
        &mut self,
        place: &mut Place,
        sweep: impl FnOnce(&V) -> Swept<V>,
        observe: impl FnOnce(Probe<'_, K, N>, &V, Option<&V>),
    ) -> Looked {
        let group = &*self;
        let part = match group {
            Layered::Small(entries) => (place.part == 0).then_some(entries),
            Layered::Other(other) => match &**other {
                Other::Owned(table) => table.part_at(place.part),
                Other::Stacked(stack) => stack.base.table().part_at(place.part),
            },
        };
        let Some(part) = part else {
            return Looked::End;
        };
        if place.bucket >= part.num_buckets() {
            *place = Place {
                part: place.part + 1,
                bucket: 0,
            };
            return Looked::Nothing;
        }
        let entry = part.get_bucket(place.bucket);
        place.bucket += 1;
        let Some(entry) = entry else {
            return Looked::Nothing;
        };
        let probe = Probe::of(&entry.key, &entry.namespace);
        // A younger layer may know better.
        let visible = match group.stack() {
            Some(stack) => stack.get(probe),
            None => Some(&entry.value),
        };
        let swept = visible.map_or(Swept::All, sweep);
        match (&swept, visible) {
            (Swept::All, _) | (_, None) => return Looked::Entry,
            (Swept::Part(left), Some(before)) => observe(probe, before, Some(left)),
            (Swept::Nothing, Some(before)) => observe(probe, before, None),
        }
        let (key, namespace) = (entry.key.clone(), entry.namespace.clone());
        let probe = Probe::of(&key, &namespace);
        match swept {
            Swept::All => {}
            Swept::Part(value) => self.put(probe, value),
            Swept::Nothing => self.remove(probe),
        }
        Looked::Entry
    }

    /// Removes the entry at one place if it `goes`, and goes on by one place.
    ///
    /// While a snapshot reads the group nothing would be gained: it is at its end at once.
    pub(crate) fn evict(&mut self, place: &mut Place, goes: impl FnOnce(&V) -> bool) -> Looked {
        let part = match self {
            Layered::Small(entries) => (place.part == 0).then_some(entries),
            Layered::Other(other) => match &mut **other {
                Other::Owned(table) => table.part_at_mut(place.part),
                Other::Stacked(_) => None,
            },
        };
        let Some(part) = part else {
            return Looked::End;
        };
        if place.bucket >= part.num_buckets() {
            *place = Place {
                part: place.part + 1,
                bucket: 0,
            };
            return Looked::Nothing;
        }
        let Ok(entry) = part.get_bucket_entry(place.bucket) else {
            place.bucket += 1;
            return Looked::Nothing;
        };
        place.bucket += 1;
        if goes(&entry.get().value) {
            entry.remove();
            if let Layered::Other(other) = self
                && let Other::Owned(table) = &mut **other
            {
                table.removed();
            }
        }
        Looked::Entry
    }

    /// Calls `visit` for each visible entry, in no particular order.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(&K, &N, &V)) {
        let mut each = |entry: &Entry<K, N, V>| visit(&entry.key, &entry.namespace, &entry.value);
        match self {
            Layered::Small(entries) => entries.iter().for_each(each),
            Layered::Other(other) => match &**other {
                Other::Owned(table) => table.iter().for_each(&mut each),
                Other::Stacked(stack) => {
                    let deltas: Vec<_> = stack.deltas().collect();
                    let base = stack.base.table();
                    let visited = visit_layers(&deltas, base, |key, namespace, value| {
                        visit(key, namespace, value);
                        Ok::<(), std::convert::Infallible>(())
                    });
                    match visited {
                        Ok(()) => {}
                    }
                }
            },
        }
    }

    /// Returns the image of the group as it is now, or `None` when it is empty.
    ///
    /// Copies no entry.
    pub(crate) fn freeze(&mut self, changed: &ChangedBytes) -> Option<FrozenGroup<K, N, V>> {
        if self.len() == 0 && !self.is_stacked() {
            return None;
        }
        let stack = match std::mem::replace(self, Layered::new()) {
            Layered::Small(entries) => Stack::on(Table::of(entries), changed),
            Layered::Other(other) => match *other {
                Other::Owned(table) => Stack::on(table, changed),
                Other::Stacked(stack) => stack,
            },
        };
        let (stack, frozen) = stack.freeze();
        *self = Layered::Other(Box::new(Other::Stacked(stack)));
        Some(frozen)
    }

    /// Merges what no snapshot reads any more, at most `budget` entries, which it lowers.
    pub(crate) fn maintain(&mut self, budget: &mut usize) -> Progress {
        let Layered::Other(other) = self else {
            return Progress::Done;
        };
        let Other::Stacked(stack) = &mut **other else {
            return Progress::Done;
        };
        let progress = stack.maintain(budget);
        if progress == Progress::Done {
            let base = std::mem::replace(&mut stack.base, Base::Owned(Table::new()));
            match base {
                Base::Owned(table) => *self = Layered::owned(table),
                Base::Shared(_) => unreachable!("a merged group owns its table"),
            }
        }
        progress
    }
}

// Out of line, so that the way of small groups is short.
impl<K, N, V> Other<K, N, V>
where
    K: Hash + Eq + Clone,
    N: Hash + Eq + Clone,
    V: Clone,
{
    #[inline(never)]
    fn put(&mut self, probe: Probe<'_, K, N>, value: V) {
        match self {
            Other::Owned(table) => {
                table.put(probe, value);
            }
            Other::Stacked(stack) => stack.put(probe, value),
        }
    }

    #[inline(never)]
    fn modify(&mut self, probe: Probe<'_, K, N>, change: impl FnOnce(Option<&mut V>) -> Change<V>) {
        match self {
            Other::Owned(table) => {
                table.modify(probe, change);
            }
            Other::Stacked(stack) => stack.modify(probe, change),
        }
    }

    #[inline(never)]
    fn update_with(&mut self, probe: Probe<'_, K, N>, change: impl FnOnce(&mut Option<V>)) {
        match self {
            Other::Owned(table) => {
                table.update_with(probe, change);
            }
            Other::Stacked(stack) => stack.update_with(probe, change),
        }
    }
}

impl<K, N, V> Stack<K, N, V>
where
    K: Hash + Eq + Clone,
    N: Hash + Eq + Clone,
    V: Clone,
{
    fn on(table: Table<K, N, V>, changed: &ChangedBytes) -> Self {
        let len = table.len();
        Stack {
            base: Base::Owned(table),
            shared: Vec::new(),
            owned: Vec::new(),
            len,
            changed: changed.clone(),
        }
    }

    /// All deltas, newest first.
    fn deltas(&self) -> impl Iterator<Item = &Delta<K, N, V>> {
        self.owned
            .iter()
            .rev()
            .chain(self.shared.iter().rev().map(|delta| &**delta))
    }

    #[inline(never)]
    fn get(&self, probe: Probe<'_, K, N>) -> Option<&V> {
        self.deltas()
            .find_map(|delta| delta.get(probe))
            .map_or_else(|| self.base.table().get(probe), Option::as_ref)
    }

    /// Returns the value as the layers that a snapshot reads have it.
    fn get_below_owned(&self, probe: Probe<'_, K, N>) -> Option<&V> {
        self.shared
            .iter()
            .rev()
            .find_map(|delta| delta.get(probe))
            .map_or_else(|| self.base.table().get(probe), Option::as_ref)
    }

    #[inline(never)]
    fn put(&mut self, probe: Probe<'_, K, N>, value: V) {
        for delta in self.owned.iter_mut().rev() {
            if let Some(slot) = delta.get_mut(probe) {
                self.len += usize::from(slot.is_none());
                *slot = Some(value);
                return;
            }
        }
        let existed = match &mut self.base {
            Base::Owned(table) => table.put(probe, value) == Difference::None,
            Base::Shared(_) => {
                let existed = self.get_below_owned(probe).is_some();
                self.insert_change(probe, Some(value));
                existed
            }
        };
        self.len += usize::from(!existed);
    }

    #[inline(never)]
    fn modify(&mut self, probe: Probe<'_, K, N>, change: impl FnOnce(Option<&mut V>) -> Change<V>) {
        for delta in self.owned.iter_mut().rev() {
            if let Some(slot) = delta.get_mut(probe) {
                let before = slot.is_some();
                match change(slot.as_mut()) {
                    Change::Keep => {}
                    Change::Set(value) => *slot = Some(value),
                    Change::Remove => *slot = None,
                }
                let after = slot.is_some();
                self.count(before, after);
                return;
            }
        }
        match &mut self.base {
            Base::Owned(table) => {
                // No delta knows the key, so the table alone decides.
                let before = table.len();
                table.modify(probe, change);
                self.len = self.len + table.len() - before;
            }
            Base::Shared(_) => {
                let mut value = self.get_below_owned(probe).cloned();
                let before = value.is_some();
                match change(value.as_mut()) {
                    Change::Keep => {}
                    Change::Set(new) => value = Some(new),
                    Change::Remove => value = None,
                }
                let after = value.is_some();
                if before || after {
                    self.insert_change(probe, value);
                }
                self.count(before, after);
            }
        }
    }

    #[inline(never)]
    fn update_with(&mut self, probe: Probe<'_, K, N>, change: impl FnOnce(&mut Option<V>)) {
        for delta in self.owned.iter_mut().rev() {
            if let Some(slot) = delta.get_mut(probe) {
                let before = slot.is_some();
                change(slot);
                let after = slot.is_some();
                self.count(before, after);
                return;
            }
        }
        match &mut self.base {
            Base::Owned(table) => {
                let before = table.len();
                table.update_with(probe, change);
                self.len = self.len + table.len() - before;
            }
            Base::Shared(_) => {
                let mut value = self.get_below_owned(probe).cloned();
                let before = value.is_some();
                change(&mut value);
                let after = value.is_some();
                if before || after {
                    self.insert_change(probe, value);
                }
                self.count(before, after);
            }
        }
    }

    /// Adds a change of a key that no owned layer knows.
    fn insert_change(&mut self, probe: Probe<'_, K, N>, value: Option<V>) {
        // To the oldest: nothing above it shadows the key.
        let delta = self.owned.first_mut();
        delta
            .expect("a shared base has an owned delta above it")
            .insert_new(probe, value);
        self.changed.add(Delta::<K, N, V>::ENTRY_BYTES);
    }

    fn count(&mut self, before: bool, after: bool) {
        self.len = self.len + usize::from(after) - usize::from(before);
    }

    fn freeze(self) -> (Self, FrozenGroup<K, N, V>) {
        let Stack {
            base,
            mut shared,
            owned,
            len,
            changed,
        } = self;
        let base = match base {
            Base::Shared(table) => table,
            Base::Owned(table) => Arc::new(table),
        };
        shared.extend(
            owned
                .into_iter()
                .filter(|delta| !delta.is_empty())
                .map(Arc::new),
        );
        let frozen = FrozenGroup {
            deltas: shared.clone(),
            base: Arc::clone(&base),
        };
        let owned = vec![Delta::new()];
        (
            Stack {
                base: Base::Shared(base),
                shared,
                owned,
                len,
                changed,
            },
            frozen,
        )
    }

    fn maintain(&mut self, budget: &mut usize) -> Progress {
        self.reclaim();
        loop {
            match &mut self.base {
                Base::Owned(table) => {
                    let Some(delta) = self.owned.first_mut() else {
                        return Progress::Done;
                    };
                    let merged = merge_into_table(delta, table, budget);
                    self.changed
                        .subtract(merged * Delta::<K, N, V>::ENTRY_BYTES);
                    if !delta.is_empty() {
                        return Progress::More;
                    }
                    self.owned.remove(0);
                }
                Base::Shared(_) => {
                    let [older, newer, ..] = &mut self.owned[..] else {
                        return Progress::Waiting;
                    };
                    let merged = merge_into_delta(newer, older, budget);
                    self.changed
                        .subtract(merged * Delta::<K, N, V>::ENTRY_BYTES);
                    if !newer.is_empty() {
                        return Progress::More;
                    }
                    self.owned.remove(1);
                }
            }
        }
    }

    /// Takes back the layers that no snapshot reads any more, newest first.
    fn reclaim(&mut self) {
        while let Some(delta) = self.shared.pop() {
            match Arc::try_unwrap(delta) {
                Ok(delta) => self.owned.insert(0, delta),
                Err(delta) => {
                    self.shared.push(delta);
                    return;
                }
            }
        }
        if let Base::Shared(table) = &mut self.base
            && Arc::get_mut(table).is_some()
        {
            let table = std::mem::replace(table, Arc::new(Table::new()));
            self.base = Base::Owned(Arc::into_inner(table).expect("exclusive, as just seen"));
        }
    }
}

/// Merges from the end; returns how many entries the deltas have lost.
fn merge_into_table<K, N, V>(
    delta: &mut Delta<K, N, V>,
    table: &mut Table<K, N, V>,
    budget: &mut usize,
) -> usize
where
    K: Hash + Eq + Clone,
    N: Hash + Eq + Clone,
    V: Clone,
{
    let mut merged = 0;
    while *budget > 0
        && let Some(entry) = delta.pop()
    {
        *budget -= 1;
        merged += 1;
        let probe = Probe::of(&entry.key, &entry.namespace);
        match entry.value {
            Some(value) => table.put(probe, value),
            None => table.remove(probe),
        };
    }
    merged
}

/// Merges `newer` into `older` from the end; returns how many entries the deltas have lost.
fn merge_into_delta<K, N, V>(
    newer: &mut Delta<K, N, V>,
    older: &mut Delta<K, N, V>,
    budget: &mut usize,
) -> usize
where
    K: Hash + Eq + Clone,
    N: Hash + Eq + Clone,
{
    let mut merged = 0;
    while *budget > 0
        && let Some(entry) = newer.pop()
    {
        *budget -= 1;
        let probe = Probe::of(&entry.key, &entry.namespace);
        match older.get_mut(probe) {
            Some(slot) => {
                *slot = entry.value;
                merged += 1;
            }
            None => older.insert_new(probe, entry.value),
        }
    }
    merged
}

impl<K, N, V> FrozenGroup<K, N, V>
where
    K: Hash + Eq + Clone,
    N: Hash + Eq + Clone,
    V: Clone,
{
    /// Returns the value of a key.
    pub(crate) fn get(&self, probe: Probe<'_, K, N>) -> Option<&V> {
        let mut newest_first = self.deltas.iter().rev();
        newest_first
            .find_map(|delta| delta.get(probe))
            .map_or_else(|| self.base.get(probe), Option::as_ref)
    }

    /// Calls `visit` for each entry of the image until it fails.
    pub(crate) fn try_for_each<E>(
        &self,
        mut visit: impl FnMut(&K, &N, &V) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.deltas.is_empty() {
            return self
                .base
                .iter()
                .try_for_each(|entry| visit(&entry.key, &entry.namespace, &entry.value));
        }
        let newest_first: Vec<_> = self.deltas.iter().rev().map(|delta| &**delta).collect();
        visit_layers(&newest_first, &self.base, visit)
    }
}

/// Visits what is visible through the deltas, given newest first.
fn visit_layers<K, N, V, E>(
    deltas: &[&Delta<K, N, V>],
    base: &Table<K, N, V>,
    mut visit: impl FnMut(&K, &N, &V) -> Result<(), E>,
) -> Result<(), E>
where
    K: Hash + Eq + Clone,
    N: Hash + Eq + Clone,
{
    let hidden_by = |newer: &[&Delta<K, N, V>], key: &K, namespace: &N| {
        let probe = Probe::of(key, namespace);
        newer.iter().any(|delta| delta.get(probe).is_some())
    };
    for (index, delta) in deltas.iter().enumerate() {
        for entry in delta.iter() {
            if let Some(value) = &entry.value
                && !hidden_by(&deltas[..index], &entry.key, &entry.namespace)
            {
                visit(&entry.key, &entry.namespace, value)?;
            }
        }
    }
    base.iter().try_for_each(|entry| {
        if hidden_by(deltas, &entry.key, &entry.namespace) {
            Ok(())
        } else {
            visit(&entry.key, &entry.namespace, &entry.value)
        }
    })
}

#[cfg(test)]
mod tests;
