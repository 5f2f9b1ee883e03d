//! One keyed state of one operator: a layered table per key group.

use crate::codec::Codec;
use crate::composite_key::{is_ambiguous, put_with_length, read_head};
use crate::frozen::StateWriter;
use crate::groups::Groups;
use crate::hash;
use crate::image::{FrozenEntries, FrozenState};
use crate::key_context::KeyContext;
use crate::layered::{FrozenGroup, Looked, Place};
use crate::migration::StateMigrations;
use crate::registered::{RegisteredState, Touch};
use crate::table::Change;
use crate::ttl::{Expiry, Swept, Ttl};
use millpond_serializer::{ByteReader, Compatibility, FlinkKey, Incompatibility, Namespace};
use millpond_snapshot::StateMeta;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// How many places of a table a clean-up steps over for each entry that it is to look at.
const STEPS_PER_CLEANED_ENTRY: usize = 8;

/// State up to this size stays in the caches by itself.
const CACHE_BYTES: usize = 1 << 20;

/// The values of one state as a handle sees them: those of the current key.
///
/// The key's type is hidden, so that the handles of users do not carry it.
pub(crate) trait Cells<N, V> {
    fn get(&self, namespace: &N) -> Option<V>;
    fn read(&self, namespace: &N, read: &mut dyn FnMut(Option<&V>));
    fn put(&self, namespace: &N, value: V);
    fn remove(&self, namespace: &N);
    fn modify(&self, namespace: &N, change: &mut dyn FnMut(Option<&mut V>) -> Change<V>);
    /// As `modify`, for lists: `extend` adds elements at the end and leaves all before as they are.
    fn append(&self, namespace: &N, extend: &mut dyn FnMut(Option<&mut V>) -> Change<V>) {
        self.modify(namespace, extend);
    }
    fn update_with(&self, namespace: &N, change: &mut dyn FnMut(&mut Option<V>));
}

/// The values of a state with time-to-live.
pub(crate) trait CleanCells<N, V>: Cells<N, V> {
    /// Looks at some entries and removes what has expired of them.
    fn clean(&self);

    /// Whether a caller further out is looking at a value: nothing may be changed now.
    fn is_being_read(&self) -> bool;
}

/// The tables of one state.
pub(crate) struct KeyedTable<K, N, C: Codec> {
    meta: StateMeta,
    /// The namespace of all values, if its type has but one.
    only_namespace: Option<N>,
    migrations: Rc<StateMigrations>,
    /// Reads the values of the handle that is being restored.
    reader: RefCell<C::Reader>,
    context: Rc<KeyContext<K>>,
    groups: Groups<K, N, C::Value>,
    /// Whether the tables are larger than [`CACHE_BYTES`]; measured by and by.
    large: Cell<bool>,
    ttl: Option<Ttl>,
    /// The group that `clean` looks at, and where in it.
    cleaned: Cell<(usize, Place)>,
}

impl<K: FlinkKey, N: Namespace, C: Codec> KeyedTable<K, N, C> {
    pub(crate) fn new(
        meta: StateMeta,
        namespace: &N,
        migrations: Rc<StateMigrations>,
        context: Rc<KeyContext<K>>,
        groups: usize,
        ttl: Option<Ttl>,
    ) -> Self {
        KeyedTable {
            meta,
            only_namespace: (size_of::<N>() == 0).then(|| namespace.clone()),
            migrations,
            reader: RefCell::new(C::as_is()),
            context,
            groups: Groups::new(groups),
            large: Cell::new(false),
            ttl,
            cleaned: Cell::new((0, Place::default())),
        }
    }

    /// The current key.
    pub(crate) fn context(&self) -> &KeyContext<K> {
        &self.context
    }

    /// How many keys one group has.
    pub(crate) fn entries_of(&self, group: usize) -> usize {
        self.groups.borrow()[group].len()
    }

    /// Removes what has expired of the next entries, and shows `observe` what changes, and in which
    /// group: its position, and how many keys it had.
    pub(crate) fn clean_some(
        &self,
        mut observe: impl FnMut((usize, usize), hash::Probe<'_, K, N>, &C::Value, Option<&C::Value>),
    ) {
        let Some(ttl) = &self.ttl else { return };
        let mut left = ttl.entries_per_access();
        if left == 0 {
            return;
        }
        let expiry = ttl.expiry();
        // Empty places cost something too.
        let mut steps = left * STEPS_PER_CLEANED_ENTRY;
        let mut groups = self.groups.borrow_mut();
        let (mut at, mut place) = self.cleaned.get();
        while left > 0 && steps > 0 {
            steps -= 1;
            let group = (at, groups[at].len());
            let sweep = |value: &C::Value| C::sweep(value, expiry);
            let observe = |probe: hash::Probe<'_, K, N>, before: &_, left: Option<&_>| {
                observe(group, probe, before, left);
            };
            match groups[at].sweep(&mut place, sweep, observe) {
                Looked::Entry => left -= 1,
                Looked::Nothing => {}
                Looked::End => {
                    at = (at + 1) % groups.len();
                    place = Place::default();
                }
            }
        }
        self.cleaned.set((at, place));
    }

