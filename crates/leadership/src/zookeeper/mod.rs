//! Apache ZooKeeper elects: who has made the ephemeral node leads, for as long as its session lives.
//!
//! ```text
//! <root>/<cluster id>/leader/millpond    ephemeral; holds where the leader is: {"rpc":"host:port","rest":"host:port"}
//! ```
//!
//! The node is not the one of Flink's job managers, whose clusters may share root and id.
//!
//! ZooKeeper forgets a session, and with it the node, when it has heard nothing for the timeout of the
//! session. The leader resumes it and writes its node again and again: once a majority has taken that write
//! the session does not end before the moment at which it was resumed plus the timeout (`node` says why). That is the
//! term. A leader that is cut off or stands still knows by its own clock that it is over, not later than
//! ZooKeeper lets another one lead. Rejected: what the client tells of its session, as it waits for longer
//! than the timeout before it gives a session up by itself; and reads, which a server that is itself
//! cut off from the majority answers.

mod node;
mod session;

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millpond_types::config::{ConfigError, Configuration, format_duration, options};
use zookeeper_client::Error as ZooKeeperError;

use crate::election::{Election, Leader, Leadership, cluster_id};
use crate::leading::Leading;
use crate::zookeeper::node::Node;
use crate::zookeeper::session::{Reactor, Session};

/// The name of the node.
const NODE: &str = "millpond";

/// How often the node is written while a session lasts.
const WRITES_PER_SESSION: u32 = 6;

/// How many servers that do not answer can be tried while a session lasts.
const SERVERS_PER_SESSION: u32 = 4;

/// How often those who follow ask.
const FOLLOW: Duration = Duration::from_secs(1);

/// How ZooKeeper is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ZooKeeperOptions {
    /// `host:port`, with commas between.
    quorum: String,
    /// The node above that of the leader.
    directory: String,
    /// After how long without contact a leader leads no more; the servers may have bounds for it.
    session_timeout: Duration,
    /// How long it may take until a server lets a session begin, and to answer.
    connection_timeout: Duration,
    /// The pause after a failure.
    retry_wait: Duration,
}

impl ZooKeeperOptions {
    pub(crate) fn from_configuration(configuration: &Configuration) -> Result<Self, String> {
        let told = |error: ConfigError| error.to_string();
        let quorum = configuration
            .get(&options::ZOOKEEPER_QUORUM)
            .map_err(told)?;
        let key = options::ZOOKEEPER_QUORUM.key();
        let quorum = quorum.ok_or_else(|| {
            let kind = options::HIGH_AVAILABILITY.key();
            format!("{key} has to be set with {kind} = ZOOKEEPER, such as host1:2181,host2:2181")
        })?;
        if quorum.contains('/') {
            return Err(format!(
                "{key} is \"{quorum}\", expected host:port,...; the root is {}",
                options::ZOOKEEPER_ROOT.key()
            ));
        }
        let servers: Vec<&str> = quorum.split(',').map(str::trim).collect();
        if let Some(bad) = servers.iter().find(|server| !is_place(server)) {
            return Err(format!(
                "{key} is \"{quorum}\", and \"{bad}\" is no host:port"
            ));
        }
        let root = configuration.get(&options::ZOOKEEPER_ROOT).map_err(told)?;
        let parts = [
            root.trim_matches('/').to_owned(),
            cluster_id(configuration)?,
        ];
        let parts = parts.iter().filter(|part| !part.is_empty());
        let directory: String = parts.map(|part| format!("/{part}")).collect();
        let duration = |option| configuration.get(option).map_err(told);
        let options = ZooKeeperOptions {
            quorum: servers.join(","),
            directory: format!("{directory}/leader"),
            session_timeout: duration(&options::ZOOKEEPER_SESSION_TIMEOUT)?,
            connection_timeout: duration(&options::ZOOKEEPER_CONNECTION_TIMEOUT)?,
            retry_wait: duration(&options::ZOOKEEPER_RETRY_WAIT)?,
        };
        let shortest = Duration::from_millis(100);
        if options.session_timeout < shortest || options.connection_timeout < shortest {
            return Err(format!(
                "{} and {} have to be at least 100 ms",
                options::ZOOKEEPER_SESSION_TIMEOUT.key(),
                options::ZOOKEEPER_CONNECTION_TIMEOUT.key()
            ));
        }
        Ok(options)
    }

    fn node(&self) -> String {
        format!("{}/{NODE}", self.directory)
    }

    /// How long one server may take or be silent until another one is tried: there is time for each of them,
    /// and within a session for some.
    fn server_timeout(&self) -> Duration {
        let servers = self.quorum.split(',').count() as u32;
        let each = self.connection_timeout / servers;
        each.min(self.session_timeout / SERVERS_PER_SESSION)
    }
}

/// Whether this is a host, and a port unless that is 2181.
fn is_place(server: &str) -> bool {
    match server.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
        }
        _ => !server.is_empty(),
    }
}

/// An election among those who reach one ensemble.
#[derive(Debug)]
pub(crate) struct ZooKeeper {
    options: ZooKeeperOptions,
    reactor: Arc<Reactor>,
    /// By which the leader is looked for.
    follower: Mutex<Option<Session>>,
}

impl ZooKeeper {
    pub(crate) fn new(options: ZooKeeperOptions) -> io::Result<Self> {
        Ok(ZooKeeper {
            options,
            reactor: Arc::new(Reactor::start()?),
            follower: Mutex::default(),
        })
    }

