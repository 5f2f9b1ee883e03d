//! What the barrier of a checkpoint met on its way, for the log.

use std::fmt;

use millpond_job::acknowledgement::AcknowledgeMetrics;
use millpond_job::dispatcher::CheckpointRecord;

/// Over all subtasks that have acknowledged.
pub(crate) struct Alignment<'a>(pub(crate) &'a CheckpointRecord);

impl fmt::Display for Alignment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subtasks = || self.0.vertices.iter().flat_map(|vertex| &vertex.subtasks);
        let sum = |number: fn(&AcknowledgeMetrics) -> u64| -> u64 {
            subtasks().map(|subtask| number(&subtask.metrics)).sum()
        };
        let longest_ns = subtasks()
            .map(|subtask| subtask.metrics.alignment_duration_ns)
            .max();
        write!(
            f,
            "longest alignment {} ms, buffered {} bytes in {} records, processed {} in {}, persisted {} \
             in {}",
            longest_ns.unwrap_or(0) / 1_000_000,
            sum(|metrics| metrics.buffered_bytes),
            sum(|metrics| metrics.buffered_records),
            sum(|metrics| metrics.processed_bytes),
            sum(|metrics| metrics.processed_records),
            sum(|metrics| metrics.persisted_bytes),
            sum(|metrics| metrics.persisted_records),
        )
    }
}
