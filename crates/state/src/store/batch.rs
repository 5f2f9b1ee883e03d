//! Keys and changes on their way into a store: many in two allocations.

use std::ops::Range;

/// Byte strings, one behind the other.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    bytes: Vec<u8>,
    /// Where each key ends.
    ends: Vec<usize>,
}

impl Keys {
    /// Returns no keys.
    pub fn new() -> Self {
        Keys::default()
    }

    /// Adds the key that `key` appends.
    pub fn push(&mut self, key: impl FnOnce(&mut Vec<u8>)) {
        key(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Removes all keys and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// The key at a position.
    ///
    /// # Panics
    ///
    /// If there is none.
    #[inline]
    pub fn get(&self, at: usize) -> &[u8] {
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.bytes[start..self.ends[at]]
    }

    /// All keys, in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.len()).map(|at| self.get(at))
    }
}

/// What becomes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreChange<'a> {
    /// It has this value.
    Put {
        /// The key.
        key: &'a [u8],
        /// Its value from now on.
        value: &'a [u8],
    },
    /// Its value gets `2C` and these bytes behind it; the bytes alone if it has none.
    Append {
        /// The key.
        key: &'a [u8],
        /// What is added.
        value: &'a [u8],
    },
    /// It has no value; it may have had none.
    Delete {
        /// The key.
        key: &'a [u8],
    },
}

impl<'a> StoreChange<'a> {
    /// The key.
    pub fn key(&self) -> &'a [u8] {
        match self {
            StoreChange::Put { key, .. }
            | StoreChange::Append { key, .. }
            | StoreChange::Delete { key } => key,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Put,
    Append,
    Delete,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    kind: Kind,
    key: usize,
    value: usize,
    end: usize,
}

/// Changes of one column.
#[derive(Clone, Debug, Default)]
pub struct WriteBatch {
    bytes: Vec<u8>,
    changes: Vec<Place>,
}

impl WriteBatch {
    /// Returns no changes.
    pub fn new() -> Self {
        WriteBatch::default()
    }

    /// Adds a value; the closures append key and value.
    #[inline]
    pub fn put(&mut self, key: impl FnOnce(&mut Vec<u8>), value: impl FnOnce(&mut Vec<u8>)) {
        self.push(Kind::Put, key, value);
    }

    /// Adds what is to stand behind a value.
    #[inline]
    pub fn append(&mut self, key: impl FnOnce(&mut Vec<u8>), value: impl FnOnce(&mut Vec<u8>)) {
        self.push(Kind::Append, key, value);
    }

    /// Adds a removal.
    #[inline]
    pub fn delete(&mut self, key: impl FnOnce(&mut Vec<u8>)) {
        self.push(Kind::Delete, key, |_| {});
    }

    #[inline]
    fn push(
        &mut self,
        kind: Kind,
        put_key: impl FnOnce(&mut Vec<u8>),
        put_value: impl FnOnce(&mut Vec<u8>),
    ) {
        let key = self.bytes.len();
        put_key(&mut self.bytes);
        let value = self.bytes.len();
        put_value(&mut self.bytes);
        let end = self.bytes.len();
        self.changes.push(Place {
            kind,
            key,
            value,
            end,
        });
    }

    /// Brings the changes into the order of their keys.
    ///
    /// Compared are numbers first: the first bytes of the keys.
    pub fn sort(&mut self) {
        let bytes = &self.bytes;
        let mut order: Vec<(u64, u32)> = Vec::with_capacity(self.changes.len());
        for (at, place) in (0u32..).zip(&self.changes) {
            order.push((first_bytes(&bytes[place.key..place.value]), at));
        }
        let key = |at: u32| {
            let place = &self.changes[at as usize];
            &bytes[place.key..place.value]
        };
        order.sort_unstable_by(|(a, at), (b, other)| {
            a.cmp(b).then_with(|| key(*at).cmp(key(*other)))
        });
        let changes = order.iter().map(|(_, at)| self.changes[*at as usize]);
        self.changes = changes.collect();
    }

    /// How many changes there are.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The bytes of all keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Removes all changes and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.changes.clear();
    }

    /// The changes in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = StoreChange<'_>> {
        self.changes.iter().map(|place| {
            let bytes = |range: Range<usize>| &self.bytes[range];
            let key = bytes(place.key..place.value);
            let value = bytes(place.value..place.end);
            match place.kind {
                Kind::Put => StoreChange::Put { key, value },
                Kind::Append => StoreChange::Append { key, value },
                Kind::Delete => StoreChange::Delete { key },
            }
        })
    }
}

/// The first bytes of a key as a number of the same order; a shorter key counts as zeros behind it.
#[inline]
fn first_bytes(key: &[u8]) -> u64 {
    match key.first_chunk::<8>() {
        Some(first) => u64::from_be_bytes(*first),
        None => {
            let mut first = [0; 8];
            first[..key.len()].copy_from_slice(key);
            u64::from_be_bytes(first)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_come_in_the_order_of_their_keys() {
        let mut batch = WriteBatch::new();
        batch.put(|key| key.push(2), |value| value.push(20));
        batch.delete(|key| key.extend([1, 0]));
        batch.append(|key| key.push(1), |value| value.push(10));
        batch.sort();
        let changes: Vec<_> = batch.iter().collect();
        let expected = [
            StoreChange::Append {
                key: &[1],
                value: &[10],
            },
            StoreChange::Delete { key: &[1, 0] },
            StoreChange::Put {
                key: &[2],
                value: &[20],
            },
        ];
        assert_eq!(changes, expected);
        assert_eq!((batch.len(), batch.bytes()), (3, 6));
    }

    #[test]
    fn keys_may_be_empty() {
        let mut keys = Keys::new();
        keys.push(|_| {});
        keys.push(|key| key.extend(b"ab"));
        keys.push(|_| {});
        assert_eq!(keys.iter().collect::<Vec<_>>(), [&b""[..], b"ab", b""]);
    }
}
