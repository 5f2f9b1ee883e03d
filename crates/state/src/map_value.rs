//! The value of a map state: small maps are copied whole, large ones share their nodes.
//!
//! Both keep their user keys in order, so that iteration is the same in every run.

use imbl::OrdMap;

/// Up to this many entries a map is one allocation.
const SMALL: usize = 16;

/// A map that is cloned in O(1) when it is large.
#[derive(Clone, Debug)]
pub(crate) enum MapValue<UK: Clone + Ord, UV: Clone> {
    /// In the order of the user keys.
    Small(Vec<(UK, UV)>),
    Large(Box<OrdMap<UK, UV>>),
}

impl<UK: Clone + Ord, UV: Clone> MapValue<UK, UV> {
    pub(crate) fn new() -> Self {
        MapValue::Small(Vec::new())
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            MapValue::Small(entries) => entries.len(),
            MapValue::Large(entries) => entries.len(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn get(&self, key: &UK) -> Option<&UV> {
        match self {
            MapValue::Small(entries) => position(entries, key).ok().map(|at| &entries[at].1),
            MapValue::Large(entries) => entries.get(key),
        }
    }

    pub(crate) fn get_mut(&mut self, key: &UK) -> Option<&mut UV> {
        match self {
            MapValue::Small(entries) => position(entries, key).ok().map(|at| &mut entries[at].1),
            MapValue::Large(entries) => entries.get_mut(key),
        }
    }

    pub(crate) fn put(&mut self, key: UK, value: UV) {
        match self {
            MapValue::Small(entries) => match position(entries, &key) {
                Ok(at) => entries[at].1 = value,
                Err(at) if entries.len() < SMALL => entries.insert(at, (key, value)),
                Err(_full) => {
                    let mut large: OrdMap<UK, UV> = std::mem::take(entries).into_iter().collect();
                    large.insert(key, value);
                    *self = MapValue::Large(Box::new(large));
                }
            },
            MapValue::Large(entries) => {
                entries.insert(key, value);
            }
        }
    }

    pub(crate) fn remove(&mut self, key: &UK) -> Option<UV> {
        match self {
            MapValue::Small(entries) => position(entries, key).ok().map(|at| entries.remove(at).1),
            MapValue::Large(entries) => entries.remove(key),
        }
    }

    /// The entry of a map that has one.
    pub(crate) fn into_only(self) -> Option<(UK, UV)> {
        match self {
            MapValue::Small(mut entries) => entries.pop(),
            MapValue::Large(_) => None,
        }
    }

    /// Removes the entries that `keep` refuses.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&UK, &UV) -> bool) {
        match self {
            MapValue::Small(entries) => entries.retain(|(key, value)| keep(key, value)),
            MapValue::Large(entries) => {
                let refused = entries.iter().filter(|(key, value)| !keep(key, value));
                let refused: Vec<UK> = refused.map(|(key, _)| key.clone()).collect();
                for key in &refused {
                    entries.remove(key);
                }
            }
        }
    }

    pub(crate) fn try_for_each<E>(
        &self,
        mut visit: impl FnMut(&UK, &UV) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        match self {
            MapValue::Small(entries) => entries
                .iter()
                .try_for_each(|(key, value)| visit(key, value)),
            MapValue::Large(entries) => entries
                .iter()
                .try_for_each(|(key, value)| visit(key, value)),
        }
    }

    pub(crate) fn for_each(&self, mut visit: impl FnMut(&UK, &UV)) {
        match self {
            MapValue::Small(entries) => entries.iter().for_each(|(key, value)| visit(key, value)),
            MapValue::Large(entries) => entries.iter().for_each(|(key, value)| visit(key, value)),
        }
    }
}

fn position<UK: Ord, UV>(entries: &[(UK, UV)], key: &UK) -> std::result::Result<usize, usize> {
    entries.binary_search_by(|(other, _)| other.cmp(key))
}
