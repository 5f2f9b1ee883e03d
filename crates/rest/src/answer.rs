//! Answers: JSON with Flink's headers, and refusals as `{"errors":[...]}`.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use millpond_job::JobStatus;
use millpond_job::dispatcher::DispatchError;
use millpond_types::JobId;
use serde::Serialize;

/// What an endpoint returns.
pub(crate) type Answer = Result<Response, Refusal>;

/// Answers 200 with `body`.
pub(crate) fn ok(body: &impl Serialize) -> Answer {
    Ok(json(StatusCode::OK, body))
}

/// Answers 202 with `body`.
pub(crate) fn accepted(body: &impl Serialize) -> Answer {
    Ok(json(StatusCode::ACCEPTED, body))
}

/// The body `{}`.
#[derive(Serialize)]
pub(crate) struct Empty {}

/// Answers with any code.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let bytes = serde_json::to_vec(body).expect("answers have text keys and cannot fail");
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json; charset=UTF-8"),
    );
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        HeaderValue::from_static("*"),
    );
    response
}

/// A request that is not carried out.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    text: String,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Refusal {
            status,
            text: text.into(),
        }
    }

    pub(crate) fn bad_request(text: impl Into<String>) -> Self {
        Refusal::new(StatusCode::BAD_REQUEST, text)
    }

    /// 404 in the words of a Flink handler that finds nothing.
    pub(crate) fn not_found(text: impl Into<String>) -> Self {
        let text = text.into();
        Refusal::new(
            StatusCode::NOT_FOUND,
            format!("org.apache.flink.runtime.rest.NotFoundException: {text}"),
        )
    }

    /// A refusal in the words of a Flink handler.
    pub(crate) fn by_handler(status: StatusCode, text: impl Into<String>) -> Self {
        let text = text.into();
        Refusal::new(
            status,
            format!("org.apache.flink.runtime.rest.handler.RestHandlerException: {text}"),
        )
    }

    pub(crate) fn unknown_job(job: JobId) -> Self {
        Refusal::from(DispatchError::UnknownJob(job))
    }
}

impl From<DispatchError> for Refusal {
    fn from(error: DispatchError) -> Self {
        let text = error.to_string();
        match error {
            DispatchError::UnknownJob(_) => Refusal::not_found(text),
            DispatchError::AlreadyEnded(_, status) => {
                debug_assert_ne!(status, JobStatus::Running);
                Refusal::by_handler(StatusCode::CONFLICT, text)
            }
            DispatchError::NoTargetDirectory => Refusal::by_handler(StatusCode::BAD_REQUEST, text),
            DispatchError::UnknownProgram(_) => Refusal::by_handler(StatusCode::NOT_FOUND, text),
            // In Flink nobody has caught it.
            DispatchError::NotElastic => Refusal::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!(
                    "Internal server error.\n<Exception on server side:\n\
                     java.lang.UnsupportedOperationException: {text}\n\
                     End of exception on server side>"
                ),
            ),
            DispatchError::Refused(_) => Refusal::by_handler(StatusCode::BAD_REQUEST, text),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Errors {
            errors: [String; 1],
        }
        json(
            self.status,
            &Errors {
                errors: [self.text],
            },
        )
    }
}
