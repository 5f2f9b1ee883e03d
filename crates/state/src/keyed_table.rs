//! One keyed state of one operator: a layered table per key group.

use crate::codec::{Codec, EntrySink, Scratch};
use crate::frozen::FrozenState;
use crate::key_context::KeyContext;
use crate::layered::{FrozenGroup, Layered, Progress};
use crate::registered::{RegisteredState, StateDescription};
use crate::table::Change;
use crate::{Error, Result, hash};
use millpond_serializer::{ByteReader, Compatibility, FlinkKey, FlinkType, Namespace};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// How many groups that a snapshot still reads one call of `maintain` looks at.
const WAITING_GROUPS_PER_CALL: usize = 8;
/// How many groups one call of `maintain` steps over.
const GROUPS_PER_CALL: usize = 256;

/// The values of one state as a handle sees them: those of the current key.
///
/// The key's type is hidden, so that the handles of users do not carry it.
pub(crate) trait Cells<N, V> {
    fn get(&self, namespace: &N) -> Option<V>;
    fn read(&self, namespace: &N, read: &mut dyn FnMut(Option<&V>));
    fn put(&self, namespace: &N, value: V);
    fn remove(&self, namespace: &N);
    fn modify(&self, namespace: &N, change: &mut dyn FnMut(Option<&mut V>) -> Change<V>);
    fn update_with(&self, namespace: &N, change: &mut dyn FnMut(&mut Option<V>));
}

/// The tables of one state.
pub(crate) struct KeyedTable<K, N, C: Codec> {
    description: StateDescription,
    context: Rc<KeyContext<K>>,
    groups: RefCell<Vec<Layered<K, N, C::Value>>>,
    /// How many groups are not one table.
    stacked: Cell<usize>,
    /// Where `maintain` goes on.
    cursor: Cell<usize>,
}

impl<K: FlinkKey, N: Namespace, C: Codec> KeyedTable<K, N, C> {
    pub(crate) fn new(
        description: StateDescription,
        context: Rc<KeyContext<K>>,
        groups: usize,
    ) -> Self {
        KeyedTable {
            description,
            context,
            groups: RefCell::new((0..groups).map(|_| Layered::new()).collect()),
            stacked: Cell::new(0),
            cursor: Cell::new(0),
        }
    }

    /// Calls `visit` for each entry, in no particular order.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(&K, &N, &C::Value)) {
        for group in self.groups.borrow().iter() {
            group.for_each(&mut visit);
        }
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

impl<K: FlinkKey, N: Namespace, C: Codec> RegisteredState<K> for KeyedTable<K, N, C> {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn for_each_key(&self, visit: &mut dyn FnMut(&K)) {
        self.for_each(|key, _, _| visit(key));
    }

    fn description(&self) -> &StateDescription {
        &self.description
    }

    fn resolve(&self, previous: &StateDescription) -> Compatibility {
        let namespace = match &previous.namespace {
            Some(namespace) => N::resolve(namespace),
            None => Compatibility::Incompatible {
                reason: "it has no namespace".to_owned(),
            },
        };
        namespace.and(C::resolve(&previous.value))
    }

    fn entries(&self) -> usize {
        self.groups.borrow().iter().map(Layered::len).sum()
    }

    fn allocated_bytes(&self) -> usize {
        self.groups
            .borrow()
            .iter()
            .map(Layered::allocated_bytes)
            .sum()
    }

    fn freeze(&self) -> Box<dyn FrozenState> {
        let mut groups = self.groups.borrow_mut();
        let frozen = groups.iter_mut().map(Layered::freeze).collect();
        self.stacked
            .set(groups.iter().filter(|group| group.is_stacked()).count());
        // The writer goes upwards from the first group.
        self.cursor.set(0);
        Box::new(FrozenTable::<K, N, C> {
            state: self.description.name.clone(),
            groups: frozen,
        })
    }

