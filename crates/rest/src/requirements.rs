//! Endpoints for the parallelism of a job in elastic mode.

use std::sync::Arc;

use axum::extract::State;
use millpond_job::JobRequirements;
use millpond_job::requirements::RequirementsBody;

use crate::answer::{Answer, Empty, Refusal, ok};
use crate::api::Api;
use crate::request::{JsonBody, PathIds};

/// GET `/jobs/J/resource-requirements`.
pub(crate) async fn get(State(api): State<Arc<Api>>, ids: PathIds) -> Answer {
    let requirements = api.dispatcher.requirements(ids.job()?)?;
    ok(&RequirementsBody::from(&requirements))
}

/// PUT `/jobs/J/resource-requirements`: of all vertices.
pub(crate) async fn put(
    State(api): State<Arc<Api>>,
    ids: PathIds,
    JsonBody(body): JsonBody<RequirementsBody>,
) -> Answer {
    let job = ids.job()?;
    let requirements = JobRequirements::try_from(&body).map_err(|error| {
        Refusal::bad_request(format!("Request did not match expected format: {error}"))
    })?;
    api.dispatcher.require(job, requirements)?;
    ok(&Empty {})
}
