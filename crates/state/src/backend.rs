//! The keyed state of one operator subtask: in memory, or in a cache above a store.
//!
//! It lives on one worker thread. The current key is set once per record; handles find their value
//! by it. Between batches the driver calls [`KeyedBackend::maintain`], which folds what changed
//! during a snapshot into the tables, about a millisecond of work at a time.

use crate::cache::{CacheMemory, CachedMaps, CachedTable, Column};
use crate::codec::{Codec, EntryPerUserKey, ListCodec, MapCodec, OneEntry, ValueCodec};
use crate::description::{DescribedState, KeyedDescription, UnclaimedState};
use crate::hash;
use crate::image::{FrozenState, Image};
use crate::key_context::{Attention, KeyContext};
use crate::keyed_table::{CleanCells, KeyedTable};
use crate::map_cells::MapCells;
use crate::migration::Migrations;
use crate::raw::{RawGroup, RawState};
use crate::registered::{RegisteredState, Touch};
use crate::restored_key::{KeyConverter, accept_key};
use crate::store::{KeyValueStore, WriteBatch};
use crate::stored::{Stored, StoredImage, StoredState};
use crate::timers::{TimerQueue, TimerService};
use crate::tracked::{ChangedUserKeys, ChangedValue, MAX_INTERVALS, TrackedTable};
use crate::ttl::Ttl;
use crate::ttl_codec::WithTtl;
use crate::{
    AggregateFunction, AggregatingState, Error, ErrorKind, FrozenKeyedState, ListState, MapState,
    ReducingState, RestoredFiles, Result, StateTtlConfig, TtlStates, ValueState,
};
use millpond_serializer::{ByteReader, FlinkKey, FlinkType, Namespace, TtlValue, VoidNamespace};
use millpond_snapshot::{
    KeyedHandle, KeyedReader, KeyedStateType, LoadedSnapshot, StateKind, StateMeta,
};
use millpond_types::{CheckpointId, Clock, KeyGroup, KeyGroupRange};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

/// How many entries one call of [`KeyedBackend::maintain`] merges: about a millisecond.
const ENTRIES_PER_CALL: usize = 8192;

/// Over how many cached values each state looks for one to forget, per record.
const STEPS_PER_RECORD: usize = 64;

/// The keyed state of one operator subtask.
pub struct KeyedBackend<K> {
    max_parallelism: u32,
    range: KeyGroupRange,
    context: Rc<KeyContext<K>>,
    migrations: Migrations,
    /// In the order of their ids in a snapshot.
    states: RefCell<Vec<Slot<K>>>,
    /// The states that clean up at each record.
    cleaned: RefCell<Vec<Rc<dyn RegisteredState<K>>>>,
    /// What the states stand on, if not on the heap.
    stored: Option<Rc<Stored>>,
    /// The checkpoints since which it is known what has changed, oldest first; `None` if that is not
    /// tracked.
    tracked: Option<RefCell<VecDeque<CheckpointId>>>,
}

enum Slot<K> {
    Registered(Rc<dyn RegisteredState<K>>),
    /// Restored and not registered: kept as bytes.
    Raw(RawState),
    /// Restored and not registered: in a column of the store.
    Unclaimed(UnclaimedColumn),
}

struct UnclaimedColumn {
    meta: StateMeta,
    column: Column,
    entries: Entries,
}

/// How many entries a column holds.
#[derive(Clone, Copy)]
enum Entries {
    /// So many were written.
    Counted(usize),
    /// Some: the column came with a store.
    Some,
}

/// The entries of one key group, by their state in the header.
struct Staged {
    group: KeyGroup,
    states: Vec<RawGroup>,
}

impl UnclaimedColumn {
    fn is_empty(&self) -> bool {
        matches!(self.entries, Entries::Counted(0))
    }

    fn add(&mut self, entries: usize) {
        if let Entries::Counted(counted) = &mut self.entries {
            *counted += entries;
        }
    }

    /// How many entries it holds; reads it if need be.
    fn count(&self) -> usize {
        match self.entries {
            Entries::Counted(entries) => entries,
            Entries::Some => {
                let mut entries = 0;
                self.column.scan(&[], |_, _| {
                    entries += 1;
                    Ok(())
                });
                entries
            }
        }
    }

    fn freeze(&self, stored: Option<&Stored>) -> Box<dyn FrozenState> {
        let image = stored.and_then(Stored::image);
        Box::new(StoredState::new(image, &self.column, None))
    }
}

impl<K: 'static> Slot<K> {
    fn column(&self) -> Option<&Column> {
        match self {
            Slot::Registered(state) => state.column(),
            Slot::Raw(_) => None,
            Slot::Unclaimed(unclaimed) => Some(&unclaimed.column),
        }
    }

    fn name(&self) -> &str {
        match self {
            Slot::Registered(state) => &state.meta().name,
            Slot::Raw(state) => &state.meta.name,
            Slot::Unclaimed(state) => &state.meta.name,
        }
    }

    fn entries(&self) -> usize {
        match self {
            Slot::Registered(state) => state.entries(),
            Slot::Raw(state) => state.entries(),
            Slot::Unclaimed(state) => match state.entries {
                Entries::Counted(entries) => entries,
                Entries::Some => 1,
            },
        }
    }

    fn allocated_bytes(&self) -> usize {
        match self {
            Slot::Registered(state) => state.allocated_bytes(),
            Slot::Raw(state) => state.allocated_bytes(),
            Slot::Unclaimed(_) => 0,
        }
    }
}

