//! The API server: reads and writes one Lease.

use std::fmt;
use std::path::PathBuf;

use millpond_types::config::options::HIGH_AVAILABILITY;
use serde_json::Value;
use ureq::Agent;
use ureq::http::{Request, StatusCode};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use crate::kubernetes::KubernetesOptions;
use crate::kubernetes::lease::Lease;

/// Where the API server is, as each container of a pod is told.
const HOST: &str = "KUBERNETES_SERVICE_HOST";
const PORT: &str = "KUBERNETES_SERVICE_PORT";

/// The file with the token of the pod: a variable that names another one, as in fabric8, the client that Flink
/// has, and where it is otherwise.
const TOKEN: (&str, &str) = (
    "KUBERNETES_AUTH_SERVICEACCOUNT_TOKEN",
    "/var/run/secrets/kubernetes.io/serviceaccount/token",
);

/// The same for the certificates that sign that of the API server.
const AUTHORITIES: (&str, &str) = (
    "KUBERNETES_CERTS_CA_FILE",
    "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt",
);

/// The largest answer that is read, in bytes.
const MAX_ANSWER_BYTES: u64 = 1 << 20;

/// One Lease of an API server.
pub(crate) struct Api {
    agent: Agent,
    /// `https://host:port`.
    server: String,
    namespace: String,
    name: String,
    /// The file with the token, which is read for each request: it is replaced now and then.
    token: PathBuf,
}

/// What came of a write.
#[derive(Debug)]
pub(crate) enum Written {
    /// It is as it was written, but for what the API server adds.
    Done(Lease),
    /// Somebody else has written meanwhile.
    Conflict,
    /// It was deleted.
    Gone,
}

/// Why the API server does not do what it was asked for; for people.
#[derive(Debug)]
pub(crate) struct ApiError(String);

