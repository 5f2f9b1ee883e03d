//! A map state above a store: one stored entry per user key.
//!
//! A cached map holds the user keys that were asked for, so a huge one is never read whole. It is
//! visited from the cache once all of it is there, and up to [`WHOLE_PARTS`] user keys it is brought
//! there when it is visited. A larger one is read through from the store each time.

use super::partial_map::PartialMap;
use super::{Cache, Changes, Column, Sealed, average};
use crate::codec::EntryPerUserKey;
use crate::composite_key::read_head;
use crate::hash::Probe;
use crate::image::FrozenState;
use crate::key_context::KeyContext;
use crate::keyed_table::reader_of;
use crate::map_cells::MapCells;
use crate::migration::StateMigrations;
use crate::registered::{RegisteredState, Touch};
use crate::store::{Filtered, StoredFilter, WriteBatch};
use crate::stored::{Stored, StoredState};
use crate::table::Change;
use crate::ttl::{Expiry, Ttl};
use crate::{Error, Result};
use millpond_serializer::{ByteReader, FlinkKey, FlinkType, Incompatibility, Namespace, nullable};
use millpond_snapshot::StateMeta;
use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

/// Up to how many user keys a map is held whole.
const WHOLE_PARTS: usize = 4096;

/// From how many known user keys on a map is forgotten although it is in use.
const LARGE_PARTS: usize = 16 * WHOLE_PARTS;

/// The maps of one state, in a cache above a column of a store.
pub(crate) struct CachedMaps<K, N, C, UK, UV>
where
    C: EntryPerUserKey<UK, UV>,
    UK: FlinkType + Ord,
    UV: FlinkType,
{
    meta: StateMeta,
    migrations: Rc<StateMigrations>,
    /// Reads what the store holds.
    own: C::Reader,
    /// Reads the entries of the handle that is being restored.
    reader: RefCell<C::Reader>,
    context: Rc<KeyContext<K>>,
    stored: Rc<Stored>,
    column: Column,
    cache: Cache<K, N, PartialMap<UK, UV>>,
    ttl: Option<Ttl>,
    /// What is being restored.
    restored: RefCell<WriteBatch>,
}

