//! What Flink's REST API offers for programs of the JVM, and Millpond cannot do.

use std::sync::Arc;

use axum::extract::{Request, State};
use serde::Serialize;

use crate::answer::{Answer, Refusal, ok};
use crate::api::Api;
use crate::request::discard;

/// POST `/jobs`: a stream graph in Java's serialization.
pub(crate) async fn submit(request: Request) -> Answer {
    discard(request.into_body()).await;
    Err(Refusal::bad_request(
        "Millpond does not run programs of the JVM: a job is an executable. \
         Start it by itself or with \"millpond run PROGRAM\".",
    ))
}

/// Everything below `/jars`.
pub(crate) async fn jar(request: Request) -> Answer {
    discard(request.into_body()).await;
    Err(Refusal::bad_request(
        "Millpond has no jars: a job is an executable. \
         Start it by itself or with \"millpond run PROGRAM\".",
    ))
}

/// GET `/jars`: none.
pub(crate) async fn no_jars(State(api): State<Arc<Api>>) -> Answer {
    #[derive(Serialize)]
    struct Jars {
        address: String,
        files: [(); 0],
    }
    ok(&Jars {
        address: format!("http://{}", api.local_addr),
        files: [],
    })
}
