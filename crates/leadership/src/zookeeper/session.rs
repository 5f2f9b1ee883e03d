//! A session with ZooKeeper, for threads that wait.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use zookeeper_client::{
    Acls, Client, Connector, CreateMode, Error, SessionInfo, SessionState, Stat,
};

use crate::zookeeper::ZooKeeperOptions;

/// A thread on which clients work, until it is dropped.
#[derive(Debug)]
pub(crate) struct Reactor {
    handle: Handle,
    _ends: oneshot::Sender<()>,
}

impl Reactor {
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_time().build()?;
        let handle = runtime.handle().clone();
        let (ends, end) = oneshot::channel::<()>();
        std::thread::Builder::new()
            .name("zookeeper".to_owned())
            .spawn(move || {
                // An error is its end: nobody is left to be served.
                let _ = runtime.block_on(end);
            })?;
        Ok(Reactor {
            handle,
            _ends: ends,
        })
    }

    fn wait<T>(
        &self,
        patience: Duration,
        future: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        // The timeout itself has to be made where the clock of the runtime is.
        let within = async { tokio::time::timeout(patience, future).await };
        self.handle.block_on(within).unwrap_or(Err(Error::Timeout))
    }
}

/// A session that nobody is connected to; it ends when it was left for its timeout.
#[derive(Debug)]
pub(crate) struct Left {
    info: SessionInfo,
    pub(crate) timeout: Duration,
}

/// One session, and a connection of it.
#[derive(Debug)]
pub(crate) struct Session {
    client: Client,
    /// How long an answer may take.
    patience: Duration,
    reactor: Arc<Reactor>,
}

impl Session {
    /// A new one, which is closed when this is dropped.
    pub(crate) fn open(reactor: &Arc<Reactor>, options: &ZooKeeperOptions) -> Result<Self, Error> {
        Self::connect(reactor, options, connector(options))
    }

    /// A new one, which is left when this is dropped.
    pub(crate) fn open_to_leave(
        reactor: &Arc<Reactor>,
        options: &ZooKeeperOptions,
    ) -> Result<Self, Error> {
        Self::connect(reactor, options, connector(options).with_detached())
    }

    /// Connects to one that was left; each server is tried once.
    pub(crate) fn resume(
        reactor: &Arc<Reactor>,
        options: &ZooKeeperOptions,
        left: &Left,
    ) -> Result<Self, Error> {
        let connector = connector(options)
            .with_detached()
            .with_fail_eagerly()
            .with_session(left.info.clone());
        Self::connect(reactor, options, connector)
    }

    fn connect(
        reactor: &Arc<Reactor>,
        options: &ZooKeeperOptions,
        connector: Connector,
    ) -> Result<Self, Error> {
        let patience = options.connection_timeout;
        let client = reactor.wait(patience, connector.connect(&options.quorum))?;
        Ok(Session {
            patience: patience.min(client.session_timeout() / 3),
            client,
            reactor: Arc::clone(reactor),
        })
    }

    /// Leaves one that was opened for that.
    pub(crate) fn leave(self) -> Left {
        Left {
            timeout: self.timeout(),
            info: self.client.into_session(),
        }
    }

    /// For how long it lives without contact.
    pub(crate) fn timeout(&self) -> Duration {
        self.client.session_timeout()
    }

    /// Whether a server is connected, as far as is known here.
    pub(crate) fn is_connected(&self) -> bool {
        match self.client.state() {
            SessionState::SyncConnected | SessionState::ConnectedReadOnly => true,
            SessionState::Disconnected
            | SessionState::AuthFailed
            | SessionState::Expired
            | SessionState::Closed => false,
        }
    }

    fn wait<T>(&self, future: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        self.reactor.wait(self.patience, future)
    }

    /// Makes a node that stays, and those above it.
    pub(crate) fn make_directory(&self, path: &str) -> Result<(), Error> {
        let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
        self.wait(self.client.mkdir(path, &options))
    }

    /// Makes a node that goes with the session; `None` if there is one.
    pub(crate) fn make(&self, node: &str) -> Result<Option<Stat>, Error> {
        let options = CreateMode::Ephemeral.with_acls(Acls::anyone_all());
        match self.wait(self.client.create(node, &[], &options)) {
            Ok((stat, _)) => Ok(Some(stat)),
            Err(Error::NodeExists) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Waits until a node is gone, or may be.
    pub(crate) fn wait_until_gone(&self, node: &str) -> Result<(), Error> {
        let (stat, watcher) = self.wait(self.client.check_and_watch_stat(node))?;
        if stat.is_none() {
            return Ok(());
        }
        let changed = async { Ok(watcher.changed().await) };
        // An event can be lost with a connection: it is looked again now and then.
        let often = self.timeout();
        match self.reactor.wait(often, changed) {
            Ok(_) | Err(Error::Timeout) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// What a node holds; `None` if there is none.
    pub(crate) fn look(&self, node: &str) -> Result<Option<(Vec<u8>, Stat)>, Error> {
        // The server may be behind others that were asked before.
        self.wait(self.client.sync(node))?;
        match self.wait(self.client.get_data(node)) {
            Ok(found) => Ok(Some(found)),
            Err(Error::NoNode) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes a node that is of this version.
    pub(crate) fn delete(&self, node: &str, version: i32) -> Result<(), Error> {
        self.wait(self.client.delete(node, Some(version)))
    }

    /// Writes a node that is of this version.
    pub(crate) fn write(&self, node: &str, data: &[u8], version: i32) -> Result<Stat, Error> {
        self.wait(self.client.set_data(node, data, Some(version)))
    }
}

fn connector(options: &ZooKeeperOptions) -> Connector {
    Client::connector()
        .with_session_timeout(options.session_timeout)
        .with_connection_timeout(options.server_timeout())
}