impl<K, N, C, UK, UV> CachedMaps<K, N, C, UK, UV>
where
    K: FlinkKey,
    N: Namespace,
    C: EntryPerUserKey<UK, UV>,
    UK: FlinkType + Ord,
    UV: FlinkType,
{
    /// Returns the maps of a state; its column is opened, and may hold what was restored.
    ///
    /// # Errors
    ///
    /// Storage.
    pub(crate) fn open(
        meta: StateMeta,
        migrations: Rc<StateMigrations>,
        context: Rc<KeyContext<K>>,
        stored: Rc<Stored>,
        ttl: Option<Ttl>,
    ) -> Result<Self> {
        let filter = ttl
            .clone()
            .map(|ttl| filter::<C, UK, UV>(move || ttl.expiry()));
        let column = stored.open(&meta, filter)?;
        let part_bytes = size_of::<(UK, super::partial_map::Part<UV>)>();
        Ok(CachedMaps {
            meta,
            migrations,
            own: C::as_is(),
            reader: RefCell::new(C::as_is()),
            context,
            cache: Cache::new(stored.groups(), part_bytes, Rc::clone(stored.budget())),
            stored,
            column,
            ttl,
            restored: RefCell::default(),
        })
    }

    fn decode(
        &self,
        user_key: &[u8],
        value: &[u8],
    ) -> std::result::Result<(UK, UV), millpond_serializer::Error> {
        if std::mem::needs_drop::<UK>() || std::mem::needs_drop::<UV>() {
            average(&self.cache.owned, user_key.len() + value.len());
        }
        let (mut user_key, mut value) = (ByteReader::new(user_key), ByteReader::new(value));
        C::read_part(&self.own, &mut user_key, &mut value)
    }

    fn head(&self, group: usize, probe: Probe<'_, K, N>) -> Vec<u8> {
        let mut head = Vec::with_capacity(64);
        self.column
            .put_head(group, probe.key, probe.namespace, &mut head);
        head
    }

    /// Reads the value of one user key from the store.
    #[cold]
    fn load(&self, group: usize, probe: Probe<'_, K, N>, key: &UK) -> Option<UV> {
        let mut whole = self.head(group, probe);
        let user_key = whole.len();
        key.write(&mut whole);
        let value = self.column.get(&whole)?;
        match self.decode(&whole[user_key..], &value) {
            Ok((_, value)) => Some(value),
            Err(error) => self.column.damaged(&error),
        }
    }

    /// Visits what the store holds of a map until `visit` returns false.
    fn scan(&self, group: usize, probe: Probe<'_, K, N>, mut visit: impl FnMut(UK, UV) -> bool) {
        let scanned = self
            .column
            .try_scan(&self.head(group, probe), |user_key, value| {
                let decoded = self.decode(user_key, value);
                let (key, value) = decoded.unwrap_or_else(|error| self.column.damaged(&error));
                match visit(key, value) {
                    true => Ok(()),
                    false => Err(()),
                }
            });
        match scanned {
            // It ended early.
            Ok(Ok(()) | Err(())) => {}
            Err(error) => self.column.failed(&error),
        }
    }

    /// Brings the rest of a map into the cache, if it is not too large.
    fn complete(&self, group: usize, probe: Probe<'_, K, N>, map: &mut PartialMap<UK, UV>) {
        let mut unknown = Vec::new();
        let mut is_too_large = false;
        self.scan(group, probe, |key, value| {
            if map.get(&key).is_none() {
                unknown.push((key, value));
            }
            is_too_large = map.parts() + unknown.len() > WHOLE_PARTS;
            !is_too_large
        });
        if !is_too_large {
            for (key, value) in unknown {
                map.learn(key, Some(value));
            }
            map.set_whole();
        }
    }

    /// Visits a map that is not whole: first what only the store knows, then what is known.
    fn visit_through(
        &self,
        group: usize,
        probe: Probe<'_, K, N>,
        map: &PartialMap<UK, UV>,
        visit: &mut dyn FnMut(&UK, &UV) -> bool,
    ) {
        let mut goes_on = true;
        if !map.is_whole() {
            self.scan(group, probe, |key, value| {
                if map.get(&key).is_none() {
                    goes_on = visit(&key, &value);
                }
                goes_on
            });
        }
        if goes_on {
            map.visit(visit);
        }
    }

    fn update(
        &self,
        namespace: &N,
        change: impl FnOnce(usize, Probe<'_, K, N>, &mut PartialMap<UK, UV>) -> bool,
    ) {
        self.context.with(namespace, |group, probe| {
            self.cache.modify(
                group,
                probe,
                PartialMap::unknown,
                PartialMap::parts,
                |map| change(group, probe, map),
            );
        });
    }

    /// Whether what is known of the map is as much as `enough` asks for.
    fn knows(&self, namespace: &N, enough: impl FnOnce(&PartialMap<UK, UV>) -> bool) -> bool {
        self.context.with(namespace, |group, probe| {
            self.cache.peek(group, probe, enough).unwrap_or(false)
        })
    }

    fn write_back_now(&self) {
        if let Some(changes) = self.seal() {
            self.stored.write_back().write(changes);
        }
        self.stored.write_back().wait();
    }
}

impl<K, N, C, UK, UV> MapCells<N, UK, UV> for CachedMaps<K, N, C, UK, UV>
where
    K: FlinkKey,
    N: Namespace,
    C: EntryPerUserKey<UK, UV>,
    UK: FlinkType + Ord,
    UV: FlinkType,
{
    fn read(&self, namespace: &N, key: &UK, read: &mut dyn FnMut(Option<&UV>)) {
        if !self.knows(namespace, |map| map.get(key).is_some()) && !self.cache.is_being_read() {
            // Not under the look: what is missing is brought first.
            self.update(namespace, |group, probe, map| {
                map.learn(key.clone(), self.load(group, probe, key));
                false
            });
        }
        self.context.with(namespace, |group, probe| {
            let nothing = || (PartialMap::unknown(), 0);
            self.cache
                .read(group, probe, nothing, |map| match map.get(key) {
                    Some(value) => read(value),
                    None => read(self.load(group, probe, key).as_ref()),
                });
        });
    }

    fn modify(
        &self,
        namespace: &N,
        key: UK,
        change: &mut dyn FnMut(Option<&mut UV>) -> Change<UV>,
    ) {
        let epoch = self.cache.epoch();
        self.update(namespace, |group, probe, map| {
            if map.get(&key).is_none() {
                map.learn(key.clone(), self.load(group, probe, &key));
            }
            let part = map.get_mut(&key);
            let existed = part.as_ref().is_some_and(|part| part.value.is_some());
            let answer = match part {
                Some(part) => {
                    let answer = change(part.value.as_mut());
                    if existed && matches!(answer, Change::Keep) {
                        part.epoch = epoch;
                    }
                    answer
                }
                None => change(None),
            };
            match answer {
                Change::Keep => existed,
                Change::Set(value) => {
                    map.set(key, Some(value), epoch);
                    true
                }
                Change::Remove => {
                    if existed {
                        map.set(key, None, epoch);
                    }
                    existed
                }
            }
        });
    }

    fn visit(&self, namespace: &N, visit: &mut dyn FnMut(&UK, &UV) -> bool) {
        if !self.knows(namespace, PartialMap::is_whole) && !self.cache.is_being_read() {
            self.update(namespace, |group, probe, map| {
                self.complete(group, probe, map);
                false
            });
        }
        self.context.with(namespace, |group, probe| {
            let nothing = || (PartialMap::unknown(), 0);
            self.cache.read(group, probe, nothing, |map| {
                self.visit_through(group, probe, map, visit);
            });
        });
    }

    fn apply(&self, namespace: &N, edits: Vec<(UK, Option<UV>)>) {
        if edits.is_empty() {
            return;
        }
        let epoch = self.cache.epoch();
        self.update(namespace, |_, _, map| {
            for (key, value) in edits {
                map.set(key, value, epoch);
            }
            true
        });
    }

    fn clear(&self, namespace: &N) {
        let epoch = self.cache.epoch();
        self.update(namespace, |_, _, map| {
            // Not again what is known to be empty.
            let mut is_empty = map.is_whole();
            map.visit(&mut |_, _| {
                is_empty = false;
                false
            });
            if !is_empty {
                map.clear(epoch);
            }
            !is_empty
        });
    }

    fn clean(&self) {}

    fn is_being_read(&self) -> bool {
        self.cache.is_being_read()
    }
}

impl<K, N, C, UK, UV> RegisteredState<K> for CachedMaps<K, N, C, UK, UV>
where
    K: FlinkKey,
    N: Namespace,
    C: EntryPerUserKey<UK, UV>,
    UK: FlinkType + Ord,
    UV: FlinkType,
{
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn for_each_key(&self, visit: &mut dyn FnMut(&K)) {
        self.write_back_now();
        // The user keys of one key stand beside each other.
        let mut last: Option<(K, N)> = None;
        self.column.scan_groups(self.stored.groups(), |key, _| {
            let head = read_head::<K, N>(&mut ByteReader::new(key))?;
            if last.as_ref() != Some(&head) {
                visit(&head.0);
                last = Some(head);
            }
            Ok(())
        });
    }

    fn meta(&self) -> &StateMeta {
        &self.meta
    }

    fn prepare(
        &self,
        previous: &StateMeta,
    ) -> std::result::Result<std::result::Result<(), Incompatibility>, millpond_snapshot::Error>
    {
        let reader = reader_of::<N, C>(previous, &self.migrations, self.ttl.as_ref())?;
        Ok(reader.map(|reader| *self.reader.borrow_mut() = reader))
    }

    fn entries(&self) -> usize {
        let mut entries = 0;
        self.for_each_key(&mut |_| entries += 1);
        entries
    }

    fn allocated_bytes(&self) -> usize {
        self.cache.allocated_bytes()
    }

    fn freeze(&self) -> Box<dyn FrozenState> {
        let ttl = self.ttl.as_ref().filter(|ttl| ttl.cleans_snapshots());
        let filter = ttl.map(|ttl| {
            let expiry = ttl.expiry();
            filter::<C, UK, UV>(move || expiry)
        });
        Box::new(StoredState::new(self.stored.image(), &self.column, filter))
    }

    fn maintain(&self, budget: &mut usize) -> bool {
        self.cache.maintain(budget)
    }

    fn is_large(&self) -> bool {
        false
    }

    fn touch(&self, _keys: &[Touch<'_, K>]) -> usize {
        // Which user keys a record will ask for is not known.
        0
    }

    fn reserve(&self, _group: usize, _entries: usize) {}

    fn reads_as_is(&self) -> bool {
        C::is_as_is(&self.reader.borrow())
    }

    fn restore_entry(
        &self,
        group: usize,
        key: &mut ByteReader<'_>,
        value: &mut ByteReader<'_>,
    ) -> std::result::Result<(), millpond_snapshot::Error> {
        let (owner, namespace) = read_head::<K, N>(key)?;
        let (user_key, value) = C::read_part(&self.reader.borrow(), key, value)?;
        self.restored.borrow_mut().put(
            |out| {
                self.column.put_head(group, &owner, &namespace, out);
                user_key.write(out);
            },
            |out| {
                nullable::write(&value, out);
            },
        );
        Ok(())
    }

    fn restored_group(&self) -> Result<()> {
        self.column.write_all(&mut self.restored.borrow_mut())
    }

    fn column(&self) -> Option<&Column> {
        Some(&self.column)
    }

    fn seal(&self) -> Option<Box<dyn Changes>> {
        let sealed = self.cache.seal()?;
        Some(Box::new(MapChanges::<K, N, C, UK, UV> {
            sealed,
            state: self.meta.name.clone(),
            column: self.column.clone(),
            owned: self.cache.owned(),
            expiry: self.ttl.as_ref().map(Ttl::expiry),
            codec: PhantomData,
        }))
    }

    fn cached_bytes(&self) -> usize {
        self.cache.bytes()
    }

    fn forget(&self, steps: &mut usize) {
        self.cache
            .forget(steps, PartialMap::parts, |map| map.parts() > LARGE_PARTS);
    }
}

/// What was changed in one epoch.
struct MapChanges<K, N, C, UK: FlinkType + Ord, UV: FlinkType> {
    sealed: Sealed<K, N, PartialMap<UK, UV>>,
    state: String,
    column: Column,
    owned: Arc<AtomicUsize>,
    expiry: Option<Expiry>,
    codec: PhantomData<fn(C)>,
}

impl<K, N, C, UK, UV> Changes for MapChanges<K, N, C, UK, UV>
where
    K: FlinkKey,
    N: Namespace,
    C: EntryPerUserKey<UK, UV>,
    UK: FlinkType + Ord,
    UV: FlinkType,
{
    fn state(&self) -> &str {
        &self.state
    }

    fn groups(&self) -> usize {
        self.sealed.groups.len()
    }

    fn take_group(&mut self, group: usize, batch: &mut WriteBatch) -> Result<()> {
        let (column, owned, expiry) = (&self.column, &self.owned, self.expiry);
        let epoch = self.sealed.epoch;
        let mut head = Vec::new();
        let mut user_key = Vec::new();
        self.sealed.take_group(group, |key, namespace, slot| {
            let map = &slot.value;
            head.clear();
            column.put_head(group, key, namespace, &mut head);
            // What is stored and was removed with the whole map.
            let mut stale = BTreeSet::new();
            if map.was_cleared(epoch) {
                let scanned = column.try_scan(&head, |user_key, _| {
                    stale.insert(user_key.to_vec());
                    Ok::<(), Error>(())
                });
                scanned??;
            }
            map.for_each_change(epoch, |key, value| {
                user_key.clear();
                key.write(&mut user_key);
                stale.remove(&user_key);
                let whole = |out: &mut Vec<u8>| {
                    out.extend_from_slice(&head);
                    out.extend_from_slice(&user_key);
                };
                let is_over = |value: &&UV| expiry.is_none_or(|expiry| !C::is_over(value, expiry));
                match value.filter(is_over) {
                    Some(value) => {
                        let before = batch.bytes();
                        batch.put(whole, |out| {
                            nullable::write(value, out);
                        });
                        if std::mem::needs_drop::<UK>() || std::mem::needs_drop::<UV>() {
                            average(owned, batch.bytes() - before - head.len());
                        }
                    }
                    None => batch.delete(whole),
                }
            });
            for user_key in stale {
                batch.delete(|out| {
                    out.extend_from_slice(&head);
                    out.extend_from_slice(&user_key);
                });
            }
            Ok(())
        })
    }

    fn column(&self) -> &Column {
        &self.column
    }

    fn written(&mut self) {
        self.sealed.written();
    }
}

/// What is left of stored user values with time-to-live.
fn filter<C, UK, UV>(expiry: impl Fn() -> Expiry + Send + Sync + 'static) -> StoredFilter
where
    C: EntryPerUserKey<UK, UV>,
    UK: FlinkType + Ord,
    UV: FlinkType,
{
    Arc::new(move |bytes| {
        let mut input = ByteReader::new(bytes);
        // The bool of an `Option` is its own.
        let not_null = UV::NULLABLE || input.bool().is_ok_and(|is_null| !is_null);
        match not_null.then(|| UV::read(&mut input)) {
            Some(Ok(value)) if C::is_over(&value, expiry()) => Filtered::Remove,
            // What cannot be read is for the function to find out that reads it.
            _ => Filtered::Keep,
        }
    })
}
