//! The REST API as an action uses it: requests, retries, and waiting for an operation's result.
//!
//! A server that does not accept connections is tried `rest.retry.max-attempts` times. The default
//! is smaller than Flink's, so that a wrong port is told within seconds. An answer that refuses the
//! request is final, except 503.

use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use millpond_types::JobId;
use millpond_types::config::{ConfigError, Configuration, format_duration, options};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

use crate::failure::{Failure, chain};

/// The first pause between two questions for a result; each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// The largest answer that is read, in bytes.
const MAX_ANSWER_BYTES: u64 = 64 << 20;

/// A client of one server.
pub(crate) struct RestClient {
    agent: ureq::Agent,
    /// Headers of each request.
    headers: Vec<(String, String)>,
    base: String,
    attempts: u32,
    retry_delay: Duration,
    timeout: Duration,
    longest_pause: Duration,
}

/// One job in a line.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct JobRow {
    pub(crate) jid: String,
    pub(crate) name: String,
    pub(crate) state: String,
    pub(crate) start_time: i64,
}

#[derive(Deserialize)]
struct Jobs {
    jobs: Vec<JobRow>,
}

/// How far a job is.
#[derive(Debug, Deserialize)]
pub(crate) struct JobDetails {
    pub(crate) vertices: Vec<VertexDetails>,
}

/// How far a job vertex is.
#[derive(Debug, Deserialize)]
pub(crate) struct VertexDetails {
    pub(crate) name: String,
    pub(crate) metrics: VertexMetrics,
}

/// Records of all subtasks of a vertex.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct VertexMetrics {
    pub(crate) read_records: u64,
}

/// The checkpoints of a job.
#[derive(Debug, Deserialize)]
pub(crate) struct Checkpoints {
    pub(crate) latest: LatestCheckpoints,
}

/// The latest checkpoint of each kind.
#[derive(Debug, Deserialize)]
pub(crate) struct LatestCheckpoints {
    pub(crate) completed: Option<CheckpointRow>,
}

/// One checkpoint.
#[derive(Debug, Deserialize)]
pub(crate) struct CheckpointRow {
    pub(crate) id: i64,
}

#[derive(Deserialize)]
struct Triggered {
    #[serde(rename = "request-id")]
    request_id: String,
}

#[derive(Deserialize)]
struct OperationStatus {
    status: QueueStatus,
    operation: Option<Operation>,
}

#[derive(Deserialize)]
struct QueueStatus {
    id: String,
}

/// The results of all operations in one: each has a field of its own.
#[derive(Deserialize)]
struct Operation {
    location: Option<String>,
    #[serde(rename = "checkpointId")]
    checkpoint_id: Option<i64>,
    #[serde(rename = "failure-cause", alias = "failureCause")]
    failure_cause: Option<FailureCause>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct FailureCause {
    class: Option<String>,
    stack_trace: Option<String>,
}

#[derive(Deserialize)]
struct Uploaded {
    filename: String,
}

#[derive(Deserialize)]
struct Run {
    jobid: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Exceptions {
    exception_history: ExceptionHistory,
}

#[derive(Deserialize)]
struct ExceptionHistory {
    entries: Vec<ExceptionRow>,
}

#[derive(Deserialize)]
struct ExceptionRow {
    stacktrace: String,
}

#[derive(Deserialize)]
struct Errors {
    errors: Vec<String>,
}

/// What a savepoint is followed by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ThenCancel {
    Yes,
    No,
}

/// Whether event time is driven to its end before a job stops.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drain {
    Yes,
    No,
}

