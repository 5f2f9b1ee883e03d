//! What a configuration says about RocksDB, under Flink's keys.
//!
//! An option that is set wins over the predefined options, and those over its default. The files
//! that come of any of them can be restored by Flink: see `flink_options`.
//!
//! Source: Flink 2.3.0, classes `PredefinedOptions`, `RocksDBConfigurableOptions`,
//! `RocksDBResourceContainer`.

use millpond_types::config::{
    CompactionStyle, Compression, ConfigError, ConfigOption, ConfigValue, Configuration,
    MemorySize, PredefinedOptions, options,
};
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ChecksumType, DBCompactionStyle,
    DBCompressionType, LogLevel, Options,
};

use super::memory::SharedMemory;
use crate::flink_options::FORMAT_VERSION;
use crate::list_append;

/// The smallest block in which a table in memory takes its memory.
const MIN_ARENA_BLOCK_BYTES: usize = 64 << 10;

/// Options of RocksDB, read and checked.
#[derive(Clone, Debug)]
pub(crate) struct Tuning {
    pub(crate) write_batch_bytes: usize,
    pub(crate) transfer_threads: usize,
    background_threads: i32,
    open_files: i32,
    style: CompactionStyle,
    dynamic_level_size: bool,
    target_file_bytes: u64,
    level_bytes: u64,
    compression: Vec<Compression>,
    write_buffer_bytes: usize,
    write_buffers: i32,
    write_buffers_to_merge: i32,
    block_bytes: usize,
    metadata_block_bytes: usize,
    block_cache_bytes: usize,
    /// Bits per key.
    bloom_filter: Option<f64>,
    partitioned: bool,
}

impl Tuning {
    /// Reads the options of a configuration.
    pub(crate) fn of(configuration: &Configuration) -> Result<Self, ConfigError> {
        let from = Sources {
            configuration,
            predefined: configuration.get(&options::ROCKSDB_PREDEFINED_OPTIONS)?,
        };
        let bytes = |option: &ConfigOption<MemorySize>| {
            configuration.get(option).map(|size| size.bytes() as usize)
        };
        let is_bloom = from.get(&options::ROCKSDB_BLOOM_FILTER, |of| of.bloom_filter)?;
        let bits = configuration.get(&options::ROCKSDB_BLOOM_FILTER_BITS)?;
        let size = |size: MemorySize| size.bytes();
        let target = from.get(&options::ROCKSDB_TARGET_FILE_SIZE, |of| of.target_file_size);
        let level = from.get(&options::ROCKSDB_LEVEL_SIZE, |of| of.level_size);
        let buffer = from.get(&options::ROCKSDB_WRITE_BUFFER_SIZE, |of| {
            of.write_buffer_size
        });
        let count = from.get(&options::ROCKSDB_WRITE_BUFFER_COUNT, |of| of.write_buffers);
        let merged = from.get(&options::ROCKSDB_WRITE_BUFFERS_TO_MERGE, |of| of.to_merge);
        let block = from.get(&options::ROCKSDB_BLOCK_SIZE, |of| of.block_size);
        let cache = from.get(&options::ROCKSDB_BLOCK_CACHE_SIZE, |of| of.block_cache_size);
        let threads = from.get(&options::ROCKSDB_BACKGROUND_THREADS, |of| of.threads);
        let as_count = |count: u32| i32::try_from(count.max(1)).unwrap_or(i32::MAX);
        Ok(Tuning {
            write_batch_bytes: match bytes(&options::ROCKSDB_WRITE_BATCH_SIZE)? {
                0 => usize::MAX,
                bytes => bytes,
            },
            transfer_threads: configuration
                .get(&options::ROCKSDB_TRANSFER_THREADS)?
                .max(1) as usize,
            background_threads: as_count(threads?),
            open_files: configuration.get(&options::ROCKSDB_OPEN_FILES)?,
            style: configuration.get(&options::ROCKSDB_COMPACTION_STYLE)?,
            dynamic_level_size: from.get(&options::ROCKSDB_DYNAMIC_LEVEL_SIZE, |of| {
                of.dynamic_level_size
            })?,
            target_file_bytes: target.map(size)?,
            level_bytes: level.map(size)?,
            compression: configuration.get(&options::ROCKSDB_COMPRESSION)?.0,
            write_buffer_bytes: buffer.map(size)? as usize,
            write_buffers: as_count(count?),
            write_buffers_to_merge: as_count(merged?),
            block_bytes: block.map(size)? as usize,
            metadata_block_bytes: bytes(&options::ROCKSDB_METADATA_BLOCK_SIZE)?,
            block_cache_bytes: cache.map(size)? as usize,
            bloom_filter: is_bloom.then_some(bits),
            partitioned: configuration.get(&options::ROCKSDB_PARTITIONED_INDEX_FILTERS)?,
        })
    }

