//! The value of a list state: short lists are copied whole, long ones share their nodes.

use imbl::Vector;

/// Up to this many elements a list is one allocation.
const SMALL: usize = 32;

/// A list that is cloned in O(1) when it is long.
#[derive(Clone, Debug)]
pub(crate) enum ListValue<T: Clone> {
    Small(Vec<T>),
    Large(Box<Vector<T>>),
}

impl<T: Clone> ListValue<T> {
    pub(crate) fn new() -> Self {
        ListValue::Small(Vec::new())
    }

    pub(crate) fn is_empty(&self) -> bool {
        match self {
            ListValue::Small(list) => list.is_empty(),
            ListValue::Large(list) => list.is_empty(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            ListValue::Small(list) => list.len(),
            ListValue::Large(list) => list.len(),
        }
    }

    pub(crate) fn push(&mut self, element: T) {
        match self {
            ListValue::Small(list) if list.len() < SMALL => list.push(element),
            ListValue::Small(list) => {
                let mut large: Vector<T> = std::mem::take(list).into();
                large.push_back(element);
                *self = ListValue::Large(Box::new(large));
            }
            ListValue::Large(list) => list.push_back(element),
        }
    }

    pub(crate) fn for_each(&self, mut visit: impl FnMut(&T)) {
        match self {
            ListValue::Small(list) => list.iter().for_each(&mut visit),
            ListValue::Large(list) => list.iter().for_each(&mut visit),
        }
    }

    /// Calls `visit` for each element behind the first `start`.
    pub(crate) fn for_each_behind(&self, start: usize, mut visit: impl FnMut(&T)) {
        match self {
            ListValue::Small(list) => list.iter().skip(start).for_each(&mut visit),
            ListValue::Large(list) if start < list.len() => {
                let rest = list.focus().narrow(start..);
                rest.into_iter().for_each(&mut visit);
            }
            ListValue::Large(_) => {}
        }
    }

    pub(crate) fn to_vec(&self) -> Vec<T> {
        match self {
            ListValue::Small(list) => list.clone(),
            ListValue::Large(list) => list.iter().cloned().collect(),
        }
    }
}

impl<T: Clone> FromIterator<T> for ListValue<T> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        let list: Vec<T> = elements.into_iter().collect();
        if list.len() <= SMALL {
            ListValue::Small(list)
        } else {
            ListValue::Large(Box::new(list.into()))
        }
    }
}

impl<T: Clone> Extend<T> for ListValue<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, elements: I) {
        elements.into_iter().for_each(|element| self.push(element));
    }
}