impl<K: FlinkKey> KeyedBackend<K> {
    /// Returns a backend without state for the key groups of `range`, in memory.
    pub fn new(max_parallelism: u32, range: KeyGroupRange) -> Self {
        KeyedBackend::on(max_parallelism, range, Rc::new(KeyContext::new()), None)
    }

    /// As [`KeyedBackend::new`], for incremental checkpoints: from the first
    /// [`KeyedBackend::freeze_at`] on it notes which keys change.
    pub fn tracking_changes(max_parallelism: u32, range: KeyGroupRange) -> Self {
        KeyedBackend {
            tracked: Some(RefCell::default()),
            ..KeyedBackend::new(max_parallelism, range)
        }
    }

    /// Returns a backend above an empty store.
    ///
    /// Decoded values, and changes that are not written back yet, take its share of `cache`; what one
    /// record changes may exceed it until the next record.
    ///
    /// # Errors
    ///
    /// Storage, if the thread that writes into the store cannot be started.
    pub fn above(
        max_parallelism: u32,
        range: KeyGroupRange,
        store: Arc<dyn KeyValueStore>,
        cache: &CacheMemory,
    ) -> Result<Self> {
        let context = Rc::new(KeyContext::new());
        let attention = Rc::clone(&context) as Rc<dyn Attention>;
        let stored = Stored::new(store, cache, range, max_parallelism, attention)?;
        let stored = Some(Rc::new(stored));
        Ok(KeyedBackend::on(max_parallelism, range, context, stored))
    }

    fn on(
        max_parallelism: u32,
        range: KeyGroupRange,
        context: Rc<KeyContext<K>>,
        stored: Option<Rc<Stored>>,
    ) -> Self {
        KeyedBackend {
            max_parallelism,
            range,
            context,
            migrations: Migrations::default(),
            states: RefCell::new(Vec::new()),
            cleaned: RefCell::default(),
            stored,
            tracked: None,
        }
    }

    /// The key groups whose state this is.
    pub fn range(&self) -> KeyGroupRange {
        self.range
    }

    /// Returns the key group of a key.
    #[inline]
    pub fn key_group(&self, key: &K) -> KeyGroup {
        KeyGroup::of_hash(key.hash_code(), self.max_parallelism)
    }

    /// Makes `key` the current key; `group` is its key group, which the exchange has computed.
    ///
    /// # Panics
    ///
    /// If `group` is not one of this subtask: the record was sent to the wrong place.
    #[inline]
    pub fn set_current_key(&self, key: &K, group: KeyGroup) {
        assert!(
            self.range.contains(group),
            "key group {} is not in {}",
            group.0,
            self.range
        );
        self.context
            .set(key, usize::from(group.0 - self.range.first().0));
        if self.context.is_asked() {
            self.attend();
        }
    }

    /// Has each state clean up that does so at each record, and keeps the cache within its bounds.
    #[cold]
    #[inline(never)]
    fn attend(&self) {
        let cleaned = self.cleaned.borrow();
        cleaned.iter().for_each(|state| state.clean());
        let mut again = !cleaned.is_empty();
        if let Some(stored) = &self.stored {
            again |= self.keep_within_bounds(stored);
        }
        self.context.attended(again);
    }

    /// Writes back and forgets; waits for the store only where the bounds are left. Returns whether
    /// the next record is to do so too.
    fn keep_within_bounds(&self, stored: &Stored) -> bool {
        let (budget, write_back) = (stored.budget(), stored.write_back());
        write_back.check();
        if budget.is_changed() && (write_back.is_idle() || budget.is_full_of_changes()) {
            // At most one part of the changes is on its way while another one grows.
            if !write_back.is_idle() {
                write_back.wait();
            }
            self.write_back(stored);
        }
        if budget.is_exceeded() {
            self.forget(STEPS_PER_RECORD);
        }
        if budget.is_far_exceeded() {
            self.make_room(stored);
        }
        budget.is_changed() || budget.is_exceeded()
    }

    /// Hands all changes to the writer; returns whether there were any.
    fn write_back(&self, stored: &Stored) -> bool {
        let states = self.states.borrow();
        let (mut used, mut any) = (0, false);
        for slot in states.iter() {
            if let Slot::Registered(state) = slot {
                if let Some(changes) = state.seal() {
                    stored.write_back().write(changes);
                    any = true;
                }
                used += state.cached_bytes();
            }
        }
        stored.budget().begin_anew(used);
        any
    }

    /// Has each state move its hand over `steps` places.
    fn forget(&self, steps: usize) {
        for slot in self.states.borrow().iter() {
            if let Slot::Registered(state) = slot {
                state.forget(&mut { steps });
            }
        }
    }

    /// Waits for the store to take what is on its way, if need be all changes, and forgets as much
    /// as the bounds ask for.
    #[inline(never)]
    fn make_room(&self, stored: &Stored) {
        if stored.write_back().is_idle() {
            self.write_back(stored);
        }
        while stored.budget().is_exceeded() {
            stored.write_back().wait();
            while self.maintain() {}
            self.forget(usize::MAX);
            if stored.budget().is_exceeded() && !self.write_back(stored) {
                // What is left is in use further out, or only looks like it.
                break;
            }
        }
    }

