//! Flink's REST API over a running cluster.
//!
//! The server is one thread with one event loop. It asks a
//! [`Dispatcher`](millpond_job::dispatcher::Dispatcher), whose calls return at once, and writes the
//! answers in Flink's shapes: names of fields, codes, texts of errors. Every path answers with and
//! without the prefix `/v1`.
//!
//! What is Flink's is Flink 2.3.0's.
//!
//! # Examples
//!
//! ```
//! use std::sync::Arc;
//! use millpond_rest::{RestOptions, fake::FakeDispatcher, serve};
//!
//! let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
//! let server = serve(listener, Arc::new(FakeDispatcher::new()), RestOptions::default())?;
//! println!("Web interface listening at http://{}.", server.local_addr());
//! server.shutdown();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod answer;
mod api;
mod bearer;
mod bind;
mod checkpoint_statistics;
mod checkpoints;
mod cluster;
mod error;
pub mod fake;
mod io_metrics;
mod jobs;
mod metrics;
mod programs;
mod refused;
mod request;
mod requirements;
mod results;
mod routes;
mod savepoints;
mod server;
mod summary;
mod throwable;
mod tls_listener;
mod vertices;

pub use bind::bind;
pub use error::{Error, ErrorKind};
pub use server::{RestOptions, RestServer, serve, serve_cluster};
