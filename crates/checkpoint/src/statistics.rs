//! Counts and history of a job's checkpoints, as the REST API shows them.

use millpond_job::dispatcher::{
    CheckpointRecord, CheckpointStatistics, CheckpointStatus, RestoredCheckpoint,
    SubtaskCheckpoint, VertexCheckpoint,
};
use millpond_job::gateway::SnapshotOptions;
use millpond_job::{JobGraph, SubtaskAcknowledgement};
use millpond_snapshot::StateRead;
use millpond_types::{CheckpointId, OperatorId};

use crate::config::is_in_memory;

/// Keeps a job's [`CheckpointStatistics`] up to date.
#[derive(Debug)]
pub(crate) struct Statistics {
    limit: usize,
    vertices: Vec<(OperatorId, u32)>,
    current: CheckpointStatistics,
}

impl Statistics {
    pub(crate) fn new(graph: &JobGraph, limit: usize) -> Self {
        let mut statistics = Statistics {
            limit,
            vertices: Vec::new(),
            current: CheckpointStatistics::default(),
        };
        statistics.rescale(graph);
        statistics
    }

    /// Checkpoints from now on have so many subtasks.
    pub(crate) fn rescale(&mut self, graph: &JobGraph) {
        let vertices = graph.vertices.iter();
        self.vertices = vertices
            .map(|vertex| (vertex.id, vertex.parallelism))
            .collect();
    }

    /// The statistics as they are now.
    pub(crate) fn current(&self) -> &CheckpointStatistics {
        &self.current
    }

    /// A trigger was refused before it got a number.
    pub(crate) fn refused(&mut self) {
        self.current.total += 1;
        self.current.failed += 1;
    }

    /// A checkpoint has begun.
    pub(crate) fn triggered(&mut self, options: &SnapshotOptions) {
        self.current.total += 1;
        self.current.in_progress += 1;
        let vertices = self
            .vertices
            .iter()
            .map(|(id, num_subtasks)| VertexCheckpoint {
                id: *id,
                num_subtasks: *num_subtasks,
                subtasks: Vec::new(),
            });
        let record = CheckpointRecord {
            id: options.id,
            status: CheckpointStatus::InProgress,
            is_savepoint: options.is_savepoint,
            format: options.format,
            is_synchronous: options.stop.is_some(),
            trigger_timestamp_ms: options.triggered_at_ms,
            latest_ack_timestamp_ms: None,
            end_to_end_duration_ms: 0,
            state_bytes: 0,
            checkpointed_bytes: 0,
            processed_bytes: 0,
            num_subtasks: self.vertices.iter().map(|(_, subtasks)| subtasks).sum(),
            num_acknowledged: 0,
            external_path: None,
            discarded: false,
            failure_timestamp_ms: None,
            failure_message: None,
            created_files: 0,
            records_per_second_before: None,
            records_per_second_during: None,
            vertices: vertices.collect(),
        };
        self.current.history.insert(0, record);
        self.trim();
    }

    /// A subtask has acknowledged; `reused_bytes` of its state lie in files of earlier checkpoints.
    pub(crate) fn acknowledged(
        &mut self,
        checkpoint: CheckpointId,
        part: &SubtaskAcknowledgement,
        reused_bytes: u64,
        now_ms: u64,
    ) {
        let Some(record) = self.record(checkpoint) else {
            return;
        };
        let duration = now_ms.saturating_sub(record.trigger_timestamp_ms);
        let state_bytes = part.state_bytes();
        record.num_acknowledged += 1;
        record.latest_ack_timestamp_ms = Some(now_ms);
        record.end_to_end_duration_ms = duration;
        record.state_bytes += state_bytes;
        let checkpointed_bytes = state_bytes.saturating_sub(reused_bytes);
        record.checkpointed_bytes += checkpointed_bytes;
        record.processed_bytes += part.metrics.processed_bytes;
        record.created_files += part.metrics.created_files;
        if let Some(vertex) = record.vertices.get_mut(part.vertex.0 as usize) {
            let at = vertex
                .subtasks
                .partition_point(|subtask| subtask.index < part.subtask);
            vertex.subtasks.insert(
                at,
                SubtaskCheckpoint {
                    index: part.subtask,
                    ack_timestamp_ms: now_ms,
                    end_to_end_duration_ms: duration,
                    state_bytes,
                    checkpointed_bytes,
                    metrics: part.metrics,
                },
            );
        }
    }

