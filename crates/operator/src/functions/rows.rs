//! The rest of a batch: its records one by one, so that an operator can pause between two.

use crate::batch::Batch;
use crate::element::NO_TIMESTAMP;

/// A record with what its batch says about it.
pub(crate) struct Row<T> {
    pub(crate) value: T,
    /// In milliseconds, or [`NO_TIMESTAMP`].
    pub(crate) timestamp: i64,
    /// The key group, behind a `key_by`.
    pub(crate) key_group: Option<u16>,
}

/// The records of a batch that are still to be processed.
pub(crate) struct Rows<T> {
    rows: std::vec::IntoIter<T>,
    timestamps: Vec<i64>,
    key_groups: Vec<u16>,
    next: usize,
}

impl<T> Rows<T> {
    pub(crate) fn new(batch: Batch<T>) -> Self {
        Rows {
            rows: batch.rows.into_iter(),
            timestamps: batch.timestamps,
            key_groups: batch.key_groups,
            next: 0,
        }
    }

    /// The next records, at most `count`, and their key groups where they have them.
    pub(crate) fn upcoming(&self, count: usize) -> (&[T], &[u16]) {
        let rows = self.rows.as_slice();
        let count = count.min(rows.len());
        let groups = self.key_groups.get(self.next..self.next + count);
        (&rows[..count], groups.unwrap_or_default())
    }

    /// How many records have been taken.
    pub(crate) fn taken(&self) -> usize {
        self.next
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.len() == 0
    }
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Rows::new(Batch::default())
    }
}

impl<T> Iterator for Rows<T> {
    type Item = Row<T>;

    #[inline]
    fn next(&mut self) -> Option<Row<T>> {
        let value = self.rows.next()?;
        let at = self.next;
        self.next += 1;
        Some(Row {
            value,
            timestamp: self.timestamps.get(at).copied().unwrap_or(NO_TIMESTAMP),
            key_group: self.key_groups.get(at).copied(),
        })
    }
}
