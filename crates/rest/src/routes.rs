//! Which path goes to which endpoint.
//!
//! A path that exists under another method is answered as one that does not exist, as in Flink:
//! 404, never 405, and so are HEAD and OPTIONS.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};

use crate::answer::Refusal;
use crate::api::Api;
use crate::{
    bearer, checkpoint_statistics, checkpoints, cluster, jobs, metrics, programs, refused,
    requirements, savepoints, vertices,
};

/// All paths, with and without the prefix `/v1`.
pub(crate) fn router(api: Arc<Api>) -> Router {
    Router::new()
        .merge(endpoints())
        .nest("/v1", endpoints())
        .fallback(not_found)
        .method_not_allowed_fallback(not_found)
        .layer(middleware::from_fn(refuse_head_and_options))
        // The outermost: who has no token learns nothing, not even which paths there are.
        .layer(middleware::from_fn_with_state(
            Arc::clone(&api),
            bearer::check,
        ))
        .with_state(api)
}

fn endpoints() -> Router<Arc<Api>> {
    Router::new()
        .route("/config", get(cluster::config))
        .route("/overview", get(cluster::overview))
        .route("/jobmanager/config", get(cluster::job_manager_config))
        .route("/taskmanagers", get(cluster::task_managers))
        .route("/jobs", get(jobs::ids).post(refused::submit))
        .route("/jobs/overview", get(jobs::overview))
        .route("/jobs/{jobid}", get(jobs::details).patch(jobs::terminate))
        .route("/jobs/{jobid}/yarn-cancel", get(jobs::yarn_cancel))
        .route("/jobs/{jobid}/status", get(jobs::status))
        .route(
            "/jobs/{jobid}/execution-result",
            get(jobs::execution_result),
        )
        .route("/jobs/{jobid}/plan", get(jobs::plan))
        .route("/jobs/{jobid}/config", get(jobs::config))
        .route("/jobs/{jobid}/exceptions", get(jobs::exceptions))
        .route(
            "/jobs/{jobid}/resource-requirements",
            get(requirements::get).put(requirements::put),
        )
        .route("/jobs/{jobid}/accumulators", get(jobs::accumulators))
        .merge(of_vertices())
        .route("/jobs/{jobid}/savepoints", post(savepoints::trigger))
        .route(
            "/jobs/{jobid}/savepoints/{triggerid}",
            get(savepoints::status),
        )
        .route("/jobs/{jobid}/stop", post(savepoints::stop))
        .route("/savepoint-disposal", post(savepoints::dispose))
        .route(
            "/savepoint-disposal/{triggerid}",
            get(savepoints::disposal_status),
        )
        .route(
            "/jobs/{jobid}/checkpoints",
            get(checkpoint_statistics::all).post(checkpoints::trigger),
        )
        .route(
            "/jobs/{jobid}/checkpoints/{triggerid}",
            get(checkpoints::status),
        )
        .route(
            "/jobs/{jobid}/checkpoints/config",
            get(checkpoints::config).put(checkpoints::change_config),
        )
        .route(
            "/jobs/{jobid}/checkpoints/details/{checkpointid}",
            get(checkpoint_statistics::details),
        )
        .route(
            "/jobs/{jobid}/checkpoints/details/{checkpointid}/subtasks/{vertexid}",
            get(checkpoint_statistics::subtasks),
        )
        .route("/jars", get(programs::list))
        .route(
            "/jars/upload",
            // It has a limit of its own.
            post(programs::upload).layer(DefaultBodyLimit::disable()),
        )
        .route("/jars/{jarid}", delete(programs::delete))
        .route("/jars/{jarid}/run", post(programs::run))
        .route(
            "/jars/{jarid}/plan",
            get(programs::plan_by_query).post(programs::plan),
        )
}

fn of_vertices() -> Router<Arc<Api>> {
    let vertex = "/jobs/{jobid}/vertices/{vertexid}";
    Router::new()
        .route(vertex, get(vertices::details))
        .route(
            &format!("{vertex}/backpressure"),
            get(vertices::back_pressure),
        )
        .route(&format!("{vertex}/metrics"), get(metrics::of_vertex))
        .route(
            &format!("{vertex}/subtasks/metrics"),
            get(metrics::of_subtasks),
        )
        .route(
            &format!("{vertex}/subtasks/{{subtaskindex}}/metrics"),
            get(metrics::of_one_subtask),
        )
        .route(&format!("{vertex}/watermarks"), get(metrics::watermarks))
}

async fn not_found(request: Request) -> Response {
    refuse(request.method(), request.uri().path())
}

async fn refuse_head_and_options(request: Request, next: Next) -> Response {
    match *request.method() {
        Method::HEAD | Method::OPTIONS => refuse(request.method(), request.uri().path()),
        _ => next.run(request).await,
    }
}

fn refuse(method: &Method, path: &str) -> Response {
    // In Flink a GET that no handler takes falls to the one that serves files.
    let text = match *method {
        Method::GET => format!("Unable to load requested file {path}."),
        _ => format!("Not found: {path}"),
    };
    Refusal::new(StatusCode::NOT_FOUND, text).into_response()
}
