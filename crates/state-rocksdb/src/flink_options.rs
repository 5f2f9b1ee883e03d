//! Options of RocksDB: what Flink's files need to be read, and what Flink needs of ours.
//!
//! | option | value | because |
//! | --- | --- | --- |
//! | format version of tables | 5 | FRocksDB 6.20.3 (Flink 1.15 to 1.20) knows none above |
//! | checksums of blocks | CRC-32C | XXH3, the default now, came with 6.27 |
//! | compression | Snappy | Flink's default; every build of FRocksDB has it |
//! | dynamic level sizes | off | as Flink has it |
//! | identity in the manifest | off | as Flink has it |
//!
//! What newer releases write into manifests beyond that is marked as safe to ignore.
//! Source: RocksDB 6.20 and 8.10, files `format.h`, `version_edit.h`; Flink 2.3.0, an `OPTIONS`
//! file that it wrote.

use rocksdb::{BlockBasedOptions, Cache, ChecksumType, DBCompressionType, LogLevel, Options};

use crate::list_append;

/// The newest format of tables that all releases read.
pub(crate) const FORMAT_VERSION: i32 = 5;
/// How many files may be open at once.
const OPEN_FILES: i32 = 256;
/// How large a table in memory grows before it becomes a file, when a snapshot is written.
const WRITE_BUFFER_BYTES: usize = 16 << 20;
/// How large all of them together may be.
const ALL_WRITE_BUFFERS_BYTES: usize = 64 << 20;

/// Options of a database.
pub(crate) fn of_database() -> Options {
    let mut options = Options::default();
    options.set_max_open_files(OPEN_FILES);
    options.set_log_level(LogLevel::Error);
    options.set_keep_log_file_num(1);
    options.set_write_dbid_to_manifest(false);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_db_write_buffer_size(ALL_WRITE_BUFFERS_BYTES);
    options
}

/// Options of a column family whose blocks are kept in `cache`.
pub(crate) fn of_column_family(cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_format_version(FORMAT_VERSION);
    table.set_checksum_type(ChecksumType::CRC32c);
    table.set_block_cache(cache);
    // Else the index of every open file stays in memory, however many there are.
    table.set_cache_index_and_filter_blocks(true);
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_compression_type(DBCompressionType::Snappy);
    options.set_level_compaction_dynamic_level_bytes(false);
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    list_append::register(&mut options);
    options
}