    /// Estimates the size of all groups by one of them, another one with every call.
    #[inline]
    fn measure(&self) {
        let all = self.groups.borrow().len();
        let bytes = self.groups.next().estimated_bytes() * all;
        self.large.set(bytes > CACHE_BYTES);
    }

    /// Returns the image of the tables as they are now; copies no entry.
    pub(crate) fn freeze_table(&self) -> FrozenTable<K, N, C> {
        let ttl = self.ttl.as_ref().filter(|ttl| ttl.cleans_snapshots());
        FrozenTable {
            groups: self.groups.freeze(self.context.changed()),
            expiry: ttl.map(Ttl::expiry),
        }
    }

    /// Calls `visit` for each entry, in no particular order.
    pub(crate) fn for_each(&self, visit: impl FnMut(&K, &N, &C::Value)) {
        self.groups.for_each(visit);
    }
}

impl<K: FlinkKey, N: Namespace, C: Codec> Cells<N, C::Value> for KeyedTable<K, N, C> {
    fn get(&self, namespace: &N) -> Option<C::Value> {
        self.context.with(namespace, |group, probe| {
            self.groups.borrow()[group].get(probe).cloned()
        })
    }

    fn read(&self, namespace: &N, read: &mut dyn FnMut(Option<&C::Value>)) {
        self.context.with(namespace, |group, probe| {
            read(self.groups.borrow()[group].get(probe))
        });
    }

    fn put(&self, namespace: &N, value: C::Value) {
        self.context.with(namespace, |group, probe| {
            self.groups.borrow_mut()[group].put(probe, value)
        });
    }

    fn remove(&self, namespace: &N) {
        self.context.with(namespace, |group, probe| {
            self.groups.borrow_mut()[group].remove(probe)
        });
    }

    fn modify(
        &self,
        namespace: &N,
        change: &mut dyn FnMut(Option<&mut C::Value>) -> Change<C::Value>,
    ) {
        self.context.with(namespace, |group, probe| {
            self.groups.borrow_mut()[group].modify(probe, change)
        });
    }

    fn update_with(&self, namespace: &N, change: &mut dyn FnMut(&mut Option<C::Value>)) {
        self.context.with(namespace, |group, probe| {
            self.groups.borrow_mut()[group].update_with(probe, change);
        });
    }
}

impl<K: FlinkKey, N: Namespace, C: Codec> CleanCells<N, C::Value> for KeyedTable<K, N, C> {
    fn clean(&self) {
        self.clean_some(|_, _, _, _| {});
    }

    fn is_being_read(&self) -> bool {
        self.groups.try_borrow_mut().is_none()
    }
}

impl<K: FlinkKey, N: Namespace, C: Codec> RegisteredState<K> for KeyedTable<K, N, C> {
    fn clean(&self) {
        self.clean_some(|_, _, _, _| {});
    }

    fn cleans_on_every_record(&self) -> bool {
        self.ttl.as_ref().is_some_and(Ttl::cleans_on_every_record)
    }

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
        self.groups.entries()
    }

    fn allocated_bytes(&self) -> usize {
        self.groups.allocated_bytes()
    }

    fn freeze(&self) -> Box<dyn FrozenState> {
        Box::new(self.freeze_table())
    }

    fn maintain(&self, budget: &mut usize) -> bool {
        if !self.groups.is_stacked() {
            self.measure();
        }
        self.groups.maintain(budget)
    }

    fn is_large(&self) -> bool {
        self.large.get()
    }

    #[inline]
    fn touch(&self, keys: &[Touch<'_, K>]) -> usize {
        let Some(namespace) = &self.only_namespace else {
            return 0;
        };
        let groups = self.groups.borrow();
        if std::mem::needs_drop::<K>() {
            // An entry only points to its key. To compare them one after the other would wait for
            // the entry, then for the key: so first all entries are found, then all keys are read.
            let found: Vec<&K> = keys
                .iter()
                .filter_map(|touch| groups[touch.group].likely_key(touch.hash))
                .collect();
            return found.into_iter().fold(0, |sum, key| sum ^ key.touch());
        }
        let has_value = |touch: &&Touch<'_, K>| {
            let (hash, key) = (touch.hash, touch.key);
            let probe = hash::Probe {
                hash,
                key,
                namespace,
            };
            groups[touch.group].get(probe).is_some()
        };
        keys.iter().filter(has_value).count()
    }

    fn reserve(&self, group: usize, entries: usize) {
        if C::ONE_ENTRY_PER_KEY {
            self.groups.borrow_mut()[group].reserve(entries);
        }
    }

    fn restore_entry(
        &self,
        group: usize,
        key: &mut ByteReader<'_>,
        value: &mut ByteReader<'_>,
    ) -> std::result::Result<(), millpond_snapshot::Error> {
        let (restored, namespace) = read_head::<K, N>(key)?;
        let probe = hash::Probe::of(&restored, &namespace);
        let mut outcome = Ok(());
        let groups = &mut self.groups.borrow_mut();
        let reader = &*self.reader.borrow();
        if std::mem::needs_drop::<C::Value>() {
            groups[group].update_with(probe, |slot| outcome = C::read(reader, key, value, slot));
        } else {
            // A plain value is always one entry: nothing to add to.
            let mut slot = None;
            C::read(reader, key, value, &mut slot)?;
            if let Some(slot) = slot {
                groups[group].put(probe, slot);
            }
        }
        Ok(outcome?)
    }
}

