//! Requests without the token are refused, whatever they want.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::answer::Refusal;
use crate::api::Api;

/// Lets a request pass that has the token, or any if none is wanted.
pub(crate) async fn check(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let Some(token) = &api.options.security.token else {
        return next.run(request).await;
    };
    let mut given = request.headers().get_all(AUTHORIZATION).iter();
    let (first, second) = (given.next(), given.next());
    let what = match (first, second) {
        (Some(header), None) if token.is_in(header.as_bytes()) => return next.run(request).await,
        (None, _) => "This cluster asks for a token, and the request has none.",
        _ => "The token of the request is not that of this cluster.",
    };
    let challenge = match first {
        None => "Bearer realm=\"millpond\"",
        Some(_) => "Bearer realm=\"millpond\", error=\"invalid_token\"",
    };
    let text = format!(
        "Unauthorized: {what} It is sent as \"Authorization: Bearer ...\"; millpond takes it from the file \
         that security.rest.token-file names."
    );
    let mut response = Refusal::new(StatusCode::UNAUTHORIZED, text).into_response();
    let headers = response.headers_mut();
    headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    response
}
