//! A state of one value per key and namespace above a store: value, list, reducing, aggregating.

use super::{Cache, Changes, Column, Sealed, average};
use crate::codec::OneEntry;
use crate::composite_key::read_head;
use crate::hash::Probe;
use crate::image::FrozenState;
use crate::key_context::KeyContext;
use crate::keyed_table::{Cells, CleanCells, reader_of};
use crate::migration::StateMigrations;
use crate::registered::{RegisteredState, Touch};
use crate::store::{Filtered, Keys, StoredFilter, WriteBatch};
use crate::stored::{Stored, StoredState};
use crate::table::Change;
use crate::ttl::{Expiry, Swept, Ttl};
use crate::{Error, Result};
use millpond_serializer::{ByteReader, FlinkKey, Incompatibility, Namespace};
use millpond_snapshot::StateMeta;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

/// The values of one state, in a cache above a column of a store.
pub(crate) struct CachedTable<K, N, C: OneEntry> {
    meta: StateMeta,
    /// The namespace of all values, if its type has but one.
    only_namespace: Option<N>,
    migrations: Rc<StateMigrations>,
    /// Reads what the store holds.
    own: C::Reader,
    /// Reads the values of the handle that is being restored.
    reader: RefCell<C::Reader>,
    context: Rc<KeyContext<K>>,
    stored: Rc<Stored>,
    column: Column,
    cache: Cache<K, N, Option<C::Value>>,
    ttl: Option<Ttl>,
    /// Whether lists were read since records were looked at ahead: those are worth looking up.
    is_read: Cell<bool>,
    /// A key on its way to the store.
    key: RefCell<Vec<u8>>,
    /// What is being restored.
    restored: RefCell<WriteBatch>,
}

impl<K: FlinkKey, N: Namespace, C: OneEntry> CachedTable<K, N, C> {
    /// Returns the table of a state; its column is opened, and may hold what was restored.
    ///
    /// # Errors
    ///
    /// Storage.
    pub(crate) fn open(
        meta: StateMeta,
        namespace: &N,
        migrations: Rc<StateMigrations>,
        context: Rc<KeyContext<K>>,
        stored: Rc<Stored>,
        ttl: Option<Ttl>,
    ) -> Result<Self> {
        let filter = ttl.as_ref().map(filter::<C>);
        let column = stored.open(&meta, filter)?;
        Ok(CachedTable {
            meta,
            only_namespace: (size_of::<N>() == 0).then(|| namespace.clone()),
            migrations,
            own: C::as_is(),
            reader: RefCell::new(C::as_is()),
            context,
            cache: Cache::new(stored.groups(), 0, Rc::clone(stored.budget())),
            stored,
            column,
            ttl,
            is_read: Cell::new(false),
            key: RefCell::default(),
            restored: RefCell::default(),
        })
    }

    fn decode(&self, bytes: &[u8]) -> C::Value {
        if std::mem::needs_drop::<C::Value>() {
            average(&self.cache.owned, bytes.len());
        }
        let mut value = None;
        let nothing = &mut ByteReader::new(&[]);
        match C::read(&self.own, nothing, &mut ByteReader::new(bytes), &mut value) {
            Ok(()) => value.expect("an entry is a value"),
            Err(error) => self.column.damaged(&error),
        }
    }

    /// Reads the value of a key from the store.
    #[cold]
    fn load(&self, group: usize, probe: Probe<'_, K, N>) -> Option<C::Value> {
        let mut key = self.key.borrow_mut();
        key.clear();
        self.column
            .put_head(group, probe.key, probe.namespace, &mut key);
        self.column.get(&key).map(|bytes| self.decode(&bytes))
    }

    /// Has the whole list of a key known, if only a tail is; returns it if it cannot be remembered.
    #[inline]
    fn know_whole(&self, group: usize, probe: Probe<'_, K, N>) -> Option<Option<C::Value>> {
        if !C::HAS_ELEMENTS {
            return None;
        }
        self.is_read.set(true);
        let tail = self.cache.tail(group, probe)?;
        self.stored.write_back().wait();
        let mut list = self.load(group, probe);
        if let Some(Some(tail)) = tail {
            match &mut list {
                Some(list) => C::join(list, &tail),
                None => list = Some(tail),
            }
        }
        self.cache.settle(group, probe, list).err()
    }

    /// Calls `visit` for each entry, after all changes are written back.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(&K, &N, &C::Value)) {
        self.write_back_now();
        self.column.scan_groups(self.stored.groups(), |key, value| {
            let (key, namespace) = read_head::<K, N>(&mut ByteReader::new(key))?;
            visit(&key, &namespace, &self.decode(value));
            Ok(())
        });
    }

    fn write_back_now(&self) {
        if let Some(changes) = self.seal() {
            self.stored.write_back().write(changes);
        }
        self.stored.write_back().wait();
    }
}