impl ApiError {
    /// The Lease is this one's, and not as it was.
    pub(crate) fn changed() -> Self {
        ApiError("the Lease has changed meanwhile".to_owned())
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ApiError {}

impl Api {
    /// The one of the cluster that this process is in a pod of, as its environment says.
    ///
    /// # Errors
    ///
    /// It is in none, or its files are not there; for people.
    pub(crate) fn of_pod(
        options: &KubernetesOptions,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        let of_pod = |key: &str| {
            let value = variable(key).filter(|value| !value.is_empty());
            value.ok_or_else(|| {
                format!(
                    "{key} is not set, as it is in pods of Kubernetes: {} = KUBERNETES is for processes there",
                    HIGH_AVAILABILITY.key()
                )
            })
        };
        let (host, port) = (of_pod(HOST)?, of_pod(PORT)?);
        let host = match host.contains(':') {
            true => format!("[{host}]"),
            false => host,
        };
        let file = |(key, default): (&str, &str)| {
            PathBuf::from(variable(key).unwrap_or_else(|| default.to_owned()))
        };
        let authorities = file(AUTHORITIES);
        let told = |why: String| format!("\"{}\": {why}", authorities.display());
        let pem = std::fs::read(&authorities).map_err(|error| told(error.to_string()))?;
        let certificates = certificates(&pem).map_err(told)?;
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(millpond_security::crypto_provider())
            .root_certs(RootCerts::new_with_certs(&certificates))
            .build();
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_global(Some(options.patience()))
            .tls_config(tls);
        Ok(Api {
            agent: config.build().into(),
            server: format!("https://{host}:{port}"),
            namespace: options.namespace.clone(),
            name: options.lease_name(),
            token: file(TOKEN),
        })
    }

    /// The Lease; `None` if there is none.
    pub(crate) fn get(&self) -> Result<Option<Lease>, ApiError> {
        let (status, body) = self.ask("GET", &self.lease(), None)?;
        match status {
            StatusCode::OK => Ok(Some(self.understood(&body)?)),
            StatusCode::NOT_FOUND => Ok(None),
            other => Err(self.refused(other, &body)),
        }
    }

    /// Makes it.
    pub(crate) fn create(&self, lease: &Lease) -> Result<Written, ApiError> {
        let (status, body) = self.ask("POST", &self.leases(), Some(lease))?;
        match status {
            StatusCode::OK | StatusCode::CREATED => Ok(Written::Done(self.understood(&body)?)),
            StatusCode::CONFLICT => Ok(Written::Conflict),
            other => Err(self.refused(other, &body)),
        }
    }

    /// Writes it if nobody has since it was read. One that was deleted meanwhile is answered as a conflict, by its
    /// uid: Kubernetes makes Leases by PUT too.
    pub(crate) fn update(&self, lease: &Lease) -> Result<Written, ApiError> {
        let (status, body) = self.ask("PUT", &self.lease(), Some(lease))?;
        match status {
            StatusCode::OK => Ok(Written::Done(self.understood(&body)?)),
            StatusCode::CONFLICT => Ok(Written::Conflict),
            StatusCode::NOT_FOUND | StatusCode::CREATED => Ok(Written::Gone),
            other => Err(self.refused(other, &body)),
        }
    }

    fn leases(&self) -> String {
        let Api {
            server, namespace, ..
        } = self;
        format!("{server}/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases")
    }

    fn lease(&self) -> String {
        format!("{}/{}", self.leases(), self.name)
    }

    fn ask(
        &self,
        method: &str,
        url: &str,
        lease: Option<&Lease>,
    ) -> Result<(StatusCode, Vec<u8>), ApiError> {
        let token = std::fs::read_to_string(&self.token)
            .map_err(|error| ApiError(format!("\"{}\": {error}", self.token.display())))?;
        let failed = |error: ureq::Error| {
            ApiError(format!(
                "the API server at {} is not reached: {error}",
                self.server
            ))
        };
        let request = Request::builder()
            .method(method)
            .uri(url)
            .header("authorization", format!("Bearer {}", token.trim()))
            .header("accept", "application/json");
        let answer = match lease {
            Some(lease) => {
                let request = request.header("content-type", "application/json");
                let request = request.body(lease.0.to_string());
                request
                    .map_err(ureq::Error::from)
                    .and_then(|request| self.agent.run(request))
            }
            None => {
                let request = request.body(());
                request
                    .map_err(ureq::Error::from)
                    .and_then(|request| self.agent.run(request))
            }
        };
        let mut answer = answer.map_err(failed)?;
        let body = answer
            .body_mut()
            .with_config()
            .limit(MAX_ANSWER_BYTES)
            .read_to_vec()
            .map_err(failed)?;
        Ok((answer.status(), body))
    }

    fn understood(&self, body: &[u8]) -> Result<Lease, ApiError> {
        let lease = serde_json::from_slice(body).map_err(|error| error.to_string());
        let lease = lease.and_then(Lease::from_value);
        lease.map_err(|why| {
            let server = &self.server;
            ApiError(format!(
                "the answer of the API server at {server} is no Lease: {why}"
            ))
        })
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> ApiError {
        let told: Value = serde_json::from_slice(body).unwrap_or_default();
        let told = told["message"].as_str().unwrap_or_default();
        let hint = match status {
            StatusCode::UNAUTHORIZED => {
                format!("; it does not believe \"{}\"", self.token.display())
            }
            StatusCode::FORBIDDEN => format!(
                "; the service account needs a role with get, create and update of leases \
                 (coordination.k8s.io) in namespace {}",
                self.namespace
            ),
            _ => String::new(),
        };
        ApiError(format!(
            "the API server at {} answers {status}: {told}{hint}",
            self.server
        ))
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<Certificate<'static>>, String> {
    let mut certificates = Vec::new();
    for item in parse_pem(pem) {
        let PemItem::Certificate(certificate) = item.map_err(|error| error.to_string())? else {
            return Err("it holds something else than certificates".to_owned());
        };
        certificates.push(certificate);
    }
    match certificates.is_empty() {
        true => Err("it holds no certificate".to_owned()),
        false => Ok(certificates),
    }
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Api {
            name,
            namespace,
            server,
            ..
        } = self;
        write!(
            f,
            "Lease \"{name}\" of namespace \"{namespace}\" at {server}"
        )
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
