//! Timers: per key group an ordered set that a snapshot shares in O(1).
//!
//! A service has two queues, for event time and for processing time. A timer is one (time, key,
//! namespace): registering it again changes nothing. The earliest time over all groups is known at
//! any moment, so a watermark for which nothing is due costs one comparison.
//!
//! Above a store all timers are in memory too. Their column gets what has changed since it was written
//! last: the difference of two sets that share what they have in common.

use crate::cache::{Changes, Column};
use crate::frozen::StateWriter;
use crate::hash;
use crate::image::{FrozenChanges, FrozenEntries, FrozenState};
use crate::key_context::KeyContext;
use crate::minimum::Minimum;
use crate::registered::{RegisteredState, Touch};
use crate::store::WriteBatch;
use crate::stored::{Stored, StoredState};
use crate::tracked::MAX_INTERVALS;
use crate::{Error, Result};
use imbl::OrdSet;
use imbl::ordset::DiffItem;
use millpond_serializer::{
    ByteReader, Compatibility, FlinkKey, FlinkType, Incompatibility, Namespace, SerializerSnapshot,
    TimerElement, VoidNamespace,
};
use millpond_snapshot::StateMeta;
use millpond_types::{CheckpointId, KeyGroup, KeyGroupRange};
use std::any::Any;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

/// A timer that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timer<K, N = VoidNamespace> {
    /// The time that it was registered for, in milliseconds.
    pub timestamp: i64,
    /// The key that registered it.
    pub key: K,
    /// The namespace that it was registered in.
    pub namespace: N,
    /// The key group of the key.
    pub group: KeyGroup,
}

/// The timers of one operator: what a driver fires and hands handles out of.
pub struct TimerService<K, N = VoidNamespace> {
    event: Rc<TimerQueue<K, N>>,
    processing: Rc<TimerQueue<K, N>>,
}

impl<K, N> Clone for TimerService<K, N> {
    fn clone(&self) -> Self {
        TimerService {
            event: Rc::clone(&self.event),
            processing: Rc::clone(&self.processing),
        }
    }
}

impl<K: FlinkKey, N: Namespace> TimerService<K, N> {
    pub(crate) fn new(event: Rc<TimerQueue<K, N>>, processing: Rc<TimerQueue<K, N>>) -> Self {
        TimerService { event, processing }
    }

    /// Returns a handle that registers timers for the current key.
    pub fn handle(&self) -> TimerHandle<N> {
        TimerHandle {
            event: self.event.clone(),
            processing: self.processing.clone(),
        }
    }

    /// Takes the earliest event-time timer that is due at `watermark`, in milliseconds.
    ///
    /// The current key stays as it is: the caller sets it to that of the timer. Timers that are
    /// registered meanwhile take part.
    #[inline]
    pub fn pop_event_timer(&self, watermark: i64) -> Option<Timer<K, N>> {
        self.event.pop(watermark)
    }

    /// Takes the earliest processing-time timer that is due at `now`, in milliseconds.
    #[inline]
    pub fn pop_processing_timer(&self, now: i64) -> Option<Timer<K, N>> {
        self.processing.pop(now)
    }

    /// Returns the time of the earliest event-time timer, in milliseconds.
    #[inline]
    pub fn next_event_time(&self) -> Option<i64> {
        self.event.queue.borrow().heads.get()
    }

    /// Returns the time of the earliest processing-time timer, in milliseconds.
    #[inline]
    pub fn next_processing_time(&self) -> Option<i64> {
        self.processing.queue.borrow().heads.get()
    }

    /// Returns all event-time timers, in no particular order.
    pub fn event_timers(&self) -> Vec<Timer<K, N>> {
        self.event.all()
    }

    /// Returns all processing-time timers, in no particular order.
    pub fn processing_timers(&self) -> Vec<Timer<K, N>> {
        self.processing.all()
    }

    /// How many timers are registered: event time and processing time.
    pub fn len(&self) -> (usize, usize) {
        (self.event.entries(), self.processing.entries())
    }

    /// Whether no timer is registered.
    pub fn is_empty(&self) -> bool {
        self.len() == (0, 0)
    }
}

impl<K: FlinkKey, N: Namespace> std::fmt::Debug for TimerService<K, N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (event, processing) = self.len();
        f.debug_struct("TimerService")
            .field("event", &event)
            .field("processing", &processing)
            .finish()
    }
}

/// Registers and deletes timers of the current key.
pub struct TimerHandle<N = VoidNamespace> {
    event: Rc<dyn RegisterTimer<N>>,
    processing: Rc<dyn RegisterTimer<N>>,
}

