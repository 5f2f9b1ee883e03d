//! Where others come in: each connection has a thread of its own, and few of them are of strangers.
//!
//! Whoever connects may be anybody until it has proved who it is. So it has little time for that, holds up
//! nobody else meanwhile, and there are never more than [`MAX_UNKNOWN`] of them.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use millpond_security::{Connection, Internal};

/// How many connections of whom nobody knows yet may be open; others are closed at once.
pub const MAX_UNKNOWN: usize = 256;

/// How long whoever connects may take to say who it is.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// Somebody of whom nobody knows yet who it is; dropped when that is known.
pub struct Unknown(Arc<AtomicUsize>);

impl Drop for Unknown {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Takes connections until the process ends. `attend` has each, with its number from 1, on a thread of its
/// own; until it says otherwise, a read waits no longer than 5 s.
///
/// # Errors
///
/// No thread can be had.
pub fn open(
    name: &'static str,
    listener: TcpListener,
    security: Internal,
    attend: impl Fn(u64, Connection, Unknown) -> io::Result<()> + Send + Sync + 'static,
) -> io::Result<()> {
    let attend = Arc::new(attend);
    let unknown = Arc::new(AtomicUsize::new(0));
    let serve = move || {
        for (number, stream) in (1u64..).zip(listener.incoming()) {
            let Ok(stream) = stream else { continue };
            let guard = Unknown(Arc::clone(&unknown));
            if unknown.fetch_add(1, Ordering::Relaxed) >= MAX_UNKNOWN {
                tracing::warn!(
                    "{name}: a connection is closed, as {MAX_UNKNOWN} of strangers are open"
                );
                continue;
            }
            let (attend, security) = (Arc::clone(&attend), security.clone());
            let attended = std::thread::Builder::new()
                .name(format!("{name}-{number}"))
                .spawn(move || match security.accept(stream) {
                    Ok(connection) => {
                        let attended = connection
                            .set_read_timeout(Some(HELLO_TIMEOUT))
                            .and_then(|()| attend(number, connection, guard));
                        if let Err(error) = attended {
                            tracing::debug!(%error, "{name}: a connection has ended");
                        }
                    }
                    Err(error) => tracing::warn!("{name}: {error}"),
                });
            if let Err(error) = attended {
                tracing::warn!(%error, "{name}: a connection is not taken");
            }
        }
    };
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn(serve).map(drop)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::time::Instant;

    use super::*;

    /// Strangers who say nothing are many and stay long; one of ours comes in all the same.
    #[test]
    fn strangers_are_bounded_and_hold_up_nobody() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        open(
            "door",
            listener,
            Internal::in_clear(),
            |_, mut stream, unknown| {
                let mut word = [0; 1];
                stream.read_exact(&mut word)?;
                drop(unknown);
                stream.write_all(&word)?;
                // Stays, as one of ours does.
                stream.set_read_timeout(None)?;
                stream.read_exact(&mut word)
            },
        )
        .expect("a thread");
        let connect = || TcpStream::connect(address).expect("it listens");
        let comes_in = || {
            let mut stream = connect();
            let mut word = [0; 1];
            let said = stream
                .write_all(b"x")
                .and_then(|()| stream.read_exact(&mut word));
            said.is_ok().then_some(stream)
        };
        // More than may be unknown, all of them known.
        let ours: Vec<TcpStream> = (0..MAX_UNKNOWN + 10)
            .map(|_| comes_in().expect("one of ours"))
            .collect();
        let mut strangers: Vec<TcpStream> = (0..MAX_UNKNOWN - 1).map(|_| connect()).collect();
        assert!(comes_in().is_some());
        strangers.extend((0..20).map(|_| connect()));
        let mut last = strangers.pop().expect("one");
        assert_eq!(
            last.read(&mut [0; 1]).ok().unwrap_or(0),
            0,
            "one too many is closed"
        );
        drop(strangers);
        // As soon as it is noticed that they are gone.
        let deadline = Instant::now() + Duration::from_secs(60);
        while comes_in().is_none() {
            assert!(Instant::now() < deadline, "nobody comes in any more");
        }
        drop(ours);
    }
}
