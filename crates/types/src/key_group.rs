//! Key groups: the unit in which keyed state is stored and moved.
//!
//! A key hashes to one of `max_parallelism` key groups, for the life of the
//! job. A subtask owns one contiguous [`KeyGroupRange`]. Rescaling moves whole
//! key groups and never looks inside one.
//!
//! Source of the formulas: Flink 2.3.0, classes `KeyGroupRangeAssignment` and `MathUtils`.

use std::fmt;

/// The most key groups that a job can have.
pub const UPPER_BOUND_MAX_PARALLELISM: u32 = 1 << 15;

/// The fewest key groups that a job gets when its maximum parallelism is not set.
pub const DEFAULT_LOWER_BOUND_MAX_PARALLELISM: u32 = 128;

/// One key group: counts from 0, below the maximum parallelism.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyGroup(pub u16);

impl KeyGroup {
    /// Returns the key group of a key whose Java `hashCode` is `hash_code`.
    ///
    /// `max_parallelism` is 1 to 32768.
    #[inline]
    pub fn of_hash(hash_code: i32, max_parallelism: u32) -> Self {
        let spread = spread(hash_code);
        // Nearly always a power of two, and a division costs as much as all the rest.
        let group = if max_parallelism.is_power_of_two() {
            spread & (max_parallelism - 1)
        } else {
            spread % max_parallelism
        };
        KeyGroup(group as u16)
    }

    /// Returns the subtask, counted from 0, that owns this key group.
    #[inline]
    pub fn subtask(self, parallelism: u32, max_parallelism: u32) -> u32 {
        u32::from(self.0) * parallelism / max_parallelism
    }
}

/// Returns Flink's spread of a Java hash code: never negative.
#[inline]
fn spread(hash_code: i32) -> u32 {
    let mut h = hash_code as u32;
    h = h
        .wrapping_mul(0xcc9e_2d51)
        .rotate_left(15)
        .wrapping_mul(0x1b87_3593);
    h = h.rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    h ^= 4;
    h ^= h >> 16;
    h = h.wrapping_mul(0x85eb_ca6b);
    h ^= h >> 13;
    h = h.wrapping_mul(0xc2b2_ae35);
    h ^= h >> 16;
    match h as i32 {
        i32::MIN => 0,
        value => value.unsigned_abs(),
    }
}

/// Returns the maximum parallelism of an operator for which the user set none.
pub fn default_max_parallelism(parallelism: u32) -> u32 {
    (parallelism + parallelism / 2).next_power_of_two().clamp(
        DEFAULT_LOWER_BOUND_MAX_PARALLELISM,
        UPPER_BOUND_MAX_PARALLELISM,
    )
}

/// The key groups of one subtask: `first ..= last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyGroupRange {
    first: KeyGroup,
    last: KeyGroup,
}

impl KeyGroupRange {
    /// Returns the range from `first` to `last`, both included.
    ///
    /// # Panics
    ///
    /// If `first > last`.
    pub fn new(first: KeyGroup, last: KeyGroup) -> Self {
        assert!(first <= last, "key groups {first:?} to {last:?}");
        KeyGroupRange { first, last }
    }

    /// Returns the range that subtask `index` of `parallelism` owns.
    ///
    /// `index` counts from 0. The ranges of all subtasks are disjoint and
    /// together cover every key group; their sizes differ by at most one.
    ///
    /// # Panics
    ///
    /// If `index >= parallelism` or `parallelism > max_parallelism`: both are
    /// checked when the job is built, so a failure here is a bug.
    pub fn of_subtask(index: u32, parallelism: u32, max_parallelism: u32) -> Self {
        assert!(index < parallelism, "subtask {index} of {parallelism}");
        assert!(
            parallelism <= max_parallelism,
            "{parallelism} > {max_parallelism}"
        );
        assert!(max_parallelism <= UPPER_BOUND_MAX_PARALLELISM);
        // Rounded up for the first and down for the last, so that neighbours
        // meet without a gap when parallelism does not divide max_parallelism.
        let first = (index * max_parallelism).div_ceil(parallelism);
        let last = ((index + 1) * max_parallelism - 1) / parallelism;
        KeyGroupRange {
            first: KeyGroup(first as u16),
            last: KeyGroup(last as u16),
        }
    }

    /// The lowest key group of the range.
    pub fn first(self) -> KeyGroup {
        self.first
    }

    /// The highest key group of the range, included.
    pub fn last(self) -> KeyGroup {
        self.last
    }

    /// How many key groups the range holds; at least 1.
    #[expect(clippy::len_without_is_empty, reason = "a range is never empty")]
    pub fn len(self) -> usize {
        usize::from(self.last.0 - self.first.0) + 1
    }

    /// Whether `group` lies in the range.
    pub fn contains(self, group: KeyGroup) -> bool {
        self.first <= group && group <= self.last
    }

    /// Returns the key groups that both ranges hold, or `None` if there is none.
    pub fn intersection(self, other: KeyGroupRange) -> Option<KeyGroupRange> {
        let first = self.first.max(other.first);
        let last = self.last.min(other.last);
        (first <= last).then_some(KeyGroupRange { first, last })
    }

    /// The key groups of the range in ascending order.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = KeyGroup> {
        (self.first.0..=self.last.0).map(KeyGroup)
    }
}

impl fmt::Display for KeyGroupRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..={}", self.first.0, self.last.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_group_has_exactly_one_owner() {
        for max_parallelism in [1, 2, 7, 127, 128, 300, 32768] {
            for parallelism in [1, 2, 3, 5, 7, 85, 128]
                .into_iter()
                .filter(|p| *p <= max_parallelism)
            {
                let mut next = 0u32;
                for index in 0..parallelism {
                    let range = KeyGroupRange::of_subtask(index, parallelism, max_parallelism);
                    assert_eq!(u32::from(range.first().0), next);
                    for group in range.iter() {
                        assert_eq!(group.subtask(parallelism, max_parallelism), index);
                    }
                    next = u32::from(range.last().0) + 1;
                }
                assert_eq!(next, max_parallelism);
            }
        }
    }

    #[test]
    fn hash_codes_land_in_the_key_groups_that_flink_computes() {
        // Flink 2.3.0: (hash code, group of 128, group of 300).
        for (hash, of_128, of_300) in [
            (3367, 82, 26),
            (5_273_822, 73, 169),
            (42, 29, 265),
            (0, 94, 154),
            (-7, 33, 149),
            (1231, 77, 165),
            (1_073_217_536, 65, 77),
        ] {
            assert_eq!(
                KeyGroup::of_hash(hash, 128),
                KeyGroup(of_128),
                "hash {hash}"
            );
            assert_eq!(
                KeyGroup::of_hash(hash, 300),
                KeyGroup(of_300),
                "hash {hash}"
            );
        }
    }

    #[test]
    fn default_max_parallelism_is_a_power_of_two_within_the_bounds() {
        for (parallelism, expected) in [(1, 128), (85, 128), (86, 256), (30_000, 32768)] {
            assert_eq!(default_max_parallelism(parallelism), expected);
        }
    }
}
