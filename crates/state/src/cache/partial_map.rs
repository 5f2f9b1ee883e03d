//! What is known of a map whose entries lie in a store.

use crate::map_value::MapValue;

/// What is known of the value of a user key; that there is none is knowledge too.
#[derive(Clone, Debug)]
pub(crate) struct Part<UV> {
    pub(crate) value: Option<UV>,
    /// The epoch of the last change; 0 if the store has it as it is here.
    pub(crate) epoch: u32,
}

/// Some user keys of a map, or all of them.
#[derive(Clone, Debug)]
pub(crate) struct PartialMap<UK: Clone + Ord, UV: Clone> {
    known: MapValue<UK, Part<UV>>,
    /// Whether a user key that is not known has no value.
    is_whole: bool,
    /// The epoch in which all that was stored before was removed; 0 if that never happened.
    cleared: u32,
}

impl<UK: Clone + Ord, UV: Clone> PartialMap<UK, UV> {
    /// A map of which nothing is known.
    pub(crate) fn unknown() -> Self {
        PartialMap {
            known: MapValue::new(),
            is_whole: false,
            cleared: 0,
        }
    }

    /// How many user keys are known.
    pub(crate) fn parts(&self) -> usize {
        self.known.len()
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// All that is stored and not known yet has been added.
    pub(crate) fn set_whole(&mut self) {
        self.is_whole = true;
    }

    /// What is known of a user key, if anything is.
    pub(crate) fn get(&self, key: &UK) -> Option<Option<&UV>> {
        match self.known.get(key) {
            Some(part) => Some(part.value.as_ref()),
            None => self.is_whole.then_some(None),
        }
    }

    /// As [`PartialMap::get`], to be changed.
    pub(crate) fn get_mut(&mut self, key: &UK) -> Option<&mut Part<UV>> {
        self.known.get_mut(key)
    }

    /// Adds what the store holds for a user key of which nothing is known.
    pub(crate) fn learn(&mut self, key: UK, value: Option<UV>) {
        self.known.put(key, Part { value, epoch: 0 });
    }

    /// Sets or removes the value of a user key in `epoch`.
    pub(crate) fn set(&mut self, key: UK, value: Option<UV>, epoch: u32) {
        match self.known.get_mut(&key) {
            Some(part) => *part = Part { value, epoch },
            None => self.known.put(key, Part { value, epoch }),
        }
    }

    /// Removes all user keys in `epoch`.
    pub(crate) fn clear(&mut self, epoch: u32) {
        *self = PartialMap {
            known: MapValue::new(),
            is_whole: true,
            cleared: epoch,
        };
    }

    /// Whether all that was stored before was removed in `epoch`.
    pub(crate) fn was_cleared(&self, epoch: u32) -> bool {
        self.cleared == epoch
    }

    /// Calls `visit` for each known user key that has a value until it returns false.
    pub(crate) fn visit(&self, visit: &mut dyn FnMut(&UK, &UV) -> bool) {
        // An error ends it early.
        let _ = self.known.try_for_each(|key, part| match &part.value {
            Some(value) if !visit(key, value) => Err(()),
            _ => Ok(()),
        });
    }

    /// Calls `visit` for each user key that was changed in `epoch`.
    pub(crate) fn for_each_change(&self, epoch: u32, mut visit: impl FnMut(&UK, Option<&UV>)) {
        self.known.for_each(|key, part| {
            if part.epoch == epoch {
                visit(key, part.value.as_ref());
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visited(map: &PartialMap<u32, char>) -> Vec<(u32, char)> {
        let mut all = Vec::new();
        map.visit(&mut |key, value| {
            all.push((*key, *value));
            true
        });
        all
    }

    #[test]
    fn what_is_not_known_is_not_absent_before_the_map_is_whole() {
        let mut map = PartialMap::unknown();
        map.learn(1, None);
        map.set(2, Some('b'), 3);
        assert_eq!(map.get(&1), Some(None));
        assert_eq!(map.get(&2), Some(Some(&'b')));
        assert_eq!(map.get(&3), None);
        map.set_whole();
        assert_eq!(map.get(&3), Some(None));
        assert_eq!((visited(&map), map.parts()), (vec![(2, 'b')], 2));
    }

    #[test]
    fn changes_are_those_of_their_epoch() {
        let mut map = PartialMap::unknown();
        map.learn(1, Some('a'));
        map.set(2, Some('b'), 1);
        map.set(1, None, 2);
        let changes = |map: &PartialMap<u32, char>, epoch| {
            let mut all = Vec::new();
            map.for_each_change(epoch, |key, value| all.push((*key, value.copied())));
            all
        };
        assert_eq!(changes(&map, 1), [(2, Some('b'))]);
        assert_eq!(changes(&map, 2), [(1, None)]);
        map.clear(3);
        assert!(map.was_cleared(3) && !map.was_cleared(2));
        assert_eq!((changes(&map, 1), visited(&map)), (vec![], vec![]));
        assert_eq!(map.get(&2), Some(None));
    }
}