    /// Options of a database.
    pub(crate) fn database(&self, memory: Option<&SharedMemory>) -> Options {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_max_background_jobs(self.background_threads);
        options.set_max_open_files(self.open_files);
        options.set_use_fsync(false);
        options.set_log_level(LogLevel::Header);
        options.set_keep_log_file_num(1);
        options.set_stats_dump_period_sec(0);
        options.set_stats_persist_period_sec(0);
        options.set_write_dbid_to_manifest(false);
        if let Some(memory) = memory {
            options.set_write_buffer_manager(&memory.write_buffers);
        }
        options
    }

    /// Options of a column family.
    pub(crate) fn column_family(&self, memory: Option<&SharedMemory>) -> Options {
        let mut options = Options::default();
        match self.style {
            CompactionStyle::Level => options.set_compaction_style(DBCompactionStyle::Level),
            CompactionStyle::Universal => {
                options.set_compaction_style(DBCompactionStyle::Universal);
            }
            CompactionStyle::Fifo => options.set_compaction_style(DBCompactionStyle::Fifo),
            CompactionStyle::None => options.set_disable_auto_compactions(true),
        }
        options.set_level_compaction_dynamic_level_bytes(self.dynamic_level_size);
        options.set_target_file_size_base(self.target_file_bytes);
        options.set_max_bytes_for_level_base(self.level_bytes);
        let levels: Vec<DBCompressionType> = self.compression.iter().map(compression).collect();
        match levels.as_slice() {
            [one] => options.set_compression_type(*one),
            several => options.set_compression_per_level(several),
        }
        options.set_write_buffer_size(self.write_buffer_bytes);
        options.set_max_write_buffer_number(self.write_buffers);
        options.set_min_write_buffer_number_to_merge(self.write_buffers_to_merge);
        if let Some(memory) = memory {
            // A table in memory that is larger than the memory of all of them by its first block
            // would be flushed at every write.
            let block = (memory.write_buffer_bytes / 64).max(MIN_ARENA_BLOCK_BYTES);
            options.set_arena_block_size(block.min(self.write_buffer_bytes / 8));
        }
        options.set_block_based_table_factory(&self.table(memory));
        list_append::register(&mut options);
        options
    }

    fn table(&self, memory: Option<&SharedMemory>) -> BlockBasedOptions {
        let mut table = BlockBasedOptions::default();
        table.set_format_version(FORMAT_VERSION);
        table.set_checksum_type(ChecksumType::CRC32c);
        table.set_block_size(self.block_bytes);
        table.set_metadata_block_size(self.metadata_block_bytes);
        if let Some(bits) = self.bloom_filter {
            table.set_bloom_filter(bits, false);
        }
        match memory {
            Some(memory) => {
                table.set_block_cache(&memory.cache);
                table.set_cache_index_and_filter_blocks(true);
                table.set_cache_index_and_filter_blocks_with_high_priority(true);
                table.set_pin_l0_filter_and_index_blocks_in_cache(true);
            }
            None => table.set_block_cache(&Cache::new_lru_cache(self.block_cache_bytes)),
        }
        if self.partitioned && memory.is_some() {
            table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
            table.set_partition_filters(self.bloom_filter.is_some());
            table.set_pin_top_level_index_and_filter(true);
        }
        table
    }
}

/// Where an option may come from.
struct Sources<'a> {
    configuration: &'a Configuration,
    predefined: PredefinedOptions,
}

