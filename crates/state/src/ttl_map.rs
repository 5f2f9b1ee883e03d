//! The entries of a map state with time-to-live: each user key lives by itself.

use crate::map_cells::MapCells;
use crate::table::Change;
use crate::ttl::Ttl;
use millpond_serializer::{FlinkType, Namespace, TtlValue};
use std::rc::Rc;

/// Maps whose values carry the time at which they were last used.
pub(crate) struct TtlMaps<UK: FlinkType + Ord, UV: FlinkType, N> {
    cells: Rc<dyn MapCells<N, UK, TtlValue<UV>>>,
    ttl: Ttl,
}

impl<UK: FlinkType + Ord, UV: FlinkType, N: Namespace> TtlMaps<UK, UV, N> {
    pub(crate) fn new(cells: Rc<dyn MapCells<N, UK, TtlValue<UV>>>, ttl: Ttl) -> Self {
        TtlMaps { cells, ttl }
    }

    /// Lets `read` look at the value of a user key that can be seen.
    pub(crate) fn read(&self, namespace: &N, key: &UK, read: &mut dyn FnMut(&UV)) {
        let expiry = self.ttl.expiry();
        let (mut is_over, mut renew) = (false, false);
        let is_nested = self.cells.is_being_read();
        self.cells.read(namespace, key, &mut |value| {
            if let Some(value) = value {
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
            self.cells
                .modify(namespace, key.clone(), &mut |value| match value {
                    Some(_) if is_over => Change::Remove,
                    Some(value) => {
                        value.last_access = expiry.now_ms();
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
        self.cells.modify(namespace, key, &mut |found| {
            let existed = found.is_some();
            let mut value = found
                .filter(|value| self.ttl.shows_expired() || !expiry.is_over(value.last_access))
                .map(|value| value.value.clone());
            change(&mut value);
            match value {
                Some(value) => Change::Set(expiry.fresh(value)),
                None if existed => Change::Remove,
                None => Change::Keep,
            }
        });
        self.cells.clean();
    }

    /// Calls `visit` for each entry that can be seen; what has expired goes, and so does what
    /// `visit` does not keep.
    pub(crate) fn retain(&self, namespace: &N, visit: &mut dyn FnMut(&UK, &UV) -> bool) {
        let expiry = self.ttl.expiry();
        let mut edits = Vec::new();
        let is_nested = self.cells.is_being_read();
        self.cells.visit(namespace, &mut |key, value| {
            let is_over = expiry.is_over(value.last_access);
            let is_seen = !is_over || self.ttl.shows_expired();
            let keeps = !is_seen || visit(key, &value.value);
            if is_over || !keeps {
                edits.push((key.clone(), None));
            } else if self.ttl.renews_on_read() && value.last_access != expiry.now_ms() {
                edits.push((key.clone(), Some(expiry.fresh(value.value.clone()))));
            }
            true
        });
        // A look within a look changes nothing; the one further out will.
        if is_nested {
            return;
        }
        self.cells.apply(namespace, edits);
        self.cells.clean();
    }

    pub(crate) fn clear(&self, namespace: &N) {
        self.cells.clear(namespace);
        self.cells.clean();
    }
}
