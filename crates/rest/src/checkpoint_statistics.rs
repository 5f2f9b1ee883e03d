//! Counts, sizes, durations and history of checkpoints.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use millpond_job::acknowledgement::AcknowledgeMetrics;
use millpond_job::dispatcher::{
    CheckpointRecord, CheckpointStatistics, CheckpointStatus, RestoredCheckpoint, SavepointFormat,
    StateRead, SubtaskCheckpoint, VertexCheckpoint,
};
use millpond_types::{CheckpointId, JobId};
use serde::Serialize;

use crate::answer::{Answer, Refusal, ok};
use crate::api::Api;
use crate::request::PathIds;
use crate::summary::Summary;

#[derive(Serialize)]
struct Statistics {
    counts: Counts,
    summary: StatisticsSummary,
    latest: Latest,
    history: Vec<Checkpoint>,
}

#[derive(Serialize)]
struct Counts {
    restored: u64,
    /// Millpond's own; there if there were any.
    #[serde(skip_serializing_if = "is_zero")]
    fallbacks: u64,
    total: u64,
    in_progress: u64,
    completed: u64,
    failed: u64,
}

#[derive(Serialize)]
struct StatisticsSummary {
    checkpointed_size: Summary,
    state_size: Summary,
    end_to_end_duration: Summary,
    alignment_buffered: Summary,
    processed_data: Summary,
    persisted_data: Summary,
}

#[derive(Serialize)]
struct Latest {
    completed: Option<Checkpoint>,
    savepoint: Option<Checkpoint>,
    failed: Option<Checkpoint>,
    restored: Option<Restored>,
}

#[derive(Serialize)]
struct Restored {
    id: CheckpointId,
    restore_timestamp: u64,
    is_savepoint: bool,
    external_path: String,
    /// Newer snapshots that were passed over. Millpond's own; there if there were any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    damaged: Vec<String>,
    /// What was read of its state. Millpond's own; there if anything was.
    #[serde(skip_serializing_if = "Option::is_none")]
    state_read: Option<StateRead>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl From<RestoredCheckpoint> for Restored {
    fn from(restored: RestoredCheckpoint) -> Self {
        Restored {
            id: restored.id,
            restore_timestamp: restored.restore_timestamp_ms,
            is_savepoint: restored.is_savepoint,
            external_path: restored.external_path,
            damaged: restored.damaged,
            state_read: (restored.read != StateRead::default()).then_some(restored.read),
        }
    }
}

/// A checkpoint or savepoint. `className` says which of the last fields are there; those about
/// records per second are Millpond's own, and there if they are known.
#[derive(Serialize)]
struct Checkpoint {
    #[serde(rename = "className")]
    class_name: &'static str,
    id: CheckpointId,
    status: &'static str,
    is_savepoint: bool,
    #[serde(rename = "savepointFormat")]
    savepoint_format: Option<&'static str>,
    trigger_timestamp: u64,
    latest_ack_timestamp: i64,
    checkpointed_size: u64,
    state_size: u64,
    end_to_end_duration: u64,
    alignment_buffered: u64,
    processed_data: u64,
    persisted_data: u64,
    num_subtasks: u32,
    num_acknowledged_subtasks: u32,
    checkpoint_type: &'static str,
    tasks: BTreeMap<String, Task>,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    discarded: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_timestamp: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_message: Option<String>,
    /// Millpond's own, as the following ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    created_files: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    records_per_second_before: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    records_per_second_during: Option<f64>,
    /// During to before: 1 is no impact.
    #[serde(skip_serializing_if = "Option::is_none")]
    records_per_second_ratio: Option<f64>,
}

/// One vertex's part.
#[derive(Serialize)]
struct Task {
    id: CheckpointId,
    status: &'static str,
    latest_ack_timestamp: i64,
    checkpointed_size: u64,
    state_size: u64,
    end_to_end_duration: u64,
    alignment_buffered: u64,
    processed_data: u64,
    persisted_data: u64,
    num_subtasks: u32,
    num_acknowledged_subtasks: u32,
}

fn status_name(status: CheckpointStatus) -> &'static str {
    match status {
        CheckpointStatus::InProgress => "IN_PROGRESS",
        CheckpointStatus::Completed => "COMPLETED",
        CheckpointStatus::Failed => "FAILED",
    }
}