/// Returns what reads the values of the state that `previous` describes.
///
/// # Errors
///
/// If `previous` lacks a serializer.
pub(crate) fn reader_of<N: Namespace, C: Codec>(
    previous: &StateMeta,
    migrations: &StateMigrations,
    ttl: Option<&Ttl>,
) -> std::result::Result<std::result::Result<C::Reader, Incompatibility>, millpond_snapshot::Error>
{
    if let Err(why) = accept_namespace::<N>(previous)? {
        return Ok(Err(why));
    }
    let now_ms = ttl.map_or(0, |ttl| ttl.expiry().now_ms());
    Ok(C::reader(previous.value_serializer()?, migrations, now_ms))
}

/// Whether the namespaces that `previous` describes can be read.
fn accept_namespace<N: Namespace>(
    previous: &StateMeta,
) -> std::result::Result<std::result::Result<(), Incompatibility>, millpond_snapshot::Error> {
    let namespace = previous.namespace_serializer()?;
    Ok(match N::resolve(namespace) {
        Compatibility::AsIs => Ok(()),
        Compatibility::AfterMigration | Compatibility::Reconfigured => {
            let was = namespace.describe();
            let reason = format!("was {was} with other parts; namespaces do not migrate");
            Err(Incompatibility::new(reason).within("namespace"))
        }
        Compatibility::Incompatible(why) => Err(why.within("namespace")),
    })
}

/// The image of a state at the moment of its freeze.
pub(crate) struct FrozenTable<K, N, C: Codec> {
    pub(crate) groups: Vec<Option<FrozenGroup<K, N, C::Value>>>,
    /// What is left out, if anything is.
    pub(crate) expiry: Option<Expiry>,
}

impl<K: FlinkKey, N: Namespace, C: Codec> FrozenState for FrozenTable<K, N, C> {
    fn take_group(&mut self, group: usize) -> Option<Box<dyn FrozenEntries>> {
        let group = self.groups[group].take()?;
        let expiry = self.expiry;
        Some(Box::new(FrozenTableGroup::<K, N, C> { group, expiry }))
    }
}

/// One key group of the image.
struct FrozenTableGroup<K, N, C: Codec> {
    group: FrozenGroup<K, N, C::Value>,
    expiry: Option<Expiry>,
}

/// Writes what is left of a value once its expired parts are gone.
#[inline]
fn write_unexpired<C: Codec>(
    value: &C::Value,
    expiry: Option<Expiry>,
    head: impl Fn(&mut Vec<u8>),
    writer: &mut StateWriter<'_>,
) -> std::result::Result<(), millpond_snapshot::Error> {
    match expiry.map_or(Swept::All, |expiry| C::sweep(value, expiry)) {
        Swept::All => C::write(value, head, writer),
        Swept::Part(value) => C::write(&value, head, writer),
        Swept::Nothing => Ok(()),
    }
}

impl<K: FlinkKey, N: Namespace, C: Codec> FrozenEntries for FrozenTableGroup<K, N, C> {
    fn write(
        &self,
        writer: &mut StateWriter<'_>,
    ) -> std::result::Result<(), millpond_snapshot::Error> {
        if is_ambiguous::<K, N>() {
            self.group.try_for_each(|key, namespace, value| {
                let head = |out: &mut Vec<u8>| {
                    put_with_length(key, out);
                    put_with_length(namespace, out);
                };
                write_unexpired::<C>(value, self.expiry, head, writer)
            })
        } else {
            self.group.try_for_each(|key, namespace, value| {
                let head = |out: &mut Vec<u8>| {
                    key.write(out);
                    namespace.write(out);
                };
                write_unexpired::<C>(value, self.expiry, head, writer)
            })
        }
    }
}