impl<N> Clone for TimerHandle<N> {
    fn clone(&self) -> Self {
        TimerHandle {
            event: Rc::clone(&self.event),
            processing: Rc::clone(&self.processing),
        }
    }
}

impl<N> std::fmt::Debug for TimerHandle<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TimerHandle").finish_non_exhaustive()
    }
}

impl<N: Namespace> TimerHandle<N> {
    /// Registers a timer that fires once the watermark reaches `timestamp`, in milliseconds.
    ///
    /// # Panics
    ///
    /// If there is no current key, as all methods here.
    pub fn register_event_time(&self, namespace: &N, timestamp: i64) {
        self.event.register(namespace, timestamp);
    }

    /// Deletes a timer; without effect if there is none.
    pub fn delete_event_time(&self, namespace: &N, timestamp: i64) {
        self.event.delete(namespace, timestamp);
    }

    /// Registers a timer that fires once the clock reaches `timestamp`, in milliseconds.
    pub fn register_processing_time(&self, namespace: &N, timestamp: i64) {
        self.processing.register(namespace, timestamp);
    }

    /// Deletes a timer; without effect if there is none.
    pub fn delete_processing_time(&self, namespace: &N, timestamp: i64) {
        self.processing.delete(namespace, timestamp);
    }
}

trait RegisterTimer<N> {
    fn register(&self, namespace: &N, timestamp: i64);
    fn delete(&self, namespace: &N, timestamp: i64);
}

/// The timers of one time domain.
pub(crate) struct TimerQueue<K, N> {
    meta: StateMeta,
    context: Rc<KeyContext<K>>,
    first: KeyGroup,
    queue: RefCell<Queue<K, N>>,
    stored: Option<StoredTimers<K, N>>,
    /// The timers at earlier checkpoints, oldest first; they share what has not changed.
    checkpoints: RefCell<VecDeque<AtCheckpoint<K, N>>>,
}

/// The timers at a checkpoint, by key group.
type AtCheckpoint<K, N> = (CheckpointId, Arc<Vec<OrdSet<TimerElement<K, N>>>>);

/// What the column of a queue holds, or will once all that was handed to the writer is written.
struct StoredTimers<K, N> {
    stored: Rc<Stored>,
    column: Column,
    groups: RefCell<Vec<OrdSet<TimerElement<K, N>>>>,
}

struct Queue<K, N> {
    groups: Vec<OrdSet<TimerElement<K, N>>>,
    /// The earliest time of each group.
    heads: Minimum,
}

impl<K: FlinkKey, N: Namespace> Queue<K, N> {
    fn update_head(&mut self, group: usize) {
        let head = self.groups[group].get_min().map(|timer| timer.timestamp);
        self.heads.set(group, head);
    }
}

impl<K: FlinkKey, N: Namespace> TimerQueue<K, N> {
    /// Returns an empty queue, above a store if there is one.
    ///
    /// # Errors
    ///
    /// Storage.
    pub(crate) fn open(
        name: &str,
        context: Rc<KeyContext<K>>,
        range: KeyGroupRange,
        stored: Option<&Rc<Stored>>,
    ) -> Result<Self> {
        let element = SerializerSnapshot::timer(K::serializer_snapshot(), N::serializer_snapshot());
        let meta = StateMeta::priority_queue(name, element);
        let queue = Queue {
            groups: vec![OrdSet::new(); range.len()],
            heads: Minimum::new(range.len()),
        };
        let stored = match stored {
            None => None,
            Some(stored) => Some(StoredTimers {
                column: stored.open(&meta, None)?,
                stored: Rc::clone(stored),
                groups: RefCell::new(queue.groups.clone()),
            }),
        };
        Ok(TimerQueue {
            meta,
            context,
            first: range.first(),
            queue: RefCell::new(queue),
            stored,
            checkpoints: RefCell::default(),
        })
    }

    fn pop(&self, up_to: i64) -> Option<Timer<K, N>> {
        let mut queue = self.queue.borrow_mut();
        if queue.heads.get()? > up_to {
            return None;
        }
        let group = queue.heads.place()?;
        let TimerElement {
            timestamp,
            key,
            namespace,
        } = queue.groups[group].remove_min()?;
        queue.update_head(group);
        let group = KeyGroup(self.first.0 + group as u16);
        Some(Timer {
            timestamp,
            key,
            namespace,
            group,
        })
    }

    fn all(&self) -> Vec<Timer<K, N>> {
        let queue = self.queue.borrow();
        let groups = queue.groups.iter().enumerate();
        groups
            .flat_map(|(group, timers)| {
                timers.iter().cloned().map(
                    move |TimerElement {
                              timestamp,
                              key,
                              namespace,
                          }| {
                        let group = KeyGroup(self.first.0 + group as u16);
                        Timer {
                            timestamp,
                            key,
                            namespace,
                            group,
                        }
                    },
                )
            })
            .collect()
    }
}

