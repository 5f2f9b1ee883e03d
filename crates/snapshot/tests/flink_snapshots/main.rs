//! Snapshots that real Flink wrote (`tests/golden`, origin in its README): read to the last byte,
//! written again byte by byte, and damaged in every way that chance finds.

mod compressed;
mod damage;
mod fixture;
mod inventory;
mod keyed;
mod metadata;
mod operator_state;