    /// Looks up keys that will be current soon, so that their values are in the processor's caches.
    ///
    /// A lookup in a large table waits for memory; many that do not depend on each other wait at
    /// the same time. So a batch of about a thousand records is processed several times faster
    /// if all of its keys are looked up first. Costs next to nothing while state is small, and
    /// does nothing for state with namespaces. What is returned means nothing: it has been read.
    ///
    /// # Panics
    ///
    /// If a key group is not one of this subtask.
    pub fn prefetch<'a>(&self, keys: impl Iterator<Item = (&'a K, KeyGroup)>) -> usize {
        let states = self.states.borrow();
        let first = self.range.first().0;
        let large = states.iter().filter_map(|slot| match slot {
            Slot::Registered(state) if state.is_large() => Some(&**state),
            Slot::Registered(_) | Slot::Raw(_) | Slot::Unclaimed(_) => None,
        });
        let mut large = large.peekable();
        if large.peek().is_none() {
            return 0;
        }
        let touches: Vec<Touch<'a, K>> = keys
            .map(|(key, group)| Touch {
                group: usize::from(group.0 - first),
                hash: hash::of_key(key),
                key,
            })
            .collect();
        large.fold(0, |sum, state| sum ^ state.touch(&touches))
    }

    /// Returns a copy of the current key, if there is one.
    pub fn current_key(&self) -> Option<K> {
        self.context.key()
    }

    /// Says what becomes of values of `Old` in a state that has values of `New`.
    ///
    /// Called before the state is registered, once for each old type. `function` gets every value
    /// of a value, reducing or aggregating state, every element of a list, every user value of a
    /// map. It is used only for a snapshot that holds state of that name whose serializer is that
    /// of `Old`, so that it may stay in the program.
    ///
    /// Two types with the same serializer cannot be told apart: give the state another name.
    pub fn migrate_state<Old: FlinkType, New: FlinkType>(
        &self,
        state: &str,
        function: impl Fn(Old) -> New + Send + Sync + 'static,
    ) {
        self.migrations.add(state, function);
    }

    /// Registers a value state.
    ///
    /// # Errors
    ///
    /// Registered, if the name is taken; incompatible, corrupt or unsupported, if a restored
    /// snapshot holds state of this name that cannot be read as it is declared.
    pub fn value_state<V: FlinkType>(&self, name: &str) -> Result<ValueState<V>> {
        self.value_state_in(name, VoidNamespace)
    }

    /// Registers a value state with namespaces, of which `namespace` is chosen first.
    ///
    /// # Errors
    ///
    /// As [`KeyedBackend::value_state`].
    pub fn value_state_in<N: Namespace, V: FlinkType>(
        &self,
        name: &str,
        namespace: N,
    ) -> Result<ValueState<V, N>> {
        let table = self.table::<N, ValueCodec<V>>(name, KeyedStateType::Value, &namespace)?;
        Ok(ValueState::new(table, namespace))
    }

    /// Registers the accumulators of an aggregation with namespaces.
    ///
    /// # Errors
    ///
    /// As [`KeyedBackend::value_state`].
    pub fn aggregating_state_in<N: Namespace, A: FlinkType>(
        &self,
        name: &str,
        namespace: N,
    ) -> Result<ValueState<A, N>> {
        let table =
            self.table::<N, ValueCodec<A>>(name, KeyedStateType::Aggregating, &namespace)?;
        Ok(ValueState::new(table, namespace))
    }

    /// Registers a list state.
    ///
    /// # Errors
    ///
    /// As [`KeyedBackend::value_state`].
    pub fn list_state<T: FlinkType>(&self, name: &str) -> Result<ListState<T>> {
        self.list_state_in(name, VoidNamespace)
    }

    /// Registers a list state with namespaces, of which `namespace` is chosen first.
    ///
    /// # Errors
    ///
    /// As [`KeyedBackend::value_state`].
    pub fn list_state_in<N: Namespace, T: FlinkType>(
        &self,
        name: &str,
        namespace: N,
    ) -> Result<ListState<T, N>> {
        let table = self.table::<N, ListCodec<T>>(name, KeyedStateType::List, &namespace)?;
        Ok(ListState::new(table, namespace))
    }

    /// Registers a map state.
    ///
    /// # Errors
    ///
    /// As [`KeyedBackend::value_state`].
    pub fn map_state<UK: FlinkType + Ord, UV: FlinkType>(
        &self,
        name: &str,
    ) -> Result<MapState<UK, UV>> {
        self.map_state_in(name, VoidNamespace)
    }

    /// Registers a map state with namespaces, of which `namespace` is chosen first.
    ///
    /// # Errors
    ///
    /// As [`KeyedBackend::value_state`].
    pub fn map_state_in<N: Namespace, UK: FlinkType + Ord, UV: FlinkType>(
        &self,
        name: &str,
        namespace: N,
    ) -> Result<MapState<UK, UV, N>> {
        let maps = self.maps_with::<N, MapCodec<UK, UV>, UK, UV>(name, &namespace, None)?;
        Ok(MapState::new(maps, namespace))
    }

    /// Registers a reducing state; `reduce` makes one value of two.
    ///
    /// # Errors
    ///
    /// As [`KeyedBackend::value_state`].
    pub fn reducing_state<V: FlinkType>(
        &self,
        name: &str,
        reduce: impl Fn(&V, &V) -> V + 'static,
    ) -> Result<ReducingState<V>> {
        self.reducing_state_in(name, VoidNamespace, reduce)
    }

    /// Registers a reducing state with namespaces, of which `namespace` is chosen first.
    ///
    /// # Errors
    ///
    /// As [`KeyedBackend::value_state`].
    pub fn reducing_state_in<N: Namespace, V: FlinkType>(
        &self,
        name: &str,
        namespace: N,
        reduce: impl Fn(&V, &V) -> V + 'static,
    ) -> Result<ReducingState<V, N>> {
        let table = self.table::<N, ValueCodec<V>>(name, KeyedStateType::Reducing, &namespace)?;
        Ok(ReducingState::new(table, namespace, Box::new(reduce)))
    }

    /// Registers the timers of a service: `user-timers` for functions, `window-timers` for windows.
    ///
    /// # Errors
    ///
    /// As [`KeyedBackend::value_state`].
    pub fn timers<N: Namespace>(&self, service: &str) -> Result<TimerService<K, N>> {
        let queue = |domain: &str| {
            let name = format!("_timer_state/{domain}_{service}");
            let context = Rc::clone(&self.context);
            TimerQueue::open(&name, context, self.range, self.stored.as_ref()).map(Rc::new)
        };
        let (processing, event) = (queue("processing")?, queue("event")?);
        self.register(Rc::clone(&processing) as Rc<dyn RegisteredState<K>>)?;
        self.register(Rc::clone(&event) as Rc<dyn RegisteredState<K>>)?;
        Ok(TimerService::new(event, processing))
    }

    /// Registers an aggregating state.
    ///
    /// # Errors
    ///
    /// As [`KeyedBackend::value_state`].
    pub fn aggregating_state<F: AggregateFunction>(
        &self,
        name: &str,
        function: F,
    ) -> Result<AggregatingState<F>> {
        self.aggregating_in(name, VoidNamespace, function)
    }

    /// Registers an aggregating state with namespaces, of which `namespace` is chosen first.
    ///
    /// # Errors
    ///
    /// As [`KeyedBackend::value_state`].
    pub fn aggregating_in<N: Namespace, F: AggregateFunction>(
        &self,
        name: &str,
        namespace: N,
        function: F,
    ) -> Result<AggregatingState<F, N>> {
        let table = self.table::<N, ValueCodec<F::Accumulator>>(
            name,
            KeyedStateType::Aggregating,
            &namespace,
        )?;
        Ok(AggregatingState::new(table, namespace, function))
    }

    /// Returns what registers states whose values have a time-to-live by `clock`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use millpond_state::{KeyedBackend, StateTtlConfig, ValueState};
    /// # use millpond_types::{KeyGroupRange, ManualClock};
    /// # use std::{sync::Arc, time::Duration};
    /// # let backend = KeyedBackend::<i64>::new(128, KeyGroupRange::of_subtask(0, 1, 128));
    /// let clock = Arc::new(ManualClock::at(0));
    /// let minute = StateTtlConfig::new(Duration::from_secs(60));
    /// let mut count: ValueState<i64> = backend.with_ttl(minute, clock.clone()).value_state("n")?;
    /// backend.set_current_key(&7, backend.key_group(&7));
    /// count.update(1);
    /// clock.advance(Duration::from_secs(59));
    /// assert_eq!(count.value(), Some(1));
    /// clock.advance(Duration::from_secs(1));
    /// assert_eq!(count.value(), None);
    /// # Ok::<(), millpond_state::Error>(())
    /// ```
    pub fn with_ttl(&self, config: StateTtlConfig, clock: Arc<dyn Clock>) -> TtlStates<'_, K> {
        TtlStates::new(self, config, clock)
    }

    fn table<N: Namespace, C: OneEntry>(
        &self,
        name: &str,
        state_type: KeyedStateType,
        namespace: &N,
    ) -> Result<Rc<dyn CleanCells<N, C::Value>>> {
        self.table_with::<N, C>(name, state_type, namespace, None)
    }

    pub(crate) fn table_with<N: Namespace, C: OneEntry>(
        &self,
        name: &str,
        state_type: KeyedStateType,
        namespace: &N,
        ttl: Option<Ttl>,
    ) -> Result<Rc<dyn CleanCells<N, C::Value>>> {
        let Some(stored) = &self.stored else {
            let table = self.heap_table::<N, C>(name, state_type, namespace, ttl)?;
            if self.tracked.is_none() {
                return Ok(self.register_heap(Rc::new(table))?);
            }
            let table = TrackedTable::<K, N, C, ChangedValue>::new(table);
            return Ok(self.register_heap(Rc::new(table))?);
        };
        let meta = meta::<N, C>(name, state_type);
        let migrations = self.migrations.of(name);
        migrations.check::<C::Part>()?;
        let table = Rc::new(CachedTable::<K, N, C>::open(
            meta,
            namespace,
            migrations,
            Rc::clone(&self.context),
            Rc::clone(stored),
            ttl,
        )?);
        self.register(Rc::clone(&table) as Rc<dyn RegisteredState<K>>)?;
        Ok(table)
    }

    pub(crate) fn maps_with<N, C, UK, UV>(
        &self,
        name: &str,
        namespace: &N,
        ttl: Option<Ttl>,
    ) -> Result<Rc<dyn MapCells<N, UK, UV>>>
    where
        N: Namespace,
        C: EntryPerUserKey<UK, UV>,
        UK: FlinkType + Ord,
        UV: FlinkType,
    {
        let Some(stored) = &self.stored else {
            let table = self.heap_table::<N, C>(name, KeyedStateType::Map, namespace, ttl)?;
            if self.tracked.is_none() {
                return Ok(self.register_heap(Rc::new(table))?);
            }
            let table = TrackedTable::<K, N, C, ChangedUserKeys<UK, UV>>::new(table);
            return Ok(self.register_heap(Rc::new(table))?);
        };
        let meta = meta::<N, C>(name, KeyedStateType::Map);
        let migrations = self.migrations.of(name);
        migrations.check::<C::Part>()?;
        let maps = Rc::new(CachedMaps::<K, N, C, UK, UV>::open(
            meta,
            migrations,
            Rc::clone(&self.context),
            Rc::clone(stored),
            ttl,
        )?);
        self.register(Rc::clone(&maps) as Rc<dyn RegisteredState<K>>)?;
        Ok(maps)
    }

    fn heap_table<N: Namespace, C: Codec>(
        &self,
        name: &str,
        state_type: KeyedStateType,
        namespace: &N,
        ttl: Option<Ttl>,
    ) -> Result<KeyedTable<K, N, C>> {
        let context = Rc::clone(&self.context);
        let migrations = self.migrations.of(name);
        migrations.check::<C::Part>()?;
        Ok(KeyedTable::<K, N, C>::new(
            meta::<N, C>(name, state_type),
            namespace,
            migrations,
            context,
            self.range.len(),
            ttl,
        ))
    }

    /// Registers a table on the heap.
    fn register_heap<T: RegisteredState<K>>(&self, table: Rc<T>) -> Result<Rc<T>> {
        let state = Rc::clone(&table) as Rc<dyn RegisteredState<K>>;
        self.register(Rc::clone(&state))?;
        if state.cleans_on_every_record() {
            self.cleaned.borrow_mut().push(state);
            self.context.ask();
        }
        Ok(table)
    }

    /// Adds a state, or puts it in the place of raw state of its name, which it then decodes.
    fn register(&self, state: Rc<dyn RegisteredState<K>>) -> Result<()> {
        let name = &state.meta().name;
        let mut states = self.states.borrow_mut();
        let Some(slot) = states.iter_mut().find(|slot| slot.name() == name) else {
            states.push(Slot::Registered(state));
            return Ok(());
        };
        match slot {
            Slot::Registered(_) => {
                let state = name.clone();
                return Err(Error::new(ErrorKind::Registered { state }));
            }
            Slot::Raw(raw) => {
                // What is empty may have been of any type.
                if raw.entries() > 0 {
                    state.accept(&raw.meta)?;
                }
                for (group, entries) in self.range.iter().zip(&mut raw.groups) {
                    // Taken, so that bytes go as tables come.
                    let entries: Arc<RawGroup> = std::mem::take(entries);
                    self.decode_group(&entries, &*state, group)?;
                }
            }
            Slot::Unclaimed(unclaimed) if !unclaimed.is_empty() => {
                state.accept(&unclaimed.meta)?;
                if state.meta().kind == StateKind::KeyValue && !state.reads_as_is() {
                    self.rewrite(unclaimed, &*state)?;
                }
                state.take_over()?;
            }
            Slot::Unclaimed(_) => {}
        }
        *slot = Slot::Registered(state);
        Ok(())
    }

    /// Writes what a column holds as the state that claims it writes it now.
    fn rewrite(&self, unclaimed: &UnclaimedColumn, state: &dyn RegisteredState<K>) -> Result<()> {
        let (column, mut prefix) = (&unclaimed.column, Vec::new());
        for (position, group) in self.range.iter().enumerate() {
            prefix.clear();
            column.prefix().put(position, &mut prefix);
            let mut old = RawGroup::default();
            // Keys may change too: those of user keys.
            let mut batch = WriteBatch::new();
            let scanned = column.try_scan(&prefix, |key, value| {
                old.push(key, value);
                batch.delete(|out| {
                    out.extend_from_slice(&prefix);
                    out.extend_from_slice(key);
                });
                Ok::<(), std::convert::Infallible>(())
            })?;
            match scanned {
                Ok(()) => {}
            }
            column.write_all(&mut batch)?;
            self.decode_group(&old, state, group)?;
        }
        Ok(())
    }

    /// Returns the image of all state as it is now.
    ///
    /// Copies no entry: O(states times key groups). Several images may live at once.
    pub fn freeze(&self) -> FrozenKeyedState {
        self.freeze_states(|state| state.freeze())
    }

    /// As [`KeyedBackend::freeze`], for a checkpoint that later ones may be based on.
    ///
    /// If the backend tracks changes, the image knows what has changed since earlier checkpoints, of
    /// which `base` is the oldest that later ones may name, if there is one. They come in ascending
    /// order. Savepoints do not take part: they are full, and nothing is based on them.
    pub fn freeze_at(
        &self,
        checkpoint: CheckpointId,
        base: Option<CheckpointId>,
    ) -> FrozenKeyedState {
        let Some(tracked) = &self.tracked else {
            return self.freeze();
        };
        let mut tracked = tracked.borrow_mut();
        if let Some(base) = base {
            tracked.retain(|earlier| *earlier >= base);
        }
        while tracked.len() > MAX_INTERVALS {
            tracked.pop_front();
        }
        let oldest = tracked.front().copied();
        let mut frozen = self.freeze_states(|state| state.freeze_at(checkpoint, oldest));
        frozen.tracked = Some(tracked.iter().copied().collect());
        tracked.push_back(checkpoint);
        frozen
    }

    fn freeze_states(
        &self,
        freeze: impl Fn(&dyn RegisteredState<K>) -> Box<dyn FrozenState>,
    ) -> FrozenKeyedState {
        let pending = self.stored.as_ref().map(|stored| {
            self.write_back(stored);
            stored.begin_image()
        });
        let states = self.states.borrow();
        let meta = |slot: &Slot<K>| match slot {
            Slot::Registered(state) => state.meta().clone(),
            Slot::Raw(raw) => raw.meta.clone(),
            Slot::Unclaimed(unclaimed) => unclaimed.meta.clone(),
        };
        let image = |slot: &Slot<K>| match slot {
            Slot::Registered(state) => freeze(&**state),
            Slot::Raw(raw) => raw.freeze(),
            Slot::Unclaimed(unclaimed) => unclaimed.freeze(self.stored.as_deref()),
        };
        let columns = || states.iter().filter_map(Slot::column).map(Column::id);
        let restored = self.stored.as_ref().and_then(|stored| stored.restored());
        let stored = pending.map(|image| StoredImage::new(image, columns().collect(), restored));
        let frozen: Vec<_> = states.iter().map(image).collect();
        if let Some(stored) = &self.stored {
            stored.end_image();
        }
        FrozenKeyedState {
            max_parallelism: self.max_parallelism,
            range: self.range,
            key_serializer: K::serializer_snapshot(),
            allocated_bytes: states.iter().map(Slot::allocated_bytes).sum(),
            // Those in a store are counted as they are written.
            entries: match stored {
                Some(_) => 0,
                None => states.iter().map(Slot::entries).sum(),
            },
            stored,
            tracked: None,
            metas: states.iter().map(meta).collect(),
            image: Arc::new(Image::new(frozen, self.context.changed().clone())),
        }
    }

    /// Takes over the states that the store came with, of which it was opened on `restored`.
    ///
    /// # Errors
    ///
    /// Corrupt, if keys lie where they do not belong; storage.
    pub(crate) fn take_over(&self, restored: Arc<RestoredFiles>) -> Result<()> {
        let Some(stored) = &self.stored else {
            return Ok(());
        };
        let mut states = self.states.borrow_mut();
        for meta in stored.take_over(restored) {
            let column = stored.open(&meta, None)?;
            let entries = match self.has_entries(&meta, &column)? {
                true => Entries::Some,
                false => Entries::Counted(0),
            };
            states.push(Slot::Unclaimed(UnclaimedColumn {
                meta,
                column,
                entries,
            }));
        }
        Ok(())
    }

    /// Whether a column holds anything; checks the first key, which must be of this subtask.
    fn has_entries(&self, meta: &StateMeta, column: &Column) -> Result<bool> {
        let mut first = None;
        // Stops at the first one.
        let stopped = column.try_scan(&[], |key, _| {
            first = Some(key.to_vec());
            Err(())
        })?;
        let (Err(()), Some(key)) = (stopped, first) else {
            return Ok(false);
        };
        let (group, key) = key.split_at(column.prefix().bytes().min(key.len()));
        let group = KeyGroup(
            group
                .iter()
                .fold(0, |all, byte| all << 8 | u16::from(*byte)),
        );
        let checked = if !self.range.contains(group) {
            let found = format!("one of key group {}", group.0);
            let expected = format!("keys of {} only", self.range);
            Err(millpond_snapshot::Error::corrupt(0, expected, found))
        } else if meta.kind == StateKind::KeyValue {
            K::read(&mut ByteReader::new(key))
                .map_err(Into::into)
                .and_then(|key| self.check_group(&key, group))
        } else {
            Ok(())
        };
        checked.map_err(|error| Error::reading_state(&meta.name, group, error))?;
        Ok(true)
    }

    /// Takes over the key groups of this subtask that a handle of a snapshot holds.
    ///
    /// Called once per handle; handles may hold more than the own key groups. States that are
    /// registered already are decoded as they are read, which needs the least memory. All others are kept as bytes until they are registered, and written again by
    /// every snapshot until then.
    ///
    /// # Errors
    ///
    /// Incompatible or unsupported, before anything is restored, if key or state do not fit what
    /// is registered, or if the snapshot is in a format that the heap backend does not read;
    /// corrupt or storage, if the bytes are damaged or cannot be read. After an error the backend
    /// is of no use.
    pub fn restore(&self, snapshot: &LoadedSnapshot, handle: &KeyedHandle) -> Result<()> {
        let opened = snapshot.open_keyed(handle, self.range, self.max_parallelism);
        match opened.map_err(Error::restoring)? {
            Some(mut reader) => self.restore_entries(&mut reader),
            None => Ok(()),
        }
    }

    /// As [`KeyedBackend::restore`], from a reader of this subtask's key groups.
    ///
    /// # Errors
    ///
    /// As [`KeyedBackend::restore`].
    pub fn restore_entries(&self, reader: &mut KeyedReader) -> Result<()> {
        let header = reader.header();
        let mut keys = KeyConverter::<K>::new(header)?;
        let places = keys
            .metas(&header.states)
            .iter()
            .map(|meta| self.place_of(meta))
            .collect::<Result<Vec<usize>>>()?;
        let mut states = self.states.borrow_mut();
        // One group at a time: its tables are made as large as they have to be.
        let mut staged = Staged {
            group: self.range.first(),
            states: Vec::new(),
        };
        staged.states.resize(places.len(), RawGroup::default());
        while let Some(entry) = reader.next_entry().map_err(Error::restoring)? {
            if entry.key_group != staged.group {
                self.restore_group(&mut staged, &places, &mut states)?;
                staged.group = entry.key_group;
            }
            let group = entry.key_group;
            let key = keys
                .convert(entry.state, entry.key, |key| self.check_group(key, group))
                .map_err(Error::restoring)?;
            match &mut states[places[entry.state]] {
                Slot::Registered(_) | Slot::Unclaimed(_) => {
                    staged.states[entry.state].push(key, entry.value);
                }
                Slot::Raw(raw) => raw.push(self.position(group), key, entry.value),
            }
        }
        self.restore_group(&mut staged, &places, &mut states)
    }

    /// Moves the entries of one group into the registered states at `places`, and into columns.
    fn restore_group(
        &self,
        staged: &mut Staged,
        places: &[usize],
        states: &mut [Slot<K>],
    ) -> Result<()> {
        for (entries, place) in staged.states.iter_mut().zip(places) {
            match &mut states[*place] {
                Slot::Registered(state) => match state.column() {
                    Some(column) if state.reads_as_is() => {
                        self.store_group(entries, state.meta(), column, staged.group)?;
                    }
                    _ => self.decode_group(entries, &**state, staged.group)?,
                },
                Slot::Unclaimed(unclaimed) => {
                    let UnclaimedColumn { meta, column, .. } = unclaimed;
                    self.store_group(entries, meta, column, staged.group)?;
                    unclaimed.add(entries.entries());
                }
                Slot::Raw(_) => continue,
            }
            entries.clear();
        }
        Ok(())
    }

    /// Writes entries of one group into a column as they are.
    fn store_group(
        &self,
        entries: &RawGroup,
        meta: &StateMeta,
        column: &Column,
        group: KeyGroup,
    ) -> Result<()> {
        let position = self.position(group);
        let mut batch = WriteBatch::new();
        let read = entries.try_for_each(|key, value| {
            if batch.is_empty() && meta.kind == StateKind::KeyValue {
                self.check_group(&K::read(&mut ByteReader::new(key))?, group)?;
            }
            batch.put(
                |out| {
                    column.prefix().put(position, out);
                    out.extend_from_slice(key);
                },
                |out| out.extend_from_slice(value),
            );
            Ok(())
        });
        read.map_err(|error| Error::reading_state(&meta.name, group, error))?;
        column.write_all(&mut batch)
    }

    fn decode_group(
        &self,
        entries: &RawGroup,
        state: &dyn RegisteredState<K>,
        group: KeyGroup,
    ) -> Result<()> {
        let position = self.position(group);
        let mut first = true;
        state.reserve(position, entries.entries());
        let decoded = entries.try_for_each(|key, value| {
            let (mut key, mut value) = (ByteReader::new(key), ByteReader::new(value));
            if std::mem::replace(&mut first, false) && state.meta().kind == StateKind::KeyValue {
                self.check_group(&K::read(&mut key.clone())?, group)?;
            }
            state.restore_entry(position, &mut key, &mut value)
        });
        decoded.map_err(|error| Error::reading_state(&state.meta().name, group, error))?;
        state.restored_group()
    }

    /// Checks that a restored key lies where records of that key will look for it.
    fn check_group(
        &self,
        key: &K,
        group: KeyGroup,
    ) -> std::result::Result<(), millpond_snapshot::Error> {
        let found = self.key_group(key);
        if found == group {
            return Ok(());
        }
        Err(millpond_snapshot::Error::incompatible(format!(
            "a key of key group {} has a hash code of key group {} of {}: the maximum parallelism \
             or the hash code of keys differs from what wrote it",
            group.0, found.0, self.max_parallelism
        )))
    }

    /// Where a key group stands in the range.
    fn position(&self, group: KeyGroup) -> usize {
        usize::from(group.0 - self.range.first().0)
    }

    /// Returns where the state of a header goes; makes a raw one if no state has its name.
    fn place_of(&self, meta: &StateMeta) -> Result<usize> {
        let mut states = self.states.borrow_mut();
        let Some(place) = states.iter().position(|slot| slot.name() == meta.name) else {
            states.push(match &self.stored {
                None => Slot::Raw(RawState::new(meta.clone(), self.range.len())),
                Some(stored) => Slot::Unclaimed(UnclaimedColumn {
                    meta: meta.clone(),
                    column: stored.open(meta, None)?,
                    entries: Entries::Counted(0),
                }),
            });
            return Ok(states.len() - 1);
        };
        let differs = || {
            let what = format!(
                "state \"{}\" that its handles describe differently",
                meta.name
            );
            Err(Error::new(ErrorKind::Unsupported { what }))
        };
        match &states[place] {
            Slot::Registered(state) => state.accept(meta)?,
            Slot::Raw(raw) if raw.describes_same(meta) => {}
            Slot::Unclaimed(unclaimed) if unclaimed.meta.describes_same(meta) => {}
            Slot::Raw(_) | Slot::Unclaimed(_) => return differs(),
        }
        Ok(place)
    }

    /// Describes what is registered, and restored state that nothing was registered for.
    pub fn describe(&self) -> KeyedDescription {
        let mut description = KeyedDescription {
            key: K::serializer_snapshot(),
            states: Vec::new(),
            unclaimed: Vec::new(),
            accepts_key: accept_key::<K>,
        };
        for slot in self.states.borrow().iter() {
            match slot {
                Slot::Registered(state) => {
                    let meta = state.meta().clone();
                    let state = Rc::clone(state);
                    let described = DescribedState::new(meta, move |old| state.accept(old));
                    description.states.push(described);
                }
                Slot::Raw(raw) if raw.entries() > 0 => {
                    description.unclaimed.push(UnclaimedState {
                        meta: raw.meta.clone(),
                        entries: raw.entries(),
                    });
                }
                Slot::Unclaimed(unclaimed) if !unclaimed.is_empty() => {
                    description.unclaimed.push(UnclaimedState {
                        meta: unclaimed.meta.clone(),
                        entries: unclaimed.count(),
                    });
                }
                Slot::Raw(_) | Slot::Unclaimed(_) => {}
            }
        }
        description
    }

    /// Folds what changed during a snapshot into the tables; returns whether there is more to do.
    ///
    /// Called between batches. Bounded work: about a millisecond, and a few nanoseconds when there
    /// is nothing to do. Groups that a snapshot still reads are left alone and are no more to do.
    #[inline]
    pub fn maintain(&self) -> bool {
        let mut budget = ENTRIES_PER_CALL;
        self.states.borrow().iter().any(|slot| match slot {
            Slot::Registered(state) => state.maintain(&mut budget),
            Slot::Raw(_) | Slot::Unclaimed(_) => false,
        })
    }

    /// How many entries all states have together: keys times namespaces, and timers.
    pub fn entries(&self) -> usize {
        self.states.borrow().iter().map(Slot::entries).sum()
    }

    /// The memory of all tables, in bytes; not what keys and values own elsewhere.
    pub fn allocated_bytes(&self) -> usize {
        self.states.borrow().iter().map(Slot::allocated_bytes).sum()
    }

    /// How many bytes the entries take that have changed since the oldest snapshot that is still
    /// being written, and are not merged yet.
    ///
    /// A second version of them stands beside the first one. Not counted is what keys and values
    /// own elsewhere, such as the text of a string.
    pub fn changed_bytes(&self) -> usize {
        self.context.changed().get()
    }

    /// Returns the keys that have a value in a registered state, once per namespace, unordered.
    pub fn keys(&self, state: &str) -> Vec<K> {
        let mut keys = Vec::new();
        self.with_registered(state, |state| {
            state.for_each_key(&mut |key| keys.push(key.clone()))
        });
        keys
    }

    /// Calls `visit` for each entry of a registered value, reducing or aggregating state.
    ///
    /// Of a state with time-to-live also those that have expired and are not cleaned up yet.
    /// Returns whether there is a state of this name and these types. The order is not promised.
    pub fn for_each_value<N: Namespace, V: FlinkType>(
        &self,
        state: &str,
        mut visit: impl FnMut(&K, &N, &V),
    ) -> bool {
        type TtlCodec<V> = WithTtl<ValueCodec<TtlValue<V>>>;
        type TtlTable<K, N, V> = KeyedTable<K, N, TtlCodec<V>>;
        type CachedTtl<K, N, V> = CachedTable<K, N, TtlCodec<V>>;
        type Tracked<K, N, C> = TrackedTable<K, N, C, ChangedValue>;
        self.with_registered(state, |state| {
            let state = state.as_any();
            if let Some(table) = state.downcast_ref::<KeyedTable<K, N, ValueCodec<V>>>() {
                table.for_each(visit);
            } else if let Some(tracked) = state.downcast_ref::<Tracked<K, N, ValueCodec<V>>>() {
                tracked.table().for_each(visit);
            } else if let Some(tracked) = state.downcast_ref::<Tracked<K, N, TtlCodec<V>>>() {
                let table = tracked.table();
                table.for_each(|key, namespace, value| visit(key, namespace, &value.value));
            } else if let Some(table) = state.downcast_ref::<CachedTable<K, N, ValueCodec<V>>>() {
                table.for_each(visit);
            } else if let Some(table) = state.downcast_ref::<CachedTtl<K, N, V>>() {
                table.for_each(|key, namespace, value| visit(key, namespace, &value.value));
            } else if let Some(table) = state.downcast_ref::<TtlTable<K, N, V>>() {
                table.for_each(|key, namespace, value| visit(key, namespace, &value.value));
            } else {
                return false;
            }
            true
        })
        .unwrap_or(false)
    }

    fn with_registered<R>(
        &self,
        name: &str,
        f: impl FnOnce(&dyn RegisteredState<K>) -> R,
    ) -> Option<R> {
        let states = self.states.borrow();
        let slot = states.iter().find(|slot| slot.name() == name)?;
        match slot {
            Slot::Registered(state) => Some(f(&**state)),
            Slot::Raw(_) | Slot::Unclaimed(_) => None,
        }
    }
}

/// How the header of a snapshot describes a state.
fn meta<N: Namespace, C: Codec>(name: &str, state_type: KeyedStateType) -> StateMeta {
    StateMeta::key_value(name, state_type, N::serializer_snapshot(), C::serializer())
}

impl<K> std::fmt::Debug for KeyedBackend<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyedBackend")
            .field("range", &self.range)
            .finish_non_exhaustive()
    }
}
