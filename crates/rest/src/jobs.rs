//! Endpoints that tell about jobs, and the one that cancels them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use millpond_job::dispatcher::{
    DispatchError, ExceptionEntry, JobDetails, JobOverview, OperationFailure, VertexDetails,
};
use millpond_job::{ExecutionState, JobStatus};
use serde::Serialize;

use crate::answer::{Answer, Empty, Refusal, accepted, ok};
use crate::api::Api;
use crate::io_metrics::IoMetrics;
use crate::request::{PathIds, query_value};
use crate::savepoints::QueueStatus;
use crate::throwable::FailureCause;

/// How many exceptions are told when the request does not say.
const EXCEPTIONS_TOLD: usize = 20;

/// Milliseconds since 1970, or -1 for what has not happened.
pub(crate) fn time_or_none(time_ms: Option<u64>) -> i64 {
    time_ms.map_or(-1, |time| time as i64)
}

pub(crate) fn duration_ms(start: u64, end: Option<u64>, now: u64) -> u64 {
    end.unwrap_or(now).saturating_sub(start)
}

#[derive(Serialize)]
struct JobIds {
    jobs: Vec<JobIdAndStatus>,
}

#[derive(Serialize)]
struct JobIdAndStatus {
    id: String,
    status: &'static str,
}

/// GET `/jobs`.
pub(crate) async fn ids(State(api): State<Arc<Api>>) -> Answer {
    let row = |job: JobOverview| JobIdAndStatus {
        id: job.id.to_string(),
        status: job.status.as_str(),
    };
    ok(&JobIds {
        jobs: api.dispatcher.jobs().into_iter().map(row).collect(),
    })
}

