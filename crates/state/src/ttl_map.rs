//! The entries of a map state with time-to-live: each user key lives by itself.

use crate::keyed_table::CleanCells;
use crate::map_value::MapValue;
use crate::table::Change;
use crate::ttl::Ttl;
use millpond_serializer::{FlinkType, Namespace, TtlValue};
use std::rc::Rc;

type Map<UK, UV> = MapValue<UK, TtlValue<UV>>;

/// Maps whose values carry the time at which they were last used.
pub(crate) struct TtlMaps<UK: FlinkType + Ord, UV: FlinkType, N> {
    cells: Rc<dyn CleanCells<N, Map<UK, UV>>>,
    ttl: Ttl,
}

impl<UK: FlinkType + Ord, UV: FlinkType, N: Namespace> TtlMaps<UK, UV, N> {
    pub(crate) fn new(cells: Rc<dyn CleanCells<N, Map<UK, UV>>>, ttl: Ttl) -> Self {
        TtlMaps { cells, ttl }
    }

    /// Lets `read` look at the value of a user key that can be seen.
    pub(crate) fn read(&self, namespace: &N, key: &UK, read: &mut dyn FnMut(&UV)) {
        let expiry = self.ttl.expiry();
        let (mut is_over, mut renew) = (false, false);
        let is_nested = self.cells.is_being_read();
        self.cells.read(namespace, &mut |map| {
            if let Some(value) = map.and_then(|map| map.get(key)) {
                is_over = expiry.is_over(value.last_access);
                renew =
                    !is_over && self.ttl.renews_on_read() && value.last_access != expiry.now_ms();
                if !is_over || self.ttl.shows_expired() {
                    read(&value.value);
                }
            }
        });
        // A look within a look changes nothing; the one further out will.
        if is_nested {
            return;
        }
        if is_over || renew {
            self.cells.modify(namespace, &mut |map| match map {
                Some(map) if is_over => without(map, key),
                Some(map) => {
                    if let Some(value) = map.get_mut(key) {
                        value.last_access = expiry.now_ms();
                    }
                    Change::Keep
                }
                None => Change::Keep,
            });
        }
        self.cells.clean();
    }

    /// Lets `change` set, change or take the value of a user key.
    pub(crate) fn update_with(
        &self,
        namespace: &N,
        key: UK,
        change: &mut dyn FnMut(&mut Option<UV>),
    ) {
        let expiry = self.ttl.expiry();
        let mut key = Some(key);
        self.cells.modify(namespace, &mut |map| {
            let Some(key) = key.take() else {
                return Change::Keep;
            };
            let found = map.as_ref().and_then(|map| map.get(&key));
            let mut value = found
                .filter(|value| self.ttl.shows_expired() || !expiry.is_over(value.last_access))
                .map(|value| value.value.clone());
            change(&mut value);
            match (map, value) {
                (Some(map), Some(value)) => {
                    map.put(key, expiry.fresh(value));
                    Change::Keep
                }
                (Some(map), None) => without(map, &key),
                (None, Some(value)) => {
                    let mut map = MapValue::new();
                    map.put(key, expiry.fresh(value));
                    Change::Set(map)
                }
                (None, None) => Change::Keep,
            }
        });
        self.cells.clean();
    }

    /// Calls `visit` for each entry that can be seen; what has expired goes, and so does what
    /// `visit` does not keep.
    pub(crate) fn retain(&self, namespace: &N, visit: &mut dyn FnMut(&UK, &UV) -> bool) {
        let expiry = self.ttl.expiry();
        let (mut refused, mut renewed) = (Vec::new(), Vec::new());
        let is_nested = self.cells.is_being_read();
        self.cells.read(namespace, &mut |map| {
            let Some(map) = map else { return };
            map.for_each(|key, value| {
                let is_over = expiry.is_over(value.last_access);
                let is_seen = !is_over || self.ttl.shows_expired();
                let keeps = !is_seen || visit(key, &value.value);
                if is_over || !keeps {
                    refused.push(key.clone());
                } else if self.ttl.renews_on_read() && value.last_access != expiry.now_ms() {
                    renewed.push(key.clone());
                }
            });
        });
        if is_nested {
            return;
        }
        if !refused.is_empty() || !renewed.is_empty() {
            self.cells.modify(namespace, &mut |map| {
                let Some(map) = map else {
                    return Change::Keep;
                };
                for key in &refused {
                    map.remove(key);
                }
                for key in &renewed {
                    if let Some(value) = map.get_mut(key) {
                        value.last_access = expiry.now_ms();
                    }
                }
                match map.is_empty() {
                    true => Change::Remove,
                    false => Change::Keep,
                }
            });
        }
        self.cells.clean();
    }

    pub(crate) fn clear(&self, namespace: &N) {
        self.cells.remove(namespace);
        self.cells.clean();
    }
}

/// Removes a user key, and the map with its last one.
fn without<UK: FlinkType + Ord, UV: FlinkType>(
    map: &mut Map<UK, UV>,
    key: &UK,
) -> Change<Map<UK, UV>> {
    map.remove(key);
    match map.is_empty() {
        true => Change::Remove,
        false => Change::Keep,
    }
}