impl RestClient {
    /// Returns a client as the options say; nothing is sent.
    pub(crate) fn new(configuration: &Configuration) -> Result<Self, ConfigError> {
        let address = configuration.get(&options::REST_ADDRESS)?;
        let host = address.as_deref().unwrap_or("127.0.0.1");
        let port = configuration.get(&options::REST_PORT)?;
        let security = millpond_security::RestClient::from_configuration(configuration)?;
        let mut headers = headers_of_environment();
        if let Some(token) = &security.token {
            headers.retain(|(name, _)| !name.eq_ignore_ascii_case("authorization"));
            headers.push(("authorization".to_owned(), token.header()));
        }
        let scheme = match security.trusted {
            Some(_) => "https",
            None => "http",
        };
        let agent = ureq::Agent::config_builder()
            .tls_config(tls(security)?)
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_connect(Some(configuration.get(&options::REST_CONNECTION_TIMEOUT)?))
            .timeout_recv_response(Some(configuration.get(&options::CLIENT_TIMEOUT)?))
            .build()
            .into();
        Ok(RestClient {
            agent,
            headers,
            base: format!("{scheme}://{host}:{port}"),
            attempts: configuration.get(&options::REST_RETRY_MAX_ATTEMPTS)?.max(1),
            retry_delay: configuration.get(&options::REST_RETRY_DELAY)?,
            timeout: configuration.get(&options::CLIENT_TIMEOUT)?,
            longest_pause: configuration.get(&options::CLIENT_RETRY_PERIOD)?,
        })
    }

    /// All jobs.
    pub(crate) fn jobs(&self) -> Result<Vec<JobRow>, Failure> {
        self.ask::<Jobs>("GET", "/v1/jobs/overview", None)
            .map(|jobs| jobs.jobs)
    }

    /// One job.
    pub(crate) fn job(&self, job: JobId) -> Result<JobDetails, Failure> {
        self.ask("GET", &format!("/v1/jobs/{job}"), None)
    }

    /// The checkpoints of a job.
    pub(crate) fn checkpoints(&self, job: JobId) -> Result<Checkpoints, Failure> {
        self.ask("GET", &format!("/v1/jobs/{job}/checkpoints"), None)
    }

    /// Cancels a job, without waiting for its end.
    pub(crate) fn cancel(&self, job: JobId) -> Result<(), Failure> {
        let path = format!("/v1/jobs/{job}?mode=cancel");
        self.ask::<Value>("PATCH", &path, Some(&json!({})))
            .map(|_| ())
    }

    /// Starts a savepoint; returns the id of the operation.
    pub(crate) fn trigger_savepoint(
        &self,
        job: JobId,
        directory: Option<&str>,
        then_cancel: ThenCancel,
        format: &str,
    ) -> Result<String, Failure> {
        let body = json!({"target-directory": directory,
            "cancel-job": then_cancel == ThenCancel::Yes, "formatType": format,
            "triggerId": null});
        self.trigger(&format!("/v1/jobs/{job}/savepoints"), &body)
    }

    /// Starts a stop with savepoint; returns the id of the operation.
    pub(crate) fn trigger_stop(
        &self,
        job: JobId,
        directory: Option<&str>,
        drain: Drain,
        format: &str,
    ) -> Result<String, Failure> {
        let body = json!({"targetDirectory": directory, "drain": drain == Drain::Yes,
            "formatType": format, "triggerId": null});
        self.trigger(&format!("/v1/jobs/{job}/stop"), &body)
    }

    /// Waits for a savepoint, with or without stop; returns its path.
    pub(crate) fn wait_for_savepoint(&self, job: JobId, trigger: &str) -> Result<String, Failure> {
        let path = format!("/v1/jobs/{job}/savepoints/{trigger}");
        self.wait(&path, trigger)?
            .location
            .ok_or_else(|| malformed(&path, "no location of the savepoint"))
    }

    /// Starts a checkpoint; returns the id of the operation.
    pub(crate) fn trigger_checkpoint(&self, job: JobId, kind: &str) -> Result<String, Failure> {
        let body = json!({"checkpointType": kind, "triggerId": null});
        self.trigger(&format!("/v1/jobs/{job}/checkpoints"), &body)
    }

    /// Changes the interval of periodic checkpoints.
    pub(crate) fn change_checkpoint_interval(
        &self,
        job: JobId,
        interval_ms: u64,
    ) -> Result<(), Failure> {
        let path = format!("/v1/jobs/{job}/checkpoints/config");
        let body = json!({ "interval": interval_ms });
        self.ask::<Value>("PUT", &path, Some(&body)).map(|_| ())
    }

