//! Flink's snapshot format: metadata, handles, keyed and operator state files.