impl<K: FlinkKey, N: Namespace> RegisterTimer<N> for TimerQueue<K, N> {
    fn register(&self, namespace: &N, timestamp: i64) {
        self.context
            .with(namespace, |group, hash::Probe { key, namespace, .. }| {
                let timer = TimerElement {
                    timestamp,
                    key: key.clone(),
                    namespace: namespace.clone(),
                };
                let mut queue = self.queue.borrow_mut();
                queue.groups[group].insert(timer);
                queue.update_head(group);
            });
    }

    fn delete(&self, namespace: &N, timestamp: i64) {
        self.context
            .with(namespace, |group, hash::Probe { key, namespace, .. }| {
                let timer = TimerElement {
                    timestamp,
                    key: key.clone(),
                    namespace: namespace.clone(),
                };
                let mut queue = self.queue.borrow_mut();
                queue.groups[group].remove(&timer);
                queue.update_head(group);
            });
    }
}

impl<K: FlinkKey, N: Namespace> RegisteredState<K> for TimerQueue<K, N> {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn for_each_key(&self, visit: &mut dyn FnMut(&K)) {
        self.queue
            .borrow()
            .groups
            .iter()
            .flatten()
            .for_each(|timer| visit(&timer.key));
    }

    fn meta(&self) -> &StateMeta {
        &self.meta
    }

    fn prepare(
        &self,
        previous: &StateMeta,
    ) -> std::result::Result<std::result::Result<(), Incompatibility>, millpond_snapshot::Error>
    {
        let element = previous.value_serializer()?;
        Ok(match TimerElement::<K, N>::resolve(element) {
            // The key is as it is now.
            Compatibility::AsIs | Compatibility::Reconfigured => Ok(()),
            Compatibility::AfterMigration => {
                let was = element.describe();
                let reason =
                    format!("was {was} with other parts; keys and namespaces do not migrate");
                Err(Incompatibility::new(reason))
            }
            Compatibility::Incompatible(why) => Err(why),
        })
    }

    fn entries(&self) -> usize {
        self.queue.borrow().groups.iter().map(OrdSet::len).sum()
    }

    fn allocated_bytes(&self) -> usize {
        self.entries() * size_of::<TimerElement<K, N>>()
    }

    fn freeze(&self) -> Box<dyn FrozenState> {
        if let Some(StoredTimers { stored, column, .. }) = &self.stored {
            return Box::new(StoredState::new(stored.image(), column, None));
        }
        let groups = self
            .queue
            .borrow()
            .groups
            .iter()
            .cloned()
            .map(Some)
            .collect();
        let earlier = Vec::new();
        Box::new(FrozenTimers { groups, earlier })
    }

    fn freeze_at(
        &self,
        checkpoint: CheckpointId,
        oldest: Option<CheckpointId>,
    ) -> Box<dyn FrozenState> {
        let now = self.queue.borrow().groups.clone();
        let mut checkpoints = self.checkpoints.borrow_mut();
        while let Some((first, _)) = checkpoints.front()
            && (checkpoints.len() > MAX_INTERVALS || oldest.is_none_or(|oldest| *first < oldest))
        {
            checkpoints.pop_front();
        }
        let earlier = checkpoints.iter().cloned().collect();
        checkpoints.push_back((checkpoint, Arc::new(now.clone())));
        let groups = now.into_iter().map(Some).collect();
        Box::new(FrozenTimers { groups, earlier })
    }

    fn maintain(&self, _budget: &mut usize) -> bool {
        false
    }

    fn is_large(&self) -> bool {
        false
    }

