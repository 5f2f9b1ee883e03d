//! One budget of memory for all RocksDB instances of a process.
//!
//! Write buffers are charged to the block cache, so that both together keep to the budget. How it
//! is split: with a budget *t* and a part *r* for write buffers, the cache has (3 - r) t / 3 and
//! write buffers 2 r t / 3, as they may exceed their limit by half before they are flushed.
//!
//! Source: Flink 2.3.0, class `RocksDBMemoryControllerUtils`.

use millpond_state::CacheMemory;
use millpond_types::config::{ConfigError, Configuration, options};
use rocksdb::{Cache, LruCacheOptions, WriteBufferManager};

/// The least memory of one of the parts that a cache is made of.
const MIN_SHARD_BYTES: usize = 32 << 20;

/// RocksDB's own limit where it chooses.
const MAX_SHARD_BITS: u32 = 6;

/// What instances share.
pub(crate) struct SharedMemory {
    pub(crate) cache: Cache,
    pub(crate) write_buffers: WriteBufferManager,
    pub(crate) write_buffer_bytes: usize,
}

impl SharedMemory {
    /// Returns the memory that a configuration says; `None` if instances share none.
    pub(crate) fn of(configuration: &Configuration) -> Result<Option<Self>, ConfigError> {
        let Some(bytes) = budget_bytes(configuration)? else {
            return Ok(None);
        };
        let ratio = configuration.get(&options::ROCKSDB_WRITE_BUFFER_RATIO)?;
        if !(0.0..=1.0).contains(&ratio) {
            let key = options::ROCKSDB_WRITE_BUFFER_RATIO.key();
            return Err(ConfigError::new(key, ratio.to_string(), "expected 0 to 1"));
        }
        // The rest is that of the caches of decoded values.
        let above = CacheMemory::of(configuration, Some(bytes))?.bytes() as u64;
        let (cache_bytes, write_buffer_bytes) = split(bytes - above, ratio);
        let mut options = LruCacheOptions::default();
        options.set_capacity(cache_bytes);
        options.set_num_shard_bits(shard_bits(cache_bytes));
        let cache = Cache::new_lru_cache_opts(&options);
        let write_buffers = WriteBufferManager::new_write_buffer_manager_with_cache(
            write_buffer_bytes,
            false,
            cache.clone(),
        );
        Ok(Some(SharedMemory {
            cache,
            write_buffers,
            write_buffer_bytes,
        }))
    }
}

/// The bytes of all instances and of the caches above them: fixed ones before managed ones, those of
/// a process last.
pub(super) fn budget_bytes(configuration: &Configuration) -> Result<Option<u64>, ConfigError> {
    let per_slot = configuration.get(&options::ROCKSDB_MEMORY_FIXED_PER_SLOT)?;
    let managed = configuration.get(&options::ROCKSDB_MEMORY_MANAGED)?;
    let size = match (per_slot, managed) {
        (Some(size), _) => Some(size),
        (None, true) => Some(configuration.get(&options::MANAGED_MEMORY_SIZE)?),
        (None, false) => configuration.get(&options::ROCKSDB_MEMORY_FIXED_PER_TM)?,
    };
    Ok(size.map(|size| size.bytes()))
}

/// As how many parts, as a power of two, a cache keeps its blocks.
///
/// A block that is larger than a part is not kept at all. The filter of a table with a million keys
/// is one block of a megabyte; RocksDB's own choice, parts of half a megabyte, would read and check it
/// for each key that is looked up. Few threads read, so few parts do not make them wait.
fn shard_bits(cache_bytes: usize) -> i32 {
    let parts = (cache_bytes / MIN_SHARD_BYTES).clamp(1, 1 << MAX_SHARD_BITS);
    parts.ilog2() as i32
}

/// Bytes of the cache, and of write buffers.
fn split(bytes: u64, ratio: f64) -> (usize, usize) {
    let bytes = bytes as f64;
    let cache = (3.0 - ratio) * bytes / 3.0;
    let write_buffers = 2.0 * ratio * bytes / 3.0;
    (cache as usize, write_buffers as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_split_as_flink_splits_it() {
        let (cache, write_buffers) = split(600 << 20, 0.5);
        assert_eq!((cache >> 20, write_buffers >> 20), (500, 200));
        assert_eq!(split(300, 0.0), (300, 0));
    }

    #[test]
    fn a_part_of_a_cache_has_room_for_large_blocks() {
        assert_eq!((shard_bits(0), shard_bits(63 << 20)), (0, 0));
        assert_eq!((shard_bits(64 << 20), shard_bits(512 << 20)), (1, 4));
        assert_eq!(shard_bits(1 << 40), 6);
    }

    #[test]
    fn fixed_memory_wins_over_managed_memory_and_that_over_the_memory_of_a_process() {
        let budget = |pairs: &[(&str, &str)]| {
            budget_bytes(&Configuration::from_pairs(pairs.iter().copied())).expect("values")
        };
        let managed = ("taskmanager.memory.managed.size", "7 mb");
        let fixed = ("state.backend.rocksdb.memory.fixed-per-slot", "3 mb");
        let unmanaged = ("state.backend.rocksdb.memory.managed", "false");
        let process = ("state.backend.rocksdb.memory.fixed-per-tm", "5 mb");
        assert_eq!(budget(&[]), Some(512 << 20));
        assert_eq!(budget(&[managed, process]), Some(7 << 20));
        assert_eq!(budget(&[managed, process, fixed]), Some(3 << 20));
        assert_eq!(budget(&[managed, process, unmanaged]), Some(5 << 20));
        assert_eq!(budget(&[managed, unmanaged]), None);
        assert_eq!(budget(&[fixed, unmanaged]), Some(3 << 20));
    }
}
