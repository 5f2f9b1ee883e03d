//! The node of the leader, which its session has made.
//!
//! The server that leads the ensemble counts for how long a session lives, from when it has heard of it last. It
//! hears of a session that begins, or is resumed by a connection to whatever server, before the client does.
//! Of what a session does later by a follower, also of a write, it takes no such note: the follower tells it by
//! and by, and may die before (ZooKeeper 3.8, `LearnerHandler`: `REVALIDATE`, `REQUEST`, `PING`).
//!
//! So each renewal resumes the session by a connection of its own, and then writes the node. The write proves that
//! the one who has counted anew still led a majority then; whoever leads the ensemble after it gives each session its
//! whole time once more. Rejected: writes over one connection, for the above, and as a client that has lost it
//! pauses for as long again as nobody has answered.

use std::sync::Arc;
use std::time::Duration;

use zookeeper_client::Error;

use crate::leading::{Holding, Renewed};
use crate::term::{Term, now_ms};
use crate::zookeeper::ZooKeeperOptions;
use crate::zookeeper::session::{Left, Reactor, Session};

/// A node that is this leader's.
pub(crate) struct Node {
    session: Left,
    /// The transaction that has made it: another node of that name has another one.
    born: i64,
    version: i32,
    options: ZooKeeperOptions,
    reactor: Arc<Reactor>,
}

impl Node {
    /// Makes it by a session of its own, and leads from then on; `None` if there is one.
    pub(crate) fn make(
        reactor: &Arc<Reactor>,
        options: &ZooKeeperOptions,
    ) -> Result<Option<(Self, Term)>, Error> {
        let asked_ms = now_ms();
        let session = Session::open_to_leave(reactor, options)?;
        let Some(stat) = session.make(&options.node())? else {
            return Ok(None);
        };
        let node = Node {
            session: session.leave(),
            born: stat.czxid,
            version: stat.version,
            options: options.clone(),
            reactor: Arc::clone(reactor),
        };
        let timeout = node.timeout();
        let term = Term::until(end_of(asked_ms, timeout), timeout);
        Ok(Some((node, term)))
    }

    /// For how long its session lives behind a renewal.
    pub(crate) fn timeout(&self) -> Duration {
        self.session.timeout
    }

    /// An earlier write whose answer was not heard has been done, or the node is another's.
    fn look(&mut self, session: &Session) -> Renewed {
        let path = self.options.node();
        match session.look(&path) {
            Ok(Some((_, stat))) if stat.czxid == self.born => {
                self.version = stat.version;
                Renewed::Failed("an earlier write was done after all".to_owned())
            }
            Ok(_) => Renewed::Lost(format!("\"{path}\" is another one's in ZooKeeper")),
            Err(error) => failed(&error),
        }
    }
}

impl Holding for Node {
    fn renew(&mut self, leader: &[u8]) -> Renewed {
        let asked_ms = now_ms();
        let session = match Session::resume(&self.reactor, &self.options, &self.session) {
            Ok(session) => session,
            Err(Error::NoHosts) => {
                let quorum = &self.options.quorum;
                return Renewed::Failed(format!(
                    "no server of ZooKeeper at {quorum} lets the session go on"
                ));
            }
            Err(error) => return failed(&error),
        };
        let path = self.options.node();
        match session.write(&path, leader, self.version) {
            Ok(stat) if stat.czxid == self.born => {
                self.version = stat.version;
                // The server may have given it less than the one that began it.
                let timeout = session.timeout().min(self.timeout());
                Renewed::Until(end_of(asked_ms, timeout))
            }
            // Of the same version by chance: that one is told where this leader is, until it renews its own.
            Ok(_) => Renewed::Lost(format!("\"{path}\" is another one's in ZooKeeper")),
            Err(Error::BadVersion) => self.look(&session),
            Err(Error::NoNode) => Renewed::Lost(format!("\"{path}\" was deleted in ZooKeeper")),
            Err(error) => failed(&error),
        }
    }

    fn give_up(&mut self) -> Result<(), String> {
        let path = self.options.node();
        let session = Session::resume(&self.reactor, &self.options, &self.session);
        // Its version is asked for: an earlier write may have been done whose answer was not heard.
        let deleted = session.and_then(|session| match session.look(&path)? {
            Some((_, stat)) if stat.czxid == self.born => session.delete(&path, stat.version),
            // It is another one's.
            _ => Ok(()),
        });
        deleted.map_err(|error| format!("\"{path}\" is not deleted in ZooKeeper: {error}"))
    }
}

/// When a session may end at the earliest that was begun or resumed after `asked_ms`. A part of it is given
/// away, as the clocks of two machines do not run equally fast.
fn end_of(asked_ms: u64, timeout: Duration) -> u64 {
    let length_ms = timeout.as_millis() as u64;
    asked_ms + length_ms - length_ms / 20
}

fn failed(error: &Error) -> Renewed {
    if *error == Error::SessionExpired {
        return Renewed::Lost("ZooKeeper has ended the session".to_owned());
    }
    Renewed::Failed(format!("ZooKeeper: {error}"))
}
