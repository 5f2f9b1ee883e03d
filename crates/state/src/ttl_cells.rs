//! The values of a state with time-to-live as a handle without one sees them.

use crate::keyed_table::{Cells, CleanCells};
use crate::table::Change;
use crate::ttl::Ttl;
use millpond_serializer::{FlinkType, Namespace, TtlValue};
use std::rc::Rc;

/// Hides the time of last access of each value: of value, reducing and aggregating state.
pub(crate) struct TtlCells<N, V> {
    cells: Rc<dyn CleanCells<N, TtlValue<V>>>,
    ttl: Ttl,
}

/// What is to be done about a value that was looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Due {
    Nothing,
    Renew,
    Remove,
}

impl<N: Namespace, V: FlinkType> TtlCells<N, V> {
    pub(crate) fn new(cells: Rc<dyn CleanCells<N, TtlValue<V>>>, ttl: Ttl) -> Self {
        TtlCells { cells, ttl }
    }
}

impl<N: Namespace, V: FlinkType> Cells<N, V> for TtlCells<N, V> {
    fn get(&self, namespace: &N) -> Option<V> {
        let mut found = None;
        self.read(namespace, &mut |value| found = value.cloned());
        found
    }

    fn read(&self, namespace: &N, read: &mut dyn FnMut(Option<&V>)) {
        let expiry = self.ttl.expiry();
        let mut due = Due::Nothing;
        let is_nested = self.cells.is_being_read();
        self.cells.read(namespace, &mut |value| match value {
            Some(value) if expiry.is_over(value.last_access) => {
                due = Due::Remove;
                read(self.ttl.shows_expired().then_some(&value.value));
            }
            Some(value) => {
                let renew = self.ttl.renews_on_read() && value.last_access != expiry.now_ms();
                due = if renew { Due::Renew } else { Due::Nothing };
                read(Some(&value.value));
            }
            None => read(None),
        });
        // A look within a look changes nothing; the one further out will.
        if is_nested {
            return;
        }
        // Written only if something is to be done: a snapshot would see each write as a change.
        match due {
            Due::Nothing => {}
            Due::Remove => self.cells.remove(namespace),
            Due::Renew => self.cells.modify(namespace, &mut |value| {
                if let Some(value) = value {
                    value.last_access = expiry.now_ms();
                }
                Change::Keep
            }),
        }
        self.cells.clean();
    }

    fn put(&self, namespace: &N, value: V) {
        self.cells.put(namespace, self.ttl.expiry().fresh(value));
        self.cells.clean();
    }

    fn remove(&self, namespace: &N) {
        self.cells.remove(namespace);
        self.cells.clean();
    }

    fn modify(&self, namespace: &N, change: &mut dyn FnMut(Option<&mut V>) -> Change<V>) {
        let expiry = self.ttl.expiry();
        self.cells.modify(namespace, &mut |value| {
            let is_over = value
                .as_ref()
                .is_some_and(|value| expiry.is_over(value.last_access));
            let hides = is_over && !self.ttl.shows_expired();
            match value {
                Some(value) if !hides => {
                    let changed = change(Some(&mut value.value));
                    value.last_access = expiry.now_ms();
                    match changed {
                        Change::Keep => Change::Keep,
                        Change::Set(new) => Change::Set(expiry.fresh(new)),
                        Change::Remove => Change::Remove,
                    }
                }
                _ => match change(None) {
                    Change::Set(new) => Change::Set(expiry.fresh(new)),
                    // What has expired goes, whatever became of it.
                    Change::Keep | Change::Remove => Change::Remove,
                },
            }
        });
        self.cells.clean();
    }

    fn update_with(&self, namespace: &N, change: &mut dyn FnMut(&mut Option<V>)) {
        let expiry = self.ttl.expiry();
        let shows_expired = self.ttl.shows_expired();
        self.cells.update_with(namespace, &mut |slot| {
            let visible = slot
                .take()
                .filter(|value| shows_expired || !expiry.is_over(value.last_access));
            let mut value = visible.map(|value| value.value);
            change(&mut value);
            *slot = value.map(|value| expiry.fresh(value));
        });
        self.cells.clean();
    }
}