    fn touch(&self, _keys: &[Touch<'_, K>]) -> usize {
        0
    }

    fn reserve(&self, _group: usize, _additional: usize) {}

    fn restore_entry(
        &self,
        group: usize,
        key: &mut ByteReader<'_>,
        _value: &mut ByteReader<'_>,
    ) -> std::result::Result<(), millpond_snapshot::Error> {
        let timer = TimerElement::read(key)?;
        let mut queue = self.queue.borrow_mut();
        queue.groups[group].insert(timer);
        queue.update_head(group);
        Ok(())
    }

    fn column(&self) -> Option<&Column> {
        self.stored.as_ref().map(|stored| &stored.column)
    }

    fn take_over(&self) -> Result<()> {
        let Some(StoredTimers { column, groups, .. }) = &self.stored else {
            return Ok(());
        };
        let mut queue = self.queue.borrow_mut();
        let mut prefix = Vec::new();
        for group in 0..queue.groups.len() {
            prefix.clear();
            column.prefix().put(group, &mut prefix);
            let scanned = column.try_scan(&prefix, |timer, _| {
                let timer = TimerElement::read(&mut ByteReader::new(timer))?;
                queue.groups[group].insert(timer);
                Ok::<(), millpond_snapshot::Error>(())
            })?;
            let key_group = KeyGroup(self.first.0 + group as u16);
            scanned.map_err(|error| Error::reading_state(&self.meta.name, key_group, error))?;
            queue.update_head(group);
        }
        groups.borrow_mut().clone_from(&queue.groups);
        Ok(())
    }

    fn seal(&self) -> Option<Box<dyn Changes>> {
        let StoredTimers { column, groups, .. } = self.stored.as_ref()?;
        let now = self.queue.borrow().groups.clone();
        let before = groups.replace(now.clone());
        let is_same = |(before, now): (&OrdSet<_>, &OrdSet<_>)| before.diff(now).next().is_none();
        if before.iter().zip(&now).all(is_same) {
            return None;
        }
        Some(Box::new(TimerChanges {
            state: self.meta.name.clone(),
            column: column.clone(),
            before,
            now,
        }))
    }
}

/// What has become of the timers since their column was written last.
struct TimerChanges<K, N> {
    state: String,
    column: Column,
    before: Vec<OrdSet<TimerElement<K, N>>>,
    now: Vec<OrdSet<TimerElement<K, N>>>,
}

impl<K: FlinkKey, N: Namespace> Changes for TimerChanges<K, N> {
    fn state(&self) -> &str {
        &self.state
    }

    fn groups(&self) -> usize {
        self.now.len()
    }

    fn take_group(&mut self, group: usize, batch: &mut WriteBatch) -> Result<()> {
        let before = std::mem::take(&mut self.before[group]);
        let now = std::mem::take(&mut self.now[group]);
        let prefix = self.column.prefix();
        for change in before.diff(&now) {
            let key = |timer: &TimerElement<K, N>, out: &mut Vec<u8>| {
                prefix.put(group, out);
                timer.write(out);
            };
            match change {
                DiffItem::Add(timer) => batch.put(|out| key(timer, out), |_| {}),
                DiffItem::Remove(timer) => batch.delete(|out| key(timer, out)),
            }
        }
        Ok(())
    }

    fn column(&self) -> &Column {
        &self.column
    }

    fn written(&mut self) {}
}

/// The image of a queue at the moment of its freeze.
struct FrozenTimers<K, N> {
    groups: Vec<Option<OrdSet<TimerElement<K, N>>>>,
    earlier: Vec<AtCheckpoint<K, N>>,
}

impl<K: FlinkKey, N: Namespace> FrozenState for FrozenTimers<K, N> {
    fn take_group(&mut self, group: usize) -> Option<Box<dyn FrozenEntries>> {
        let timers = self.groups[group].take()?;
        Some(Box::new(FrozenTimersOfGroup(timers)))
    }

    fn take_changes(&mut self, group: usize, base: CheckpointId) -> FrozenChanges {
        let earlier = self.earlier.iter().find(|(earlier, _)| *earlier == base);
        let Some((_, before)) = earlier else {
            return FrozenChanges::All(self.take_group(group));
        };
        let before = before[group].clone();
        match self.groups[group].take() {
            Some(now) => FrozenChanges::Some(Box::new(ChangedTimers { before, now })),
            None => FrozenChanges::Nothing,
        }
    }
}

/// What has become of the timers of a group.
struct ChangedTimers<K, N> {
    before: OrdSet<TimerElement<K, N>>,
    now: OrdSet<TimerElement<K, N>>,
}

impl<K: FlinkKey, N: Namespace> FrozenEntries for ChangedTimers<K, N> {
    fn write(
        &self,
        writer: &mut StateWriter<'_>,
    ) -> std::result::Result<(), millpond_snapshot::Error> {
        self.before
            .diff(&self.now)
            .try_for_each(|change| match change {
                DiffItem::Add(timer) => writer.entry(|out| timer.write(out), |_| {}),
                DiffItem::Remove(timer) => writer.remove(|out| timer.write(out)),
            })
    }
}

struct FrozenTimersOfGroup<K, N>(OrdSet<TimerElement<K, N>>);

impl<K: FlinkKey, N: Namespace> FrozenEntries for FrozenTimersOfGroup<K, N> {
    fn write(
        &self,
        writer: &mut StateWriter<'_>,
    ) -> std::result::Result<(), millpond_snapshot::Error> {
        self.0
            .iter()
            .try_for_each(|timer| writer.entry(|out| timer.write(out), |_| {}))
    }
}