impl Sources<'_> {
    fn get<T: ConfigValue>(
        &self,
        option: &ConfigOption<T>,
        of: impl FnOnce(Predefined) -> Option<T>,
    ) -> Result<T, ConfigError> {
        if !self.configuration.contains(option)
            && let Some(value) = of(predefined(self.predefined))
        {
            return Ok(value);
        }
        self.configuration.get(option)
    }
}

/// What predefined options say; the rest is default.
#[derive(Default)]
struct Predefined {
    threads: Option<u32>,
    dynamic_level_size: Option<bool>,
    target_file_size: Option<MemorySize>,
    level_size: Option<MemorySize>,
    write_buffer_size: Option<MemorySize>,
    write_buffers: Option<u32>,
    to_merge: Option<u32>,
    block_size: Option<MemorySize>,
    block_cache_size: Option<MemorySize>,
    bloom_filter: Option<bool>,
}

fn predefined(options: PredefinedOptions) -> Predefined {
    let mib = |count: u64| Some(MemorySize::of_bytes(count << 20));
    match options {
        PredefinedOptions::Default => Predefined::default(),
        PredefinedOptions::SpinningDiskOptimized => Predefined {
            threads: Some(4),
            dynamic_level_size: Some(true),
            ..Predefined::default()
        },
        PredefinedOptions::SpinningDiskOptimizedHighMem => Predefined {
            threads: Some(4),
            dynamic_level_size: Some(true),
            target_file_size: mib(256),
            level_size: mib(1024),
            write_buffer_size: mib(64),
            write_buffers: Some(4),
            to_merge: Some(3),
            block_size: Some(MemorySize::of_bytes(128 << 10)),
            block_cache_size: mib(256),
            bloom_filter: Some(true),
        },
        PredefinedOptions::FlashSsdOptimized => Predefined {
            threads: Some(4),
            ..Predefined::default()
        },
    }
}

fn compression(compression: &Compression) -> DBCompressionType {
    match compression {
        Compression::None => DBCompressionType::None,
        Compression::Snappy => DBCompressionType::Snappy,
        Compression::Zlib => DBCompressionType::Zlib,
        Compression::Bzip2 => DBCompressionType::Bz2,
        Compression::Lz4 => DBCompressionType::Lz4,
        Compression::Lz4hc => DBCompressionType::Lz4hc,
        Compression::Zstd => DBCompressionType::Zstd,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuning(pairs: &[(&str, &str)]) -> Result<Tuning, ConfigError> {
        Tuning::of(&Configuration::from_pairs(pairs.iter().copied()))
    }

    #[test]
    fn what_is_set_wins_over_predefined_options_and_those_over_defaults() {
        let plain = tuning(&[]).expect("defaults");
        assert_eq!(plain.write_buffer_bytes, 64 << 20);
        assert_eq!((plain.write_buffers, plain.background_threads), (2, 2));
        assert_eq!(plain.compression, [Compression::Snappy]);
        assert_eq!(plain.bloom_filter, Some(10.0));
        let without = tuning(&[("state.backend.rocksdb.use-bloom-filter", "false")]);
        assert_eq!(without.expect("values").bloom_filter, None);
        let predefined = (
            "state.backend.rocksdb.predefined-options",
            "spinning_disk_optimized_high_mem",
        );
        let tuned = tuning(&[predefined]).expect("values");
        assert_eq!((tuned.write_buffers, tuned.background_threads), (4, 4));
        assert_eq!(
            (tuned.block_bytes, tuned.block_cache_bytes),
            (128 << 10, 256 << 20)
        );
        assert_eq!(tuned.bloom_filter, Some(10.0));
        let set = ("state.backend.rocksdb.writebuffer.count", "7");
        let tuned = tuning(&[predefined, set]).expect("values");
        assert_eq!((tuned.write_buffers, tuned.write_buffers_to_merge), (7, 3));
    }

    #[test]
    fn a_value_that_is_none_is_told_with_its_key() {
        let error = tuning(&[("state.backend.rocksdb.compaction.style", "SIDEWAYS")]);
        let error = error.expect_err("no style");
        assert_eq!(error.key(), "state.backend.rocksdb.compaction.style");
    }
}
