//! A connection, in clear or by TLS, that is used as a `TcpStream` is.
//!
//! Clones are the same connection: one thread may read while another one writes. A TLS session is one
//! state machine for both directions, so it is locked for as long as bytes are encrypted or decrypted in
//! memory, and never while a thread waits for the network:
//!
//! ```text
//! write: outgoing { session { encrypt } socket.write }     outgoing keeps the order of what is encrypted
//! read:  incoming { session { decrypt } socket.read  }     incoming keeps the order of what has come
//! ```

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How much is encrypted at once.
const CHUNK_BYTES: usize = 64 << 10;

/// How much is read from the network at once.
const BUFFER_BYTES: usize = 32 << 10;

/// How long whoever is refused has to take the reason.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

/// What of the words of whoever is refused is read, so that it gets the reason.
const REFUSAL_BYTES: u64 = 64 << 10;

/// A connection.
#[derive(Debug)]
pub struct Connection {
    socket: TcpStream,
    tls: Option<Arc<Tls>>,
}

#[derive(Debug)]
struct Tls {
    session: Mutex<rustls::Connection>,
    outgoing: Mutex<Vec<u8>>,
    incoming: Mutex<Incoming>,
}

/// Bytes that have come and that the session has not taken.
#[derive(Debug)]
struct Incoming {
    bytes: Box<[u8]>,
    begin: usize,
    end: usize,
}

impl Connection {
    /// One in clear.
    pub fn in_clear(socket: TcpStream) -> Self {
        Connection { socket, tls: None }
    }

    /// One by TLS: returns when both ends have proved who they are.
    pub(crate) fn secured(
        mut socket: TcpStream,
        mut session: rustls::Connection,
        timeout: Duration,
    ) -> io::Result<Self> {
        session.set_buffer_limit(None);
        if let Err(error) = shake_hands(&mut socket, &mut session, timeout) {
            refuse(&mut socket);
            let text = format!("no TLS: {error}");
            return Err(io::Error::new(error.kind(), text));
        }
        let incoming = Incoming {
            bytes: vec![0; BUFFER_BYTES].into_boxed_slice(),
            begin: 0,
            end: 0,
        };
        Ok(Connection {
            socket,
            tls: Some(Arc::new(Tls {
                session: Mutex::new(session),
                outgoing: Mutex::default(),
                incoming: Mutex::new(incoming),
            })),
        })
    }

    /// The same connection once more.
    ///
    /// # Errors
    ///
    /// The system has no more of them.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Connection {
            socket: self.socket.try_clone()?,
            tls: self.tls.clone(),
        })
    }

    /// For how long a read may wait.
    ///
    /// # Errors
    ///
    /// As of `TcpStream`.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket.set_read_timeout(timeout)
    }

    /// For how long a write may wait; one that fails breaks the connection.
    ///
    /// # Errors
    ///
    /// As of `TcpStream`.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket.set_write_timeout(timeout)
    }

    /// Whether reads and writes wait; only those that do are meant for TLS.
    ///
    /// # Errors
    ///
    /// As of `TcpStream`; a connection by TLS that is not to wait.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        if nonblocking && self.tls.is_some() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.socket.set_nonblocking(nonblocking)
    }

    /// The socket below, for its options; its bytes are those of TLS, if that is spoken.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Ends one direction or both, for all clones.
    ///
    /// # Errors
    ///
    /// It has ended already.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        if let (Shutdown::Write, Some(tls)) = (how, &self.tls) {
            let mut outgoing = lock(&tls.outgoing);
            let mut session = lock(&tls.session);
            session.send_close_notify();
            drain(&mut session, &mut outgoing)?;
            drop(session);
            // An other end that is gone needs no goodbye.
            let _ = (&self.socket).write_all(&outgoing);
            outgoing.clear();
        }
        self.socket.shutdown(how)
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &self.tls {
            Some(tls) => tls.read(&self.socket, buffer),
            None => self.socket.read(buffer),
        }
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &self.tls {
            Some(tls) => tls.write(&self.socket, bytes),
            None => self.socket.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

impl Tls {
    fn read(&self, mut socket: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
        let mut incoming = lock(&self.incoming);
        loop {
            let mut session = lock(&self.session);
            match session.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
            let Incoming { bytes, begin, end } = &mut *incoming;
            if begin < end {
                *begin += session.read_tls(&mut &bytes[*begin..*end])?;
                let taken = session.process_new_packets();
                if session.wants_write() {
                    drop(session);
                    self.answer(socket);
                }
                taken.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                continue;
            }
            drop(session);
            // What was taken must not be taken again if nothing comes in time.
            (*begin, *end) = (0, 0);
            *end = socket.read(bytes)?;
            if *end == 0 {
                // Whoever dies says no goodbye. Messages tell their own length, so none can be cut unseen.
                return Ok(0);
            }
        }
    }

    /// Sends what the session itself has to say, unless another thread is about to write anyway.
    fn answer(&self, mut socket: &TcpStream) {
        let Ok(mut outgoing) = self.outgoing.try_lock() else {
            return;
        };
        let drained = drain(&mut lock(&self.session), &mut outgoing);
        // Who reads hears of a broken connection by itself.
        let _ = drained.and_then(|()| socket.write_all(&outgoing));
        outgoing.clear();
    }

    fn write(&self, mut socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
        let mut outgoing = lock(&self.outgoing);
        let mut session = lock(&self.session);
        let taken = session
            .writer()
            .write(&bytes[..bytes.len().min(CHUNK_BYTES)])?;
        drain(&mut session, &mut outgoing)?;
        drop(session);
        let written = socket.write_all(&outgoing);
        outgoing.clear();
        written.map(|()| taken)
    }
}

fn drain(session: &mut rustls::Connection, outgoing: &mut Vec<u8>) -> io::Result<()> {
    while session.wants_write() {
        session.write_tls(outgoing)?;
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn shake_hands(
    socket: &mut TcpStream,
    session: &mut rustls::Connection,
    timeout: Duration,
) -> io::Result<()> {
    let deadline = Instant::now() + timeout;
    socket.set_read_timeout(Some(timeout))?;
    socket.set_write_timeout(Some(timeout))?;
    while session.is_handshaking() {
        while session.wants_write() {
            session.write_tls(socket)?;
        }
        if !session.is_handshaking() {
            break;
        }
        if Instant::now() >= deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if session.read_tls(socket)? == 0 {
            let what = "the other end has closed the connection";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
        }
        if let Err(error) = session.process_new_packets() {
            // The other end is told; if that fails it is gone.
            let _ = session.write_tls(socket);
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
    }
    while session.wants_write() {
        session.write_tls(socket)?;
    }
    socket.set_read_timeout(None)?;
    socket.set_write_timeout(None)
}

/// Lets the reason arrive: a socket that is closed with bytes unread takes it back.
fn refuse(socket: &mut TcpStream) {
    let read = |socket: &mut TcpStream| -> io::Result<u64> {
        socket.shutdown(Shutdown::Write)?;
        socket.set_read_timeout(Some(REFUSAL_TIMEOUT))?;
        io::copy(&mut socket.take(REFUSAL_BYTES), &mut io::sink())
    };
    // Whoever it is may be gone already.
    let _ = read(socket);
}