impl<K: FlinkKey, N: Namespace, C: OneEntry> Cells<N, C::Value> for CachedTable<K, N, C> {
    fn get(&self, namespace: &N) -> Option<C::Value> {
        self.context.with(namespace, |group, probe| {
            if let Some(list) = self.know_whole(group, probe) {
                return list;
            }
            let load = || (self.load(group, probe), 0);
            self.cache.read(group, probe, load, Option::clone)
        })
    }

    fn read(&self, namespace: &N, read: &mut dyn FnMut(Option<&C::Value>)) {
        self.context.with(namespace, |group, probe| {
            if let Some(list) = self.know_whole(group, probe) {
                return read(list.as_ref());
            }
            let load = || (self.load(group, probe), 0);
            self.cache
                .read(group, probe, load, |value| read(value.as_ref()));
        });
    }

    fn put(&self, namespace: &N, value: C::Value) {
        self.context.with(namespace, |group, probe| {
            // What was there before does not matter.
            self.cache.modify(
                group,
                probe,
                || None,
                |_| 0,
                |slot| {
                    *slot = Some(value);
                    true
                },
            );
        });
    }

    fn remove(&self, namespace: &N) {
        self.context.with(namespace, |group, probe| {
            self.cache.modify(
                group,
                probe,
                || None,
                |_| 0,
                |slot| {
                    *slot = None;
                    true
                },
            );
        });
    }

    fn modify(
        &self,
        namespace: &N,
        change: &mut dyn FnMut(Option<&mut C::Value>) -> Change<C::Value>,
    ) {
        self.update_slot(namespace, |slot| {
            let existed = slot.is_some();
            match change(slot.as_mut()) {
                Change::Keep => existed,
                Change::Set(value) => {
                    *slot = Some(value);
                    true
                }
                Change::Remove => {
                    *slot = None;
                    existed
                }
            }
        });
    }

    fn append(
        &self,
        namespace: &N,
        extend: &mut dyn FnMut(Option<&mut C::Value>) -> Change<C::Value>,
    ) {
        self.context.with(namespace, |group, probe| {
            self.cache.append(
                group,
                probe,
                || None,
                |list| match extend(list.as_mut()) {
                    Change::Keep => {}
                    Change::Set(elements) => *list = Some(elements),
                    Change::Remove => unreachable!("elements are added"),
                },
            );
        });
    }

    fn update_with(&self, namespace: &N, change: &mut dyn FnMut(&mut Option<C::Value>)) {
        self.update_slot(namespace, |slot| {
            let existed = slot.is_some();
            change(slot);
            existed || slot.is_some()
        });
    }
}

impl<K: FlinkKey, N: Namespace, C: OneEntry> CachedTable<K, N, C> {
    #[inline]
    fn update_slot(&self, namespace: &N, change: impl FnOnce(&mut Option<C::Value>) -> bool) {
        self.context.with(namespace, |group, probe| {
            // What is changed is not looked at: it is remembered.
            let _ = self.know_whole(group, probe);
            let load = || self.load(group, probe);
            self.cache.modify(group, probe, load, |_| 0, change);
        });
    }
}

impl<K: FlinkKey, N: Namespace, C: OneEntry> CleanCells<N, C::Value> for CachedTable<K, N, C> {
    fn clean(&self) {}

    fn is_being_read(&self) -> bool {
        self.cache.is_being_read()
    }
}

impl<K: FlinkKey, N: Namespace, C: OneEntry> RegisteredState<K> for CachedTable<K, N, C> {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn for_each_key(&self, visit: &mut dyn FnMut(&K)) {
        self.for_each(|key, _, _| visit(key));
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
        self.write_back_now();
        self.column.scan_groups(self.stored.groups(), |_, _| {
            entries += 1;
            Ok(())
        });
        entries
    }

    fn allocated_bytes(&self) -> usize {
        self.cache.allocated_bytes()
    }

    fn freeze(&self) -> Box<dyn FrozenState> {
        let ttl = self.ttl.as_ref().filter(|ttl| ttl.cleans_snapshots());
        let filter = ttl.map(|ttl| {
            let expiry = ttl.expiry();
            filter_by::<C>(move || expiry)
        });
        Box::new(StoredState::new(self.stored.image(), &self.column, filter))
    }

    fn maintain(&self, budget: &mut usize) -> bool {
        self.cache.maintain(budget)
    }

    fn is_large(&self) -> bool {
        self.only_namespace.is_some()
    }

