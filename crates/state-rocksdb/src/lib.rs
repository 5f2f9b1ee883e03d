//! State in RocksDB, the only importer of the crate `rocksdb`.
//!
//! | file | what |
//! | --- | --- |
//! | `native` | reads and writes Flink's native snapshots: what [`millpond_snapshot`] leaves open |
//! | `working_directory` | the files of a snapshot under their local names in one directory |
//! | `native_entries` | their entries in canonical form, in the order of key groups |
//! | `native_writer` | a new set of files out of entries |
//! | `flink_options` | options that Flink's own RocksDB, the older one too, can read the result of |
//! | `list_append` | the merge operator of list state |
//! | `store/` | RocksDB as the store of a state backend, with Flink's options |
//! | `failure` | errors of RocksDB in the words of a snapshot |
//!
//! All of it is behind the feature `rocksdb`: compiling RocksDB takes a C++ compiler, libclang and
//! about ten minutes.
#![cfg(feature = "rocksdb")]

mod failure;
mod flink_options;
mod list_append;
mod manifest;
mod native;
mod native_entries;
mod native_writer;
mod store;
mod working_directory;

pub use native::NativeFiles;
pub use store::{RocksDbBackend, RocksDbStore};
