//! The memory of all caches of a process, and the share that one store's cache has of it.
//!
//! Stores come and go with their subtasks, so the share is looked up whenever it counts: a cache that
//! is above its share when another store has come forgets at its next records.

use millpond_types::config::{ConfigError, Configuration, MemorySize, options};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What the cache of a store may take where neither memory is shared nor a size is set.
const UNSHARED: MemorySize = MemorySize::of_bytes(64 << 20);

/// How much memory the caches above the stores of a process may take, in bytes.
///
/// All of it is divided into equal parts, one for each store that lives; no part is above a bound.
#[derive(Clone, Debug)]
pub struct CacheMemory {
    all: usize,
    each: usize,
    stores: Arc<AtomicUsize>,
}

impl CacheMemory {
    /// Memory of `bytes` for the cache of each store.
    pub fn of_each(bytes: usize) -> Self {
        CacheMemory {
            all: usize::MAX,
            each: bytes,
            stores: Arc::default(),
        }
    }

    /// What a configuration says: of `shared` bytes, which all stores and their caches take together,
    /// the part `state.backend.write-back-cache.fraction`; without such the size of one cache.
    ///
    /// # Errors
    ///
    /// A value is none, or the part is not between 0 and 1.
    pub fn of(configuration: &Configuration, shared: Option<u64>) -> Result<Self, ConfigError> {
        let bytes = |size: MemorySize| usize::try_from(size.bytes()).unwrap_or(usize::MAX);
        let each = configuration.get(&options::WRITE_BACK_CACHE_SIZE)?;
        let Some(shared) = shared else {
            return Ok(CacheMemory::of_each(bytes(each.unwrap_or(UNSHARED))));
        };
        let part = configuration.get(&options::WRITE_BACK_CACHE_FRACTION)?;
        if !(0.0..=1.0).contains(&part) {
            let key = options::WRITE_BACK_CACHE_FRACTION.key();
            return Err(ConfigError::new(key, part.to_string(), "expected 0 to 1"));
        }
        Ok(CacheMemory {
            all: (shared as f64 * part) as usize,
            each: each.map_or(usize::MAX, bytes),
            stores: Arc::default(),
        })
    }

    /// What all caches take together, at most.
    pub fn bytes(&self) -> usize {
        self.all
    }

    /// The share of one more store, for as long as it lives.
    pub(crate) fn share(&self) -> CacheShare {
        self.stores.fetch_add(1, Ordering::Relaxed);
        CacheShare(self.clone())
    }
}

/// The part of one store.
#[derive(Debug)]
pub(crate) struct CacheShare(CacheMemory);

impl CacheShare {
    /// How many bytes it has now.
    #[inline]
    pub(crate) fn bytes(&self) -> usize {
        let CacheMemory { all, each, stores } = &self.0;
        let stores = stores.load(Ordering::Relaxed).max(1);
        (*each).min(all / stores)
    }
}

impl Drop for CacheShare {
    fn drop(&mut self) {
        self.0.stores.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)], shared: Option<u64>) -> Result<CacheMemory, ConfigError> {
        CacheMemory::of(&Configuration::from_pairs(pairs.iter().copied()), shared)
    }

    #[test]
    fn all_caches_together_take_a_part_of_what_is_shared() {
        let memory = of(&[], Some(100 << 20)).expect("defaults");
        assert_eq!(memory.bytes(), 50 << 20);
        let first = memory.share();
        assert_eq!(first.bytes(), 50 << 20);
        let second = memory.share();
        assert_eq!((first.bytes(), second.bytes()), (25 << 20, 25 << 20));
        drop(first);
        assert_eq!(second.bytes(), 50 << 20);
    }

    #[test]
    fn one_cache_takes_no_more_than_is_set() {
        let size = ("state.backend.write-back-cache.size", "3 mb");
        let memory = of(&[size], Some(100 << 20)).expect("values");
        assert_eq!(memory.share().bytes(), 3 << 20);
        assert_eq!(of(&[size], None).expect("values").share().bytes(), 3 << 20);
        assert_eq!(of(&[], None).expect("values").share().bytes(), 64 << 20);
    }

    #[test]
    fn a_part_that_is_none_is_told_with_its_key() {
        let part = ("state.backend.write-back-cache.fraction", "1.5");
        let error = of(&[part], Some(1)).expect_err("no part");
        assert_eq!(error.key(), "state.backend.write-back-cache.fraction");
    }
}