fn rounded(number: f64, parts: f64) -> f64 {
    (number * parts).round() / parts
}

/// The rate during a snapshot to that before it, if there was one.
fn ratio(record: &CheckpointRecord) -> Option<f64> {
    let before = record
        .records_per_second_before
        .filter(|rate| *rate > 0.0)?;
    Some(record.records_per_second_during? / before)
}

/// The sum of a number over all subtasks.
fn total(record: &CheckpointRecord, number: fn(&AcknowledgeMetrics) -> u64) -> u64 {
    let subtasks = record.vertices.iter().flat_map(|vertex| &vertex.subtasks);
    subtasks.map(|subtask| number(&subtask.metrics)).sum()
}

fn persisted(record: &CheckpointRecord) -> u64 {
    total(record, |metrics| metrics.persisted_bytes)
}

fn buffered(record: &CheckpointRecord) -> u64 {
    total(record, |metrics| metrics.buffered_bytes)
}

/// Whether it has overtaken records in any subtask.
fn is_unaligned(record: &CheckpointRecord) -> bool {
    let subtasks = record.vertices.iter().flat_map(|vertex| &vertex.subtasks);
    subtasks
        .into_iter()
        .any(|subtask| subtask.metrics.unaligned)
}

impl Checkpoint {
    fn without_tasks(record: &CheckpointRecord) -> Self {
        let completed = record.status == CheckpointStatus::Completed;
        let failed = record.status == CheckpointStatus::Failed;
        Checkpoint {
            class_name: match record.status {
                CheckpointStatus::InProgress => "in_progress",
                CheckpointStatus::Completed => "completed",
                CheckpointStatus::Failed => "failed",
            },
            id: record.id,
            status: status_name(record.status),
            is_savepoint: record.is_savepoint,
            savepoint_format: record.is_savepoint.then_some(match record.format {
                SavepointFormat::Canonical => "CANONICAL",
                SavepointFormat::Native => "NATIVE",
            }),
            trigger_timestamp: record.trigger_timestamp_ms,
            latest_ack_timestamp: record
                .latest_ack_timestamp_ms
                .map_or(-1, |time| time as i64),
            checkpointed_size: record.checkpointed_bytes,
            state_size: record.state_bytes,
            end_to_end_duration: record.end_to_end_duration_ms,
            alignment_buffered: buffered(record),
            processed_data: record.processed_bytes,
            persisted_data: persisted(record),
            num_subtasks: record.num_subtasks,
            num_acknowledged_subtasks: record.num_acknowledged,
            checkpoint_type: match (record.is_savepoint, record.is_synchronous) {
                (false, _) if is_unaligned(record) => "UNALIGNED_CHECKPOINT",
                (false, _) => "CHECKPOINT",
                (true, false) => "SAVEPOINT",
                (true, true) => "SYNC_SAVEPOINT",
            },
            tasks: BTreeMap::new(),
            external_path: record.external_path.clone().filter(|_| completed),
            discarded: completed.then_some(record.discarded),
            failure_timestamp: failed.then(|| {
                record
                    .failure_timestamp_ms
                    .unwrap_or(record.trigger_timestamp_ms)
            }),
            failure_message: record.failure_message.clone().filter(|_| failed),
            created_files: Some(record.created_files).filter(|files| *files > 0),
            records_per_second_before: record.records_per_second_before.map(|r| rounded(r, 10.0)),
            records_per_second_during: record.records_per_second_during.map(|r| rounded(r, 10.0)),
            records_per_second_ratio: ratio(record).map(|ratio| rounded(ratio, 1000.0)),
        }
    }

    fn with_tasks(record: &CheckpointRecord) -> Self {
        let task = |vertex| (vertex_id(vertex), Task::new(record, vertex));
        Checkpoint {
            tasks: record.vertices.iter().map(task).collect(),
            ..Checkpoint::without_tasks(record)
        }
    }
}

fn vertex_id(vertex: &VertexCheckpoint) -> String {
    vertex.id.to_string()
}

