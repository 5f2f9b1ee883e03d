//! Which keys have changed, checkpoint by checkpoint.

use super::MAX_INTERVALS;
use crate::hash::Probe;
use crate::segmented::Segmented;
use crate::table::{Entry, hash_entry};
use millpond_types::CheckpointId;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::hash::Hash;
use std::sync::Arc;

/// How many keys one segment holds, so that noting one moves few.
const SEGMENT_LOAD: usize = 5_000;
/// So many keys of a group are noted, however few it has: those that come and go.
const MIN_KEYS: usize = 256;
/// So many parts of values of a group are noted: user keys of maps.
const MAX_PARTS: usize = 100_000;

/// The keys of one key group that have changed in one interval, each with its mark.
pub(crate) enum ChangedKeys<K, N, M> {
    Some {
        keys: Segmented<Entry<K, N, M>, SEGMENT_LOAD>,
        /// How many parts their marks have noted.
        parts: usize,
    },
    /// Too many to be noted; how many keys there were then.
    All(usize),
}

/// What has changed in one interval, by key group.
pub(crate) struct Interval<K, N, M> {
    /// The checkpoint that it begins at.
    since: CheckpointId,
    pub(crate) groups: Vec<ChangedKeys<K, N, M>>,
}

/// The intervals that ended before a checkpoint, oldest first.
pub(crate) type History<K, N, M> = Vec<Arc<Interval<K, N, M>>>;

/// Some of them.
pub(crate) type Intervals<K, N, M> = [Arc<Interval<K, N, M>>];

/// What has changed of one state.
pub(crate) struct ChangeLog<K, N, M> {
    /// The interval that goes on; none before the first checkpoint.
    current: RefCell<Option<Interval<K, N, M>>>,
    is_open: Cell<bool>,
    ended: RefCell<VecDeque<Arc<Interval<K, N, M>>>>,
}

impl<K, N, M> ChangedKeys<K, N, M>
where
    K: Hash + Eq + Clone,
    N: Hash + Eq + Clone,
{
    fn new() -> Self {
        ChangedKeys::Some {
            keys: Segmented::new(),
            parts: 0,
        }
    }

    /// How many keys have changed.
    pub(crate) fn len(&self) -> usize {
        match self {
            ChangedKeys::Some { keys, .. } => keys.len(),
            ChangedKeys::All(len) => *len,
        }
    }

    /// Whether too many have changed.
    pub(crate) fn is_all(&self) -> bool {
        matches!(self, ChangedKeys::All(_))
    }

    /// The keys, none if there were too many.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry<K, N, M>> {
        let keys = match self {
            ChangedKeys::Some { keys, .. } => Some(keys),
            ChangedKeys::All(_) => None,
        };
        keys.into_iter().flat_map(Segmented::iter)
    }

    pub(crate) fn get(&self, probe: Probe<'_, K, N>) -> Option<&M> {
        let ChangedKeys::Some { keys, .. } = self else {
            return None;
        };
        let found = keys
            .segment(probe.hash)
            .find(probe.hash, |e| probe.matches(&e.key, &e.namespace));
        found.map(|entry| &entry.value)
    }

    fn allocated_bytes(&self) -> usize {
        match self {
            ChangedKeys::Some { keys, .. } => keys.allocated_bytes(),
            ChangedKeys::All(_) => 0,
        }
    }
}

impl<K, N, M> Interval<K, N, M>
where
    K: Hash + Eq + Clone,
    N: Hash + Eq + Clone,
{
    fn new(since: CheckpointId, groups: usize) -> Self {
        Interval {
            since,
            groups: (0..groups).map(|_| ChangedKeys::new()).collect(),
        }
    }
}

/// The intervals since a checkpoint; `None` if the log does not go back as far.
pub(crate) fn since<K, N, M>(
    history: &Intervals<K, N, M>,
    base: CheckpointId,
) -> Option<&Intervals<K, N, M>> {
    let first = history.iter().position(|interval| interval.since == base)?;
    Some(&history[first..])
}

impl<K, N, M> ChangeLog<K, N, M>
where
    K: Hash + Eq + Clone,
    N: Hash + Eq + Clone,
    M: Default,
{
    pub(crate) fn new() -> Self {
        ChangeLog {
            current: RefCell::new(None),
            is_open: Cell::new(false),
            ended: RefCell::new(VecDeque::new()),
        }
    }

    /// Whether changes are noted: there was a checkpoint.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.is_open.get()
    }

    /// Notes that a key of a group changes, unless too many do; `mark` says what is known of it.
    ///
    /// `mark` returns how many parts of the value it has noted. `keys` says how many keys the group
    /// has; of many, one in `share` is noted.
    #[inline]
    pub(crate) fn note(
        &self,
        group: usize,
        probe: Probe<'_, K, N>,
        share: usize,
        keys: impl FnOnce() -> usize,
        mark: impl FnOnce(&mut M) -> usize,
    ) {
        let mut current = self.current.borrow_mut();
        let Some(interval) = &mut *current else {
            return;
        };
        let changed = &mut interval.groups[group];
        let ChangedKeys::Some { keys: noted, parts } = changed else {
            return;
        };
        let segment = noted.segment_mut(probe.hash);
        let found = segment.find_mut(probe.hash, |e| probe.matches(&e.key, &e.namespace));
        if let Some(entry) = found {
            *parts += mark(&mut entry.value);
            if *parts > MAX_PARTS {
                *changed = ChangedKeys::All(keys());
            }
            return;
        }
        let mut entry = probe.entry(M::default());
        *parts += mark(&mut entry.value);
        segment.insert_unique(probe.hash, entry, hash_entry);
        noted.inserted(hash_entry);
        let len = noted.len();
        if len > MIN_KEYS || *parts > MAX_PARTS {
            let keys = keys();
            if len > keys / share || *parts > MAX_PARTS {
                *changed = ChangedKeys::All(keys.max(len));
            }
        }
    }

    /// Ends the interval at a checkpoint, forgets those that begin before `oldest`, and returns what
    /// is left.
    pub(crate) fn end(
        &self,
        checkpoint: CheckpointId,
        oldest: Option<CheckpointId>,
        groups: usize,
    ) -> History<K, N, M> {
        let next = Interval::new(checkpoint, groups);
        let before = self.current.replace(Some(next));
        self.is_open.set(true);
        let mut ended = self.ended.borrow_mut();
        ended.extend(before.map(Arc::new));
        while let Some(first) = ended.front()
            && (ended.len() > MAX_INTERVALS || oldest.is_none_or(|oldest| first.since < oldest))
        {
            ended.pop_front();
        }
        ended.iter().cloned().collect()
    }

    /// The memory of the log, in bytes; not what keys own elsewhere.
    pub(crate) fn allocated_bytes(&self) -> usize {
        let of = |interval: &Interval<K, N, M>| {
            let groups = interval.groups.iter();
            groups.map(ChangedKeys::allocated_bytes).sum::<usize>()
        };
        let current = self.current.borrow();
        let ended = self.ended.borrow();
        current.iter().map(of).sum::<usize>()
            + ended.iter().map(|interval| of(interval)).sum::<usize>()
    }
}
