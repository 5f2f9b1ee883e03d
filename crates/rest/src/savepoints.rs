//! Savepoints: trigger, stop and cancel behind them, status, disposal.
//!
//! A trigger answers 202 with an id; the state of the operation is asked for under that id. A
//! failure of the operation is a `COMPLETED` one, with its cause in it.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use millpond_job::dispatcher::{
    AfterSavepoint, DispatchError, Operation, SavepointFormat, SavepointRequest,
};
use millpond_types::TriggerId;
use serde::{Deserialize, Serialize};

use crate::answer::{Answer, Empty, Refusal, accepted, ok};
use crate::api::Api;
use crate::request::{JsonBody, PathIds, trigger_id};
use crate::results::Triggered;
use crate::throwable::FailureCause;

/// The answer to a trigger.
#[derive(Serialize)]
pub(crate) struct TriggerResponse {
    #[serde(rename = "request-id")]
    request_id: String,
}

impl TriggerResponse {
    pub(crate) fn new(trigger: TriggerId) -> Self {
        TriggerResponse {
            request_id: trigger.to_string(),
        }
    }
}

/// The state of an operation, with its result once it is done.
#[derive(Serialize)]
pub(crate) struct OperationStatus<R> {
    status: QueueStatus,
    operation: Option<R>,
}

/// Whether an operation is done.
#[derive(Serialize)]
pub(crate) struct QueueStatus {
    id: &'static str,
}

impl QueueStatus {
    pub(crate) const IN_PROGRESS: QueueStatus = QueueStatus { id: "IN_PROGRESS" };
    /// Well or badly.
    pub(crate) const COMPLETED: QueueStatus = QueueStatus { id: "COMPLETED" };
}