    fn maintain(&self, budget: &mut usize) -> bool {
        if self.stacked.get() == 0 {
            return false;
        }
        let mut groups = self.groups.borrow_mut();
        let mut waiting = 0;
        for _ in 0..groups.len().min(GROUPS_PER_CALL) {
            let at = self.cursor.get();
            let group = &mut groups[at];
            if group.is_stacked() {
                match group.maintain(budget) {
                    Progress::Done => self.stacked.set(self.stacked.get() - 1),
                    Progress::Waiting => waiting += 1,
                    Progress::More => return true,
                }
            }
            self.cursor.set((at + 1) % groups.len());
            if waiting == WAITING_GROUPS_PER_CALL || self.stacked.get() == 0 {
                return false;
            }
        }
        // Whether the groups further on can be merged is seen by the next call.
        waiting == 0
    }

    fn reserve(&self, group: usize, additional: usize) {
        self.groups.borrow_mut()[group].reserve(additional);
    }

    fn restore_entry(
        &self,
        group: usize,
        key: &mut ByteReader<'_>,
        value: &mut ByteReader<'_>,
    ) -> std::result::Result<(), millpond_serializer::Error> {
        let restored = K::read(key)?;
        let ambiguous = is_ambiguous::<K, N>();
        if ambiguous {
            skip_length(key, key.position())?;
        }
        let start = key.position();
        let namespace = N::read(key)?;
        if ambiguous {
            skip_length(key, key.position() - start)?;
        }
        let probe = hash::Probe::of(&restored, &namespace);
        let mut outcome = Ok(());
        let groups = &mut self.groups.borrow_mut();
        if std::mem::needs_drop::<C::Value>() {
            groups[group].update_with(probe, |slot| outcome = C::read(key, value, slot));
        } else {
            // A plain value is always one entry: nothing to add to.
            let mut slot = None;
            C::read(key, value, &mut slot)?;
            if let Some(slot) = slot {
                groups[group].put(probe, slot);
            }
        }
        outcome
    }
}

/// Whether key and namespace need their lengths beside them to be told apart.
fn is_ambiguous<K: FlinkType, N: FlinkType>() -> bool {
    K::fixed_length().is_none() && N::fixed_length().is_none()
}

/// Appends a length in base 256, low digit first, in as few bytes as it needs.
fn put_length(out: &mut Vec<u8>, mut length: usize) {
    loop {
        out.push(length as u8);
        length >>= 8;
        if length == 0 {
            return;
        }
    }
}

/// Reads over the length that [`put_length`] wrote.
fn skip_length(
    key: &mut ByteReader<'_>,
    length: usize,
) -> std::result::Result<(), millpond_serializer::Error> {
    let mut expected = Vec::with_capacity(4);
    put_length(&mut expected, length);
    let at = key.offset();
    let found = key.take(expected.len())?;
    if found == expected {
        Ok(())
    } else {
        let expected = format!("length {length}");
        Err(millpond_serializer::Error::corrupt(
            at,
            expected,
            format!("{found:02x?}"),
        ))
    }
}

/// The image of a state at the moment of its freeze.
struct FrozenTable<K, N, C: Codec> {
    state: String,
    groups: Vec<Option<FrozenGroup<K, N, C::Value>>>,
}

impl<K: FlinkKey, N: Namespace, C: Codec> FrozenState for FrozenTable<K, N, C> {
    fn entries(&self) -> usize {
        self.groups.iter().flatten().map(FrozenGroup::len).sum()
    }

    fn has_entries(&self, group: usize) -> bool {
        self.groups[group]
            .as_ref()
            .is_some_and(|group| group.len() > 0)
    }

    fn write_group(&mut self, group: usize, sink: &mut dyn EntrySink) -> Result<u64> {
        // Taken, so that the owner can merge as soon as this group is written.
        let Some(frozen) = self.groups[group].take() else {
            return Ok(0);
        };
        let ambiguous = is_ambiguous::<K, N>();
        let mut scratch = Scratch::default();
        frozen.try_for_each(|key, namespace, value| {
            scratch.key.clear();
            scratch.value.clear();
            key.write(&mut scratch.key);
            if ambiguous {
                let length = scratch.key.len();
                put_length(&mut scratch.key, length);
            }
            let start = scratch.key.len();
            namespace.write(&mut scratch.key);
            if ambiguous {
                let length = scratch.key.len() - start;
                put_length(&mut scratch.key, length);
            }
            C::write(value, &mut scratch, sink)
        })?;
        Ok(frozen.len() as u64)
    }

    fn name(&self) -> &str {
        &self.state
    }
}
