//! Broadcast state: a map of the subtask that is the same in all subtasks.
//!
//! It is the same because every subtask hears the same broadcast records in some order and changes
//! the map by these alone. So a function gets it in two forms: to read, where it processes records
//! of its other input, and to write, where it processes broadcast records.

use crate::migration::StateMigrations;
use crate::operator_state::{EncodedList, RegisteredList};
use millpond_serializer::{
    ByteReader, ByteWriter, Compatibility, FlinkType, Incompatibility, Reader,
};
use millpond_snapshot::{DistributionMode, StateMeta};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

/// The map with its description.
pub(crate) struct BroadcastMap<K, V> {
    meta: StateMeta,
    migrations: Rc<StateMigrations>,
    /// Read the entries of the handle that is being restored.
    readers: RefCell<(Reader<K>, Reader<V>)>,
    entries: RefCell<BTreeMap<K, V>>,
}

impl<K: FlinkType + Ord, V: FlinkType> BroadcastMap<K, V> {
    pub(crate) fn new(name: &str, migrations: Rc<StateMigrations>) -> Self {
        let (key, value) = (K::serializer_snapshot(), V::serializer_snapshot());
        BroadcastMap {
            meta: StateMeta::broadcast(name, key, value),
            migrations,
            readers: RefCell::new((Reader::as_is(), Reader::as_is())),
            entries: RefCell::default(),
        }
    }
}

impl<K: FlinkType + Ord, V: FlinkType> RegisteredList for BroadcastMap<K, V> {
    fn meta(&self) -> &StateMeta {
        &self.meta
    }

    fn mode(&self) -> DistributionMode {
        DistributionMode::Broadcast
    }

    fn prepare(
        &self,
        previous: &StateMeta,
    ) -> std::result::Result<std::result::Result<(), Incompatibility>, millpond_snapshot::Error>
    {
        let (key, value) = (previous.key_serializer()?, previous.value_serializer()?);
        let readers = || {
            if K::resolve(key) == Compatibility::AfterMigration {
                let was = key.describe();
                let reason = format!("was {was} with other parts; keys do not migrate");
                return Err(Incompatibility::new(reason).within("key"));
            }
            let key = K::reader(key).map_err(|why| why.within("key"))?;
            let value = self.migrations.reader(value);
            Ok((key, value.map_err(|why| why.within("value"))?))
        };
        Ok(readers().map(|readers| *self.readers.borrow_mut() = readers))
    }

    fn encode(&self) -> EncodedList {
        let entries = self.entries.borrow();
        let mut bytes = Vec::new();
        bytes.put_count(entries.len());
        for (key, value) in entries.iter() {
            key.write(&mut bytes);
            value.write(&mut bytes);
        }
        EncodedList {
            meta: self.meta.clone(),
            mode: DistributionMode::Broadcast,
            ends: vec![bytes.len()],
            bytes,
        }
    }

    fn restore(
        &self,
        elements: &EncodedList,
    ) -> std::result::Result<(), millpond_serializer::Error> {
        let mut entries = self.entries.borrow_mut();
        let (keys, values) = &*self.readers.borrow();
        for element in elements.elements() {
            let mut input = ByteReader::new(element);
            for _ in 0..input.count(2)? {
                let key = keys.read(&mut input)?;
                entries.insert(key, values.read(&mut input)?);
            }
        }
        Ok(())
    }
}

/// A map that every subtask has, to be changed by broadcast records alone.
///
/// Its order is that of the keys.
pub struct BroadcastState<K, V> {
    map: Rc<BroadcastMap<K, V>>,
}

impl<K: FlinkType + Ord, V: FlinkType> BroadcastState<K, V> {
    pub(crate) fn new(map: Rc<BroadcastMap<K, V>>) -> Self {
        BroadcastState { map }
    }

    /// The same map, to read.
    pub fn read_only(&self) -> ReadOnlyBroadcastState<K, V> {
        ReadOnlyBroadcastState {
            map: Rc::clone(&self.map),
        }
    }

    /// Returns a copy of the value of a key.
    pub fn get(&self, key: &K) -> Option<V> {
        self.map.entries.borrow().get(key).cloned()
    }

    /// Whether the key has a value.
    pub fn contains(&self, key: &K) -> bool {
        self.map.entries.borrow().contains_key(key)
    }

    /// Calls `visit` for each entry, in the order of the keys.
    pub fn for_each(&self, mut visit: impl FnMut(&K, &V)) {
        let entries = self.map.entries.borrow();
        entries.iter().for_each(|(key, value)| visit(key, value));
    }

    /// Returns a copy of the entries, in the order of the keys.
    pub fn entries(&self) -> Vec<(K, V)> {
        let mut entries = Vec::new();
        self.for_each(|key, value| entries.push((key.clone(), value.clone())));
        entries
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.map.entries.borrow().len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sets the value of a key; returns the one that it had.
    pub fn put(&mut self, key: K, value: V) -> Option<V> {
        self.map.entries.borrow_mut().insert(key, value)
    }

    /// Removes a key; returns the value that it had.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.map.entries.borrow_mut().remove(key)
    }

    /// Removes all entries.
    pub fn clear(&mut self) {
        self.map.entries.borrow_mut().clear();
    }
}

impl<K, V> Clone for BroadcastState<K, V> {
    fn clone(&self) -> Self {
        BroadcastState {
            map: Rc::clone(&self.map),
        }
    }
}

impl<K, V> fmt::Debug for BroadcastState<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BroadcastState").finish_non_exhaustive()
    }
}

/// A broadcast state where it may only be read.
pub struct ReadOnlyBroadcastState<K, V> {
    map: Rc<BroadcastMap<K, V>>,
}

impl<K: FlinkType + Ord, V: FlinkType> ReadOnlyBroadcastState<K, V> {
    /// Returns a copy of the value of a key.
    pub fn get(&self, key: &K) -> Option<V> {
        self.map.entries.borrow().get(key).cloned()
    }

    /// Whether the key has a value.
    pub fn contains(&self, key: &K) -> bool {
        self.map.entries.borrow().contains_key(key)
    }

    /// Calls `visit` for each entry, in the order of the keys.
    pub fn for_each(&self, mut visit: impl FnMut(&K, &V)) {
        let entries = self.map.entries.borrow();
        entries.iter().for_each(|(key, value)| visit(key, value));
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.map.entries.borrow().len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K, V> fmt::Debug for ReadOnlyBroadcastState<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadOnlyBroadcastState")
            .finish_non_exhaustive()
    }
}