    /// A checkpoint is complete.
    pub(crate) fn completed(&mut self, checkpoint: CheckpointId, path: &str, now_ms: u64) {
        self.current.in_progress = self.current.in_progress.saturating_sub(1);
        self.current.completed += 1;
        let Some(record) = self.record(checkpoint) else {
            return;
        };
        record.status = CheckpointStatus::Completed;
        record.created_files += 1;
        record.external_path = Some(external_path(path, record.is_savepoint));
        record.end_to_end_duration_ms = now_ms.saturating_sub(record.trigger_timestamp_ms);
        let record = record.clone();
        if record.is_savepoint {
            self.current.latest_savepoint = Some(record);
        } else {
            self.current.latest_completed = Some(record);
        }
        self.trim();
    }

    /// A checkpoint has failed.
    pub(crate) fn failed(&mut self, checkpoint: CheckpointId, message: &str, now_ms: u64) {
        self.current.in_progress = self.current.in_progress.saturating_sub(1);
        self.current.failed += 1;
        let Some(record) = self.record(checkpoint) else {
            return;
        };
        record.status = CheckpointStatus::Failed;
        record.failure_timestamp_ms = Some(now_ms);
        record.failure_message = Some(message.to_owned());
        record.end_to_end_duration_ms = now_ms.saturating_sub(record.trigger_timestamp_ms);
        let record = record.clone();
        self.current.latest_failed = Some(record);
        self.trim();
    }

    /// It is known how fast the job read before and during a snapshot.
    pub(crate) fn measured(&mut self, checkpoint: CheckpointId, before: Option<f64>, during: f64) {
        for record in self.records(checkpoint) {
            record.records_per_second_before = before;
            record.records_per_second_during = Some(during);
        }
    }

    /// A complete snapshot has been discarded.
    pub(crate) fn discarded(&mut self, checkpoint: CheckpointId) {
        for record in self.records(checkpoint) {
            if record.status == CheckpointStatus::Completed {
                record.discarded = true;
            }
        }
    }

    /// An attempt is restored from a snapshot.
    pub(crate) fn restored(&mut self, mut restored: RestoredCheckpoint) {
        restored.external_path = external_path(&restored.external_path, restored.is_savepoint);
        self.current.restored += 1;
        self.current.fallbacks += u64::from(!restored.damaged.is_empty());
        self.current.latest_restored = Some(restored);
    }

    /// Something was read for the restore of the current attempt.
    pub(crate) fn restore_read(&mut self, read: StateRead) {
        if let Some(restored) = &mut self.current.latest_restored {
            restored.read += read;
        }
    }

    /// All records of a checkpoint: in the history, and among the newest.
    fn records(&mut self, checkpoint: CheckpointId) -> impl Iterator<Item = &mut CheckpointRecord> {
        let current = &mut self.current;
        let latest = [&mut current.latest_completed, &mut current.latest_savepoint];
        let latest = latest.into_iter().filter_map(|record| record.as_mut());
        let all = current.history.iter_mut().chain(latest);
        all.filter(move |record| record.id == checkpoint)
    }

    fn record(&mut self, checkpoint: CheckpointId) -> Option<&mut CheckpointRecord> {
        self.current
            .history
            .iter_mut()
            .find(|record| record.id == checkpoint)
    }

    /// Forgets the oldest records; those in progress stay, they are few.
    fn trim(&mut self) {
        while self.current.history.len() > self.limit {
            let ended = |record: &CheckpointRecord| record.status != CheckpointStatus::InProgress;
            match self.current.history.iter().rposition(ended) {
                Some(oldest) => drop(self.current.history.remove(oldest)),
                None => return,
            }
        }
    }
}

/// Where a snapshot lies for others: a checkpoint in the memory of the job master nowhere.
///
/// Source of the text: Flink 2.3.0, class `NonPersistentMetadataCheckpointStorageLocation`.
fn external_path(directory: &str, is_savepoint: bool) -> String {
    match is_in_memory(directory) && !is_savepoint {
        true => "<checkpoint-not-externally-addressable>".to_owned(),
        false => directory.to_owned(),
    }
}
