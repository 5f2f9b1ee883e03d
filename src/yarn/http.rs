//! Questions to a ResourceManager by HTTP, and what its refusals mean.
//!
//! Who asks is said as Hadoop's pseudo authentication wants it (`user.name`; Apache Hadoop 3.4.1,
//! "Authentication for Hadoop HTTP web-consoles"). Kerberos is not spoken. Redirects are not
//! followed: a ResourceManager that stands by sends elsewhere, and which one is active is asked before
//! anything else.

use millpond_types::config::{ConfigError, Configuration, options};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::failure::{Failure, chain};

/// The largest answer that is read, in bytes.
const MAX_ANSWER_BYTES: u64 = 16 << 20;

/// How much of an answer that is not understood is shown, in characters.
const SHOWN: usize = 200;

/// A client for the ResourceManagers of a cluster.
pub(crate) struct Http {
    agent: ureq::Agent,
    user: Option<String>,
}

/// An answer: success, "there is no such thing" (404), or "this makes no sense" (400).
pub(crate) struct Answer {
    pub(crate) status: u16,
    text: String,
    /// The question, for people.
    question: String,
}

/// What a ResourceManager says when it refuses: its own API, or that of services.
#[derive(Deserialize)]
struct Refusal {
    #[serde(rename = "RemoteException")]
    remote_exception: Option<RemoteException>,
    diagnostics: Option<String>,
}

#[derive(Deserialize)]
struct RemoteException {
    message: Option<String>,
}

impl Http {
    /// A client as the options say; nothing is sent.
    pub(crate) fn new(configuration: &Configuration) -> Result<Self, ConfigError> {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_connect(Some(configuration.get(&options::REST_CONNECTION_TIMEOUT)?))
            .timeout_global(Some(configuration.get(&options::CLIENT_TIMEOUT)?))
            .build()
            .into();
        Ok(Http {
            agent,
            user: user(),
        })
    }

    /// Asks the ResourceManager at `address`.
    pub(crate) fn ask(
        &self,
        method: &str,
        address: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Failure> {
        let question = format!("{method} http://{address}{path}");
        let no_answer = |error: &ureq::Error| {
            let mut causes = vec![format!("no answer to {question}")];
            causes.extend(chain(error));
            Failure::Action(causes)
        };
        let mut response = self
            .send(method, address, path, body)
            .map_err(|error| no_answer(&error))?;
        let status = response.status().as_u16();
        let location = response.headers().get("location").cloned();
        let body = response.body_mut().with_config().limit(MAX_ANSWER_BYTES);
        let text = body.lossy_utf8(true).read_to_string().map_err(|error| {
            Failure::action(format!("the answer to {question} cannot be read: {error}"))
        })?;
        let location = location
            .as_ref()
            .and_then(|location| location.to_str().ok());
        let answer = Answer {
            status,
            text,
            question,
        };
        match self.refusal(&answer, location) {
            Some(failure) => Err(failure),
            None => Ok(answer),
        }
    }

    fn send(
        &self,
        method: &str,
        address: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
        let mut uri = format!("http://{address}{path}");
        if let Some(user) = &self.user {
            uri.push(if path.contains('?') { '&' } else { '?' });
            uri.push_str("user.name=");
            uri.push_str(&encoded(user));
        }
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(uri)
            .header("accept", "application/json")
            .header("content-type", "application/json");
        match body {
            Some(body) => self.agent.run(request.body(body.to_string())?),
            None => self.agent.run(request.body(())?),
        }
    }

    /// What an answer that is none of [`Answer`]'s means.
    fn refusal(&self, answer: &Answer, location: Option<&str>) -> Option<Failure> {
        let Answer {
            status, question, ..
        } = answer;
        let reason = answer.reason();
        Some(Failure::action(match status {
            200..=299 | 400 | 404 => return None,
            401 => format!(
                "{question} was answered by 401: this cluster asks for Kerberos, which millpond does not \
                 speak; take the address of the job manager from YARN, and name it by -m host:port"
            ),
            403 => {
                let user = self.user.as_deref().unwrap_or("nobody");
                format!(
                    "{question} was answered by 403: the user \"{user}\" may not do that ({reason}); \
                     HADOOP_USER_NAME names another user, and who may what is in the ACLs of the queue and \
                     of the application"
                )
            }
            300..=399 => format!(
                "{question} was answered by {status}, which sends to {}: a ResourceManager answers itself; \
                 name it, or all of them, by {}",
                location.unwrap_or("nowhere"),
                options::YARN_RESOURCE_MANAGER.key()
            ),
            _ => format!("{question} was answered by {status}: {reason}"),
        }))
    }
}

impl Answer {
    /// The answer as `T`.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_str(&self.text).map_err(|error| {
            Failure::Action(vec![
                format!(
                    "the answer to {} is not one of YARN's REST API: \"{}\"",
                    self.question,
                    shown(&self.text)
                ),
                error.to_string(),
            ])
        })
    }

    /// Why it refuses, in its own words.
    pub(crate) fn reason(&self) -> String {
        let own = serde_json::from_str::<Refusal>(&self.text).ok();
        own.and_then(|refusal| {
            let of_exception = refusal.remote_exception.and_then(|own| own.message);
            of_exception.or(refusal.diagnostics)
        })
        .unwrap_or_else(|| shown(&self.text))
    }

    /// A failure that tells the reason.
    pub(crate) fn refused(&self) -> Failure {
        Failure::action(format!(
            "{} was answered by {}: {}",
            self.question,
            self.status,
            self.reason()
        ))
    }
}

/// Who asks: the user that Hadoop's own clients would take.
pub(crate) fn user() -> Option<String> {
    ["HADOOP_USER_NAME", "USER", "LOGNAME"]
        .into_iter()
        .filter_map(|name| std::env::var(name).ok())
        .find(|name| !name.is_empty())
}

/// The text as a part of a URI.
pub(crate) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(byte.into());
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// The begin of a text, in one line.
fn shown(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, text: &str) -> Answer {
        Answer {
            status,
            text: text.to_owned(),
            question: "GET http://rm:8088/x".to_owned(),
        }
    }

    #[test]
    fn a_reason_is_found_in_either_api() {
        let own = r#"{"RemoteException":{"exception":"NotFoundException","message":"app with id: x not found",
            "javaClassName":"org.apache.hadoop.yarn.webapp.NotFoundException"}}"#;
        assert_eq!(answer(404, own).reason(), "app with id: x not found");
        let services = r#"{"diagnostics":"Service name x is already taken."}"#;
        assert_eq!(
            answer(500, services).reason(),
            "Service name x is already taken."
        );
        let page = format!("<html>\n  <b>{}</b>", "ö".repeat(1000));
        let reason = answer(500, &page).reason();
        assert!(reason.starts_with("<html> <b>ö"), "{reason}");
        assert_eq!(reason.chars().count(), SHOWN + 3);
    }

    #[test]
    fn what_is_strange_in_a_uri_is_encoded() {
        assert_eq!(encoded("a-b_c.d~9"), "a-b_c.d~9");
        assert_eq!(encoded("a&b=/ö"), "a%26b%3D%2F%C3%B6");
    }
}
