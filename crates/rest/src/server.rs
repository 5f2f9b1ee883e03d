//! The thread that serves, and what its owner may ask of it.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::serve::ListenerExt;
use millpond_job::dispatcher::Dispatcher;
use millpond_job::programs::Programs;
use millpond_security::Rest;
use millpond_types::config::{ConfigError, Configuration, Scheduler, options};
use millpond_types::{Clock, SystemClock};
use tokio::sync::oneshot;

use crate::api::Api;
use crate::error::{Error, ErrorKind};
use crate::results::Results;
use crate::routes;
use crate::tls_listener::TlsListener;

/// How long answers under way may take once the server is shut down.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(1);

/// How REST behaves.
#[derive(Clone)]
pub struct RestOptions {
    /// How often the web page is to ask again.
    pub refresh_interval: Duration,
    /// Whether the web page may offer to cancel a job.
    pub cancel_from_web: bool,
    /// Whether the web page may offer to change the parallelism of a job.
    pub rescale_from_web: bool,
    /// What is told as version.
    pub version: String,
    /// The largest body that is read, in bytes.
    pub max_body_bytes: usize,
    /// The time of answers.
    pub clock: Arc<dyn Clock>,
    /// What it asks of clients.
    pub security: Rest,
}

impl Default for RestOptions {
    fn default() -> Self {
        RestOptions {
            refresh_interval: Duration::from_secs(3),
            cancel_from_web: true,
            rescale_from_web: false,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            max_body_bytes: 1 << 20,
            clock: Arc::new(SystemClock),
            security: Rest::default(),
        }
    }
}

impl RestOptions {
    /// Returns what the options say.
    ///
    /// # Errors
    ///
    /// A bad option.
    pub fn from_configuration(configuration: &Configuration) -> Result<Self, ConfigError> {
        Ok(RestOptions {
            refresh_interval: configuration.get(&options::WEB_REFRESH_INTERVAL)?,
            cancel_from_web: configuration.get(&options::WEB_CANCEL_ENABLE)?,
            rescale_from_web: configuration.get(&options::SCHEDULER)? == Scheduler::Adaptive,
            security: Rest::from_configuration(configuration)?,
            ..RestOptions::default()
        })
    }
}

/// A running server. Dropping it shuts it down.
pub struct RestServer {
    local_addr: SocketAddr,
    scheme: &'static str,
    results: Arc<Results>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Serves `dispatcher` on `listener`, in a thread of its own, until the server is dropped.
///
/// # Errors
///
/// The machine refused the listener's address, an event loop or a thread.
pub fn serve(
    listener: TcpListener,
    dispatcher: Arc<dyn Dispatcher>,
    options: RestOptions,
) -> Result<RestServer, Error> {
    start(listener, dispatcher, None, options)
}

/// As [`serve`], for a cluster in which programs can be run.
///
/// # Errors
///
/// As [`serve`].
pub fn serve_cluster(
    listener: TcpListener,
    dispatcher: Arc<dyn Dispatcher>,
    programs: Arc<dyn Programs>,
    options: RestOptions,
) -> Result<RestServer, Error> {
    start(listener, dispatcher, Some(programs), options)
}

fn start(
    listener: TcpListener,
    dispatcher: Arc<dyn Dispatcher>,
    programs: Option<Arc<dyn Programs>>,
    options: RestOptions,
) -> Result<RestServer, Error> {
    let system = |what: &'static str| {
        move |error: std::io::Error| Error::new(ErrorKind::System, what, error)
    };
    let local_addr = listener
        .local_addr()
        .map_err(system("the listener has no address"))?;
    listener
        .set_nonblocking(true)
        .map_err(system("the listener cannot be polled"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(system("no event loop for REST"))?;
    let listener = {
        let _entered = runtime.enter();
        tokio::net::TcpListener::from_std(listener)
            .map_err(system("the event loop does not take the listener"))?
    };
    let results = Arc::new(Results::default());
    let (tls, scheme) = (options.security.tls.clone(), options.security.scheme());
    let api = Api {
        dispatcher,
        programs,
        options,
        results: results.clone(),
        local_addr,
    };
    let router = routes::router(Arc::new(api));
    let (stop, stopped) = oneshot::channel::<()>();
    let (closing, closed) = oneshot::channel::<()>();
    let serving = async move {
        let stopped = async move {
            // A dropped sender means the same as a sent message: the owner is gone.
            stopped.await.ok();
            // Nobody listens if the server has ended by itself.
            closing.send(()).ok();
        };
        let server = async move {
            match tls {
                Some(tls) => {
                    let listener = TlsListener::new(listener, tls);
                    let server = axum::serve(listener, router);
                    server.with_graceful_shutdown(stopped).await
                }
                None => {
                    let listener = listener.tap_io(|stream| {
                        if let Err(error) = stream.set_nodelay(true) {
                            tracing::debug!(%error, "a connection keeps Nagle's delay");
                        }
                    });
                    let server = axum::serve(listener, router);
                    server.with_graceful_shutdown(stopped).await
                }
            }
        };
        let limit = async move {
            closed.await.ok();
            tokio::time::sleep(SHUTDOWN_LIMIT).await;
        };
        tokio::select! {
            served = server => if let Err(error) = served {
                tracing::error!(%error, "REST has ended");
            },
            () = limit => tracing::debug!("REST was shut down with answers under way"),
        }
    };
    let thread = std::thread::Builder::new()
        .name("rest".to_owned())
        .spawn(move || {
            runtime.block_on(serving);
            // Not for as long as a call takes that blocks, as of a program that is asked for its plan.
            runtime.shutdown_timeout(SHUTDOWN_LIMIT);
        })
        .map_err(system("no thread for REST"))?;
    Ok(RestServer {
        local_addr,
        scheme,
        results,
        stop: Some(stop),
        thread: Some(thread),
    })
}

impl RestServer {
    /// Where it listens, with the port that was found.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The same with `http://` or `https://`.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.local_addr)
    }

    /// How many operations were triggered whose result nobody has fetched yet.
    pub fn pending_results(&self) -> usize {
        self.results.pending()
    }

    /// Waits until the result of every operation has been fetched once, at most `limit`; returns
    /// whether it was.
    pub fn wait_for_results(&self, limit: Duration) -> bool {
        self.results.wait(limit)
    }

    /// Takes no more requests, finishes those under way (within two seconds) and ends the thread.
    pub fn shutdown(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The server may have ended by itself.
            stop.send(()).ok();
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of REST has panicked");
        }
    }
}

impl Drop for RestServer {
    fn drop(&mut self) {
        self.end();
    }
}
