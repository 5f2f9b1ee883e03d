//! Connections by TLS.
//!
//! A client that takes its time to prove who it is holds up no other one, and there are never more than
//! [`MAX_UNKNOWN`] of such.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::Listener;
use millpond_security::rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How many clients may be about to prove who they are.
const MAX_UNKNOWN: usize = 256;

/// How long that may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The pause behind a connection that the system does not give.
const PAUSE: Duration = Duration::from_millis(100);

/// Gives connections whose handshake is done.
pub(crate) struct TlsListener {
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    local_addr: std::io::Result<SocketAddr>,
}

impl TlsListener {
    /// Begins to accept, on the event loop that it is called on.
    pub(crate) fn new(listener: TcpListener, config: Arc<ServerConfig>) -> Self {
        let local_addr = listener.local_addr();
        let (sender, ready) = mpsc::channel(1);
        tokio::spawn(accept(listener, TlsAcceptor::from(config), sender));
        TlsListener { ready, local_addr }
    }
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    ready: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
) {
    let unknown = Arc::new(Semaphore::new(MAX_UNKNOWN));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = ready.closed() => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "a connection to REST is not taken");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&unknown).try_acquire_owned() else {
            tracing::warn!("REST: a connection is closed, as {MAX_UNKNOWN} of strangers are open");
            continue;
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps Nagle's delay");
        }
        let (acceptor, ready) = (acceptor.clone(), ready.clone());
        tokio::spawn(async move {
            match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => {
                    drop(permit);
                    // The server is shut down.
                    ready.send((stream, peer)).await.ok();
                }
                Ok(Err(error)) => tracing::warn!("REST: {peer} is refused: no TLS: {error}"),
                Err(_) => tracing::warn!("REST: {peer} is refused: no TLS in time"),
            }
        });
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(accepted) => accepted,
            // Whoever accepts ends behind this only.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        match &self.local_addr {
            Ok(address) => Ok(*address),
            Err(error) => Err(error.kind().into()),
        }
    }
}
