//! An API server of Kubernetes for tests: it answers about Leases as is documented, by TLS.
//!
//! ```text
//! GET, PUT  /apis/coordination.k8s.io/v1/namespaces/NAMESPACE/leases/NAME
//! POST      /apis/coordination.k8s.io/v1/namespaces/NAMESPACE/leases
//! ```
//!
//! Sources: Kubernetes API conventions ("Concurrency control and consistency", "HTTP status codes"); API
//! reference, `coordination.k8s.io/v1` `Lease`; Kubernetes' `pkg/apis/coordination/validation` and
//! `pkg/registry/coordination/lease/strategy.go` (no update without a version, updates that make a Lease);
//! issue 705 of `kubernetes-sigs/kwok` (the answer to an update of one that was deleted). No line of it was
//! compared with a real one.

mod rules;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millpond_certificates::Authority;
use millpond_security::Rest;
use millpond_security::rustls::{ServerConfig, ServerConnection, StreamOwned};
use millpond_types::config::Configuration;
use serde_json::Value;

use crate::rules::State;

/// How the server behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// As it should.
    #[default]
    Answers,
    /// Says no, with this code.
    Refuses(u16),
    /// Answers by what is no JSON.
    Babbles,
    /// Takes requests, and says nothing.
    Hangs,
    /// Does what it is asked for, and breaks the connection; once, for a write.
    LosesAnAnswer,
    /// Somebody else takes the Lease right before the next write; once.
    IsRaced,
}

/// One server, which listens on this machine for as long as the process lives.
pub struct ApiServer {
    state: Arc<Mutex<State>>,
    address: SocketAddr,
    pod: tempfile::TempDir,
}

impl ApiServer {
    /// Starts one that knows pods by the token `secret`.
    ///
    /// # Panics
    ///
    /// If the machine has no port or no room.
    pub fn start() -> Self {
        let pod = tempfile::tempdir().expect("room");
        let authority = Authority::new(pod.path());
        authority.sign("server");
        let mut options = authority.options("security.ssl.rest", "server");
        options.push(("security.ssl.rest.enabled".to_owned(), "true".to_owned()));
        let tls = Rest::from_configuration(&Configuration::from_pairs(options));
        let tls = tls.expect("it was signed just now").tls.expect("enabled");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let server = ApiServer {
            state: Arc::default(),
            address: listener.local_addr().expect("a port"),
            pod,
        };
        server.give_token("secret\n");
        let state = Arc::clone(&server.state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.expect("a connection");
                let (state, tls) = (Arc::clone(&state), Arc::clone(&tls));
                // Whoever asked has gone away.
                std::thread::spawn(move || drop(serve(stream, tls, &state)));
            }
        });
        server
    }

    /// The variables that containers of its pods have.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let file = |name: &str| self.pod.path().join(name).display().to_string();
        vec![
            ("KUBERNETES_SERVICE_HOST", self.address.ip().to_string()),
            ("KUBERNETES_SERVICE_PORT", self.address.port().to_string()),
            ("KUBERNETES_AUTH_SERVICEACCOUNT_TOKEN", file("token")),
            ("KUBERNETES_CERTS_CA_FILE", file("ca.pem")),
        ]
    }

    /// One of them.
    pub fn variable(&self, key: &str) -> Option<String> {
        let mut all = self.variables().into_iter();
        all.find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    /// Replaces the token in the files of pods.
    ///
    /// # Panics
    ///
    /// If there is no room.
    pub fn give_token(&self, token: &str) {
        let next: PathBuf = self.pod.path().join("token.next");
        std::fs::write(&next, token).expect("room");
        std::fs::rename(next, self.pod.path().join("token")).expect("room");
    }

    /// From now on pods are known by this token.
    pub fn believe(&self, token: &str) {
        self.state().token = token.to_owned();
    }

    /// From now on it behaves so.
    pub fn mood(&self, mood: Mood) {
        self.state().mood = mood;
    }

    /// The Lease of that namespace and name.
    pub fn lease(&self, namespace: &str, name: &str) -> Option<Value> {
        self.state().lease(namespace, name).cloned()
    }

    /// Writes a Lease as `kubectl edit` would.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn edit(&self, namespace: &str, name: &str, edit: impl FnOnce(&mut Value)) {
        let mut state = self.state();
        let mut lease = state.lease(namespace, name).expect("a Lease").clone();
        edit(&mut lease);
        state.keep(namespace, name, lease);
    }

    /// Deletes a Lease, as `kubectl delete` would.
    pub fn delete(&self, namespace: &str, name: &str) {
        self.state().delete(namespace, name);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request, on a connection of its own.
fn serve(stream: TcpStream, tls: Arc<ServerConfig>, state: &Mutex<State>) -> io::Result<()> {
    let session = ServerConnection::new(tls).map_err(io::Error::other)?;
    let mut reader = BufReader::new(StreamOwned::new(session, stream));
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let (mut length, mut authorization) = (0, String::new());
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(':') else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().map_err(io::Error::other)?,
            "authorization" => authorization = value.trim().to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let mut words = first.split_whitespace();
    let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let (code, text) = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        match state.mood {
            Mood::Hangs => {
                drop(state);
                // Until the other end gives up.
                return reader.read_to_end(&mut Vec::new()).map(drop);
            }
            Mood::Babbles => (200, "<html>".to_owned()),
            Mood::Answers | Mood::Refuses(_) | Mood::LosesAnAnswer | Mood::IsRaced => {
                let (code, answer) = state.decide(method, path, &authorization, &body);
                if state.mood == Mood::LosesAnAnswer && method != "GET" {
                    state.mood = Mood::Answers;
                    return Ok(());
                }
                (code, answer.to_string())
            }
        }
    };
    let mut stream = reader.into_inner();
    write!(
        stream,
        "HTTP/1.1 {code} Told\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{text}",
        text.len()
    )?;
    stream.conn.send_close_notify();
    stream.flush()
}
