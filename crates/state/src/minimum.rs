//! The least of many values that change one at a time: a tournament tree.

/// What stands at one place of the tree; nothing comes after everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Holds(i64),
    Empty,
}

/// The least value over a fixed number of places.
///
/// Asking costs O(1), setting one place O(log places).
#[derive(Debug)]
pub(crate) struct Minimum {
    /// A binary heap by position: the root is 1, the children of `i` are `2i` and `2i + 1`.
    tree: Vec<Place>,
    leaves: usize,
}

impl Minimum {
    pub(crate) fn new(places: usize) -> Self {
        let leaves = places.next_power_of_two();
        Minimum {
            tree: vec![Place::Empty; 2 * leaves],
            leaves,
        }
    }

    /// Returns the least value, or `None` if all places are empty.
    #[inline]
    pub(crate) fn get(&self) -> Option<i64> {
        match self.tree[1] {
            Place::Holds(value) => Some(value),
            Place::Empty => None,
        }
    }

    /// Returns the first place that holds the least value, or `None` if all are empty.
    pub(crate) fn place(&self) -> Option<usize> {
        self.get()?;
        let mut at = 1;
        while at < self.leaves {
            at = if self.tree[2 * at] == self.tree[at] {
                2 * at
            } else {
                2 * at + 1
            };
        }
        Some(at - self.leaves)
    }

    pub(crate) fn set(&mut self, place: usize, value: Option<i64>) {
        let mut at = place + self.leaves;
        let value = value.map_or(Place::Empty, Place::Holds);
        if self.tree[at] == value {
            return;
        }
        self.tree[at] = value;
        while at > 1 {
            at /= 2;
            let least = self.tree[2 * at].min(self.tree[2 * at + 1]);
            if self.tree[at] == least {
                return;
            }
            self.tree[at] = least;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_the_least_values_wins_and_the_greatest_time_is_not_nothing() {
        for places in 1..9 {
            let mut minimum = Minimum::new(places);
            assert_eq!((minimum.get(), minimum.place()), (None, None));
            for place in (0..places).rev() {
                minimum.set(place, Some(i64::MAX));
                assert_eq!(
                    (minimum.get(), minimum.place()),
                    (Some(i64::MAX), Some(place))
                );
            }
            minimum.set(places - 1, Some(i64::MIN));
            assert_eq!(
                (minimum.get(), minimum.place()),
                (Some(i64::MIN), Some(places - 1))
            );
            minimum.set(places - 1, None);
            let left = (places > 1).then_some(i64::MAX);
            assert_eq!(minimum.get(), left);
        }
    }
}
