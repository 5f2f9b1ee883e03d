//! The connections of a worker process to the others of its job, for records.

use std::io;
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use millpond_security::{Connection, Internal};
use socket2::{SockRef, TcpKeepalive};

use crate::door;
use crate::process::DataHello;
use crate::transport::{receive, send};

/// How long processes wait for each other's connections.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// How often the system asks a peer that says nothing; it knows whole seconds only.
const KEEP_ALIVE: Duration = Duration::from_secs(1);

/// What they are made by.
pub(crate) struct DataConnections {
    /// The number of this process.
    process: u32,
    /// Proves that a process belongs to the job.
    token: String,
    /// Processes that have connected, with what they want.
    peers: Receiver<(DataHello, Connection)>,
    /// For how long a peer may be cut off.
    timeout: Duration,
    security: Internal,
}

impl DataConnections {
    /// Takes those of other processes from now on, at `listener`.
    ///
    /// # Errors
    ///
    /// No thread can be had.
    pub(crate) fn listen(
        listener: TcpListener,
        process: u32,
        token: String,
        timeout: Duration,
        security: Internal,
    ) -> io::Result<Self> {
        let (sender, peers) = channel();
        let expected = token.clone();
        let attend = move |_, mut stream: Connection, unknown| -> io::Result<()> {
            let hello: Option<DataHello> = receive(&mut stream)?;
            drop(unknown);
            // Anything else is none of ours.
            if let Some(hello) = hello
                && hello.token == expected
            {
                stream.set_read_timeout(None)?;
                end_when_cut_off(&stream, timeout)?;
                // The process ends.
                let _ = sender.send((hello, stream));
            }
            Ok(())
        };
        door::open("data-connections", listener, security.clone(), attend)?;
        Ok(DataConnections {
            process,
            token,
            peers,
            timeout,
            security,
        })
    }

    /// Connects to the processes before this one and waits for those behind it.
    ///
    /// # Errors
    ///
    /// One cannot be reached, or does not come; for people.
    pub(crate) fn open(
        &self,
        attempt: u32,
        addresses: &[String],
    ) -> Result<Vec<Option<Connection>>, String> {
        let mut sockets: Vec<Option<Connection>> = addresses.iter().map(|_| None).collect();
        let hello = DataHello {
            token: self.token.clone(),
            attempt,
            process: self.process,
        };
        let before = addresses.iter().take(self.process as usize);
        for (peer, address) in before.enumerate() {
            let stream = self.connect(address, &hello).map_err(|error| {
                format!("cannot connect to worker process {peer} at {address}: {error}")
            })?;
            sockets[peer] = Some(stream);
        }
        let deadline = Instant::now() + CONNECT_TIMEOUT;
        let behind = self.process as usize + 1;
        while let Some(missing) = sockets[behind..].iter().position(Option::is_none) {
            match self.accept(attempt, deadline) {
                Some((process, stream)) if process as usize >= behind => {
                    match sockets.get_mut(process as usize) {
                        Some(slot) => *slot = Some(stream),
                        None => {
                            return Err(format!("worker process {process} is none of this job's"));
                        }
                    }
                }
                Some(_) => {}
                None => {
                    return Err(format!(
                        "worker process {} did not connect",
                        behind + missing
                    ));
                }
            }
        }
        Ok(sockets)
    }

    fn connect(&self, address: &str, hello: &DataHello) -> io::Result<Connection> {
        let mut stream = self.security.connect(address, CONNECT_TIMEOUT)?;
        send(&mut stream, hello)?;
        end_when_cut_off(&stream, self.timeout)?;
        Ok(stream)
    }

    /// Waits for a data connection of this attempt; `None` when the time is up.
    fn accept(&self, attempt: u32, deadline: Instant) -> Option<(u32, Connection)> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let (hello, stream) = self.peers.recv_timeout(left).ok()?;
            // Any other is of an older attempt.
            if hello.attempt == attempt {
                return Some((hello.process, stream));
            }
        }
    }
}

/// A peer whose packets do not arrive any more says nothing of its end. It need not say anything when
/// there are no records either, so it is its system that is asked. A peer that is slow answers.
fn end_when_cut_off(stream: &Connection, timeout: Duration) -> io::Result<()> {
    let socket = SockRef::from(stream.socket());
    let asks = TcpKeepalive::new().with_time(KEEP_ALIVE);
    socket.set_tcp_keepalive(&asks.with_interval(KEEP_ALIVE))?;
    socket.set_tcp_user_timeout(Some(timeout))
}
