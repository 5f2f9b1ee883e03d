//! Keys: types whose Java `hashCode` is fixed, so that every engine finds the same key group.
//!
//! | type | hash |
//! | --- | --- |
//! | String | over UTF-16 units: 31 * h + unit |
//! | i64 | the two halves, xor |
//! | i32, i16, i8 | the value |
//! | bool | 1231, 1237 |
//! | tuples | 31 * h + field, from 0 |
//! | `Vec<T>` (List) | 31 * h + element, from 1 |
//! | sets | the sum of the elements |
//! | maps | the sum of key xor value |
//! | `Option<T>` | the value; 0 for null |
//! | [`Either`] | the value |
//! | numbers, dates and times | see `number` and `time` |
//! | structs and enums | as their derive declares |
//!
//! Arrays cannot be keys, nor can an enum without a declaration: Java hashes them by their place in
//! memory, and Flink forbids them as keys.
//!
//! Source: `hashCode` of the Java classes; tuples: Flink 2.3.0, class `Tuple2` and so on.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;

use crate::{Either, FlinkType};

/// A type that can be a key.
///
/// Rust's `Eq`, `Ord` and `Hash` serve the state backend; the key group follows from
/// [`hash_code`](FlinkKey::hash_code) alone.
pub trait FlinkKey: FlinkType + Eq + Ord + Hash {
    /// Returns what Java's `hashCode` returns for the same value.
    fn hash_code(&self) -> i32;

    /// Reads a little of what the key owns elsewhere in memory; what is returned means nothing.
    ///
    /// A backend that compares many keys soon has all of them read first, so that the waits for
    /// memory overlap. A key that owns nothing has nothing to do.
    #[inline]
    fn touch(&self) -> usize {
        0
    }
}

impl FlinkKey for String {
    #[inline]
    fn hash_code(&self) -> i32 {
        hash_of_text(self)
    }

    #[inline]
    fn touch(&self) -> usize {
        self.as_bytes().first().map_or(0, |byte| usize::from(*byte))
    }
}

#[inline]
pub(crate) fn hash_of_text(text: &str) -> i32 {
    let step = |hash: i32, unit: i32| hash.wrapping_mul(31).wrapping_add(unit);
    if text.is_ascii() {
        return text
            .bytes()
            .fold(0, |hash, byte| step(hash, i32::from(byte)));
    }
    text.encode_utf16()
        .fold(0, |hash, unit| step(hash, i32::from(unit)))
}

impl FlinkKey for i64 {
    #[inline]
    fn hash_code(&self) -> i32 {
        (*self ^ (*self as u64 >> 32) as i64) as i32
    }
}

impl FlinkKey for i32 {
    #[inline]
    fn hash_code(&self) -> i32 {
        *self
    }
}

impl FlinkKey for i16 {
    #[inline]
    fn hash_code(&self) -> i32 {
        i32::from(*self)
    }
}

impl FlinkKey for i8 {
    #[inline]
    fn hash_code(&self) -> i32 {
        i32::from(*self)
    }
}

impl FlinkKey for bool {
    #[inline]
    fn hash_code(&self) -> i32 {
        if *self { 1231 } else { 1237 }
    }
}

impl<T: FlinkKey> FlinkKey for Vec<T> {
    fn hash_code(&self) -> i32 {
        self.iter().fold(1, |hash, element| {
            hash.wrapping_mul(31).wrapping_add(element.hash_code())
        })
    }

    #[inline]
    fn touch(&self) -> usize {
        self.first().map_or(0, T::touch)
    }
}

impl<T: FlinkKey> FlinkKey for BTreeSet<T> {
    fn hash_code(&self) -> i32 {
        self.iter()
            .fold(0, |hash, element| hash.wrapping_add(element.hash_code()))
    }
}

impl<K: FlinkKey, V: FlinkKey> FlinkKey for BTreeMap<K, V> {
    fn hash_code(&self) -> i32 {
        self.iter().fold(0, |hash, (key, value)| {
            hash.wrapping_add(key.hash_code() ^ value.hash_code())
        })
    }
}

impl<T: FlinkKey> FlinkKey for Option<T> {
    fn hash_code(&self) -> i32 {
        self.as_ref().map_or(0, T::hash_code)
    }

    #[inline]
    fn touch(&self) -> usize {
        self.as_ref().map_or(0, T::touch)
    }
}

impl<L: FlinkKey, R: FlinkKey> FlinkKey for Either<L, R> {
    fn hash_code(&self) -> i32 {
        match self {
            Either::Left(value) => value.hash_code(),
            Either::Right(value) => value.hash_code(),
        }
    }

    #[inline]
    fn touch(&self) -> usize {
        match self {
            Either::Left(value) => value.touch(),
            Either::Right(value) => value.touch(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond_types::KeyGroup;

    #[test]
    fn keys_land_in_the_key_groups_that_flink_computes() {
        // Flink 2.3.0: (hash code, group of 128, group of 300).
        fn check(key: impl FlinkKey, hash: i32, of_128: u16, of_300: u16) {
            assert_eq!(key.hash_code(), hash);
            assert_eq!(KeyGroup::of_hash(hash, 128), KeyGroup(of_128));
            assert_eq!(KeyGroup::of_hash(hash, 300), KeyGroup(of_300));
        }
        check("k2".to_owned(), 3367, 82, 26);
        check("né😀".to_owned(), 5_273_822, 73, 169);
        check(42i64, 42, 29, 265);
        check(-1i64, 0, 94, 154);
        check(-7i32, -7, 33, 149);
        check(5i16, 5, 126, 294);
        check(-1i8, -1, 80, 148);
        check(true, 1231, 77, 165);
        check(false, 1237, 3, 191);
        check(("a".to_owned(), 1i64), 3008, 29, 29);
        check(vec!["a".to_owned(), "b".to_owned()], 4066, 60, 168);
    }
}
