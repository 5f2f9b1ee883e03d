//! The maps of one state as a handle sees them: user keys and values of the current key.

use crate::codec::Codec;
use crate::keyed_table::{Cells, CleanCells, KeyedTable};
use crate::map_value::MapValue;
use crate::table::Change;
use millpond_serializer::{FlinkKey, FlinkType, Namespace};

/// The maps of one state; an empty map and none are the same.
///
/// The key's type is hidden, as in [`Cells`].
pub(crate) trait MapCells<N, UK, UV> {
    /// Lets `read` look at the value of a user key.
    fn read(&self, namespace: &N, key: &UK, read: &mut dyn FnMut(Option<&UV>));

    /// Lets `change` see the value of a user key in place and applies what it answers.
    fn modify(&self, namespace: &N, key: UK, change: &mut dyn FnMut(Option<&mut UV>) -> Change<UV>);

    /// Calls `visit` for each user key until it returns false.
    ///
    /// In the order of the user keys, but for a map that is too large to be looked at whole.
    fn visit(&self, namespace: &N, visit: &mut dyn FnMut(&UK, &UV) -> bool);

    /// Sets and removes the values of some user keys.
    fn apply(&self, namespace: &N, edits: Vec<(UK, Option<UV>)>);

    /// How many user keys there are.
    fn len(&self, namespace: &N) -> usize {
        let mut len = 0;
        self.visit(namespace, &mut |_, _| {
            len += 1;
            true
        });
        len
    }

    /// Removes all user keys.
    fn clear(&self, namespace: &N);

    /// Looks at some entries of the state and removes what has expired of them.
    fn clean(&self);

    /// Whether a caller further out is looking at a value: nothing may be changed now.
    fn is_being_read(&self) -> bool;
}

impl<K, N, C, UK, UV> MapCells<N, UK, UV> for KeyedTable<K, N, C>
where
    K: FlinkKey,
    N: Namespace,
    C: Codec<Value = MapValue<UK, UV>>,
    UK: FlinkType + Ord,
    UV: FlinkType,
{
    fn read(&self, namespace: &N, key: &UK, read: &mut dyn FnMut(Option<&UV>)) {
        Cells::read(self, namespace, &mut |map| {
            read(map.and_then(|map| map.get(key)));
        });
    }

    fn modify(
        &self,
        namespace: &N,
        key: UK,
        change: &mut dyn FnMut(Option<&mut UV>) -> Change<UV>,
    ) {
        let mut key = Some(key);
        Cells::modify(self, namespace, &mut |map| {
            let Some(key) = key.take() else {
                return Change::Keep;
            };
            let Some(map) = map else {
                return match change(None) {
                    Change::Keep | Change::Remove => Change::Keep,
                    Change::Set(value) => {
                        let mut map = MapValue::new();
                        map.put(key, value);
                        Change::Set(map)
                    }
                };
            };
            match change(map.get_mut(&key)) {
                Change::Keep => Change::Keep,
                Change::Set(value) => {
                    map.put(key, value);
                    Change::Keep
                }
                Change::Remove => {
                    map.remove(&key);
                    match map.is_empty() {
                        true => Change::Remove,
                        false => Change::Keep,
                    }
                }
            }
        });
    }

    fn visit(&self, namespace: &N, visit: &mut dyn FnMut(&UK, &UV) -> bool) {
        Cells::read(self, namespace, &mut |map| {
            let Some(map) = map else { return };
            // An error ends it early.
            let _ = map.try_for_each(|key, value| match visit(key, value) {
                true => Ok(()),
                false => Err(()),
            });
        });
    }

    fn apply(&self, namespace: &N, edits: Vec<(UK, Option<UV>)>) {
        if edits.is_empty() {
            return;
        }
        let mut edits = Some(edits);
        Cells::update_with(self, namespace, &mut |slot| {
            let mut map = slot.take().unwrap_or_else(MapValue::new);
            for (key, value) in edits.take().into_iter().flatten() {
                match value {
                    Some(value) => map.put(key, value),
                    None => {
                        map.remove(&key);
                    }
                }
            }
            *slot = (!map.is_empty()).then_some(map);
        });
    }

    fn len(&self, namespace: &N) -> usize {
        let mut len = 0;
        Cells::read(self, namespace, &mut |map| {
            len = map.map_or(0, MapValue::len);
        });
        len
    }

    fn clear(&self, namespace: &N) {
        Cells::remove(self, namespace);
    }

    fn clean(&self) {
        CleanCells::clean(self);
    }

    fn is_being_read(&self) -> bool {
        CleanCells::is_being_read(self)
    }
}