    fn touch(&self, keys: &[Touch<'_, K>]) -> usize {
        let Some(namespace) = &self.only_namespace else {
            return 0;
        };
        if C::HAS_ELEMENTS && !self.is_read.replace(false) {
            return 0;
        }
        let mut unknown: Vec<usize> = Vec::new();
        let mut heads = Keys::new();
        for (at, touch) in keys.iter().enumerate() {
            if !self.cache.knows(touch.group, probe_of(touch, namespace)) {
                unknown.push(at);
                heads.push(|out| self.column.put_head(touch.group, touch.key, namespace, out));
            }
        }
        if unknown.is_empty() {
            return keys.len();
        }
        let mut order: Vec<usize> = (0..unknown.len()).collect();
        order.sort_unstable_by(|a, b| heads.get(*a).cmp(heads.get(*b)));
        order.dedup_by(|a, b| heads.get(*a) == heads.get(*b));
        let mut sorted = Keys::new();
        for at in &order {
            sorted.push(|out| out.extend_from_slice(heads.get(*at)));
        }
        self.column.multi_get(&sorted, &mut |at, value| {
            let touch = &keys[unknown[order[at]]];
            let value = value.map(|bytes| self.decode(bytes));
            self.cache
                .learn(touch.group, probe_of(touch, namespace), value);
        });
        keys.len() - order.len()
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
        let reader = &*self.reader.borrow();
        let (key, namespace) = read_head::<K, N>(key)?;
        let mut decoded = None;
        C::read(reader, &mut ByteReader::new(&[]), value, &mut decoded)?;
        if let Some(value) = decoded {
            self.restored.borrow_mut().put(
                |out| self.column.put_head(group, &key, &namespace, out),
                |out| C::put(&value, out),
            );
        }
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
        Some(Box::new(TableChanges::<K, N, C> {
            sealed,
            state: self.meta.name.clone(),
            column: self.column.clone(),
            owned: self.cache.owned(),
            expiry: self.ttl.as_ref().map(Ttl::expiry),
        }))
    }

    fn cached_bytes(&self) -> usize {
        self.cache.bytes()
    }

    fn forget(&self, steps: &mut usize) {
        self.cache.forget(steps, |_| 0, |_| false);
    }
}

#[inline]
fn probe_of<'a, K, N>(touch: &Touch<'a, K>, namespace: &'a N) -> Probe<'a, K, N> {
    Probe {
        hash: touch.hash,
        key: touch.key,
        namespace,
    }
}

/// What was changed in one epoch.
struct TableChanges<K, N, C: OneEntry> {
    sealed: Sealed<K, N, Option<C::Value>>,
    state: String,
    column: Column,
    owned: Arc<AtomicUsize>,
    expiry: Option<Expiry>,
}

impl<K: FlinkKey, N: Namespace, C: OneEntry> Changes for TableChanges<K, N, C> {
    fn state(&self) -> &str {
        &self.state
    }

    fn groups(&self) -> usize {
        self.sealed.groups.len()
    }

    fn take_group(&mut self, group: usize, batch: &mut WriteBatch) -> Result<()> {
        let (column, owned, expiry) = (&self.column, &self.owned, self.expiry);
        self.sealed.take_group(group, |key, namespace, slot| {
            let head = |out: &mut Vec<u8>| column.put_head(group, key, namespace, out);
            let Some(value) = &slot.value else {
                batch.delete(head);
                return Ok(());
            };
            let before = batch.bytes();
            let left = expiry.map_or(Swept::All, |expiry| C::sweep(value, expiry));
            let left = match &left {
                Swept::All => Some(value),
                Swept::Part(value) => Some(value),
                Swept::Nothing => None,
            };
            match left {
                Some(value) if slot.is_tail() => batch.append(head, |out| C::put(value, out)),
                Some(value) => batch.put(head, |out| C::put(value, out)),
                None if slot.is_tail() => return Ok(()),
                None => batch.delete(head),
            }
            if std::mem::needs_drop::<C::Value>() || std::mem::needs_drop::<K>() {
                average(owned, batch.bytes() - before);
            }
            Ok::<(), Error>(())
        })
    }

    fn column(&self) -> &Column {
        &self.column
    }

    fn written(&mut self) {
        self.sealed.written();
    }
}

/// What is left of stored values with time-to-live.
fn filter<C: OneEntry>(ttl: &Ttl) -> StoredFilter {
    let ttl = ttl.clone();
    filter_by::<C>(move || ttl.expiry())
}

fn filter_by<C: OneEntry>(expiry: impl Fn() -> Expiry + Send + Sync + 'static) -> StoredFilter {
    Arc::new(move |bytes| {
        let mut value = None;
        let nothing = &mut ByteReader::new(&[]);
        let read = C::read(
            &C::as_is(),
            nothing,
            &mut ByteReader::new(bytes),
            &mut value,
        );
        // What cannot be read is for the function to find out that reads it.
        let (Ok(()), Some(value)) = (read, value) else {
            return Filtered::Keep;
        };
        match C::sweep(&value, expiry()) {
            Swept::All => Filtered::Keep,
            Swept::Nothing => Filtered::Remove,
            Swept::Part(left) => {
                let mut bytes = Vec::new();
                C::put(&left, &mut bytes);
                Filtered::Replace(bytes)
            }
        }
    })
}
