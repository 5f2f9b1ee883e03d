//! What Flink's REST API offers for programs of the JVM, and Millpond cannot do.

use axum::extract::Request;

use crate::answer::{Answer, Refusal};
use crate::request::discard;

/// POST `/jobs`: a stream graph in Java's serialization.
pub(crate) async fn submit(request: Request) -> Answer {
    discard(request.into_body()).await;
    Err(Refusal::bad_request(
        "Millpond does not run programs of the JVM: a job is an executable. \
         Start it by itself or with \"millpond run PROGRAM\".",
    ))
}
