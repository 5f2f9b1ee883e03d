//! Snapshots of Flink's RocksDB backend, read, written, and damaged.
#![cfg(feature = "rocksdb")]

mod damage;
mod fixture;
mod reading;
mod writing;
