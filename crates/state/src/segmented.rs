//! A hash table that grows in slices: no insertion moves more than one segment.
//!
//! Up to `LOAD` entries it is one ordinary table, and finding out costs a branch. A larger one is
//! cut by bits of the hash into segments, by linear hashing: with `2^l <= n < 2^(l+1)` segments the
//! first `n - 2^l` and the last `n - 2^l` are told apart by `l + 1` bits, those between by `l`.
//! Segment `n - 2^l` is the next to be cut in two:
//!
//! ```text
//!   n = 4    |  0  |  1  |  2  |  3  |
//!   n = 5    |0|   |  1  |  2  |  3  |4|         the entries of 0 are now in 0 and 4
//!   n = 6    |0|1| |  2  |  3  |4|5|
//! ```
//!
//! A round begins when segments hold `LOAD` entries on average, and cuts one segment for every
//! `LOAD / 3` entries that are added, so a segment ends its round with at most about `LOAD * 4 / 3`.
//! What one insertion moves at worst is one segment: cut in two, or doubled below that size by the
//! table within. The list of segments itself grows by doubling, 32 bytes per segment.
//!
//! Entries of one and the same hash cannot be cut apart: their segment grows in one step.
//!
//! Rejected: a pair of an old and a new table, between which entries move over. The new table has to
//! be allocated and its control bytes set at once, which is what takes the time, and both must be
//! looked into meanwhile.

use hashbrown::HashTable;
use hashbrown::hash_table::Iter;

/// Entries by hash; `LOAD` is how many a segment holds at the begin of a round.
#[derive(Debug)]
pub(crate) struct Segmented<T, const LOAD: usize> {
    /// All entries; none once there are segments.
    one: HashTable<T>,
    many: Option<Segments<T>>,
}

#[derive(Debug)]
struct Segments<T> {
    segments: Vec<HashTable<T>>,
    /// `2^(l + 1) - 1`.
    mask: usize,
    len: usize,
    /// With more entries than this, the next segment is cut.
    cut_above: usize,
}

/// The bits of a hash that choose a segment; the table within uses the lowest and the highest.
#[inline]
fn bits(hash: u64) -> usize {
    (hash >> 32) as usize
}

/// How many entries `segments` segments hold before another one is cut.
fn cut_above(segments: usize, load: usize) -> usize {
    let whole = 1 << segments.ilog2();
    whole * load + (segments - whole) * (load / 3)
}

/// `entries` and four standard deviations, so that a share of this size mostly fits.
fn with_slack(entries: usize) -> usize {
    entries + 4 * entries.isqrt()
}

impl<T> Segments<T> {
    #[inline]
    fn index(&self, hash: u64) -> usize {
        let wide = bits(hash) & self.mask;
        if wide < self.segments.len() {
            wide
        } else {
            wide & (self.mask >> 1)
        }
    }

    /// `2^l`.
    fn whole(&self) -> usize {
        self.mask / 2 + 1
    }

    /// Cuts the next segment in two.
    fn cut(&mut self, load: usize, hasher: impl Fn(&T) -> u64) {
        let above = self.segments.len();
        let below = above - self.whole();
        let whole = std::mem::take(&mut self.segments[below]);
        // Half of them, with four standard deviations of a fair coin.
        let half = whole.len() / 2 + 2 * whole.len().isqrt();
        let mut halves = [
            HashTable::with_capacity(half),
            HashTable::with_capacity(half),
        ];
        for entry in whole {
            let hash = hasher(&entry);
            let half = usize::from(bits(hash) & self.mask == above);
            halves[half].insert_unique(hash, entry, &hasher);
        }
        let [lower, upper] = halves;
        self.segments[below] = lower;
        self.segments.push(upper);
        if self.segments.len() == 2 * self.whole() {
            self.mask = 2 * self.mask + 1;
        }
        self.cut_above = cut_above(self.segments.len(), load);
    }
}

impl<T, const LOAD: usize> Segmented<T, LOAD> {
    pub(crate) const fn new() -> Self {
        Segmented {
            one: HashTable::new(),
            many: None,
        }
    }

