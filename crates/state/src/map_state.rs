//! Map state: user keys and user values per key.

use crate::keyed_table::Cells;
use crate::map_value::MapValue;
use crate::table::Change;
use crate::ttl_map::TtlMaps;
use millpond_serializer::{FlinkType, Namespace, VoidNamespace};
use std::fmt;
use std::rc::Rc;

/// A map for the current key, in the order of its user keys; an empty map and none are the same.
///
/// # Panics
///
/// All methods panic where there is no current key, as in `open`.
pub struct MapState<UK: FlinkType + Ord, UV: FlinkType, N = VoidNamespace> {
    maps: Maps<UK, UV, N>,
    namespace: N,
}

enum Maps<UK: FlinkType + Ord, UV: FlinkType, N> {
    Plain(Rc<dyn Cells<N, MapValue<UK, UV>>>),
    Ttl(TtlMaps<UK, UV, N>),
}

impl<UK: FlinkType + Ord, UV: FlinkType, N: Namespace> MapState<UK, UV, N> {
    pub(crate) fn new(cells: Rc<dyn Cells<N, MapValue<UK, UV>>>, namespace: N) -> Self {
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
            Maps::Plain(cells) => cells.read(&self.namespace, &mut |map| {
                if let Some(value) = map.and_then(|map| map.get(key)) {
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
        let mut entry = Some((key, value));
        cells.modify(&self.namespace, &mut |map| {
            let Some((key, value)) = entry.take() else {
                return Change::Keep;
            };
            match map {
                Some(map) => {
                    map.put(key, value);
                    Change::Keep
                }
                None => {
                    let mut map = MapValue::new();
                    map.put(key, value);
                    Change::Set(map)
                }
            }
        });
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
            Maps::Plain(cells) => update(&**cells, &self.namespace, key, &mut change),
            Maps::Ttl(maps) => maps.update_with(&self.namespace, key, &mut change),
        }
        result.expect("a value is changed once")
    }

    /// Removes a user key.
    pub fn remove(&mut self, key: &UK) {
        match &self.maps {
            Maps::Plain(cells) => cells.modify(&self.namespace, &mut |map| match map {
                Some(map) => remove(map, key),
                None => Change::Keep,
            }),
            Maps::Ttl(maps) => {
                maps.update_with(&self.namespace, key.clone(), &mut |value| *value = None)
            }
        }
    }

    /// Removes the user keys that `keep` refuses; asks in the order of the user keys.
    pub fn retain(&mut self, mut keep: impl FnMut(&UK, &UV) -> bool) {
        match &self.maps {
            Maps::Plain(cells) => cells.modify(&self.namespace, &mut |map| match map {
                Some(map) => {
                    map.retain(&mut keep);
                    if map.is_empty() {
                        Change::Remove
                    } else {
                        Change::Keep
                    }
                }
                None => Change::Keep,
            }),
            Maps::Ttl(maps) => maps.retain(&self.namespace, &mut keep),
        }
    }

    /// Calls `visit` for each entry without a copy, in the order of the user keys.
    pub fn for_each(&self, mut visit: impl FnMut(&UK, &UV)) {
        match &self.maps {
            Maps::Plain(cells) => cells.read(&self.namespace, &mut |map| {
                if let Some(map) = map {
                    map.for_each(&mut visit);
                }
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
        let mut len = 0;
        match &self.maps {
            Maps::Plain(cells) => cells.read(&self.namespace, &mut |map| {
                len = map.map_or(0, MapValue::len);
            }),
            Maps::Ttl(_) => self.for_each(|_, _| len += 1),
        }
        len
    }

    /// Whether there is no user key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes all user keys.
    pub fn clear(&mut self) {
        match &self.maps {
            Maps::Plain(cells) => cells.remove(&self.namespace),
            Maps::Ttl(maps) => maps.clear(&self.namespace),
        }
    }
}

/// Lets `change` set, change or take the value of a user key.
fn update<UK: FlinkType + Ord, UV: FlinkType, N>(
    cells: &dyn Cells<N, MapValue<UK, UV>>,
    namespace: &N,
    key: UK,
    change: &mut dyn FnMut(&mut Option<UV>),
) {
    let mut key = Some(key);
    cells.modify(namespace, &mut |map| {
        let Some(key) = key.take() else {
            return Change::Keep;
        };
        let mut value = map.as_ref().and_then(|map| map.get(&key).cloned());
        change(&mut value);
        match (map, value) {
            (Some(map), Some(value)) => match map.get_mut(&key) {
                Some(slot) => {
                    *slot = value;
                    Change::Keep
                }
                None => {
                    map.put(key, value);
                    Change::Keep
                }
            },
            (Some(map), None) => remove(map, &key),
            (None, Some(value)) => {
                let mut map = MapValue::new();
                map.put(key, value);
                Change::Set(map)
            }
            (None, None) => Change::Keep,
        }
    });
}

/// Removes a user key, and the map with its last one.
fn remove<UK: FlinkType + Ord, UV: FlinkType>(
    map: &mut MapValue<UK, UV>,
    key: &UK,
) -> Change<MapValue<UK, UV>> {
    map.remove(key);
    if map.is_empty() {
        Change::Remove
    } else {
        Change::Keep
    }
}

impl<UK: FlinkType + Ord, UV: FlinkType, N> fmt::Debug for MapState<UK, UV, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapState").finish_non_exhaustive()
    }
}
