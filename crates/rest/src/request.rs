//! What a request holds: ids in its path, values in its query, JSON in its body.

use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use millpond_types::{CheckpointId, JobId, OperatorId, TriggerId};
use serde::de::DeserializeOwned;

use crate::answer::Refusal;
use crate::api::Api;

/// How much of a refused body is read and thrown away, in bytes.
pub(crate) const DISCARDED: usize = 256 << 20;

/// The variable parts of a path.
pub(crate) struct PathIds(RawPathParams);

impl<S: Send + Sync> FromRequestParts<S> for PathIds {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        RawPathParams::from_request_parts(parts, state)
            .await
            .map(PathIds)
            .map_err(|rejection| Refusal::bad_request(rejection.body_text()))
    }
}

impl PathIds {
    pub(crate) fn job(&self) -> Result<JobId, Refusal> {
        self.parse("jobid")
    }

    pub(crate) fn trigger(&self) -> Result<TriggerId, Refusal> {
        self.parse("triggerid")
    }

    pub(crate) fn checkpoint(&self) -> Result<CheckpointId, Refusal> {
        self.parse("checkpointid")
    }

    pub(crate) fn vertex(&self) -> Result<OperatorId, Refusal> {
        self.parse("vertexid")
    }

    pub(crate) fn subtask(&self) -> Result<u32, Refusal> {
        self.parse("subtaskindex")
    }

    fn parse<T: FromStr>(&self, key: &str) -> Result<T, Refusal> {
        let found = self.0.iter().find(|(name, _)| *name == key);
        let value = found.map(|(_, value)| value).unwrap_or_default();
        value.parse().map_err(|_| {
            Refusal::bad_request(format!(
                "Bad request, could not parse parameters: Cannot resolve path parameter ({key}) \
                 from value \"{value}\"."
            ))
        })
    }
}

/// The value of `key` in a query; its first one, not decoded: the values that REST knows are words
/// and numbers.
pub(crate) fn query_value<'a>(query: Option<&'a str>, key: &str) -> Option<&'a str> {
    query?
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(name, _)| *name == key)
        .map(|(_, value)| value)
}

/// A body of JSON, read within a bound. An empty one is `{}`; unknown fields are ignored.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Arc<Api>> for JsonBody<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, Refusal> {
        let limit = api.options.max_body_bytes;
        let too_large = || {
            Refusal::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("HTTP 413 Request Entity Too Large: a request has at most {limit} bytes."),
            )
        };
        if content_length(request.headers()).is_some_and(|length| length > limit as u64) {
            discard(request.into_body()).await;
            return Err(too_large());
        }
        let bytes: Bytes = axum::body::to_bytes(request.into_body(), limit)
            .await
            .map_err(|_| too_large())?;
        let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        serde_json::from_slice(text).map(JsonBody).map_err(|error| {
            Refusal::bad_request(format!("Request did not match expected format: {error}"))
        })
    }
}

/// Reads a body to its end, so that a client that writes first and reads then sees the answer.
pub(crate) async fn discard(mut body: Body) {
    let mut read = 0;
    while read < DISCARDED {
        let frame = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
        match frame {
            Some(Ok(frame)) => read += frame.data_ref().map_or(0, |data| data.len()),
            Some(Err(_)) | None => return,
        }
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// The id that a caller chose, or a new one.
pub(crate) fn trigger_id(chosen: Option<&str>) -> Result<TriggerId, Refusal> {
    match chosen {
        Some(text) => text.parse().map_err(|error| {
            Refusal::bad_request(format!("Request did not match expected format: {error}"))
        }),
        None => Ok(random_trigger_id()),
    }
}

/// Draws an id from the seed that the standard library keeps for its hash tables; whoever wants a
/// run that can be replayed chooses the ids.
fn random_trigger_id() -> TriggerId {
    use std::hash::{BuildHasher, RandomState};
    let seed = RandomState::new();
    let mut id = [0; 16];
    id[..8].copy_from_slice(&seed.hash_one(0u8).to_be_bytes());
    id[8..].copy_from_slice(&seed.hash_one(1u8).to_be_bytes());
    TriggerId(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawn_ids_differ_and_chosen_ones_are_kept() {
        assert_ne!(random_trigger_id(), random_trigger_id());
        let chosen = "00112233445566778899aabbccddeeff";
        assert_eq!(trigger_id(Some(chosen)).expect("an id").to_string(), chosen);
        assert!(trigger_id(Some("mine")).is_err());
    }

    #[test]
    fn a_value_is_found_in_a_query() {
        assert_eq!(query_value(Some("a=1&mode=cancel"), "mode"), Some("cancel"));
        assert_eq!(query_value(Some("mode"), "mode"), None);
        assert_eq!(query_value(None, "mode"), None);
    }
}
