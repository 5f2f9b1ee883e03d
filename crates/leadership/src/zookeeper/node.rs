//! The node of the leader, which its session has made.

use std::io;

use zookeeper_client::Error;

use crate::leading::{Holding, Leading, Renewed};
use crate::term::{Term, now_ms};
use crate::zookeeper::session::{Made, Session};

/// How often the node is written while a session lasts.
const WRITES_PER_SESSION: u32 = 6;

/// A node that is this leader's.
pub(crate) struct Node {
    session: Session,
    path: String,
    /// The transaction that has made it: another node of that name has another one.
    born: i64,
    version: i32,
}

impl Node {
    /// Leads from now on, by a node that `session` has made.
    pub(crate) fn lead(session: Session, path: String, made: Made) -> io::Result<Leading> {
        let length = session.timeout();
        let node = Node {
            path,
            born: made.stat.czxid,
            version: made.stat.version,
            session,
        };
        let term = Term::until(node.end_of(made.asked_ms), length);
        Leading::start(node, term, length / WRITES_PER_SESSION)
    }

    /// When a session that lived at `asked_ms` may end at the earliest. A part of it is given away, as the
    /// clocks of two machines do not run equally fast.
    fn end_of(&self, asked_ms: u64) -> u64 {
        let length_ms = self.session.timeout().as_millis() as u64;
        asked_ms + length_ms - length_ms / 20
    }

    /// An earlier write whose answer was not heard has been done, or the node is another's.
    fn look(&mut self) -> Renewed {
        match self.session.look(&self.path) {
            Ok(Some((_, stat))) if stat.czxid == self.born => {
                self.version = stat.version;
                Renewed::Failed("an earlier write was done after all".to_owned())
            }
            Ok(_) => Renewed::Lost(format!("\"{}\" is another one's in ZooKeeper", self.path)),
            Err(error) => Renewed::Failed(error.to_string()),
        }
    }
}

impl Holding for Node {
    fn renew(&mut self, leader: &[u8]) -> Renewed {
        let asked_ms = now_ms();
        match self.session.write(&self.path, leader, self.version) {
            Ok(stat) => {
                self.version = stat.version;
                Renewed::Until(self.end_of(asked_ms))
            }
            Err(Error::BadVersion) => self.look(),
            Err(Error::NoNode) => {
                Renewed::Lost(format!("\"{}\" was deleted in ZooKeeper", self.path))
            }
            Err(error) if self.session.is_usable() => {
                Renewed::Failed(format!("ZooKeeper: {error}"))
            }
            Err(error) => Renewed::Lost(format!("the session with ZooKeeper has ended: {error}")),
        }
    }
}