impl Task {
    fn new(record: &CheckpointRecord, vertex: &VertexCheckpoint) -> Self {
        let subtasks = &vertex.subtasks;
        let sum = |number: fn(&SubtaskCheckpoint) -> u64| subtasks.iter().map(number).sum::<u64>();
        let latest = subtasks
            .iter()
            .map(|subtask| subtask.ack_timestamp_ms)
            .max();
        Task {
            id: record.id,
            status: status_name(record.status),
            latest_ack_timestamp: latest.map_or(-1, |time| time as i64),
            checkpointed_size: sum(|subtask| subtask.checkpointed_bytes),
            state_size: sum(|subtask| subtask.state_bytes),
            end_to_end_duration: subtasks
                .iter()
                .map(|subtask| subtask.end_to_end_duration_ms)
                .max()
                .unwrap_or(0),
            alignment_buffered: sum(|subtask| subtask.metrics.buffered_bytes),
            processed_data: sum(|subtask| subtask.metrics.processed_bytes),
            persisted_data: sum(|subtask| subtask.metrics.persisted_bytes),
            num_subtasks: vertex.num_subtasks,
            num_acknowledged_subtasks: subtasks.len() as u32,
        }
    }
}

/// GET `/jobs/J/checkpoints`.
pub(crate) async fn all(State(api): State<Arc<Api>>, ids: PathIds) -> Answer {
    let statistics = statistics(&api, ids.job()?)?;
    let completed = || {
        statistics
            .history
            .iter()
            .filter(|record| record.status == CheckpointStatus::Completed)
    };
    let latest = |record: &Option<CheckpointRecord>| record.as_ref().map(Checkpoint::without_tasks);
    ok(&Statistics {
        counts: Counts {
            restored: statistics.restored,
            fallbacks: statistics.fallbacks,
            total: statistics.total,
            in_progress: statistics.in_progress,
            completed: statistics.completed,
            failed: statistics.failed,
        },
        summary: StatisticsSummary {
            checkpointed_size: Summary::of(completed().map(|record| record.checkpointed_bytes)),
            state_size: Summary::of(completed().map(|record| record.state_bytes)),
            end_to_end_duration: Summary::of(
                completed().map(|record| record.end_to_end_duration_ms),
            ),
            alignment_buffered: Summary::of(completed().map(buffered)),
            processed_data: Summary::of(completed().map(|record| record.processed_bytes)),
            persisted_data: Summary::of(completed().map(persisted)),
        },
        latest: Latest {
            completed: latest(&statistics.latest_completed),
            savepoint: latest(&statistics.latest_savepoint),
            failed: latest(&statistics.latest_failed),
            restored: statistics.latest_restored.clone().map(Restored::from),
        },
        history: statistics
            .history
            .iter()
            .map(Checkpoint::without_tasks)
            .collect(),
    })
}

/// GET `/jobs/J/checkpoints/details/n`.
pub(crate) async fn details(State(api): State<Arc<Api>>, ids: PathIds) -> Answer {
    let (job, checkpoint) = (ids.job()?, ids.checkpoint()?);
    ok(&Checkpoint::with_tasks(&record(&api, job, checkpoint)?))
}

#[derive(Serialize)]
struct TaskWithSubtasks {
    #[serde(flatten)]
    task: Task,
    summary: TaskSummary,
    subtasks: Vec<Subtask>,
}

#[derive(Serialize)]
struct TaskSummary {
    checkpointed_size: Summary,
    state_size: Summary,
    end_to_end_duration: Summary,
    checkpoint_duration: Parts<Summary>,
    alignment: Alignment<Summary>,
    start_delay: Summary,
}

/// Milliseconds on the worker and in the background.
#[derive(Serialize)]
struct Parts<T> {
    sync: T,
    #[serde(rename = "async")]
    background: T,
}

/// Bytes, and milliseconds for the duration. The numbers of records are Millpond's own.
#[derive(Serialize)]
struct Alignment<T> {
    buffered: T,
    processed: T,
    persisted: T,
    duration: T,
    buffered_records: T,
    processed_records: T,
    persisted_records: T,
}

