//! The elements of a list state with time-to-live.
//!
//! An element that has expired is not seen, but goes only with the last one that has not, or by a
//! clean-up. If reading renews, it goes at once.

use crate::keyed_table::CleanCells;
use crate::list_value::ListValue;
use crate::table::Change;
use crate::ttl::Ttl;
use millpond_serializer::{FlinkType, Namespace, TtlValue};
use std::rc::Rc;

/// Lists whose elements carry the time at which they were last used.
pub(crate) struct TtlLists<T: FlinkType, N> {
    cells: Rc<dyn CleanCells<N, ListValue<TtlValue<T>>>>,
    ttl: Ttl,
}

impl<T: FlinkType, N: Namespace> TtlLists<T, N> {
    pub(crate) fn new(cells: Rc<dyn CleanCells<N, ListValue<TtlValue<T>>>>, ttl: Ttl) -> Self {
        TtlLists { cells, ttl }
    }

    /// Calls `visit` for each element that can be seen.
    pub(crate) fn for_each(&self, namespace: &N, visit: &mut dyn FnMut(&T)) {
        let expiry = self.ttl.expiry();
        let (mut left, mut all) = (0, 0);
        let is_nested = self.cells.is_being_read();
        self.cells.read(namespace, &mut |list| {
            let Some(list) = list else { return };
            list.for_each(|element| {
                all += 1;
                let is_over = expiry.is_over(element.last_access);
                left += usize::from(!is_over);
                if !is_over || self.ttl.shows_expired() {
                    visit(&element.value);
                }
            });
        });
        // A look within a look changes nothing; the one further out will.
        if is_nested {
            return;
        }
        if left == 0 && all > 0 {
            self.cells.remove(namespace);
        } else if left > 0 && self.ttl.renews_on_read() {
            self.cells.modify(namespace, &mut |list| {
                let Some(list) = list else {
                    return Change::Keep;
                };
                let mut renewed = Vec::with_capacity(left);
                list.for_each(|element| {
                    if !expiry.is_over(element.last_access) {
                        renewed.push(expiry.fresh(element.value.clone()));
                    }
                });
                Change::Set(renewed.into_iter().collect())
            });
        }
        self.cells.clean();
    }

    pub(crate) fn add_all(&self, namespace: &N, elements: Vec<T>) {
        let expiry = self.ttl.expiry();
        let mut elements = elements.into_iter().map(|element| expiry.fresh(element));
        self.cells.append(namespace, &mut |list| match list {
            Some(list) => {
                list.extend(elements.by_ref());
                Change::Keep
            }
            None => Change::Set(elements.by_ref().collect()),
        });
        self.cells.clean();
    }

    pub(crate) fn update(&self, namespace: &N, elements: impl Iterator<Item = T>) {
        let expiry = self.ttl.expiry();
        let list: ListValue<TtlValue<T>> = elements.map(|element| expiry.fresh(element)).collect();
        if list.is_empty() {
            self.cells.remove(namespace);
        } else {
            self.cells.put(namespace, list);
        }
        self.cells.clean();
    }

    pub(crate) fn clear(&self, namespace: &N) {
        self.cells.remove(namespace);
        self.cells.clean();
    }
}
