//! Checkpoints by hand, and how the automatic ones are configured.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use millpond_job::dispatcher::{CheckpointKind, Operation};
use millpond_types::CheckpointId;
use serde::{Deserialize, Serialize};

use crate::answer::{Answer, Empty, Refusal, accepted, ok};
use crate::api::Api;
use crate::request::{JsonBody, PathIds, trigger_id};
use crate::results::Triggered;
use crate::savepoints::{OperationStatus, TriggerResponse};
use crate::throwable::FailureCause;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CheckpointBody {
    checkpoint_type: Option<String>,
    trigger_id: Option<String>,
}

/// POST `/jobs/J/checkpoints`.
pub(crate) async fn trigger(
    State(api): State<Arc<Api>>,
    ids: PathIds,
    JsonBody(body): JsonBody<CheckpointBody>,
) -> Answer {
    let job = ids.job()?;
    let kind = match body
        .checkpoint_type
        .map(|text| text.to_ascii_uppercase())
        .as_deref()
    {
        None | Some("CONFIGURED") => CheckpointKind::Configured,
        Some("FULL") => CheckpointKind::Full,
        Some("INCREMENTAL") => CheckpointKind::Incremental,
        Some(other) => {
            return Err(Refusal::bad_request(format!(
                "Request did not match expected format: {other} is no type of a checkpoint. \
                 Expected one of: [[CONFIGURED, FULL, INCREMENTAL]]"
            )));
        }
    };
    let trigger = trigger_id(body.trigger_id.as_deref())?;
    api.dispatcher.trigger_checkpoint(job, trigger, kind)?;
    api.results.triggered(Triggered::Checkpoint(job, trigger));
    accepted(&TriggerResponse::new(trigger))
}

/// One of the two; the failure is spelled otherwise than that of a savepoint.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CheckpointResult {
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint_id: Option<CheckpointId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_cause: Option<FailureCause>,
}

/// GET `/jobs/J/checkpoints/T`.
pub(crate) async fn status(State(api): State<Arc<Api>>, ids: PathIds) -> Answer {
    let (job, trigger) = (ids.job()?, ids.trigger()?);
    let operation = api
        .dispatcher
        .checkpoint_status(job, trigger)
        .ok_or_else(|| {
            Refusal::by_handler(
                StatusCode::NOT_FOUND,
                format!("There is no checkpoint operation with triggerId={trigger} for job {job}."),
            )
        })?;
    let result = match operation {
        Operation::InProgress => None,
        Operation::Completed(Ok(id)) => Some(CheckpointResult {
            checkpoint_id: Some(id),
            failure_cause: None,
        }),
        Operation::Completed(Err(failure)) => Some(CheckpointResult {
            checkpoint_id: None,
            failure_cause: Some(FailureCause::from(&failure)),
        }),
    };
    if result.is_some() {
        api.results.fetched(Triggered::Checkpoint(job, trigger));
    }
    ok(&OperationStatus::of(result))
}

/// What can be changed while a job runs.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConfigChange {
    /// Milliseconds between the triggers of periodic checkpoints.
    interval: u64,
}

/// PUT `/jobs/J/checkpoints/config`, which Flink does not have.
pub(crate) async fn change_config(
    State(api): State<Arc<Api>>,
    ids: PathIds,
    JsonBody(change): JsonBody<ConfigChange>,
) -> Answer {
    let job = ids.job()?;
    if change.interval == 0 {
        return Err(Refusal::bad_request(
            "Request did not match expected format: interval is 0, expected at least 1 (milliseconds)"
                .to_owned(),
        ));
    }
    api.dispatcher
        .set_checkpoint_interval(job, change.interval)?;
    ok(&Empty {})
}

/// The fields of Flink's answer, in its order. What Millpond does not have is told as switched
/// off.
#[derive(Serialize)]
struct CheckpointConfigBody {
    mode: &'static str,
    interval: u64,
    timeout: u64,
    min_pause: u64,
    max_concurrent: u32,
    externalization: Externalization,
    state_backend: String,
    checkpoint_storage: String,
    unaligned_checkpoints: bool,
    tolerable_failed_checkpoints: u32,
    aligned_checkpoint_timeout: u64,
    checkpoints_after_tasks_finish: bool,
    state_changelog_enabled: bool,
    changelog_periodic_materialization_interval: u64,
    changelog_storage: &'static str,
}

#[derive(Serialize)]
struct Externalization {
    enabled: bool,
    delete_on_cancellation: bool,
}

/// GET `/jobs/J/checkpoints/config`.
pub(crate) async fn config(State(api): State<Arc<Api>>, ids: PathIds) -> Answer {
    let job = ids.job()?;
    let config = api
        .dispatcher
        .checkpoint_config(job)
        .ok_or_else(|| Refusal::unknown_job(job))?;
    ok(&CheckpointConfigBody {
        mode: if config.exactly_once {
            "exactly_once"
        } else {
            "at_least_once"
        },
        // What Flink says, and its web page understands, when there are only savepoints.
        interval: config.interval_ms.unwrap_or(i64::MAX as u64),
        timeout: config.timeout_ms,
        min_pause: config.min_pause_ms,
        max_concurrent: config.max_concurrent,
        externalization: Externalization {
            enabled: config.externalized,
            delete_on_cancellation: config.delete_on_cancellation,
        },
        state_backend: config.state_backend,
        checkpoint_storage: config.checkpoint_storage,
        unaligned_checkpoints: config.aligned_timeout_ms.is_some(),
        tolerable_failed_checkpoints: config.tolerable_failed,
        aligned_checkpoint_timeout: config.aligned_timeout_ms.unwrap_or(0),
        checkpoints_after_tasks_finish: config.after_tasks_finish,
        state_changelog_enabled: false,
        changelog_periodic_materialization_interval: 600_000,
        changelog_storage: "memory",
    })
}
