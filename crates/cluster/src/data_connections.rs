//! The connections of a worker process to the others of its job, for records.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use socket2::{SockRef, TcpKeepalive};

use crate::process::DataHello;
use crate::transport::{connect, receive, send};

/// How long processes wait for each other's connections.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// How often the system asks a peer that says nothing; it knows whole seconds only.
const KEEP_ALIVE: Duration = Duration::from_secs(1);

/// What they are made by.
pub(crate) struct DataConnections {
    /// The number of this process.
    pub(crate) process: u32,
    /// Proves that a process belongs to the job.
    pub(crate) token: String,
    /// Where this process is connected to.
    pub(crate) listener: TcpListener,
    /// For how long a peer may be cut off.
    pub(crate) timeout: Duration,
}

impl DataConnections {
    /// Connects to the processes before this one and waits for those behind it.
    ///
    /// # Errors
    ///
    /// One cannot be reached, or does not come; for people.
    pub(crate) fn open(
        &self,
        attempt: u32,
        addresses: &[String],
    ) -> Result<Vec<Option<TcpStream>>, String> {
        let mut sockets: Vec<Option<TcpStream>> = addresses.iter().map(|_| None).collect();
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
            match self.accept(attempt, deadline)? {
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

    fn connect(&self, address: &str, hello: &DataHello) -> io::Result<TcpStream> {
        let mut stream = connect(address, CONNECT_TIMEOUT)?;
        stream.set_nodelay(true)?;
        send(&mut stream, hello)?;
        end_when_cut_off(&stream, self.timeout)?;
        Ok(stream)
    }

    /// Waits for a data connection of this attempt; `None` when the time is up.
    fn accept(&self, attempt: u32, deadline: Instant) -> Result<Option<(u32, TcpStream)>, String> {
        self.listener
            .set_nonblocking(true)
            .map_err(|error| error.to_string())?;
        loop {
            match self.listener.accept() {
                Ok((mut stream, _)) => {
                    let mut hello = || -> io::Result<Option<DataHello>> {
                        stream.set_nonblocking(false)?;
                        stream.set_nodelay(true)?;
                        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
                        let hello = receive(&mut stream)?;
                        stream.set_read_timeout(None)?;
                        end_when_cut_off(&stream, self.timeout)?;
                        Ok(hello)
                    };
                    // Anything else is of an older attempt, or none of ours.
                    if let Ok(Some(hello)) = hello()
                        && hello.attempt == attempt
                        && hello.token == self.token
                    {
                        return Ok(Some((hello.process, stream)));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if Instant::now() >= deadline {
                        return Ok(None);
                    }
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

/// A peer whose packets do not arrive any more says nothing of its end. It need not say anything when
/// there are no records either, so it is its system that is asked. A peer that is slow answers.
fn end_when_cut_off(stream: &TcpStream, timeout: Duration) -> io::Result<()> {
    let socket = SockRef::from(stream);
    let asks = TcpKeepalive::new().with_time(KEEP_ALIVE);
    socket.set_tcp_keepalive(&asks.with_interval(KEEP_ALIVE))?;
    socket.set_tcp_user_timeout(Some(timeout))
}