    /// Waits for a checkpoint; returns its number.
    pub(crate) fn wait_for_checkpoint(&self, job: JobId, trigger: &str) -> Result<i64, Failure> {
        let path = format!("/v1/jobs/{job}/checkpoints/{trigger}");
        self.wait(&path, trigger)?
            .checkpoint_id
            .ok_or_else(|| malformed(&path, "no number of the checkpoint"))
    }

    /// Starts the removal of a savepoint; returns the id of the operation.
    pub(crate) fn trigger_disposal(&self, savepoint: &str) -> Result<String, Failure> {
        self.trigger(
            "/v1/savepoint-disposal",
            &json!({"savepoint-path": savepoint}),
        )
    }

    /// Waits for the removal of a savepoint.
    pub(crate) fn wait_for_disposal(&self, trigger: &str) -> Result<(), Failure> {
        self.wait(&format!("/v1/savepoint-disposal/{trigger}"), trigger)
            .map(|_| ())
    }

    /// Uploads a program; returns its id.
    pub(crate) fn upload(&self, program: &Path) -> Result<String, Failure> {
        let not_read = |error: io::Error| {
            Failure::action(error.to_string()).during(format!("\"{}\"", program.display()))
        };
        let file = std::fs::File::open(program).map_err(not_read)?;
        let length = file.metadata().map_err(not_read)?.len();
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        let name = name.replace(['"', '\\', '\r', '\n'], "_");
        let boundary = format!("millpond-{}", millpond_cluster::random::hex(16));
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"jarfile\"; filename=\"{name}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        );
        let tail = format!("\r\n--{boundary}--\r\n");
        let body_length = head.len() as u64 + length + tail.len() as u64;
        let mut body = io::Read::chain(head.as_bytes(), file.take(length)).chain(tail.as_bytes());
        let path = "/v1/jars/upload";
        let mut request = self.agent.post(format!("{}{path}", self.base));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let response = request
            .header(
                "content-type",
                format!("multipart/form-data; boundary={boundary}"),
            )
            .header("content-length", body_length.to_string())
            .send(ureq::SendBody::from_reader(&mut body))
            .map_err(|error| self.unreachable(&error, 1))?;
        let uploaded: Uploaded = self.understand("POST", path, response)?;
        let id = uploaded.filename.rsplit('/').next().unwrap_or_default();
        Ok(id.to_owned())
    }

    /// Runs an uploaded program; returns the job, which has been accepted.
    pub(crate) fn run_program(
        &self,
        id: &str,
        arguments: &[String],
        configuration: &Configuration,
    ) -> Result<JobId, Failure> {
        let configuration: serde_json::Map<String, Value> = configuration
            .iter()
            .map(|(key, value)| (key.to_owned(), value.into()))
            .collect();
        let body = json!({"programArgsList": arguments, "flinkConfiguration": configuration});
        let path = format!("/v1/jars/{id}/run");
        let run: Run = self.ask("POST", &path, Some(&body))?;
        let job = run.jobid.parse::<JobId>();
        job.map_err(|error| malformed(&path, &error.to_string()))
    }

    /// Why a job has failed.
    pub(crate) fn root_exception(&self, job: JobId) -> Result<String, Failure> {
        let path = format!("/v1/jobs/{job}/exceptions");
        let exceptions: Exceptions = self.ask("GET", &path, None)?;
        let newest = exceptions.exception_history.entries.into_iter().next();
        Ok(newest.map(|entry| entry.stacktrace).unwrap_or_default())
    }

    fn trigger(&self, path: &str, body: &Value) -> Result<String, Failure> {
        self.ask::<Triggered>("POST", path, Some(body))
            .map(|triggered| triggered.request_id)
    }