impl<R> OperationStatus<R> {
    pub(crate) fn of(operation: Option<R>) -> Self {
        let status = match operation {
            Some(_) => QueueStatus::COMPLETED,
            None => QueueStatus::IN_PROGRESS,
        };
        OperationStatus { status, operation }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct SavepointBody {
    target_directory: Option<String>,
    cancel_job: Option<bool>,
    #[serde(rename = "formatType")]
    format_type: Option<String>,
    #[serde(rename = "triggerId")]
    trigger_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StopBody {
    target_directory: Option<String>,
    drain: Option<bool>,
    format_type: Option<String>,
    trigger_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct DisposalBody {
    savepoint_path: Option<String>,
    #[serde(rename = "triggerId")]
    trigger_id: Option<String>,
}

/// POST `/jobs/J/savepoints`.
pub(crate) async fn trigger(
    State(api): State<Arc<Api>>,
    ids: PathIds,
    JsonBody(body): JsonBody<SavepointBody>,
) -> Answer {
    let then = match body.cancel_job {
        Some(true) => AfterSavepoint::Cancel,
        Some(false) | None => AfterSavepoint::Continue,
    };
    let request = SavepointRequest {
        target_directory: body.target_directory,
        then,
        format: format(body.format_type.as_deref())?,
    };
    start(
        &api,
        &ids,
        body.trigger_id.as_deref(),
        request,
        "target-directory",
    )
}

/// POST `/jobs/J/stop`.
pub(crate) async fn stop(
    State(api): State<Arc<Api>>,
    ids: PathIds,
    JsonBody(body): JsonBody<StopBody>,
) -> Answer {
    let then = match body.drain {
        Some(true) => AfterSavepoint::Drain,
        Some(false) | None => AfterSavepoint::Stop,
    };
    let request = SavepointRequest {
        target_directory: body.target_directory,
        then,
        format: format(body.format_type.as_deref())?,
    };
    start(
        &api,
        &ids,
        body.trigger_id.as_deref(),
        request,
        "targetDirectory",
    )
}

/// Starts a savepoint; `directory_field` is how this request spells its target.
fn start(
    api: &Api,
    ids: &PathIds,
    chosen: Option<&str>,
    request: SavepointRequest,
    directory_field: &str,
) -> Answer {
    let job = ids.job()?;
    let trigger = trigger_id(chosen)?;
    api.dispatcher
        .trigger_savepoint(job, trigger, request)
        .map_err(|error| match error {
            DispatchError::NoTargetDirectory => Refusal::by_handler(
                StatusCode::BAD_REQUEST,
                format!(
                    "Config key [execution.checkpointing.savepoint-dir] is not set. \
                 Property [{directory_field}] must be provided."
                ),
            ),
            other @ (DispatchError::UnknownJob(_)
            | DispatchError::AlreadyEnded(..)
            | DispatchError::Refused(_)
            | DispatchError::UnknownProgram(_)
            | DispatchError::NotElastic) => Refusal::from(other),
        })?;
    api.results.triggered(Triggered::Savepoint(job, trigger));
    accepted(&TriggerResponse::new(trigger))
}

fn format(text: Option<&str>) -> Result<SavepointFormat, Refusal> {
    match text.map(str::to_ascii_uppercase).as_deref() {
        None | Some("CANONICAL") => Ok(SavepointFormat::Canonical),
        Some("NATIVE") => Ok(SavepointFormat::Native),
        Some(other) => Err(Refusal::bad_request(format!(
            "Request did not match expected format: {other} is no format of a savepoint. \
             Expected one of: [[CANONICAL, NATIVE]]"
        ))),
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum SavepointResult {
    Done {
        location: String,
    },
    Failed {
        #[serde(rename = "failure-cause")]
        failure_cause: FailureCause,
    },
}

/// GET `/jobs/J/savepoints/T`, for stops as well.
pub(crate) async fn status(State(api): State<Arc<Api>>, ids: PathIds) -> Answer {
    let (job, trigger) = (ids.job()?, ids.trigger()?);
    let operation = api
        .dispatcher
        .savepoint_status(job, trigger)
        .ok_or_else(|| {
            Refusal::by_handler(
                StatusCode::NOT_FOUND,
                format!("There is no savepoint operation with triggerId={trigger} for job {job}."),
            )
        })?;
    let result = match operation {
        Operation::InProgress => None,
        Operation::Completed(Ok(location)) => Some(SavepointResult::Done { location }),
        Operation::Completed(Err(failure)) => Some(SavepointResult::Failed {
            failure_cause: FailureCause::from(&failure),
        }),
    };
    if result.is_some() {
        api.results.fetched(Triggered::Savepoint(job, trigger));
    }
    ok(&OperationStatus::of(result))
}

/// POST `/savepoint-disposal`; answers 200, as Flink does.
pub(crate) async fn dispose(
    State(api): State<Arc<Api>>,
    JsonBody(body): JsonBody<DisposalBody>,
) -> Answer {
    let Some(path) = body.savepoint_path else {
        return Err(Refusal::by_handler(
            StatusCode::BAD_REQUEST,
            "Property [savepoint-path] must be provided.",
        ));
    };
    let trigger = trigger_id(body.trigger_id.as_deref())?;
    api.dispatcher.dispose_savepoint(trigger, path)?;
    api.results.triggered(Triggered::Disposal(trigger));
    ok(&TriggerResponse::new(trigger))
}

#[derive(Serialize)]
#[serde(untagged)]
enum DisposalResult {
    Done(Empty),
    Failed {
        #[serde(rename = "failure-cause")]
        failure_cause: FailureCause,
    },
}

/// GET `/savepoint-disposal/T`.
pub(crate) async fn disposal_status(State(api): State<Arc<Api>>, ids: PathIds) -> Answer {
    let trigger = ids.trigger()?;
    let operation = api
        .dispatcher
        .disposal_status(trigger)
        .ok_or_else(|| Refusal::not_found(format!("Operation not found under key: {trigger}")))?;
    let result = match operation {
        Operation::InProgress => None,
        Operation::Completed(Ok(())) => Some(DisposalResult::Done(Empty {})),
        Operation::Completed(Err(failure)) => Some(DisposalResult::Failed {
            failure_cause: FailureCause::from(&failure),
        }),
    };
    if result.is_some() {
        api.results.fetched(Triggered::Disposal(trigger));
    }
    ok(&OperationStatus::of(result))
}