#[derive(Serialize)]
struct Jobs {
    jobs: Vec<JobRow>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct JobRow {
    jid: String,
    name: String,
    #[serde(rename = "jobType")]
    job_type: &'static str,
    #[serde(rename = "schedulerType")]
    scheduler_type: &'static str,
    start_time: u64,
    end_time: i64,
    duration: u64,
    state: &'static str,
    last_modification: u64,
    tasks: BTreeMap<String, u32>,
    pending_operators: u32,
}

/// GET `/jobs/overview`.
pub(crate) async fn overview(State(api): State<Arc<Api>>) -> Answer {
    let now = api.now_ms();
    let row = |job: JobOverview| {
        let mut tasks: BTreeMap<String, u32> = ExecutionState::ALL
            .iter()
            .map(|state| {
                (
                    state.as_str().to_lowercase(),
                    job.tasks.get(state).copied().unwrap_or(0),
                )
            })
            .collect();
        tasks.insert("total".to_owned(), job.tasks.values().sum());
        JobRow {
            jid: job.id.to_string(),
            name: job.name.clone(),
            job_type: "STREAMING",
            scheduler_type: scheduler_type(&job),
            start_time: job.start_time_ms,
            end_time: time_or_none(job.end_time_ms),
            duration: duration_ms(job.start_time_ms, job.end_time_ms, now),
            state: job.status.as_str(),
            last_modification: job.last_modification_ms,
            tasks,
            pending_operators: 0,
        }
    };
    ok(&Jobs {
        jobs: api.dispatcher.jobs().into_iter().map(row).collect(),
    })
}

fn scheduler_type(job: &JobOverview) -> &'static str {
    match job.is_elastic {
        true => "Adaptive",
        false => "Default",
    }
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Details {
    jid: String,
    application_id: String,
    name: String,
    #[serde(rename = "isStoppable")]
    is_stoppable: bool,
    state: &'static str,
    job_type: &'static str,
    #[serde(rename = "schedulerType")]
    scheduler_type: &'static str,
    start_time: u64,
    end_time: i64,
    duration: u64,
    #[serde(rename = "maxParallelism")]
    max_parallelism: i32,
    now: u64,
    timestamps: BTreeMap<&'static str, u64>,
    vertices: Vec<Vertex>,
    status_counts: BTreeMap<&'static str, u32>,
    plan: Plan,
    pending_operators: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Vertex {
    id: String,
    #[serde(rename = "slotSharingGroupId")]
    slot_sharing_group_id: String,
    name: String,
    #[serde(rename = "maxParallelism")]
    max_parallelism: u32,
    parallelism: u32,
    status: &'static str,
    start_time: i64,
    end_time: i64,
    duration: i64,
    tasks: BTreeMap<&'static str, u32>,
    metrics: IoMetrics,
}

/// GET `/jobs/J`.
pub(crate) async fn details(State(api): State<Arc<Api>>, ids: PathIds) -> Answer {
    let job = api.job(ids.job()?)?;
    let now = api.now_ms();
    let overview = &job.overview;
    let status_counts = ExecutionState::ALL.map(|state| {
        let count = job
            .vertices
            .iter()
            .filter(|vertex| vertex.status == state)
            .count();
        (state.as_str(), count as u32)
    });
    ok(&Details {
        jid: overview.id.to_string(),
        application_id: overview.id.to_string(),
        name: overview.name.clone(),
        is_stoppable: false,
        state: overview.status.as_str(),
        job_type: "STREAMING",
        scheduler_type: scheduler_type(overview),
        start_time: overview.start_time_ms,
        end_time: time_or_none(overview.end_time_ms),
        duration: duration_ms(overview.start_time_ms, overview.end_time_ms, now),
        max_parallelism: -1,
        now,
        timestamps: JobStatus::ALL
            .map(|status| {
                (
                    status.as_str(),
                    job.timestamps.get(&status).copied().unwrap_or(0),
                )
            })
            .into(),
        vertices: job
            .vertices
            .iter()
            .map(|vertex| vertex_row(&job, vertex, now))
            .collect(),
        status_counts: status_counts.into(),
        plan: plan_of(&job),
        pending_operators: 0,
    })
}

fn vertex_row(job: &JobDetails, vertex: &VertexDetails, now: u64) -> Vertex {
    Vertex {
        id: vertex.id.to_string(),
        // All vertices share their slots, so the job's own id does for the group.
        slot_sharing_group_id: job.overview.id.to_string(),
        name: vertex.name.clone(),
        max_parallelism: vertex.max_parallelism,
        parallelism: vertex.parallelism,
        status: vertex.status.as_str(),
        start_time: time_or_none(vertex.start_time_ms),
        end_time: time_or_none(vertex.end_time_ms),
        duration: vertex.start_time_ms.map_or(-1, |start| {
            duration_ms(start, vertex.end_time_ms, now) as i64
        }),
        tasks: ExecutionState::ALL
            .map(|state| {
                (
                    state.as_str(),
                    vertex.tasks.get(&state).copied().unwrap_or(0),
                )
            })
            .into(),
        metrics: IoMetrics::of(vertex.subtasks.iter().map(|subtask| &subtask.metrics)),
    }
}

#[derive(Serialize)]
struct PlanBody {
    plan: Plan,
}

#[derive(Serialize)]
struct Plan {
    jid: String,
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    nodes: Vec<PlanNode>,
}

#[derive(Serialize)]
struct PlanNode {
    id: String,
    parallelism: u32,
    operator: &'static str,
    operator_strategy: &'static str,
    description: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    inputs: Vec<PlanInput>,
    optimizer_properties: Empty,
}

#[derive(Serialize)]
struct PlanInput {
    num: usize,
    id: String,
    ship_strategy: String,
    exchange: &'static str,
}

/// GET `/jobs/J/plan`.
pub(crate) async fn plan(State(api): State<Arc<Api>>, ids: PathIds) -> Answer {
    ok(&PlanBody {
        plan: plan_of(&api.job(ids.job()?)?),
    })
}

fn plan_of(job: &JobDetails) -> Plan {
    let node = |vertex: &VertexDetails| PlanNode {
        id: vertex.id.to_string(),
        parallelism: vertex.parallelism,
        operator: "",
        operator_strategy: "",
        description: description(&vertex.name),
        inputs: vertex
            .inputs
            .iter()
            .enumerate()
            .map(|(num, input)| PlanInput {
                num,
                id: input.from.to_string(),
                ship_strategy: input.ship_strategy.clone(),
                exchange: "pipelined_bounded",
            })
            .collect(),
        optimizer_properties: Empty {},
    };
    Plan {
        jid: job.overview.id.to_string(),
        name: job.overview.name.clone(),
        kind: "STREAMING",
        nodes: job.vertices.iter().map(node).collect(),
    }
}

/// A chain as a tree in HTML: `counter<br/>+- out: Writer<br/>`.
fn description(chain: &str) -> String {
    let line = |(depth, name): (usize, &str)| match depth {
        0 => format!("{name}<br/>"),
        _ => format!("{}+- {name}<br/>", "   ".repeat(depth - 1)),
    };
    chain.split(" -> ").enumerate().map(line).collect()
}

#[derive(Serialize)]
struct Status {
    status: &'static str,
}

/// GET `/jobs/J/status`.
pub(crate) async fn status(State(api): State<Arc<Api>>, ids: PathIds) -> Answer {
    ok(&Status {
        status: api.job(ids.job()?)?.overview.status.as_str(),
    })
}

/// Like the state of an operation, but the result has a name of its own and is absent until then.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ExecutionStatus {
    status: QueueStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    job_execution_result: Option<ExecutionResult>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ExecutionResult {
    id: String,
    name: String,
    application_status: &'static str,
    accumulator_results: Empty,
    net_runtime: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_cause: Option<FailureCause>,
    application_id: String,
    start_time: u64,
    end_time: i64,
}

/// GET `/jobs/J/execution-result`.
pub(crate) async fn execution_result(State(api): State<Arc<Api>>, ids: PathIds) -> Answer {
    let job = api.job(ids.job()?)?.overview;
    let application_status = match job.status {
        JobStatus::Finished => "SUCCEEDED",
        JobStatus::Failed => "FAILED",
        JobStatus::Canceled => "CANCELED",
        JobStatus::Initializing
        | JobStatus::Created
        | JobStatus::Running
        | JobStatus::Failing
        | JobStatus::Cancelling
        | JobStatus::Restarting
        | JobStatus::Suspended
        | JobStatus::Reconciling => {
            return ok(&ExecutionStatus {
                status: QueueStatus::IN_PROGRESS,
                job_execution_result: None,
            });
        }
    };
    let failure_cause = (job.status == JobStatus::Failed).then(|| {
        let newest = api
            .dispatcher
            .exceptions(job.id)
            .and_then(|all| all.into_iter().next());
        FailureCause::from(&OperationFailure {
            class: "org.apache.flink.runtime.JobException".to_owned(),
            message: newest.map_or_else(|| "the job has failed".to_owned(), |entry| entry.message),
        })
    });
    let result = ExecutionResult {
        id: job.id.to_string(),
        application_status,
        accumulator_results: Empty {},
        net_runtime: duration_ms(job.start_time_ms, job.end_time_ms, api.now_ms()),
        failure_cause,
        application_id: job.id.to_string(),
        start_time: job.start_time_ms,
        end_time: time_or_none(job.end_time_ms),
        name: job.name,
    };
    ok(&ExecutionStatus {
        status: QueueStatus::COMPLETED,
        job_execution_result: Some(result),
    })
}

#[derive(Serialize)]
struct Settings {
    jid: String,
    name: String,
    #[serde(rename = "execution-config")]
    execution_config: ExecutionConfig,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ExecutionConfig {
    restart_strategy: String,
    job_parallelism: u32,
    object_reuse_mode: bool,
    user_config: Empty,
}

/// GET `/jobs/J/config`.
pub(crate) async fn config(State(api): State<Arc<Api>>, ids: PathIds) -> Answer {
    let job = api.job(ids.job()?)?;
    ok(&Settings {
        jid: job.overview.id.to_string(),
        name: job.overview.name,
        execution_config: ExecutionConfig {
            restart_strategy: job.restart_strategy,
            job_parallelism: job.parallelism,
            object_reuse_mode: true,
            user_config: Empty {},
        },
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Exceptions {
    exception_history: ExceptionHistory,
}

#[derive(Serialize)]
struct ExceptionHistory {
    entries: Vec<Exception>,
    truncated: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Exception {
    exception_name: String,
    stacktrace: String,
    timestamp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_name: Option<String>,
    failure_labels: Empty,
    concurrent_exceptions: [(); 0],
}

/// GET `/jobs/J/exceptions?maxExceptions=n`.
pub(crate) async fn exceptions(
    State(api): State<Arc<Api>>,
    ids: PathIds,
    RawQuery(query): RawQuery,
) -> Answer {
    let job = ids.job()?;
    let most = match query_value(query.as_deref(), "maxExceptions") {
        Some(text) => text.parse().map_err(|_| {
            Refusal::bad_request(format!(
                "Bad request, could not parse parameters: Cannot resolve query parameter \
                 (maxExceptions) from value \"{text}\"."
            ))
        })?,
        None => EXCEPTIONS_TOLD,
    };
    let all = api
        .dispatcher
        .exceptions(job)
        .ok_or_else(|| Refusal::unknown_job(job))?;
    let truncated = all.len() > most;
    let row = |entry: ExceptionEntry| Exception {
        // Rust's errors have no class that would mean something to the reader.
        exception_name: entry.message.lines().next().unwrap_or_default().to_owned(),
        stacktrace: entry.message,
        timestamp: entry.timestamp_ms,
        task_name: entry.task,
        failure_labels: Empty {},
        concurrent_exceptions: [],
    };
    let entries = all.into_iter().take(most).map(row).collect();
    ok(&Exceptions {
        exception_history: ExceptionHistory { entries, truncated },
    })
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Accumulators {
    job_accumulators: [(); 0],
    user_task_accumulators: [(); 0],
    serialized_user_task_accumulators: Empty,
}

/// GET `/jobs/J/accumulators`: Millpond has none.
pub(crate) async fn accumulators(State(api): State<Arc<Api>>, ids: PathIds) -> Answer {
    api.job(ids.job()?)?;
    ok(&Accumulators {
        job_accumulators: [],
        user_task_accumulators: [],
        serialized_user_task_accumulators: Empty {},
    })
}

/// PATCH `/jobs/J?mode=cancel`.
pub(crate) async fn terminate(
    State(api): State<Arc<Api>>,
    ids: PathIds,
    RawQuery(query): RawQuery,
) -> Answer {
    let job = ids.job()?;
    match query_value(query.as_deref(), "mode") {
        None | Some("cancel") => cancel(&api, job),
        Some("stop") => Err(Refusal::by_handler(
            StatusCode::PERMANENT_REDIRECT,
            "The termination mode \"stop\" has been removed. For an ungraceful shutdown, please \
             use \"cancel\" instead. For a graceful shutdown, please use \"jobs/:jobId/stop\" \
             instead.",
        )),
        Some(other) => Err(Refusal::bad_request(format!(
            "Bad request, could not parse parameters: Cannot resolve query parameter (mode) from \
             value \"{other}\"."
        ))),
    }
}

/// GET `/jobs/J/yarn-cancel`: the web page's button.
pub(crate) async fn yarn_cancel(State(api): State<Arc<Api>>, ids: PathIds) -> Answer {
    cancel(&api, ids.job()?)
}

fn cancel(api: &Api, job: millpond_types::JobId) -> Answer {
    match api.dispatcher.cancel(job) {
        // Twice is no mistake.
        Ok(()) | Err(DispatchError::AlreadyEnded(_, JobStatus::Canceled)) => accepted(&Empty {}),
        Err(error) => Err(Refusal::from(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_described_as_a_tree() {
        assert_eq!(
            description("counter -> out: Writer"),
            "counter<br/>+- out: Writer<br/>"
        );
        assert_eq!(description("a -> b -> c"), "a<br/>+- b<br/>   +- c<br/>");
    }
}
