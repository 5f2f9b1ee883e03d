//! A connection to another worker process, as timely wants it.

use std::io::{self, Read, Write};
use std::net::Shutdown;

use millpond_security::Connection;
use timely::communication::allocator::zero_copy::stream::Stream;

/// A connection of the data plane.
#[derive(Debug)]
pub(crate) struct Socket(pub(crate) Connection);

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Stream for Socket {
    fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Socket)
    }

    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.0.set_nonblocking(nonblocking)
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.0.shutdown(how)
    }
}
