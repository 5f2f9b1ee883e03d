//! Snapshots that real Flink wrote (the golden ones of the crate `snapshot`), written again in
//! every form, and read back equal.

mod any_types;
mod bootstrap;
mod convert;
mod damage;
mod edit;
mod fixture;
mod property;
mod rehash;
mod search;
