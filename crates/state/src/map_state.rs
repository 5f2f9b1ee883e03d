//! Map state: user keys and user values per key.

use crate::map_cells::MapCells;
use crate::table::Change;
use crate::ttl_map::TtlMaps;
use millpond_serializer::{FlinkType, Namespace, VoidNamespace};
use std::fmt;
use std::rc::Rc;

/// A map for the current key, in the order of its user keys; an empty map and none are the same.
///
/// Above a store, a map of more than 4,096 user keys is not held whole: it is visited in the order of
/// the stored bytes.
///
/// # Panics
///
/// All methods panic where there is no current key, as in `open`.
pub struct MapState<UK: FlinkType + Ord, UV: FlinkType, N = VoidNamespace> {
    maps: Maps<UK, UV, N>,
    namespace: N,
}

enum Maps<UK: FlinkType + Ord, UV: FlinkType, N> {
    Plain(Rc<dyn MapCells<N, UK, UV>>),
    Ttl(TtlMaps<UK, UV, N>),
}

impl<UK: FlinkType + Ord, UV: FlinkType, N: Namespace> MapState<UK, UV, N> {
    pub(crate) fn new(cells: Rc<dyn MapCells<N, UK, UV>>, namespace: N) -> Self {
        MapState {
            maps: Maps::Plain(cells),
            namespace,
        }
    }

    pub(crate) fn with_ttl(maps: TtlMaps<UK, UV, N>, namespace: N) -> Self {
        MapState {
            maps: Maps::Ttl(maps),
            namespace,
        }
    }

    /// Chooses the namespace that all other methods work in.
    pub fn set_namespace(&mut self, namespace: N) {
        self.namespace = namespace;
    }

    /// Lets `read` look at the value of a user key, if it has one.
    fn read(&self, key: &UK, read: &mut dyn FnMut(&UV)) {
        match &self.maps {
            Maps::Plain(cells) => cells.read(&self.namespace, key, &mut |value| {
                if let Some(value) = value {
                    read(value);
                }
            }),
            Maps::Ttl(maps) => maps.read(&self.namespace, key, read),
        }
    }

    /// Returns a copy of the value of a user key.
    pub fn get(&self, key: &UK) -> Option<UV> {
        let mut found = None;
        self.read(key, &mut |value| found = Some(value.clone()));
        found
    }

    /// Whether the user key has a value.
    pub fn contains(&self, key: &UK) -> bool {
        let mut found = false;
        self.read(key, &mut |_| found = true);
        found
    }

    /// Sets the value of a user key.
    pub fn put(&mut self, key: UK, value: UV) {
        let cells = match &self.maps {
            Maps::Plain(cells) => cells,
            Maps::Ttl(maps) => {
                let mut value = Some(value);
                return maps.update_with(&self.namespace, key, &mut |slot| *slot = value.take());
            }
        };
        let mut value = Some(value);
        cells.modify(
            &self.namespace,
            key,
            &mut |slot| match (slot, value.take()) {
                (Some(slot), Some(value)) => {
                    *slot = value;
                    Change::Keep
                }
                (None, Some(value)) => Change::Set(value),
                (_, None) => Change::Keep,
            },
        );
    }

    /// Sets the values of several user keys.
    pub fn put_all(&mut self, entries: impl IntoIterator<Item = (UK, UV)>) {
        entries
            .into_iter()
            .for_each(|(key, value)| self.put(key, value));
    }

    /// Lets `change` set, change or take the value of a user key.
    pub fn update_with<R>(&mut self, key: UK, change: impl FnOnce(&mut Option<UV>) -> R) -> R {
        let mut change = Some(change);
        let mut result = None;
        let mut change = |value: &mut Option<UV>| {
            result = change.take().map(|change| change(value));
        };
        match &self.maps {
            Maps::Plain(cells) => cells.modify(&self.namespace, key, &mut |slot| {
                let existed = slot.is_some();
                let mut value = slot.cloned();
                change(&mut value);
                match value {
                    Some(value) => Change::Set(value),
                    None if existed => Change::Remove,
                    None => Change::Keep,
                }
            }),
            Maps::Ttl(maps) => maps.update_with(&self.namespace, key, &mut change),
        }
        result.expect("a value is changed once")
    }

    /// Removes a user key.
    pub fn remove(&mut self, key: &UK) {
        match &self.maps {
            Maps::Plain(cells) => {
                cells.modify(&self.namespace, key.clone(), &mut |value| match value {
                    Some(_) => Change::Remove,
                    None => Change::Keep,
                })
            }
            Maps::Ttl(maps) => {
                maps.update_with(&self.namespace, key.clone(), &mut |value| *value = None)
            }
        }
    }

    /// Removes the user keys that `keep` refuses; asks in the order of the user keys.
    pub fn retain(&mut self, mut keep: impl FnMut(&UK, &UV) -> bool) {
        match &self.maps {
            Maps::Plain(cells) => {
                let mut refused = Vec::new();
                cells.visit(&self.namespace, &mut |key, value| {
                    if !keep(key, value) {
                        refused.push((key.clone(), None));
                    }
                    true
                });
                cells.apply(&self.namespace, refused);
            }
            Maps::Ttl(maps) => maps.retain(&self.namespace, &mut keep),
        }
    }

    /// Calls `visit` for each entry without a copy, in the order of the user keys.
    pub fn for_each(&self, mut visit: impl FnMut(&UK, &UV)) {
        match &self.maps {
            Maps::Plain(cells) => cells.visit(&self.namespace, &mut |key, value| {
                visit(key, value);
                true
            }),
            Maps::Ttl(maps) => maps.retain(&self.namespace, &mut |key, value| {
                visit(key, value);
                true
            }),
        }
    }

    /// Returns a copy of the entries, in the order of the user keys.
    pub fn entries(&self) -> Vec<(UK, UV)> {
        let mut entries = Vec::new();
        self.for_each(|key, value| entries.push((key.clone(), value.clone())));
        entries
    }

    /// Returns a copy of the user keys, in order.
    pub fn keys(&self) -> Vec<UK> {
        let mut keys = Vec::new();
        self.for_each(|key, _| keys.push(key.clone()));
        keys
    }

    /// Returns a copy of the values, in the order of the user keys.
    pub fn values(&self) -> Vec<UV> {
        let mut values = Vec::new();
        self.for_each(|_, value| values.push(value.clone()));
        values
    }

    /// How many user keys there are.
    pub fn len(&self) -> usize {
        match &self.maps {
            Maps::Plain(cells) => cells.len(&self.namespace),
            Maps::Ttl(_) => {
                let mut len = 0;
                self.for_each(|_, _| len += 1);
                len
            }
        }
    }

    /// Whether there is no user key.
    pub fn is_empty(&self) -> bool {
        match &self.maps {
            Maps::Plain(cells) => {
                let mut is_empty = true;
                cells.visit(&self.namespace, &mut |_, _| {
                    is_empty = false;
                    false
                });
                is_empty
            }
            Maps::Ttl(_) => self.len() == 0,
        }
    }

    /// Removes all user keys.
    pub fn clear(&mut self) {
        match &self.maps {
            Maps::Plain(cells) => cells.clear(&self.namespace),
            Maps::Ttl(maps) => maps.clear(&self.namespace),
        }
    }
}

impl<UK: FlinkType + Ord, UV: FlinkType, N> fmt::Debug for MapState<UK, UV, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapState").finish_non_exhaustive()
    }
}