    /// Asks for an operation until it is done.
    fn wait(&self, path: &str, trigger: &str) -> Result<Operation, Failure> {
        let deadline = Instant::now() + self.timeout;
        let mut pause = FIRST_PAUSE;
        loop {
            let status: OperationStatus = self.ask("GET", path, None)?;
            match status.operation {
                Some(Operation {
                    failure_cause: Some(cause),
                    ..
                }) => {
                    let text = cause.stack_trace.or(cause.class).unwrap_or_default();
                    return Err(Failure::action(text));
                }
                Some(operation) => return Ok(operation),
                None if status.status.id == "COMPLETED" => {
                    return Err(malformed(path, "no result of the operation"));
                }
                None => {}
            }
            if Instant::now() + pause > deadline {
                return Err(Failure::action(format!(
                    "no result after {} (client.timeout); the operation goes on in the job, under \
                     triggerId: {trigger}",
                    format_duration(self.timeout)
                )));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(self.longest_pause.max(FIRST_PAUSE));
        }
    }

    fn ask<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<T, Failure> {
        let mut attempt = 1;
        let response = loop {
            match self.send(method, path, body) {
                Ok(response) if response.status() != 503 || attempt >= self.attempts => {
                    break response;
                }
                Err(error) if !is_unreachable(&error) || attempt >= self.attempts => {
                    return Err(self.unreachable(&error, attempt));
                }
                Ok(_) | Err(_) => {}
            }
            attempt += 1;
            std::thread::sleep(self.retry_delay);
        };
        self.understand(method, path, response)
    }

    fn understand<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        mut response: ureq::http::Response<ureq::Body>,
    ) -> Result<T, Failure> {
        let status = response.status();
        let text = response
            .body_mut()
            .with_config()
            .limit(MAX_ANSWER_BYTES)
            .read_to_string()
            .map_err(|error| malformed(path, &error.to_string()))?;
        if status.is_success() {
            return serde_json::from_str(&text)
                .map_err(|error| malformed(path, &error.to_string()));
        }
        Err(match serde_json::from_str::<Errors>(&text) {
            Ok(Errors { errors }) => Failure::Action(errors),
            Err(_) => Failure::action(format!("{method} {}{path}: {status}", self.base)),
        })
    }

    fn send(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("content-type", "application/json; charset=UTF-8");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        match body {
            Some(body) => self.agent.run(request.body(body.to_string())?),
            None => self.agent.run(request.body(())?),
        }
    }

    fn unreachable(&self, error: &ureq::Error, attempts: u32) -> Failure {
        let times = if attempts == 1 {
            "once".to_owned()
        } else {
            format!("{attempts} times")
        };
        let mut causes = vec![format!(
            "no answer from {} (tried {times}); is a job running there? Its address is given with \
             -m host:port",
            self.base
        )];
        causes.extend(chain(error));
        Failure::Action(causes)
    }
}

/// The variable with headers for each request, `name:value` per line: that of Flink's client.
const HEADERS_VARIABLE: &str = "FLINK_REST_CLIENT_HEADERS";

fn headers_of_environment() -> Vec<(String, String)> {
    let text = std::env::var(HEADERS_VARIABLE).unwrap_or_default();
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    let trimmed = pairs.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()));
    trimmed.collect()
}

/// What the client believes and shows, in the words of `ureq`.
fn tls(security: millpond_security::RestClient) -> Result<TlsConfig, ConfigError> {
    let certificate = |der: &[u8]| Certificate::from_der(der).to_owned();
    let trusted = security.trusted.unwrap_or_default();
    let trusted: Vec<_> = trusted.iter().map(|der| certificate(der)).collect();
    let identity = security.identity.map(|identity| {
        let chain: Vec<_> = identity.chain.iter().map(|der| certificate(der)).collect();
        let key = PrivateKey::from_pem(&identity.key).map_err(|error| {
            ConfigError::new(options::SSL_REST_PRIVATE_KEY.key(), "", error.to_string())
        })?;
        Ok(ClientCert::new_with_certs(&chain, key))
    });
    Ok(TlsConfig::builder()
        .unversioned_rustls_crypto_provider(millpond_security::crypto_provider())
        .root_certs(RootCerts::new_with_certs(&trusted))
        .client_cert(identity.transpose()?)
        .build())
}

/// Whether the request has certainly not reached a server, so that it may be sent again.
fn is_unreachable(error: &ureq::Error) -> bool {
    let refused = matches!(error, ureq::Error::Io(error) if is_refused(error));
    refused || matches!(error, ureq::Error::ConnectionFailed)
}

fn is_refused(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionRefused
}

fn malformed(path: &str, what: &str) -> Failure {
    Failure::action(format!(
        "the answer to {path} is not one of Flink's REST API: {what}"
    ))
}
