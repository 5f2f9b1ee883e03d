//! Elements: what travels along an edge, in order per sender.

use crate::batch::AnyBatch;

/// The timestamp of a record that has none; Flink's `Long.MIN_VALUE`.
pub const NO_TIMESTAMP: i64 = i64::MIN;

/// The watermark behind the last record; Flink's `Long.MAX_VALUE`.
pub const MAX_WATERMARK: i64 = i64::MAX;

/// One element of a stream.
#[derive(Clone)]
pub enum Element {
    /// Records.
    Records(Box<dyn AnyBatch>),
    /// No record with a timestamp of at most this will follow from this sender.
    Watermark(i64),
    /// The sender has no records for now: do not wait for its watermark (`true`), or it is back.
    Idle(bool),
    /// The sender has sent its last record and watermark.
    EndOfData,
}
