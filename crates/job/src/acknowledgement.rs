//! What a subtask reports when its part of a snapshot is written.

use millpond_snapshot::{FileRecord, StateRecord, SubtaskSnapshot};
use millpond_types::OperatorId;
use serde::{Deserialize, Serialize};

use crate::job_graph::VertexIndex;

/// One operator's part of a [`SubtaskAcknowledgement`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OperatorAcknowledgement {
    /// The operator.
    pub operator: OperatorId,
    /// Its state handles.
    pub state: SubtaskSnapshot,
    /// The files that the handles point at.
    pub files: Vec<FileRecord>,
    /// Keys and bytes per state and key group.
    pub states: Vec<StateRecord>,
    /// Source positions in words, one line per split; empty for other operators.
    pub positions: Vec<String>,
    /// Whether an exactly-once sink has transactions in this snapshot that are still to be
    /// committed.
    pub pending_transactions: bool,
    /// Whether the end of its input has been processed, and with it the user's `finish`.
    pub ended: bool,
}

/// One subtask's whole part of a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubtaskAcknowledgement {
    /// The vertex.
    pub vertex: VertexIndex,
    /// The subtask, counted from 0.
    pub subtask: u32,
    /// One entry for each operator of the chain.
    pub operators: Vec<OperatorAcknowledgement>,
    /// How long and how large.
    pub metrics: AcknowledgeMetrics,
}

impl SubtaskAcknowledgement {
    /// Bytes of state in this acknowledgement, inline and in files.
    pub fn state_bytes(&self) -> u64 {
        self.operators
            .iter()
            .map(|operator| operator.state.state_size())
            .sum()
    }
}

/// Times and sizes of one subtask's checkpoint, with Flink's meanings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcknowledgeMetrics {
    /// Whether the barrier has overtaken records that were in flight.
    pub unaligned: bool,
    /// From the trigger (the coordinator's clock) to the first sign of the barrier here, in ms.
    pub start_delay_ms: u64,
    /// For how long the barrier was here, in ns: from its first sign to the snapshot or, if it has
    /// overtaken records, until the last of those had arrived. 0 in at-least-once mode, as the
    /// following four.
    pub alignment_duration_ns: u64,
    /// Bytes of records behind the barrier that waited for the snapshot: of the records themselves, in
    /// the form in which they travel between processes.
    pub buffered_bytes: u64,
    /// Those records.
    pub buffered_records: u64,
    /// Bytes of records that were taken to be processed in that time, in the same form.
    pub processed_bytes: u64,
    /// Those records.
    pub processed_records: u64,
    /// Bytes of in-flight data stored.
    pub persisted_bytes: u64,
    /// The records in it.
    pub persisted_records: u64,
    /// Synchronous part on the worker, in ms.
    pub sync_duration_ms: u64,
    /// Asynchronous part in the background, in ms.
    pub async_duration_ms: u64,
    /// Share of the asynchronous part spent in fsync, in ms.
    pub fsync_duration_ms: u64,
    /// Files made. Those that hold the state of several subtasks are counted by one of them.
    pub created_files: u64,
}