    /// Takes over a table, and cuts it if it is large.
    pub(crate) fn of(one: HashTable<T>, hasher: impl Fn(&T) -> u64) -> Self {
        let mut table = Segmented { one, many: None };
        if table.one.len() > LOAD {
            table.cut(hasher);
        }
        table
    }

    /// Returns the only table, or all as it is if there are segments.
    pub(crate) fn into_one(self) -> Result<HashTable<T>, Self> {
        match self.many {
            None => Ok(self.one),
            Some(_) => Err(self),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match &self.many {
            None => self.one.len(),
            Some(many) => many.len,
        }
    }

    /// The memory of the table itself, in bytes; not what entries own elsewhere.
    pub(crate) fn allocated_bytes(&self) -> usize {
        let list = self.many.as_ref().map_or(0, |many| {
            many.segments.capacity() * size_of::<HashTable<T>>()
        });
        self.tables().map(HashTable::allocation_size).sum::<usize>() + list
    }

    /// About as [`Segmented::allocated_bytes`], in O(1).
    pub(crate) fn estimated_bytes(&self) -> usize {
        match &self.many {
            None => self.one.allocation_size(),
            Some(many) => many.segments[0].allocation_size() * many.segments.len(),
        }
    }

    /// The table that holds the entries of this hash.
    ///
    /// Who adds an entry to it or removes one says so by `inserted` or `removed`.
    #[inline]
    pub(crate) fn segment(&self, hash: u64) -> &HashTable<T> {
        match &self.many {
            None => &self.one,
            Some(many) => &many.segments[many.index(hash)],
        }
    }

    /// As [`Segmented::segment`], to be changed.
    #[inline]
    pub(crate) fn segment_mut(&mut self, hash: u64) -> &mut HashTable<T> {
        match &mut self.many {
            None => &mut self.one,
            Some(many) => {
                let index = many.index(hash);
                &mut many.segments[index]
            }
        }
    }

    /// An entry has been added to its segment.
    #[inline]
    pub(crate) fn inserted(&mut self, hasher: impl Fn(&T) -> u64) {
        let is_full = match &mut self.many {
            None => self.one.len() > LOAD,
            Some(many) => {
                many.len += 1;
                many.len > many.cut_above
            }
        };
        if is_full {
            self.cut(hasher);
        }
    }

    /// An entry has been removed from its segment.
    #[inline]
    pub(crate) fn removed(&mut self) {
        if let Some(many) = &mut self.many {
            many.len -= 1;
        }
    }

    /// Makes room for `additional` more entries at once, so that inserting them moves few.
    pub(crate) fn reserve(&mut self, additional: usize, hasher: impl Fn(&T) -> u64) {
        let total = self.len() + additional;
        if self.many.is_none() && total <= LOAD {
            return self.one.reserve(additional, hasher);
        }
        while self.many.as_ref().map_or(LOAD, |many| many.cut_above) < total {
            self.cut(&hasher);
        }
        let Some(many) = &mut self.many else { return };
        let whole = many.whole();
        let halves = many.segments.len() - whole;
        for (index, segment) in many.segments.iter_mut().enumerate() {
            let is_half = index < halves || index >= whole;
            let share = total / whole / if is_half { 2 } else { 1 };
            segment.reserve(with_slack(share).saturating_sub(segment.len()), &hasher);
        }
    }

    /// The table at position `part`; its places are those of hashbrown.
    pub(crate) fn part(&self, part: usize) -> Option<&HashTable<T>> {
        match &self.many {
            None => (part == 0).then_some(&self.one),
            Some(many) => many.segments.get(part),
        }
    }

    /// As [`Segmented::part`], to be changed.
    pub(crate) fn part_mut(&mut self, part: usize) -> Option<&mut HashTable<T>> {
        match &mut self.many {
            None => (part == 0).then_some(&mut self.one),
            Some(many) => many.segments.get_mut(part),
        }
    }

    /// The entries in the table's own order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.tables()
            .flat_map(HashTable::iter as fn(&HashTable<T>) -> Iter<'_, T>)
    }

    fn tables(&self) -> impl Iterator<Item = &HashTable<T>> {
        let many = self.many.iter().flat_map(|many| &many.segments);
        std::iter::once(&self.one).chain(many)
    }

    #[cold]
    #[inline(never)]
    fn cut(&mut self, hasher: impl Fn(&T) -> u64) {
        let one = &mut self.one;
        let many = self.many.get_or_insert_with(|| Segments {
            mask: 1,
            len: one.len(),
            cut_above: LOAD,
            segments: vec![std::mem::take(one)],
        });
        many.cut(LOAD, hasher);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash;
    use std::cell::Cell;
    use std::collections::HashSet;

    const LOAD: usize = 300;

    type Numbers = Segmented<u64, LOAD>;

    fn of(number: &u64) -> u64 {
        hash::of_key(number)
    }

    fn insert(table: &mut Numbers, number: u64, hasher: impl Fn(&u64) -> u64) {
        let hash = of(&number);
        table.segment_mut(hash).insert_unique(hash, number, &hasher);
        table.inserted(&hasher);
    }

    fn contains(table: &Numbers, number: u64) -> bool {
        let hash = of(&number);
        table
            .segment(hash)
            .find(hash, |found| *found == number)
            .is_some()
    }

    fn remove(table: &mut Numbers, number: u64) -> bool {
        let hash = of(&number);
        let found = table
            .segment_mut(hash)
            .find_entry(hash, |found| *found == number);
        let removed = found.map(|entry| entry.remove()).is_ok();
        if removed {
            table.removed();
        }
        removed
    }

    #[test]
    fn no_insertion_moves_more_than_one_segment() {
        let mut table = Numbers::new();
        let (mut worst, mut total) = (0, 0);
        for number in 0..200_000 {
            // Each entry that is moved is hashed once.
            let moved = Cell::new(0usize);
            insert(&mut table, number, |entry| {
                moved.set(moved.get() + 1);
                of(entry)
            });
            worst = worst.max(moved.get());
            total += moved.get();
        }
        assert_eq!(table.len(), 200_000);
        assert!(
            table
                .many
                .as_ref()
                .is_some_and(|many| many.segments.len() > 500)
        );
        // A segment is cut at 4/3 of the load, and random shares differ a little; a cut that
        // coincides with the doubling of the segment that was inserted into moves both.
        assert!(worst <= LOAD * 3, "{worst} entries moved by one insertion");
        assert!(total <= 200_000 * 5, "{total} entries moved");
    }

    #[test]
    fn what_was_inserted_and_not_removed_is_there() {
        let mut table = Numbers::new();
        for number in 0..20_000 {
            insert(&mut table, number, of);
            if number % 3 == 0 {
                assert!(remove(&mut table, number));
                insert(&mut table, number, of);
            }
            if number % 7 == 0 {
                assert!(remove(&mut table, number));
                assert!(!remove(&mut table, number));
            }
        }
        let expected: HashSet<u64> = (0..20_000).filter(|number| number % 7 != 0).collect();
        assert_eq!(table.len(), expected.len());
        assert_eq!(table.iter().copied().collect::<HashSet<u64>>(), expected);
        assert_eq!(table.iter().count(), expected.len());
        for number in 0..21_000 {
            assert_eq!(
                contains(&table, number),
                expected.contains(&number),
                "{number}"
            );
        }
    }

    #[test]
    fn what_room_was_made_for_moves_nothing_but_a_few_unequal_shares() {
        for entries in [1, 299, 300, 301, 350, 900, 5_000, 100_000] {
            let mut table = Numbers::new();
            insert(&mut table, 1 << 40, of);
            table.reserve(entries, of);
            let moved = Cell::new(0usize);
            for number in 0..entries as u64 {
                insert(&mut table, number, |entry| {
                    moved.set(moved.get() + 1);
                    of(entry)
                });
            }
            assert!(contains(&table, 1 << 40));
            assert_eq!(table.len(), entries + 1);
            assert!(
                moved.get() <= entries / 100,
                "{} of {entries} moved",
                moved.get()
            );
        }
    }

    #[test]
    fn entries_of_one_hash_only_make_their_segment_large() {
        let mut table = Numbers::new();
        for number in 0..2_000 {
            table.segment_mut(7).insert_unique(7, number, |_| 7);
            table.inserted(|_| 7);
        }
        assert_eq!(table.len(), 2_000);
        assert_eq!(table.segment(7).len(), 2_000);
    }
}
