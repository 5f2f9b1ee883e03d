//! Queries over snapshots that Flink wrote: every row is what the sidecar says.

mod aggregates;
mod conformance;
mod damage;
mod fixture;
mod kept;
mod names;
mod parquet;
