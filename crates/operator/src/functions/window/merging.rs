//! Which windows of a key have been merged, and where the contents of each lie.
//!
//! A window that grows keeps the namespace of its contents: the *state window*, one of those that
//! it was made of. So a merge moves the contents of all but one. The pairs (window, state window)
//! of a key are the list state `merging-window-set`.
//!
//! Source: Flink 2.3.0, class `MergingWindowSet`. There the state window is any of those merged;
//! here it is that of the first.

use super::{Window, WindowAssigner};

/// The pairs of one key, ordered by window.
pub(crate) struct MergingWindowSet<W> {
    pairs: Vec<(W, W)>,
    changed: bool,
}

/// What a window has become, and what is to be done for it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Added<W> {
    pub(crate) window: W,
    pub(crate) merges: Vec<Merge<W>>,
}

/// Windows that have become one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Merge<W> {
    pub(crate) result: W,
    /// The windows that are no more; a new one that never had state is not among them.
    pub(crate) merged: Vec<W>,
    /// Where the contents of the result lie.
    pub(crate) state_window: W,
    /// Where contents lie that are to be moved there.
    pub(crate) merged_state_windows: Vec<W>,
}

impl<W: Window> MergingWindowSet<W> {
    pub(crate) fn new(mut pairs: Vec<(W, W)>) -> Self {
        pairs.sort_unstable();
        MergingWindowSet {
            pairs,
            changed: false,
        }
    }

    /// The pairs to be kept, if they are not those that it was made of.
    pub(crate) fn into_changed(self) -> Option<Vec<(W, W)>> {
        self.changed.then_some(self.pairs)
    }

    /// Where the contents of a window lie.
    pub(crate) fn state_window(&self, window: &W) -> Option<W> {
        let at = self
            .pairs
            .binary_search_by(|pair| pair.0.cmp(window))
            .ok()?;
        Some(self.pairs[at].1)
    }

    /// Forgets a window.
    pub(crate) fn retire(&mut self, window: &W) {
        self.take(window);
    }

    fn take(&mut self, window: &W) -> Option<W> {
        let at = self
            .pairs
            .binary_search_by(|pair| pair.0.cmp(window))
            .ok()?;
        self.changed = true;
        Some(self.pairs.remove(at).1)
    }

    fn put(&mut self, window: W, state_window: W) {
        self.changed = true;
        match self.pairs.binary_search_by(|pair| pair.0.cmp(&window)) {
            Ok(at) => self.pairs[at].1 = state_window,
            Err(at) => self.pairs.insert(at, (window, state_window)),
        }
    }

    /// Adds a window; it may become part of a larger one.
    pub(crate) fn add<T, A>(&mut self, new: W, assigner: &A) -> Added<W>
    where
        A: WindowAssigner<T, Window = W>,
    {
        let all = self.pairs.iter().map(|pair| pair.0).chain([new]).collect();
        let mut window = new;
        let mut merges = Vec::new();
        for (result, mut merged) in assigner.merge_windows(all) {
            let is_known = self.state_window(&new).is_some();
            if merged.contains(&new) {
                window = result;
                if !is_known {
                    merged.retain(|window| *window != new);
                }
            }
            let mut states: Vec<W> = merged
                .iter()
                .filter_map(|window| self.take(window))
                .collect();
            if states.is_empty() {
                continue;
            }
            let state_window = states.remove(0);
            self.put(result, state_window);
            // A window that another one lies in stays as it is.
            if merged != [result] {
                merges.push(Merge {
                    result,
                    merged,
                    state_window,
                    merged_state_windows: states,
                });
            }
        }
        if self.state_window(&window).is_none() {
            self.put(window, window);
        }
        Added { window, merges }
    }
}

#[cfg(test)]
mod tests {
    use super::super::EventTimeSessionWindows;
    use super::*;
    use millpond_serializer::TimeWindow;
    use std::time::Duration;

    fn window(start: i64, end: i64) -> TimeWindow {
        TimeWindow { start, end }
    }

    fn add(set: &mut MergingWindowSet<TimeWindow>, new: TimeWindow) -> Added<TimeWindow> {
        let assigner = EventTimeSessionWindows::with_gap(Duration::from_millis(1));
        set.add::<(), _>(new, &assigner)
    }

    #[test]
    fn a_window_that_bridges_two_takes_both_and_keeps_the_state_of_the_first() {
        let mut set = MergingWindowSet::new(Vec::new());
        assert_eq!(add(&mut set, window(0, 5)).window, window(0, 5));
        let grown = add(&mut set, window(4, 9));
        assert_eq!(grown.window, window(0, 9));
        assert_eq!(grown.merges[0].merged, [window(0, 5)]);
        assert_eq!(grown.merges[0].state_window, window(0, 5));
        assert!(add(&mut set, window(20, 25)).merges.is_empty());
        let bridge = add(&mut set, window(9, 20));
        assert_eq!(bridge.window, window(0, 25));
        assert_eq!(
            bridge.merges,
            [Merge {
                result: window(0, 25),
                merged: vec![window(0, 9), window(20, 25)],
                state_window: window(0, 5),
                merged_state_windows: vec![window(20, 25)],
            }]
        );
        assert_eq!(set.state_window(&window(0, 25)), Some(window(0, 5)));
        set.retire(&window(0, 25));
        assert_eq!(set.into_changed(), Some(Vec::new()));
    }

    #[test]
    fn a_window_inside_another_or_equal_to_it_changes_nothing() {
        let mut set = MergingWindowSet::new(vec![(window(0, 9), window(0, 5))]);
        for inside in [window(2, 7), window(0, 9)] {
            let added = add(&mut set, inside);
            assert_eq!((added.window, added.merges.len()), (window(0, 9), 0));
            assert_eq!(set.state_window(&window(0, 9)), Some(window(0, 5)));
        }
    }
}