impl<T> Alignment<T> {
    /// Each number as `value` has it.
    fn of(value: impl Fn(fn(&AcknowledgeMetrics) -> u64) -> T) -> Self {
        Alignment {
            buffered: value(|metrics| metrics.buffered_bytes),
            processed: value(|metrics| metrics.processed_bytes),
            persisted: value(|metrics| metrics.persisted_bytes),
            duration: value(|metrics| metrics.alignment_duration_ns / 1_000_000),
            buffered_records: value(|metrics| metrics.buffered_records),
            processed_records: value(|metrics| metrics.processed_records),
            persisted_records: value(|metrics| metrics.persisted_records),
        }
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Subtask {
    Completed(Box<CompletedSubtask>),
    Pending {
        #[serde(rename = "className")]
        class_name: &'static str,
        index: u32,
        status: &'static str,
    },
}

#[derive(Serialize)]
struct CompletedSubtask {
    #[serde(rename = "className")]
    class_name: &'static str,
    index: u32,
    ack_timestamp: u64,
    end_to_end_duration: u64,
    checkpointed_size: u64,
    state_size: u64,
    checkpoint: Parts<u64>,
    alignment: Alignment<u64>,
    start_delay: u64,
    unaligned_checkpoint: bool,
    aborted: bool,
    status: &'static str,
}

/// GET `/jobs/J/checkpoints/details/n/subtasks/V`.
pub(crate) async fn subtasks(State(api): State<Arc<Api>>, ids: PathIds) -> Answer {
    let (job, checkpoint, vertex) = (ids.job()?, ids.checkpoint()?, ids.vertex()?);
    let record = record(&api, job, checkpoint)?;
    let vertex = record
        .vertices
        .iter()
        .find(|other| other.id == vertex)
        .ok_or_else(|| {
            Refusal::not_found(format!(
                "There is no checkpoint statistics for task {vertex} in checkpoint {checkpoint}."
            ))
        })?;
    let all = |number: fn(&SubtaskCheckpoint) -> u64| {
        Summary::without_percentiles(vertex.subtasks.iter().map(number))
    };
    let measured = |number: fn(&AcknowledgeMetrics) -> u64| {
        let numbers = vertex.subtasks.iter().map(|row| number(&row.metrics));
        Summary::without_percentiles(numbers)
    };
    ok(&TaskWithSubtasks {
        task: Task::new(&record, vertex),
        summary: TaskSummary {
            checkpointed_size: all(|subtask| subtask.checkpointed_bytes),
            state_size: all(|subtask| subtask.state_bytes),
            end_to_end_duration: all(|subtask| subtask.end_to_end_duration_ms),
            checkpoint_duration: Parts {
                sync: all(|subtask| subtask.metrics.sync_duration_ms),
                background: all(|subtask| subtask.metrics.async_duration_ms),
            },
            alignment: Alignment::of(measured),
            start_delay: all(|subtask| subtask.metrics.start_delay_ms),
        },
        subtasks: (0..vertex.num_subtasks)
            .map(|index| subtask_row(vertex, index))
            .collect(),
    })
}

fn subtask_row(vertex: &VertexCheckpoint, index: u32) -> Subtask {
    let Some(subtask) = vertex
        .subtasks
        .iter()
        .find(|subtask| subtask.index == index)
    else {
        return Subtask::Pending {
            class_name: "pending",
            index,
            status: "pending_or_failed",
        };
    };
    let metrics = &subtask.metrics;
    Subtask::Completed(Box::new(CompletedSubtask {
        class_name: "completed",
        index,
        ack_timestamp: subtask.ack_timestamp_ms,
        end_to_end_duration: subtask.end_to_end_duration_ms,
        checkpointed_size: subtask.checkpointed_bytes,
        state_size: subtask.state_bytes,
        checkpoint: Parts {
            sync: metrics.sync_duration_ms,
            background: metrics.async_duration_ms,
        },
        alignment: Alignment::of(|number| number(metrics)),
        start_delay: metrics.start_delay_ms,
        unaligned_checkpoint: metrics.unaligned,
        aborted: false,
        status: "completed",
    }))
}

fn statistics(api: &Api, job: JobId) -> Result<CheckpointStatistics, Refusal> {
    api.dispatcher
        .checkpoints(job)
        .ok_or_else(|| Refusal::unknown_job(job))
}

/// A checkpoint of the history, or one of the newest that has already left it.
fn record(api: &Api, job: JobId, id: CheckpointId) -> Result<CheckpointRecord, Refusal> {
    let CheckpointStatistics {
        history,
        latest_completed,
        latest_savepoint,
        latest_failed,
        ..
    } = statistics(api, job)?;
    history
        .into_iter()
        .chain(latest_completed)
        .chain(latest_savepoint)
        .chain(latest_failed)
        .find(|record| record.id == id)
        .ok_or_else(|| {
            Refusal::not_found(format!(
                "Could not find checkpointing statistics for checkpoint {id}."
            ))
        })
}