    fn open(&self) -> io::Result<Session> {
        let session = Session::open(&self.reactor, &self.options);
        session.map_err(|error| {
            if error != ZooKeeperError::Timeout {
                return self.told(&error);
            }
            io::Error::other(format!(
                "no server of ZooKeeper at {} has begun a session within {} ({}): these have to be its servers \
                 ({}), and most of them have to run",
                self.options.quorum,
                format_duration(self.options.connection_timeout),
                options::ZOOKEEPER_CONNECTION_TIMEOUT.key(),
                options::ZOOKEEPER_QUORUM.key()
            ))
        })
    }

    fn told(&self, error: &ZooKeeperError) -> io::Error {
        io::Error::other(format!("ZooKeeper at {}: {error}", self.options.quorum))
    }

    /// One session's campaign.
    fn campaign_once(&self, standing_by: &mut dyn FnMut()) -> io::Result<Leading> {
        let session = self.open()?;
        let told = |error| self.told(&error);
        let path = self.options.node();
        let made = session.make_directory(&self.options.directory);
        made.map_err(told)?;
        loop {
            if session.look(&path).map_err(told)?.is_none() {
                let made = Node::make(&self.reactor, &self.options);
                if let Some((node, term)) = made.map_err(told)? {
                    let interval = node.timeout() / WRITES_PER_SESSION;
                    return Leading::start(node, term, interval);
                }
            }
            standing_by();
            session.wait_until_gone(&path).map_err(told)?;
        }
    }
}

impl fmt::Display for ZooKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (node, quorum) = (self.options.node(), &self.options.quorum);
        write!(f, "the leader at \"{node}\" of ZooKeeper at {quorum}")
    }
}

impl Election for ZooKeeper {
    fn campaign(&self, standing_by: &mut dyn FnMut()) -> io::Result<Box<dyn Leadership>> {
        let mut told = String::new();
        let mut is_standing_by = false;
        loop {
            let result = self.campaign_once(&mut || {
                if !std::mem::replace(&mut is_standing_by, true) {
                    standing_by();
                }
            });
            match result {
                Ok(leading) => return Ok(Box::new(leading)),
                Err(error) if error.to_string() == told => {}
                Err(error) => {
                    told = error.to_string();
                    tracing::warn!("no leader can be elected, which is tried again: {told}");
                }
            }
            std::thread::sleep(self.options.retry_wait);
        }
    }

    fn leader(&self) -> io::Result<Leader> {
        // Held over the question: those who ask share one session.
        let mut follower = self.follower.lock().unwrap_or_else(PoisonError::into_inner);
        let session = match follower.take().filter(Session::is_connected) {
            Some(session) => session,
            None => self.open()?,
        };
        let found = session.look(&self.options.node());
        *follower = Some(session);
        match found.map_err(|error| self.told(&error))? {
            None => Err(io::Error::other(format!(
                "{self} is not there: no job manager leads a cluster of this {}",
                options::HIGH_AVAILABILITY_CLUSTER.key()
            ))),
            Some((text, _)) if text.is_empty() => Err(io::Error::other(format!(
                "{self} has not told yet where it is"
            ))),
            Some((text, _)) => Ok(serde_json::from_slice(&text)?),
        }
    }

    fn look_interval(&self) -> Duration {
        FOLLOW
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(more: &[(&str, &str)]) -> Result<ZooKeeperOptions, String> {
        let mut pairs = vec![("high-availability.zookeeper.quorum", "a:1, b:2")];
        pairs.extend_from_slice(more);
        ZooKeeperOptions::from_configuration(&Configuration::from_pairs(pairs))
    }

    #[test]
    fn a_cluster_has_a_node_below_the_root_however_slashes_are_written() {
        let default = of(&[]).expect("nothing is wrong");
        assert_eq!(default.quorum, "a:1,b:2");
        assert_eq!(default.node(), "/flink/default/leader/millpond");
        assert_eq!(default.session_timeout, Duration::from_secs(60));
        for (root, cluster) in [("/", "/blue"), ("", "blue/")] {
            let own = of(&[
                ("high-availability.zookeeper.path.root", root),
                ("high-availability.cluster-id", cluster),
            ]);
            assert_eq!(own.expect("fine").node(), "/blue/leader/millpond");
        }
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_option() {
        let servers = |servers| of(&[("high-availability.zookeeper.quorum", servers)]);
        for good in ["a", "a,b:2", "[::1]", "[::1]:2181"] {
            servers(good).expect(good);
        }
        for bad in ["a,", "a:b", ":1", "a:0", "a:70000"] {
            let why = servers(bad).expect_err(bad);
            assert!(why.contains("high-availability.zookeeper.quorum"), "{why}");
        }
        let none = ZooKeeperOptions::from_configuration(&Configuration::new());
        let cases = [
            (none, "high-availability.zookeeper.quorum"),
            (
                of(&[("high-availability.zookeeper.quorum", "a:1/root")]),
                "high-availability.zookeeper.path.root",
            ),
            (
                of(&[("high-availability.zookeeper.client.session-timeout", "1 ms")]),
                "high-availability.zookeeper.client.session-timeout",
            ),
        ];
        for (found, key) in cases {
            let why = found.expect_err(key);
            assert!(why.contains(key), "{why}");
        }
    }
}
